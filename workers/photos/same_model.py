"""Which model a gallery is of, and whether the configured engine may be used with it."""

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
_AGREES = 0.9  # cosine of one photo embedded twice by the same model, detector settings apart
_NEEDED_SHARE = 0.75  # of the samples: a photo with several faces may have been enrolled by another rule


def require_same_model(gallery: GalleryClient, engine: Engine, settings: Settings, *, assume: bool = False) -> None:
    """Make sure that the gallery's embeddings are of `engine`'s model; an empty or proven gallery is stamped with it.

    A gallery without a stamp (the original program's) is proven by embedding sample photos anew, or on `assume`. Raises
    ConfigurationError when it is of another model or can't be proven.
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
            "it can't be told which model made this gallery",
            where=str(settings.db_path),
            expected=f"sample photos that {engine.model_id.label} embeds alike (cosine >= {_AGREES})",
            remedy="set [recognition] model to the one that made it; if you are sure, say so once: --assume-model",
        )


def _stamp(gallery: GalleryClient, engine: Engine) -> None:
    gallery.stamp(engine.model_id)


def _samples_agree(gallery: GalleryClient, engine: Engine, settings: Settings) -> bool:
    """Whether stored photos, embedded anew, give the stored embeddings."""
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
