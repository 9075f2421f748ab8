"""Databases as older versions of Rollcall left them, for tests."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from shared.files.mark_key import key_id, key_path
from shared.row_checksum import row_checksums
from shared.store import schema
from tests.support.vectors import noise

MARK_KEY = "5f" * 32
_DIM = 64
# The tables of schema 3, as that version of the program made them.
_TABLES_3 = (
    """
CREATE TABLE embeddings(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person_name TEXT NOT NULL,
    embedding BLOB NOT NULL,
    image_path TEXT,
    user_id TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    UNIQUE(person_name, image_path))
""",
    "CREATE TABLE store_facts(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE reference_facts(
        embedding_id INTEGER PRIMARY KEY REFERENCES embeddings(id) ON DELETE CASCADE,
        uuid TEXT NOT NULL UNIQUE, change_number INTEGER NOT NULL, photo_digest TEXT, checksum INTEGER)""",
    "CREATE INDEX reference_facts_by_change ON reference_facts(change_number)",
    """CREATE TABLE deletion_marks(
        uuid TEXT PRIMARY KEY, person_mark TEXT NOT NULL, photo_mark TEXT, whole_person INTEGER NOT NULL,
        change_number INTEGER NOT NULL, deleted_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP) WITHOUT ROWID""",
    "CREATE INDEX deletion_marks_by_person ON deletion_marks(person_mark)",
    """CREATE TABLE sightings(
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, event TEXT NOT NULL, time TEXT NOT NULL,
        camera TEXT NOT NULL, person TEXT, document TEXT NOT NULL, stranger INTEGER, recorded_at TEXT)""",
    "CREATE INDEX sightings_by_time ON sightings(time)",
    "CREATE INDEX sightings_by_person ON sightings(person) WHERE person IS NOT NULL",
    """CREATE TABLE left_out(
        id INTEGER PRIMARY KEY, person_name TEXT, embedding BLOB, image_path TEXT, user_id TEXT,
        created_at TIMESTAMP, updated_at TIMESTAMP, reason TEXT NOT NULL)""",
    """CREATE TABLE staged_embeddings(
        embedding_id INTEGER PRIMARY KEY REFERENCES embeddings(id) ON DELETE CASCADE,
        fingerprint TEXT NOT NULL, embedding BLOB NOT NULL)""",
    "CREATE TABLE pending_removals(path TEXT PRIMARY KEY, since TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE strangers(
        id INTEGER PRIMARY KEY AUTOINCREMENT, first_seen TEXT NOT NULL, last_seen TEXT NOT NULL, visits INTEGER NOT NULL,
        cameras TEXT NOT NULL)""",
    "CREATE INDEX strangers_by_last_seen ON strangers(last_seen)",
    """CREATE TABLE stranger_traces(
        id INTEGER PRIMARY KEY, stranger INTEGER NOT NULL REFERENCES strangers(id) ON DELETE CASCADE,
        fingerprint TEXT NOT NULL, quality REAL NOT NULL, embedding BLOB NOT NULL, photo TEXT NOT NULL UNIQUE)""",
    "CREATE INDEX stranger_traces_by_stranger ON stranger_traces(stranger)",
    """CREATE TABLE stranger_visits(
        camera TEXT NOT NULL, track INTEGER NOT NULL, stranger INTEGER NOT NULL REFERENCES strangers(id) ON DELETE CASCADE,
        PRIMARY KEY(camera, track)) WITHOUT ROWID""",
    "CREATE INDEX stranger_visits_by_stranger ON stranger_visits(stranger)",
    "CREATE INDEX sightings_by_stranger ON sightings(stranger) WHERE stranger IS NOT NULL",
)
# How the tables of schema 2 differed from today's, and what schemas 1 and 2 had none of.
EXCHANGE_TABLES = (
    "tombstones", "synced", "synced_people", "unsettled", "plain_items", "quarantine", "sync_state",
)  # fmt: skip
REVIEW_TABLES = ("different_people", "ignored_strangers")
NEWER_TABLES = (
    "people", "merged_references", "pending_moves", "pending_removals", "set_aside", "right_references", "sighting_probes",
    "sighting_crops", "corrections",
    "change_times", *REVIEW_TABLES, *EXCHANGE_TABLES,
)  # fmt: skip
_SINCE = ((", checksum INTEGER, turn REAL", ""), (", turn REAL", ""), (", recorded_at TEXT", ""))


def write_version_2(path: Path) -> None:
    """A database as schema 2 made it, with a row in every table: closed, its WAL emptied."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size=16384")
    connection.execute("PRAGMA journal_mode=WAL")
    for statement in (schema.EMBEDDINGS, *schema.OWN_TABLES):
        if not any(table in statement for table in NEWER_TABLES):
            for new, old in _SINCE:
                statement = statement.replace(new, old)  # noqa: PLW2901  # the statement of that time
            connection.execute(statement)
    facts = {"schema_version": "2", "change_number": "7", "mark_key": MARK_KEY, "dim": str(_DIM), "model": "test/none"}
    connection.executemany("INSERT INTO store_facts VALUES (?, ?)", {**facts, "fingerprint": "f" * 64}.items())
    vector = noise(np.random.default_rng(5), 1, _DIM)[0].astype("<f4").tobytes()
    day = "2025-02-03 04:05:06"
    connection.execute(
        "INSERT INTO embeddings VALUES (3, 'Ada', ?, 'faces/Ada/1.jpg', 'e-1', ?, ?)", (vector, day, day)
    )
    connection.execute("INSERT INTO reference_facts VALUES (3, 'u-3', 6, ?)", ("d" * 64,))
    connection.execute("INSERT INTO left_out VALUES (2, 'Bo', x'00', NULL, NULL, ?, ?, 'odd')", (day, day))
    connection.execute("INSERT INTO staged_embeddings VALUES (3, 'other', ?)", (vector,))
    mark = hmac.new(MARK_KEY.encode(), b"Gone", hashlib.sha256).hexdigest()
    connection.execute("INSERT INTO deletion_marks VALUES ('m-1', ?, NULL, 1, 7, ?)", (mark, day))
    for number, time in ((41, "2025-01-31T08:00:00.000Z"), (42, "2999-01-31T08:00:00.000Z")):
        event = {"event": "named", "time": time, "camera": "door", "person": "Ada", "track": number}
        connection.execute(
            "INSERT INTO sightings VALUES (?, ?, 'named', ?, 'door', 'Ada', ?, NULL)",
            (number, f"k{number}", time, json.dumps(event)),
        )
    connection.execute("UPDATE sqlite_sequence SET seq=90 WHERE name='sightings'")
    seen = "2025-01-31T08:00:00.000Z"
    connection.execute("INSERT INTO strangers VALUES (7, ?, ?, 1, '[\"door\"]')", (seen, seen))
    connection.execute("INSERT INTO stranger_traces VALUES (1, 7, ?, 0.5, ?, 'a.jpg')", ("f" * 64, vector))
    connection.close()


# What `write_version_3` enrols: id, person, photo, user id, created at, change number.
REFERENCES_3 = (
    (2, "Bo", "faces/Bo/1.jpg", None, "2025-03-01 10:00:00", 2),
    (3, "Ada", "faces/Ada/1.jpg", "e-1", "2025-02-03 04:05:06", 9),
    (5, "Ada", "faces/Ada/2.jpg", "e-1", "2025-01-02 03:04:05", 5),
    (6, "Cy", None, "old", "2025-05-06 07:08:09", 6),
    (7, "Cy", "faces/Cy/2.jpg", "new", "2025-06-06 07:08:09", 7),
)


def write_version_3(path: Path) -> None:
    """A database as schema 3 made it, with rows in every table, and its marks' key beside it: closed, its WAL emptied."""
    key_path(path).write_text(MARK_KEY + "\n", encoding="ascii")
    key_path(path).chmod(0o600)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size=16384")
    connection.execute("PRAGMA journal_mode=WAL")
    for statement in _TABLES_3:
        connection.execute(statement)
    facts = {"schema_version": "3", "change_number": "11", "mark_key_id": key_id(MARK_KEY), "dim": str(_DIM)}
    facts |= {"model": "test/none", "fingerprint": "f" * 64, "alike": "0.4"}
    connection.executemany("INSERT INTO store_facts VALUES (?, ?)", facts.items())
    vectors = noise(np.random.default_rng(6), len(REFERENCES_3), _DIM)
    for (row_id, name, photo, user_id, day, change), vector in zip(REFERENCES_3, vectors, strict=True):
        blob, checksum = vector.astype("<f4").tobytes(), int(row_checksums(vector[None], [name], [user_id])[0])
        connection.execute(
            "INSERT INTO embeddings VALUES (?, ?, ?, ?, ?, ?, ?)", (row_id, name, blob, photo, user_id, day, day)
        )
        digest = None if photo is None else hashlib.sha256(photo.encode()).hexdigest()
        facts_of_row = (row_id, f"u-{row_id}", change, digest, checksum)
        connection.execute("INSERT INTO reference_facts VALUES (?, ?, ?, ?, ?)", facts_of_row)
    vector, day = vectors[0].astype("<f4").tobytes(), "2025-02-03 04:05:06"
    connection.execute("INSERT INTO left_out VALUES (4, 'Di', x'00', 'd.jpg', NULL, ?, ?, 'odd')", (day, day))
    connection.execute("INSERT INTO staged_embeddings VALUES (3, 'other', ?)", (vector,))
    for uuid, gone, photo_mark, whole in (("m-1", "Gone", None, 1), ("m-2", "Bo", "p" * 64, 0)):
        mark = hmac.new(MARK_KEY.encode(), gone.encode(), hashlib.sha256).hexdigest()
        connection.execute(
            "INSERT INTO deletion_marks VALUES (?, ?, ?, ?, 10, ?)", (uuid, mark, photo_mark, whole, day)
        )
    seen = "2025-01-31T08:00:00.000Z"
    for number, person, stranger in ((41, "Ada", None), (42, None, 7)):
        event = {"event": "named" if person else "unknown", "time": seen, "camera": "door", "person": person}
        connection.execute(
            "INSERT INTO sightings VALUES (?, ?, ?, ?, 'door', ?, ?, ?, ?)",
            (
                number,
                f"k{number}",
                event["event"],
                seen,
                person,
                json.dumps({**event, "track": number}),
                stranger,
                seen,
            ),
        )
    connection.execute("UPDATE sqlite_sequence SET seq=90 WHERE name='sightings'")
    connection.execute("INSERT INTO strangers VALUES (7, ?, ?, 1, '[\"door\"]')", (seen, seen))
    connection.execute("INSERT INTO stranger_traces VALUES (1, 7, ?, 0.5, ?, 'a.jpg')", ("f" * 64, vector))
    connection.execute("INSERT INTO stranger_visits VALUES ('door', 42, 7)")
    connection.execute("INSERT INTO pending_removals VALUES ('faces/Gone/1.jpg', ?)", (seen,))
    connection.close()


# The tables that came with schema 4, as that version of the program made them.
_TABLES_4 = (
    """CREATE TABLE people(
        uuid TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, user_id TEXT, created_at TEXT NOT NULL,
        former_names TEXT NOT NULL DEFAULT '[]', consented_at TEXT, expires_at TEXT, groups TEXT NOT NULL DEFAULT '[]')
        WITHOUT ROWID""",
    """CREATE TABLE people_changes(
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL, other TEXT NOT NULL, at TEXT NOT NULL,
        document TEXT NOT NULL)""",
    """CREATE TABLE merged_references(
        change INTEGER NOT NULL REFERENCES people_changes(id) ON DELETE CASCADE, id INTEGER NOT NULL, person_name TEXT NOT NULL,
        embedding BLOB NOT NULL, image_path TEXT, user_id TEXT, created_at TIMESTAMP, updated_at TIMESTAMP, uuid TEXT NOT NULL,
        photo_digest TEXT)""",
    "CREATE INDEX merged_references_by_change ON merged_references(change)",
    "CREATE TABLE pending_moves(place TEXT PRIMARY KEY, path TEXT NOT NULL) WITHOUT ROWID",
)


def write_version_4(path: Path) -> None:
    """A database as schema 4 made it: as of schema 3, with rows in the newer tables too. Adda was merged into Ada a moment ago: her photo
    is one of Ada's, her sighting is number 41, and another photo of hers is not moved yet."""
    write_version_3(path)
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in _TABLES_4:
        connection.execute(statement)
    connection.execute("UPDATE store_facts SET value='4' WHERE key='schema_version'")
    blob = connection.execute("SELECT embedding FROM embeddings WHERE id=6").fetchone()[0]
    checksum = int(row_checksums(np.frombuffer(blob, "<f4")[None], ["Cy"], ["new"])[0])
    connection.execute("UPDATE embeddings SET user_id='new' WHERE id=6")
    connection.execute("UPDATE reference_facts SET checksum=? WHERE embedding_id=6", (checksum,))
    for name, user_id, day, former in (
        ("Ada", "e-1", "2025-01-02T03:04:05Z", '["Adda"]'),
        ("Bo", None, "2025-03-01T10:00:00Z", "[]"),
        ("Cy", "new", "2025-05-06T07:08:09Z", "[]"),
    ):
        connection.execute(
            "INSERT INTO people VALUES (?, ?, ?, ?, ?, '2025-01-01T00:00:00Z', NULL, '[\"staff\"]')",
            (f"p-{name}", name, user_id, day, former),
        )
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"  # a merge can be undone for some days
    person = ["p-Adda", "Adda", None, "2025-01-02T03:04:05Z", "[]", None, None, "[]"]
    undo = {"row_ids": [5], "sightings": [41], "left_out": [], "files": [["faces/Adda/2.jpg", "faces/Ada/2.jpg"]]}
    document = json.dumps({**undo, "former_names": "[]", "user_id": "e-1", "person": person})
    connection.execute("INSERT INTO people_changes VALUES (3, 'merge', 'Adda', 'Ada', ?, ?)", (now, document))
    day = "2025-02-03 04:05:06"
    connection.execute(
        "INSERT INTO merged_references VALUES (3, 1, 'Adda', ?, 'faces/Adda/1.jpg', NULL, ?, ?, 'u-1', ?)",
        (blob, day, day, "a" * 64),
    )
    connection.execute("INSERT INTO pending_moves VALUES ('faces/Ada/2.jpg', 'faces/Adda/2.jpg')")
    connection.close()


# The columns of today's tables that schema 8 had not.
_SINCE_8 = ((", right_since TEXT", ""), (", turn REAL", ""))


def write_version_8(path: Path) -> None:
    """A database as schema 8 made it: what `write_version_4` has of people and references, with one reference set aside."""
    old = path.with_name("version-4.db")
    write_version_4(old)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size=16384")
    connection.execute("PRAGMA journal_mode=WAL")
    for statement in (schema.EMBEDDINGS, *schema.OWN_TABLES):
        if "right_references" not in statement:
            for new, before in _SINCE_8:
                statement = statement.replace(new, before)  # noqa: PLW2901  # the statement of that time
            connection.execute(statement)
    connection.execute("ATTACH DATABASE ? AS old", (str(old),))
    for table in ("embeddings", "reference_facts", "people", "people_changes", "store_facts", "deletion_marks"):
        connection.execute(f"INSERT INTO {table} SELECT * FROM old.{table}")  # noqa: S608  # constants
    connection.execute(
        "INSERT INTO merged_references SELECT *, 'by hand', '2026-01-31T08:00:00Z' FROM old.merged_references"
    )
    connection.execute("DETACH DATABASE old")
    connection.execute("UPDATE store_facts SET value='8' WHERE key='schema_version'")
    connection.execute("INSERT INTO set_aside VALUES (5, 'by hand', '2026-01-31T08:00:00Z')")
    connection.execute("INSERT INTO change_times VALUES (11, 1)")
    connection.close()
    old.unlink()
