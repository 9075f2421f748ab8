"""The plain wire: references as every server and client knows them, the original program's included. They have a name, an embedding and
perhaps a photo's path and a user id; no UUID, no version and no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import unit_vector
from shared.errors import RefusedError
from shared.person_names import text_of
from shared.sync.items import fit_name, vector_of

_NAMES = {"person_name": "personName", "image_path": "imagePath", "user_id": "userId"}


@dataclass(frozen=True)
class PlainReference:
    """A reference of the plain wire. `vector`: (dim,) float32, unit L2 norm."""

    person_name: str
    vector: NDArray[np.float32]
    image_path: str | None
    user_id: str | None

    def to_json(self) -> dict[str, Any]:
        """The item. Its numbers have as few digits as a float32 needs."""
        return {
            "person_name": self.person_name,
            "embedding": [float(str(number)) for number in self.vector],
            "image_path": self.image_path,
            "user_id": self.user_id,
        }


def plain_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Name, path and user id of an item, under either of their two spellings."""
    return {name: document.get(name, document.get(other)) for name, other in _NAMES.items()}


def plain_reference_of(document: object) -> PlainReference:
    """A reference that came. Raises RefusedError with what is wrong with it."""
    if not isinstance(document, Mapping):
        raise RefusedError("not an item", got=type(document).__name__, expected="an object")
    named = plain_fields(document)
    name = fit_name(named["person_name"])
    vector = unit_vector(vector_of({"embedding": document.get("embedding")}), name)
    return PlainReference(name, vector, text_of(named["image_path"]), text_of(named["user_id"]))
