"""What an event that a camera sends must be to be kept: types and sizes. What is not known here is let through, within bounds: fields
and kinds are only ever added."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from shared.errors import RefusedError

MOST_DEPTH = 8  # of an event's lists and objects in each other; ours have three
_MOST_DOCUMENT_BYTES = 64 << 10  # of what is kept; ours have some 500
_MOST_TRACES = 16
_MOST_TRACE_BYTES = 1 << 20
_MOST_TEXT_BYTES = 4096
_MOST_WHOLE = (1 << 63) - 1  # what SQLite holds
_KIND = re.compile(r"[a-z_]{1,40}")
_PRIVATE = ("traces",)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value and _size(value) <= _MOST_TEXT_BYTES


def _size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return _MOST_TEXT_BYTES + 1


def _is_name(value: object) -> bool:
    return _is_text(value) and value != ""


def _is_kind(value: object) -> bool:
    return isinstance(value, str) and _KIND.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _MOST_WHOLE


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST_WHOLE


def _is_time(value: object) -> bool:
    """ISO 8601 in UTC, ending in Z: only so is the order of the texts the order of the times."""
    if not isinstance(value, str) or len(value) > 40 or not value.endswith("Z"):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(_is_number(one) for one in value)


def _are_traces(value: object) -> bool:
    """What is in them is looked at by who keeps strangers."""
    return (
        isinstance(value, list)
        and len(value) <= _MOST_TRACES
        and all(isinstance(one, dict) and sum(map(_cost, one.values())) <= _MOST_TRACE_BYTES for one in value)
    )


def _cost(value: object) -> int:
    return len(value) if isinstance(value, str) else 8


_Rule = tuple[Callable[[object], bool], str]
_TEXT: _Rule = (_is_text, f"text of at most {_MOST_TEXT_BYTES} bytes")
_NAME: _Rule = (_is_name, f"text of 1 to {_MOST_TEXT_BYTES} bytes")
_NUMBER: _Rule = (_is_number, "a number")
_WHOLE: _Rule = (_is_whole, "a whole number")
_TIME: _Rule = (_is_time, "a time like 2026-01-31T08:00:00.000Z")
_KIND_RULE: _Rule = (_is_kind, "a word in small letters")
_NEEDED: dict[str, _Rule] = {"key": _NAME, "event": _KIND_RULE, "time": _TIME, "camera": _NAME}
_KNOWN: dict[str, _Rule] = {
    "user_id": _TEXT,
    "person": _TEXT,
    "reason": _TEXT,
    "fingerprint": _TEXT,
    "verdict": _KIND_RULE,
    "media_time_s": _NUMBER,
    "score": _NUMBER,
    "margin": _NUMBER,
    "duration_s": _NUMBER,
    "alike": _NUMBER,
    "track": _WHOLE,
    "frames": _WHOLE,
    "started": _TIME,
    "ended": _TIME,
    "box": (_is_box, "four numbers"),
    "traces": (_are_traces, f"at most {_MOST_TRACES} traces"),
}


def event_fault(event: object) -> str | None:
    """Why `event` can't be kept, or None. The text has the field and what it must be, and nothing of what was in it."""
    return next(_faults(event), None)


def _faults(event: object) -> Iterator[str]:
    if not isinstance(event, dict):
        yield "an event must be an object"
        return
    yield from (f"{name} must be {expected}" for name, (fits, expected) in _NEEDED.items() if not fits(event.get(name)))
    for name, (fits, expected) in _KNOWN.items():
        if event.get(name) is not None and not fits(event[name]):
            yield f"{name} must be {expected}"
    if event["event"] == "named" and not (_is_name(event.get("person")) and _is_whole(event.get("track"))):
        yield "a named event must have a person and a track"
    if event["event"] in ("left", "withdrawn") and not _is_whole(event.get("track")):
        yield "the end of a track must have a track"
    kept = {name: value for name, value in event.items() if name not in _PRIVATE}
    if is_deeper(kept, MOST_DEPTH):
        yield f"lists and objects must not lie in each other more than {MOST_DEPTH} deep"
    try:
        if len(json.dumps(kept, allow_nan=False)) > _MOST_DOCUMENT_BYTES:
            yield f"an event must have at most {_MOST_DOCUMENT_BYTES} bytes"
    except ValueError:
        yield "numbers must be finite"


def is_deeper(value: object, most: int) -> bool:
    """Whether lists and objects of a JSON value lie in each other more than `most` deep."""
    level = [value]
    for _ in range(most + 1):
        level = [
            child
            for one in level
            if isinstance(one, (dict, list))
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def stored_event(row_id: int, document: bytes) -> dict[str, Any] | None:
    """A stored event as it is handed on; None for one that can't be: no JSON object, too deep, numbers that JSON has not."""
    try:
        event = json.loads(document, parse_constant=_refuse)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(event, dict) or is_deeper(event, MOST_DEPTH) or not all(map(_is_finite, event.values())):
        return None
    return {"id": row_id, **event}


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


# Fields of an event that are for the writer alone: they are neither kept in the sighting nor handed on.
PRIVATE_FIELDS = frozenset({"traces", "fingerprint", "alike"})
_ID = re.compile(r"(?:stranger-)?(\d{1,15})")


def stranger_id(number: int) -> str:
    """A stranger's id as it is shown: `stranger-17`."""
    return f"stranger-{number}"


def stranger_number(text: str) -> int:
    """The number in an id; the number alone will do. Raises RefusedError."""
    found = _ID.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise RefusedError(
            "not a stranger's id",
            got=repr(text)[:60],
            expected="one like stranger-17",
            remedy="see: supervisor.py people --unknown",
        )
    return int(found.group(1))
