"""Clips in which every frame shows its number, and waiting with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.settings.sources import Source, resolve_source

WIDTH, HEIGHT, FRAMES_PER_S = 160, 120, 25
_BITS = 10
_BLOCK = WIDTH // _BITS


def picture(number: int) -> NDArray[np.uint8]:
    """A BGR picture (120, 160, 3) with `number` in ten black or white columns: it survives every codec."""
    row = [255 * (number >> bit & 1) for bit in range(_BITS) for _ in range(_BLOCK)]
    return np.broadcast_to(np.array(row, np.uint8)[None, :, None], (HEIGHT, WIDTH, 3)).copy()


def number_of(image: NDArray[np.uint8]) -> int:
    """The number in a picture, as it was seen."""
    return sum(int(image[:, bit * _BLOCK + 2 : (bit + 1) * _BLOCK - 2].mean() > 127) << bit for bit in range(_BITS))


def write_clip(path: Path, frames: int = 30, fps: float = FRAMES_PER_S) -> Path:
    """A Motion JPEG file of pictures 0, 1, 2, …; a transport stream (.ts) is MPEG-2."""
    codec = cv2.VideoWriter.fourcc(*("mp2v" if path.suffix == ".ts" else "MJPG"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, fps, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(picture(number))
    writer.release()
    return path


def wait_until(ready: Callable[[], object], what: str, deadline_s: float = 30.0) -> None:
    """Ask every 10 ms until `ready`; fails after the deadline."""
    end, tick = time.monotonic() + deadline_s, threading.Event()
    while not ready():
        assert time.monotonic() < end, f"no {what} within {deadline_s} s"
        tick.wait(0.01)


def source(text: str | int | Path, **options: Any) -> Source:
    """A source as a test's text says it."""
    return resolve_source(str(text) if isinstance(text, Path) else text, "test", **options)
