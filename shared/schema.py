"""The store's tables, its migrations, and the adoption of a database that the original program wrote.

`embeddings` is the original's table to the letter; everything else we need lies in tables of its own.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigurationError

SCHEMA_VERSION = 1
PAGE_SIZE = 16384  # a 4 KiB page holds one 512-d row; 16 KiB pages hold seven and load faster

EMBEDDINGS = """
CREATE TABLE embeddings(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person_name TEXT NOT NULL,
    embedding BLOB NOT NULL,
    image_path TEXT,
    user_id TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    UNIQUE(person_name, image_path))
"""

OWN_TABLES = (
    # key/value facts of the whole store: schema_version, dim, model, fingerprint, change_number, mark_key
    "CREATE TABLE store_facts(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # what sync and `enrol` need of each reference; photo_digest: SHA-256 of the photo's bytes
    """CREATE TABLE reference_facts(
        embedding_id INTEGER PRIMARY KEY REFERENCES embeddings(id) ON DELETE CASCADE,
        uuid TEXT NOT NULL UNIQUE, change_number INTEGER NOT NULL, photo_digest TEXT)""",
    "CREATE INDEX reference_facts_by_change ON reference_facts(change_number)",
    # names and photos are kept as keyed hashes: a mark must know them again, and must not tell them
    """CREATE TABLE deletion_marks(
        uuid TEXT PRIMARY KEY, person_mark TEXT NOT NULL, photo_mark TEXT, whole_person INTEGER NOT NULL,
        change_number INTEGER NOT NULL, deleted_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP) WITHOUT ROWID""",
    "CREATE INDEX deletion_marks_by_person ON deletion_marks(person_mark)",
    """CREATE TABLE sightings(
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, event TEXT NOT NULL, time TEXT NOT NULL,
        camera TEXT NOT NULL, person TEXT, document TEXT NOT NULL)""",
    "CREATE INDEX sightings_by_time ON sightings(time)",
    "CREATE INDEX sightings_by_person ON sightings(person) WHERE person IS NOT NULL",
    # rows of an adopted database that can't be used; nothing is destroyed
    """CREATE TABLE left_out(
        id INTEGER PRIMARY KEY, person_name TEXT, embedding BLOB, image_path TEXT, user_id TEXT,
        created_at TIMESTAMP, updated_at TIMESTAMP, reason TEXT NOT NULL)""",
    # `models use` collects here and then switches in one transaction
    """CREATE TABLE staged_embeddings(
        embedding_id INTEGER PRIMARY KEY REFERENCES embeddings(id) ON DELETE CASCADE,
        fingerprint TEXT NOT NULL, embedding BLOB NOT NULL)""",
)


def tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}


def create(connection: sqlite3.Connection) -> None:
    """All tables in an empty database."""
    connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(EMBEDDINGS)
    _create_own(connection)
    connection.execute("COMMIT")


def _create_own(connection: sqlite3.Connection) -> None:
    for statement in OWN_TABLES:
        connection.execute(statement)
    facts = {
        "schema_version": str(SCHEMA_VERSION),
        "change_number": "0",
        "mark_key": uuid.uuid4().hex + uuid.uuid4().hex,
    }
    connection.executemany("INSERT INTO store_facts VALUES (?, ?)", facts.items())


def version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version; 0 for a database of the original program. Raises ConfigurationError for anything else."""
    found = tables(connection)
    if "store_facts" not in found:
        if "embeddings" not in found:
            raise ConfigurationError(
                "is a SQLite database, but not a gallery",
                where=str(path),
                got="tables " + (", ".join(sorted(found)) or "none"),
                expected="a table embeddings",
                remedy="move it away, or set another data_dir",
            )
        return 0
    row = connection.execute("SELECT value FROM store_facts WHERE key='schema_version'").fetchone()
    number = int(row[0])
    if number > SCHEMA_VERSION:
        raise ConfigurationError(
            "the database is of a newer Rollcall",
            where=str(path),
            got=f"schema {number}",
            expected=f"schema {SCHEMA_VERSION} or older",
            remedy="run that newer version, or restore a backup made before it",
        )
    return number


def needs_migration(connection: sqlite3.Connection, path: Path) -> bool:
    return version(connection, path) < SCHEMA_VERSION


def migrate(connection: sqlite3.Connection, path: Path) -> list[str]:
    """Bring the database to SCHEMA_VERSION after writing a backup beside it. What was done, one line each."""
    found = version(connection, path)
    backup = path.with_name(f"{path.name}.before-v{SCHEMA_VERSION}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.bak")
    copy_database(connection, backup)
    notes = [f"{path.name}: schema {found} -> {SCHEMA_VERSION}; a copy of what was there: {backup.name}"]
    if found == 0:
        notes += adopt(connection)
    return notes


def copy_database(connection: sqlite3.Connection, target: Path) -> None:
    """A consistent copy of the open database in `target`, mode 0600, complete alone."""
    target.touch(mode=0o600)
    copy = sqlite3.connect(target)
    try:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
    finally:
        copy.close()


def adopt(connection: sqlite3.Connection) -> list[str]:
    """Take over the original program's rows: normalise, count identical ones once, set unusable ones aside in `left_out`."""
    connection.execute("PRAGMA journal_mode=DELETE")  # the page size can't change in WAL mode
    connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
    connection.execute("VACUUM")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        _create_own(connection)
        notes = _adopt_rows(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return notes


def _adopt_rows(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT id, person_name, embedding, image_path FROM embeddings ORDER BY id").fetchall()
    lengths = Counter(len(row[2]) for row in rows if isinstance(row[2], bytes) and len(row[2]) and len(row[2]) % 4 == 0)
    if not lengths:
        usual = 0
    else:
        usual = max(lengths, key=lambda length: (lengths[length], length))
        connection.execute("INSERT INTO store_facts VALUES ('dim', ?)", (str(usual // 4),))
    seen: dict[tuple[str, bytes], int] = {}
    notes: list[str] = []
    changed = 0
    for row_id, name, blob, image_path in rows:
        vector, reason = _usable(blob, usual)
        if vector is not None and image_path is None:
            twin = seen.setdefault((name, vector.tobytes()), row_id)
            if twin != row_id:
                reason = f"the same vector as row {twin}"
        if vector is None or reason:
            connection.execute(
                "INSERT INTO left_out SELECT id, person_name, embedding, image_path, user_id, created_at, updated_at, ? "
                "FROM embeddings WHERE id=?",
                (reason, row_id),
            )
            connection.execute("DELETE FROM embeddings WHERE id=?", (row_id,))
            notes.append(f"row {row_id} ({name}): left out: {reason}")
            continue
        changed += 1
        connection.execute("UPDATE embeddings SET embedding=? WHERE id=?", (vector.tobytes(), row_id))
        connection.execute("INSERT INTO reference_facts VALUES (?, ?, ?, NULL)", (row_id, str(uuid.uuid4()), changed))
    connection.execute("UPDATE store_facts SET value=? WHERE key='change_number'", (str(changed),))
    return [f"adopted {changed} references; {len(notes)} rows left out", *notes]


def _usable(blob: object, usual: int) -> tuple[NDArray[np.float32] | None, str]:
    """The row's unit vector, or None and why not."""
    if not isinstance(blob, bytes) or len(blob) != usual or not usual:
        size = f"{len(blob)} bytes" if isinstance(blob, bytes) else type(blob).__name__
        return None, f"{size} where the others have {usual}"
    vector = np.frombuffer(blob, "<f4")
    if not np.isfinite(vector).all():
        return None, "NaN or infinity in the vector"
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if norm < 1e-6:
        return None, "a zero vector"
    if abs(norm - 1) > 1e-6:
        vector = (vector / norm).astype("<f4")
    return vector.reshape(-1), ""
