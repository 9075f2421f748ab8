"""One person's picture as a camera's clip, and as what a browser's webcam shows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 640, 480
_FRAMES, _FRAMES_PER_S = 40, 10
_WEBCAM_FRAMES = 10


def _on_canvas(photo: Path, shift: int = 0) -> NDArray[np.uint8]:
    """The photo in the middle of a grey picture (480, 640, 3), moved by so many pixels."""
    picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    found = cv2.imread(str(photo))
    assert found is not None
    side = HEIGHT
    small = cv2.resize(found, (side, side), interpolation=cv2.INTER_AREA)
    left = (WIDTH - side) // 2 + shift
    picture[:, left : left + side] = small
    return picture


def portrait_clip(photo: Path, path: Path) -> Path:
    """A clip of some seconds, in which the photo moves a little to and fro."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), _FRAMES_PER_S, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for number in range(_FRAMES):
        writer.write(_on_canvas(photo, round(20 * np.sin(2 * np.pi * number / _FRAMES))))
    writer.release()
    return path


def webcam_file(photo: Path, path: Path) -> Path:
    """What Chromium plays as its webcam (--use-file-for-fake-video-capture): YUV4MPEG2, the mirrored photo."""
    mirrored = np.ascontiguousarray(_on_canvas(photo)[:, ::-1])
    frame = b"FRAME\n" + cv2.cvtColor(mirrored, cv2.COLOR_BGR2YUV_I420).tobytes()
    head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{_FRAMES_PER_S}:1 Ip A1:1 C420jpeg\n".encode()
    path.write_bytes(head + frame * _WEBCAM_FRAMES)
    return path
