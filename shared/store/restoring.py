"""Restores a backup: its references replace the gallery's own, except those of people deleted since."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import NamedTuple

from shared.process.work_progress import beat
from shared.store import corrections, people, schema, sync_state
from shared.store.marks import is_marked
from shared.store.resemblance import meet_all
from shared.store.right_references import mark_again, marks_with_content
from shared.store.set_aside import count_aside
from shared.store.sighting_probes import ALIKE
from shared.store.store import Store
from shared.store.unsound_rows import forget_damaged_rows

_COLUMNS = ", ".join(schema.COLUMNS)


class Replaced(NamedTuple):
    """What a restore did.

    `restored`: references taken from the backup. `kept_deleted`: references of the backup that stay deleted. `set_aside`: how many of the
    restored ones are set aside. `marks_lost`: deletion marks of the backup that were made with another key, and can't be used.
    """

    restored: int
    kept_deleted: int
    set_aside: int
    marks_lost: int


def replace_from(store: Store, backup: Path) -> Replaced:
    """Replace all references by those of `backup`, which `migration.copy_of_backup` made, except those deleted here since.

    The site keeps its own sightings and corrections. If it has none yet, it takes the backup's, except those of deleted people. Do not
    call this inside the store's transaction, where SQLite permits no ATTACH. Raises RollcallError, with nothing changed, or sqlite3.Error.
    """
    if any(row[1] == "backup" for row in store.connection.execute("PRAGMA database_list")):
        store.connection.execute("DETACH DATABASE backup")
    store.connection.execute("ATTACH DATABASE ? AS backup", (f"{backup.absolute().as_uri()}?mode=ro",))
    try:
        with store.transaction():
            return _replace(store)
    finally:
        with contextlib.suppress(sqlite3.Error):  # the restore is committed; the next restore detaches it
            store.connection.execute("DETACH DATABASE backup")


def _replace(store: Store) -> Replaced:
    facts = dict(store.connection.execute("SELECT key, value FROM backup.store_facts").fetchall())
    rows = store.connection.execute(
        "SELECT e.id, e.person_name, f.uuid, f.photo_digest FROM backup.embeddings e "
        "JOIN backup.reference_facts f ON f.embedding_id=e.id"
    ).fetchall()
    gone = [(row_id,) for row_id, *what in rows if _is_gone(store, *what)]
    _take_references(store, gone, int(facts["change_number"]))
    forget_damaged_rows(store.connection)
    _take_corrections(store)
    _take_sightings(store)
    marks_lost = _take_marks(store, facts.get("mark_key_id"))
    if store.fingerprint != facts.get("fingerprint"):
        store.drop_fact(ALIKE)
    for key in ("dim", "model", "fingerprint"):
        if key in facts:
            store.set_fact(key, facts[key])
    if store.fact(ALIKE) is None and ALIKE in facts:
        store.set_fact(ALIKE, facts[ALIKE])
    meet_all(store)
    sync_state.begin_anew(store)
    return Replaced(len(rows) - len(gone), len(gone), count_aside(store), marks_lost)


def _is_gone(store: Store, name: str, reference_uuid: str, digest: str | None) -> bool:
    beat()
    found = store.connection.execute("SELECT 1 FROM deletion_marks WHERE uuid=?", (reference_uuid,)).fetchone()
    return found is not None or is_marked(store, name, digest)


def _take_references(store: Store, gone: list[tuple[int]], backups_change: int) -> None:
    execute = store.connection.execute
    store.change_at_least(backups_change)
    aside_here = execute(
        "SELECT s.reason, s.since, f.uuid FROM set_aside s JOIN reference_facts f ON f.embedding_id=s.embedding_id"
    ).fetchall()
    right_here = marks_with_content(store)
    execute("DELETE FROM embeddings")
    execute(f"INSERT INTO embeddings({_COLUMNS}) SELECT {_COLUMNS} FROM backup.embeddings")  # noqa: S608  # constants
    execute(
        "INSERT INTO reference_facts SELECT embedding_id, uuid, ? + ROW_NUMBER() OVER (ORDER BY embedding_id), photo_digest, checksum, turn "
        "FROM backup.reference_facts",
        (store.change_now,),
    )
    store.next_change(execute("SELECT COUNT(*) FROM reference_facts").fetchone()[0])
    # A reference that was set aside after the backup must not come back into use by itself.
    execute("INSERT INTO set_aside SELECT * FROM backup.set_aside")
    store.connection.executemany(
        "INSERT OR IGNORE INTO set_aside SELECT embedding_id, ?, ? FROM reference_facts WHERE uuid=?", aside_here
    )
    execute("INSERT INTO right_references SELECT * FROM backup.right_references")
    mark_again(store, right_here)
    store.connection.executemany("DELETE FROM embeddings WHERE id=?", gone)
    execute("DELETE FROM people_changes")  # notes for undoing; their references no longer exist
    execute("DELETE FROM people")
    execute("INSERT INTO people SELECT * FROM backup.people")
    people.complete(store.connection)


def _take_corrections(store: Store) -> None:
    """The site keeps its own corrections. If it has no sightings yet, it takes the backup's, except those against deleted people: without
    the sightings, the same numbers could be another site's."""
    execute = store.connection.execute
    if execute("SELECT 1 FROM sightings UNION ALL SELECT 1 FROM corrections LIMIT 1").fetchone() is not None:
        return
    execute("INSERT INTO corrections SELECT * FROM backup.corrections WHERE sighting>?", (store.sightings.last_id(),))
    for (person,) in execute("SELECT DISTINCT person FROM corrections").fetchall():
        if is_marked(store, person):
            corrections.forget_of(store, person)


def _take_sightings(store: Store) -> None:
    execute = store.connection.execute
    if execute("SELECT 1 FROM sightings LIMIT 1").fetchone() is not None:
        return
    last_id = store.sightings.last_id()  # ids of sightings deleted here must not be given out again
    people = execute("SELECT DISTINCT person FROM backup.sightings WHERE person IS NOT NULL").fetchall()
    execute("INSERT INTO sightings SELECT * FROM backup.sightings WHERE id>?", (last_id,))
    if execute("SELECT 1 FROM strangers LIMIT 1").fetchone() is not None:
        execute("UPDATE sightings SET stranger=NULL")  # here these numbers belong to other strangers
    (highest,) = execute("SELECT MAX(stranger) FROM sightings").fetchone()
    # Numbers in the sightings must not be given out again.
    schema.ids_begin_after(store.connection, "strangers", highest or 0)
    for (person,) in people:
        if is_marked(store, person):
            store.sightings.forget(person)


def _take_marks(store: Store, key: str | None) -> int:
    """Take over the backup's deletion marks, so that what was deleted before the backup stays deleted. Returns how many can't be used,
    because they were made with another key."""
    execute = store.connection.execute
    if store.fact("mark_key_id") != key:
        return int(execute("SELECT COUNT(*) FROM backup.deletion_marks").fetchone()[0])
    execute("INSERT OR IGNORE INTO deletion_marks SELECT * FROM backup.deletion_marks")
    return 0
