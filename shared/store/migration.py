"""Migrates databases of other versions, and of the original program, to our schema. It copies the known content into a fresh file.

Nothing is changed in place. The known columns of the known tables are read value by value and written to a new file with our schema.
Then the new file takes the old file's name in one step, and the old file stays beside it under another name. This has three effects:

- Triggers, views and unknown tables of a foreign file are not copied.
- A wrong value affects only its own row.
- A power cut at any moment leaves either the old file or the new one.

A backup is restored in the same way, whatever its version.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import NORM_TOLERANCE
from shared.errors import RefusedError
from shared.events import Sighting
from shared.files.durable_folder import NO_LINKS, sync_folder
from shared.files.mark_key import key_id, write_key
from shared.person_names import name_of, stored_name, text_of
from shared.process.work_progress import beat
from shared.records import MOST_TURN
from shared.row_checksum import checksum_fits, row_checksums
from shared.store import people, schema
from shared.store.accesses import is_access
from shared.store.change_times import note_as_oldest
from shared.store.connection import TimeLimit, connect, connect_read_only
from shared.store.copying import copy_database, copy_pages, half_made
from shared.store.leftovers import BEFORE_MIGRATION
from shared.store.rewriting import SLACK_BYTES, require_room
from shared.store.set_aside import MAX_REASON_CHARACTERS
from shared.uuid7 import new_uuids

_ORIGINALS_DIM = 512  # the dimension of the original program's embeddings
_ROWS_AT_ONCE = 1000
# The highest id or change number. JSON readers keep whole numbers exact up to here, and SQLite can still count up from it.
_MAX_NUMBER = 1 << 53
# The largest single value. A row with a larger one is not read.
_MAX_BYTES = 16 << 20
# How many left-out rows are reported. The table left_out has all of them.
_MAX_NOTES = 20

# The tables that are copied. Each has the column that orders its rows.
_KEYS = {
    "embeddings": "id",
    "people": "name",
    "reference_facts": "embedding_id",
    "deletion_marks": "uuid",
    "sightings": "id",
    "left_out": "id",
    "set_aside": "embedding_id",
    "right_references": "embedding_id",
    "staged_embeddings": "embedding_id",
    "people_changes": "id",
    "merged_references": "id",
    "pending_moves": "place",
    "pending_removals": "path",
    "strangers": "id",
    "stranger_traces": "id",
    "stranger_visits": "camera",
    "sighting_probes": "sighting",
    "sighting_crops": "sighting",
    "corrections": "sighting",
    "different_people": "id",
    "ignored_strangers": "stranger",
    "accesses": "id",
    "change_times": "change_number",
    "tombstones": "uuid",
    "synced": "uuid",
    "synced_people": "uuid",
    "unsettled": "person",
    "quarantine": "what",
    "plain_items": "identity",
    "sync_state": "key",
}
_FACTS = ("uuid", "change_number", "photo_digest", "checksum", "turn")

# Keeps the row's own id, unless the table has that id already.
_LEAVE_OUT = """
    INSERT INTO left_out VALUES (CASE WHEN EXISTS (SELECT 1 FROM left_out WHERE id=?1) THEN NULL ELSE ?1 END, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
"""

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?Z?")
_KEY = re.compile("[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[^/\0]{1,255}")

Factory = type[sqlite3.Connection]


class NotText(bytes):
    """A value that the database holds as text, but that is not valid UTF-8."""


def migrate(path: Path, factory: Factory = sqlite3.Connection) -> list[str]:
    """Migrate the site's own database to schema.SCHEMA_VERSION. Returns what was done, one line each; no line if the version fits already.

    The old file stays beside the new one as `….before-vN-TIME.bak`; N is the new version. If the migration fails, the database stays
    as it was and no other file is left, so that repeated attempts do not fill the disk. Raises ConfigurationError if the file is not a
    gallery, TemporaryError if the disk has too little room, sqlite3.Error, OSError.
    """
    old = connect(path, factory)
    try:
        found = schema.version(old, path)
        if found == schema.SCHEMA_VERSION:
            return []
        require_room_to_migrate(path, found)
        old.execute("PRAGMA journal_mode=DELETE")  # empties the WAL: a file that is renamed must be complete without it
        old.execute("BEGIN IMMEDIATE")  # from now on no other connection can write
        with _fresh_beside(path) as fresh:
            copied = _copy(old, path, fresh, found, factory)
            if copied.mark_key is not None:
                write_key(path, copied.mark_key)
            kept = _take_its_place(fresh, path, found)
    finally:
        old.close()
    return [f"{path.name}: schema {found} -> {schema.SCHEMA_VERSION}; what was there: {kept.name}", *copied.notes]


def key_within(connection: sqlite3.Connection) -> str | None:
    """The key of the deletion marks, if the database holds it (older versions did); else None."""
    if "store_facts" not in schema.tables(connection):
        return None
    row = connection.execute("SELECT value FROM store_facts WHERE key='mark_key'").fetchone()
    return row[0] if row is not None and isinstance(row[0], str) and _KEY.fullmatch(row[0]) else None


def require_room_to_migrate(path: Path, found: int) -> None:
    """Raises TemporaryError if the disk has too little room for the new file and the copy that stays beside it.

    `found`: the version of the database. The original program's file, 0, stays itself, under another name. (On a file system without
    hard links it is copied; a disk that fills up then ends the migration, and the old file stays.)
    """
    wal = path.with_name(path.name + "-wal")
    size = path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
    require_room(path, size * (2 if found else 1) + SLACK_BYTES, "to bring the database to this version")


def copy_of_backup(source: Path, target: Path) -> list[str]:
    """Copy `source` to `target` as a database of our schema. `source`: a backup of any version, or the original program's file.

    `source` may come from anybody. It is only read, and its queries have a time limit. Returns what was done and what was left out,
    one line each. Raises RollcallError, sqlite3.Error.
    """
    # Without a WAL or journal no process writes the file. Then SQLite needs no files beside it, and the folder may be read-only.
    alone = not any(source.with_name(source.name + part).exists() for part in ("-wal", "-journal"))
    old = connect_read_only(source, "ro&immutable=1" if alone else "rw")
    try:
        old.execute("PRAGMA query_only=ON")
        old.execute("BEGIN")
        with _fresh_beside(target) as fresh:
            copied = _copy(old, source, fresh, schema.version(old, source), sqlite3.Connection)
            fresh.replace(target)
    finally:
        old.close()
    return copied.notes


@contextlib.contextmanager
def _fresh_beside(path: Path) -> Iterator[Path]:
    """Create an empty file, mode 0600, in which the new database is made. It is removed if that fails."""
    fresh = half_made(path)
    fresh.touch(mode=0o600)
    try:
        yield fresh
    except BaseException:
        half_made(path)
        raise


def _take_its_place(fresh: Path, path: Path, found: int) -> Path:
    """Put `fresh` in the place of the database. Returns the path at which the old database stays."""
    # The name has the time of the last change. After a kill here, the next attempt uses the same name, so that copies do not pile up.
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    kept = path.with_name(f"{path.name}{BEFORE_MIGRATION}{schema.SCHEMA_VERSION}-{changed:%Y%m%dT%H%M%S%fZ}.bak")
    copy = path.with_name(f".{path.name}.bak.new")
    copy.unlink(missing_ok=True)
    try:
        if found:  # a copy without sightings, strangers and the marks' key, since it would keep them longer than the settings say
            reader = connect_read_only(path)
            try:
                copy_database(reader, copy, with_sightings=False)
            finally:
                reader.close()
            copy.replace(kept)
        else:
            path.chmod(0o600)
            _keep_whole(path, kept, copy)
        sync_folder(path.parent)
        fresh.replace(path)
    except BaseException:
        copy.unlink(missing_ok=True)
        kept.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return kept


def _keep_whole(path: Path, kept: Path, half: Path) -> None:
    """Give the file at `path` a second name, `kept`. If the file system has no hard links, make a copy, first in `half`."""
    kept.unlink(missing_ok=True)
    try:
        os.link(path, kept)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # SQLite makes the copy. If we opened and closed the file ourselves, that would drop the lock that SQLite holds on it.
        half.touch(mode=0o600)
        source, copy = connect_read_only(path), connect(half)
        try:
            copy_pages(source, copy, lambda: True)
        finally:
            copy.close()
            source.close()
        half.replace(kept)


# --- one file into another ------------------------------------------------------------------------------------------


class _Copied(NamedTuple):
    """The result of a copy. `notes`: lines for the operator. `mark_key`: the marks' key, if the old file held it."""

    notes: list[str]
    mark_key: str | None


def _copy(old: sqlite3.Connection, path: Path, fresh: Path, found: int, factory: Factory) -> _Copied:
    limit = TimeLimit(old, path)
    old.text_factory = _text_or_not
    new = connect(fresh, factory)
    try:
        schema.create(new)
        new.execute("PRAGMA journal_mode=DELETE")  # so that each page is written once, and not also into a WAL
        new.execute("BEGIN")
        copied = _Copying(old, new, found, limit).run()
        new.execute("COMMIT")
        new.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        limit.require_time(error)
        raise
    finally:
        new.close()
    return copied


def _text_or_not(raw: bytes) -> str | NotText:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return NotText(raw)


class _Copying:
    """Copies the rows of an old database of version `found` into an empty database of our schema, inside the caller's transaction."""

    def __init__(self, old: sqlite3.Connection, new: sqlite3.Connection, found: int, limit: TimeLimit) -> None:
        self._old, self._new, self._found, self._limit = old, new, found, limit
        self._columns = {table: schema.columns_of(old, table) for table in schema.tables(old) & _KEYS.keys()}
        self._now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        self._facts = self._facts_of_old()
        self._size = self._vector_bytes()
        old.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_BYTES)
        self._change = _whole(self._facts.get("change_number"), 0) or 0
        self._left_out: list[str] = []
        self._behind: Counter[str] = Counter()  # how many rows of each of our tables can't be copied

    def run(self) -> _Copied:
        """Copy everything."""
        taken = self._references()
        self._people()
        for table, (columns, is_sound) in _OWN_ROWS.items():
            self._rows_of(table, columns, is_sound)
        self._sightings()
        self._merged_references()
        self._probes()
        self._strangers()
        self._review()
        self._ids_go_on()
        key = self._mark_key()
        self._set_facts(key)
        notes = [
            f"{'adopted' if not self._found else 'took over'} {taken} references; {len(self._left_out)} rows left out"
        ]
        notes += self._left_out[:_MAX_NOTES]
        if len(self._left_out) > _MAX_NOTES:
            notes.append(f"and {len(self._left_out) - _MAX_NOTES} more, each with its reason in the table left_out")
        notes += [f"{count} rows of {table} can't be read and stay behind" for table, count in self._behind.items()]
        if foreign := schema.foreign_objects(self._old):
            notes.append("stay behind, as they are no part of a gallery: " + ", ".join(foreign))
        return _Copied(notes, key)

    # --- references --------------------------------------------------------------------------------------------

    def _references(self) -> int:
        """Copy the references. Returns how many were copied.

        The original program's vectors are normalised, and identical ones are copied once. Unusable rows go into `left_out`.
        """
        if self._size:
            self._set_fact("dim", str(self._size // 4))
        seen: dict[bytes, int] = {}
        taken = 0
        for row in self._rows("embeddings", schema.COLUMNS, facts=self._found > 0):
            values = dict(zip((*schema.COLUMNS, *_FACTS), row, strict=False))
            vector, reason = self._usable(values)
            if vector is not None and not self._found and values["image_path"] is None:
                key = hashlib.sha256(values["person_name"].encode() + b"\0" + vector.tobytes()).digest()
                twin = seen.setdefault(key, values["id"])
                if twin != values["id"]:
                    reason = f"the same vector as row {twin}"
            if not reason and vector is not None:
                reason = self._insert(values, vector)
            if reason:
                self._leave_out(values, reason)
            else:
                taken += 1
        return taken

    def _usable(self, values: dict[str, Any]) -> tuple[NDArray[np.float32] | None, str]:
        """The row's unit vector, or None; and the reason if the row can't be used. Converts a name of the original program to the stored form."""
        try:
            name = name_of(values["person_name"])
        except RefusedError:
            return None, "nobody's name"
        if not self._found:
            values["person_name"] = stored_name(name)
        for column in ("image_path", "user_id"):
            try:
                text_of(values[column])
            except RefusedError:
                return None, f"{column} is no text that can be kept"
        if not 0 <= abs(values["id"]) < _MAX_NUMBER:
            return None, "its id is too large to count on from"
        return self._unit_vector(values)

    def _unit_vector(self, values: dict[str, Any]) -> tuple[NDArray[np.float32] | None, str]:
        blob, size = values["embedding"], self._size
        if not isinstance(blob, bytes) or isinstance(blob, NotText) or len(blob) != size or not size:
            got = f"{len(blob)} bytes" if type(blob) is bytes else _kind(blob)
            return None, f"{got} where a vector has {size or 4 * _ORIGINALS_DIM} bytes"
        vector = np.frombuffer(blob, "<f4")
        if not np.isfinite(vector).all():
            return None, "NaN or infinity in the vector"
        norm = float(np.linalg.norm(vector.astype(np.float64)))
        if norm < 1e-6:
            return None, "a zero vector"
        if self._found:  # our vectors have unit norm, and each row has a checksum
            if abs(norm - 1) > NORM_TOLERANCE:
                return None, f"a vector of length {norm:.3g} where it is 1"
            if not checksum_fits(values.get("checksum"), vector, values["person_name"], values["user_id"]):
                return None, schema.NOT_AS_WRITTEN
        elif abs(norm - 1) > 1e-6:
            vector = (vector / norm).astype("<f4")
        return vector, ""

    def _insert(self, values: dict[str, Any], vector: NDArray[np.float32]) -> str:
        """Write the row. Returns the reason if it can't be written, else an empty text."""
        row_id, name, user_id = values["id"], values["person_name"], values["user_id"]
        row = (
            row_id,
            name,
            vector.tobytes(),
            values["image_path"],
            user_id,
            *map(_time, (values["created_at"], values["updated_at"])),
        )
        try:
            self._new.execute("INSERT INTO embeddings VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            return "the same person and photo as another row"
        change = _whole(values.get("change_number"), 0)
        self._change = max(self._change, change or 0) if change is not None else self._change + 1
        digest = values.get("photo_digest")
        checksum = int(row_checksums(vector[None], [name], [user_id])[0])
        turn = values.get("turn")
        facts = (
            change if change is not None else self._change,
            digest if _is_text(digest, 128) else None,
            checksum,
            turn if _is_turn(turn) else None,
        )
        uuid = values.get("uuid")
        for one in (uuid if _is_text(uuid, 64) else None, None):
            try:
                self._new.execute(
                    "INSERT INTO reference_facts VALUES (?, ?, ?, ?, ?, ?)", (row_id, one or new_uuids(1)[0], *facts)
                )
                return ""
            except sqlite3.IntegrityError:  # another row has this UUID: this row gets a new one
                continue
        return "no UUID for it"

    def _leave_out(self, values: dict[str, Any], reason: str) -> None:
        self._left_out.append(f"row {values['id']}: left out: {reason}")
        kept = [
            bytes(one) if isinstance(one, NotText) else one for one in (values[column] for column in schema.COLUMNS)
        ]
        self._new.execute(_LEAVE_OUT, (*kept, reason))

    def _vector_bytes(self) -> int:
        """The size of a vector in bytes; 0 if there are no vectors.

        Our own databases store the dimension. For others it is the original program's 512 numbers if any row has that size, else the
        most common size.
        """
        if (dim := _whole(self._facts.get("dim"), 1)) is not None and self._found:
            return 4 * dim
        sizes = Counter(
            dict(
                self._old.execute(
                    "SELECT LENGTH(embedding), COUNT(*) FROM embeddings "
                    "WHERE typeof(embedding)='blob' AND LENGTH(embedding)>0 AND LENGTH(embedding)%4=0 GROUP BY 1"
                ).fetchall()
            )
        )
        if not sizes or 4 * _ORIGINALS_DIM in sizes:
            return 4 * _ORIGINALS_DIM if sizes else 0
        return int(max(sizes, key=lambda size: (sizes[size], size)))

    # --- other tables ------------------------------------------------------------------------------------------

    def _rows_of(self, table: str, columns: tuple[str, ...], is_sound: Callable[..., bool]) -> None:
        statement = f"INSERT INTO {table}({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608  # our own tables
        for row in self._rows(table, columns):
            values = [bytes(one) if isinstance(one, NotText) and table == "left_out" else one for one in row]
            try:
                if not is_sound(*values):
                    raise ValueError(table)
                self._new.execute(_LEAVE_OUT if table == "left_out" else statement, values)
            except (sqlite3.IntegrityError, ValueError, RecursionError):  # RecursionError: deeply nested JSON
                self._behind[table] += 1

    def _people(self) -> None:
        """Copy the table of people. An older database has none: then each person gets the user id that was given last."""
        columns = ("uuid", "name", "user_id", "created_at", "former_names", "consented_at", "expires_at", "groups")
        self._rows_of("people", columns, _is_person)
        people.complete(self._new)
        people.adopt_user_ids(self._new)

    def _sightings(self) -> None:
        columns = ("id", "key", "event", "time", "camera", "person", "document", "stranger", "recorded_at")
        for *values, recorded in self._rows("sightings", columns):
            if not _is_sighting(*values):
                self._behind["sightings"] += 1
                continue
            # An older database does not have this time. Use the sighting's own time, but none in the future.
            when = recorded if _is_time(recorded) else min(values[3], self._now)
            with contextlib.suppress(sqlite3.IntegrityError):  # the same key twice: one is enough
                self._new.execute("INSERT INTO sightings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, when))

    def _merged_references(self) -> None:
        """Copy the references that are kept for undoing a merge."""
        known = {row[0] for row in self._new.execute("SELECT id FROM people_changes")}
        columns = (
            "change", *schema.COLUMNS, "uuid", "photo_digest", "set_aside_reason", "set_aside_since", "right_since",
            "turn",
        )  # fmt: skip  # one list
        self._rows_of(
            "merged_references", columns, lambda *row: row[0] in known and _is_merged_reference(self._size, *row)
        )

    def _probes(self) -> None:
        """Copy what is kept of the faces of sightings: embeddings and pictures."""
        if "sighting_probes" not in self._columns:
            return
        known = {row[0] for row in self._new.execute("SELECT id FROM sightings")}
        columns = ("sighting", "fingerprint", "embedding", "person", "clear", "kept_at")
        self._rows_of("sighting_probes", columns, lambda *row: row[0] in known and _is_probe(*row))
        if "sighting_crops" in self._columns:
            pictures = ("sighting", "kept_at", "size_bytes", "jpeg")
            self._rows_of("sighting_crops", pictures, lambda *row: row[0] in known and _is_crop(*row))

    def _review(self) -> None:
        """Copy what was decided of people and strangers who are there."""
        strangers = {row[0] for row in self._new.execute("SELECT id FROM strangers")}
        people_there = {row[0] for row in self._new.execute("SELECT uuid FROM people")}
        if "different_people" in self._columns:
            self._rows_of(
                "different_people",
                ("id", "person", "other", "stranger", "made_at"),
                lambda _, person, other, stranger, made_at: (
                    person in people_there
                    and (other in people_there if stranger is None else other is None and stranger in strangers)
                    and _is_time(made_at)
                ),
            )
        if "ignored_strangers" in self._columns:
            self._rows_of(
                "ignored_strangers",
                ("stranger", "since"),
                lambda stranger, since: stranger in strangers and _is_time(since),
            )

    def _strangers(self) -> None:
        known = {row[0] for row in self._new.execute("SELECT id FROM strangers")}
        traces = ("id", "stranger", "fingerprint", "quality", "embedding", "photo")
        self._rows_of("stranger_traces", traces, lambda *row: row[1] in known and _is_trace(*row))
        # A stranger without a trace can't be recognised again.
        self._new.execute("DELETE FROM strangers WHERE id NOT IN (SELECT stranger FROM stranger_traces)")
        known = {row[0] for row in self._new.execute("SELECT id FROM strangers")}
        self._rows_of(
            "stranger_visits",
            ("camera", "track", "stranger"),
            lambda camera, track, one: _is_text(camera, 256) and _whole(track, 0) is not None and one in known,
        )

    def _ids_go_on(self) -> None:
        """Continue the ids of the old database, so that the id of a deleted row is not given again."""
        if not self._old.execute("SELECT 1 FROM sqlite_master WHERE name='sqlite_sequence'").fetchone():
            return
        for table, given in self._old.execute("SELECT name, seq FROM sqlite_sequence").fetchall():
            if (
                table in ("embeddings", "sightings", "strangers", "people_changes")
                and (last := _whole(given, 0)) is not None
            ):
                schema.ids_begin_after(self._new, table, last)

    # --- facts -------------------------------------------------------------------------------------------------

    def _facts_of_old(self) -> dict[str, str]:
        """The facts that our own database stores, as far as they are texts of a sane length."""
        if not self._found:
            return {}
        rows = self._old.execute("SELECT key, value FROM store_facts").fetchmany(_ROWS_AT_ONCE)
        return {key: value for key, value in rows if _is_text(key, 64) and _is_text(value, 1024)}

    def _mark_key(self) -> str | None:
        """The marks' key, if the old file holds it. If it should but does not, the marks are deleted: without their key they are useless."""
        key = self._facts.get("mark_key", "")
        if self._found == schema.SCHEMA_VERSION or "mark_key_id" in self._facts:  # the key is in its own file
            return None
        if _KEY.fullmatch(key):
            return key
        if lost := self._new.execute("DELETE FROM deletion_marks").rowcount:
            self._behind["deletion_marks"] += lost
        return None

    def _set_facts(self, key: str | None) -> None:
        known = self._facts.get("mark_key_id") if key is None else key_id(key)
        if known is not None:
            self._set_fact("mark_key_id", known)
        for fact in ("model", "fingerprint", "alike"):
            if fact in self._facts and (fact != "alike" or _is_cosine(self._facts[fact])):
                self._set_fact(fact, self._facts[fact])
        self._set_fact("change_number", str(self._change))
        if (
            "change_times" not in self._columns
        ):  # other sites' changes are newer than what was here before changes had times
            note_as_oldest(self._new, self._change)

    def _set_fact(self, key: str, value: str) -> None:
        self._new.execute("INSERT OR REPLACE INTO store_facts VALUES (?, ?)", (key, value))

    # --- reading -----------------------------------------------------------------------------------------------

    def _rows(self, table: str, columns: tuple[str, ...], *, facts: bool = False) -> Iterator[tuple[Any, ...]]:
        """All rows of a table in the order of its key; none if there is no such table. Rows that are too large are counted and skipped."""
        if _KEYS[table] not in self._columns.get(table, ()):
            return
        key, last = _KEYS[table], None
        without = self._old.execute(f"SELECT COUNT(*) FROM {table} WHERE {key} IS NULL").fetchone()[0]  # noqa: S608  # as below
        if without:  # only in foreign tables: the order by key needs a value, and our tables have no such row
            self._behind[table] += without
        chosen = ", ".join(f"t.{column}" if column in self._columns[table] else "NULL" for column in columns)
        source = f"{table} t"
        if facts and "embedding_id" in (known := self._columns.get("reference_facts", ())):
            chosen += "".join(f", f.{column}" if column in known else ", NULL" for column in _FACTS)
            source += " LEFT JOIN reference_facts f ON f.embedding_id=t.id"
        query = (
            f"SELECT {chosen} FROM {source} WHERE t.{key} IS NOT NULL AND (?1 IS NULL OR t.{key}>?1) ORDER BY t.{key}"  # noqa: S608  # our own tables and columns
        )
        place = columns.index(key)
        cursor = self._old.execute(query, (last,))
        try:
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                beat()
                for row in rows:
                    last = row[place]
                    yield row
                self._limit.require_time()
        except sqlite3.DataError:  # a value is larger than _MAX_BYTES; fetchmany has lost the rows before it
            yield from self._one_by_one(query, table, last)

    def _one_by_one(self, query: str, table: str, last: Any) -> Iterator[tuple[Any, ...]]:
        """The rows after the key `last`. Each has its own query, so that a row that is too large does not affect the others."""
        key = _KEYS[table]
        following = (
            f"SELECT {key} FROM {table} WHERE {key} IS NOT NULL AND (?1 IS NULL OR {key}>?1) ORDER BY {key} LIMIT 1"  # noqa: S608  # as above
        )
        single = query.replace(f"(?1 IS NULL OR t.{key}>?1)", f"t.{key}=?1")
        while (found := self._old.execute(following, (last,)).fetchone()) is not None:
            self._limit.require_time()
            (last,) = found
            try:
                yield from self._old.execute(single, (last,)).fetchall()
            except sqlite3.DataError:
                self._behind[table] += 1


# --- what a value must be -------------------------------------------------------------------------------------------


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and "\0" not in value


def _is_time(value: object) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def _time(value: object) -> object:
    """The value if it is a time, else None: a wrong time is no reason to leave out a reference."""
    return value if _is_time(value) else None


def _whole(value: object, least: int) -> int | None:
    """The value as a whole number from `least` to _MAX_NUMBER, else None. Facts are texts, so a text of digits is allowed too."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    return value if isinstance(value, int) and least <= value <= _MAX_NUMBER else None


def _is_cosine(text: str) -> bool:
    try:
        return -1 <= float(text) <= 1
    except ValueError:
        return False


def _is_turn(value: object) -> bool:
    return isinstance(value, float) and abs(value) <= MOST_TURN


def _kind(value: object) -> str:
    return {"NoneType": "nothing", "str": "text", "NotText": "text", "int": "a number", "float": "a number"}.get(
        type(value).__name__, "bytes"
    )


def _is_mark(uuid: object, person: object, photo: object, whole: object, change: object, deleted_at: object) -> bool:
    texts = _is_text(uuid, 64) and _is_text(person, 64) and (photo is None or _is_text(photo, 64))
    return texts and whole in (0, 1) and _whole(change, 0) is not None and (deleted_at is None or _is_time(deleted_at))


def _is_person(uuid: object, name: object, user_id: object, created_at: object, former: object, *rest: object) -> bool:
    *times, groups = rest
    return (
        _is_text(uuid, 64)
        and _is_text(name, 1024)
        and (user_id is None or _is_text(user_id, 4096))
        and _is_time(created_at)
        and all(one is None or _is_time(one) for one in times)
        and all(
            isinstance(one, str)
            and isinstance(known := json.loads(one), list)
            and all(isinstance(x, str) for x in known)
            for one in (former, groups)
        )
    )


def _is_people_change(number: object, kind: object, name: object, other: object, at: object, document: object) -> bool:
    texts = all(_is_text(one, 1024) for one in (name, other))
    return _whole(number, 1) is not None and texts and _is_time(at) and people.is_note(kind, document)


def _is_merged_reference(size: int, _: object, row_id: object, name: object, blob: object, *rest: object) -> bool:
    photo, user_id, created_at, updated_at, uuid, digest, reason, since, right_since, turn = rest
    return (
        _whole(row_id, 0) is not None
        and _is_text(name, 1024)
        and type(blob) is bytes
        and len(blob) == size
        and all(one is None or _is_text(one, 4096) for one in (photo, user_id))
        and all(one is None or _is_time(one) for one in (created_at, updated_at, right_since))
        and _is_text(uuid, 64)
        and (digest is None or _is_text(digest, 128))
        and (turn is None or _is_turn(turn))
        and ((reason is None and since is None) or (_is_text(reason, MAX_REASON_CHARACTERS) and _is_time(since)))
    )


def _is_stranger(number: object, first: object, last: object, visits: object, cameras: object) -> bool:
    if _whole(number, 1) is None or not _is_time(first) or not _is_time(last) or _whole(visits, 0) is None:
        return False
    return (
        isinstance(cameras, str)
        and isinstance(known := json.loads(cameras), list)
        and all(isinstance(one, str) for one in known)
    )


def _is_trace(
    row_id: object, _stranger: object, fingerprint: object, quality: object, blob: object, photo: object
) -> bool:
    is_file = isinstance(photo, str) and _FILE_NAME.fullmatch(photo) is not None and photo not in (".", "..")
    return (
        _whole(row_id, 1) is not None
        and _is_text(fingerprint, 128)
        and isinstance(quality, float)
        and type(blob) is bytes
        and is_file
    )


def _is_probe(sighting: object, fingerprint: object, blob: object, person: object, clear: object, kept: object) -> bool:
    texts = _is_text(fingerprint, 128) and _is_text(person, 1024) and _is_time(kept)
    return texts and _whole(sighting, 1) is not None and type(blob) is bytes and clear in (0, 1)


def _is_crop(sighting: object, kept: object, size: object, jpeg: object) -> bool:
    return _whole(sighting, 1) is not None and _is_time(kept) and type(jpeg) is bytes and size == len(jpeg)


def _is_correction(*row: Any) -> bool:
    sighting, verdict, person, camera, track, made_at, expires_at, fingerprint, blob, against_all, reference = row
    return (
        _whole(sighting, 1) is not None
        and verdict in ("wrong", "right")
        and _is_text(person, 1024)
        and _is_text(camera, 1024)
        and (track is None or isinstance(track, int))
        and _is_time(made_at)
        and _is_time(expires_at)
        and (fingerprint is None or _is_text(fingerprint, 128))
        and (blob is None or type(blob) is bytes)
        and against_all in (0, 1)
        and (reference is None or (isinstance(reference, int) and abs(reference) <= _MAX_NUMBER))
    )


def _is_tombstone(uuid: object, kind: object, change: object, revision: object, *rest: object) -> bool:
    *texts, made_at = rest
    return (
        _is_text(uuid, 64)
        and kind in ("deleted", "forgotten")
        and _whole(change, 0) is not None
        and (revision is None or _whole(revision, 1) is not None)
        and all(one is None or _is_text(one, 64) for one in texts)
        and _is_time(made_at)
    )


def _is_synced(uuid: object, change: object, revision: object, origin: object, person: object, *rest: object) -> bool:
    name, user_id, knows, image_path, looks, seq = rest
    return (
        all(_is_text(one, 64) for one in (uuid, origin, person))
        and all(_is_text(one, 1024) for one in (name, looks))
        and all(one is None or _is_text(one, 4096) for one in (user_id, image_path))
        and isinstance(change, int)
        and _whole(revision, 1) is not None
        and all(_whole(one, 0) is not None for one in (knows, seq))
    )


def _is_synced_person(uuid: object, name: object, user_id: object, merged_into: object, *rest: object) -> bool:
    revision, origin, change, looks = rest
    return (
        (looks is None or _is_text(looks, 1024))
        and all(_is_text(one, 64) for one in (uuid, origin))
        and (name is None or _is_text(name, 1024))
        and (user_id is None or _is_text(user_id, 4096))
        and (merged_into is None or _is_text(merged_into, 64))
        and _whole(revision, 1) is not None
        and _whole(change, -1) is not None
    )


def _is_sighting(*row: Any) -> bool:
    """Whether this is a sighting that all readers of the table can read."""
    row_id, key, kind, time, camera, person, document, stranger = row
    if _whole(row_id, 1) is None or not all(_is_text(one, 1024) for one in (key, kind, camera)) or not _is_time(time):
        return False
    if (person is not None and not _is_text(person, 4096)) or (stranger is not None and _whole(stranger, 1) is None):
        return False
    sighting = Sighting.from_stored(row_id, document)
    return sighting is not None and (sighting.event, sighting.time, sighting.camera) == (kind, time, camera)


_OWN_ROWS: dict[str, tuple[tuple[str, ...], Callable[..., bool]]] = {
    "deletion_marks": (("uuid", "person_mark", "photo_mark", "whole_person", "change_number", "deleted_at"), _is_mark),
    "left_out": ((*schema.COLUMNS, "reason"), lambda *row: isinstance(row[-1], str)),
    "staged_embeddings": (
        ("embedding_id", "fingerprint", "embedding", "turn"),
        lambda _, fingerprint, blob, turn: (
            _is_text(fingerprint, 128) and type(blob) is bytes and (turn is None or _is_turn(turn))
        ),
    ),
    "set_aside": (
        ("embedding_id", "reason", "since"),
        lambda _, reason, since: _is_text(reason, MAX_REASON_CHARACTERS) and _is_time(since),
    ),
    "right_references": (("embedding_id", "since"), lambda _, since: _is_time(since)),
    "people_changes": (("id", "kind", "name", "other", "at", "document"), _is_people_change),
    "pending_moves": (("place", "path"), lambda place, path: _is_text(place, 4096) and _is_text(path, 4096)),
    "pending_removals": (("path", "since"), lambda path, since: _is_text(path, 4096) and _is_time(since)),
    "strangers": (("id", "first_seen", "last_seen", "visits", "cameras"), _is_stranger),
    "corrections": (
        (
            "sighting",
            "verdict",
            "person",
            "camera",
            "track",
            "made_at",
            "expires_at",
            "fingerprint",
            "embedding",
            "against_all",
            "reference",
        ),
        _is_correction,
    ),
    "accesses": (
        (
            "id",
            "kind",
            "role",
            "label",
            "cameras",
            "secret",
            "created_at",
            "expires_at",
            "last_used_at",
            "parent",
            "session_s",
        ),
        is_access,
    ),
    "change_times": (("change_number", "revision"), lambda *row: all(_whole(one, 0) is not None for one in row)),
    "tombstones": (
        (
            "uuid",
            "kind",
            "change_number",
            "revision",
            "origin",
            "person",
            "person_hash",
            "person_mark",
            "made_at",
        ),
        _is_tombstone,
    ),
    "synced": (
        (
            "uuid",
            "change_number",
            "revision",
            "origin",
            "person",
            "name",
            "user_id",
            "knows",
            "image_path",
            "looks",
            "seq",
        ),
        _is_synced,
    ),
    "unsettled": (("person",), lambda person: _is_text(person, 64)),
    "synced_people": (
        ("uuid", "name", "user_id", "merged_into", "revision", "origin", "change_number", "looks"),
        _is_synced_person,
    ),
    "quarantine": (
        ("what", "reason", "origin", "since"),
        lambda *row: all(isinstance(one, str) or one is None for one in row) and _is_time(row[-1]),
    ),
    "plain_items": (
        ("identity", "uuid", "change_number", "round", "sent_at"),
        lambda identity, uuid, change, times, sent: (
            _is_text(identity, 64)
            and _is_text(uuid, 36)
            and (change is None or _whole(change, 0) is not None)
            and _whole(times, 0) is not None
            and (sent is None or _is_time(sent))
        ),
    ),
    "sync_state": (("key", "value"), lambda key, value: _is_text(key, 64) and isinstance(value, str)),
}
