"""Limits that a process sets for itself. One that can't be set is one less, and no reason to stop."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path


def lower_limit(what: int, most: int) -> None:
    """From now on this process may have at most `most` of `what`, a resource.RLIMIT_…; a lower limit that it has stays."""
    with contextlib.suppress(ValueError, OSError):  # a sandbox may refuse even to tell
        soft, hard = resource.getrlimit(what)
        set_already = [value for value in (soft, hard) if value != resource.RLIM_INFINITY]
        resource.setrlimit(what, (min([most, *set_already]), hard))


def allow_cpu(seconds: int) -> None:
    """From now on this process may use so much processor time more, whatever it was allowed before; then it is ended."""
    with contextlib.suppress(ValueError, OSError):
        used = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds, hard))


def may_allocate(more_bytes: int) -> None:
    """From now on this process gets so much more of private memory than it has, and an error instead of more than that.

    RLIMIT_DATA counts what is private and writable; the gallery's shared mapping and its reserved addresses, which
    RLIMIT_AS would count, are neither. Where there is no /proc that says what it has, nothing is limited.
    """
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        lower_limit(resource.RLIMIT_DATA, pages * resource.getpagesize() + more_bytes)


@contextlib.contextmanager
def limited_memory(more_bytes: int) -> Iterator[None]:
    """What this process may allocate meanwhile beyond what it has; allocating more raises MemoryError."""
    before = None
    with contextlib.suppress(ValueError, OSError):
        before = resource.getrlimit(resource.RLIMIT_DATA)
    may_allocate(more_bytes)
    try:
        yield
    finally:
        if before is not None:
            resource.setrlimit(resource.RLIMIT_DATA, before)
