"""Limits that a process sets for itself. If a limit can't be set, the process goes on without it."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path


def lower_limit(what: int, most: int) -> None:
    """Limit this process to at most `most` of `what`, a resource.RLIMIT_…. A lower limit that it already has stays."""
    with contextlib.suppress(ValueError, OSError):  # a sandbox may even refuse to read the limit
        soft, hard = resource.getrlimit(what)
        set_already = [value for value in (soft, hard) if value != resource.RLIM_INFINITY]
        resource.setrlimit(what, (min([most, *set_already]), hard))


def allow_cpu(seconds: int) -> None:
    """Allow this process `seconds` of processor time from now on, whatever it was allowed before. Then the kernel ends it."""
    with contextlib.suppress(ValueError, OSError):
        used = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds, hard))


def may_allocate(more_bytes: int) -> None:
    """Allow this process `more_bytes` of private memory beyond what it has. Allocating more than that fails.

    RLIMIT_DATA counts private writable memory. It does not count the gallery's shared mapping and its reserved addresses, which RLIMIT_AS
    would count. Without /proc, which says how much the process has, nothing is limited.
    """
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        lower_limit(resource.RLIMIT_DATA, pages * resource.getpagesize() + more_bytes)


@contextlib.contextmanager
def limited_memory(more_bytes: int) -> Iterator[None]:
    """In this block the process may allocate `more_bytes` beyond what it has. Allocating more raises MemoryError."""
    before = None
    with contextlib.suppress(ValueError, OSError):
        before = resource.getrlimit(resource.RLIMIT_DATA)
    may_allocate(more_bytes)
    try:
        yield
    finally:
        if before is not None:
            resource.setrlimit(resource.RLIMIT_DATA, before)
