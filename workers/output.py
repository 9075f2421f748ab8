"""What commands print: readable lines, or JSON with --json; always flushed."""

from __future__ import annotations

import json
import sys
from typing import Any


def say(text: str) -> None:
    """A readable line on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """A line for the operator on standard error, which leaves --json's document alone."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def say_json(document: Any, *, line: bool = False) -> None:
    """One JSON document; `line`: on one line, as streams need it."""
    say(json.dumps(document, ensure_ascii=False, indent=None if line else 2))


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
