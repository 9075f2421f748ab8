"""Requests and answers: the model that made the embeddings, and the switch to another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from shared.ipc.requests.base import Answer, Done, Request, WithVectors
from shared.ipc.requests.checking import Many
from shared.model_id import ModelId


@dataclass(frozen=True, kw_only=True)
class Staged(Answer):
    staged: int


@dataclass(frozen=True)
class Stage(WithVectors[Staged]):
    """Store another model's embeddings of references beside the active ones.

    `changes`: the change numbers of the references. A reference that was replaced meanwhile has another number and is not staged. `turns`: how
    far the heads are turned, as NewReference has it; empty: not known.
    """

    op: ClassVar[str] = "stage"
    answer: ClassVar[type[Any]] = Staged
    ids: Many[int]
    changes: Many[int]
    fingerprint: str
    turns: Many[float | None] = field(default_factory=list)

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
    sent_once: ClassVar[bool] = True  # it takes long
    model: ModelId
    leave_out: Many[int]


@dataclass(frozen=True)
class Stamp(Request[Done]):
    """Store which model made the embeddings."""

    op: ClassVar[str] = "stamp"
    answer: ClassVar[type[Any]] = Done
    model: ModelId
