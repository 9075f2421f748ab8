"""Tests that measure have the machine to themselves, while the others run in several processes (pytest-xdist).

Every test holds a lock that all share; one that is marked `alone` holds it exclusively. A second lock is taken before it and given
back at once: whoever waits for the machine holds that, so that nobody comes in before them again and again. The locks lie on a folder
and a file that are there already, and nothing is written to either; a process that dies lets go of them.
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
