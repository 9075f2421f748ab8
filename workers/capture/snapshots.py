"""Cameras whose HTTP address answers each request with one picture. They are asked again and again, which makes a stream."""

from __future__ import annotations

import http.client
import io
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from shared.settings.sources import Source, parse_address
from workers.capture.http_camera import HttpCamera
from workers.capture.video import VideoFault, require_size

if TYPE_CHECKING:
    from workers.recognition.engine import Image

_MAX_BYTES = 32 << 20
_MAX_A_SECOND = 5.0  # not more: many cameras take a new snapshot for each request
_FORMATS = ("JPEG", "PNG")


class Snapshots:
    """One camera's pictures, fetched one by one."""

    def __init__(self, source: Source, fps: float | None, sleep: Callable[[float], None]) -> None:
        """`fps`: pictures a second, at most 5; None: 5. `sleep`: waits so many seconds, or raises when the capture is to stop."""
        address = parse_address(str(source.address))
        assert address is not None  # the probe has already reached this address
        self._camera = HttpCamera(source, address)
        self._interval_s = 1.0 / min(fps or _MAX_A_SECOND, _MAX_A_SECOND)
        self._sleep = sleep

    def images(self) -> Iterator[Image]:
        """The camera's pictures, BGR (height, width, 3) uint8, each when it is due. Raises VideoFault when it gives none."""
        due_at = time.monotonic()
        while True:
            now = time.monotonic()
            self._sleep(due_at - now)
            due_at = max(due_at, now) + self._interval_s
            yield _decoded(self._fetch())

    def _fetch(self) -> bytes:
        try:
            answer = self._camera.get(_MAX_BYTES)
        except (OSError, http.client.HTTPException):
            raise VideoFault("the camera no longer answers") from None
        except ValueError:
            raise VideoFault(f"a picture of more than {_MAX_BYTES >> 20} MiB") from None
        if answer.status != http.client.OK:
            raise VideoFault(f"the camera answers {answer.status}")
        return answer.body

    def close(self) -> None:
        self._camera.close()


def _decoded(data: bytes) -> Image:
    """The picture. Its size is read from its header, before anything is decoded. Raises VideoFault."""
    from PIL import Image as Pictures  # only cameras of this kind need it
    from PIL import UnidentifiedImageError

    try:
        with Pictures.open(io.BytesIO(data), formats=_FORMATS) as picture:
            require_size(*picture.size)
            return np.ascontiguousarray(np.asarray(picture.convert("RGB"), np.uint8)[:, :, ::-1])
    except Pictures.DecompressionBombError:
        raise VideoFault("a picture of many more than 8K's megapixels is too large") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise VideoFault("what came is no picture") from None
