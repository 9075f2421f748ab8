"""Makes a process overwrite memory as soon as it frees it, so that no name and no embedding of a forgotten person stays in its heap.

The environment can tell glibc to overwrite all memory that goes through its malloc. Its thread caches are an exception, so they are
turned off. Python's small objects go through malloc only if the environment tells Python so. Without glibc nothing is overwritten.

glibc finds a function's address when it is first called, and saves all vector registers on the stack meanwhile: with AVX-512 the last 256 bytes
of what was copied before. LD_BIND_NOW makes it find all addresses at the start.
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
    """`environment`, completed so that a process started with it overwrites what it frees."""
    if not _has_glibc():
        return dict(environment)
    tunables = [*_other_tunables(environment), *_BY_GLIBC]
    return {**environment, "PYTHONMALLOC": "malloc", "LD_BIND_NOW": "1", "GLIBC_TUNABLES": ":".join(tunables)}


def start_over() -> None:
    """Replace this process by the same program, started anew with `overwriting`. Call it first; the new process calls it again.

    Signals that ask for a reload or a stop are blocked from here on, until `let_signals_in`.
    """
    wanted = overwriting(os.environ)
    if wanted == dict(os.environ):  # this process overwrites already; children do so only if they are started so
        for name in ("PYTHONMALLOC", "LD_BIND_NOW"):
            os.environ.pop(name, None)
        os.environ["GLIBC_TUNABLES"] = ":".join(_other_tunables(os.environ))
    elif sys.executable:
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        with contextlib.suppress(OSError):  # a system that permits no execve: then children can't be started either
            os.execve(sys.executable, sys.orig_argv, wanted)  # noqa: S606  # this program, with its own arguments


def let_signals_in() -> None:
    """Unblock the signals that `start_over` blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def _other_tunables(environment: Mapping[str, str]) -> list[str]:
    return [one for one in environment.get("GLIBC_TUNABLES", "").split(":") if one and one not in _BY_GLIBC]


def _has_glibc() -> bool:
    try:
        return sys.platform == "linux" and bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (ValueError, OSError):  # musl has no such name
        return False
