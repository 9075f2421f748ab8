"""What is told of a person, a reference and a stranger: a row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class NewReference(NamedTuple):
    """One reference to save, its vector apart. `uuid` makes a repeated save harmless: it counts once."""

    person_name: str
    image_path: str | None = None
    user_id: str | None = None
    uuid: str | None = None
    photo_digest: str | None = None


@dataclass(frozen=True)
class Person:
    """Somebody who is enrolled. `references`: how many. Times are ISO 8601."""

    person: str
    user_id: str | None
    references: int
    enrolled_at: str | None
    updated_at: str | None


@dataclass(frozen=True)
class Reference:
    """A stored reference without its vector. `image_path`: relative to data_dir; `photo_digest`: SHA-256 of the photo's bytes."""

    id: int
    person: str
    image_path: str | None
    photo_digest: str | None
    change_number: int | None


@dataclass(frozen=True)
class Stranger:
    """Somebody who was seen and is not enrolled. `id` like stranger-17; `photos`: paths in data_dir, the best first."""

    id: str
    first_seen: str
    last_seen: str
    visits: int
    cameras: list[str]
    photos: list[str]
