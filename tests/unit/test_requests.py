"""Requests and answers: what goes to the wire comes back equal, and what is none is refused without the values."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from shared.errors import TemporaryError, UsageError
from shared.events import Event, Sighting
from shared.ipc import wire
from shared.ipc.requests.accesses import (
    AccessAnswer,
    Accesses,
    AccessesPage,
    AccessesUsed,
    AccessFound,
    AddAccess,
    FindAccess,
    RevokeAccess,
    UseLink,
)
from shared.ipc.requests.base import Answer, Counted, Done, Request, Vectors
from shared.ipc.requests.corrections import (
    CorrectionForgotten,
    Corrections,
    CorrectionsPage,
    ForgetCorrection,
    Judged,
    Right,
    UndoCorrection,
    Undone,
    Wrong,
)
from shared.ipc.requests.forgetting import Forget, Forgotten
from shared.ipc.requests.gallery import GalleryInfo, Info, Restore, Restored
from shared.ipc.requests.model import Stage, Staged, Stamp, Switched, SwitchModel, Unstage
from shared.ipc.requests.people import Merge, People, PeoplePage, Rename, Renamed, UndoPeople
from shared.ipc.requests.references import (
    BringBack,
    Compared,
    Cosine,
    Count,
    CoverFound,
    Delete,
    Deleted,
    FindCover,
    FindReferences,
    IsMarked,
    Marked,
    MarkReference,
    OneSided,
    OneSidedFound,
    OneSidedPerson,
    References,
    ReferencesFound,
    ReferencesPage,
    ReferenceState,
    RightPage,
    RightReferences,
    Save,
    Saved,
    SetAside,
)
from shared.ipc.requests.review import (
    Decided,
    DifferentPage,
    DifferentPeople,
    HeedStranger,
    IgnoreStranger,
    MarkDifferent,
    PairOfPeople,
    Review,
    ReviewItem,
    ReviewPage,
    UndoDifferent,
)
from shared.ipc.requests.sightings import (
    CropFound,
    FindCrop,
    FindSightings,
    Follow,
    Record,
    Recorded,
    Sightings,
    SightingsFound,
    SightingsPage,
)
from shared.ipc.requests.site import PutStatus, SiteStatus, Status
from shared.ipc.requests.strangers import (
    ForgetStranger,
    NameStranger,
    StrangerForgotten,
    StrangerNamed,
    Strangers,
    StrangersPage,
)
from shared.ipc.requests.sync import (
    BeginAnew,
    ChangeNews,
    CountUnshown,
    ElsewhereReferences,
    Exchanged,
    FollowChanges,
    FromElsewhere,
    Outgoing,
    OutgoingBatch,
    OutgoingPlain,
    OutgoingSightings,
    OutgoingSightingsBatch,
    PlainBatch,
    RefusedItem,
    Resend,
    Sent,
    SentPlain,
    SentSightings,
    SetBack,
    SyncStanding,
    SyncStatus,
    TakeIn,
    TakeInPlain,
    TakenIn,
)
from shared.ipc.requests.table import REQUESTS, request_of
from shared.model_id import ModelId
from shared.records import (
    Access,
    AccessKind,
    Correction,
    NewReference,
    PeopleChange,
    Person,
    Reference,
    Role,
    Side,
    Stranger,
)
from shared.status import CameraStatus, ChildState, SiteSnapshot, WriterStatus
from tests.support.paths import ROOT

_FOLDER = ROOT / "shared" / "ipc" / "requests"
_RNG = np.random.default_rng(3)
_MODEL = ModelId("insightface", "buffalo_l", "f" * 64, 8)
_EVENT = Event(key="k", event="unknown", time="2026-01-31T08:00:00.000Z", camera="door", box=[1.0, 2.0, 3.0, 4.5])
_SIGHTING = Sighting(
    id=41, event="named", time=_EVENT.time, camera="door", person="Zoë", track=3, site="s", more={"colour": "blue"}
)
_NAME = "Ada Lovelace"
_ACCESS = Access("a2", AccessKind.SESSION, Role.VIEWER, "Zoë", ["door"], _EVENT.time, _EVENT.time, None, "a1", 60.0)

_REFUSED = RefusedItem("reference u-1", "of another model")


def vectors(count: int) -> Vectors:
    return _RNG.standard_normal((count, 8), np.float32)


_SNAPSHOT = SiteSnapshot(
    "site", 7, True, 1.5, WriterStatus(pid=8), {"door": CameraStatus(ChildState.RUNNING, up=True, age_p50_ms=1.5)}
)
_GALLERY = GalleryInfo(
    model="dlib/dlib", fingerprint="f" * 64, dim=128, references=5, set_aside=1, people=2, change_number=9, damaged_rows=1, generation=3,
    published_rows=4, behind=True, nothing_stored="the disk is full", unreadable_sightings=1, crops=3, crop_bytes=15000,
)  # fmt: skip
# Each kind with as little as it takes, and with all that it can have.
ASKED: list[Request[Any]] = [
    Save([]),
    Save([NewReference("Ada", "a.jpg", turn=-0.25)], vectors=vectors(1)),
    Save(
        [NewReference("Ada"), NewReference("Zoë", "faces/Zoë/1.jpg", "e-17", "u-1", "d" * 64)],
        "f" * 64,
        vectors=vectors(2),
    ),
    Delete("Ada"),
    Delete("Ada", "faces/Ada/1.jpg"),
    Count(),
    People(),
    People("Ada", 10),
    People(name="Ada"),
    FindCover("0198-u"),
    References(),
    References("Ada", 7, 10),
    IsMarked("Ada"),
    IsMarked("Ada", "d" * 64),
    Cosine(3, vectors=vectors(1)),
    SetAside("Ada", "faces/Ada/1.jpg", "by hand"),
    BringBack("Ada", "17"),
    MarkReference("Ada", "17", right=True),
    RightReferences(),
    RightReferences(7, 10),
    OneSided(),
    Forget("Ada"),
    Forget("Ada", "1.jpg"),
    Rename("Ada", "Zoë"),
    Merge("Ada", "Zoë"),
    UndoPeople(),
    UndoPeople("Ada", "Zoë"),
    Strangers(),
    Strangers("stranger-1", "stranger-0", 5),
    ForgetStranger("stranger-1"),
    NameStranger("stranger-1", "Ada"),
    Review(),
    Review(7, ["door"]),
    MarkDifferent("u-1", "stranger-1"),
    MarkDifferent("u-1", None, "u-2"),
    DifferentPeople(),
    DifferentPeople(7, 10),
    FindReferences([]),
    FindReferences([3, 9]),
    UndoDifferent("u-1", "stranger-1"),
    UndoDifferent("u-1", None, "u-2"),
    IgnoreStranger("stranger-1"),
    HeedStranger("stranger-1"),
    Record([]),
    Record([_EVENT.to_json(), {"odd": [1, {"deep": None}]}, 7, None, "text"]),
    Sightings(),
    Sightings(5, "2026-01-31T08:00:00.000Z", 0),
    Follow(),
    Follow(1 << 40),
    Wrong(7),
    Right(7),
    Right(7, learn=True),
    UndoCorrection(7),
    Corrections(),
    Corrections(7, 10),
    ForgetCorrection(7),
    FindSightings(),
    FindSightings(9, 3, "Ada", ["door"], ["named"], 5, _EVENT.time, _EVENT.time, "stranger-3"),
    FindCrop(9),
    AddAccess("a1", AccessKind.LINK, Role.ADMIN, "shell", "sha256:" + "0" * 64, None),
    AddAccess(
        "a2",
        AccessKind.SESSION,
        Role.VIEWER,
        "Zoë",
        "sha256:" + "0" * 64,
        60.0,
        ["door"],
        parent="a1",
        session_s=3600.0,
    ),
    UseLink("a1", "sha256:" + "0" * 64, "a2", "sha256:" + "1" * 64),
    FindAccess("a1"),
    Accesses(),
    RevokeAccess("a1"),
    AccessesUsed(["a1", "a2"]),
    Outgoing(90_000),
    Outgoing(45_000, was_too_large=True),
    Sent(7, "b"),
    Sent(7, "b", [_REFUSED]),
    Resend("o", 3, None),
    Resend("o", 3, "a"),
    SetBack("h", "o:2,p:0"),
    BeginAnew(),
    TakeIn("h", "o:1", "o:2", []),
    TakeIn("h", "o:1", "o:2", [{"kind": "deleted", "id": "u-1"}, "no item"]),
    TakeInPlain([], begins=True),
    TakeInPlain([{"person_name": "Ada", "embedding": [0.5]}]),
    OutgoingPlain(0, 90_000),
    SentPlain(0, 7),
    CountUnshown(),
    OutgoingSightings(90_000),
    SentSightings(41),
    Exchanged(_EVENT.time),
    SyncStatus(),
    FollowChanges(),
    FromElsewhere(),
    Stage([], [], "f" * 64),
    Stage([1, 2], [4, 5], "f" * 64, [0.25, None], vectors=vectors(2)),
    Stage([1, 2, 3], [4, 5, 6], "f" * 64, vectors=vectors(3)),
    Unstage(),
    SwitchModel(_MODEL, []),
    SwitchModel(_MODEL, [1, 2]),
    Stamp(_MODEL),
    Info(),
    Restore("copy.db"),
    Status(),
    PutStatus(_SNAPSHOT),
]
_PAGES = (SightingsPage, SightingsFound)  # they hand documents on whole
_EVERYWHERE: dict[str, Any] = {
    "other_copies": ["/old/copy.db"],
    "out_of_reach": ["the journal", "a file called \udcff"],
}
ANSWERED: list[Answer] = [
    Saved(ids=[], updated=0),
    Saved(ids=[3, 1, 2], updated=2),
    Deleted(deleted=3),
    Counted(count=0),
    PeoplePage(people=[], last_change=None),
    PeoplePage(
        people=[Person("Ada", None, 1, None, None), Person("Zoë", "e-17", 2, _EVENT.time, _EVENT.time, 1)],
        last_change=PeopleChange("Zoe", "Zoë", merged=False, at=_EVENT.time),
    ),
    CoverFound(is_known=True, reference=Reference(2, "Zoë", "z.jpg", "d" * 64, 9)),
    CoverFound(is_known=False, reference=None),
    ReferencesPage(
        references=[
            Reference(1, "Ada", None, None, None),
            Reference(2, "Zoë", "z.jpg", "d" * 64, 9, _EVENT.time, _EVENT.time, "by hand"),
        ]
    ),
    Marked(marked=True),
    Compared(cosine=0.25),
    ReferenceState(person="Ada", id=17, photo="faces/Ada/1.jpg", reason="by hand", since=_EVENT.time, already=False, in_use=2),
    RightPage(ids=[3, 9]),
    OneSidedFound(people=[OneSidedPerson(7, Side.LEFT, 2)]),
    ReferenceState(person="Ada", id=18, photo=None, reason=None, since=None, already=True, in_use=3),
    Forgotten(person="Ada", references=0, photos=0, sightings=0, already=True, other_copies=[], out_of_reach=[]),
    Forgotten(
        person="Zoë", spelt_otherwise=["Zoe\u0308"], references=2, photos=1, sightings=3, already=False,
        not_removed=["faces/\udcff.jpg"], **_EVERYWHERE,
    ),
    Renamed(person="Zoë", before="Ada", references=2, kept_once=1, sightings=3),
    StrangersPage(
        strangers=[
            Stranger("stranger-1", _EVENT.time, _EVENT.time, 2, ["door", "yard"], ["strangers/a.jpg"]),
            Stranger("stranger-2", _EVENT.time, _EVENT.time, 1, [], []),
        ]
    ),
    StrangerForgotten(unknown="stranger-1", photos=1, sightings=2, already=False, not_removed=["a.jpg"], **_EVERYWHERE),
    StrangerNamed(unknown="stranger-1", person="Ada", sightings=2),
    Recorded(recorded=1, refused=["key must be text of 1 to 4096 bytes"]),
    SightingsPage(events=[], last_id=9),
    SightingsPage(events=[_SIGHTING, replace(_SIGHTING, id=42, also_at=[{"camera": "yard", "track": 1}])], last_id=42),
    Judged(
        sighting=7, judged="right", person="Ada", already=True, against_all=False, reference=None, expires_at=_EVENT.time
    ),
    Judged(
        sighting=7, judged="wrong", person="Zoë", already=False, replaced="right", against_all=False, looks_like="Ada", reference=3,
        photo="faces/Zoë/1.jpg", expires_at=_EVENT.time,
    ),
    Undone(sighting=7, judged="right", person="Ada", unlearned=1),
    ReviewPage(items=[]),
    ReviewPage(
        items=[
            ReviewItem(
                stranger=Stranger("stranger-7", _EVENT.time, _EVENT.time, 2, ["door"], ["strangers/7.jpg"]),
                person=Person("Zoë", "e-17", 3, _EVENT.time, None, 1, "u-1"),
                score=0.41,
                reference=3,
            ),
            ReviewItem(event={"id": 7, "event": "left"}),
        ]
    ),
    Decided(already=True),
    DifferentPage(pairs=[PairOfPeople(3, "Ada", "Zoë")]),
    ReferencesFound(references=[], people=[], different=[], change_number=0),
    ReferencesFound(
        references=[Reference(3, "Ada", None, None, 2)],
        people=[Person("Ada", None, 1, None, None, 0, "u-1")],
        different=[("u-1", "u-2")],
        change_number=9,
    ),
    CorrectionsPage(corrections=[]),
    CorrectionsPage(
        corrections=[
            Correction(7, "wrong", "Ada", "door", 3, _EVENT.time, _EVENT.time, True, True, None),
            Correction(8, "right", "Zoë", "yard", None, _EVENT.time, _EVENT.time, False, True, 3),
        ]
    ),
    CorrectionForgotten(sighting=7, already=False, **_EVERYWHERE),
    SightingsFound(events=[_SIGHTING], before_id=None),
    SightingsFound(events=[], before_id=7),
    CropFound(camera=None, jpeg=None),
    CropFound(camera="door", jpeg="/9j/"),
    AccessAnswer(access=_ACCESS),
    AccessFound(access=None, secret=None),
    AccessFound(access=_ACCESS, secret="sha256:" + "0" * 64),
    AccessesPage(accesses=[_ACCESS]),
    OutgoingBatch(origin="o", after=3, through=3, items=[]),
    OutgoingBatch(
        origin="o", after=3, through=7, items=[{"kind": "deleted", "id": "u-1"}], lineage="a", next_lineage="b"
    ),
    TakenIn(taken=1, unchanged=2, refused=[_REFUSED]),
    PlainBatch(items=[], through=0),
    PlainBatch(items=[{"person_name": "Ada", "embedding": [0.5]}], through=9),
    OutgoingSightingsBatch(origin="o", after=1, through=41, sightings=[{"id": 41, "person": "Zoë"}]),
    SyncStanding(
        origin="o", hub="h", position="o:2", noted=8, change_number=9, fingerprint="f" * 64, quarantined=1,
        reasons={"of another model": 1}, has_key=True, exchanged_at=_EVENT.time, last_tombstone=4,
    ),
    ChangeNews(change_number=9, sighting=41),
    ElsewhereReferences(ids=[2, 3]),
    Staged(staged=3),
    Done(),
    Switched(switched=False, not_staged=[2, 5]),
    Switched(switched=True, references=4, left_out=1),
    GalleryInfo(
        model=None, fingerprint=None, dim=None, references=None, set_aside=None, people=None, change_number=None, damaged_rows=None, generation=None,
        published_rows=None, behind=False, nothing_stored=None, unreadable_sightings=0,
    ),
    _GALLERY,
    Restored(restored=5, kept_deleted=1, set_aside=2),
    SiteStatus(site=None, gallery=_GALLERY),
]  # fmt: skip


def kind_of(one: object) -> str:
    return type(one).__name__


def over_the_wire(document: dict[str, Any], blob: bytes | memoryview = b"") -> tuple[dict[str, Any], bytes]:
    """A document and its raw bytes as the other process has them."""
    buffer = wire.MessageBuffer()
    buffer.feed(wire.encode(document, blob))
    message = buffer.next()
    assert message is not None
    return message


# --- there and back -------------------------------------------------------------------------------------------------


def test_every_kind_is_tried_here() -> None:
    """No request and no answer is left out above, and each request is found by its own name."""
    assert {type(one) for one in ASKED} == set(REQUESTS.values())
    assert {type(one) for one in ANSWERED} == {kind.answer for kind in REQUESTS.values()}
    assert [kind.op for kind in REQUESTS.values()] == list(REQUESTS)


def test_the_table_lacks_no_request() -> None:
    """Each request that a module of the folder defines can be sent."""
    modules = [import_module(f"shared.ipc.requests.{path.stem}") for path in _FOLDER.glob("[!_]*.py")]
    defined = {one for module in modules for one in vars(module).values() if hasattr(one, "op")}
    assert defined == set(REQUESTS.values())


@pytest.mark.parametrize("asked", ASKED, ids=kind_of)
def test_a_request_comes_back_equal(asked: Request[Any]) -> None:
    """With its vectors, bit for bit, where it has some."""
    arguments, blob = asked.to_wire()
    document, raw = over_the_wire({"op": asked.op, "arguments": arguments}, blob)
    found = request_of(document, raw)
    assert type(found) is type(asked)
    assert found == asked
    sent = getattr(asked, "vectors", None)
    if sent is not None:
        received = getattr(found, "vectors")  # noqa: B009  # of those that have some
        assert received.dtype == np.float32
        assert received.shape == sent.shape
        assert received.tobytes() == sent.tobytes() == raw
    else:
        assert raw == b""


@pytest.mark.parametrize("answered", ANSWERED, ids=kind_of)
@pytest.mark.parametrize("warning", [None, "the backup was removed"])
def test_an_answer_comes_back_equal(answered: Answer, warning: str | None) -> None:
    """With its rows as what they are, and with a warning where there is one; else nothing is said of that."""
    if not isinstance(answered, _PAGES):  # nobody warns while a page is read
        answered = replace(answered, warning=warning)
    document, _ = over_the_wire(answered.to_json())
    assert ("warning" in document) == (answered.warning is not None)
    found = type(answered).from_json(document)
    assert found == answered
    assert [type(one) for one in _rows_of(found)] == [type(one) for one in _rows_of(answered)]


def _rows_of(answer: Answer) -> Iterator[object]:
    return (row for value in vars(answer).values() if isinstance(value, list) for row in value)


def test_vectors_are_sent_as_rows_of_float32() -> None:
    """Whatever they are given as: of another type, in another byte order, a view of every second row."""
    wanted = vectors(2)
    rows = [NewReference("Ada"), NewReference("Zoë")]
    for given in (
        wanted.astype("f8"),
        wanted.astype(">f4"),
        np.repeat(wanted, 2, axis=0)[::2],
        np.asfortranarray(wanted),
    ):
        arguments, blob = Save(rows, vectors=given).to_wire()
        found = request_of(*over_the_wire({"op": "save", "arguments": arguments}, blob))
        assert isinstance(found, Save)
        assert np.array_equal(found.vectors, wanted)


def test_warnings_are_put_together() -> None:
    """What was said already comes first; without any there is none."""
    answer = Deleted(deleted=1)
    assert answer.with_warnings([]) == answer
    assert answer.with_warnings(["one"]).with_warnings(["two", "three"]).warning == "one; two; three"


# --- of another version ---------------------------------------------------------------------------------------------


def _newer(value: Any) -> Any:
    """The document of a Rollcall that says more: one field more in each object, but for items of the wire, which are handed on whole."""
    if isinstance(value, dict):
        more = {name: one if name in ("items", "sightings", "reasons") else _newer(one) for name, one in value.items()}
        return {**more, "newer": [{"than": "ours"}]}
    return [_newer(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("answered", ANSWERED, ids=kind_of)
def test_an_answer_of_a_newer_rollcall_is_read(answered: Answer) -> None:
    """Fields that are not known here are passed over, in the rows too; where documents are handed on whole, they stay."""
    found = type(answered).from_json(over_the_wire(_newer(answered.to_json()))[0])
    if isinstance(found, _PAGES) and isinstance(answered, _PAGES):
        assert [one.more["newer"] for one in found.events] == [[{"than": "ours"}]] * len(answered.events)
        assert [one.id for one in found.events] == [one.id for one in answered.events]
    else:
        assert found == answered


def test_a_request_of_a_newer_rollcall_is_read() -> None:
    """A field more among the arguments changes nothing; arguments that are left out are what they are without."""
    document = {"op": "delete", "arguments": {"person_name": "Ada", "newer": True}, "newer": 1}
    assert request_of(document, b"") == Delete("Ada")
    assert request_of({"op": "people"}, b"") == People()
    assert request_of({"op": "events", "arguments": {}}, b"") == Sightings(0, None, 1000)


@pytest.mark.parametrize("answered", ANSWERED, ids=kind_of)
def test_what_is_no_such_answer_is_told_apart(answered: Answer) -> None:
    """A field of another type is never taken for what it should be, and the error holds no value."""
    document = answered.to_json()
    needed = [
        name
        for name in document
        if name not in ("spelt_otherwise", "not_removed", "not_staged", "references", "left_out")
    ]
    for name in needed:
        with pytest.raises(TemporaryError, match="restart the site") as caught:
            type(answered).from_json({**document, name: _Secret()})
        assert "a face" not in "".join(traceback.format_exception(caught.value))


class _Secret:
    def __repr__(self) -> str:
        return "a face"


# --- what is no request ---------------------------------------------------------------------------------------------

_ROW = {"person_name": "Bo"}
MALFORMED: list[tuple[str, Any, bytes]] = [
    ("save", {}, b""),
    ("save", {"rows": _NAME}, b"1234"),
    ("save", {"rows": {_NAME: 1}}, b"1234"),
    ("save", {"rows": [_NAME]}, b"1234"),
    ("save", {"rows": [{"image_path": _NAME}]}, b"1234"),
    ("save", {"rows": [{"person_name": [_NAME]}]}, b"1234"),
    ("save", {"rows": [{"person_name": 7}]}, b"1234"),
    ("save", {"rows": [{**_ROW, "user_id": {"is": _NAME}}]}, b"1234"),
    ("save", {"rows": [{**_ROW, "colour": _NAME}]}, b"1234"),
    ("save", {"rows": [["Bo", None, None, None, None, _NAME]]}, b"1234"),
    ("save", {"rows": [_ROW], "fingerprint": [_NAME]}, b"1234"),
    ("save", {"rows": [_ROW]}, b""),
    ("save", {"rows": [_ROW]}, _NAME.encode()[:5]),
    ("save", {"rows": [_ROW] * 2}, b"1234"),
    ("delete", {"image_path": _NAME}, b""),
    ("delete", {"person_name": None, "image_path": _NAME}, b""),
    ("people", {"limit": _NAME}, b""),
    ("people", {"limit": 1.5, "after": _NAME}, b""),
    ("references", {"person": {"name": _NAME}}, b""),
    ("is_marked", {"photo_digest": _NAME}, b""),
    ("cosine", {"id": _NAME}, b"1234"),
    ("cosine", {"id": 1}, b""),
    ("forget", {"person": [_NAME]}, b""),
    ("forget", {"photo": _NAME}, b""),
    ("rename", {"person": _NAME}, b""),
    ("merge", {"person": _NAME, "into": 7}, b""),
    ("strangers", {"id": [_NAME]}, b""),
    ("name_stranger", {"id": 7, "person": _NAME}, b""),
    ("record", {"events": _NAME}, b""),
    ("record", {"events": {"event": _NAME}}, b""),
    ("events", {"after_id": None, "since": _NAME}, b""),
    ("events", {"since": [_NAME]}, b""),
    ("follow", {"after_id": _NAME}, b""),
    ("wrong", {"sighting": _NAME}, b""),
    ("right", {"sighting": 7, "learn": _NAME}, b""),
    ("undo_correction", {}, b""),
    ("corrections", {"after": [_NAME]}, b""),
    ("forget_correction", {"sighting": {"id": _NAME}}, b""),
    ("stage", {"ids": [_NAME], "changes": [1], "fingerprint": "f"}, b"1234"),
    ("stage", {"ids": [1], "changes": _NAME, "fingerprint": "f"}, b"1234"),
    ("stage", {"ids": [1, 2], "changes": [1, 2], "fingerprint": _NAME}, b"1234"),
    ("switch_model", {"model": _NAME, "leave_out": []}, b""),
    ("switch_model", {"model": vars(_MODEL), "leave_out": [_NAME]}, b""),
    ("stamp", {"model": {**vars(_MODEL), "dim": _NAME}}, b""),
    ("stamp", {"model": {"engine": _NAME}}, b""),
    ("restore", {"name": {"of": _NAME}}, b""),
    ("put_status", {"status": _NAME}, b""),
    ("put_status", {"status": [_NAME]}, b""),
]


@pytest.mark.parametrize(("op", "arguments", "blob"), MALFORMED)
def test_malformed_arguments_are_refused_without_the_value(op: str, arguments: Any, blob: bytes) -> None:
    """In words that name the operation, short, and hold nothing of what was sent."""
    with pytest.raises(UsageError) as refused:
        request_of(*over_the_wire({"op": op, "arguments": arguments}, blob))
    line = refused.value.line()
    assert line.startswith(f"{op}: not a request of this operation; got ")
    assert len(line) < 200
    for told in (line, json.dumps(wire.error_document(refused.value))):
        assert not [word for word in _NAME.split() if word in told]


@pytest.mark.parametrize("op", [one for one in REQUESTS if one != "count"])
@pytest.mark.parametrize("arguments", [_NAME, [_NAME], [], 7, None, True], ids=repr)
def test_arguments_that_are_no_object_are_refused(op: str, arguments: Any) -> None:
    """Of every operation."""
    with pytest.raises(UsageError) as refused:
        request_of(*over_the_wire({"op": op, "arguments": arguments}, b"1234"))
    assert refused.value.line().startswith(f"{op}: not a request of this operation")
    assert _NAME not in refused.value.line()


@pytest.mark.parametrize(
    "op", [None, "", "Save", "no_such_operation", 7, 1.5, True, [], ["save"], {}, {"save": 1}, "x" * 100_000]
)
def test_what_is_no_operation_is_refused(op: Any) -> None:
    """With those that there are, and not more of what was sent than fits a line."""
    with pytest.raises(UsageError, match="no such operation") as refused:
        request_of(*over_the_wire({"op": op, "arguments": {}}))
    assert all(known in refused.value.line() for known in REQUESTS)
    assert len(refused.value.line()) < 1000


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("save", {"rows": [7] * 100_000}),
        ("save", {"rows": [{"person_name": 7}] * 100_000}),
        ("stage", {"ids": ["x"] * 100_000, "changes": [1], "fingerprint": "f"}),
        ("stage", {"ids": [1], "changes": ["x"] * 100_000, "fingerprint": "f"}),
        ("switch_model", {"model": vars(_MODEL), "leave_out": ["x"] * 100_000}),
    ],
)
def test_a_message_of_nothing_but_faults_costs_no_more_than_one(op: str, arguments: Any) -> None:
    """Millions of them fit a message: to list them all would take the writer minutes and gigabytes."""
    with pytest.raises(UsageError) as refused:
        request_of(*over_the_wire({"op": op, "arguments": arguments}, b"1234"))
    unfit = refused.value.__cause__
    assert unfit is not None
    cause = unfit.__cause__
    assert isinstance(cause, ValidationError)
    assert cause.error_count() == 1


def test_fields_that_are_not_known_are_not_listed_without_end() -> None:
    """A row of a hundred thousand of them, or one with a name as long as that, is refused in a line."""
    for more in ({f"{_NAME} {number}": 7 for number in range(100_000)}, {_NAME[:3] * 100_000: 7}):
        with pytest.raises(UsageError) as refused:
            request_of(*over_the_wire({"op": "save", "arguments": {"rows": [{**_ROW, **more}]}}, b"1234"))
        assert len(refused.value.line()) < 200
