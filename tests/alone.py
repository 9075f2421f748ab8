"""Tests that measure have the machine to themselves, while the others run in several processes (pytest-xdist).

Every test holds a lock that all share; one that is marked `alone` holds it exclusively. A second lock is taken before it and given
back at once: whoever waits for the machine holds that, so that nobody comes in before them again and again. The locks lie on a folder
and a file that are there already, and nothing is written to either; a process that dies lets go of them.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


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
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def end(self, alone: bool, next_alone: bool) -> None:
        """Between two tests that are both to be alone nobody else comes in."""
        self._stays_alone = alone and next_alone
        if not self._stays_alone:
            fcntl.flock(self._machine, fcntl.LOCK_UN)
