"""Runs the same work in eight threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_COUNT = 8


def eight_threads(work: Callable[[int], None]) -> None:
    """`work(number)`, each in a thread of its own; what one of them raises is raised here."""
    all_there = threading.Barrier(_COUNT)

    def begin(number: int) -> None:
        all_there.wait(60)
        work(number)

    with ThreadPoolExecutor(_COUNT) as threads:
        list(threads.map(begin, range(_COUNT), timeout=60))
