"""The requests to the gallery and their answers. Each is a type that can be written as JSON and read from JSON.

On the wire a request has its `op`, and its fields as `arguments`. An answer has its fields. Embeddings are sent as raw bytes after
the JSON document: little-endian float32, one row for each embedding (see wire.py).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Self, TypeVar, cast

from pydantic import FailFast, TypeAdapter, ValidationError

from shared.errors import TemporaryError, UsageError
from shared.events import Sighting
from shared.model_id import ModelId
from shared.records import Access, AccessKind, Correction, NewReference, Person, Reference, Role, Side, Stranger
from shared.status import SiteSnapshot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
else:  # The supervisor imports this module and sends no vectors, so it need not load numpy.
    Vectors = Any
_MAX_LISTED = 100  # if a request has more faults, the error has only their number
Answer_co = TypeVar("Answer_co", bound="Answer", covariant=True)
_Item = TypeVar("_Item")
_Many = Annotated[
    list[_Item], FailFast()
]  # stops at the first fault: to list millions of faults takes minutes and gigabytes


def _no_vectors() -> Vectors:
    import numpy as np

    return np.empty((0, 0), np.float32)


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`warning`: something that went wrong although the request was done."""

    warning: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in vars(self).items() if name != "warning" or value is not None}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Unknown fields are ignored: a newer Rollcall may add some. Raises TemporaryError, without the values, if it is not such an answer."""
        try:
            return cls._read(document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TemporaryError(
                "the site sent an answer that this program does not know",
                where=cls.__name__,
                got=_first_fault(error) if isinstance(error, ValidationError) else type(error).__name__,
                remedy="restart the site, so that it runs the same version of Rollcall as this command",
            ) from None  # the cause would show the values

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> Self:
        return cast(Self, _adapter(cls).validate_python(dict(document)))

    def with_warnings(self, warnings: Sequence[str]) -> Self:
        return replace(self, warning="; ".join(filter(None, [self.warning, *warnings])) or None)


@dataclass(frozen=True)
class Request(Generic[Answer_co]):
    """One request. `op`: its name on the wire; `answer`: the type of its answer."""

    op: ClassVar[str]
    answer: ClassVar[type[Any]]

    def to_wire(self) -> tuple[dict[str, Any], bytes | memoryview]:
        """The arguments, and the raw bytes that follow them."""
        arguments = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "vectors"}
        return {name: _plain(value) for name, value in arguments.items()}, b""

    @classmethod
    def from_wire(cls, arguments: object, blob: bytes | memoryview) -> Self:  # noqa: ARG003  # requests with vectors use it
        """Raises UsageError, without the values, if it is not such a request."""
        return cls._checked(arguments)

    @classmethod
    def _checked(cls, arguments: object) -> Self:
        try:
            return cast(Self, _adapter(cls).validate_python(arguments))
        except ValidationError as error:
            raise UsageError("not a request of this operation", where=cls.op, got=_first_fault(error)) from error


def _first_fault(error: ValidationError) -> str:
    """The place and the kind of the first fault, without the value."""
    if (count := error.error_count()) > _MAX_LISTED:
        return f"{count} faults"
    fault = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc'][:3]))[:80]}: {fault['type']}"


def _plain(value: Any) -> Any:
    """A value as JSON can hold it. Rows and dataclasses become objects, also inside lists."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, NewReference):
        return value._asdict()
    if isinstance(value, SiteSnapshot | Answer):
        return value.to_json()
    return {name: _plain(one) for name, one in vars(value).items()} if is_dataclass(value) else value


@dataclass(frozen=True)
class _WithVectors(Request[Answer_co]):
    """A request with embeddings: `vectors` (n, dim) float32."""

    vectors: Vectors = field(default_factory=_no_vectors, kw_only=True, compare=False)

    def to_wire(self) -> tuple[dict[str, Any], bytes | memoryview]:
        import numpy as np

        arguments, _ = super().to_wire()
        return arguments, np.ascontiguousarray(self.vectors, "<f4").reshape(-1).view(np.uint8).data

    @classmethod
    def from_wire(cls, arguments: object, blob: bytes | memoryview) -> Self:
        request = cls._checked(arguments)
        return replace(request, vectors=_rows(cls.op, blob, request.vector_count()))

    def vector_count(self) -> int:
        """How many rows `vectors` must have."""
        raise NotImplementedError


def _rows(op: str, blob: bytes | memoryview, count: int) -> Vectors:
    if not count:
        return _no_vectors()
    if not blob or len(blob) % (4 * count):
        raise UsageError(
            "not a request of this operation", where=op, got=f"{len(blob)} bytes of vectors for {count} rows"
        )
    import numpy as np

    return np.frombuffer(blob, "<f4").reshape(count, -1)


@dataclass(frozen=True, kw_only=True)
class Done(Answer):
    """The request was done. There is nothing else to report."""


# --- references -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Saved(Answer):
    """`ids`: in the order of the rows. `updated`: how many rows replaced a reference of the same person and photo."""

    ids: list[int]
    updated: int


@dataclass(frozen=True)
class Save(_WithVectors[Saved]):
    """Save references, one row and one vector each.

    `fingerprint`: the fingerprint of the model that made the embeddings; None if it is not known.
    """

    op: ClassVar[str] = "save"
    answer: ClassVar[type[Any]] = Saved
    rows: _Many[NewReference]
    fingerprint: str | None = None

    def vector_count(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class Deleted(Answer):
    """`deleted`: how many references were deleted."""

    deleted: int


@dataclass(frozen=True)
class Delete(Request[Deleted]):
    """Delete a person's references, or only that of one photo. Photos, sightings and backups stay (see Forget)."""

    op: ClassVar[str] = "delete"
    answer: ClassVar[type[Any]] = Deleted
    person_name: str
    image_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Counted(Answer):
    count: int


@dataclass(frozen=True)
class Count(Request[Counted]):
    op: ClassVar[str] = "count"
    answer: ClassVar[type[Any]] = Counted


@dataclass(frozen=True, kw_only=True)
class PeoplePage(Answer):
    people: list[Person]


@dataclass(frozen=True)
class People(Request[PeoplePage]):
    """List people in the order of their names: at most `limit`, after the name `after`. With `id` or `name`, only that person."""

    op: ClassVar[str] = "people"
    answer: ClassVar[type[Any]] = PeoplePage
    after: str | None = None
    limit: int | None = None
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReferencesPage(Answer):
    references: list[Reference]


@dataclass(frozen=True)
class References(Request[ReferencesPage]):
    """List references of one person or of all, in the order of their ids: at most `limit`, with id > `after_id`."""

    op: ClassVar[str] = "references"
    answer: ClassVar[type[Any]] = ReferencesPage
    person: str | None = None
    after_id: int | None = None
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class ReferencesFound(Answer):
    """`people`: whose the references are. `different`: which two of these, by their ids, are remembered as different. `change_number`: up
    to where the gallery has changed."""

    references: list[Reference]
    people: list[Person]
    different: list[tuple[str, str]]
    change_number: int


@dataclass(frozen=True)
class FindReferences(Request[ReferencesFound]):
    """Those of these references that there are, at most 2,000, and their people."""

    op: ClassVar[str] = "find_references"
    answer: ClassVar[type[Any]] = ReferencesFound
    ids: _Many[int]


@dataclass(frozen=True, kw_only=True)
class CoverFound(Answer):
    """`is_known`: there is such a person. `reference`: None if no photo of theirs is kept."""

    is_known: bool
    reference: Reference | None


@dataclass(frozen=True)
class FindCover(Request[CoverFound]):
    """The reference whose photo stands for the person `id`: the first that has a photo, of those in use if one of these has."""

    op: ClassVar[str] = "find_cover"
    answer: ClassVar[type[Any]] = CoverFound
    id: str


@dataclass(frozen=True, kw_only=True)
class Marked(Answer):
    marked: bool


@dataclass(frozen=True)
class IsMarked(Request[Marked]):
    """Whether this person, or this photo of theirs, was deleted."""

    op: ClassVar[str] = "is_marked"
    answer: ClassVar[type[Any]] = Marked
    person: str
    photo_digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Compared(Answer):
    cosine: float


@dataclass(frozen=True)
class Cosine(_WithVectors[Compared]):
    """The cosine of the stored reference `id` and the one vector that is sent."""

    op: ClassVar[str] = "cosine"
    answer: ClassVar[type[Any]] = Compared
    id: int

    def vector_count(self) -> int:
        return 1


@dataclass(frozen=True, kw_only=True)
class ReferenceState(Answer):
    """A reference that is set aside, that was brought back, or of which somebody said whether it is right. `id`, `photo`: of the reference;
    `photo` is None if there is none. `right_since`: since when somebody has said that it is right; None: nobody has.

    `reason`, `since`: why and since when it is set aside, or was until now; None if a reference was to be brought back that was in use.
    `already`: nothing had to be done. `in_use`: how many references of the person are in use now.
    """

    person: str
    id: int
    photo: str | None
    reason: str | None
    since: str | None
    already: bool
    in_use: int
    right_since: str | None = None


@dataclass(frozen=True)
class SetAside(Request[ReferenceState]):
    """Set a reference of a person aside, so that faces are not compared with it.

    `photo`: its stored path, an absolute path, its file name, or the reference's id. `reason`: one line.
    """

    op: ClassVar[str] = "set_aside"
    answer: ClassVar[type[Any]] = ReferenceState
    person: str
    photo: str
    reason: str


@dataclass(frozen=True)
class BringBack(Request[ReferenceState]):
    """Bring a reference back that is set aside. `photo`: as for SetAside."""

    op: ClassVar[str] = "bring_back"
    answer: ClassVar[type[Any]] = ReferenceState
    person: str
    photo: str


@dataclass(frozen=True)
class MarkReference(Request[ReferenceState]):
    """A reference is `right`, although it disagrees with its person; or take that back. `photo`: as for SetAside."""

    op: ClassVar[str] = "mark_reference"
    answer: ClassVar[type[Any]] = ReferenceState
    person: str
    photo: str
    right: bool


@dataclass(frozen=True)
class OneSidedPerson:
    """Somebody whose photos all show the same `side`. `reference`: the id of the newest one in use; `references`: how many are in use."""

    reference: int
    side: Side
    references: int


@dataclass(frozen=True, kw_only=True)
class OneSidedFound(Answer):
    """`people`: the newest first."""

    people: list[OneSidedPerson]


@dataclass(frozen=True)
class OneSided(Request[OneSidedFound]):
    """The people whose photos all show the same side, which is not the front: of at least two pictures, and of none is it unknown."""

    op: ClassVar[str] = "one_sided"
    answer: ClassVar[type[Any]] = OneSidedFound


@dataclass(frozen=True, kw_only=True)
class RightPage(Answer):
    ids: list[int]


@dataclass(frozen=True)
class RightReferences(Request[RightPage]):
    """The ids of references that are marked as right, in order: at most `limit`, above `after`."""

    op: ClassVar[str] = "right_references"
    answer: ClassVar[type[Any]] = RightPage
    after: int = -(1 << 53)  # old databases have ids below 0
    limit: int = 1000


# --- forgetting -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Forgotten(Answer):
    """`photos`: how many were removed. `corrections`: verdicts on this face or person; `probes`: faces kept so that sightings can be judged.
    `not_removed`: paths that could not be removed. `already`: there was nothing left to forget.
    `spelt_otherwise`: other spellings of the name, which were forgotten too. `other_copies`: files in data_dir that may hold this
    person. `out_of_reach`: places that only a person can clean up.
    """

    person: str
    spelt_otherwise: list[str] = field(default_factory=list)
    references: int
    photos: int
    sightings: int
    corrections: int = 0
    probes: int = 0
    already: bool
    not_removed: list[str] = field(default_factory=list)
    other_copies: list[str]
    out_of_reach: list[str]


@dataclass(frozen=True)
class Forget(Request[Forgotten]):
    """Forget a person. `photo`: forget only this photo, given by its stored path, an absolute path or its file name."""

    op: ClassVar[str] = "forget"
    answer: ClassVar[type[Any]] = Forgotten
    person: str
    photo: str | None = None


# --- people ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Renamed(Answer):
    """The person called `before` is called `person` now. `references`, `sightings`: how many have that name now. `kept_once`: how many
    references both people had, so that one of the two was removed.
    """

    person: str
    before: str
    references: int
    kept_once: int
    sightings: int


@dataclass(frozen=True)
class Rename(Request[Renamed]):
    op: ClassVar[str] = "rename"
    answer: ClassVar[type[Any]] = Renamed
    person: str
    new: str


@dataclass(frozen=True)
class Merge(Request[Renamed]):
    """Merge the person `person` into the person `into`."""

    op: ClassVar[str] = "merge"
    answer: ClassVar[type[Any]] = Renamed
    person: str
    into: str


@dataclass(frozen=True)
class UndoPeople(Request[Renamed]):
    """Undo the last rename or merge."""

    op: ClassVar[str] = "undo_people"
    answer: ClassVar[type[Any]] = Renamed


# --- strangers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StrangersPage(Answer):
    strangers: list[Stranger]


@dataclass(frozen=True)
class Strangers(Request[StrangersPage]):
    """List strangers in the order of their ids: at most `limit`, after the id `after`. With `id`, only that stranger."""

    op: ClassVar[str] = "strangers"
    answer: ClassVar[type[Any]] = StrangersPage
    id: str | None = None
    after: str | None = None
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class StrangerForgotten(Answer):
    """The fields mean the same as those of Forgotten. `unknown`: the stranger's id."""

    unknown: str
    photos: int
    sightings: int
    corrections: int = 0
    probes: int = 0
    already: bool
    not_removed: list[str] = field(default_factory=list)
    other_copies: list[str]
    out_of_reach: list[str]


@dataclass(frozen=True)
class ForgetStranger(Request[StrangerForgotten]):
    op: ClassVar[str] = "forget_stranger"
    answer: ClassVar[type[Any]] = StrangerForgotten
    id: str


@dataclass(frozen=True, kw_only=True)
class StrangerNamed(Answer):
    """`sightings`: how many sightings were given to the person."""

    unknown: str
    person: str
    sightings: int


@dataclass(frozen=True)
class NameStranger(Request[StrangerNamed]):
    """Sent after the stranger was enrolled as `person`: give the stranger's sightings to that person and delete the stranger."""

    op: ClassVar[str] = "name_stranger"
    answer: ClassVar[type[Any]] = StrangerNamed
    id: str
    person: str


# --- the review -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReviewItem:
    """What is left to decide: a stranger, or an uncertain sighting as `event`. `person`: whom it resembles most, with the cosine `score`;
    `reference`: that person's most similar one that has a photo."""

    stranger: Stranger | None = None
    event: dict[str, Any] | None = None
    person: Person | None = None
    score: float | None = None
    reference: int | None = None


@dataclass(frozen=True, kw_only=True)
class ReviewPage(Answer):
    """The nearest misses first."""

    items: list[ReviewItem]


@dataclass(frozen=True)
class Review(Request[ReviewPage]):
    """What is left to decide: at most `limit` of the latest strangers and uncertain sightings; only those of these `cameras`, if given."""

    op: ClassVar[str] = "review"
    answer: ClassVar[type[Any]] = ReviewPage
    limit: int = 50
    cameras: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Decided(Answer):
    """`already`: it was so before."""

    already: bool


@dataclass(frozen=True)
class MarkDifferent(Request[Decided]):
    """Remember that a person is not this stranger, or not this other person. `person`, `other`: UUIDs; `stranger`: an id."""

    op: ClassVar[str] = "mark_different"
    answer: ClassVar[type[Any]] = Decided
    person: str
    stranger: str | None = None
    other: str | None = None


@dataclass(frozen=True)
class PairOfPeople:
    """Two people who are not one, by their names. `number`: of the pair."""

    number: int
    person: str
    other: str


@dataclass(frozen=True, kw_only=True)
class DifferentPage(Answer):
    pairs: list[PairOfPeople]


@dataclass(frozen=True)
class DifferentPeople(Request[DifferentPage]):
    """List the pairs of people who are remembered as different, in the order of their numbers: at most `limit`, with a number > `after`."""

    op: ClassVar[str] = "different_people"
    answer: ClassVar[type[Any]] = DifferentPage
    after: int = 0
    limit: int = 1000


@dataclass(frozen=True)
class UndoDifferent(Request[Decided]):
    """Forget that these two are not one person."""

    op: ClassVar[str] = "undo_different"
    answer: ClassVar[type[Any]] = Decided
    person: str
    stranger: str | None = None
    other: str | None = None


@dataclass(frozen=True)
class IgnoreStranger(Request[Decided]):
    """Let a stranger not come up in the review any more."""

    op: ClassVar[str] = "ignore_stranger"
    answer: ClassVar[type[Any]] = Decided
    id: str


@dataclass(frozen=True)
class HeedStranger(Request[Decided]):
    """Let a stranger come up again who was ignored."""

    op: ClassVar[str] = "heed_stranger"
    answer: ClassVar[type[Any]] = Decided
    id: str


# --- sightings ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Recorded(Answer):
    """`recorded`: how many events were new. `refused`: the reason for each event that was refused."""

    recorded: int
    refused: list[str]


@dataclass(frozen=True)
class Record(Request[Recorded]):
    """Store events, given as JSON documents. Each is checked by itself, so that a bad event does not affect the others."""

    op: ClassVar[str] = "record"
    answer: ClassVar[type[Any]] = Recorded
    events: list[Any]


@dataclass(frozen=True, kw_only=True)
class SightingsPage(Answer):
    """`last_id`: the highest id that any sighting was ever given."""

    events: list[Sighting]
    last_id: int

    def to_json(self) -> dict[str, Any]:
        return {"events": [one.to_json() for one in self.events], "last_id": self.last_id}

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> Self:
        return cls(events=[Sighting.from_json(one) for one in document["events"]], last_id=int(document["last_id"]))


@dataclass(frozen=True)
class Sightings(Request[SightingsPage]):
    """List sightings, oldest first: at most `limit`, with id > `after_id` and time >= `since` (ISO 8601, UTC)."""

    op: ClassVar[str] = "events"
    answer: ClassVar[type[Any]] = SightingsPage
    after_id: int = 0
    since: str | None = None
    limit: int = 1000


@dataclass(frozen=True, kw_only=True)
class SightingsFound(Answer):
    """`before_id`: ask with this for what comes next; None: there is no more."""

    events: list[Sighting]
    before_id: int | None

    def to_json(self) -> dict[str, Any]:
        return {"events": [one.to_json() for one in self.events], "before_id": self.before_id}

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> Self:
        before_id = document["before_id"]
        return cls(
            events=[Sighting.from_json(one) for one in document["events"]],
            before_id=None if before_id is None else int(before_id),
        )


@dataclass(frozen=True)
class FindSightings(Request[SightingsFound]):
    """Find sightings, newest first: at most `limit`, with id < `before_id` and id > `after_id`. Only of this `person` or of the stranger with
    the id `unknown`, of these `cameras`, of these `kinds`, and
    with `since` <= time < `until` (ISO 8601, UTC), where they are given. A page may be shorter than `limit` although there
    are more."""

    op: ClassVar[str] = "find_events"
    answer: ClassVar[type[Any]] = SightingsFound
    before_id: int | None = None
    after_id: int = 0
    person: str | None = None
    cameras: list[str] | None = None
    kinds: list[str] | None = None
    limit: int = 100
    since: str | None = None
    until: str | None = None
    unknown: str | None = None


@dataclass(frozen=True, kw_only=True)
class CropFound(Answer):
    """`camera`: the sighting's. `jpeg`: the picture of the face that decided it, in base64. Both None: none is kept."""

    camera: str | None
    jpeg: str | None

    @property
    def picture(self) -> bytes | None:
        return None if self.jpeg is None else base64.b64decode(self.jpeg)


@dataclass(frozen=True)
class FindCrop(Request[CropFound]):
    """The picture of the face that decided a sighting."""

    op: ClassVar[str] = "find_crop"
    answer: ClassVar[type[Any]] = CropFound
    sighting: int


@dataclass(frozen=True)
class Follow(Request[SightingsPage]):
    """Follow sightings: first those stored after `after_id`, then new ones as they come. The connection can't be used for anything else."""

    op: ClassVar[str] = "follow"
    answer: ClassVar[type[Any]] = SightingsPage
    after_id: int = 0


# --- corrections ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Judged(Answer):
    """`sighting`: its id. `judged`: wrong or right. `already`: it was judged so before. `replaced`: an earlier verdict that was the other.

    `against_all`: the face is withheld as everybody's; else as `person`'s only, since it resembles `looks_like`, who is enrolled.
    `reference`, `photo`: the person's reference that resembled the face most (wrong), or that was learned from it (right).
    """

    sighting: int
    judged: str
    person: str
    already: bool
    replaced: str | None = None
    against_all: bool
    looks_like: str | None = None
    reference: int | None
    photo: str | None = None
    expires_at: str


@dataclass(frozen=True)
class Wrong(Request[Judged]):
    """The sighting with this id does not show the person: withhold its face from now on."""

    op: ClassVar[str] = "wrong"
    answer: ClassVar[type[Any]] = Judged
    sighting: int


@dataclass(frozen=True)
class Right(Request[Judged]):
    """The sighting with this id shows the person. `learn`: make its face one of the person's references."""

    op: ClassVar[str] = "right"
    answer: ClassVar[type[Any]] = Judged
    sighting: int
    learn: bool = False


@dataclass(frozen=True, kw_only=True)
class Undone(Answer):
    """The correction that was taken back. `unlearned`: how many references went with it."""

    sighting: int
    judged: str
    person: str
    unlearned: int


@dataclass(frozen=True)
class UndoCorrection(Request[Undone]):
    """Take back what was judged of the sighting with this id."""

    op: ClassVar[str] = "undo_correction"
    answer: ClassVar[type[Any]] = Undone
    sighting: int


@dataclass(frozen=True, kw_only=True)
class CorrectionsPage(Answer):
    corrections: list[Correction]


@dataclass(frozen=True)
class Corrections(Request[CorrectionsPage]):
    """List corrections in the order of their sightings' ids: at most `limit`, with an id > `after`."""

    op: ClassVar[str] = "corrections"
    answer: ClassVar[type[Any]] = CorrectionsPage
    after: int = 0
    limit: int = 1000


@dataclass(frozen=True, kw_only=True)
class CorrectionForgotten(Answer):
    """`already`: there was neither a correction nor a face of this sighting. The other fields mean the same as those of Forgotten."""

    sighting: int
    already: bool
    other_copies: list[str]
    out_of_reach: list[str]


@dataclass(frozen=True)
class ForgetCorrection(Request[CorrectionForgotten]):
    """Remove every trace of the face of the sighting with this id: its correction and what is kept for one."""

    op: ClassVar[str] = "forget_correction"
    answer: ClassVar[type[Any]] = CorrectionForgotten
    sighting: int


# --- who may use the web part ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AccessAnswer(Answer):
    access: Access


@dataclass(frozen=True)
class AddAccess(Request[AccessAnswer]):
    """Let a browser, a program or a person in. `secret`: its hash, see store/accesses.py. `lasts_s`: seconds; None: for ever. `session_s`:
    of a link or a password, how long a session lasts."""

    op: ClassVar[str] = "add_access"
    answer: ClassVar[type[Any]] = AccessAnswer
    id: str
    kind: AccessKind
    role: Role
    label: str
    secret: str
    lasts_s: float | None
    cameras: list[str] | None = None
    parent: str | None = None
    session_s: float | None = None


@dataclass(frozen=True)
class UseLink(Request[AccessAnswer]):
    """Sign in with a link, which is used up by it. `link`, `secret`: its id, and the hash of the secret that was shown.

    `session`, `session_secret`: the id of the session, and the hash of its secret. The session has the link's role and cameras, and lasts
    as long as the link says.
    """

    op: ClassVar[str] = "use_link"
    answer: ClassVar[type[Any]] = AccessAnswer
    link: str
    secret: str
    session: str
    session_secret: str


@dataclass(frozen=True, kw_only=True)
class AccessFound(Answer):
    """`secret`: the hash of the access's secret. Both are None if there is no such access, or if it is over."""

    access: Access | None
    secret: str | None


@dataclass(frozen=True)
class FindAccess(Request[AccessFound]):
    op: ClassVar[str] = "find_access"
    answer: ClassVar[type[Any]] = AccessFound
    id: str


@dataclass(frozen=True, kw_only=True)
class AccessesPage(Answer):
    accesses: list[Access]


@dataclass(frozen=True)
class Accesses(Request[AccessesPage]):
    """List the accesses that are not over, the oldest first."""

    op: ClassVar[str] = "accesses"
    answer: ClassVar[type[Any]] = AccessesPage


@dataclass(frozen=True)
class RevokeAccess(Request[Counted]):
    """Take an access back, and the sessions that were signed in with it. The answer is how many there were."""

    op: ClassVar[str] = "revoke_access"
    answer: ClassVar[type[Any]] = Counted
    id: str


@dataclass(frozen=True)
class AccessesUsed(Request[Done]):
    """Note that these accesses were used."""

    op: ClassVar[str] = "accesses_used"
    answer: ClassVar[type[Any]] = Done
    ids: _Many[str]


# --- the model ------------------------------------------------------------------------------------------------------


# --- exchange with other sites --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RefusedItem:
    """Something that was not taken. `what`: its kind and UUID."""

    what: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class OutgoingBatch(Answer):
    """Own changes with numbers above `after` up to `through`, as items for the wire (sync/items.py). Without items there is nothing to send."""

    origin: str
    after: int
    through: int
    items: list[dict[str, Any]]
    lineage: str | None = None
    next_lineage: str = ""


@dataclass(frozen=True)
class Outgoing(Request[OutgoingBatch]):
    """The next batch for the hub, at most so many bytes as JSON. `was_too_large`: the hub did not take the last one, since it was larger
    than the hub allows; otherwise a batch that has no answer yet is sent again as it was."""

    op: ClassVar[str] = "outgoing"
    answer: ClassVar[type[Any]] = OutgoingBatch
    max_bytes: int
    was_too_large: bool = False


@dataclass(frozen=True)
class Sent(Request[Done]):
    """The hub has the last batch, but for what it refused. `through`, `lineage`: the batch's, `lineage` its next one."""

    op: ClassVar[str] = "sent"
    answer: ClassVar[type[Any]] = Done
    through: int
    lineage: str
    refused: list[RefusedItem] = field(default_factory=list)


@dataclass(frozen=True)
class Resend(Request[Done]):
    """The hub has changes of this origin up to `after` only, and `lineage` as the lineage of the last batch."""

    op: ClassVar[str] = "resend"
    answer: ClassVar[type[Any]] = Done
    origin: str
    after: int
    lineage: str | None


@dataclass(frozen=True)
class SetBack(Request[Done]):
    """The hub has less of other origins than this store read there. `behind`: these origins, and where they are."""

    op: ClassVar[str] = "set_back"
    answer: ClassVar[type[Any]] = Done
    hub: str
    behind: str


@dataclass(frozen=True)
class BeginAnew(Request[Done]):
    """The hub says that this store is a copy of another one, or was restored."""

    op: ClassVar[str] = "begin_anew"
    answer: ClassVar[type[Any]] = Done


@dataclass(frozen=True, kw_only=True)
class TakenIn(Answer):
    """`unchanged`: items that were known, or are older than what is here."""

    taken: int
    unchanged: int
    refused: list[RefusedItem]


@dataclass(frozen=True)
class TakeIn(Request[TakenIn]):
    """Apply items that came from a hub, and note the position behind them. `after`: the position that was asked for; if it is not this
    store's any more, since the store was restored meanwhile, the new one does not count."""

    op: ClassVar[str] = "take_in"
    answer: ClassVar[type[Any]] = TakenIn
    hub: str
    after: str
    position: str
    items: list[Any]


@dataclass(frozen=True)
class TakeInPlain(Request[TakenIn]):
    """Take in items of a plain server's list. `begins`: they are the first of a list."""

    op: ClassVar[str] = "take_in_plain"
    answer: ClassVar[type[Any]] = TakenIn
    items: list[Any]
    begins: bool = False


@dataclass(frozen=True, kw_only=True)
class ChangeNews(Answer):
    """Up to where the store has changed. `sighting`: the id of the last sighting."""

    change_number: int
    sighting: int


@dataclass(frozen=True)
class FollowChanges(Request[ChangeNews]):
    """Follow the store's changes: an answer now and after every further change. The connection can't be used for anything else."""

    op: ClassVar[str] = "follow_changes"
    answer: ClassVar[type[Any]] = ChangeNews


@dataclass(frozen=True, kw_only=True)
class PlainBatch(Answer):
    """References for a plain server, with change numbers up to `through`. Without items nothing is left."""

    items: list[dict[str, Any]]
    through: int


@dataclass(frozen=True)
class OutgoingPlain(Request[PlainBatch]):
    """The next references that a plain server's last list did not have, with change numbers above `after`."""

    op: ClassVar[str] = "outgoing_plain"
    answer: ClassVar[type[Any]] = PlainBatch
    after: int
    max_bytes: int


@dataclass(frozen=True)
class SentPlain(Request[Done]):
    """A plain server took the batch that begins after `after`."""

    op: ClassVar[str] = "sent_plain"
    answer: ClassVar[type[Any]] = Done
    after: int
    through: int


@dataclass(frozen=True)
class CountUnshown(Request[Counted]):
    """How many references are here that a plain server's last list did not have."""

    op: ClassVar[str] = "count_unshown"
    answer: ClassVar[type[Any]] = Counted


@dataclass(frozen=True, kw_only=True)
class OutgoingSightingsBatch(Answer):
    """Sightings of people with ids above `after` up to `through`, as documents for the hub. `through` equal to `after`: nothing is left."""

    origin: str
    after: int
    through: int
    sightings: list[dict[str, Any]]


@dataclass(frozen=True)
class OutgoingSightings(Request[OutgoingSightingsBatch]):
    """The next sightings for the hub."""

    op: ClassVar[str] = "outgoing_sightings"
    answer: ClassVar[type[Any]] = OutgoingSightingsBatch
    max_bytes: int


@dataclass(frozen=True)
class SentSightings(Request[Done]):
    """The hub has the sightings up to this id, whatever was sent before."""

    op: ClassVar[str] = "sent_sightings"
    answer: ClassVar[type[Any]] = Done
    through: int


@dataclass(frozen=True)
class Exchanged(Request[Done]):
    """An exchange came to its end. `at`: ISO 8601, UTC."""

    op: ClassVar[str] = "exchanged"
    answer: ClassVar[type[Any]] = Done
    at: str


@dataclass(frozen=True, kw_only=True)
class SyncStanding(Answer):
    """How far the exchange has come.

    `noted`: own changes up to this number are noted, as they are sent. `reasons`: why items are in quarantine, with their numbers.
    `exchanged_at`: when the last exchange came to its end. `last_tombstone`: the change number of the newest tombstone that was made here.
    """

    origin: str
    hub: str
    position: str
    noted: int
    change_number: int
    fingerprint: str | None
    quarantined: int
    reasons: dict[str, int]
    has_key: bool
    exchanged_at: str | None
    last_tombstone: int


@dataclass(frozen=True)
class SyncStatus(Request[SyncStanding]):
    op: ClassVar[str] = "sync_status"
    answer: ClassVar[type[Any]] = SyncStanding


@dataclass(frozen=True, kw_only=True)
class ElsewhereReferences(Answer):
    """The ids of references that came from other sites, and that these have as well."""

    ids: list[int]


@dataclass(frozen=True)
class FromElsewhere(Request[ElsewhereReferences]):
    op: ClassVar[str] = "from_elsewhere"
    answer: ClassVar[type[Any]] = ElsewhereReferences


@dataclass(frozen=True, kw_only=True)
class Staged(Answer):
    staged: int


@dataclass(frozen=True)
class Stage(_WithVectors[Staged]):
    """Store another model's embeddings of references beside the active ones.

    `changes`: the change numbers of the references. A reference that was replaced meanwhile has another number and is not staged. `turns`: how
    far the heads are turned, as NewReference has it; empty: not known.
    """

    op: ClassVar[str] = "stage"
    answer: ClassVar[type[Any]] = Staged
    ids: _Many[int]
    changes: _Many[int]
    fingerprint: str
    turns: _Many[float | None] = field(default_factory=list)

    def vector_count(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Unstage(Request[Done]):
    op: ClassVar[str] = "unstage"
    answer: ClassVar[type[Any]] = Done


@dataclass(frozen=True, kw_only=True)
class Switched(Answer):
    """`not_staged`: ids of references without a staged embedding. If there are any, nothing was changed."""

    switched: bool
    not_staged: list[int] = field(default_factory=list)
    references: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class SwitchModel(Request[Switched]):
    """Make the staged embeddings the active ones. All references must be staged, except those in `leave_out`."""

    op: ClassVar[str] = "switch_model"
    answer: ClassVar[type[Any]] = Switched
    model: ModelId
    leave_out: _Many[int]


@dataclass(frozen=True)
class Stamp(Request[Done]):
    """Store which model made the embeddings."""

    op: ClassVar[str] = "stamp"
    answer: ClassVar[type[Any]] = Done
    model: ModelId


# --- the whole gallery ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class GalleryInfo(Answer):
    """Facts about the gallery. `set_aside`: how many of the references are set aside. `crops`, `crop_bytes`: how many pictures of sightings
    are kept, and their size.

    A field is None if the gallery is empty, there is no block, or the database is too damaged to read it.
    """

    model: str | None
    fingerprint: str | None
    dim: int | None
    references: int | None
    set_aside: int | None
    people: int | None
    change_number: int | None
    damaged_rows: int | None
    generation: int | None
    published_rows: int | None
    behind: bool
    nothing_stored: str | None
    unreadable_sightings: int
    crops: int | None = None
    crop_bytes: int | None = None

    @property
    def model_id(self) -> ModelId | None:
        """The model that made the embeddings; None if it is not stored yet."""
        if not (self.model and self.fingerprint and self.dim):
            return None
        return ModelId.parse(self.model, self.fingerprint, self.dim)


@dataclass(frozen=True)
class Info(Request[GalleryInfo]):
    op: ClassVar[str] = "info"
    answer: ClassVar[type[Any]] = GalleryInfo


@dataclass(frozen=True, kw_only=True)
class Restored(Answer):
    """`kept_deleted`: how many references of the backup were not restored, because they were deleted since. `set_aside`: how many of the
    restored ones are set aside.
    """

    restored: int
    kept_deleted: int
    set_aside: int


@dataclass(frozen=True)
class Restore(Request[Restored]):
    """Restore a backup. `name`: the name of a file in the site's folder for copies."""

    op: ClassVar[str] = "restore"
    answer: ClassVar[type[Any]] = Restored
    name: str


# --- the site -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SiteStatus(Answer):
    """`site`: the last status that the supervisor sent; None if it has not sent any."""

    site: SiteSnapshot | None
    gallery: GalleryInfo

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> Self:
        sent = document["site"]
        site = None if sent is None else SiteSnapshot.from_json(sent)
        return cls(site=site, gallery=GalleryInfo.from_json(document["gallery"]), warning=document.get("warning"))


@dataclass(frozen=True)
class Status(Request[SiteStatus]):
    op: ClassVar[str] = "status"
    answer: ClassVar[type[Any]] = SiteStatus


@dataclass(frozen=True)
class PutStatus(Request[Done]):
    """The status of the site, sent by the supervisor. Other processes may not send it."""

    op: ClassVar[str] = "put_status"
    answer: ClassVar[type[Any]] = Done
    status: SiteSnapshot

    @classmethod
    def from_wire(cls, arguments: object, blob: bytes | memoryview) -> Self:  # noqa: ARG003  # it has no vectors
        try:
            return cls(SiteSnapshot.from_json(cast(Any, arguments)["status"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError("not a request of this operation", where=cls.op, got=type(error).__name__) from None


REQUESTS: dict[str, type[Request[Any]]] = {
    one.op: one
    for one in (
        Save, Delete, Count, People, References, FindReferences, FindCover, IsMarked, Cosine, SetAside, BringBack, MarkReference,
        RightReferences, OneSided, Forget, Rename, Merge, UndoPeople,
        Strangers, ForgetStranger, NameStranger, Review, MarkDifferent, DifferentPeople, UndoDifferent, IgnoreStranger, HeedStranger,
        Record, Sightings, FindSightings, FindCrop,
        Follow, Wrong, Right, UndoCorrection, Corrections, ForgetCorrection, AddAccess, UseLink, FindAccess, Accesses,
        RevokeAccess, AccessesUsed, Outgoing, Sent, Resend, SetBack, BeginAnew, TakeIn, TakeInPlain, OutgoingPlain, SentPlain, CountUnshown,
        OutgoingSightings, SentSightings, Exchanged, SyncStatus, FollowChanges,
        FromElsewhere, Stage, Unstage, SwitchModel, Stamp, Info, Restore, Status, PutStatus,
    )
}  # fmt: skip  # in the order above
# Requests that are not repeated if their answer is lost. Restoring and switching the model take long. A second rename or merge would find
# nobody with the old name. A second undo would undo an earlier change, or find nothing to undo.
SENT_ONCE: tuple[type[Request[Any]], ...] = (Restore, SwitchModel, Rename, Merge, UndoPeople, UndoCorrection)


def request_of(document: Mapping[str, Any], blob: bytes | memoryview) -> Request[Any]:
    """The request in a message. Raises UsageError if there is no such operation, or if the arguments do not fit it."""
    op = document.get("op")
    kind = REQUESTS.get(op) if isinstance(op, str) else None
    if kind is None:
        raise UsageError("no such operation", got=repr(op)[:80], expected=", ".join(sorted(REQUESTS)))
    return kind.from_wire(document.get("arguments", {}), blob)
