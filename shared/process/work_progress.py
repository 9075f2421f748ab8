"""Proves that long work makes progress. The proof comes from the work itself, never from a clock.

Long work calls `beat` in its loop, and SQLite calls it after a number of its own instructions. Some of SQLite's work has no instructions
to count; for that there is worker.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_INSTRUCTIONS = 50_000  # of SQLite's, between two beats: some milliseconds

_listeners: dict[int, Callable[[], None]] = {}  # by thread


def listen(listener: Callable[[], None]) -> None:
    """Have `beat` call `listener` when it is called in this thread. The work of other threads proves nothing for this one's."""
    _listeners[threading.get_ident()] = listener


def beat() -> None:
    """Report that the work in this thread has made progress."""
    listener = _listeners.get(threading.get_ident())
    if listener is not None:
        listener()


def prove_progress(connection: sqlite3.Connection) -> None:
    """Have SQLite call `beat` while it works for this connection."""
    connection.set_progress_handler(beat, _INSTRUCTIONS)  # `beat` returns None, with which SQLite goes on
