"""The gallery's functions, with the names and meaning they had in the original program.

With a site running they read the shared block and write through its writer; without one they open the file under the lock.
They raise on failure (shared.errors) and are safe from many threads. The site is the one of `$ROLLCALL_CONFIG`, else of
`site.toml` in the working folder, else the defaults there; `use_site` chooses another.
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
_ROWS_AT_ONCE = 10_000  # 20 MB of 512-d vectors in one frame and one transaction


class _Cache:
    """What load_embeddings_from_db read last from a file without a site."""

    def __init__(self) -> None:
        self.of: tuple[object, ...] | None = None  # which file it was, and in which state
        self.embeddings: NDArray[np.float32] | None = None
        self.names: list[str] | None = None
        self.timestamp: str | None = None


_cache = _Cache()


def use_site(settings: Settings | None) -> None:
    """Work on the site with these settings; None: back to the one that is found by itself."""
    global _chosen  # noqa: PLW0603  # the original's functions take no site, so the choice is the module's
    with _lock:
        _chosen = settings
        clear_cache()


def _settings() -> Settings:
    return _chosen or load_settings(find_config())


def init_database() -> None:
    """Create the database when there is none; adopt the original program's, or migrate an older one of ours."""
    with _lock, SiteAccess(_settings(), _log.warning, create=True):
        pass


def load_embeddings_from_db() -> tuple[NDArray[np.float32], list[str]] | tuple[None, None]:
    """Every reference: (n, dim) float32 of unit norm and the n names; (None, None) for an empty gallery."""
    with _lock:
        settings = _settings()
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
        file = settings.db_path.stat()  # another one in the same place can have its number and as many changes
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
    """Save one reference and return its row's id; the same person and photo again updates that row, with id and created_at kept.

    `embedding`: `dim` numbers of any length but zero. Raises RefusedError for one that is none or of another dimension.
    """
    return save_embeddings_batch([(person_name, embedding, image_path, user_id)])[0]


def save_embeddings_batch(rows: Sequence[tuple[str, ArrayLike, str | None, str | None]]) -> list[int]:
    """Save (name, embedding, path, user_id) rows, up to 10,000 a transaction; the rows' ids, in order.

    Raises RefusedError, with nothing of that transaction saved, when one of them is refused.
    """
    ids: list[int] = []
    with _lock, SiteAccess(_settings(), _log.warning, create=True) as gallery:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            references = [
                NewReference(name_of(name), text_of(path), text_of(user_id)) for name, _, path, user_id in part
            ]
            ids += gallery.save(references, _stacked(part)).ids
            clear_cache()
    return ids


def _stacked(rows: Sequence[tuple[str, ArrayLike, str | None, str | None]]) -> NDArray[np.float32]:
    """The rows' vectors as (n, dim) little-endian float32. Raises RefusedError for one that is none, or of another length."""
    try:
        stacked = np.array([vector for _, vector, *_ in rows], dtype="<f4")
    except (TypeError, ValueError):  # not numbers, or of several lengths: find the one
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
    """Delete a person's references, or the one of a photo; how many rows went. A mark keeps old folders from bringing them back."""
    with _lock:
        settings = _settings()
        if not settings.db_path.exists():
            return 0
        with SiteAccess(settings, _log.warning) as gallery:
            clear_cache()
            return gallery.delete(name_of(person_name), text_of(image_path))


def clear_cache() -> None:
    """Let go of what load_embeddings_from_db keeps in this process; the site's shared block is not touched."""
    with _lock:
        _cache.__init__()  # type: ignore[misc]  # back to how it began


def get_cache_info() -> dict[str, Any]:
    """{'cached': bool, 'count': rows, 'timestamp': ISO 8601 in UTC, or None} of the block, or of this process's own copy."""
    with _lock:
        settings = _settings()
        if site_is_running(settings.run_dir):
            with GalleryReader(settings.run_dir) as reader:
                return {"cached": True, "count": reader.count_live(), "timestamp": _iso(reader.published_ns)}
        count = 0 if _cache.names is None else len(_cache.names)
        return {"cached": _cache.embeddings is not None, "count": count, "timestamp": _cache.timestamp}


def _iso(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def get_embedding_count() -> int:
    """How many references are saved."""
    with _lock:
        settings = _settings()
        if not settings.db_path.exists():
            return 0
        with SiteAccess(settings, _log.warning) as gallery:
            return gallery.count()
