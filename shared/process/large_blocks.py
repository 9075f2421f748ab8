"""Has the system take back the memory of pictures as soon as they are freed.

glibc gives large blocks back at first. But once some were freed, it keeps blocks of their size for the next ones, among all others, and each
thread of its own. A camera that decodes 720p holds 8 MB for nothing then.
"""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BYTES = 1 << 20


def return_large_blocks() -> None:
    """Have glibc map each block from 1 MiB up by itself, and unmap it when it is freed. Does nothing without glibc."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
