"""The gallery's functions, with the names and the meaning that they had in the original program.

While a site runs, they read the gallery block and write through the site's writer. Otherwise they open the database under the lock.
They raise the errors of shared.errors, and may be called from many threads. The settings come from `$ROLLCALL_CONFIG`, else from
`site.toml` in the working folder, else they are the defaults there. `use_site` chooses another site.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared.embeddings import Batch
from shared.errors import RefusedError
from shared.gallery.reader import GalleryReader
from shared.ipc.client import site_is_running
from shared.person_names import name_of, text_of
from shared.records import NewReference
from shared.service.access import SiteAccess
from shared.settings.file import find_config, load_settings
from shared.settings.schema import Settings

_log = logging.getLogger(__name__)
_lock = threading.RLock()
_chosen: Settings | None = None
_ROWS_AT_ONCE = 10_000  # in one message and one transaction: 20 MB of vectors with 512 dimensions


class _Cache:
    """What load_embeddings_from_db last read from a database file, while no site was running."""

    def __init__(self) -> None:
        self.of: tuple[object, ...] | None = None  # identifies the file and its state
        self.embeddings: NDArray[np.float32] | None = None
        self.names: list[str] | None = None
        self.timestamp: str | None = None


_cache = _Cache()


def use_site(settings: Settings | None) -> None:
    """Use the site with these settings from now on. None: use the one that is found as the module's docstring says."""
    global _chosen  # noqa: PLW0603  # the original's functions take no site, so the module keeps the choice
    with _lock:
        _chosen = settings
        clear_cache()


def site_settings() -> Settings:
    """The settings of the site that these functions work on. Raises ConfigurationError."""
    return _chosen or load_settings(find_config())


def init_database() -> None:
    """Create the database if there is none. Adopt one of the original program, or migrate an older one of ours. Raises RollcallError."""
    with _lock, SiteAccess(site_settings(), _log.warning, create=True):
        pass


def load_embeddings_from_db() -> tuple[NDArray[np.float32], list[str]] | tuple[None, None]:
    """All references: (n, dim) float32 of unit L2 norm, and their n names. (None, None) for an empty gallery. Raises RollcallError."""
    with _lock:
        settings = site_settings()
        if site_is_running(settings.run_dir):
            return _load_from_block(settings)
        return _load_from_file(settings)


def _load_from_block(settings: Settings) -> tuple[NDArray[np.float32], list[str]] | tuple[None, None]:
    with GalleryReader(settings.run_dir) as reader:
        live = reader.copy_live()
        return (live.references, live.names) if live.names else (None, None)


def _load_from_file(settings: Settings) -> tuple[NDArray[np.float32], list[str]] | tuple[None, None]:
    if not settings.db_path.exists():
        clear_cache()
        return None, None
    with SiteAccess(settings, _log.warning) as gallery:
        # Another file at the same path can have the same inode and the same number of changes.
        file = settings.db_path.stat()
        state = (settings.db_path, file.st_ino, file.st_mtime_ns, file.st_size, gallery.info().change_number)
        if _cache.of != state:
            with gallery.batches(_log.warning) as batches:
                _fill_cache(list(batches), state)
    if _cache.embeddings is None or _cache.names is None:
        return None, None
    return _cache.embeddings.copy(), list(_cache.names)


def _fill_cache(batches: list[Batch], state: tuple[object, ...]) -> None:
    clear_cache()
    if batches:
        _cache.embeddings = np.concatenate([batch.references for batch in batches])
        _cache.names = [name for batch in batches for name in batch.names]
        _cache.of, _cache.timestamp = state, _iso(time.time_ns())


def save_embedding(
    person_name: str, embedding: ArrayLike, image_path: str | None = None, user_id: str | None = None
) -> int:
    """Save one reference and return the id of its row. For the same person and photo, that row is updated: id and created_at stay.

    `embedding`: `dim` numbers, of any norm but zero. Raises RefusedError for an unsound vector or another dimension, or another
    RollcallError.
    """
    return save_embeddings_batch([(person_name, embedding, image_path, user_id)])[0]


def save_embeddings_batch(rows: Sequence[tuple[str, ArrayLike, str | None, str | None]]) -> list[int]:
    """Save rows of (name, embedding, path, user_id), up to 10,000 in a transaction. Returns the ids of the rows, in order.

    Raises RefusedError if a row is refused; then nothing of its transaction is saved.
    """
    ids: list[int] = []
    with _lock, SiteAccess(site_settings(), _log.warning, create=True) as gallery:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            references = [
                NewReference(name_of(name), text_of(path), text_of(user_id)) for name, _, path, user_id in part
            ]
            ids += gallery.save(references, _stacked(part)).ids
            clear_cache()
    return ids


def _stacked(rows: Sequence[tuple[str, ArrayLike, str | None, str | None]]) -> NDArray[np.float32]:
    """The rows' vectors as (n, dim) little-endian float32. Raises RefusedError if one has no numbers, or another length."""
    try:
        stacked = np.array([vector for _, vector, *_ in rows], dtype="<f4")
    except (TypeError, ValueError):  # not numbers, or different lengths: find the faulty vector below
        stacked = np.empty(0, "<f4")
    if stacked.ndim > 1 and stacked.size:
        return stacked.reshape(len(rows), -1)
    length = None
    for name, vector, *_ in rows:
        try:
            found = np.asarray(vector, dtype=np.float32).size
        except (TypeError, ValueError) as error:
            raise RefusedError(
                "not an embedding", where=str(name), got=type(vector).__name__, expected="numbers"
            ) from error
        if not found or found != (length := length or found):
            raise RefusedError(
                "embeddings of different lengths", where=str(name), got=found, expected=str(length or "1 or more")
            )
    return np.stack([np.asarray(vector, dtype="<f4").reshape(-1) for _, vector, *_ in rows])


def delete_embedding(person_name: str, image_path: str | None = None) -> int:
    """Delete a person's references, or those of one photo. Returns how many rows. A deletion mark keeps old folders and backups from
    bringing them back. Raises RollcallError."""
    with _lock:
        settings = site_settings()
        if not settings.db_path.exists():
            return 0
        with SiteAccess(settings, _log.warning) as gallery:
            clear_cache()
            return gallery.delete(name_of(person_name), text_of(image_path))


def clear_cache() -> None:
    """Drop what load_embeddings_from_db keeps in this process. The site's gallery block is not touched."""
    with _lock:
        _cache.__init__()  # type: ignore[misc]  # reset it


def get_cache_info() -> dict[str, Any]:
    """The state of the gallery block, or without a running site that of this process's own copy.

    Returns {'cached': bool, 'count': number of references, 'timestamp': ISO 8601, UTC, or None}. Raises RollcallError.
    """
    with _lock:
        settings = site_settings()
        if site_is_running(settings.run_dir):
            with GalleryReader(settings.run_dir) as reader:
                return {"cached": True, "count": reader.count_live(), "timestamp": _iso(reader.published_ns)}
        count = 0 if _cache.names is None else len(_cache.names)
        return {"cached": _cache.embeddings is not None, "count": count, "timestamp": _cache.timestamp}


def _iso(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def get_embedding_count() -> int:
    """How many references are stored. Raises RollcallError."""
    with _lock:
        settings = site_settings()
        if not settings.db_path.exists():
            return 0
        with SiteAccess(settings, _log.warning) as gallery:
            return gallery.count()
