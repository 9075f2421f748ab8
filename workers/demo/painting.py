"""Makes the demo's clips and photos from a few pictures: affine views, light, colour, focus, noise, JPEG.

Everything depends only on the frame's number, so the clips are the same every time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import TemporaryError
from workers.recognition.engine import Image

Matrix = NDArray[np.float64]
Box = tuple[float, float, float, float]

WIDTH, HEIGHT = 960, 540
FRAMES_PER_S = 12
FRAMES = 16 * FRAMES_PER_S
CODECS = (("mp4v", ".mp4"), ("MJPG", ".avi"))  # the second is OpenCV's own and needs no FFmpeg
_GREY = np.tile([0.114, 0.587, 0.299], (3, 1))  # ITU-R BT.601 luma, in BGR order


class Key(NamedTuple):
    """A camera's position: at `time_s` the picture's point (`x`, `y`) lies at (`to_x`, `to_y`) of the frame, in pixels; the picture
    is `zoom` times as large, and turned by `tilt_deg`."""

    time_s: float
    x: float
    y: float
    to_x: float
    to_y: float
    zoom: float
    tilt_deg: float = 0.0


class Light(NamedTuple):
    """A camera's light and lens.

    `gain`: brightness, which falls by `swing` and rises again every `period_s`. `warmth`: above 0 is redder. `colour`: 0 is grey,
    1 full colour. `blur_px`: the largest Gaussian sigma of the focus.
    """

    gain: float
    swing: float
    period_s: float
    warmth: float
    colour: float
    blur_px: float
    jpeg_quality: int


class Cutout(NamedTuple):
    """A person who walks into the scene: the picture, BGR (height, width, 3); `mask`, (height, width) float32, 1 on the person, 0
    elsewhere; and the way."""

    picture: Image
    mask: NDArray[np.float32]
    keys: Sequence[Key]


def view(keys: Sequence[Key], time_s: float) -> Matrix:
    """The (2, 3) matrix from picture to frame at `time_s`. Between two keys the movement starts and stops smoothly."""
    place = float(np.interp(time_s, [key.time_s for key in keys], range(len(keys))))
    start = min(int(place), len(keys) - 2)
    share = place - start
    share *= share * (3 - 2 * share)
    ends = zip(keys[start], keys[start + 1], strict=True)
    _, x, y, to_x, to_y, zoom, tilt_deg = (a + (b - a) * share for a, b in ends)
    return _map((x, y), (to_x, to_y), zoom, tilt_deg)


def _map(point: tuple[float, float], to: tuple[float, float], zoom: float, tilt_deg: float) -> Matrix:
    cos, sin = zoom * math.cos(math.radians(tilt_deg)), zoom * math.sin(math.radians(tilt_deg))
    (x, y), (to_x, to_y) = point, to
    return np.array([[cos, -sin, to_x - cos * x + sin * y], [sin, cos, to_y - sin * x - cos * y]])


def soft_mask(outline: Sequence[tuple[int, int]], size: tuple[int, int]) -> NDArray[np.float32]:
    """(height, width) float32, 1 inside `outline` (x, y in pixels), soft at its edge."""
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.array(outline, np.int32)], (255,))
    return (cv2.GaussianBlur(mask, (0, 0), 2.0) / 255).astype(np.float32)


def write_clip(stem: Path, scenery: Image, keys: Sequence[Key], light: Light, visitor: Cutout | None) -> Path:
    """Write `FRAMES` frames to `stem` with the first of CODECS that this OpenCV has. Raises TemporaryError."""
    noise = _noise(seed=len(keys))
    for fourcc, suffix in CODECS:
        path = stem.with_suffix(suffix)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), FRAMES_PER_S, (WIDTH, HEIGHT))
        if not writer.isOpened():
            continue
        for index in range(FRAMES):
            frame = _scene_at(index / FRAMES_PER_S, scenery, keys, visitor)
            writer.write(_through_lens(frame, light, index, noise))
        writer.release()
        return path
    raise TemporaryError(
        "OpenCV can't write the demo's clips",
        where=str(stem.parent),
        expected="mp4v or MJPG video",
        remedy="free space there, or reinstall opencv-python",
    )


def _scene_at(time_s: float, scenery: Image, keys: Sequence[Key], visitor: Cutout | None) -> Image:
    size = (WIDTH, HEIGHT)
    frame = _bytes(cv2.warpAffine(scenery, view(keys, time_s), size, borderMode=cv2.BORDER_REPLICATE))
    if visitor is None or not visitor.keys[0].time_s <= time_s <= visitor.keys[-1].time_s:
        return frame
    where = view(visitor.keys, time_s)
    mask = cv2.warpAffine(visitor.mask, where, size)
    person = cv2.warpAffine(visitor.picture, where, size, borderMode=cv2.BORDER_REPLICATE)
    return _bytes(cv2.blendLinear(person, frame, mask, np.float32(1) - mask))


def _through_lens(frame: Image, light: Light, index: int, noise: NDArray[np.int16]) -> Image:
    time_s = index / FRAMES_PER_S
    dimming = light.swing * (0.5 - 0.5 * math.cos(2 * math.pi * time_s / light.period_s))
    seen = cv2.LUT(frame, _curves(light.gain - dimming, light.warmth))
    if light.colour < 1:
        seen = cv2.transform(seen, light.colour * np.eye(3) + (1 - light.colour) * _GREY)
    # The focus wanders, as that of a cheap lens does.
    seen = cv2.GaussianBlur(seen, (0, 0), light.blur_px * (0.6 + 0.4 * math.sin(2 * math.pi * time_s / 3.7)))
    top = index * 37 % (noise.shape[0] - HEIGHT)
    seen = cv2.add(seen, noise[top : top + HEIGHT], dtype=cv2.CV_8U)
    _, packed = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, light.jpeg_quality])
    unpacked = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return _bytes(seen if unpacked is None else unpacked)


def _curves(gain: float, warmth: float, gamma: float = 1.0) -> Image:
    """(1, 256, 3) lookup table for BGR: brightness, colour temperature, contrast."""
    ramp = 255 * (np.arange(256) / 255) ** gamma * gain
    channels = [ramp * (1 - warmth), ramp, ramp * (1 + warmth)]
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)[None]


def _noise(seed: int) -> NDArray[np.int16]:
    """Sensor noise, (HEIGHT + 256, WIDTH, 3) int16. Each frame uses another window of it."""
    grain = np.random.default_rng(seed).normal(0, 3.0, (HEIGHT + 256, WIDTH, 1))
    return grain.astype(np.int16).repeat(3, axis=2)


def _bytes(image: cv2.typing.MatLike) -> Image:
    return image.astype(np.uint8, copy=False)


class _Style(NamedTuple):
    mirrored: bool
    tilt_deg: float
    gain: float
    gamma: float
    warmth: float
    side_px: int


_STYLES = (
    _Style(True, 0.0, 1.0, 1.0, 0.0, 480),
    _Style(True, 4.0, 1.12, 0.9, 0.06, 520),
    _Style(True, -5.0, 0.8, 1.15, -0.08, 400),
    _Style(False, 6.0, 0.92, 1.3, 0.1, 440),
)


def write_photos(folder: Path, picture: Image, box: Box) -> tuple[Path, ...]:
    """Write four square photos of the face at `box` into `folder`: mirrored, turned, differently lit, of different sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(
        _write_photo(folder / f"photo_{n}.jpg", picture, box, style) for n, style in enumerate(_STYLES, start=1)
    )


def _write_photo(path: Path, picture: Image, box: Box, style: _Style) -> Path:
    x1, y1, x2, y2 = box
    side, middle = style.side_px, style.side_px / 2
    # The face fills half of the photo, so that its neighbours lie outside.
    where = _map(((x1 + x2) / 2, (y1 + y2) / 2), (middle, middle), side / ((x2 - x1) * 2.1), style.tilt_deg)
    photo = cv2.warpAffine(picture, where, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    photo = cv2.LUT(cv2.flip(photo, 1) if style.mirrored else photo, _curves(style.gain, style.warmth, style.gamma))
    cv2.imwrite(str(path), photo, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path
