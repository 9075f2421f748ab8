"""The quality gate: whether a crop can be judged, and how much it counts: one number with its parts.

Measured with the small test pack on `lfw_mini`, two photos of a person enrolled and the third degraded (30 people,
genuine score .69 untouched, .45 the threshold), and on a television scene for pose:

    sharpness   blur of 1, 2 and 3 pixels on a face of 56: .38, .24, .20, genuine score .62, .35, .19
                motion over 7 and 13 pixels: .28, .25, genuine score .47, .25; untouched: .54
    brightness  .45 at a mean grey of 12, .62 at 26; .46 at 232, .66 at 183
    noise       a level of 10 and 20 on a sharp face: .72, .64, and 2 and 5 % refused; with a blur of 3 pixels: .27, .21, and 98
                and 94 % refused, none clear. Faces of 40 pixels alike (118 faces, score against two photos)
    frontality  .32 below an eye-to-mouth ratio of .56, .05 below .23, .60 from .56 up; profiles of one person differ
                more than frontal views of two
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.recognition.engine import Face, Image, Points

_MARGIN = 1 / 7  # of a crop on each side: background and hair
_BLUR_OF_SIDE = 1 / 13  # of a crop; 9 pixels of 112
_LOWEST = 0.1  # what a part is worth at the edge of refusal
# One person turned by about 45 degrees agrees with herself from the front by .04 to .27 only, as two people do; from a
# ratio of .75 up by .30 or more.
_CLEAR_POSE = 0.8
_CLEAR_SHARPNESS = 0.3
# Grey levels of noise below which a picture counts as it is; faces in photos and in daylight have .2 to 2.
_MIN_NOISE = 2.5
# Of a face's own contrast. Noise of 10 and 20 on faces in daylight are .14 and .28; at .28 one in twelve enrolled faces of
# 80 pixels and one in three of 40 look like nobody, at .14 one in a hundred and one in 25.
_CLEAR_NOISE = 0.2
_MIN_MEASURED = 8  # pixels a side
_SMOOTHING = (1.0, 0.05)
_STRICT_SMOOTHING = (0.8, 1 / 12)
_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_MEDIAN_OF_MASK = 0.6745 * 6.0  # of |mask * noise| for normal noise of 1: the mask's norm is 6


@dataclass(frozen=True)
class Quality:
    """Each part 0 to 1; 0 refuses the crop. `pose` is None where the engine's points do not tell."""

    size: float
    detector: float
    pose: float | None
    sharpness: float
    brightness: float
    clarity: float = 1.0  # sharpness with doubt counted against it: what it does not look like has to rest on more

    def parts(self) -> dict[str, float]:
        named = {"size": self.size, "detector": self.detector, "pose": self.pose}
        named |= {"sharpness": self.sharpness, "brightness": self.brightness}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def value(self) -> float:
        """0 to 1: the geometric mean of the parts; 0: not to be judged."""
        values = list(self.parts().values())
        return float(np.prod(values) ** (1 / len(values)))

    @property
    def clear(self) -> bool:
        """Whether the crop shows a face well enough for what it does not look like to mean something."""
        return (self.pose is None or self.pose >= _CLEAR_POSE) and min(self.sharpness, self.clarity) >= _CLEAR_SHARPNESS

    @property
    def refused(self) -> list[str]:
        """The parts that refuse the crop; empty: it can be judged."""
        return [name for name, value in self.parts().items() if value == 0.0]


@dataclass(frozen=True)
class Gate:
    """What a crop must have. `points`: what the engine's five points are; the pose is told from the mouth."""

    min_face_px: int
    points: Points = Points.EYES_NOSE_MOUTH

    def of_face(self, face: Face) -> tuple[float, float, float | None]:
        """Size, detector and pose parts: what is known without a crop."""
        size = _ramp(face.width, self.min_face_px, 2 * self.min_face_px)
        return (
            size,
            _ramp(face.det_score, 0.55, 0.8),
            _pose(face.points) if self.points is Points.EYES_NOSE_MOUTH else None,
        )

    def may_pass(self, face: Face) -> bool:
        """False when the face is refused before it is cut out."""
        return 0.0 not in self.of_face(face)

    def judge(self, face: Face, crop: Image, frame: Image | None = None) -> Quality:
        """The whole quality of a face and its aligned BGR crop (side, side, 3).

        `frame`: the BGR picture that it was cut from. Noise is measured there: a small face's crop is enlarged, which
        makes noise look like detail.
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
    """What each part of a quality is judged by: the face's width in pixels, the detector's score, the eyes' distance over
    their distance to the mouth, sharpness, mean grey."""
    grey = _inner_grey(crop)
    found = {"size": face.width, "detector": face.det_score, "pose": eye_mouth_ratio(face.points)}
    noise = noise_level(grey) if frame is None else _noise_of_face(frame, face)
    return {**found, "sharpness": sharpness(grey, noise), "brightness": float(grey.mean())}


def sharpness(grey: NDArray[np.float32], noise: float = 0.0, smoothing: tuple[float, float] = _SMOOTHING) -> float:
    """How much of a grey picture's local contrast a blur takes away, 0 to 1, in the direction where it takes less.

    What is blurred already loses little. After Crété et al., "The blur effect: perception and estimation with a new
    no-reference perceptual blur metric" (2007). It hardly depends on light, contrast or what is shown, and motion blur,
    which spares one direction, shows. Sharp faces have .4 to .6.

    Noise is all local contrast. Where there is some (`noise`, the standard deviation in grey levels), the picture is also
    judged smoothed by a Gaussian of `smoothing`, pixels and pixels a grey level of noise, and the lower answer counts:
    smoothing makes nothing sharper.
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
    """The standard deviation of a picture's noise, in grey levels, by what two second differences leave of it.

    After Immerkær, "Fast noise variance estimation" (1996), with the median for the mean, which edges would raise.
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
    """Distance between the eyes over their distance to the mouth: .9 from the front, .5 far turned, .2 in profile.

    `points`: (5, 2), eyes, nose, corners of the mouth, as in insightface's alignment template (where it is .87).
    """
    eyes, mouth = points[1] - points[0], points[3:5].mean(axis=0) - points[:2].mean(axis=0)
    return float(np.hypot(*eyes) / max(float(np.hypot(*mouth)), 1e-6))


def _pose(points: NDArray[np.float32]) -> float:
    ratio = eye_mouth_ratio(points)
    if ratio > 1.8:  # so foreshortened that it is seen from above or below, or no face at all
        return 0.0
    return _ramp(ratio, 0.5, 0.8)


def _brightness(mean: float) -> float:
    return min(_ramp(mean, 20.0, 50.0), _ramp(255.0 - mean, 20.0, 60.0))


def _ramp(value: float, refused_below: float, full_from: float) -> float:
    """0 below the first limit, then from `_LOWEST` at it to 1 at the second."""
    if not value >= refused_below:  # also refuses NaN
        return 0.0
    return _LOWEST + (1 - _LOWEST) * min(1.0, (value - refused_below) / (full_from - refused_below))


def _inner_grey(crop: Image) -> NDArray[np.float32]:
    edge = round(_MARGIN * crop.shape[0])
    inner = crop[edge : crop.shape[0] - edge, edge : crop.shape[1] - edge]
    return cv2.cvtColor(inner, cv2.COLOR_BGR2GRAY).astype(np.float32)
