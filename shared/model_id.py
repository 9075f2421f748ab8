"""Which model embeddings are of, how two of them are told apart, and what is said where they are not the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from shared.errors import RollcallError

_SHOWN = 12  # hex digits of a fingerprint
Fault = TypeVar("Fault", bound=RollcallError)


@dataclass(frozen=True)
class ModelId:
    """`engine` and `pack`: as the settings name them. `fingerprint`: 64 hex digits, of the recognition file and of what is done to a
    face before it: two models are the same when it is, whatever they are called. `dim`: of its embeddings."""

    engine: str
    pack: str
    fingerprint: str
    dim: int

    @classmethod
    def parse(cls, label: str, fingerprint: str, dim: int) -> ModelId:
        """From the name that store and block have: engine/pack."""
        engine, _, pack = label.partition("/")
        return cls(engine, pack, fingerprint, dim)

    @property
    def label(self) -> str:
        return f"{self.engine}/{self.pack}"

    @property
    def shown(self) -> str:
        """For a fault: the label, and enough of the fingerprint to tell two by."""
        return f"{self.label} ({self.fingerprint[:_SHOWN]}…)"

    def is_same(self, other: ModelId) -> bool:
        """Whether embeddings of the two can be compared."""
        return self.fingerprint == other.fingerprint


def other_model(
    kind: type[Fault], what: str, *, got: ModelId | None, expected: ModelId, where: str = "", remedy: str
) -> Fault:
    """The refusal of embeddings that are of another model. `got`: None where nothing says which."""
    return kind(
        what, where=where, got="no model named" if got is None else got.shown, expected=expected.shown, remedy=remedy
    )
