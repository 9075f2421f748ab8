"""Requests and answers: what a person judged of sightings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from shared.ipc.requests.base import Answer, Request
from shared.records import Correction


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
    sent_once: ClassVar[bool] = True  # a second one would find nothing to undo
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
