"""Events: what a camera tells of a track or of itself, and the sightings that are kept of them. This is our public contract.

A camera sends an `Event`; the writer checks it (`Event.from_json`), and keeps and hands on a `Sighting`. Fields and kinds are only ever
added: what is not known here is let through within bounds, in `more`.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, TypedDict

from shared.errors import RefusedError

MAX_DEPTH = 8  # of an event's lists and objects in each other; ours have three
_MAX_DOCUMENT_BYTES = 64 << 10  # of what is kept; ours have some 500
_MAX_TRACES = 16
_MAX_TRACE_BYTES = 1 << 20
_MAX_TEXT_BYTES = 4096
_MAX_WHOLE = (1 << 63) - 1  # what SQLite holds
_KIND = re.compile(r"[a-z_]{1,40}")
_STRANGER_ID = re.compile(r"(?:stranger-)?(\d{1,15})")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of one camera. None: the field says nothing in an event of this kind.

    `key`: the same for the same event, however often it is sent. `event`: named, withdrawn, unknown, left, camera_up, camera_down, and
    kinds to come. Times are ISO 8601 in UTC, ending in Z. `box`: x1, y1, x2, y2 in pixels. `score`, `margin`: cosines.
    `verdict`: of `left` and `withdrawn`; `started`, `ended`, `duration_s`: of `left`; `reason`: of camera_down; `losses`: of camera_up.
    `traces`, `fingerprint`, `alike`: for the writer alone, which knows strangers again by them; they are neither kept nor handed on.
    """

    key: str = ""
    event: str
    time: str
    camera: str
    user_id: str | None = None
    media_time_s: float | None = None
    track: int | None = None
    person: str | None = None
    score: float | None = None
    margin: float | None = None
    frames: int | None = None
    box: Sequence[float] | None = None
    liveness: Mapping[str, Any] | None = None
    verdict: str | None = None
    started: str | None = None
    ended: str | None = None
    duration_s: float | None = None
    reason: str | None = None
    losses: int | None = None
    traces: Sequence[Mapping[str, Any]] | None = None
    fingerprint: str | None = None
    alike: float | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document that a camera sends: the fields that every event has, then those that say something."""
        return {"key": self.key, **self._shown(), **_said(self, _PRIVATE)}

    def _shown(self) -> dict[str, Any]:
        always = {name: getattr(self, name) for name in _ALWAYS}
        return {**always, **_said(self, _SOMETIMES), **self.more}

    @classmethod
    def from_json(cls, document: object) -> Event:
        """Raises RefusedError for what can't be kept: with the field and what it must be, and nothing of what was in it."""
        fault = next(_faults(document, _NEEDED), None)
        if fault is not None:
            raise RefusedError(fault)
        assert isinstance(document, dict)  # else it were a fault
        return cls(**_parted(cls, document))


class Elsewhere(TypedDict):
    """Another track on which a person is seen now."""

    camera: str
    track: int


@dataclass(frozen=True, kw_only=True)
class Sighting(Event):
    """An event as it is kept. `id` is durable and only rises. `unknown`: the stranger it is of. `also_at`: where else the person is."""

    id: int
    site: str | None = None
    unknown: str | None = None
    also_at: Sequence[Elsewhere] | None = None

    def to_json(self) -> dict[str, Any]:
        """The public document, `id` first."""
        return {"id": self.id, **self.to_stored()}

    def to_stored(self) -> dict[str, Any]:
        """The document that is kept under `id`."""
        return {**self._shown(), **_said(self, _WRITERS[1:])}

    @classmethod
    def from_json(cls, document: object) -> Sighting:
        """What `to_json` made, here or in a newer Rollcall. Raises RefusedError."""
        fault = next(_faults(document, _NEEDED_OF_KEPT), None)
        if fault is not None:
            raise RefusedError(fault)
        assert isinstance(document, dict)  # else it were a fault
        return cls(**_parted(cls, document))

    @classmethod
    def from_stored(cls, row_id: int, document: bytes) -> Sighting | None:
        """A row's; None for one that can't be read: no JSON object, too deep, numbers that JSON has not, fields that aren't so."""
        try:
            stored = json.loads(document, parse_constant=_refuse)
            return cls.from_json({**stored, "id": row_id})
        except (ValueError, TypeError, RecursionError, RefusedError):
            return None


_ALWAYS = (
    "event", "time", "camera", "user_id", "media_time_s", "track", "person", "score", "margin", "frames", "box",
)  # fmt: skip  # in the order that they are shown
_SOMETIMES = ("liveness", "verdict", "started", "ended", "duration_s", "reason", "losses")
_PRIVATE = ("traces", "fingerprint", "alike")
_WRITERS = ("id", "site", "unknown", "also_at")  # for the writer to say, whatever a camera says


def _said(event: Event, names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(event, name)) is not None}


def _parted(kind: type[Event], document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that `kind` has by name, and all others but the writer's in `more`."""
    known = {one.name for one in fields(kind)} - {"more"}
    more = {name: value for name, value in document.items() if name not in known and name not in _WRITERS}
    return {**{name: value for name, value in document.items() if name in known}, "more": more}


def new_event(camera: str, kind: str, wall_time: float, **given: Any) -> Event:
    """An event of now, with a key of its own. `wall_time`: seconds since 1970."""
    return Event(key=uuid.uuid4().hex, event=kind, time=iso_time(wall_time), camera=camera, **given)


def iso_time(wall_time: float) -> str:
    """ISO 8601 in UTC to the millisecond, ending in Z. `wall_time`: seconds since 1970."""
    return datetime.fromtimestamp(wall_time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- what is taken ------------------------------------------------------------------------------------------------------


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value and _size(value) <= _MAX_TEXT_BYTES


def _size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return _MAX_TEXT_BYTES + 1


def _is_name(value: object) -> bool:
    return _is_text(value) and value != ""


def _is_kind(value: object) -> bool:
    return isinstance(value, str) and _KIND.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _MAX_WHOLE


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_WHOLE


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
    """What is in them is checked where strangers are kept."""
    return (
        isinstance(value, list)
        and len(value) <= _MAX_TRACES
        and all(isinstance(one, dict) and sum(map(_cost, one.values())) <= _MAX_TRACE_BYTES for one in value)
    )


def _cost(value: object) -> int:
    return len(value) if isinstance(value, str) else 8


def _are_places(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


_Rule = tuple[Callable[[object], bool], str]
_TEXT: _Rule = (_is_text, f"text of at most {_MAX_TEXT_BYTES} bytes")
_NAME: _Rule = (_is_name, f"text of 1 to {_MAX_TEXT_BYTES} bytes")
_NUMBER: _Rule = (_is_number, "a number")
_WHOLE: _Rule = (_is_whole, "a whole number")
_TIME: _Rule = (_is_time, "a time like 2026-01-31T08:00:00.000Z")
_KIND_RULE: _Rule = (_is_kind, "a word in small letters")
_OBJECT: _Rule = (lambda value: isinstance(value, dict), "an object")
_OF_EVERY: dict[str, _Rule] = {"event": _KIND_RULE, "time": _TIME, "camera": _NAME}
_NEEDED: dict[str, _Rule] = {"key": _NAME, **_OF_EVERY}
_NEEDED_OF_KEPT: dict[str, _Rule] = {"id": _WHOLE, **_OF_EVERY}
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
    "losses": _WHOLE,
    "started": _TIME,
    "ended": _TIME,
    "box": (_is_box, "four numbers"),
    "liveness": _OBJECT,
    "traces": (_are_traces, f"at most {_MAX_TRACES} traces"),
    "site": _TEXT,
    "unknown": _TEXT,
    "also_at": (_are_places, "a list of objects"),
}


def _faults(event: object, needed: Mapping[str, _Rule]) -> Iterator[str]:
    if not isinstance(event, dict):
        yield "an event must be an object"
        return
    yield from (f"{name} must be {expected}" for name, (fits, expected) in needed.items() if not fits(event.get(name)))
    for name, (fits, expected) in _KNOWN.items():
        if event.get(name) is not None and not fits(event[name]):
            yield f"{name} must be {expected}"
    if event["event"] == "named" and not (_is_name(event.get("person")) and _is_whole(event.get("track"))):
        yield "a named event must have a person and a track"
    if event["event"] in ("left", "withdrawn") and not _is_whole(event.get("track")):
        yield "the end of a track must have a track"
    kept = {name: value for name, value in event.items() if name != "traces"}
    if is_deeper(kept, MAX_DEPTH):
        yield f"lists and objects must not lie in each other more than {MAX_DEPTH} deep"
    try:
        if len(json.dumps(kept, allow_nan=False)) > _MAX_DOCUMENT_BYTES:
            yield f"an event must have at most {_MAX_DOCUMENT_BYTES} bytes"
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


def _refuse(constant: str) -> None:
    raise ValueError(constant)


# --- strangers ----------------------------------------------------------------------------------------------------------


def stranger_id(number: int) -> str:
    """A stranger's id as it is shown: `stranger-17`."""
    return f"stranger-{number}"


def stranger_number(text: str) -> int:
    """The number in an id; the number alone will do. Raises RefusedError."""
    found = _STRANGER_ID.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise RefusedError(
            "not a stranger's id",
            got=repr(text)[:60],
            expected="one like stranger-17",
            remedy="see: supervisor.py people --unknown",
        )
    return int(found.group(1))
