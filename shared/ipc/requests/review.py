"""Requests and answers: what is left for a person to decide, and what was decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from shared.ipc.requests.base import Answer, Request
from shared.records import Person, Stranger


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
