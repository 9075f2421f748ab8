"""Keeps a process's memory private, because it holds camera passwords and embeddings."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """Prevent core dumps of this process; on Linux also that other processes of the same user read its memory or trace it."""
    # The systemd unit's filter refuses this call; there LimitCORE=0 does the same.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
