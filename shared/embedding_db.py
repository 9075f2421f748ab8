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
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared.errors import RefusedError
from shared.gallery_block import GalleryReader
from shared.settings import Settings, find_config, load_settings
from shared.site_access import FilesOfSite, SiteAccess
from shared.store import unit_vector
from shared.writer_client import save_rows, site_is_running

_log = logging.getLogger(__name__)
_lock = threading.RLock()
_chosen: Settings | None = None
_ROWS_AT_ONCE = 10_000  # 20 MB of 512-d vectors in one frame and one transaction


class _Cache:
    """What load_embeddings_from_db read last from a file without a site."""

    def __init__(self) -> None:
        self.change_number = -1
        self.embeddings: NDArray[np.float32] | None = None
        self.names: list[str] | None = None
        self.timestamp: float | None = None


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
        live = reader.live_rows()
        if not len(live):
            return None, None
        persons = reader.segment.persons[live]
        # A row can die between the two loads; -1 is nobody's index.
        live, persons = live[persons >= 0], persons[persons >= 0]
        return reader.segment.references[live], [reader.person(int(index)) for index in persons]


def _load_from_file(settings: Settings) -> tuple[NDArray[np.float32], list[str]] | tuple[None, None]:
    if not settings.db_path.exists():
        return None, None
    with SiteAccess(settings, _log.warning) as site:
        if not isinstance(site, FilesOfSite):  # a site was started meanwhile
            return _load_from_block(settings)
        change_number = site.store.change_number
        if _cache.embeddings is None or _cache.change_number != change_number:
            batches = list(site.store.load())
            if not batches:
                return None, None
            _cache.embeddings = np.concatenate([batch.vectors for batch in batches])
            _cache.names = [name for batch in batches for name in batch.names]
            _cache.change_number, _cache.timestamp = change_number, time.time()
    assert _cache.names is not None  # set together with the embeddings
    return _cache.embeddings.copy(), list(_cache.names)


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
    with _lock, SiteAccess(_settings(), _log.warning, create=True) as site:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            vectors = [unit_vector(np.asarray(row[1], dtype=np.float32), row[0]) for row in part]
            _check_lengths(part, vectors)
            documents = [
                {"person_name": name, "image_path": path, "user_id": user_id} for name, _, path, user_id in part
            ]
            ids += site.call("save", np.stack(vectors).astype("<f4").tobytes(), rows=save_rows(documents))["ids"]
    return ids


def _check_lengths(rows: Sequence[tuple[str, Any, str | None, str | None]], vectors: list[NDArray[np.float32]]) -> None:
    for row, vector in zip(rows, vectors, strict=True):
        if len(vector) != len(vectors[0]):
            raise RefusedError(
                "embeddings of different lengths", where=row[0], got=len(vector), expected=str(len(vectors[0]))
            )


def delete_embedding(person_name: str, image_path: str | None = None) -> int:
    """Delete a person's references, or the one of a photo; how many rows went. A mark keeps old folders from bringing them back."""
    settings = _settings()
    with _lock:
        if not settings.db_path.exists():
            return 0
        with SiteAccess(settings, _log.warning) as site:
            return int(site.call("delete", person_name=person_name, image_path=image_path)["deleted"])


def clear_cache() -> None:
    """Let go of what load_embeddings_from_db keeps in this process; the site's shared block is not touched."""
    with _lock:
        _cache.__init__()  # type: ignore[misc]  # back to how it began


def get_cache_info() -> dict[str, Any]:
    """{'cached': bool, 'count': rows, 'timestamp': seconds since 1970 or None} of the block, or of this process's own copy."""
    with _lock:
        settings = _settings()
        if site_is_running(settings.run_dir):
            with GalleryReader(settings.run_dir) as reader:
                return {"cached": True, "count": len(reader.live_rows()), "timestamp": reader.published_ns / 1e9}
        count = 0 if _cache.names is None else len(_cache.names)
        return {"cached": _cache.embeddings is not None, "count": count, "timestamp": _cache.timestamp}


def get_embedding_count() -> int:
    """How many references are saved."""
    settings = _settings()
    with _lock:
        if not settings.db_path.exists():
            return 0
        with SiteAccess(settings, _log.warning) as site:
            return int(site.call("count")["count"])
