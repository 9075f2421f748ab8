"""The quality gate, on pictures in installed wheels made worse step by step."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data_paths import astronaut
from workers.engines import Face
from workers.quality import Gate, Quality, eye_mouth_ratio, sharpness

GATE = Gate(min_face_px=40)
# insightface's alignment template, 112 pixels: a face from the front.
FRONT = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)


def face(width: float = 100.0, score: float = 0.85, points: NDArray[np.float32] = FRONT) -> Face:
    return Face((10.0, 10.0, 10.0 + width, 10.0 + 1.3 * width), points, score)


@pytest.fixture(scope="module")
def crop() -> NDArray[np.uint8]:
    """The astronaut's face, 112 pixels."""
    image = cv2.imread(str(astronaut()))
    assert image is not None
    return np.asarray(cv2.resize(image[70:175, 170:275], (112, 112), interpolation=cv2.INTER_AREA), np.uint8)


def turned(ratio: float) -> NDArray[np.float32]:
    """The template with the eyes brought together, as a turned head shows them."""
    points = FRONT.copy()
    middle = points[:2].mean(axis=0)
    points[:2] = middle + (points[:2] - middle) * ratio / eye_mouth_ratio(FRONT)
    return points


def test_sharp_frontal_face_is_clear(crop: NDArray[np.uint8]) -> None:
    """Nothing is refused, the number is near 1, and every part of it can be shown."""
    quality = GATE.judge(face(), crop)
    assert quality.refused == []
    assert quality.clear
    assert quality.value > 0.9
    assert set(quality.parts()) == {"size", "detector", "pose", "sharpness", "brightness"}


@pytest.mark.parametrize(
    ("worse", "part"),
    [
        (face(width=39.0), "size"),
        (face(score=0.52), "detector"),
        (face(points=turned(0.4)), "pose"),
        (face(points=turned(2.0)), "pose"),
    ],
)
def test_face_that_is_small_doubtful_or_turned_away_is_refused(worse: Face, part: str, crop: NDArray[np.uint8]) -> None:
    """Each reason by itself refuses, before the crop is cut, and is named."""
    assert not GATE.may_pass(worse)
    assert GATE.judge(worse, crop).refused == [part]
    assert GATE.judge(worse, crop).value == 0.0


def test_smallest_face_allowed_is_judged(crop: NDArray[np.uint8]) -> None:
    """`min_face_px` is the narrowest face that counts, not the widest that does not."""
    assert GATE.judge(face(width=40.0), crop).refused == []


def test_blur_lowers_the_number_and_then_refuses(crop: NDArray[np.uint8]) -> None:
    """Out of focus and motion alike; light and contrast do not count as sharpness."""
    soft = np.asarray(cv2.GaussianBlur(crop, (0, 0), 2.0), np.uint8)
    blurred = np.asarray(cv2.GaussianBlur(crop, (0, 0), 4.0), np.uint8)
    smeared = np.asarray(cv2.blur(crop, (41, 1)), np.uint8)
    assert GATE.judge(face(), soft).sharpness < GATE.judge(face(), crop).sharpness
    assert GATE.judge(face(), blurred).refused == ["sharpness"]
    assert GATE.judge(face(), smeared).refused == ["sharpness"]


def test_sharpness_does_not_depend_on_light(crop: NDArray[np.uint8]) -> None:
    """The same picture at half the light is as sharp."""
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY).astype(np.float32)
    assert sharpness(grey * np.float32(0.5)) == pytest.approx(sharpness(grey), rel=0.05)


@pytest.mark.parametrize("light", [0.05, 3.5])
def test_black_and_burnt_out_faces_are_refused(crop: NDArray[np.uint8], light: float) -> None:
    """Too dark or too bright to tell anybody apart."""
    worse = np.clip(crop.astype(np.float32) * light + (120 if light > 1 else 0), 0, 255).astype(np.uint8)
    assert "brightness" in GATE.judge(face(), worse).refused


def test_half_turned_face_can_name_but_not_deny(crop: NDArray[np.uint8]) -> None:
    """Its likeness to somebody means something; that it is like nobody does not."""
    quality = GATE.judge(face(points=turned(0.6)), crop)
    assert quality.refused == []
    assert not quality.clear


def test_engine_without_such_points_is_not_judged_by_pose(crop: NDArray[np.uint8]) -> None:
    """dlib's five points are eye corners and nose: no pose part, and no refusal for it."""
    quality = Gate(min_face_px=40, points=False).judge(face(points=turned(0.3)), crop)
    assert quality.pose is None
    assert "pose" not in quality.parts()
    assert quality.clear


def test_crops_of_any_side_are_judged_alike(crop: NDArray[np.uint8]) -> None:
    """dlib's crops have 150 pixels, insightface's 112: a sharp face is sharp in both."""
    large = np.asarray(cv2.resize(crop, (150, 150), interpolation=cv2.INTER_CUBIC), np.uint8)
    assert GATE.judge(face(), large).clear


def test_one_number_stands_for_all_parts() -> None:
    """The geometric mean: a part of 0 makes it 0, parts of 1 make it 1."""
    assert Quality(1.0, 1.0, 1.0, 1.0, 1.0).value == 1.0
    assert Quality(1.0, 1.0, None, 0.25, 1.0).value == pytest.approx(0.25**0.25)
    assert Quality(1.0, 1.0, 1.0, 0.0, 1.0).value == 0.0
