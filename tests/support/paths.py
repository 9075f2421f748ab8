"""The paths of real pictures for tests: the test data beside the project, and pictures in installed wheels."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("ROLLCALL_TEST_DATA") or ROOT.parent / "shared" / "data")
SMALL_PACK = DATA / "models" / "mbf512_det500m"
YUNET = DATA / "models" / "yunet" / "face_detection_yunet_2026may.onnx"
FACES = DATA / "faces"
VIDEOS = DATA / "videos"

needs_data = pytest.mark.skipif(
    not SMALL_PACK.is_dir(),
    reason=f"the test data is not at {DATA}; set ROLLCALL_TEST_DATA to where it is",
)
needs_dlib = pytest.mark.skipif(
    importlib.util.find_spec("dlib") is None or importlib.util.find_spec("face_recognition_models") is None,
    reason="dlib is not installed: pip install -c constraints.txt '.[embedded]'",
)


def six_faces() -> Path:
    """insightface's t1.jpg, 1280×886: six faces, each about 100 pixels wide."""
    return _in_package("insightface", "data/images/t1.jpg")


def astronaut() -> Path:
    """scikit-image's astronaut.png, 512×512: one face."""
    return _in_package("skimage", "data/astronaut.png")


def no_faces() -> Path:
    """scikit-image's coffee.png: a cup and a spoon."""
    return _in_package("skimage", "data/coffee.png")


def _in_package(package: str, path: str) -> Path:
    """A file of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.fail(f"{package} is not installed, though Rollcall depends on it")
    return Path(spec.submodule_search_locations[0]) / path
