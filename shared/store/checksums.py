"""Writes the checksums of references' rows, after the rows have changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import numpy as np

from shared.process.work_progress import beat
from shared.row_checksum import row_checksums

_ROWS_AT_ONCE = 1000


def write_checksums(connection: sqlite3.Connection, row_ids: Sequence[int] | None = None) -> None:
    """Compute and store the checksums of these rows, or of all rows. Call it inside the store's transaction."""
    chosen = "" if row_ids is None else "AND id IN (SELECT value FROM json_each(:chosen))"
    query = f"SELECT id, person_name, user_id, embedding FROM embeddings WHERE id>:last {chosen} ORDER BY id LIMIT {_ROWS_AT_ONCE}"  # noqa: S608  # constants
    last = -(1 << 63)
    while rows := connection.execute(query, {"last": last, "chosen": json.dumps(row_ids)}).fetchall():
        beat()
        ids, names, user_ids, blobs = zip(*rows, strict=True)
        vectors = np.frombuffer(b"".join(blobs), "<f4").reshape(len(rows), -1)
        connection.executemany(
            "UPDATE reference_facts SET checksum=? WHERE embedding_id=?",
            zip(row_checksums(vectors, names, user_ids).tolist(), ids, strict=True),
        )
        last = ids[-1]
