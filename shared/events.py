"""Events, which cameras report about a track or about themselves, and sightings, the stored events. This is our public contract.

A camera sends an `Event`. The writer checks it (`Event.from_json`), stores it as a `Sighting`, and passes that on. Fields and kinds of
events are only ever added, never removed. So unknown fields are accepted, within bounds, and kept in `more`.
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

MAX_DEPTH = 8  # how deep an event's lists and objects may be nested; ours are nested three deep
_MAX_DOCUMENT_BYTES = 64 << 10  # of a stored event; ours have some 500
_MAX_TRACES = 16
_MAX_TRACE_BYTES = 1 << 20
_MAX_TEXT_BYTES = 4096
_MAX_PROBE_BYTES = 32 << 10  # in base64; 512 numbers take 2,732
_MAX_PICTURE_BYTES = 64 << 10  # in base64; ours have some 7,000
_MAX_WHOLE = (1 << 63) - 1  # SQLite's largest integer
_KIND = re.compile(r"[a-z_]{1,40}")
_STRANGER_ID = re.compile(r"(?:stranger-)?(\d{1,15})")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of one camera. A field that has no meaning in an event of this kind is None.

    `key`: identifies the event, however often it is sent. `event`: the kind: named, withdrawn, unknown, left, camera_up, camera_down, and
    kinds that are added later. Times are ISO 8601 in UTC, ending in Z. `box`: x1, y1, x2, y2 in pixels. `score`, `margin`: cosines.
    `confidence`: 1 - the share of strangers to this gallery who reach what the decision was made on, 0 to 1.
    `verdict`: in `left` and `withdrawn`. `started`, `ended`, `duration_s`: in `left`. `reason`: in `camera_down`. `losses`: in `camera_up`.
    `traces`, `fingerprint`, `alike`, `probe`, `nearest`, `clear`, `picture`: only for the writer. It recognises strangers by the traces, and
    with the probe, which is the embedding that decided the event, a person can correct it. None of them is part of the event's document, and
    none is passed on. `nearest`: who was named, or whom the face resembles most; `clear`: the probe's crop passed the quality gate as clear;
    `picture`: the face that decided, a JPEG in base64.
    `more`: unknown fields.
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
    confidence: float | None = None
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
    probe: str | None = None
    nearest: str | None = None
    clear: bool | None = None
    picture: str | None = field(default=None, repr=False)
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document that a camera sends: first the fields that every event has, then the others that are not None."""
        return {"key": self.key, **self._shown(), **_given(self, _PRIVATE)}

    def _shown(self) -> dict[str, Any]:
        always = {name: getattr(self, name) for name in _ALWAYS}
        return {**always, **_given(self, _SOMETIMES), **self.more}

    @classmethod
    def from_json(cls, document: object) -> Event:
        """An event from a camera's document. Raises RefusedError if it can't be kept.

        The error has the faulty field and what it must be, and nothing of the document's contents.
        """
        fault = next(_faults(document, _NEEDED), None)
        if fault is not None:
            raise RefusedError(fault)
        assert isinstance(document, dict)  # _faults refuses everything else
        return cls(**_parted(cls, document))


class Elsewhere(TypedDict):
    """Another track on which a person is seen now."""

    camera: str
    track: int


@dataclass(frozen=True, kw_only=True)
class Sighting(Event):
    """A stored event. `id`: never changes, and ids only rise. `unknown`: the id of the stranger that it shows. `also_at`: where else the
    person is at this time. `corrects`, `judged`: in `corrected`, the id of the sighting that a person judged, and the verdict. `crop`: True
    while a picture of the face is kept; it is looked up whenever the sighting is read, and not stored."""

    id: int
    site: str | None = None
    unknown: str | None = None
    also_at: Sequence[Elsewhere] | None = None
    corrects: int | None = None
    judged: str | None = None
    crop: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The public document, `id` first."""
        return {"id": self.id, **self.to_stored(), **_given(self, ("crop",))}

    def to_stored(self) -> dict[str, Any]:
        """The document that is stored under `id`."""
        return {**self._shown(), **_given(self, _STORED)}

    @classmethod
    def from_json(cls, document: object) -> Sighting:
        """A sighting from a document of `to_json`, possibly of a newer Rollcall. Raises RefusedError."""
        fault = next(_faults(document, _NEEDED_OF_KEPT), None)
        if fault is not None:
            raise RefusedError(fault)
        assert isinstance(document, dict)  # _faults refuses everything else
        return cls(**_parted(cls, document))

    @classmethod
    def from_stored(cls, row_id: int, document: bytes) -> Sighting | None:
        """A sighting from a row of the store. None if it can't be read: no JSON object, nested too deep, NaN or infinite numbers, or
        unsound fields."""
        try:
            stored = json.loads(document, parse_constant=_refuse)
            return cls.from_json({**stored, "id": row_id})
        except (ValueError, TypeError, RecursionError, RefusedError):
            return None


_ALWAYS = (
    "event", "time", "camera", "user_id", "media_time_s", "track", "person", "score", "margin",
    "confidence", "frames", "box",
)  # fmt: skip  # in the order in which documents have them
_SOMETIMES = ("liveness", "verdict", "started", "ended", "duration_s", "reason", "losses")
_PRIVATE = ("traces", "fingerprint", "alike", "probe", "nearest", "clear", "picture")
# Only the writer sets these; a camera's values are ignored.
_STORED = ("site", "unknown", "also_at", "corrects", "judged")
_WRITERS = ("id", *_STORED, "crop")


def _given(event: Event, names: Sequence[str]) -> dict[str, Any]:
    """Those of the named fields that are not None."""
    return {name: value for name in names if (value := getattr(event, name)) is not None}


def _parted(kind: type[Event], document: Mapping[str, Any]) -> dict[str, Any]:
    """The document's fields that `kind` has, by name, and in `more` all others, except those that only the writer sets."""
    known = {known_field.name for known_field in fields(kind)} - {"more"}
    more = {name: value for name, value in document.items() if name not in known and name not in _WRITERS}
    return {**{name: value for name, value in document.items() if name in known}, "more": more}


def new_event(camera: str, kind: str, wall_time: float, **given: Any) -> Event:
    """A new event with a new key. `wall_time`: its time, in seconds since 1970. `given`: further fields."""
    return Event(key=uuid.uuid4().hex, event=kind, time=iso_time(wall_time), camera=camera, **given)


def iso_time(wall_time: float) -> str:
    """A time in ISO 8601, UTC, with milliseconds, ending in Z. `wall_time`: seconds since 1970."""
    return datetime.fromtimestamp(wall_time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- which documents are accepted ---------------------------------------------------------------------------------------


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
    """Whether this is ISO 8601 in UTC, ending in Z. Only then do the texts sort in the order of the times."""
    if not isinstance(value, str) or len(value) > 40 or not value.endswith("Z"):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(_is_number(number) for number in value)


def _are_traces(value: object) -> bool:
    """Whether this is a list of objects within bounds. strangers/traces.py checks their contents."""
    return (
        isinstance(value, list)
        and len(value) <= _MAX_TRACES
        and all(isinstance(trace, dict) and sum(map(_cost, trace.values())) <= _MAX_TRACE_BYTES for trace in value)
    )


def _cost(value: object) -> int:
    return len(value) if isinstance(value, str) else 8


def _is_probe(value: object) -> bool:
    """Whether this is text within bounds. The writer checks what it encodes when it stores it."""
    return isinstance(value, str) and value.isascii() and len(value) <= _MAX_PROBE_BYTES


def _is_picture(value: object) -> bool:
    """As for a probe."""
    return isinstance(value, str) and value.isascii() and len(value) <= _MAX_PICTURE_BYTES


def _are_places(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(place, dict) for place in value)


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
    "confidence": _NUMBER,
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
    "probe": (_is_probe, f"text of at most {_MAX_PROBE_BYTES} bytes"),
    "nearest": _TEXT,
    "clear": (lambda value: isinstance(value, bool), "true or false"),
    "picture": (_is_picture, f"text of at most {_MAX_PICTURE_BYTES} bytes"),
    "crop": (lambda value: isinstance(value, bool), "true or false"),
    "corrects": _WHOLE,
    "judged": _KIND_RULE,
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
    kept = {name: value for name, value in event.items() if name not in ("traces", "probe", "picture")}
    if is_deeper(kept, MAX_DEPTH):
        yield f"lists and objects must not be nested more than {MAX_DEPTH} deep"
    try:
        if len(json.dumps(kept, allow_nan=False)) > _MAX_DOCUMENT_BYTES:
            yield f"an event must have at most {_MAX_DOCUMENT_BYTES} bytes"
    except ValueError:
        yield "numbers must be finite"


def is_deeper(value: object, most: int) -> bool:
    """Whether the lists and objects of a JSON value are nested more than `most` deep."""
    level = [value]
    for _ in range(most + 1):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)


# --- strangers ----------------------------------------------------------------------------------------------------------


def stranger_id(number: int) -> str:
    """The id of a stranger, like `stranger-17`."""
    return f"stranger-{number}"


def stranger_number(text: str) -> int:
    """The number in a stranger's id. The number alone is accepted, too. Raises RefusedError."""
    found = _STRANGER_ID.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise RefusedError(
            "not a stranger's id",
            got=repr(text)[:60],
            expected="one like stranger-17",
            remedy="see: supervisor.py people --unknown",
        )
    return int(found.group(1))
