"""SIGHUP and SIGTERM in a program's first second, when there is no site yet that could reload or stop. Imports nothing that takes time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

HELD = (signal.SIGHUP, signal.SIGTERM)
_SITE_SIGNALS = (*HELD, signal.SIGINT)
_early: list[int] = []
_before: dict[signal.Signals, object] = {}  # their dispositions at the start: nohup ignores SIGHUP


def hold() -> None:
    """Remember these signals instead of dying of them, until `hand_over` or `let_go`."""
    for number in HELD:
        _before[number] = signal.signal(number, _remember)


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
    """For commands that run no site: the signals mean again what they meant, also those that have come already."""
    for number, before in _before.items():
        signal.signal(number, before)  # type: ignore[arg-type]  # what signal.signal has returned
    for came in _early:
        os.kill(os.getpid(), came)
