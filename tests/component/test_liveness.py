"""Liveness: the addon's preprocessing, the vote over a track, the settings, and what a file that is missing or wrong gets.

The addon's own weights are never fetched: the graphs are made here, in its shape, and run by onnxruntime.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import ConfigurationError, FaultList
from shared.settings.camera_task import LivenessMode
from shared.settings.file import parse_settings
from tests.support.clips import write_clip
from tests.support.liveness_graph import write_any, write_blue_rim, write_graph
from tests.support.paths import six_faces
from tests.support.site_process import command_json
from tests.support.tiny_pack import write_pack
from workers.pipeline.voting import LiveVote
from workers.recognition.engine import Face, Image, Points
from workers.recognition.liveness import FILE_NAME, LivenessModel, liveness_crop, open_liveness

# insightface's alignment template, a face of about 80 pixels from the front.
POINTS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)


@pytest.fixture(scope="module")
def picture() -> Image:
    image = cv2.imread(str(six_faces()))
    assert image is not None
    return np.asarray(image, np.uint8)


def face(x: float, y: float, *, scale: float = 1.0, tilt: float = 0.0) -> Face:
    """A face whose points lie around (x, y)."""
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    points = ((POINTS - POINTS.mean(axis=0)) @ turn.T * scale + (x, y)).astype(np.float32)
    return Face((x - 40 * scale, y - 55 * scale, x + 40 * scale, y + 55 * scale), points, 0.9)


FACES = [face(300, 300), face(640, 420, scale=1.6, tilt=0.3), face(1000, 250, scale=0.7, tilt=-0.5), face(120, 130)]
EDGES = [face(x, 300, scale=1.5) for x in range(0, 260, 20)] + [face(1275, 880), face(640, 5)]


# -- what the model gets ----------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_addon(tmp_path: Path, picture: Image) -> None:
    """insightface's own code gives the same answer on the same file, a face at the edge included, and refuses the same."""
    from insightface.addons.liveness import Liveness as Addon

    path = write_any(tmp_path / FILE_NAME)
    addon = Addon(path, providers=["CPUExecutionProvider"])
    theirs = [addon.predict(picture, one.points)["live_score"] for one in (*FACES, *EDGES)]
    ours = LivenessModel(path, threads=1).score(picture, (*FACES, *EDGES))
    assert len({round(score, 3) for score in ours if score is not None}) > 8, "the graph does not tell faces apart"
    assert 0 < ours.count(None) < len(EDGES)
    assert [score is None for score in ours] == [score is None for score in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == (None if other is None else pytest.approx(other, abs=2e-3))


@pytest.mark.parametrize("batch", ["n", 1])
def test_batch_answers_as_each_face_alone(tmp_path: Path, picture: Image, batch: int | str) -> None:
    """With a graph for any number of faces as with one that takes them singly; the answers keep the faces' order."""
    liveness = LivenessModel(write_any(tmp_path / FILE_NAME, batch=batch), threads=1)
    together = liveness.score(picture, (EDGES[0], *FACES))
    alone = [liveness.score(picture, [one])[0] for one in (EDGES[0], *FACES)]
    assert together[0] is None
    assert together[1:] == pytest.approx(alone[1:], abs=1e-6)
    assert liveness.score(picture, []) == []


def test_crop_shows_what_is_around_the_face(picture: Image) -> None:
    """80 pixels, upright, the eyes 16 apart; points that are no numbers give none."""
    tilted = face(640, 420, scale=1.6, tilt=0.3)
    crop = liveness_crop(picture, tilted.points)
    assert crop is not None
    assert crop.shape == (80, 80, 3)
    assert crop.dtype == np.uint8
    marked = np.zeros_like(picture)
    for x, y in tilted.points[:2]:
        cv2.circle(marked, (round(float(x)), round(float(y))), 4, (255, 255, 255), -1)
    eyes = liveness_crop(marked, tilted.points)
    assert eyes is not None
    rows, columns = np.nonzero(eyes[:, :, 0] > 100)
    assert abs(rows.mean() - 38) < 1.5
    assert abs((columns[columns > 40].mean() - columns[columns < 40].mean()) - 15.9) < 1.5
    assert liveness_crop(picture, np.full((5, 2), np.nan, np.float32)) is None


def test_blue_around_a_face_is_no_life(tmp_path: Path, picture: Image) -> None:
    """The graph that other tests use: the colours arrive as RGB."""
    liveness = LivenessModel(write_blue_rim(tmp_path / FILE_NAME), threads=1)
    blue, red = picture.copy(), picture.copy()
    blue[:], red[:] = (220, 40, 20), (20, 40, 220)
    assert liveness.score(blue, FACES[:1])[0] == pytest.approx(0, abs=0.01)
    assert liveness.score(red, FACES[:1])[0] == pytest.approx(1, abs=0.01)


# -- the vote ---------------------------------------------------------------------------------------------------------


def voted(*scores: float | None) -> LiveVote:
    vote = LiveVote()
    for score in scores:
        vote.add(score)
    return vote


@pytest.mark.parametrize(
    ("scores", "verdict", "mean"),
    [
        ((), "unsure", None),
        ((None, None, None), "unsure", None),
        ((0.99, 0.99), "unsure", 0.99),
        ((0.99, None, 0.99, None, 0.99), "live", 0.99),
        ((0.8, 0.8, 0.8), "live", 0.8),
        ((0.79, 0.79, 0.79), "unsure", 0.79),
        ((0.5, 0.5, 0.5), "unsure", 0.5),
        ((0.49, 0.49, 0.49), "spoof", 0.49),
        ((0.0, 1.0, 1.0, 1.0, 1.0), "live", 0.8),
        ((1.0, 0.1, 0.1, 0.1), "spoof", 0.325),
    ],
)
def test_mean_of_three_or_more_decides(scores: tuple[float | None, ...], verdict: str, mean: float | None) -> None:
    """Live from .8, the addon's threshold; spoof below .5; what could not be told does not count."""
    vote = voted(*scores)
    assert vote.verdict == verdict
    assert vote.score == (None if mean is None else pytest.approx(mean))
    assert vote.to_json() == {"verdict": verdict, "score": None if mean is None else round(mean, 4)}


def test_only_the_latest_nine_count() -> None:
    """A face that is exchanged for its picture does not live on what was seen before."""
    vote = voted(*[1.0] * 50)
    told = []
    for _ in range(9):
        vote.add(0.0)
        told.append(vote.verdict)
    assert [key for key, _ in itertools.groupby(told)] == ["live", "unsure", "spoof"]


def test_require_gives_no_name_before_the_face_is_live() -> None:
    """`observe` and `off` never withhold one."""
    live, spoof, unsure = voted(0.9, 0.9, 0.9), voted(0.1, 0.1, 0.1), voted()
    assert [vote.withholds_name("require") for vote in (live, spoof, unsure)] == [False, True, True]
    modes: tuple[LivenessMode, ...] = ("off", "observe")
    for mode in modes:
        assert not any(vote.withholds_name(mode) for vote in (live, spoof, unsure))


def test_undecided_until_nine_scores_or_a_verdict() -> None:
    """More crops are asked for no longer than they can change something."""
    assert voted().undecided
    assert voted(0.6, 0.6, 0.6).undecided
    assert not voted(0.9, 0.9, 0.9).undecided
    assert not voted(*[0.6] * 9).undecided


# -- the file and the settings ----------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        LivenessModel(path, threads=1)
    return caught.value.line()


def test_missing_file_is_told_with_its_place(tmp_path: Path) -> None:
    """Where to put what, its licence, and how to do without."""
    line = refusal(tmp_path / "models" / FILE_NAME)
    for part in (str(tmp_path / "models" / FILE_NAME), "non-commercial", "fetch https://", 'liveness = "off"'):
        assert part in line


def test_wrong_files_are_told_apart_from_the_model(tmp_path: Path) -> None:
    """No ONNX, a picture of another size, an output of another shape: each says what it got and what is expected."""
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"no graph")
    assert "no liveness model" in refusal(garbage)
    of_112 = write_graph(tmp_path / "112.onnx", np.zeros((1, 3, 112, 112), np.float32), 0.0)
    assert "112, 112], alive" in refusal(of_112)
    columns = write_graph(tmp_path / "c.onnx", np.zeros((1, 3, 80, 80), np.float32), 0.0, columns=True)
    assert "expected float input (N, 3, 80, 80) and one probability a face" in refusal(columns)
    of_four = write_graph(tmp_path / "4.onnx", np.zeros((1, 3, 80, 80), np.float32), 0.0, batch=4)
    assert "[4, 3, 80, 80]" in refusal(of_four)


def test_answer_that_is_no_probability_is_an_error(tmp_path: Path, picture: Image) -> None:
    """Shape alone does not prove a model: 7 is not taken for very much alive, and NaN not for a spoof."""
    for bias in (7.0, float("nan")):
        path = write_graph(tmp_path / "m.onnx", np.zeros((1, 3, 80, 80), np.float32), bias, probability=False)
        with pytest.raises(ConfigurationError, match="no liveness model"):
            LivenessModel(path, threads=1).score(picture, FACES)


def test_off_needs_no_file(tmp_path: Path) -> None:
    """And dlib's five points, which are others, are refused where it is on."""
    assert open_liveness(tmp_path, "off", threads=1, points=Points.EYE_CORNERS_NOSE) is None
    write_blue_rim(tmp_path / FILE_NAME)
    assert open_liveness(tmp_path, "observe", threads=1, points=Points.EYES_NOSE_MOUTH) is not None
    with pytest.raises(ConfigurationError, match="dlib engine does not give"):
        open_liveness(tmp_path, "require", threads=1, points=Points.EYE_CORNERS_NOSE)


def test_setting_is_off_common_or_a_cameras_own() -> None:
    """As every key of [recognition]; anything else is a fault with its key."""
    cameras = {"door": {"source": "a.avi"}, "gate": {"source": "b.avi", "liveness": "require"}}
    plain = parse_settings({"cameras": cameras}, Path("site.toml"), {})
    assert (plain.camera("door").liveness, plain.camera("gate").liveness) == ("off", "require")
    common = parse_settings({"recognition": {"liveness": "observe"}, "cameras": cameras}, Path("site.toml"), {})
    assert (common.camera("door").liveness, common.camera("gate").liveness) == ("observe", "require")
    with pytest.raises(FaultList, match=r"\[recognition\] liveness: .*got 'sometimes'"):
        parse_settings({"recognition": {"liveness": "sometimes"}}, Path("site.toml"), {})


def test_check_names_the_missing_file(tmp_path: Path) -> None:
    """Where a camera asks for liveness; not once the file is there, nor where it is off."""
    write_pack(tmp_path / "models" / "tiny")
    write_clip(tmp_path / "clip.avi")
    site = tmp_path / "site.toml"
    text = '[recognition]\nmodel = "tiny"\nmodels_dir = "models"\n[cameras.door]\nsource = "clip.avi"\n'
    model = str(tmp_path / "models" / FILE_NAME)

    def faults(expect: int) -> str:
        return "\n".join(command_json(tmp_path, "check", expect=expect)["faults"])

    site.write_text(text + 'liveness = "require"\n', encoding="utf-8")
    assert f"{model}: liveness is on, and its model is not installed" in faults(1)
    write_blue_rim(Path(model))
    assert faults(0) == ""
    Path(model).unlink()
    site.write_text(text, encoding="utf-8")
    assert faults(0) == ""
