"""A process that overwrites at once what it frees: a name or an embedding of somebody who is forgotten must not stay in its heap.

glibc does that when it is told to by the environment, for all that goes through its malloc but for its thread caches, which are
therefore off; Python's small objects go through it when Python is told so. Where there is no glibc, nothing is overwritten.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping

from shared.process.early_signals import HELD

_BY_GLIBC = ("glibc.malloc.perturb=170", "glibc.malloc.tcache_count=0")


def overwriting(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` so that a process that is started with it overwrites what it frees."""
    if not _has_glibc():
        return dict(environment)
    tunables = [*_other_tunables(environment), *_BY_GLIBC]
    return {**environment, "PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": ":".join(tunables)}


def start_over() -> None:
    """Be this program once more, from its beginning, as a process that overwrites. To be called first, and again in that process.

    Signals that ask for a reload or a stop wait from here on, until `let_signals_in`.
    """
    wanted = overwriting(os.environ)
    if wanted == dict(os.environ):  # we do; what we start does when it is told so
        os.environ.pop("PYTHONMALLOC", None)
        os.environ["GLIBC_TUNABLES"] = ":".join(_other_tunables(os.environ))
    elif sys.executable:
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        with contextlib.suppress(OSError):  # of a system that lets nobody start a program: nor will it the children
            os.execve(sys.executable, sys.orig_argv, wanted)  # noqa: S606  # ourselves, as we were called


def let_signals_in() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def _other_tunables(environment: Mapping[str, str]) -> list[str]:
    return [one for one in environment.get("GLIBC_TUNABLES", "").split(":") if one and one not in _BY_GLIBC]


def _has_glibc() -> bool:
    try:
        return sys.platform == "linux" and bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (ValueError, OSError):  # musl has no such name
        return False
