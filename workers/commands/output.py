"""What commands print: readable lines that steer no terminal, or JSON with --json, exact; always flushed."""

from __future__ import annotations

import json
import sys
from typing import Any

from shared.events import Sighting
from shared.printing import printable


def say(text: str) -> None:
    """A readable line on standard output. What names and paths may hold beyond that is escaped."""
    _write(printable(text))


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """A line for the operator on standard error, which leaves --json's document alone."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def say_json(document: Any, *, line: bool = False) -> None:
    """One JSON document; `line`: on one line, as streams need it."""
    text = json.dumps(document, ensure_ascii=False, indent=None if line else 2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a file name with bytes that are no UTF-8, or a terminal of another alphabet
        text = json.dumps(document, indent=None if line else 2)
    _write(text)


_OF_NOBODY = ("id", "event", "time", "site", "camera", "track", "verdict", "duration_s", "reason")


def of_nobody(sighting: Sighting) -> Sighting:
    """A sighting as the journal may hold it: which camera saw what, and the id by which `events` tells whom."""
    return Sighting(**{name: getattr(sighting, name) for name in _OF_NOBODY})


def event_line(sighting: Sighting) -> str:
    """A sighting for people to read."""
    who = sighting.person or ""
    details = []
    if sighting.score is not None:
        details.append(f"score {sighting.score:.2f}")
    if sighting.margin is not None:
        details.append(f"margin {sighting.margin:.2f}")
    if sighting.event == "left":
        details = [f"after {sighting.duration_s or 0.0:.1f} s", f"verdict {sighting.verdict}"]
    if sighting.reason:
        details.append(sighting.reason)
    track = "" if sighting.track is None else f"#{sighting.track}"
    head = f"{sighting.time[:19]}Z  {sighting.camera:<16} {sighting.event:<12} {track:<6}"
    return f"{head} {who}{'  ' if who else ''}{', '.join(details)}".rstrip()
