"""Proves that work makes progress which has no loop of ours and no instructions of SQLite's to count: a commit of many pages, a checkpoint, a
check of the whole file.

A second thread does the work, and its processor time is watched: writing a page to a slow disk takes a little of it; waiting for a disk or a
lock that hangs takes none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from shared.process.work_progress import listen

_T = TypeVar("_T")
_CHECK_EVERY_S = 0.25
# Less processor time than this between two checks is no work: retrying a lock now and then takes about as much.
_MIN_CPU_NS = 20_000
# Work that takes processor time for so long without a beat is an endless loop.
_MAX_SILENT_S = 600.0


class Worker:
    """Does one piece of work after the other in a thread of its own. Meanwhile the caller waits and calls `heartbeat`, as long as the
    work makes progress."""

    def __init__(self, heartbeat: Callable[[], None]) -> None:
        self._heartbeat = heartbeat
        self._beats = 0
        self._thread = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="work", initializer=self._begin)

    def _begin(self) -> None:
        self._thread = threading.get_ident()
        listen(self._count)

    def _count(self) -> None:
        self._beats += 1

    def run(self, work: Callable[[], _T]) -> _T:
        """Do `work` in the thread. Returns or raises what it returns or raises."""
        future = self._pool.submit(work)
        beats, cpu_ns, heard_at = self._beats, self._cpu_ns(), time.monotonic()
        while not wait([future], _CHECK_EVERY_S).done:
            now, new_beats, new_cpu_ns = time.monotonic(), self._beats, self._cpu_ns()
            if new_beats != beats:
                heard_at = now
            if new_beats != beats or (new_cpu_ns - cpu_ns >= _MIN_CPU_NS and now - heard_at < _MAX_SILENT_S):
                self._heartbeat()
            beats, cpu_ns = new_beats, new_cpu_ns
        return future.result()

    def _cpu_ns(self) -> int:
        """The processor time of the working thread. Always 0 on a system that can't report it (macOS); there only beats count."""
        clock_of = getattr(time, "pthread_getcpuclockid", None)
        if clock_of is None or not self._thread:
            return 0
        return time.clock_gettime_ns(clock_of(self._thread))

    def close(self) -> None:
        """End the thread. No work may be running."""
        self._pool.shutdown()
