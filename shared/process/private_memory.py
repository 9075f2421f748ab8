"""A process whose memory stays its own: it holds camera passwords and embeddings."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """No core dump of this process, and no other process of the same user may read its memory or trace it (Linux)."""
    # Under the unit's filter this call is refused; there LimitCORE=0 says the same.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
