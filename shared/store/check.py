"""Checks that a database is sound: SQLite's own checks, the schema, the rows, and the tables' agreement."""

from __future__ import annotations

import sqlite3

from shared.store import corrections, people, schema
from shared.store.rewriting import room_to_write_anew
from shared.store.store import Store
from shared.store.unsound_rows import aside_line, damaged_rows, unsound_rows

_MAX_FAULTS = 20


def store_faults(store: Store) -> list[str]:
    """What is unsound in the database, one line for each fault; empty if it is sound."""
    faults: list[str] = []
    try:
        for (line,) in store.connection.execute("PRAGMA integrity_check(20)"):
            if line != "ok":
                faults.append(f"{store.path.name}: {line}")
        return faults + _faults_of_content(store)
    except sqlite3.Error as error:  # a damaged file may not be readable to its end
        return [*faults, store.explained(error).line()]


def _faults_of_content(store: Store) -> list[str]:
    faults = [
        f"{store.path.name}: row {row[1]} of {row[0]} refers to nothing"
        for row in store.connection.execute("PRAGMA foreign_key_check")
    ]
    for row in store.connection.execute(
        "SELECT id FROM embeddings WHERE id NOT IN (SELECT embedding_id FROM reference_facts)"
    ):
        faults.append(f"{store.path.name}: reference {row[0]} has no uuid")
    faults += [f"{store.path.name}: {what}" for what in schema.differences(store.connection)]
    unsound = [
        f"{store.path.name}: row {row_id}: {why}" for row_id, why in unsound_rows(store.connection, store.dim or 0)
    ]
    faults += unsound[:_MAX_FAULTS]
    if len(unsound) > _MAX_FAULTS:
        faults.append(f"{store.path.name}: and {len(unsound) - _MAX_FAULTS} more unsound rows")
    faults += [f"{store.path.name}: {what}" for what in people.faults(store.connection)]
    faults += [f"{store.path.name}: {what}" for what in corrections.faults(store)]
    if store.remains_are_due():
        faults.append(
            f"{store.path.name}: remains of a deletion are not overwritten yet: that is done at the next start of the site, "
            f"which needs {room_to_write_anew(store.connection)} bytes free for it"
        )
    if aside := damaged_rows(store.connection):
        faults.append(f"{store.path.name}: {aside_line(aside)}")
    return faults
