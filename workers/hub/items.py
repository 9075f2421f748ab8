"""What sites exchange: references, people, deletions, forgettings. How each is checked, kept and sent. Pure: the caller gives the time.

An item is one version of one thing. It has the revision of a hybrid logical clock (milliseconds since 1970 times 1024, plus a counter), and
the origin and number under which it was sent. (revision, author) orders all versions of a thing: the author is the origin that made the version,
which another one can have sent again after a hub lost its data. What is unfit is refused with a reason that
holds no name and no numbers of a face.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError
from shared.person_names import stored_name, text_of, unfitness
from shared.sync.hybrid_clock import COUNTER_BITS, MAX_AHEAD_MS, is_ahead
from shared.sync.plain_wire import plain_fields
from workers.hub.positions import MAX_NUMBER, is_origin

MIN_DIM, MAX_DIM = 16, 4096
_MAX_NORM_ERROR = 0.01
_LEAST_NORM = 1e-6
_HASH = re.compile(r"[0-9a-f]{64}")
# The ids of what plain clients send are made from its contents, so that the same thing sent twice has the same id.
_PLAIN = uuid.UUID("5f0c3b0e-6f0e-5d0b-9a44-6d3f0f1f7a10")


class Kind(StrEnum):
    """`REFERENCE`: an enrolled face. `PERSON`: who has references. `DELETED`: a reference that is gone. `FORGOTTEN`: a person that was
    forgotten."""

    REFERENCE = "reference"
    PERSON = "person"
    DELETED = "deleted"
    FORGOTTEN = "forgotten"


class Unfit(Exception):
    """An item that is refused. The text is the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One version of one thing. Fields that its kind does not have are None.

    `embedding`: little-endian float32, unit L2 norm. `model`: its fingerprint; None: a plain client sent it. `knows`: the revision of the
    newest forgetting of this person that the site knew; 0: none. `deleted`: of a person: it is gone. `author`: None: the origin.
    """

    kind: Kind
    id: str
    revision: int
    origin: str
    seq: int
    author: str | None = None
    deleted: bool = False
    person_name: str | None = None
    user_id: str | None = None
    image_path: str | None = None
    embedding: bytes | None = None
    model: str | None = None
    person_id: str | None = None
    person_hash: str | None = None
    merged_into: str | None = None
    knows: int = 0

    @property
    def dim(self) -> int:
        return len(self.embedding or b"") // 4

    @property
    def document_id(self) -> str:
        """The key under which it is kept. Each version has its own: nothing is ever written over."""
        return f"{self.origin}:{self.seq}"

    def to_document(self) -> dict[str, Any]:
        """The document that the database keeps. A reference also has `dim`, by which those without a model are told apart."""
        kept: dict[str, Any] = {"_id": self.document_id, **self._given()}
        if self.embedding is not None:
            kept["dim"] = self.dim
        return kept

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Item:
        given = {name: document[name] for name in cls.__slots__ if name in document}
        if "embedding" in given:
            given["embedding"] = bytes(given["embedding"])
        return cls(**{**given, "kind": Kind(given["kind"])})

    def to_json(self) -> dict[str, Any]:
        """The form between our own ends. `updated_at` is the time in its revision."""
        sent = self._given()
        if self.kind is Kind.REFERENCE:
            del sent["kind"]
            sent |= {"user_id": self.user_id, "image_path": self.image_path, "model": self.model, "knows": self.knows}
        if self.embedding is not None:
            sent |= {"embedding_b64": base64.b64encode(self.embedding).decode("ascii"), "dim": self.dim}
            del sent["embedding"]
        if self.kind is Kind.FORGOTTEN:
            sent |= {"person_hash": self.person_hash, "person_id": self.person_id}
        if self.kind is Kind.PERSON and not self.deleted:
            sent |= {"user_id": self.user_id, "merged_into": self.merged_into}
        moment = datetime.fromtimestamp((self.revision >> COUNTER_BITS) / 1000, UTC)
        return sent | {"updated_at": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")}

    def to_plain(self) -> dict[str, Any]:
        """The form that every client knows."""
        vector = np.frombuffer(self.embedding or b"", "<f4").tolist()
        return {
            "person_name": self.person_name,
            "embedding": vector,
            "image_path": self.image_path,
            "user_id": self.user_id,
        }

    def _given(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in self.__slots__}
        given = {name: value for name, value in found.items() if value not in (None, 0)}  # False is 0
        return {**given, "kind": str(self.kind)}


class Refused(NamedTuple):
    """An item that was refused, as the answer names it."""

    id: str | None
    kind: str | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class PlainItem(NamedTuple):
    """What a plain client sends: a reference without a clock. `id`: made from the name and the path, or the vector."""

    id: str
    person_name: str
    embedding: bytes
    image_path: str | None
    user_id: str | None


# --- our own items ---------------------------------------------------------------------------------------------------


def item_of(given: object, origin: str, now_ms: int) -> Item:
    """An item of a batch of `origin`. Raises Unfit."""
    if not isinstance(given, dict):
        raise Unfit("is no object")
    try:
        kind = Kind(given.get("kind") or "reference")
    except ValueError:
        raise Unfit("is of an unknown kind") from None
    if given.get("origin", origin) != origin:
        raise Unfit("is of another origin than its batch")
    author = given.get("author")
    if author is not None and not is_origin(author):
        raise Unfit("its author is no origin")
    revision = _number(given, "revision", least=1)
    if is_ahead(revision, now_ms):
        raise Unfit(f"its revision is more than {MAX_AHEAD_MS // 1000} s ahead of the hub's clock")
    own: dict[str, Any] = {
        Kind.REFERENCE: _reference,
        Kind.PERSON: _person,
        Kind.DELETED: _deleted,
        Kind.FORGOTTEN: _forgotten,
    }[kind](given)
    return Item(
        kind=kind, id=_uuid(given, "id"), revision=revision, origin=origin, seq=_number(given, "seq", least=1),
        author=None if author == origin else author, **own,
    )  # fmt: skip  # one object


def _reference(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "person_name": _name(given.get("person_name")),
        "user_id": _text(given, "user_id"),
        "image_path": _text(given, "image_path"),
        "embedding": _unit_vector(given),
        "model": _hash(given, "model"),
        "person_id": _uuid(given, "person_id"),
        "knows": _number(given, "knows", least=0) if given.get("knows") is not None else 0,
    }


def _person(given: Mapping[str, Any]) -> dict[str, Any]:
    if given.get("deleted") is True:
        return {"deleted": True}
    return {
        "person_name": _name(given.get("person_name")),
        "user_id": _text(given, "user_id"),
        "merged_into": None if given.get("merged_into") is None else _uuid(given, "merged_into"),
    }


def _deleted(_: Mapping[str, Any]) -> dict[str, Any]:
    return {"deleted": True}


def _forgotten(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "deleted": True,
        "person_hash": None if given.get("person_hash") is None else _hash(given, "person_hash"),
        "person_id": None if given.get("person_id") is None else _uuid(given, "person_id"),
    }


def _unit_vector(given: Mapping[str, Any]) -> bytes:
    vector = _vector(given)
    if given.get("dim", len(vector)) != len(vector):
        raise Unfit("dim is not the number of its floats")
    if abs(float(np.linalg.norm(vector)) - 1.0) > _MAX_NORM_ERROR:
        raise Unfit("its norm is not 1")
    return vector.astype("<f4").tobytes()


def _vector(given: Mapping[str, Any]) -> NDArray[np.float32]:
    """The embedding, finite, of a length that there can be. Raises Unfit."""
    packed = given.get("embedding_b64")
    if packed is not None:
        try:
            raw = base64.b64decode(packed, validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise Unfit("embedding_b64 is not base64") from None
        if len(raw) % 4:
            raise Unfit("embedding_b64 is not float32")
        vector = np.frombuffer(raw, "<f4").astype(np.float32)
    else:
        floats = given.get("embedding")
        if not isinstance(floats, list) or not all(type(one) in (int, float) for one in floats):
            raise Unfit("has no embedding: a list of numbers")
        try:
            with np.errstate(over="ignore"):
                vector = np.array(floats, np.float64).astype(np.float32)
        except OverflowError:  # a whole number of hundreds of digits
            raise Unfit("its embedding is not finite") from None
    if not MIN_DIM <= len(vector) <= MAX_DIM:
        raise Unfit(f"its embedding has not {MIN_DIM} to {MAX_DIM} numbers")
    if not np.isfinite(vector).all():
        raise Unfit("its embedding is not finite")
    return vector


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise Unfit("has no person_name")
    name = stored_name(value)
    if why := unfitness(name):
        raise Unfit(f"its person_name {why}")
    return name


def _text(given: Mapping[str, Any], key: str) -> str | None:
    try:
        return text_of(given.get(key))
    except RefusedError as error:
        raise Unfit(f"{key} is {error.what}") from None


def _uuid(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    try:
        found = str(uuid.UUID(value)) if isinstance(value, str) else ""
    except ValueError:
        found = ""
    if not found or found != str(value).lower():
        raise Unfit(f"{key} is no UUID")
    return found


def _hash(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise Unfit(f"{key} is not 64 hexadecimal digits")
    return value


def _number(given: Mapping[str, Any], key: str, *, least: int) -> int:
    value = given.get(key)
    if type(value) is not int or not least <= value <= MAX_NUMBER:
        raise Unfit(f"{key} is no whole number from {least} to 2**53 - 1")
    return value


# --- what plain clients send -----------------------------------------------------------------------------------------


def plain_item_of(given: object) -> PlainItem:
    """A plain client's item. Its vector need not be of unit norm: it is brought to it. Raises Unfit."""
    if not isinstance(given, dict):
        raise Unfit("is no object")
    named = plain_fields(given)
    name, path = _name(named["person_name"]), _text(named, "image_path")
    vector = _vector(given).astype(np.float64)
    norm = float(np.linalg.norm(vector))
    if norm < _LEAST_NORM:
        raise Unfit("its embedding is zero")
    packed = (vector / norm).astype("<f4").tobytes()
    content = packed.hex() if path is None else path
    made = uuid.uuid5(_PLAIN, f"{name}\0{'vector' if path is None else 'path'}\0{content}")
    return PlainItem(str(made), name, packed, path, _text(named, "user_id"))


# --- batches ---------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """What a site pushes: all items of an origin with after < seq <= through. `lineage`, `next_lineage`: marks by which a copy of the store
    is told from the store itself."""

    origin: str
    after: int
    through: int
    lineage: str | None
    next_lineage: str
    items: list[Item]
    refused: list[Refused]


def fit_items(
    given: Sequence[object], origin: str, after: int, through: int, now_ms: int
) -> tuple[list[Item], list[Refused]]:
    """The items of a batch that are fit, in the order of seq, and those that are not."""
    fit: dict[int, Item] = {}
    refused: list[Refused] = []
    for one in given:
        try:
            item = item_of(one, origin, now_ms)
            if not after < item.seq <= through:
                raise Unfit("its seq is not within its batch")
            if item.seq in fit:
                raise Unfit("another item of the batch has its seq")
            fit[item.seq] = item
        except Unfit as error:
            refused.append(refused_of(one, str(error)))
    return [fit[seq] for seq in sorted(fit)], refused


def refused_of(given: object, reason: str) -> Refused:
    """How a refused item is named: by what can be no name and no face."""
    known = given if isinstance(given, dict) else {}
    shown = {
        key: value if isinstance(value := known.get(key), str) and len(value) <= 40 else None for key in ("id", "kind")
    }
    return Refused(shown["id"], shown["kind"], reason)
