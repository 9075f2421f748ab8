"""What sites exchange: references, people, and tombstones, each as a JSON object on the wire (docs/sync.md).

What comes from elsewhere is checked like an enrolment. What does not pass is refused with its reason, and holds up nothing else.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError
from shared.person_names import new_name_of, text_of, unfitness
from shared.sync.hybrid_clock import MAX_REVISION, Version

NORM_TOLERANCE = 0.01
_LEAST_NORM = 1e-6
_MAX_DIM = 4096
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ORIGIN = re.compile(r"[A-Za-z0-9_-]{1,32}")
_HASH = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


@dataclass(frozen=True, kw_only=True)
class ReferenceItem:
    """A reference. `vector`: (dim,) float32, see `vector_of`. `model`: the fingerprint of the model that made it; None: a plain server does
    not say. `image_path`: of the photo at its own site; it is never opened. `knows`: see store/tombstones.py."""

    id: str
    version: Version
    seq: int
    person_name: str
    person_id: str | None
    user_id: str | None
    image_path: str | None
    vector: NDArray[np.float32]
    model: str | None
    knows: int
    updated_at: str | None

    def to_json(self) -> dict[str, Any]:
        vector = np.ascontiguousarray(self.vector, "<f4").tobytes()
        return {
            "id": self.id, "person_name": self.person_name, "person_id": self.person_id, "user_id": self.user_id,
            "image_path": self.image_path, "embedding_b64": base64.b64encode(vector).decode(), "dim": len(self.vector),
            "model": self.model, "knows": self.knows, "updated_at": self.updated_at, **_stamp(self.version, self.seq),
        }  # fmt: skip  # one object


@dataclass(frozen=True, kw_only=True)
class PersonItem:
    """A person. `merged_into`: the UUID of the person that this one is now. `person_name`: None if the person is gone."""

    id: str
    version: Version
    seq: int
    person_name: str | None
    user_id: str | None
    merged_into: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "person", "id": self.id, "person_name": self.person_name, "user_id": self.user_id,
            "merged_into": self.merged_into, "deleted": self.person_name is None, **_stamp(self.version, self.seq),
        }  # fmt: skip  # one object


@dataclass(frozen=True, kw_only=True)
class DeletedItem:
    """The tombstone of a reference."""

    id: str
    version: Version
    seq: int

    def to_json(self) -> dict[str, Any]:
        return {"kind": "deleted", "id": self.id, "deleted": True, **_stamp(self.version, self.seq)}


@dataclass(frozen=True, kw_only=True)
class ForgottenItem:
    """The tombstone of a person. See store/tombstones.py."""

    id: str
    version: Version
    seq: int
    person_id: str | None
    person_hash: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "forgotten", "id": self.id, "person_id": self.person_id, "person_hash": self.person_hash,
            "deleted": True, **_stamp(self.version, self.seq),
        }  # fmt: skip  # one object


Item = ReferenceItem | PersonItem | DeletedItem | ForgottenItem


def sent_by(origin: str, document: dict[str, Any]) -> dict[str, Any]:
    """An item's JSON in a batch of this origin, which may send again what another one made."""
    if document["origin"] == origin:
        return document
    return {**document, "origin": origin, "author": document["origin"]}


_KINDS: dict[type[Item], str] = {
    ReferenceItem: "reference", PersonItem: "person", DeletedItem: "deleted", ForgottenItem: "forgotten",
}  # fmt: skip  # a table


def _stamp(version: Version, seq: int) -> dict[str, Any]:
    return {"revision": version.revision, "origin": version.origin, "seq": seq}


def name_of_item(document: object) -> str:
    """The kind and the UUID of an item, for a message; also of one that can't be read."""
    if not isinstance(document, Mapping):
        return "reference ?"
    kind, uuid = document.get("kind", "reference"), document.get("id")
    return f"{kind if isinstance(kind, str) else '?'} {uuid if isinstance(uuid, str) else '?'}"[:80]


def name_of(item: Item) -> str:
    """The same of an item that was read."""
    return f"{_KINDS[type(item)]} {item.id}"


def item_of(document: object) -> Item | None:
    """The item of a JSON object; None for a kind that this version does not know. Raises RefusedError with what is wrong with it."""
    if not isinstance(document, Mapping):
        raise _unfit("item", document, "an object")
    match document.get("kind", "reference"):
        case "reference":
            return _reference(document)
        case "person":
            return _person(document)
        case "deleted":
            return _deleted(document)
        case "forgotten":
            return _forgotten(document)
        case _:
            return None


def _reference(document: Mapping[str, Any]) -> ReferenceItem:
    return ReferenceItem(
        id=_matching(document, "id", _UUID),
        version=_version(document),
        seq=_number(document, "seq", 1),
        person_name=fit_name(document.get("person_name")),
        person_id=None if document.get("person_id") is None else _matching(document, "person_id", _UUID),
        user_id=text_of(document.get("user_id")),
        image_path=text_of(document.get("image_path")),
        vector=vector_of(document),
        model=None if document.get("model") is None else _matching(document, "model", _HASH),
        knows=_number(document, "knows", 0) if document.get("knows") is not None else 0,
        updated_at=_time(document.get("updated_at")),
    )


def _person(document: Mapping[str, Any]) -> PersonItem:
    is_gone = document.get("deleted") is True
    return PersonItem(
        id=_matching(document, "id", _UUID),
        version=_version(document),
        seq=_number(document, "seq", 1),
        person_name=None if is_gone else fit_name(document.get("person_name")),
        user_id=None if is_gone else text_of(document.get("user_id")),
        merged_into=None if document.get("merged_into") is None else _matching(document, "merged_into", _UUID),
    )


def _deleted(document: Mapping[str, Any]) -> DeletedItem:
    return DeletedItem(id=_matching(document, "id", _UUID), version=_version(document), seq=_number(document, "seq", 1))


def _forgotten(document: Mapping[str, Any]) -> ForgottenItem:
    return ForgottenItem(
        id=_matching(document, "id", _UUID),
        version=_version(document),
        seq=_number(document, "seq", 1),
        person_id=None if document.get("person_id") is None else _matching(document, "person_id", _UUID),
        person_hash=None if document.get("person_hash") is None else _matching(document, "person_hash", _HASH),
    )


def fit_name(value: object) -> str:
    """A name that can be enrolled. Raises RefusedError."""
    name = new_name_of(value)
    if reason := unfitness(name):
        raise RefusedError(f"the name {reason}", expected="a name that can be enrolled")
    return name


def vector_of(document: Mapping[str, Any]) -> NDArray[np.float32]:
    """The embedding (dim,) float32 of an item. As bytes it has about unit L2 norm, as numbers any; who saves it makes it a unit vector.
    Raises RefusedError."""
    raw = document.get("embedding_b64")
    try:
        vector = np.asarray(document.get("embedding"), np.float32) if raw is None else _from_bytes(raw)
    except (binascii.Error, TypeError, ValueError, OverflowError) as error:
        raise _unfit("embedding", type(error).__name__, "base64 of float32, or a list of numbers") from error
    if vector.ndim != 1 or not 1 <= len(vector) <= _MAX_DIM or document.get("dim", len(vector)) != len(vector):
        raise _unfit("embedding", f"shape {vector.shape}", "as many numbers as dim says")
    norm = float(np.linalg.norm(vector))
    is_sound = abs(norm - 1) <= NORM_TOLERANCE if raw is not None else _LEAST_NORM <= norm < np.inf
    if not is_sound:  # also for numbers that are not finite
        raise _unfit("embedding", f"norm {norm:.3g}", "norm 1" if raw is not None else "numbers that are not all zero")
    return vector


def _from_bytes(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4")


def _version(document: Mapping[str, Any]) -> Version:
    author = "origin" if document.get("author") is None else "author"
    return Version(_number(document, "revision", 1), _matching(document, author, _ORIGIN))


def _number(document: Mapping[str, Any], key: str, least: int) -> int:
    value = document.get(key)
    if type(value) is not int or not least <= value < MAX_REVISION:
        raise _unfit(key, value, f"a whole number from {least}")
    return value


def _matching(document: Mapping[str, Any], key: str, form: re.Pattern[str]) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise _unfit(key, value, f"text like {form.pattern}")
    return value


def _time(value: object) -> str | None:
    return value if isinstance(value, str) and _TIME.fullmatch(value) else None


def _unfit(key: str, got: object, expected: str) -> RefusedError:
    return RefusedError(f"not fit: {key}", got=repr(got)[:60], expected=expected)
