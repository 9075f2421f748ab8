"""Compares models on a site's own stored photos: whom each would name, and what it costs. The gallery stays as it is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import RefusedError
from shared.photos.kept import stored_photo
from shared.photos.reading import Photo, load_photo
from shared.progress import Progress
from shared.records import Reference
from shared.settings.schema import Settings
from workers.calibration.calibration import calibrate
from workers.calibration.false_matches import rates
from workers.calibration.gallery_copy import References
from workers.models.packs import InstalledPack
from workers.photos.embedding import embed_image
from workers.photos.pool import PhotoReader, embed_photos
from workers.recognition.engine import Engine

_TIMED = 12  # photos whose detection and embedding are timed
LEAST_PHOTOS = 2


@dataclass(frozen=True)
class Compared:
    """What one model makes of the photos, at the limits that follow from the site's risk.

    `photos`: whose face it found, out of `of`. `named_right`: of the photos of people who have another one, the share that gets the right
    name; `strangers_named`: of all photos, the share that gets a name when its person is not enrolled; `strangers_at_most`: its upper bound
    at 95 %. Each 0 to 1, None if there is no photo for it. `ms_a_face`: median of detection and embedding of a photo with one face, on one
    thread.
    """

    model: str
    licence: str
    commercial_use: bool | None
    photos: int
    of: int
    threshold: float
    named_right: float | None
    strangers_named: float | None
    strangers_at_most: float | None
    ms_a_face: float | None
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def photos_of(references: Iterable[Reference], settings: Settings) -> dict[Path, str]:
    """The stored photos of references that have one, each with its person. Raises RefusedError if there are too few."""
    found: dict[Path, str] = {}
    for one in references:
        path = stored_photo(settings.data_dir, settings.base, one.person, one.image_path)
        if path is not None:
            found.setdefault(path, one.person)
    if len(found) < LEAST_PHOTOS:
        raise RefusedError(
            "there are too few stored photos to compare models",
            where=str(settings.faces_dir),
            got=str(len(found)),
            expected=f"at least {LEAST_PHOTOS}, of several people",
            remedy="enrol photos of people: supervisor.py enrol FOLDER",
        )
    return found


def compare(
    photos: dict[Path, str], fresh: Settings, pack: InstalledPack, engine: Engine, progress: Progress | None = None
) -> Compared:
    """Embed the photos with a model, and judge them as `calibrate` does. `fresh`: the settings with this model. `engine`: it, opened with one
    thread. `progress` is called with (photos done, photos in all)."""
    names: dict[str, int] = {}
    persons, vectors = [], []
    for done, result in enumerate(embed_photos(fresh, engine, _loaded(photos), len(photos)), 1):
        if result.embedding is not None:
            persons.append(names.setdefault(photos[result.photo.path], len(names)))
            vectors.append(result.embedding)
        if progress:
            progress(done, len(photos))
    matrix = np.stack(vectors) if vectors else np.empty((0, engine.dim), np.float32)
    rows = np.arange(len(persons), dtype=np.int64)
    gallery = References(matrix, np.array(persons, np.int32), rows, list(names))
    found = calibrate(gallery, engine, fresh.recognition.strangers_named)
    shares = rates(found.scores, found.proposal.point)
    return Compared(
        engine.model_id.label, pack.licence, pack.commercial_use, len(persons), len(photos), found.proposal.point.threshold,
        shares.named_right, shares.strangers_named, shares.strangers_at_most, _ms_a_face(photos, engine), pack.size_bytes,
    )  # fmt: skip  # one object


def _loaded(photos: dict[Path, str]) -> Iterator[Photo]:
    for path in photos:
        try:
            yield load_photo(path)
        except RefusedError:
            continue  # it counts as a photo without a face


def _ms_a_face(photos: dict[Path, str], engine: Engine) -> float | None:
    """Of some photos; the first run of a model is not counted."""
    times = []
    with PhotoReader() as reader:
        for path in list(photos)[: _TIMED + 1]:
            try:
                image = reader.decode(load_photo(path))[0]
                began = time.perf_counter()
                embed_image(engine, image)
            except RefusedError:
                continue
            times.append(time.perf_counter() - began)
    return float(np.median(times[1:])) * 1000 if len(times) > 1 else None
