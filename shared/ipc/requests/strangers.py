"""Requests and answers: strangers, who were seen and are not enrolled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from shared.ipc.requests.base import Answer, Request
from shared.records import Stranger


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
