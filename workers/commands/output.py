"""Prints what commands answer: lines to read, in which control characters are escaped, or exact JSON. Always flushed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from shared.events import Sighting
from shared.printing import printable

if TYPE_CHECKING:
    from shared.ipc.requests.base import Answer


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 photo", "2 photos". `many`: the plural, if it isn't `one` with an s."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def say(text: str) -> None:
    """Print a line on standard output. Control characters, which names and paths may hold, are escaped."""
    _write(printable(text))


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """Print a line for the operator on standard error, so that the JSON on standard output stays whole."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def say_json(document: Any, *, line: bool = False) -> None:
    """Print one JSON document. `line`: on a single line, as in a stream of objects."""
    text = json.dumps(document, ensure_ascii=False, indent=None if line else 2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a file name that is not UTF-8, or a terminal with another encoding
        text = json.dumps(document, indent=None if line else 2)
    _write(text)


def say_answer(answer: Answer, *, as_json: bool) -> bool:
    """Print the warning of an answer and, with `as_json`, the answer as JSON. Returns whether nothing is left to print."""
    if answer.warning:
        warn(answer.warning)
    if as_json:
        say_json(answer.to_json())
    return as_json


_OF_NOBODY = ("id", "event", "time", "site", "camera", "track", "verdict", "duration_s", "reason", "corrects", "judged")


def of_nobody(sighting: Sighting) -> Sighting:
    """A sighting without the person, as the journal may hold it: with its id, `events` shows who it was."""
    return Sighting(**{name: getattr(sighting, name) for name in _OF_NOBODY})


def event_line(sighting: Sighting) -> str:
    """A sighting as a line to read, with its id, by which it can be corrected."""
    who = sighting.person or ""
    details = []
    if sighting.score is not None:
        details.append(f"score {sighting.score:.2f}")
    if sighting.margin is not None:
        details.append(f"margin {sighting.margin:.2f}")
    if sighting.event == "left":
        details = [f"after {sighting.duration_s or 0.0:.1f} s", f"verdict {sighting.verdict}"]
    if sighting.corrects is not None:
        judged = "is judged no longer" if sighting.judged == "undone" else f"was judged {sighting.judged}"
        details.append(f"event {sighting.corrects} {judged}")
    if sighting.reason:
        details.append(sighting.reason)
    track = "" if sighting.track is None else f"#{sighting.track}"
    head = f"{sighting.time[:19]}Z  {sighting.camera:<16} {sighting.event:<12} {track:<6}"
    return f"{head} {who}{'  ' if who else ''}{', '.join(details)}".rstrip() + f"  (event {sighting.id})"
