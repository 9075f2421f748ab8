"""Events and sightings: what goes out as JSON comes back, in the order that is promised, and what can't be kept is refused in words."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from shared.errors import RefusedError
from shared.events import MAX_DEPTH, Event, Sighting, new_event, stranger_id, stranger_number

_TIME = "2026-01-31T08:00:00.000Z"
_ALWAYS = [
    "event", "time", "camera", "user_id", "media_time_s", "track", "person", "score", "margin",
    "confidence", "frames", "box",
]  # fmt: skip  # in the order that docs/events.md shows
_SOMETIMES = ["liveness", "verdict", "started", "ended", "duration_s", "reason", "losses"]
_OF_THE_WRITER = ["site", "unknown", "also_at", "corrects", "judged"]
_PRIVATE = {"key", "traces", "fingerprint", "alike", "probe", "nearest", "clear", "picture"}
_NAME = "Ada Lovelace"

_SEEN: dict[str, Any] = {
    "user_id": "e-17", "media_time_s": 12.5, "track": 3, "person": "Zoë", "score": 0.71, "margin": 0.3,
    "confidence": 0.9998, "frames": 3, "box": [1.0, 2.0, 30.5, 40.25],
}  # fmt: skip
_TRACES = [{"embedding": "AACAPw==", "quality": 0.5, "photo": "/9j/"}]
_UNKNOWN: dict[str, Any] = {"track": 4, "traces": _TRACES, "fingerprint": "f" * 64, "alike": 0.45}
EVENTS = [
    Event(key="k1", event="named", time=_TIME, camera="door", **_SEEN, liveness={"verdict": "live", "score": 0.9}),
    Event(key="k2", event="withdrawn", time=_TIME, camera="door", **_SEEN, verdict="unknown"),
    Event(key="k3", event="unknown", time=_TIME, camera="door", **_UNKNOWN),
    Event(key="k4", event="left", time=_TIME, camera="door", **_SEEN, verdict="named", started=_TIME, ended=_TIME,
          duration_s=0.0, traces=[], fingerprint="f" * 64, alike=0.5, probe="AACAPw==", nearest="Zoë", clear=False, picture="/9j/"),
    Event(key="k5", event="camera_up", time=_TIME, camera="door", losses=2),
    Event(key="k6", event="camera_down", time=_TIME, camera="door", reason="no route to host"),
    Event(key="k7", event="applauded", time=_TIME, camera="door", more={"loudness": [1, {"db": None}], "by": "all"}),
]  # fmt: skip


def over_json(document: dict[str, Any]) -> Any:
    """As the other side has it."""
    return json.loads(json.dumps(document, allow_nan=False))


def kept(event: Event, **given: Any) -> Sighting:
    """The sighting of an event, with all that the writer adds."""
    by_writer: dict[str, Any] = {
        "id": 41,
        "site": "head office",
        "unknown": "stranger-7",
        "also_at": [{"camera": "yard", "track": 1}],
        "corrects": 7,
        "judged": "wrong",
    }
    return Sighting(**{one.name: getattr(event, one.name) for one in fields(Event)}, **by_writer | given)


def public(sighting: Sighting) -> Sighting:
    """What of it others may know."""
    secrets: dict[str, Any] = dict.fromkeys(_PRIVATE - {"key"})
    return replace(sighting, key="", **secrets)


# --- both ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.event)
def test_an_event_comes_back(event: Event) -> None:
    """All of it, what is for the writer alone too."""
    assert Event.from_json(over_json(event.to_json())) == event


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.event)
@pytest.mark.parametrize("given", [{}, dict.fromkeys(_OF_THE_WRITER)], ids=["all", "least"])
def test_a_sighting_comes_back(event: Event, given: dict[str, Any]) -> None:
    """From its public document, and from the one that is stored, where its id is the row's."""
    sighting = kept(event, **given)
    assert Sighting.from_json(over_json(sighting.to_json())) == public(sighting)
    stored = json.dumps(sighting.to_stored()).encode()
    assert "id" not in json.loads(stored)
    assert Sighting.from_stored(41, stored) == public(sighting)
    assert Sighting.from_stored(42, stored) == replace(public(sighting), id=42)


def test_an_event_of_now() -> None:
    """Has a key of its own, and its time to the millisecond, in UTC."""
    one, two = (new_event("door", "camera_down", 1769846400.1234, reason="why") for _ in range(2))
    assert (one.time, one.camera, one.event, one.reason) == ("2026-01-31T08:00:00.123Z", "door", "camera_down", "why")
    assert one.key != two.key
    assert Event.from_json(over_json(one.to_json())) == one


# --- what is shown --------------------------------------------------------------------------------------------------


def test_fields_are_shown_in_their_order() -> None:
    """`id` first, then what every event has, though it may say nothing, then what says something, then what the writer adds."""
    least = Event(key="k", event="camera_up", time=_TIME, camera="door")
    assert list(kept(least, **dict.fromkeys(_OF_THE_WRITER)).to_json()) == ["id", *_ALWAYS]
    assert list(least.to_json()) == ["key", *_ALWAYS]
    names = [one.name for one in fields(Event) if one.name in _SOMETIMES]
    said: dict[str, Any] = {
        "liveness": {}, "verdict": "named", "started": _TIME, "ended": _TIME, "duration_s": 1.5, "reason": "", "losses": 0,
    }  # fmt: skip
    assert sorted(names) == sorted(_SOMETIMES)
    most = replace(least, **_SEEN, **said, more={"loudness": 3})
    assert list(kept(most).to_json()) == ["id", *_ALWAYS, *_SOMETIMES, "loudness", *_OF_THE_WRITER]
    assert list(most.to_json()) == ["key", *_ALWAYS, *_SOMETIMES, "loudness"]


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.event)
def test_what_is_private_is_in_no_sighting(event: Event) -> None:
    """Neither what is handed on nor what is stored has the key, a face or what strangers are known by, also where a document brought it."""
    secret = replace(
        event,
        key="the-key",
        traces=_TRACES,
        fingerprint="f" * 64,
        alike=0.123456,
        probe="AACAPw==",
        nearest="Eve",
        clear=True,
        picture="cGljdHVyZQ==",
    )
    sighting = kept(secret)
    brought = Sighting.from_json({**sighting.to_json(), **{name: getattr(secret, name) for name in _PRIVATE}})
    for document in (sighting.to_json(), sighting.to_stored(), brought.to_json(), brought.to_stored()):
        assert not _PRIVATE & set(document)
        assert not [
            one for one in ("the-key", "AACAPw==", "f" * 64, "0.123456", "Eve", "cGlj") if one in json.dumps(document)
        ]
    assert set(secret.to_json()) >= _PRIVATE


def test_unknown_fields_survive() -> None:
    """Of a newer camera, and of a newer writer: whatever they hold, at every step."""
    new: dict[str, Any] = {"colour": "blue", "hats": [{"size": None}], "more": {"or": "less"}, "dir": [1.5, True]}
    event = Event.from_json({**EVENTS[0].to_json(), **new})
    assert event == replace(EVENTS[0], more=new)
    sighting = kept(event)
    assert new.items() <= sighting.to_json().items()
    read = Sighting.from_stored(41, json.dumps(sighting.to_stored()).encode())
    assert read == public(sighting)
    assert read is not None
    assert Sighting.from_json(over_json({**read.to_json(), "later": 1})).more == {**new, "later": 1}


def test_a_camera_does_not_say_what_is_the_writers() -> None:
    """Its `id`, `site`, stranger and other places are nothing to go by: the sighting's own are shown."""
    told = {"id": 99, "site": "another", "unknown": "stranger-1", "also_at": [{"camera": "moon"}]}
    told |= {"corrects": 1, "judged": "right", "crop": True}
    event = Event.from_json({**EVENTS[2].to_json(), **told})
    assert event == EVENTS[2]
    document = kept(event, **dict.fromkeys(_OF_THE_WRITER[1:])).to_json()
    assert {name: document.get(name) for name in told} == {
        "id": 41,
        "site": "head office",
        "unknown": None,
        "also_at": None,
        "corrects": None,
        "judged": None,
        "crop": None,
    }


# --- what is refused ------------------------------------------------------------------------------------------------

_FAULTS: list[tuple[str, Any]] = [
    ("event", None), ("event", _NAME), ("event", 7), ("event", "x" * 41), ("event", [_NAME]),
    ("time", None), ("time", _NAME), ("time", "2026-01-31T08:00:00"), ("time", "2026-01-31T08:00:00+01:00"), ("time", 1769846400),
    ("camera", None), ("camera", ""), ("camera", {"name": _NAME}), ("camera", f"{_NAME}\0"), ("camera", _NAME * 400),
    ("user_id", 5), ("user_id", [_NAME]), ("person", {"name": _NAME}), ("person", "\ud800"), ("reason", 1.5),
    ("verdict", _NAME), ("verdict", {}), ("media_time_s", _NAME), ("media_time_s", True), ("score", "0.7"), ("margin", []),
    ("duration_s", 1e300), ("track", 1.5), ("track", "1"), ("track", True), ("track", 1 << 63), ("frames", _NAME), ("losses", 0.5),
    ("started", _NAME), ("ended", "yesterday"), ("box", _NAME), ("box", [1, 2, 3]), ("box", [1, 2, 3, _NAME]), ("box", {}),
    ("liveness", _NAME), ("liveness", [1]), ("site", 7), ("unknown", {"id": _NAME}), ("also_at", _NAME), ("also_at", [_NAME]),
    ("picture", "é"), ("picture", "A" * 70_000), ("crop", 1),
    ("probe", 7), ("probe", "é"), ("probe", "A" * 40_000), ("nearest", [_NAME]), ("clear", 1), ("corrects", "7"), ("judged", _NAME),
]  # fmt: skip
_OF_A_CAMERA: list[tuple[str, Any]] = [
    ("key", None), ("key", ""), ("key", 7), ("key", [_NAME]), ("key", _NAME * 400), ("fingerprint", {"of": _NAME}), ("alike", _NAME),
    ("traces", _NAME), ("traces", [_NAME]), ("traces", [{}] * 17), ("traces", [{"photo": _NAME * 100_000}]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), _FAULTS + _OF_A_CAMERA, ids=lambda one: repr(one)[:30])
def test_a_fault_of_an_event_names_the_field(name: str, value: Any) -> None:
    """And what it must be, and holds nothing of what was in it."""
    with pytest.raises(RefusedError) as refused:
        Event.from_json({**EVENTS[0].to_json(), name: value})
    assert refused.value.line().startswith(f"{name} must be ")
    assert _NAME not in refused.value.line()
    assert len(refused.value.line()) < 100


@pytest.mark.parametrize(
    ("name", "value"), [*_FAULTS, ("id", None), ("id", _NAME), ("id", 1.5)], ids=lambda one: repr(one)[:30]
)
def test_a_fault_of_a_sighting_names_the_field(name: str, value: Any) -> None:
    """As of an event; one that is stored so is passed over."""
    document = {**kept(EVENTS[0]).to_json(), name: value}
    with pytest.raises(RefusedError) as refused:
        Sighting.from_json(document)
    assert refused.value.line().startswith(f"{name} must be ")
    assert _NAME not in refused.value.line()
    if name != "id":
        assert Sighting.from_stored(41, json.dumps(document).encode()) is None


@pytest.mark.parametrize(
    ("event", "given", "fault"),
    [
        ("named", {"person": None}, "a named event must have a person and a track"),
        ("named", {"person": ""}, "a named event must have a person and a track"),
        ("named", {"track": None}, "a named event must have a person and a track"),
        ("left", {"track": None}, "the end of a track must have a track"),
        ("withdrawn", {"track": None}, "the end of a track must have a track"),
        ("unknown", {"hats": float("nan")}, "numbers must be finite"),
        ("unknown", {"hats": [float("inf")]}, "numbers must be finite"),
        ("unknown", {"hats": _NAME * 6000}, "an event must have at most 65536 bytes"),
    ],
)
def test_what_does_not_go_together_is_refused(event: str, given: dict[str, Any], fault: str) -> None:
    """In the same words for an event and for a sighting."""
    document = {**kept(EVENTS[0]).to_json(), "key": "k", "event": event, **given}
    for kind in (Event, Sighting):
        with pytest.raises(RefusedError) as refused:
            kind.from_json(document)
        assert refused.value.line() == fault


@pytest.mark.parametrize("value", [None, 7, "named", [], [EVENTS[0].to_json()]])
def test_what_is_no_object_is_no_event(value: object) -> None:
    """Whatever else JSON can hold."""
    for kind in (Event, Sighting):
        with pytest.raises(RefusedError, match="an event must be an object"):
            kind.from_json(value)


def test_how_deep_an_event_may_be() -> None:
    """So deep may a field be, also one that is not known here."""
    deep: list[Any] = []
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    document = {**EVENTS[0].to_json(), "hats": deep}
    assert Event.from_json(document).more == {"hats": deep}
    with pytest.raises(RefusedError, match=f"more than {MAX_DEPTH} deep"):
        Event.from_json({**document, "hats": [deep]})


@pytest.mark.parametrize(
    "document",
    [
        b"", b"\xff\xfe", b"no JSON", b"null", b"7", b"[]", b'"named"', b"{", b"{}", b"[[" * 100_000, b'{"event":' * 100_000,
        json.dumps({**kept(EVENTS[0]).to_stored(), "score": float("nan")}).encode(),
        json.dumps({**kept(EVENTS[0]).to_stored(), "hats": float("-inf")}).encode(),
        json.dumps(kept(EVENTS[0]).to_stored()).encode()[:-1],
        json.dumps(kept(EVENTS[0]).to_stored(), ensure_ascii=False).encode("latin-1"),
    ],
    ids=lambda one: repr(one[:20]),
)  # fmt: skip
def test_odd_bytes_are_no_sighting(document: bytes) -> None:
    """A row that somebody else spoilt is none, and no fault of who reads."""
    assert Sighting.from_stored(41, document) is None


# --- strangers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["stranger-17", "17", " stranger-17\n"])
def test_a_strangers_id_is_read(text: str) -> None:
    """As it is shown; the number alone will do."""
    assert stranger_number(text) == 17
    assert stranger_number(stranger_id(17)) == 17


@pytest.mark.parametrize(
    "text", ["", "stranger-", "stranger 17", "-17", "1.5", "stranger-17x", "9" * 16, "Ada", "x" * 1000]
)
def test_what_is_no_strangers_id_is_refused(text: str) -> None:
    """With a word of what it must be like, and no more of it than a line."""
    with pytest.raises(RefusedError, match="not a stranger's id") as refused:
        stranger_number(text)
    assert len(refused.value.line()) < 250
