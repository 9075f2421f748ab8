"""The quality gate: whether a crop is good enough to be embedded, and how much it counts in a vote.

A quality is one number from 0 to 1, made of parts: size, detector score, pose, sharpness, brightness.

Measured with the small test pack on `lfw_mini`: 30 people, two photos of each enrolled, the third degraded. Its genuine
score is .69 untouched; the threshold is .45. Pose was measured on a television scene. How the genuine score falls:

    sharpness   blur of 1, 2 and 3 pixels on a face of 56 pixels: sharpness .38, .24, .20, score .62, .35, .19
                motion over 7 and 13 pixels: sharpness .28, .25, score .47, .25; untouched: sharpness .54
    brightness  score .45 at a mean grey of 12, .62 at 26; .46 at 232, .66 at 183
    noise       a level of 10 and 20 on a sharp face: score .72, .64, and 2 and 5 % refused; with a blur of 3 pixels as well:
                score .27, .21, and 98 and 94 % refused, none clear. The same for faces of 40 pixels (118 faces, score
                against two photos)
    pose        score .32 below an eye-to-mouth ratio of .56, .05 below .23, .60 from .56 up; two profiles of one person
                differ more than frontal views of two people
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.recognition.engine import Face, Image, Points

_MARGIN = 1 / 7  # of a crop's side; so much on each side is not measured: background and hair
_BLUR_OF_SIDE = 1 / 13  # of a crop's side; 9 pixels of 112
_LOWEST = 0.1  # the value of a part that is just good enough not to be refused
# A person turned by about 45 degrees scores only .04 to .27 against the same person from the front, no more than two people
# score. From a ratio of .75 up the score is .30 or more.
_CLEAR_POSE = 0.8
_CLEAR_SHARPNESS = 0.3
# Grey levels. A picture with less noise than this counts as free of noise; faces in photos and in daylight have .2 to 2.
_MIN_NOISE = 2.5
# Noise as a share of the face's own contrast. On faces in daylight, a noise level of 10 is .14 and one of 20 is .28. At .28, one
# in twelve enrolled faces of 80 pixels resembles nobody, and one in three of 40 pixels; at .14, one in a hundred and one in 25.
_CLEAR_NOISE = 0.2
_MIN_MEASURED = 8  # pixels; in a face with a shorter side noise is not measured
_SMOOTHING = (1.0, 0.05)
_STRICT_SMOOTHING = (0.8, 1 / 12)
_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_MEDIAN_OF_MASK = 0.6745 * 6.0  # the median of |mask * noise| for normal noise of 1: the mask's norm is 6


@dataclass(frozen=True)
class Quality:
    """A crop's quality. Each part is 0 to 1; a part of 0 refuses the crop. `pose` is None if the engine's points don't show it.

    `clarity`: like `sharpness`, but measured more strictly where there is noise, so that doubt counts against it. Only a crop
    with clarity may count against a name.
    """

    size: float
    detector: float
    pose: float | None
    sharpness: float
    brightness: float
    clarity: float = 1.0

    def parts(self) -> dict[str, float]:
        named = {"size": self.size, "detector": self.detector, "pose": self.pose}
        named |= {"sharpness": self.sharpness, "brightness": self.brightness}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def value(self) -> float:
        """The geometric mean of the parts, 0 to 1; 0 if the crop is refused."""
        values = list(self.parts().values())
        return float(np.prod(values) ** (1 / len(values)))

    @property
    def clear(self) -> bool:
        """Whether the crop is so good that, if it does not match a person, it counts against that person's name."""
        return (self.pose is None or self.pose >= _CLEAR_POSE) and min(self.sharpness, self.clarity) >= _CLEAR_SHARPNESS

    @property
    def refused(self) -> list[str]:
        """The names of the parts that refuse the crop; empty if it passes."""
        return [name for name, value in self.parts().items() if value == 0.0]


@dataclass(frozen=True)
class Gate:
    """The limits that a crop must meet. `min_face_px`: a face's least width in pixels. `points`: the engine's five points; the
    pose is measured only if the corners of the mouth are among them."""

    min_face_px: int
    points: Points = Points.EYES_NOSE_MOUTH

    def of_face(self, face: Face) -> tuple[float, float, float | None]:
        """The parts size, detector and pose, which need no crop."""
        size = _ramp(face.width, self.min_face_px, 2 * self.min_face_px)
        return (
            size,
            _ramp(face.det_score, 0.55, 0.8),
            _pose(face.points) if self.points is Points.EYES_NOSE_MOUTH else None,
        )

    def refuses(self, face: Face) -> list[str]:
        """The names of the parts that refuse the face already without its crop; empty: it may pass."""
        return [
            name for name, value in zip(("size", "detector", "pose"), self.of_face(face), strict=True) if value == 0.0
        ]

    def judge(self, face: Face, crop: Image, frame: Image | None = None) -> Quality:
        """The quality of a face with its aligned BGR crop (side, side, 3).

        `frame`: the BGR picture that the crop was cut from. Noise is measured there, because the crop of a small face is
        enlarged, and enlarged noise looks like detail.
        """
        size, detector, pose = self.of_face(face)
        grey = _inner_grey(crop)
        noise = noise_level(grey) if frame is None else _noise_of_face(frame, face)
        sharp, clarity = (
            _ramp(sharpness(grey, noise, smoothing), 0.29, 0.42) for smoothing in (_SMOOTHING, _STRICT_SMOOTHING)
        )
        if noise >= max(_MIN_NOISE, _CLEAR_NOISE * float(grey.std())):
            clarity = 0.0
        return Quality(size, detector, pose, sharp, _brightness(float(grey.mean())), clarity)


def measured(face: Face, crop: Image, frame: Image | None = None) -> dict[str, float]:
    """The measured values behind the parts of a quality, by the part's name: the face's width in pixels, the detector's score,
    the eye-to-mouth ratio, sharpness (0 to 1), mean grey (0 to 255)."""
    grey = _inner_grey(crop)
    found = {"size": face.width, "detector": face.det_score, "pose": eye_mouth_ratio(face.points)}
    noise = noise_level(grey) if frame is None else _noise_of_face(frame, face)
    return {**found, "sharpness": sharpness(grey, noise), "brightness": float(grey.mean())}


def sharpness(grey: NDArray[np.float32], noise: float = 0.0, smoothing: tuple[float, float] = _SMOOTHING) -> float:
    """How much of a grey picture's local contrast a blur removes: 0 to 1, the lower value of both directions.

    A picture that is already blurred loses little. After Crété et al., "The blur effect: perception and estimation with a new
    no-reference perceptual blur metric" (2007). The value hardly depends on light, contrast or content. It also shows motion
    blur, which blurs only one direction. Sharp faces have .4 to .6.

    Noise consists of local contrast, so a noisy picture looks sharp. From `_MIN_NOISE` up (`noise` is a standard deviation in grey
    levels) the picture is therefore measured a second time, smoothed by a Gaussian, and the lower value counts. The Gaussian's
    sigma in pixels is smoothing[0] + smoothing[1] · noise.
    """
    plain = _lost_by_blur(grey)
    if noise < _MIN_NOISE:
        return plain
    smooth = cv2.GaussianBlur(grey, (0, 0), smoothing[0] + smoothing[1] * noise).astype(np.float32)
    return min(plain, _lost_by_blur(smooth))


def _noise_of_face(frame: Image, face: Face) -> float:
    left, top = (max(0, int(side)) for side in face.box[:2])
    part = frame[top : int(face.box[3]) + 1, left : int(face.box[2]) + 1]
    if min(part.shape[:2]) < _MIN_MEASURED:
        return 0.0
    return noise_level(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY).astype(np.float32))


def noise_level(grey: NDArray[np.float32]) -> float:
    """The standard deviation of a grey picture's noise, in grey levels, estimated from its second differences.

    After Immerkær, "Fast noise variance estimation" (1996), but with the median in place of the mean, which edges would raise.
    """
    left = np.abs(cv2.filter2D(grey, -1, _NOISE_MASK)[1:-1, 1:-1])
    return float(np.median(left)) / _MEDIAN_OF_MASK


def _lost_by_blur(grey: NDArray[np.float32]) -> float:
    width = 2 * round(_BLUR_OF_SIDE * grey.shape[0] / (1 - 2 * _MARGIN) / 2) + 1
    lost = []
    for axis, kernel in ((0, (1, width)), (1, (width, 1))):
        before = np.abs(np.diff(grey, axis=axis))
        after = np.abs(np.diff(cv2.blur(grey, kernel), axis=axis))
        lost.append(float(np.maximum(before - after, 0).sum()) / max(float(before.sum()), 1.0))
    return min(lost)


def eye_mouth_ratio(points: NDArray[np.float32]) -> float:
    """The distance between the eyes, divided by their distance to the mouth: .9 from the front, .5 if turned far, .2 in profile.

    `points`: (5, 2), pixels: eyes, nose, corners of the mouth. In insightface's alignment template the ratio is .87.
    """
    eyes, mouth = points[1] - points[0], points[3:5].mean(axis=0) - points[:2].mean(axis=0)
    return float(np.hypot(*eyes) / max(float(np.hypot(*mouth)), 1e-6))


def _pose(points: NDArray[np.float32]) -> float:
    ratio = eye_mouth_ratio(points)
    if ratio > 1.8:  # a face seen from far above or below, or no face at all
        return 0.0
    return _ramp(ratio, 0.5, 0.8)


def _brightness(mean: float) -> float:
    return min(_ramp(mean, 20.0, 50.0), _ramp(255.0 - mean, 20.0, 60.0))


def _ramp(value: float, refused_below: float, full_from: float) -> float:
    """0 below the first limit; from there it rises from `_LOWEST` to 1 at the second limit."""
    if not value >= refused_below:  # also refuses NaN
        return 0.0
    return _LOWEST + (1 - _LOWEST) * min(1.0, (value - refused_below) / (full_from - refused_below))


def _inner_grey(crop: Image) -> NDArray[np.float32]:
    edge = round(_MARGIN * crop.shape[0])
    inner = crop[edge : crop.shape[0] - edge, edge : crop.shape[1] - edge]
    return cv2.cvtColor(inner, cv2.COLOR_BGR2GRAY).astype(np.float32)
