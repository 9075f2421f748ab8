"""The store's references as they lie in SQLite, handed on for the block without touching each row in Python.

16 KiB pages and a memory-mapped database make SQLite's part a copy. A thousand rows come as one: Python gives up the interpreter for
each row it takes from SQLite, and a thread that codes meanwhile would wait for it as often; so two threads were no faster than one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np

from shared.errors import ConfigurationError
from shared.gallery_building import Batch
from shared.store import Store, explain

_ROWS_AT_ONCE = 1024  # 2 MiB of references: still in the cache when they are coded and written
# Aggregates go over the rows in the order in which the inner query gives them. group_concat takes a blob for the database's text.
_BATCH = """
    SELECT COUNT(*), json_group_array(id), json_group_array(person_name), json_group_array(user_id),
        SUM(typeof(embedding) <> 'blob' OR length(embedding) <> ?), CAST(group_concat(embedding, '') AS BLOB),
        json_group_array(checksum)
    FROM (
        SELECT id, person_name, user_id, embedding, checksum
        FROM embeddings LEFT JOIN reference_facts ON embedding_id = id WHERE id > ? {chosen} ORDER BY id LIMIT ?
    )
"""
_CHOSEN = "AND id IN (SELECT value FROM json_each(?))"
_WRONG = """
    SELECT id, typeof(embedding), length(embedding) FROM embeddings
    WHERE id > ? AND (typeof(embedding) <> 'blob' OR length(embedding) <> ?) ORDER BY id LIMIT 1
"""


def stored_batches(store: Store, row_ids: Sequence[int] | None = None) -> Iterator[Batch]:
    """Every reference, or those of these ids, in id order. Raises ConfigurationError for a row that is not a blob of `dim` float32.

    Norms are checked where the codes are made.
    """
    size, last = 4 * (store.dim or 0), -(1 << 63)
    try:
        query = _BATCH.format(chosen="" if row_ids is None else _CHOSEN)
        chosen = [] if row_ids is None else [json.dumps(list(row_ids))]
        while True:
            (one,) = store.connection.execute(query, (size, last, *chosen, _ROWS_AT_ONCE)).fetchall()
            count, found, names, user_ids, wrong, references, checksums = one
            if not count:
                return
            if wrong:
                raise _wrong_length(store, last, size)
            ids = json.loads(found)
            vectors = np.frombuffer(references, "<f4").reshape(count, -1)
            yield Batch(ids, json.loads(names), json.loads(user_ids), vectors, json.loads(checksums))
            last = ids[-1]
    except sqlite3.Error as error:
        raise explain(error, store.path) from error


def _wrong_length(store: Store, last: int, size: int) -> ConfigurationError:
    row_id, kind, length = store.connection.execute(_WRONG, (last, size)).fetchone()
    return ConfigurationError(
        "a row of embeddings is unsound",
        where=f"{store.path} row {row_id}",
        got=f"{length} bytes" if kind == "blob" else kind,
        expected=f"{size} bytes",
        remedy="delete the row or restore a backup: supervisor.py restore FILE",
    )
