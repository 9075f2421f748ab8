"""numpy keeps the memory of small arrays for the next ones of their size: an embedding of 128 numbers stays in it."""

from __future__ import annotations

import numpy as np

_CACHED_BELOW_BYTES, _CACHED_EACH = 1024, 7  # numpy/_core/src/multiarray/alloc.c: NBUCKETS, NCACHE


def overwrite_small_arrays() -> None:
    """Fill with zeros what numpy keeps of small arrays that are gone. Takes two milliseconds."""
    for size in range(1, _CACHED_BELOW_BYTES):
        taken = [np.zeros(size, np.uint8) for _ in range(_CACHED_EACH)]
        taken.clear()
