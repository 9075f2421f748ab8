"""Databases as older versions of Rollcall left them, for tests."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from pathlib import Path

import numpy as np

from shared.store import schema
from tests.support.vectors import noise

MARK_KEY = "5f" * 32
_DIM = 64
# How the tables of schema 2 differed from today's, and what schemas 1 and 2 had none of.
NEWER_TABLES = ("people", "merged_references", "pending_moves", "pending_removals")
_SINCE = ((", checksum INTEGER", ""), (", recorded_at TEXT", ""))


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
