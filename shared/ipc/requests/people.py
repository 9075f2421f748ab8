"""Requests and answers: the people who are enrolled, and their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from shared.ipc.requests.base import Answer, Request
from shared.records import PeopleChange, Person


@dataclass(frozen=True, kw_only=True)
class PeoplePage(Answer):
    """`last_change`: what `UndoPeople` undoes."""

    people: list[Person]
    last_change: PeopleChange | None


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
    sent_once: ClassVar[bool] = True  # a second one would find nobody with the old name
    person: str
    new: str


@dataclass(frozen=True)
class Merge(Request[Renamed]):
    """Merge the person `person` into the person `into`."""

    op: ClassVar[str] = "merge"
    answer: ClassVar[type[Any]] = Renamed
    sent_once: ClassVar[bool] = True  # as for Rename
    person: str
    into: str


@dataclass(frozen=True)
class UndoPeople(Request[Renamed]):
    """Undo the last rename or merge; or, with `before` and `person`, the one by which `before` is called `person`."""

    op: ClassVar[str] = "undo_people"
    answer: ClassVar[type[Any]] = Renamed
    sent_once: ClassVar[bool] = True  # a second one would undo an earlier change, or find nothing to undo
    before: str | None = None
    person: str | None = None
