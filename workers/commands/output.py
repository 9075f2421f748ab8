"""What commands print: readable lines that steer no terminal, or JSON with --json, exact; always flushed."""

from __future__ import annotations

import json
import sys
from typing import Any

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


def of_nobody(event: dict[str, Any]) -> dict[str, Any]:
    """An event as the journal may hold it: which camera saw what, and the id by which `events` tells whom."""
    return {name: event[name] for name in _OF_NOBODY if name in event}


def event_line(event: dict[str, Any]) -> str:
    """A sighting for people to read."""
    who = event.get("person") or ""
    details = []
    if event.get("score") is not None:
        details.append(f"score {event['score']:.2f}")
    if event.get("margin") is not None:
        details.append(f"margin {event['margin']:.2f}")
    if event["event"] == "left":
        details = [f"after {event['duration_s']:.1f} s", f"verdict {event['verdict']}"]
    if event.get("reason"):
        details.append(str(event["reason"]))
    track = "" if event.get("track") is None else f"#{event['track']}"
    head = f"{event['time'][:19]}Z  {event['camera']:<16} {event['event']:<12} {track:<6}"
    return f"{head} {who}{'  ' if who else ''}{', '.join(details)}".rstrip()
