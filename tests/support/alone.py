"""Gives the whole machine to a test that measures, while other tests run in several processes (pytest-xdist).

Every test holds a shared lock. A test that is marked `alone` holds it exclusively. Before that lock, each test takes a second lock,
and releases it once it has the first one. A test that waits for the machine holds the second lock, so that no later test overtakes
it. The locks are on an existing folder and an existing file, and nothing is written to either. If a process dies, its locks are free.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

_LIMIT_S = 1800.0  # several times what the longest test may take


class Turn:
    """One process's turns on the machine, among all that use the same `file`."""

    def __init__(self, file: Path) -> None:
        self._gate = os.open(file.parent, os.O_RDONLY)
        self._machine = os.open(file, os.O_RDONLY)
        self._stays_alone = False

    def begin(self, alone: bool) -> None:
        """Wait for the others, where they or we are to be alone."""
        if self._stays_alone:
            return
        end = time.monotonic() + _LIMIT_S
        _take(self._gate, fcntl.LOCK_EX, end)
        _take(self._machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, end)
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def end(self, alone: bool, next_alone: bool) -> None:
        """Between two tests that are both to be alone nobody else comes in."""
        self._stays_alone = alone and next_alone
        if not self._stays_alone:
            fcntl.flock(self._machine, fcntl.LOCK_UN)


def _take(descriptor: int, kind: int, end: float) -> None:
    pause = threading.Event()
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise TimeoutError("no turn for a test: another run in this checkout does not end its own") from None
            pause.wait(0.02)
        else:
            return
