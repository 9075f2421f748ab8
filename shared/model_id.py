"""The identity of a model, the comparison of two models, and the error for embeddings of another model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from shared.errors import RollcallError

_SHOWN = 12  # hex digits of a fingerprint
Fault = TypeVar("Fault", bound=RollcallError)


@dataclass(frozen=True)
class ModelId:
    """A model. `engine` and `pack`: their names in the settings. `dim`: length of its embeddings. `fingerprint`: 64 hex digits, computed
    from the recognition file and the preprocessing of faces. Two models with the same fingerprint are the same, whatever their names."""

    engine: str
    pack: str
    fingerprint: str
    dim: int

    @classmethod
    def parse(cls, label: str, fingerprint: str, dim: int) -> ModelId:
        """A ModelId from `label`, the form engine/pack in which store and block have the name."""
        engine, _, pack = label.partition("/")
        return cls(engine, pack, fingerprint, dim)

    @property
    def label(self) -> str:
        """The name in the form engine/pack."""
        return f"{self.engine}/{self.pack}"

    @property
    def shown(self) -> str:
        """For messages: the label, and enough of the fingerprint to tell two models apart."""
        return f"{self.label} ({self.fingerprint[:_SHOWN]}…)"

    def is_same(self, other: ModelId) -> bool:
        """Whether embeddings of the two models can be compared."""
        return self.fingerprint == other.fingerprint


def other_model(
    kind: type[Fault], what: str, *, got: ModelId | None, expected: ModelId, where: str = "", remedy: str
) -> Fault:
    """The error, of class `kind`, for embeddings of another model. `got`: None if their model is not known."""
    return kind(
        what, where=where, got="no model named" if got is None else got.shown, expected=expected.shown, remedy=remedy
    )
