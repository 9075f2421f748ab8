"""The values in a request, taken only when they are what they must be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def vectors_of(blob: bytes | memoryview, rows: int) -> NDArray[np.float32]:
    """(rows, dim) little-endian float32 as sent. Raises ValueError for bytes that are not so many rows."""
    if not rows:
        return np.empty((0, 0), np.float32)
    if not blob or len(blob) % (4 * rows):
        raise ValueError(f"{len(blob)} bytes of vectors for {rows} rows")
    return np.frombuffer(blob, "<f4").reshape(rows, -1)
