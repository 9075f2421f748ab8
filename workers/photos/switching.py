"""Switches the gallery to another model: embeds every stored photo again, keeps the results beside the active embeddings, and
then exchanges all of them in one step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError, TemporaryError
from shared.ipc.requests.model import Switched
from shared.ipc.requests.sync import FromElsewhere
from shared.photos.kept import stored_photo
from shared.photos.reading import Photo, load_photo
from shared.progress import progress_bar
from shared.records import Reference
from shared.service.access import GalleryClient
from shared.settings.schema import Settings
from workers.photos.embedding import refusal_reason
from workers.photos.pool import embed_photos
from workers.recognition.engine import Engine

_STAGED_AT_ONCE = 512
_ROUNDS = 5


class _Ready(NamedTuple):
    """A reference with its new embedding (dim,), and how far the head is turned. Without the photo, of which many would take much memory."""

    reference: Reference
    embedding: NDArray[np.float32]
    turn: float | None


def switch_model(
    gallery: GalleryClient, settings: Settings, fresh: Settings, engine: Engine, *, leave_out: bool
) -> Switched:
    """Embed every reference's photo with `engine`, store the results beside the active embeddings, then switch in one step.

    References that were enrolled meanwhile are embedded in another round. `fresh`: the settings with the new model. `leave_out`:
    set references aside that the new model can't embed, instead of refusing. Those that came from other sites are always set aside: they
    have no photo here, and come again from sites that have changed to the new model. Raises RefusedError when there are others and
    `leave_out` is False; TemporaryError when people are enrolled all the while.
    """
    if gallery.info().fingerprint == engine.fingerprint:
        return Switched(switched=True, references=gallery.count())
    gallery.unstage()  # remove what an attempt that was broken off has left
    missing: dict[int, str] = {}
    wanted: set[int] | None = None
    for _ in range(_ROUNDS):
        references = [one for one in gallery.references() if wanted is None or one.id in wanted]
        missing |= _stage(gallery, references, settings, fresh, engine)
        elsewhere = set(gallery.ask(FromElsewhere()).ids)
        lost = [line for row_id, line in missing.items() if row_id not in elsewhere]
        if lost and not leave_out:
            gallery.unstage()
            raise RefusedError(
                "some references have no photo that the new model can use",
                where=settings.model,
                got=f"{len(lost)}: " + "; ".join(lost[:10]),
                remedy="put their photos back, forget them, or set them aside with --leave-out",
            )
        answer = gallery.switch_model(engine.model_id, list(missing))
        if answer.switched:
            return answer
        wanted = set(answer.not_staged)
    gallery.unstage()
    raise TemporaryError(
        "the gallery changed all the while", where=str(settings.db_path), remedy="try again when nobody enrols"
    )


def _stage(
    gallery: GalleryClient, references: list[Reference], settings: Settings, fresh: Settings, engine: Engine
) -> dict[int, str]:
    """Embed the references' photos with `engine` into the side table. Returns those that can't be embedded: id → one line."""
    by_photo: dict[Path, list[Reference]] = {}
    missing: dict[int, str] = {}
    for reference in references:
        photo = stored_photo(settings.data_dir, settings.base, reference.person, reference.image_path)
        if photo is None:
            missing[reference.id] = f"{reference.person} {reference.image_path or '(saved without a photo)'}"
        else:
            by_photo.setdefault(photo, []).append(reference)
    ready: list[_Ready] = []

    def leave_out(photo: Path, reason: str | None) -> None:
        missing.update({one.id: f"{photo.name}: {reason}" for one in by_photo[photo]})

    def loaded() -> Iterator[Photo]:
        for path in by_photo:
            try:
                yield load_photo(path)
            except RefusedError as error:
                leave_out(path, refusal_reason(error))

    with progress_bar("embedding anew") as progress:
        for done, result in enumerate(embed_photos(fresh, engine, loaded(), len(by_photo)), 1):
            if result.embedding is None:
                leave_out(result.photo.path, result.reason)
            else:
                ready += [_Ready(one, result.embedding, result.turn) for one in by_photo[result.photo.path]]
            if len(ready) >= _STAGED_AT_ONCE:
                _send_staged(gallery, ready, engine.fingerprint)
                ready = []
            progress(done, len(by_photo))
    if ready:
        _send_staged(gallery, ready, engine.fingerprint)
    return missing


def _send_staged(gallery: GalleryClient, ready: list[_Ready], fingerprint: str) -> None:
    vectors = np.stack([one.embedding for one in ready])
    gallery.stage([one.reference for one in ready], vectors, fingerprint, [one.turn for one in ready])
