"""Requests and answers: the whole gallery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from shared.ipc.requests.base import Answer, Request
from shared.model_id import ModelId


@dataclass(frozen=True, kw_only=True)
class GalleryInfo(Answer):
    """Facts about the gallery. `set_aside`: how many of the references are set aside. `crops`, `crop_bytes`: how many pictures of sightings
    are kept, and their size.

    A field is None if the gallery is empty, there is no block, or the database is too damaged to read it.
    """

    model: str | None
    fingerprint: str | None
    dim: int | None
    references: int | None
    set_aside: int | None
    people: int | None
    change_number: int | None
    damaged_rows: int | None
    generation: int | None
    published_rows: int | None
    behind: bool
    nothing_stored: str | None
    unreadable_sightings: int
    crops: int | None = None
    crop_bytes: int | None = None

    @property
    def model_id(self) -> ModelId | None:
        """The model that made the embeddings; None if it is not stored yet."""
        if not (self.model and self.fingerprint and self.dim):
            return None
        return ModelId.parse(self.model, self.fingerprint, self.dim)


@dataclass(frozen=True)
class Info(Request[GalleryInfo]):
    op: ClassVar[str] = "info"
    answer: ClassVar[type[Any]] = GalleryInfo


@dataclass(frozen=True, kw_only=True)
class Restored(Answer):
    """`kept_deleted`: how many references of the backup were not restored, because they were deleted since. `set_aside`: how many of the
    restored ones are set aside.
    """

    restored: int
    kept_deleted: int
    set_aside: int


@dataclass(frozen=True)
class Restore(Request[Restored]):
    """Restore a backup. `name`: the name of a file in the site's folder for copies."""

    op: ClassVar[str] = "restore"
    answer: ClassVar[type[Any]] = Restored
    sent_once: ClassVar[bool] = True  # it takes long
    name: str
