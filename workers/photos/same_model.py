"""Makes sure that a gallery's embeddings come from the configured engine's model."""

from __future__ import annotations

from shared.errors import ConfigurationError, RefusedError
from shared.model_id import other_model
from shared.photos.kept import stored_photo
from shared.service.access import GalleryClient
from shared.settings.schema import Settings
from workers.photos.embedding import embed_image
from workers.photos.pool import PhotoReader
from workers.recognition.engine import Engine

_SAMPLES = 8
_AGREES = 0.9  # the same photo and model give at least this cosine, even if the detector's settings differ
# This share of the samples has to agree. Not all: of a photo with several faces, another rule may have chosen another face.
_NEEDED_SHARE = 0.75


def require_same_model(gallery: GalleryClient, engine: Engine, settings: Settings, *, assume: bool = False) -> None:
    """Make sure that the gallery's embeddings come from `engine`'s model.

    A gallery usually records its model. One that does not (the original program's) is checked by embedding sample photos again,
    or believed if `assume` is True. If it agrees, or is empty, the engine's model is recorded. Raises ConfigurationError when the
    gallery has another model, or when its model can't be found out.
    """
    info = gallery.info()
    if info.model_id is not None and info.model_id.is_same(engine.model_id):
        return
    if info.references == 0:
        _stamp(gallery, engine)
    elif info.model_id is not None:
        raise other_model(
            ConfigurationError,
            "the gallery was embedded with another model",
            where=str(settings.db_path),
            got=info.model_id,
            expected=engine.model_id,
            remedy=f"set [recognition] back to {info.model}, or embed the stored photos anew: supervisor.py models use {engine.model}",
        )
    elif info.dim != engine.dim:
        raise ConfigurationError(
            "the gallery's embeddings have another length",
            where=str(settings.db_path),
            got=info.dim,
            expected=str(engine.dim),
            remedy="set [recognition] engine and model to those that made it",
        )
    elif assume or _samples_agree(gallery, engine, settings):
        _stamp(gallery, engine)
    else:
        raise ConfigurationError(
            "the gallery does not record its model, and its photos don't show that it is the configured one",
            where=str(settings.db_path),
            expected=f"sample photos that {engine.model_id.label} embeds alike (cosine >= {_AGREES})",
            remedy="set [recognition] model to the one that made it; if you are sure of the configured one, use --assume-model once",
        )


def _stamp(gallery: GalleryClient, engine: Engine) -> None:
    gallery.stamp(engine.model_id)


def _samples_agree(gallery: GalleryClient, engine: Engine, settings: Settings) -> bool:
    """Whether stored photos, embedded again, give the stored embeddings."""
    agreed = judged = 0
    with PhotoReader() as reader:
        for reference in gallery.references():
            photo = stored_photo(settings.data_dir, settings.base, reference.person, reference.image_path)
            if photo is None:
                continue
            try:
                embedding = embed_image(engine, reader.read_scaled(photo)[0]).embedding
            except RefusedError:
                continue
            judged += 1
            agreed += gallery.cosine(reference.id, embedding) >= _AGREES
            if judged == _SAMPLES:
                break
    return judged > 0 and agreed >= _NEEDED_SHARE * judged
