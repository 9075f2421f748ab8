"""The quality gate, on pictures in installed wheels made worse step by step."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.paths import FACES, SMALL_PACK, astronaut, needs_data
from workers.recognition.engine import Face, Points
from workers.recognition.quality import Gate, Quality, eye_mouth_ratio, sharpness

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
    assert GATE.refuses(worse)
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


def noisy(image: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    noise = np.random.default_rng(7).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_noise_makes_no_face_sharp(crop: NDArray[np.uint8]) -> None:
    """A face out of focus by 3 pixels with a sensor's noise of 10 over it is refused; noise raises no face's sharpness."""
    blurred = np.asarray(cv2.GaussianBlur(crop, (0, 0), 3.0), np.uint8)
    for sigma in (5.0, 10.0, 20.0):
        quality = GATE.judge(face(), noisy(blurred, sigma))
        assert quality.refused == ["sharpness"], sigma
        assert not quality.clear
        assert GATE.judge(face(), noisy(crop, sigma)).sharpness <= GATE.judge(face(), crop).sharpness + 0.05


def test_sharp_face_in_noise_can_still_be_named(crop: NDArray[np.uint8]) -> None:
    """Noise of 10 leaves it fit; in much more, or in little light, what it does not look like means nothing."""
    dark = (crop * 0.4).astype(np.uint8)
    assert GATE.judge(face(), noisy(crop, 10.0)).refused == []
    assert not GATE.judge(face(), noisy(crop, 25.0)).clear
    assert not GATE.judge(face(), noisy(dark, 15.0)).clear


def test_noise_of_a_small_face_is_measured_where_it_was_found(crop: NDArray[np.uint8]) -> None:
    """A crop is enlarged from a face of 40 pixels, and noise with it: it then looks like detail, and is none."""
    small = np.asarray(cv2.resize(crop, (56, 56), interpolation=cv2.INTER_AREA), np.uint8)
    frame = np.zeros((100, 100, 3), np.uint8)
    frame[20:76, 20:76] = noisy(np.asarray(cv2.GaussianBlur(small, (0, 0), 1.5), np.uint8), 10.0)
    enlarged = np.asarray(cv2.resize(frame[20:76, 20:76], (112, 112), interpolation=cv2.INTER_LINEAR), np.uint8)
    found = Face((28.0, 24.0, 68.0, 72.0), FRONT, 0.85)
    assert not GATE.judge(found, enlarged, frame).clear
    assert GATE.judge(found, enlarged, frame).sharpness < GATE.judge(found, enlarged).sharpness


@needs_data
def test_no_photo_that_was_fit_is_refused_for_noise() -> None:
    """Every face of the test people's photos passes by its sharpness, and is clear."""
    from workers.recognizer_arcface import ArcFaceEngine

    engine = ArcFaceEngine(SMALL_PACK, det_size=320, threads=1)
    judged = []
    for path in sorted((FACES / "lfw_mini").rglob("*.jpg"))[::3] + sorted((FACES / "friends_enrol").rglob("*.jpg")):
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        for found in sorted(engine.detect(image), key=lambda one: -one.area)[:1]:
            judged.append(GATE.judge(found, engine.crop(image, found), image))
    assert len(judged) >= 60
    assert [quality for quality in judged if "sharpness" in quality.refused] == []
    assert sum(quality.sharpness >= 0.3 and quality.clarity >= 0.3 for quality in judged) >= len(judged) - 1


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
    quality = Gate(min_face_px=40, points=Points.EYE_CORNERS_NOSE).judge(face(points=turned(0.3)), crop)
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
