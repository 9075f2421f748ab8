"""The store's references as they lie in SQLite, handed on for the block without touching each row in Python.

16 KiB pages and a memory-mapped database make SQLite's part a copy; the blobs go on to the block as they are, a thousand in a
system call, and are checked and coded there by another thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from shared.errors import ConfigurationError
from shared.gallery_building import Batch
from shared.store import Store, explain

_ROWS_AT_ONCE = 2048  # blobs that are still in the cache when they are written


def stored_batches(store: Store) -> Iterator[Batch]:
    """Every reference in id order, as blobs of `dim` float32. Raises ConfigurationError for a row of another length.

    Norms are checked where the codes are made.
    """
    size = 4 * (store.dim or 0)
    try:
        cursor = store.connection.execute("SELECT id, person_name, user_id, embedding FROM embeddings ORDER BY id")
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            row_ids, names, user_ids, blobs = zip(*rows, strict=True)
            if set(map(type, blobs)) != {bytes} or set(map(len, blobs)) != {size}:
                raise _wrong_length(store, row_ids, blobs, size)
            yield Batch(row_ids, names, user_ids, blobs)
    except sqlite3.Error as error:
        raise explain(error, store.path) from error


def _wrong_length(store: Store, row_ids: tuple[int, ...], blobs: tuple[object, ...], size: int) -> ConfigurationError:
    sizes = [f"{len(blob)} bytes" if isinstance(blob, bytes) else type(blob).__name__ for blob in blobs]
    first = next(i for i, got in enumerate(sizes) if got != f"{size} bytes")
    return ConfigurationError(
        "a row of embeddings is unsound",
        where=f"{store.path} row {row_ids[first]}",
        got=sizes[first],
        expected=f"{size} bytes",
        remedy="delete the row or restore a backup: supervisor.py restore FILE",
    )
