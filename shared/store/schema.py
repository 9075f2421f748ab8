"""The store's tables. Creates them in a new database, and finds out which schema version an existing database has.

The table `embeddings` is exactly that of the original program. Everything else is in tables of our own.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path

from shared.errors import ConfigurationError

SCHEMA_VERSION = 9
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
STRANGERS = (
    # people who were seen and are not enrolled; an id is never given twice. cameras: JSON list, the camera that saw them last is at the end
    """CREATE TABLE strangers(
        id INTEGER PRIMARY KEY AUTOINCREMENT, first_seen TEXT NOT NULL, last_seen TEXT NOT NULL, visits INTEGER NOT NULL,
        cameras TEXT NOT NULL)""",
    "CREATE INDEX strangers_by_last_seen ON strangers(last_seen)",
    # their best crops; photo: the picture's file name in data/strangers
    """CREATE TABLE stranger_traces(
        id INTEGER PRIMARY KEY, stranger INTEGER NOT NULL REFERENCES strangers(id) ON DELETE CASCADE,
        fingerprint TEXT NOT NULL, quality REAL NOT NULL, embedding BLOB NOT NULL, photo TEXT NOT NULL UNIQUE)""",
    "CREATE INDEX stranger_traces_by_stranger ON stranger_traces(stranger)",
    # open tracks of strangers: all events of a track belong to one visit of one stranger
    """CREATE TABLE stranger_visits(
        camera TEXT NOT NULL, track INTEGER NOT NULL, stranger INTEGER NOT NULL REFERENCES strangers(id) ON DELETE CASCADE,
        PRIMARY KEY(camera, track)) WITHOUT ROWID""",
    "CREATE INDEX stranger_visits_by_stranger ON stranger_visits(stranger)",
    "CREATE INDEX sightings_by_stranger ON sightings(stranger) WHERE stranger IS NOT NULL",
)
CORRECTIONS = (
    # the embedding that decided a sighting. person: who was named or, for a near miss, whom the face resembles most; clear: the crop
    # passed the camera's quality gate as clear
    """CREATE TABLE sighting_probes(
        sighting INTEGER PRIMARY KEY REFERENCES sightings(id) ON DELETE CASCADE, fingerprint TEXT NOT NULL,
        embedding BLOB NOT NULL, person TEXT NOT NULL, clear INTEGER NOT NULL, kept_at TEXT NOT NULL)""",
    "CREATE INDEX sighting_probes_by_time ON sighting_probes(kept_at)",
    "CREATE INDEX sighting_probes_by_person ON sighting_probes(person)",
    # the picture of the face that decided a sighting: a JPEG, and its size
    """CREATE TABLE sighting_crops(
        sighting INTEGER PRIMARY KEY REFERENCES sightings(id) ON DELETE CASCADE, kept_at TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        jpeg BLOB NOT NULL)""",
    "CREATE INDEX sighting_crops_by_time ON sighting_crops(kept_at, size_bytes)",
    # sightings that a person judged. verdict: wrong or right. embedding: of a wrong one, the face that is not the person's; NULL once the
    # model has changed. against_all: the face competes with everybody, and not only with the person. reference: id of the person's
    # reference that resembled the face most (wrong), or that was learned (right). No foreign key: a correction outlives its sighting
    """CREATE TABLE corrections(
        sighting INTEGER PRIMARY KEY, verdict TEXT NOT NULL, person TEXT NOT NULL, camera TEXT NOT NULL, track INTEGER,
        made_at TEXT NOT NULL, expires_at TEXT NOT NULL, fingerprint TEXT, embedding BLOB, against_all INTEGER NOT NULL,
        reference INTEGER)""",
)
REVIEW = (
    # two who are not one person: a person, and another person or a stranger. person < other
    """CREATE TABLE different_people(
        id INTEGER PRIMARY KEY, person TEXT NOT NULL REFERENCES people(uuid) ON DELETE CASCADE ON UPDATE CASCADE,
        other TEXT REFERENCES people(uuid) ON DELETE CASCADE ON UPDATE CASCADE,
        stranger INTEGER REFERENCES strangers(id) ON DELETE CASCADE, made_at TEXT NOT NULL)""",
    "CREATE INDEX different_people_by_person ON different_people(person)",
    "CREATE INDEX different_people_by_other ON different_people(other) WHERE other IS NOT NULL",
    "CREATE INDEX different_people_by_stranger ON different_people(stranger) WHERE stranger IS NOT NULL",
    # strangers that do not come up in the review any more
    """CREATE TABLE ignored_strangers(
        stranger INTEGER PRIMARY KEY REFERENCES strangers(id) ON DELETE CASCADE, since TEXT NOT NULL)""",
)
ACCESSES = (
    # who may use the web part. kind: link, session, token or password. secret: a hash (store/accesses.py). cameras: JSON list; NULL: all.
    # parent: of a session, the link or password that it was signed in with. session_s: of a link or a
    # password, how long its sessions last
    """CREATE TABLE accesses(
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, role TEXT NOT NULL, label TEXT NOT NULL, cameras TEXT, secret TEXT NOT NULL,
        created_at TEXT NOT NULL, expires_at TEXT, last_used_at TEXT, parent TEXT,
        session_s REAL) WITHOUT ROWID""",
)
SYNC = (
    # the revisions (sync/hybrid_clock.py) of changes: of each change with this number, or below it down to the row before
    "CREATE TABLE change_times(change_number INTEGER PRIMARY KEY, revision INTEGER NOT NULL)",
    # who and what was deleted, here or at another site, for as long as deletion marks are kept. kind: deleted (uuid is a reference's) or
    # forgotten (a person). person: their UUID; person_hash: a keyed hash of the name, the same at all sites that have the key; person_mark:
    # as in deletion_marks. origin: NULL if it was done here
    """CREATE TABLE tombstones(
        uuid TEXT PRIMARY KEY, kind TEXT NOT NULL, change_number INTEGER NOT NULL, revision INTEGER, origin TEXT, person TEXT,
        person_hash TEXT, person_mark TEXT, made_at TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX tombstones_by_change ON tombstones(change_number) WHERE origin IS NULL",
    "CREATE INDEX tombstones_by_person ON tombstones(person) WHERE kind='forgotten'",
    "CREATE INDEX tombstones_by_hash ON tombstones(person_hash) WHERE kind='forgotten'",
    "CREATE INDEX tombstones_by_mark ON tombstones(person_mark) WHERE kind='forgotten'",
    # references as other sites know them, or will: those that came, and own ones once they are noted. It is as the reference is here while
    # change_number is the reference's own. person, name, user_id: what it tells (sync/people_registers.py); knows: the revision of the newest
    # tombstone of that person that was known when it was saved; image_path: of one that came, the photo's at its own site; looks: the
    # name's key; seq: the number under which it is sent; 0: it came
    """CREATE TABLE synced(
        uuid TEXT PRIMARY KEY, change_number INTEGER NOT NULL, revision INTEGER NOT NULL, origin TEXT NOT NULL, person TEXT NOT NULL,
        name TEXT NOT NULL, user_id TEXT, knows INTEGER NOT NULL, image_path TEXT, looks TEXT NOT NULL, seq INTEGER NOT NULL)
        WITHOUT ROWID""",
    "CREATE INDEX synced_by_person ON synced(person)",
    "CREATE INDEX synced_by_looks ON synced(looks)",
    "CREATE INDEX synced_by_seq ON synced(seq) WHERE seq>0",
    # registers of people (sync/people_registers.py). name: NULL if the person is gone. change_number: the number under which it is sent; 0: it
    # came. looks: the name's key
    """CREATE TABLE synced_people(
        uuid TEXT PRIMARY KEY, name TEXT, user_id TEXT, merged_into TEXT, revision INTEGER NOT NULL, origin TEXT NOT NULL,
        change_number INTEGER NOT NULL, looks TEXT) WITHOUT ROWID""",
    "CREATE INDEX synced_people_by_looks ON synced_people(looks) WHERE looks IS NOT NULL",
    "CREATE INDEX synced_people_by_change ON synced_people(change_number)",
    "CREATE INDEX synced_people_by_merger ON synced_people(merged_into) WHERE merged_into IS NOT NULL",
    # the UUIDs of people of whom references were deleted here, or who were merged: who they are now is still to be noted
    "CREATE TABLE unsettled(person TEXT PRIMARY KEY) WITHOUT ROWID",
    # what came and can't be used; `what`: kind and UUID; `reason`: why
    """CREATE TABLE quarantine(what TEXT PRIMARY KEY, reason TEXT NOT NULL, origin TEXT, since TEXT NOT NULL) WITHOUT ROWID""",
    # references as a server that knows the plain wire only has or had them (plain_items.py). identity: a keyed hash of name and photo, or of
    # name and embedding. change_number: the reference's own when it came, or was sent; NULL: it is not here any more. round: of the last
    # list that had it; 0: none had. sent_at: NULL if it came
    """CREATE TABLE plain_items(
        identity TEXT PRIMARY KEY, uuid TEXT NOT NULL, change_number INTEGER, round INTEGER NOT NULL, sent_at TEXT) WITHOUT ROWID""",
    "CREATE INDEX plain_items_by_uuid ON plain_items(uuid)",
    # how far the exchange has come: origin, position and others (sync_state.py)
    "CREATE TABLE sync_state(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)
# The reason for a row whose checksum does not fit its values.
NOT_AS_WRITTEN = "it is not as it was written: its checksum does not fit"
COLUMNS = ("id", "person_name", "embedding", "image_path", "user_id", "created_at", "updated_at")

OWN_TABLES = (
    # key/value facts of the whole store: schema_version, dim, model, fingerprint, change_number, mark_key_id, erasure_due, alike
    "CREATE TABLE store_facts(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # what sync and `enrol` need to know of each reference; photo_digest: SHA-256 of the photo's bytes; checksum: see row_checksum.py;
    # turn: how far the head is turned sideways (records.py); NULL: not known
    """CREATE TABLE reference_facts(
        embedding_id INTEGER PRIMARY KEY REFERENCES embeddings(id) ON DELETE CASCADE,
        uuid TEXT NOT NULL UNIQUE, change_number INTEGER NOT NULL, photo_digest TEXT, checksum INTEGER, turn REAL)""",
    "CREATE INDEX reference_facts_by_change ON reference_facts(change_number)",
    # names and photos as keyed hashes: a mark must recognise them, and must not reveal them
    """CREATE TABLE deletion_marks(
        uuid TEXT PRIMARY KEY, person_mark TEXT NOT NULL, photo_mark TEXT, whole_person INTEGER NOT NULL,
        change_number INTEGER NOT NULL, deleted_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP) WITHOUT ROWID""",
    "CREATE INDEX deletion_marks_by_person ON deletion_marks(person_mark)",
    # recorded_at: when the row was written, by the writer's clock; a camera's clock may be years off
    """CREATE TABLE sightings(
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, event TEXT NOT NULL, time TEXT NOT NULL,
        camera TEXT NOT NULL, person TEXT, document TEXT NOT NULL, stranger INTEGER, recorded_at TEXT)""",
    "CREATE INDEX sightings_by_time ON sightings(time)",
    "CREATE INDEX sightings_by_person ON sightings(person) WHERE person IS NOT NULL",
    # rows that can't be used, set aside and not destroyed: from a migrated database, or without a photo when the model changed
    """CREATE TABLE left_out(
        id INTEGER PRIMARY KEY, person_name TEXT, embedding BLOB, image_path TEXT, user_id TEXT,
        created_at TIMESTAMP, updated_at TIMESTAMP, reason TEXT NOT NULL)""",
    # `models use` collects embeddings here, and then switches to them in one transaction
    """CREATE TABLE staged_embeddings(
        embedding_id INTEGER PRIMARY KEY REFERENCES embeddings(id) ON DELETE CASCADE,
        fingerprint TEXT NOT NULL, embedding BLOB NOT NULL, turn REAL)""",
    # one row for each person; `embeddings` repeats the name and the user id in each reference. former_names, groups: JSON lists
    """CREATE TABLE people(
        uuid TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, user_id TEXT, created_at TEXT NOT NULL,
        former_names TEXT NOT NULL DEFAULT '[]', consented_at TEXT, expires_at TEXT, groups TEXT NOT NULL DEFAULT '[]')
        WITHOUT ROWID""",
    # renames and merges that can be undone; document: the data that undoing needs
    """CREATE TABLE people_changes(
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL, other TEXT NOT NULL, at TEXT NOT NULL,
        document TEXT NOT NULL)""",
    # references that both people of a merge had: one of the two is kept here until the merge can't be undone any more
    """CREATE TABLE merged_references(
        change INTEGER NOT NULL REFERENCES people_changes(id) ON DELETE CASCADE, id INTEGER NOT NULL, person_name TEXT NOT NULL,
        embedding BLOB NOT NULL, image_path TEXT, user_id TEXT, created_at TIMESTAMP, updated_at TIMESTAMP, uuid TEXT NOT NULL,
        photo_digest TEXT, set_aside_reason TEXT, set_aside_since TEXT, right_since TEXT, turn REAL)""",
    "CREATE INDEX merged_references_by_change ON merged_references(change)",
    # kept photos that must be moved, since their person was renamed; both paths are relative to data_dir
    "CREATE TABLE pending_moves(place TEXT PRIMARY KEY, path TEXT NOT NULL) WITHOUT ROWID",
    # references that a person took out of use; their rows stay in `embeddings`, and only the gallery leaves them out
    """CREATE TABLE set_aside(
        embedding_id INTEGER PRIMARY KEY REFERENCES embeddings(id) ON DELETE CASCADE, reason TEXT NOT NULL, since TEXT NOT NULL)""",
    # references that disagree with their person, and of which somebody said that they are right
    """CREATE TABLE right_references(
        embedding_id INTEGER PRIMARY KEY REFERENCES embeddings(id) ON DELETE CASCADE, since TEXT NOT NULL)""",
    # files that `forget` could not remove and tries again to remove; paths are relative to data_dir
    "CREATE TABLE pending_removals(path TEXT PRIMARY KEY, since TEXT NOT NULL) WITHOUT ROWID",
    *STRANGERS,
    *CORRECTIONS,
    *REVIEW,
    *ACCESSES,
    *SYNC,
)
# A fact: somebody was forgotten, and remains of the deleted rows in the file's free space must still be overwritten.
ERASURE_DUE = "erasure_due"
_MAX_NAMED = 20  # limits how many names of foreign objects are shown
PARTS = ("", "-wal", "-shm", "-journal")  # the suffixes of a database's files


def tables(connection: sqlite3.Connection) -> set[str]:
    """The names of the real tables, without views and virtual tables."""
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table' AND rootpage>0")}


def columns_of(connection: sqlite3.Connection, table: str) -> set[str]:
    """The names of the columns of one of our tables; empty if there is no such table."""
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def ids_begin_after(connection: sqlite3.Connection, table: str, last: int) -> None:
    """Make AUTOINCREMENT give out only ids above `last`."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name=?", (table,)).fetchone()
    if row is None or row[0] < last:
        connection.execute("DELETE FROM sqlite_sequence WHERE name=?", (table,))
        connection.execute("INSERT INTO sqlite_sequence(name, seq) VALUES (?, ?)", (table, last))


def foreign_objects(connection: sqlite3.Connection) -> list[str]:
    """Triggers, views and tables that are not part of our schema, such as `trigger 'keep'`: at most 20, and then the number of the rest."""
    found = [
        _named(kind, name) for (kind, name) in _objects(connection) if (kind, name) not in _ours() and kind != "index"
    ]
    return found[:_MAX_NAMED] + ([f"and {len(found) - _MAX_NAMED} more"] if len(found) > _MAX_NAMED else [])


def differences(connection: sqlite3.Connection) -> list[str]:
    """The differences from our schema, one line each: objects that were added, changed or removed."""
    found, ours = _objects(connection), _ours()
    lines = [f"{_named(*one)} is no part of a gallery" for one in found if one not in ours]
    lines += [f"{_named(*one)} is not as Rollcall makes it" for one in found if one in ours and found[one] != ours[one]]
    lines += [f"{_named(*one)} is missing" for one in ours if one not in found]
    return lines[:_MAX_NAMED] + ([f"and {len(lines) - _MAX_NAMED} more"] if len(lines) > _MAX_NAMED else [])


def _named(kind: str, name: str) -> str:
    return f"{kind} {name[:80]!r}"


def _objects(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """The SQL of each object without spaces, since the original program used other spaces."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    return {(kind, name): "".join(str(sql).split()).replace("IFNOTEXISTS", "") for kind, name, sql in rows}


@cache
def _ours() -> dict[tuple[str, str], str]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        create(connection)
        return _objects(connection)
    finally:
        connection.close()


def create(connection: sqlite3.Connection) -> None:
    """Create all tables in an empty database, in WAL mode."""
    connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(EMBEDDINGS)
        create_own_tables(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def create_own_tables(connection: sqlite3.Connection) -> None:
    """Create all tables except `embeddings`, inside the caller's transaction."""
    for statement in OWN_TABLES:
        connection.execute(statement)
    facts = {"schema_version": str(SCHEMA_VERSION), "change_number": "0"}
    connection.executemany("INSERT INTO store_facts VALUES (?, ?)", facts.items())


def version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version; 0 for a database of the original program. Raises ConfigurationError for anything else."""
    found = tables(connection)
    keys = [
        row[1] for row in connection.execute("PRAGMA table_info(embeddings)") if row[5] and row[2].upper() == "INTEGER"
    ]
    if "embeddings" not in found or keys != ["id"] or not columns_of(connection, "embeddings").issuperset(COLUMNS):
        raise ConfigurationError(
            "is a SQLite database, but not a gallery",
            where=str(path),
            got="tables " + (", ".join(sorted(repr(name[:80]) for name in found)[:_MAX_NAMED]) or "none"),
            expected="a table embeddings with the columns " + ", ".join(COLUMNS) + ", id an INTEGER PRIMARY KEY",
            remedy="move it away, or set another data_dir",
        )
    if "store_facts" not in found:
        return 0
    row = connection.execute("SELECT value FROM store_facts WHERE key='schema_version'").fetchone()
    if row is None or not isinstance(row[0], str) or not row[0].isascii() or not row[0].isdigit() or len(row[0]) > 9:
        raise ConfigurationError(
            "the schema version of the database can't be read",
            where=str(path),
            got="nothing" if row is None else str(row[0])[:40],
            expected="a number",
            remedy="restore a backup: supervisor.py restore FILE",
        )
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
