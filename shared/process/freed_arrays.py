"""Overwrites the memory that numpy keeps of freed small arrays. numpy reuses it for arrays of the same size, and until then an embedding
of 128 numbers stays in it."""

from __future__ import annotations

import numpy as np

_CACHED_BELOW_BYTES, _CACHED_EACH = 1024, 7  # numpy/_core/src/multiarray/alloc.c: NBUCKETS, NCACHE


def overwrite_small_arrays() -> None:
    """Fill the memory that numpy keeps of freed small arrays with zeros. Takes two milliseconds."""
    for size in range(1, _CACHED_BELOW_BYTES):
        taken = [np.zeros(size, np.uint8) for _ in range(_CACHED_EACH)]
        taken.clear()
