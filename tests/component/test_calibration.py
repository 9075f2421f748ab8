"""Threshold and margin from a gallery's own photos: the statistics on galleries of known make, the command on real ones."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ConfigurationError, FaultList
from shared.gallery.tail import tail_of
from shared.model_id import ModelId
from shared.records import NewReference
from shared.service.access import SiteAccess
from shared.settings.editing import with_values
from shared.settings.example import example_toml
from shared.settings.file import load_settings
from tests.support.paths import FACES, needs_data, needs_dlib
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import write_site
from tests.support.stores import files_of, keep, silent, site_settings, store_in
from tests.support.vectors import noise, people, unit
from workers.calibration.calibration import calibrate
from workers.calibration.false_matches import Scores, rates, upper_bound
from workers.calibration.gallery_copy import References, load_references
from workers.calibration.plot import svg
from workers.calibration.report import Names, document, lowest_shown, notes, text
from workers.recognition.false_match_law import FalseMatchLaw
from workers.recognition.working_point import ModelDefaults, WorkingPoint, limits
from workers.recognizer_arcface import LAW

_DEFAULT = WorkingPoint(0.45, 0.05)
_DIM = 32  # so small that strangers do reach a threshold
_SHARES = (0.5, 0.1, 0.01, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
class Model:
    threshold: float
    margin: float
    law: FalseMatchLaw


_ARCFACE = Model(0.45, 0.05, LAW)


@cache
def model_of(dim: int, threshold: float = 0.45) -> ModelDefaults:
    """A model whose law is that of random faces of `dim` dimensions."""
    rng = np.random.default_rng(77)
    cosines = (noise(rng, 3000, dim) @ noise(rng, 3000, dim).T).ravel()
    scores = np.quantile(cosines, [1 - share for share in _SHARES])
    return Model(threshold, 0.05, FalseMatchLaw(tuple(zip(scores.tolist(), _SHARES, strict=True))))


def gallery(seed: int, persons: int, each: int, dim: int = _DIM) -> References:
    vectors = people(np.random.default_rng(seed), persons, each, dim)
    return of(vectors, np.repeat(np.arange(persons, dtype=np.int32), each))


def of(vectors: NDArray[np.float32], persons: NDArray[np.int32]) -> References:
    names = [f"p{i}" for i in range(int(persons.max(initial=-1)) + 1)]
    return References(vectors, persons.astype(np.int32), np.arange(1, len(persons) + 1), names)


def said(report: Any, references: References) -> str:
    names = Names(references.persons, references.names, {})
    json.dumps(document(report, names))
    return "\n".join(text(report, names))


# --- the statistics ---------------------------------------------------------------------------------------------------


def real_rate(references: References, point: WorkingPoint) -> float:
    """The share of 20,000 people never seen that this gallery names at `point`."""
    strangers = noise(np.random.default_rng(999), 20_000, references.vectors.shape[1])
    persons = int(references.persons.max()) + 1
    best = (strangers @ references.vectors.T).reshape(len(strangers), persons, -1).max(axis=2)
    ranked = np.sort(best, axis=1)
    return float(((ranked[:, -1] >= point.threshold) & (ranked[:, -1] - ranked[:, -2] >= point.margin)).mean())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("wanted", [0.02, 0.001])
def test_the_proposed_limits_name_the_wanted_share_of_people_never_seen(seed: int, wanted: float) -> None:
    """400 people with five photos each: of 20,000 strangers no more than 1.6 times the share is named; for 2 % no less than a third."""
    references = gallery(seed, 400, 5)
    found = calibrate(references, model_of(_DIM), wanted)
    assert found.proposal.reason == "strangers_named"
    assert lowest_shown(found) == pytest.approx(3 / 2000)
    real = real_rate(references, WorkingPoint(found.proposal.point.threshold, 0.0))
    assert real <= wanted * 1.6
    assert real >= wanted / 3 or wanted < 0.02
    assert found.proposal.point.threshold < 0.95, "nor so careful that nobody is named"


def test_the_limits_in_force_and_their_reason_are_shown() -> None:
    """Those set by hand beside those of the wanted share, each with an estimate of the strangers who reach it."""
    references = gallery(1, 40, 4, 512)
    by_hand = limits(_ARCFACE, tail_of(references.vectors, references.persons), 0.001, threshold=0.4)
    found = calibrate(references, _ARCFACE, 0.001, by_hand)
    shown = document(found, Names(references.persons, references.names, {}))
    assert (shown["now"]["threshold"], shown["now"]["basis"]) == (0.4, "set by hand")
    assert shown["proposed"]["basis"] == found.proposal.reason
    assert shown["proposed"]["wanted_rate"] == 0.001
    assert shown["now"]["strangers_estimated"] == round(by_hand.strangers.share_reaching(0.4), 6)
    assert "set by hand wins" in said(found, references)


def test_a_margin_set_by_hand_stays_in_the_proposal() -> None:
    """Another risk changes the threshold only, and so the report shows what `--write` gives."""
    references = gallery(1, 40, 4, 512)
    now = limits(_ARCFACE, tail_of(references.vectors, references.persons), 0.001, margin=0.1)
    assert calibrate(references, _ARCFACE, 0.001, now).proposal == now
    assert calibrate(references, _ARCFACE, 0.01, now).proposal.point.margin == 0.1
    assert calibrate(references, _ARCFACE, 0.01).proposal.point.margin == 0.05


def test_the_report_has_one_line_for_each_working_point() -> None:
    """The proposed limits, which no rounding moves, are a line of the table and not beside one of the same figures."""
    references = gallery(0, 60, 5, 128)
    found = calibrate(references, _ARCFACE, 0.001)
    assert found.proposal.point in found.table
    points = [line.split()[:2] for line in text(found, Names(references.persons, references.names, {})) if "%" in line]
    assert len(points) == len({tuple(one) for one in points}) == len(found.table) == 9


def test_rates_follow_threshold_and_margin() -> None:
    """Right, wrong, uncertain (no lead, or a near miss) and unknown among the genuine, named among the strangers: each by its rule."""
    scores = Scores(
        own=np.array([0.7, 0.3, 0.6, 0.42, 0.2, -2.0], np.float32),
        first=np.array([0.2, 0.6, 0.58, 0.1, 0.38, 0.5], np.float32),
        second=np.array([0.1, 0.5, 0.57, 0.0, 0.1, -2.0], np.float32),
        people=np.arange(6, dtype=np.int32),
    )
    got = rates(scores, _DEFAULT)
    assert (got.named_right, got.named_wrong, got.uncertain, got.unknown) == (0.2, 0.2, 0.4, 0.2)
    assert got.strangers_named == pytest.approx(2 / 6), "the second at .6 with .1 ahead, the last with no second"


def test_rule_of_three_and_its_neighbours() -> None:
    """None of N seen: at most 3/N; some seen: more than their share, and less the more probes there are."""
    assert upper_bound(0, 300) == pytest.approx(0.01)
    assert upper_bound(3, 300) == pytest.approx(0.0253, abs=0.002)
    assert 0.01 < upper_bound(30, 3000) < upper_bound(3, 300)


@pytest.mark.parametrize(("persons", "each"), [(0, 0), (1, 1), (1, 6), (12, 1)])
def test_galleries_that_cannot_tell_get_a_clear_answer(persons: int, each: int) -> None:
    """Nobody, one person, one photo each: the model's law alone, no figures where there are none, and the reason."""
    references = (
        gallery(3, persons, each, 512) if persons else of(np.empty((0, 512), np.float32), np.empty(0, np.int32))
    )
    found = calibrate(references, _ARCFACE, 0.001)
    assert found.proposal == limits(_ARCFACE, tail_of(references.vectors, references.persons), 0.001)
    assert 0.35 - 1e-9 <= found.proposal.point.threshold <= 0.45
    if persons < 2:
        assert found.proposal.strangers.shift == 0
    told = said(found, references)
    if persons < 2:
        assert "needs two people" in told
        assert rates(found.scores, _DEFAULT).strangers_named is None
    if each == 1:
        assert f"{persons} of {persons} people have one photo" in told
        assert rates(found.scores, _DEFAULT).named_right is None


def test_copies_do_not_count_twice() -> None:
    """A gallery with every picture there twice counts each once: copies prove nothing, and the threshold hardly moves."""
    references = gallery(4, 60, 4)
    rng = np.random.default_rng(5)
    again = unit(references.vectors + 0.05 * noise(rng, len(references.vectors), _DIM))
    doubled = of(np.concatenate([references.vectors, again]), np.tile(references.persons, 2))
    plain, found = (calibrate(one, model_of(_DIM), 0.05) for one in (references, doubled))
    assert found.left_out.copies == len(references.vectors)
    assert int(found.scores.strangers.sum()) == len(references.vectors)
    # Twice the references are twice the chances; the law can't know that they are copies.
    assert 0 <= found.proposal.point.threshold - plain.proposal.point.threshold < 0.06
    assert np.median(found.scores.own) < 0.9


def test_photo_in_the_wrong_folder_spoils_no_figure() -> None:
    """It is listed with whom it looks like; neither it nor the likeness that it makes between two people counts."""
    references = gallery(6, 40, 4, 512)
    wrong = unit(references.vectors[4:5] + 0.5 * noise(np.random.default_rng(7), 1))
    planted = of(np.concatenate([references.vectors, wrong]), np.append(references.persons, 0))
    plain, found = (calibrate(one, _ARCFACE, 0.001) for one in (references, planted))
    (one,) = found.disagreeing
    assert (one.row, one.other_person) == (160, 1)
    assert one.own < 0.35
    assert (one.other or 0) > 0.45
    assert found.pairs[0].people in {(0, 1), (1, 0)}
    assert found.left_out.disagreeing == 1
    assert found.proposal.point.threshold == pytest.approx(plain.proposal.point.threshold, abs=0.01)
    # Not to the last bit: a matrix of another shape is multiplied in another order on some processors.
    assert np.allclose(np.sort(found.scores.first), np.sort(plain.scores.first), rtol=0, atol=1e-6)


def test_one_person_under_two_names_is_said_and_does_not_count() -> None:
    """Eight photos of one person under two names: the pair is marked, and the figures are those of one name; --apart counts it."""
    references = gallery(8, 40, 4, 512)
    split = references.persons.copy()
    split[2:4] = 40
    merged = of(references.vectors, references.persons)
    twice = of(references.vectors, split)
    twice_four = of(
        np.concatenate([references.vectors, people_like(references.vectors[:4])]),
        np.append(references.persons, [40] * 4),
    )
    found = calibrate(twice_four, _ARCFACE, 0.001)
    assert found.one_person == [(0, 40)]
    assert float(found.scores.first.max()) < 0.35
    assert found.proposal.point.threshold == pytest.approx(
        calibrate(merged, _ARCFACE, 0.001).proposal.point.threshold, abs=0.02
    )
    assert "one person under two names" in said(found, twice_four)
    apart = calibrate(twice_four, _ARCFACE, 0.001, apart=True)
    assert apart.one_person == []
    assert float(apart.scores.first.max()) > 0.5
    assert calibrate(merged, _ARCFACE, 0.001).one_person == []
    assert calibrate(twice, _ARCFACE, 0.001).pairs[0].people in {(0, 40), (40, 0)}


def test_two_people_under_four_names_are_said_in_a_small_gallery() -> None:
    """The photos of one such pair are no strangers by which the other is measured."""
    references = gallery(8, 6, 4, 512)
    doubled = of(
        np.concatenate([references.vectors, *(people_like(references.vectors[4 * n : 4 * n + 4]) for n in range(2))]),
        np.append(references.persons, [6] * 4 + [7] * 4),
    )
    assert calibrate(doubled, _ARCFACE, 0.001).one_person == [(0, 6), (1, 7)]
    assert calibrate(references, _ARCFACE, 0.001).one_person == []
    different = replace(doubled, different=frozenset({(0, 6)}))
    assert calibrate(different, _ARCFACE, 0.001).one_person == [(1, 7)]


def people_like(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Other photos of the person that `vectors` are of."""
    centre = unit(vectors.sum(axis=0, keepdims=True))
    return unit(centre + noise(np.random.default_rng(9), 4, vectors.shape[1]) * np.float32(0.8))


def test_large_galleries_are_sampled_and_say_so() -> None:
    """More references than may be asked: a sample, the same each time, and a line that says how many of how many."""
    references = gallery(10, 100, 4)
    found, again = (calibrate(references, model_of(_DIM), 0.05, most_probes=250) for _ in range(2))
    assert found.sampled == 250
    assert any("a sample of 250 of 400 references" in line for line in notes(found))
    assert found.proposal == again.proposal
    assert calibrate(references, model_of(_DIM), 0.05, most_probes=None).sampled == 400


def test_plot_is_a_picture_of_both_distributions() -> None:
    """Well-formed SVG with two shapes, two labelled lines and the title, escaped; also when nothing is genuine."""
    rng = np.random.default_rng(1)
    for genuine in (rng.normal(0.7, 0.05, 90).astype(np.float32), np.empty(0, np.float32)):
        picture = svg(genuine, rng.normal(0.2, 0.05, 90).astype(np.float32), now=0.45, proposed=0.5, title="a < b")
        root = ElementTree.fromstring(picture)  # noqa: S314  # our own text
        kinds = [element.tag.split("}")[1] for element in root.iter()]
        assert kinds.count("polygon") == 2
        texts = [element.text for element in root.iter() if element.tag.endswith("}text")]
        assert {"a < b", "now 0.450", "proposed 0.500"} <= set(texts)


# --- writing into site.toml ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "[recognition]  # how\nthreshold = 0.4  # mine\nmargin=0.01\n[web]\nport = 1\n",
            "[recognition]  # how\nthreshold = 0.5  # mine\nmargin=0.07\n[web]\nport = 1\n",
        ),
        (
            "# top\n[recognition]\n# lowest\n# threshold = 0.45\nfps = 2.0\n",
            "# top\n[recognition]\nmargin = 0.07\n# lowest\nthreshold = 0.5\nfps = 2.0\n",
        ),
        ('[site]\nname = "a"', '[site]\nname = "a"\n\n[recognition]\nthreshold = 0.5\nmargin = 0.07\n'),
        (
            "[recognition]\n# [cameras.x]\n# threshold = 0.3\n[cameras.y]\nsource = 0\nthreshold = 0.2\n",
            "[recognition]\nthreshold = 0.5\nmargin = 0.07\n# [cameras.x]\n# threshold = 0.3\n[cameras.y]\nsource = 0\nthreshold = 0.2\n",
        ),
        ("recognition = {fps = 2.0}\n", "recognition = {fps = 2.0,threshold = 0.5,margin = 0.07}\n"),
        ("recognition.threshold = 0.4\n", "recognition.threshold = 0.5\nrecognition.margin = 0.07\n"),
        ("[recognition]\r\nthreshold = 0.4\r\n", "[recognition]\r\nmargin = 0.07\r\nthreshold = 0.5\r\n"),
    ],
)
def test_only_the_two_values_change(before: str, after: str) -> None:
    """Comments, order, other sections and line ends stay; a new key takes its commented default's place."""
    assert with_values(before, "recognition", {"threshold": 0.5, "margin": 0.07}, Path("site.toml")) == after


def test_the_example_file_takes_them_in_its_own_place() -> None:
    """In `init`'s file they end in [recognition], not among the cameras that follow it as comments."""
    changed = with_values(example_toml(), "recognition", {"threshold": 0.5, "margin": 0.07}, Path("site.toml"))
    assert tomllib.loads(changed)["recognition"] == {"threshold": 0.5, "margin": 0.07}
    differing = [
        pair for pair in zip(example_toml().splitlines(), changed.splitlines(), strict=True) if pair[0] != pair[1]
    ]
    assert [one for _, one in differing] == ["threshold = 0.5", "margin = 0.07"]


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("[recognition]\nfsp = 2\n", FaultList, "unknown key"),
        ("[recognition\n", ConfigurationError, "not valid TOML"),
    ],
)
def test_what_would_not_load_is_refused(text: str, error: type[Exception], told: str) -> None:
    """A file that is faulty, or would be afterwards, is left alone, with the reason."""
    with pytest.raises(error, match=told):
        with_values(text, "recognition", {"threshold": 0.5}, Path("site.toml"))


# --- the command --------------------------------------------------------------------------------------------------------


@needs_dlib
def test_nobody_enrolled_and_too_few_are_told(tmp_path: Path) -> None:
    """No gallery: exit 1 and what to do. Few photos: a report with the reason, and nothing is written."""
    settings = site_settings(tmp_path)
    before = (tmp_path / "site.toml").read_text()
    empty = command(tmp_path, "calibrate")
    assert empty.returncode == 1
    assert "enrol" in empty.stderr
    from workers.recognizer_dlib import dlib_fingerprint

    settings.data_dir.mkdir()
    with store_in(settings.data_dir) as store:
        keep(
            store,
            people(np.random.default_rng(1), 2, 3, 128),
            *(NewReference(f"p{i // 3}", f"{i}.jpg") for i in range(6)),
        )
        with store.transaction():
            store.stamp(ModelId.parse("dlib/dlib", dlib_fingerprint(), 128))
    report = command_json(tmp_path, "calibrate")
    assert (report["references"], report["people"]) == (6, 2)
    assert report["proposed"]["basis"] == "lowest for the model"
    assert report["written"] is None
    assert (tmp_path / "site.toml").read_text() == before
    assert command(tmp_path, "calibrate", "--fmr", "2").returncode == 2


def test_references_are_the_same_from_files_and_from_a_running_site(tmp_path: Path) -> None:
    """Every live reference once, with its name and row: what was deleted is not among them."""
    pytest.importorskip("dlib")
    settings = site_settings(tmp_path)
    vectors = people(np.random.default_rng(2), 5, 3, 128)
    with files_of(settings) as files:
        from workers.recognizer_dlib import dlib_fingerprint

        keep(files.store, vectors, *(NewReference(f"p{i // 3}", f"{i}.jpg") for i in range(15)))
        with files.store.transaction():
            files.store.stamp(ModelId.parse("dlib/dlib", dlib_fingerprint(), 128))
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        with SiteAccess(settings, silent) as gallery:
            assert gallery.delete("p2") == 3  # no `forget`: that would also publish a generation without dead rows
        running = command_json(tmp_path, "calibrate")
    with files_of(settings) as files:
        references = load_references(files, print)
    assert [references.names[i] for i in references.persons] == ["p0"] * 3 + ["p1"] * 3 + ["p3"] * 3 + ["p4"] * 3
    assert np.allclose(references.vectors, np.delete(vectors, [6, 7, 8], axis=0), atol=1e-6)
    assert running == command_json(tmp_path, "calibrate")
    assert {one["photo"] for one in running["look_alikes"]} <= {f"{i}.jpg" for i in range(15)}


@pytest.fixture(scope="module")
def lfw(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """lfw_mini and friends_enrol enrolled, with a photo of Luis_Ernesto in Jay_Garner's folder; the site, enrol's answer."""
    folder = write_site(tmp_path_factory.mktemp("site"), {}, "# a word of ours\nfps = 4.0  # slow\n")
    shutil.copytree(FACES / "lfw_mini", folder / "lfw")
    shutil.copyfile(folder / "lfw" / "Mike_Myers" / "Mike_Myers_0001.jpg", folder / "lfw" / "Jay_Garner" / "x.jpg")
    (folder / "lfw" / "Mike_Myers" / "Mike_Myers_0001.jpg").unlink()
    done = command(folder, "enrol", str(folder / "lfw"), str(FACES / "friends_enrol"), "--json")
    assert done.returncode == 1, done.stderr  # photos with bystanders
    return folder, json.loads(done.stdout)


@needs_data
def test_enrolment_points_out_who_looks_like_whom(lfw: tuple[Path, dict[str, Any]]) -> None:
    """The one person under two names, and the photo in a wrong folder; nothing else but for what reaches the threshold."""
    _, answer = lfw
    pairs = {frozenset((one["person"], one["looks_like"])) for one in answer["look_alikes"]}
    assert pairs == {frozenset(("Jennifer_Aniston", "Rachel")), frozenset(("Jay_Garner", "Mike_Myers"))}
    assert all(one["score"] >= 0.45 for one in answer["look_alikes"])
    (strange,) = answer["disagrees"]
    assert (strange["person"], Path(strange["photo"]).name) == ("Jay_Garner", "x.jpg")
    assert strange["score"] < 0.35


@needs_data
def test_calibration_of_real_people(lfw: tuple[Path, dict[str, Any]]) -> None:
    """Jennifer_Aniston and Rachel are the most alike two and marked; the planted photo is listed; nothing is written unasked."""
    folder, _ = lfw
    before = (folder / "site.toml").read_bytes()
    report = command_json(folder, "calibrate", "--plot", "scores.svg")
    alike = [one for one in report["look_alikes"] if {"Jay_Garner", "Mike_Myers"} != {one["person"], one["looks_like"]}]
    assert {alike[0]["person"], alike[0]["looks_like"]} == {"Jennifer_Aniston", "Rachel"}
    assert [one["one_person"] for one in alike].count(True) == alike[0]["one_person"] == 1
    (strange,) = report["disagrees"]
    assert (strange["person"], strange["photo"], strange["looks_like"]) == (
        "Jay_Garner",
        "faces/Jay_Garner/x.jpg",
        "Mike_Myers",
    )
    assert report["single_photo_people"] == 6
    assert report["proposed"]["basis"] == report["now"]["basis"] == "strangers_named"
    assert 0.45 <= report["proposed"]["threshold"] < 0.56
    assert report["proposed"]["named_right"] >= 0.97
    assert report["proposed"]["named_wrong"] == 0
    assert report["now"] == {key: report["proposed"][key] for key in report["now"]}
    assert report["now"]["strangers_estimated"] == pytest.approx(0.001)
    assert report["genuine"]["percentiles"]["1"] > report["strangers"]["percentiles"]["99"] - 0.1
    assert sum(report["strangers"]["histogram"]["counts"]) == report["strangers"]["count"]
    ElementTree.parse(folder / "scores.svg")  # noqa: S314  # our own file
    assert (folder / "site.toml").read_bytes() == before
    told = command(folder, "calibrate").stdout
    assert "nothing was changed" in told
    assert "one person under two names?" in told
    assert (folder / "site.toml").read_bytes() == before


@needs_data
def test_written_only_when_told_and_still_a_file_that_loads(lfw: tuple[Path, dict[str, Any]]) -> None:
    """--write puts the share into [recognition], keeps comments, mode and the rest, and leaves no file beside it."""
    folder, _ = lfw
    path = folder / "site.toml"
    path.chmod(0o640)
    before = path.read_text()
    report = command_json(folder, "calibrate", "--fmr", "0.004", "--write")
    after = path.read_text()
    settings = load_settings(path)
    assert report["written"] == str(path)
    assert settings.recognition.strangers_named == 0.004
    assert (settings.recognition.threshold, settings.recognition.margin) == (None, None)
    assert settings.recognition.fps == 4.0
    assert set(before.splitlines()) < set(after.splitlines())
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(folder.glob(".*")) == []
    assert command_json(folder, "calibrate")["now"]["threshold"] == report["proposed"]["threshold"]
