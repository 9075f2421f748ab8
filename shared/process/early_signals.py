"""Keeps SIGHUP and SIGTERM that come in a program's first second, before there is a site that can reload or stop.

This module imports nothing that takes time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

HELD = (signal.SIGHUP, signal.SIGTERM)
_SITE_SIGNALS = (*HELD, signal.SIGINT)
_early: list[int] = []
_before: dict[signal.Signals, object] = {}  # the handlers at the start; under nohup SIGHUP is ignored


def hold() -> None:
    """Remember these signals, instead of dying, until `hand_over` or `let_go`."""
    for number in HELD:
        _before[number] = signal.signal(number, _remember)


def _remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a handler's signature
    _early.append(number)


def hand_over(handler: Handler) -> list[int]:
    """Let `handler` get SIGTERM, SIGINT and SIGHUP from now on. Returns the signals that came before. For the main thread only."""
    for number in _SITE_SIGNALS:
        signal.signal(number, handler)
    came = list(_early)
    _early.clear()
    return came


def let_go() -> None:
    """For commands that run no site: restore the handlers of the start, and send this process the signals that came meanwhile."""
    for number, before in _before.items():
        signal.signal(number, before)  # type: ignore[arg-type]  # a value that signal.signal returned
    for came in _early:
        os.kill(os.getpid(), came)
