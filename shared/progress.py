"""A progress bar on standard error, for work that takes longer than a second. Outside a terminal it prints a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]  # called with how many are done, and how many there are

_AFTER_S = 1.0  # shorter work needs no bar
_LINE_EVERY_S = 10.0


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """`with progress_bar("enrolling") as progress: progress(done, 100)`."""
    began = time.monotonic()
    if not sys.stderr.isatty():
        yield _lines(what, began)
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    bar = Bar(console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)

    def draw(done: int, count: int) -> None:
        if time.monotonic() - began >= _AFTER_S:
            bar.start()  # a second call has no effect
            bar.update(task, completed=done, total=count)

    try:
        yield draw
    finally:
        bar.stop()


def progress_lines() -> Progress:
    """Progress for a program that runs this command: a JSON object a line on standard error, flushed."""

    def tell(done: int, count: int) -> None:
        sys.stderr.write(f'{{"done": {done}, "of": {count}}}\n')
        sys.stderr.flush()

    return tell


def _lines(what: str, last: float) -> Progress:
    def say(done: int, count: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            sys.stderr.write(f"{what}: {done} of {count}\n")

    return say
