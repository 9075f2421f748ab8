"""Cameras whose HTTP address answers each request with one JPEG. They are asked again and again, which makes a stream."""

from __future__ import annotations

import http.client
import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import numpy as np

from shared.settings.sources import Source, parse_address
from workers.capture.stream_probe import HttpCamera

if TYPE_CHECKING:
    from workers.recognition.engine import Image

_MAX_BYTES = 32 << 20
_MAX_A_SECOND = 5.0  # not more: many cameras take a new snapshot for each request


class Snapshots:
    """A `Video` (see capture.py) made of single JPEGs.

    `fault`: why the last fetch or decoding failed, in words; None: nothing failed.
    """

    def __init__(self, source: Source, fps: float | None, most_pixels: int, sleep: Callable[[float], None]) -> None:
        """`fps`: pictures a second, at most 5; None: 5. `most_pixels`: a larger picture is refused. `sleep`: waits so many
        seconds, or raises when the capture is to stop."""
        address = parse_address(str(source.address))
        assert address is not None  # the probe has already reached this address
        self._camera = HttpCamera(source, address)
        self._interval_s = 1.0 / min(fps or _MAX_A_SECOND, _MAX_A_SECOND)
        self._most_pixels, self._sleep = most_pixels, sleep
        self._due_at = time.monotonic()
        self._jpeg = b""
        self.fault: str | None = None

    def isOpened(self) -> bool:  # OpenCV's name
        return True

    def get(self, prop: int) -> float:  # noqa: ARG002  # OpenCV's signature
        return 0.0

    def grab(self) -> bool:
        """Wait until the next picture is due, and fetch it. False, with `fault` set, when the camera gives none."""
        now = time.monotonic()
        self._sleep(self._due_at - now)
        self._due_at = max(self._due_at, now) + self._interval_s
        try:
            answer = self._camera.get(_MAX_BYTES)
        except (OSError, http.client.HTTPException):
            self.fault = "the camera no longer answers"
            return False
        except ValueError:
            self.fault = f"a picture of more than {_MAX_BYTES >> 20} MiB"
            return False
        if answer.status != http.client.OK:
            self.fault = f"the camera answers {answer.status}"
            return False
        self._jpeg = answer.body
        return True

    def retrieve(self) -> tuple[bool, Image | None]:
        """Decode the fetched picture: (True, BGR (height, width, 3)). (False, None) when it can't be decoded, or is too large;
        its size is read from the JPEG's header, before anything is decoded."""
        from PIL import Image as Pictures  # only cameras of this kind need it
        from PIL import UnidentifiedImageError

        try:
            with Pictures.open(io.BytesIO(self._jpeg)) as head:
                width, height = head.size
        except Pictures.DecompressionBombError:
            self.fault = f"a picture of many more than {self._most_pixels // 10**6} megapixels is too large"
            return False, None
        except (UnidentifiedImageError, OSError, ValueError):
            self.fault = "what came is no picture"
            return False, None
        if width * height > self._most_pixels:
            self.fault = f"a picture of {width} × {height} is too large"
            return False, None
        image = cv2.imdecode(np.frombuffer(self._jpeg, np.uint8), cv2.IMREAD_COLOR)
        return image is not None, None if image is None else np.asarray(image, np.uint8)

    def release(self) -> None:
        self._camera.close()
