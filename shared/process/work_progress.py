"""Proof that long work goes on: given by the work itself, never by a clock.

Whoever does something long calls `beat` in its loop; SQLite calls it every so many of its own instructions. Some of SQLite's work
has no instructions to count: a commit of many pages, a checkpoint, a whole-file check. For that `Worker` does the work on a second
thread and watches that thread's processor time: writing a page to a slow disk takes a little, waiting for a disk or a lock that
hangs takes none.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

_T = TypeVar("_T")
_INSTRUCTIONS = 50_000  # of SQLite, between two beats: some milliseconds
_LOOK_EVERY_S = 0.25
# Less processor time than this between two looks is not work: a lock that is tried again now and then takes about as much.
_MIN_CPU_NS = 20_000
# Work that only takes processor time, without one beat, for so long is a loop without an end.
_MAX_SILENT_S = 600.0

_listeners: dict[int, Callable[[], None]] = {}  # by thread


def listen(listener: Callable[[], None]) -> None:
    """Have `beat` call `listener` when it is called on this thread. Other threads' work proves nothing for this one's."""
    _listeners[threading.get_ident()] = listener


def beat() -> None:
    """The work on this thread has gone on."""
    listener = _listeners.get(threading.get_ident())
    if listener is not None:
        listener()


def prove_progress(connection: sqlite3.Connection) -> None:
    """Have SQLite call `beat` while it works for this connection."""
    connection.set_progress_handler(beat, _INSTRUCTIONS)  # beat returns None: go on


class Worker:
    """Does pieces of work one after the other on a thread of its own, while the caller waits and calls `heartbeat`, as long as the
    work goes on and no longer."""

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
        """What `work` returns or raises."""
        future = self._pool.submit(work)
        beats, cpu_ns, heard_at = self._beats, self._cpu_ns(), time.monotonic()
        while not wait([future], _LOOK_EVERY_S).done:
            now, new_beats, new_cpu_ns = time.monotonic(), self._beats, self._cpu_ns()
            if new_beats != beats:
                heard_at = now
            if new_beats != beats or (new_cpu_ns - cpu_ns >= _MIN_CPU_NS and now - heard_at < _MAX_SILENT_S):
                self._heartbeat()
            beats, cpu_ns = new_beats, new_cpu_ns
        return future.result()

    def _cpu_ns(self) -> int:
        """Processor time of the working thread; always 0 where the system can't tell (macOS): there only beats count."""
        clock_of = getattr(time, "pthread_getcpuclockid", None)
        if clock_of is None or not self._thread:
            return 0
        return time.clock_gettime_ns(clock_of(self._thread))

    def close(self) -> None:
        """Let the thread go; no work may be running."""
        self._pool.shutdown()
