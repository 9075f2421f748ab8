"""SIGHUP in a program's first second, when there is no site yet that could reload. Imports nothing that takes time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

_SITE_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_early: list[int] = []
_before: list[object] = []  # SIGHUP's disposition at the start: nohup ignores it


def hold() -> None:
    """Remember SIGHUP instead of dying of it, until `hand_over` or `let_go`."""
    _before.append(signal.signal(signal.SIGHUP, _remember))


def _remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a handler's signature
    _early.append(number)


def hand_over(handler: Handler) -> list[int]:
    """From now on `handler` gets SIGTERM, SIGINT and SIGHUP; what came before is returned. For the main thread only."""
    for number in _SITE_SIGNALS:
        signal.signal(number, handler)
    came = list(_early)
    _early.clear()
    return came


def let_go() -> None:
    """For commands that run no site: SIGHUP means again what it meant, also one that has come already."""
    if _before:
        signal.signal(signal.SIGHUP, _before.pop())  # type: ignore[arg-type]  # what signal.signal has returned
        if _early:
            os.kill(os.getpid(), signal.SIGHUP)
