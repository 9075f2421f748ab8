"""Requests and answers: forgetting a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from shared.ipc.requests.base import Answer, Request


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
