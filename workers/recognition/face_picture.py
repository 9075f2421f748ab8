"""The picture of a face: cut out of a frame or a photo, small, a JPEG."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from workers.recognition.engine import Image

Box = tuple[float, float, float, float]  # x1, y1, x2, y2, pixels

SIDE_PX = 160  # a picture's longest side
_AROUND = 1.8  # a picture's side, in longer sides of the face: a head and its shoulders
_JPEG_QUALITY = 85


def face_picture(frame: Image, box: Box) -> bytes:
    """A JPEG of the face in `box` (pixels) and what is around it, of at most SIDE_PX a side. `frame`: BGR (height, width, 3)."""
    return as_jpeg(cut(frame, box, _AROUND, SIDE_PX), _JPEG_QUALITY)


def picture_of(crop: Image) -> bytes:
    """The same from a crop that was cut out before: BGR (height, width, 3)."""
    return as_jpeg(_at_most(crop, SIDE_PX), _JPEG_QUALITY)


def picture_text(picture: bytes) -> str:
    """A picture as an event carries it: base64."""
    return base64.b64encode(picture).decode()


def cut(frame: Image, box: Box, around: float, side_px: int) -> Image:
    """A copy of the frame around a box, `around` times its longer side, at most `side_px` wide and high; cut off where the frame ends."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    reach = around * max(box[2] - box[0], box[3] - box[1]) / 2
    height, width = frame.shape[:2]
    left, right = max(0, round(x - reach)), min(width, round(x + reach))
    top, bottom = max(0, round(y - reach)), min(height, round(y + reach))
    return _at_most(frame[top:bottom, left:right], side_px)


def _at_most(part: Image, side_px: int) -> Image:
    scale = side_px / max(part.shape[:2])
    if scale >= 1:
        return part.copy()
    return np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def as_jpeg(image: Image, quality: int) -> bytes:
    """The image, BGR (height, width, 3), as a JPEG."""
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ValueError("OpenCV could not write a JPEG")
    return data.tobytes()
