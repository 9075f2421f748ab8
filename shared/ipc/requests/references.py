"""Requests and answers: the references, which are enrolled embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from shared.ipc.requests.base import Answer, Counted, Request, WithVectors
from shared.ipc.requests.checking import Many
from shared.records import NewReference, Person, Reference, Side


@dataclass(frozen=True, kw_only=True)
class Saved(Answer):
    """`ids`: in the order of the rows. `updated`: how many rows replaced a reference of the same person and photo."""

    ids: list[int]
    updated: int


@dataclass(frozen=True)
class Save(WithVectors[Saved]):
    """Save references, one row and one vector each.

    `fingerprint`: the fingerprint of the model that made the embeddings; None if it is not known.
    """

    op: ClassVar[str] = "save"
    answer: ClassVar[type[Any]] = Saved
    rows: Many[NewReference]
    fingerprint: str | None = None

    def to_wire(self) -> tuple[dict[str, Any], bytes | memoryview]:
        arguments, blob = super().to_wire()
        return {**arguments, "rows": [row._asdict() for row in self.rows]}, blob

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


@dataclass(frozen=True)
class Count(Request[Counted]):
    op: ClassVar[str] = "count"
    answer: ClassVar[type[Any]] = Counted


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
    ids: Many[int]


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
class Cosine(WithVectors[Compared]):
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
