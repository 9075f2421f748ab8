"""pack.toml: what a pack says of itself, and what is done if it is wrong; and packs that anybody may use, fetched by name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.errors import ConfigurationError, FaultList
from tests.support.paths import SMALL_PACK, YUNET, needs_data
from tests.support.tiny_pack import DIM, PACK_DOCUMENT, write_described_pack, write_pack_file
from workers.models.packs import describe, install
from workers.models.smoke import group_photo
from workers.recognition.detector import Reach
from workers.recognition.fingerprint import file_sha256
from workers.recognition.free_packs import FREE_PACKS
from workers.recognition.onnx_session import open_session
from workers.recognition.pack import read_pack
from workers.recognition.pack_file import PACK_FILE, parse_pack_file
from workers.recognition.pixels import Pixels
from workers.recognition.yunet import Yunet
from workers.recognizer_arcface import ArcFaceEngine


def test_a_pack_is_what_it_says(tmp_path: Path) -> None:
    """How its input is made, its threshold and margin, and the law scaled to its threshold; another colour is another fingerprint."""
    pack = read_pack(write_described_pack(tmp_path / "a"))
    assert pack.recognition.pixels == Pixels(0.0, 255.0, "BGR")
    assert pack.detection.pixels == Pixels(127.5, 128.0, "RGB")
    engine = ArcFaceEngine(tmp_path / "a", det_size=320, threads=1)
    assert (engine.threshold, engine.margin, engine.dim) == (0.4, 0.04, DIM)
    assert engine.law.score(1e-4) == pytest.approx(0.408 * 0.4 / 0.45)
    assert engine.mirrors
    plain = write_described_pack(tmp_path / "plain", recogniser__mirrors=False)
    assert not ArcFaceEngine(plain, det_size=320, threads=1).mirrors
    assert read_pack(plain).fingerprint() == pack.fingerprint()
    other = read_pack(write_described_pack(tmp_path / "b", recogniser__colour="RGB"))
    assert other.fingerprint() != pack.fingerprint()
    described = describe(tmp_path / "a")
    assert (described.licence, described.commercial_use, described.measured) == ("MIT", True, "on our own photos")


def test_all_faults_are_told_at_once() -> None:
    """Missing, unknown and wrong keys, each with where, what was found and what was expected."""
    document = {
        "licence": 5, "commercial_use": "yes", "source": "", "threshold": 2, "margin": "small", "extra": 1,
        "detector": {"file": "../d.onnx", "sha256": "XY", "kind": "haar", "std": 0},
        "recogniser": {"file": "r.bin", "side_px": 100, "dim": True, "colour": "GBR", "points": "68", "mirrors": 1},
    }  # fmt: skip  # one document
    with pytest.raises(FaultList) as caught:
        parse_pack_file(document, "pack.toml")
    places = {fault.where.removeprefix("pack.toml: ") for fault in caught.value.faults}
    assert places == {
        "licence", "commercial_use", "source", "threshold", "margin", "measured", "extra", "[detector] file",
        "[detector] sha256", "[detector] kind", "[detector] std", "[recogniser] file", "[recogniser] sha256",
        "[recogniser] side_px", "[recogniser] dim", "[recogniser] colour", "[recogniser] points",
        "[recogniser] mirrors",
    }  # fmt: skip  # a set
    assert all(fault.expected for fault in caught.value.faults)
    assert parse_pack_file(PACK_DOCUMENT, "pack.toml").recogniser.pixels == Pixels(0.0, 255.0, "BGR")


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"detector__sha256": "0" * 64}, "d.onnx: is another file"),
        ({"recogniser__sha256": "0" * 64}, "r.onnx: is another file"),
        ({"recogniser__file": "gone.onnx"}, "gone.onnx: is missing"),
        ({"detector__kind": "yunet"}, "d.onnx: is no such detector"),
        ({"recogniser__dim": 512}, "r.onnx: is another recogniser"),
        ({"recogniser__side_px": 128}, "r.onnx: is another recogniser"),
    ],
)
def test_files_that_are_not_as_described_are_refused(tmp_path: Path, changed: dict[str, Any], what: str) -> None:
    with pytest.raises(FaultList, match=what):
        read_pack(write_described_pack(tmp_path / "a", **changed))


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    folder = write_described_pack(tmp_path / "a")
    (folder / PACK_FILE).write_text("licence = ", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        read_pack(folder)


@needs_data
def test_yunet_finds_the_faces_that_opencv_finds() -> None:
    """The same boxes, points and scores as OpenCV's own detector, in a frame whose sides are no multiples of the stride."""
    photo = group_photo()
    assert photo is not None
    for width in (640, 500):
        frame = cv2.resize(photo, (width, round(photo.shape[0] * width / photo.shape[1])))
        own = cv2.FaceDetectorYN.create(str(YUNET), "", (frame.shape[1], frame.shape[0]), 0.6, 0.3, 5000)
        _, wanted = own.detect(frame)
        [faces] = Yunet(open_session(YUNET, threads=1)).search(np.asarray(frame, np.uint8), [Reach(width)])
        assert len(faces) == len(wanted) == 6
        for face, row in zip(faces, sorted(wanted, key=lambda row: -row[14]), strict=True):
            x, y, wide, high = row[:4]
            assert face.box == pytest.approx((max(x, 0), max(y, 0), x + wide, y + high), abs=0.05)
            assert face.points.reshape(-1) == pytest.approx(row[4:14], abs=0.05)
            assert face.det_score == pytest.approx(row[14], abs=1e-3)


@needs_data
@pytest.mark.parametrize(
    ("detector_std", "recogniser_std", "fault"),
    [(1.0, 127.5, ""), (60.0, 127.5, "the detector finds 0 faces"), (1.0, 1.0, "a face and its mirror image agree")],
)
def test_a_wrong_normalisation_is_found_when_it_is_installed(
    tmp_path: Path, detector_std: float, recogniser_std: float, fault: str
) -> None:
    """Before a pack that describes itself is used, it has to tell the people of a photo apart."""
    source, name = tmp_path / "mine", "w600k_mbf.onnx"
    [recognition] = [path for path in SMALL_PACK.glob("*.onnx") if not path.name.startswith("det")]
    source.mkdir()
    shutil.copyfile(recognition, source / name)
    shutil.copyfile(YUNET, source / "yunet.onnx")
    mean = 127.5 if recogniser_std > 1 else 0.0
    document = {
        **PACK_DOCUMENT,
        "detector": {"file": "yunet.onnx", "sha256": file_sha256(YUNET), "kind": "yunet", "std": detector_std},
        "recogniser": {"file": name, "sha256": file_sha256(recognition), "side_px": 112, "dim": 512, "mean": mean, "std": recogniser_std},
    }  # fmt: skip  # one document
    write_pack_file(source, document)
    if fault:
        with pytest.raises(ConfigurationError, match=fault):
            install(source, tmp_path / "models")
        assert not any(path.name == "mine" for path in (tmp_path / "models").iterdir())
    else:
        assert install(source, tmp_path / "models").dim == 512
        assert (tmp_path / "models" / "mine" / PACK_FILE).exists()


@needs_data
def test_the_published_file_that_we_have_has_its_sum() -> None:
    for free in FREE_PACKS.values():
        assert free.says.detector.sha256 == file_sha256(YUNET)
        assert free.files[0].size_bytes == YUNET.stat().st_size
        assert [one.name for one in free.files] == [free.says.detector.file, free.says.recogniser.file]
        assert all(one.url.startswith("https://") for one in free.files)
