"""Older databases brought to our schema, the original program's included; a backup lies beside before anything is changed."""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared import schema

_ORIGINALS_DIM = 512  # what the original program wrote
_ROWS_AT_ONCE = 1000


def migrate(connection: sqlite3.Connection, path: Path) -> list[str]:
    """Bring the database to schema.SCHEMA_VERSION, step by step, with a backup beside it before each. What was done, one line each.

    A step that fails leaves the database as it was, and takes its backup away again: a full disk must not be filled by trying.
    """
    notes = []
    found = schema.version(connection, path)
    while found < schema.SCHEMA_VERSION:
        to = found + 1 if found else schema.SCHEMA_VERSION  # an adopted database gets our tables as they are today
        backup = path.with_name(f"{path.name}.before-v{to}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.bak")
        schema.copy_database(connection, backup)
        try:
            done = MIGRATIONS[found](connection)
        except BaseException:
            backup.unlink()
            raise
        notes += [f"{path.name}: schema {found} -> {to}; a copy of what was there: {backup.name}", *done]
        found = to
    return notes


def adopt(connection: sqlite3.Connection) -> list[str]:
    """Take over the original program's rows: normalise, count identical ones once, set unusable ones aside in `left_out`."""
    connection.execute("PRAGMA journal_mode=DELETE")  # the page size can't change in WAL mode
    connection.execute(f"PRAGMA page_size={schema.PAGE_SIZE}")
    connection.execute("VACUUM")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        schema.create_own_tables(connection)
        notes = _adopt_rows(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return notes


def add_strangers(connection: sqlite3.Connection) -> list[str]:
    """Tables for strangers, and whose sighting each is."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("ALTER TABLE sightings ADD COLUMN stranger INTEGER")
        for statement in schema.STRANGERS:
            connection.execute(statement)
        connection.execute("UPDATE store_facts SET value='2' WHERE key='schema_version'")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return []


# From each version to the next, each in one transaction of its own; 0 is the original program's database.
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], list[str]]] = {0: adopt, 1: add_strangers}


def _adopt_rows(connection: sqlite3.Connection) -> list[str]:
    size = _vector_bytes(connection)
    if size:
        connection.execute("INSERT INTO store_facts VALUES ('dim', ?)", (str(size // 4),))
    seen: dict[bytes, int] = {}
    notes: list[str] = []
    adopted = 0
    for row_id, name, blob, image_path in _rows(connection):
        vector, reason = _usable(name, blob, size)
        if vector is not None and image_path is None:
            twin = seen.setdefault(_vector_key(name, vector), row_id)
            if twin != row_id:
                reason = f"the same vector as row {twin}"
        if vector is None or reason:
            _leave_out(connection, row_id, reason)
            notes.append(f"row {row_id} ({name}): left out: {reason}")
            continue
        adopted += 1
        connection.execute("UPDATE embeddings SET embedding=? WHERE id=?", (vector.tobytes(), row_id))
        connection.execute("INSERT INTO reference_facts VALUES (?, ?, ?, NULL)", (row_id, str(uuid.uuid4()), adopted))
    connection.execute("UPDATE store_facts SET value=? WHERE key='change_number'", (str(adopted),))
    return [f"adopted {adopted} references; {len(notes)} rows left out", *notes]


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[int, Any, Any, str | None]]:
    """Every row, in id order and in pieces: the table changes while it is read, and need not fit into memory."""
    last_id = None
    while True:
        rows = connection.execute(
            "SELECT id, person_name, embedding, image_path FROM embeddings WHERE ?1 IS NULL OR id>?1 ORDER BY id LIMIT ?2",
            (last_id, _ROWS_AT_ONCE),
        ).fetchall()
        if not rows:
            return
        yield from rows
        last_id = rows[-1][0]


def _vector_bytes(connection: sqlite3.Connection) -> int:
    """Size of the vectors to adopt: the original's 512 numbers where any row has them, else what most rows have; 0: none."""
    sizes = Counter(
        dict(
            connection.execute(
                "SELECT LENGTH(embedding), COUNT(*) FROM embeddings "
                "WHERE typeof(embedding)='blob' AND LENGTH(embedding)>0 AND LENGTH(embedding)%4=0 GROUP BY 1"
            ).fetchall()
        )
    )
    if not sizes or 4 * _ORIGINALS_DIM in sizes:
        return 4 * _ORIGINALS_DIM if sizes else 0
    return int(max(sizes, key=lambda size: (sizes[size], size)))


def _usable(name: object, blob: object, size: int) -> tuple[NDArray[np.float32] | None, str]:
    """The row's unit vector, or None and why not."""
    if not isinstance(name, str) or not name.strip():
        return None, "nobody's name"
    if not isinstance(blob, bytes) or len(blob) != size or not size:
        got = f"{len(blob)} bytes" if isinstance(blob, bytes) else type(blob).__name__
        return None, f"{got} where a vector has {size or 4 * _ORIGINALS_DIM} bytes"
    vector = np.frombuffer(blob, "<f4")
    if not np.isfinite(vector).all():
        return None, "NaN or infinity in the vector"
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if norm < 1e-6:
        return None, "a zero vector"
    if abs(norm - 1) > 1e-6:
        vector = (vector / norm).astype("<f4")
    return vector.reshape(-1), ""


def _vector_key(name: str, vector: NDArray[np.float32]) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + vector.tobytes()).digest()


def _leave_out(connection: sqlite3.Connection, row_id: int, reason: str) -> None:
    columns = ", ".join(schema.COLUMNS)
    connection.execute(
        f"INSERT INTO left_out({columns}, reason) SELECT {columns}, ? FROM embeddings WHERE id=?",  # noqa: S608  # constants
        (reason, row_id),
    )
    connection.execute("DELETE FROM embeddings WHERE id=?", (row_id,))
