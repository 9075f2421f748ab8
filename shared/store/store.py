"""The SQLite store: one writable connection under the site's lock, or a read-only one beside it.

Everything that changes rows happens inside `transaction`; nothing here publishes, locks or talks to a socket. What belongs
together beyond that lies in modules of its own beside this one: saving, sightings, staging, restoring and others.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import (
    ConfigurationError,
    DamagedError,
    RefusedError,
    RollcallError,
    TemporaryError,
    damage_fault,
    read_only_fault,
)
from shared.files.mark_key import key_path, read_key
from shared.files.run_folder import is_read_only
from shared.person_names import name_key
from shared.records import Person, Reference
from shared.store import schema
from shared.store.connection import BUSY_TIMEOUT_S, CACHED_STATEMENTS
from shared.store.leftovers import unfinished_copy
from shared.store.rewriting import room_to_write_anew, write_anew
from shared.store.sightings import Sightings
from shared.store.unsound_rows import aside_line, damaged_rows, forget_damaged_rows, unsound_rows
from shared.uuid7 import new_uuids

# How long a mark keeps somebody out: a backup should not be kept for longer. It is personal data itself, so it has an end.
MARKS_KEPT = timedelta(days=3 * 365)
_TRUNCATE_PATIENCE_S = 1.0  # the writer's heartbeat must not wait for a reader of the WAL
_FAULTS_AT_MOST = 20
_PROOF_DUE = "proof_due"


@dataclass(frozen=True)
class Deleted:
    """What a deletion removed."""

    row_ids: list[int]
    image_paths: list[str]
    sightings: int = 0
    left_out: int = 0


def path_mark(image_path: str) -> str:
    """What a mark knows a deleted photo by when nobody has its bytes any more; no digest looks like it."""
    return f"path:{image_path}"


_OF_THE_DISK = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
)


def _disk_error(code: int, text: str, path: Path) -> RollcallError:
    if code == sqlite3.SQLITE_FULL:
        return TemporaryError("the disk is full", where=str(path), got=text, remedy="free some space; nothing was lost")
    if is_read_only(path.parent):
        return read_only_fault(path.parent)
    if code == sqlite3.SQLITE_IOERR:
        return TemporaryError(
            "the disk reports errors", where=str(path), got=text, remedy="check the disk and its free space"
        )
    return ConfigurationError(
        "the database can't be written",
        where=str(path),
        got=text,
        expected="a writable file and folder",
        remedy="check the owner of data_dir",
    )


def explain(error: sqlite3.Error, path: Path) -> RollcallError:
    """What a person can do about a fault that SQLite reports."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    text = str(error)
    if code in _OF_THE_DISK:
        return _disk_error(code, text, path)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damage_fault(path, text)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return TemporaryError("the database is in use", where=str(path), got=text, remedy="try again in a moment")
    return RollcallError("the database refused", where=str(path), got=text)


class Store:
    """An open gallery database of the current schema. `store_opening.open_store` makes one."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
        self.connection, self.path, self.read_only = connection, path, read_only
        self.sightings = Sightings(connection)
        self._change_number = 0
        self._mark_key: bytes | None = None
        self.damage: DamagedError | None = None  # what SQLite said last, until whoever serves the store has seen to it

    def explained(self, error: sqlite3.Error) -> RollcallError:
        """What `explain` makes of a fault of this store; damage is noted."""
        fault = explain(error, self.path)
        if isinstance(fault, DamagedError):
            self.damage = fault
        return fault

    # --- facts -------------------------------------------------------------------------------------------------

    def fact(self, key: str) -> str | None:
        row = self.connection.execute("SELECT value FROM store_facts WHERE key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, key: str, value: str) -> None:
        self.connection.execute(
            "INSERT INTO store_facts VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", (key, value)
        )

    def drop_fact(self, key: str) -> None:
        self.connection.execute("DELETE FROM store_facts WHERE key=?", (key,))

    @property
    def dim(self) -> int | None:
        """Length of every embedding; None while nothing has been saved."""
        found = self.fact("dim")
        return None if found is None else int(found)

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the model that made the embeddings; None: not stamped yet."""
        return self.fact("fingerprint")

    @property
    def model(self) -> str | None:
        """The model's engine and name, like `insightface/buffalo_l`."""
        return self.fact("model")

    @property
    def change_number(self) -> int:
        return int(self.fact("change_number") or 0)

    def stamp(self, model: str, fingerprint: str, dim: int) -> None:
        """Say which model the embeddings are of."""
        for key, value in (("model", model), ("fingerprint", fingerprint), ("dim", str(dim))):
            self.set_fact(key, value)

    # --- transactions ------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE … COMMIT, rolled back on any error; SQLite's faults come out explained."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            before = self._change_number = self.change_number
            yield
            if self._change_number != before:
                self.set_fact("change_number", str(self._change_number))
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise self.explained(error) from error
        except BaseException:
            self._roll_back()
            raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """One request inside a group commit: its faults undo only itself."""
        self.connection.execute("SAVEPOINT request")
        change_number = self._change_number
        try:
            yield
        except BaseException:
            self._change_number = change_number
            if self.connection.in_transaction:  # a full disk can have rolled the whole transaction back already
                self.connection.execute("ROLLBACK TO request")
                self.connection.execute("RELEASE request")
            raise
        self.connection.execute("RELEASE request")

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def next_change(self, count: int = 1) -> int:
        """Take `count` change numbers inside a transaction; the first of them."""
        self._change_number += count
        return self._change_number - count + 1

    def change_at_least(self, number: int) -> None:
        """Let the change numbers to come be higher than `number`, which another copy of this gallery has given out."""
        self._change_number = max(self._change_number, number)

    # --- references --------------------------------------------------------------------------------------------

    def count(self) -> int:
        return int(self.connection.execute("SELECT COUNT(*) FROM embeddings").fetchone()[0])

    def people_count(self) -> int:
        return int(self.connection.execute("SELECT COUNT(DISTINCT person_name) FROM embeddings").fetchone()[0])

    def vector(self, row_id: int) -> NDArray[np.float32]:
        """One reference's (dim,) float32. Raises RefusedError for an unknown id."""
        row = self.connection.execute("SELECT embedding FROM embeddings WHERE id=?", (row_id,)).fetchone()
        if row is None:
            raise RefusedError("no such reference", got=row_id)
        return np.frombuffer(row[0], "<f4")

    def user_id(self, name: str) -> str | None:
        """The person's user id: the one given last."""
        row = self.connection.execute(
            "SELECT e.user_id FROM embeddings e LEFT JOIN reference_facts f ON f.embedding_id=e.id "
            "WHERE e.person_name=? AND e.user_id IS NOT NULL ORDER BY f.change_number DESC, e.id DESC LIMIT 1",
            (name,),
        ).fetchone()
        return None if row is None else str(row[0])

    def people(self, after: str | None = None, limit: int | None = None) -> list[Person]:
        """Everybody enrolled, or at most `limit` people behind the name `after`, in the names' order.

        Name, user id, number of references, first and last change.
        """
        rows = self.connection.execute(
            "SELECT person_name, COUNT(*), MIN(created_at), MAX(updated_at) FROM embeddings "
            "WHERE ?1 IS NULL OR person_name>?1 GROUP BY person_name ORDER BY person_name LIMIT ?2",
            (after, -1 if limit is None else limit),
        )
        return [
            Person(name, self.user_id(name), count, _iso(created), _iso(updated))
            for name, count, created, updated in rows.fetchall()
        ]

    def references(
        self, name: str | None = None, after_id: int | None = None, limit: int | None = None
    ) -> list[Reference]:
        """Each reference's row without its vector, in id order: of one person or of all; at most `limit` with id > `after_id`."""
        wanted = "" if name is None else "e.person_name=:name AND "  # its own text, so that the index serves it
        rows = self.connection.execute(
            "SELECT e.id, e.person_name, e.image_path, f.photo_digest, f.change_number FROM embeddings e "  # noqa: S608  # two constants
            f"LEFT JOIN reference_facts f ON f.embedding_id=e.id WHERE {wanted}e.id>:after ORDER BY e.id LIMIT :limit",
            {
                "name": name,
                "after": -(1 << 63) if after_id is None else after_id,
                "limit": -1 if limit is None else limit,
            },
        )
        return [Reference(*row) for row in rows]

    # --- deletions ---------------------------------------------------------------------------------------------

    def mark(self, text: str) -> str:
        """Keyed hash of a name or photo digest, as deletion marks keep it. Raises ConfigurationError when the key is gone."""
        if self._mark_key is None:
            key = read_key(self.path)
            if key is None:
                raise ConfigurationError(
                    "the key of the deletion marks is gone",
                    where=str(key_path(self.path)),
                    remedy="put it back from where it went, or start the site anew: it makes another one",
                )
            self._mark_key = key.encode()
        return hmac.new(self._mark_key, name_key(text).encode(), hashlib.sha256).hexdigest()

    def delete(self, name: str, image_path: str | None = None, photo_digest: str | None = None) -> Deleted:
        """Remove a person, or one photo of theirs, and leave marks. `photo_digest`: for a row that does not know its own."""
        rows = [row for one in self.spellings(name) for row in self._rows_to_delete(one, image_path)]
        person_mark = self.mark(name)
        for row_id, _, reference_uuid, own_digest in rows:
            digest = own_digest or photo_digest
            self._leave_mark(reference_uuid, person_mark, self.mark(digest) if digest else None, whole=False)
            self.connection.execute("DELETE FROM embeddings WHERE id=?", (row_id,))
        if image_path is None:
            self.connection.execute("DELETE FROM deletion_marks WHERE person_mark=? AND whole_person", (person_mark,))
            self._leave_mark(None, person_mark, None, whole=True)
        return Deleted([row[0] for row in rows], [row[1] for row in rows if row[1]])

    def _rows_to_delete(self, spelling: str, image_path: str | None) -> list[tuple[int, str | None, str, str | None]]:
        return self.connection.execute(
            "SELECT e.id, e.image_path, f.uuid, f.photo_digest FROM embeddings e LEFT JOIN reference_facts f ON f.embedding_id=e.id "
            "WHERE e.person_name=? AND (? IS NULL OR e.image_path=?)",
            (spelling, image_path, image_path),
        ).fetchall()

    def spellings(self, name: str) -> list[str]:
        """`name`, and every stored one that looks the same: NFC or NFD, spaces around, invisible characters in it."""
        wanted = name_key(name)
        stored = self.connection.execute(
            "SELECT DISTINCT person_name FROM embeddings UNION SELECT DISTINCT person FROM sightings WHERE person IS NOT NULL "
            "UNION SELECT DISTINCT person_name FROM left_out"
        )
        return [
            name,
            *sorted(one for (one,) in stored if isinstance(one, str) and one != name and name_key(one) == wanted),
        ]

    def forget(self, name: str) -> Deleted:
        """Remove every row that tells of a person, however the name is spelt: references, sightings, what was left out; and leave
        marks.

        Like any deletion that has to be one for good, it is finished by `erase_remains`.
        """
        spellings = self.spellings(name)
        deleted = self.delete(name)
        sightings = sum(self.sightings.forget(one) for one in spellings)
        left_out = [
            path
            for one in spellings
            for (path,) in self.connection.execute(
                "SELECT image_path FROM left_out WHERE person_name=?", (one,)
            ).fetchall()
        ]
        self.connection.executemany("DELETE FROM left_out WHERE person_name=?", [(one,) for one in spellings])
        forget_damaged_rows(self.connection)
        paths = deleted.image_paths + [path for path in left_out if path]
        return Deleted(deleted.row_ids, paths, sightings, len(left_out))

    def is_referred_to(self, image_path: str) -> bool:
        """Whether any reference is of this photo."""
        row = self.connection.execute("SELECT 1 FROM embeddings WHERE image_path=? LIMIT 1", (image_path,)).fetchone()
        return row is not None

    def odd_image_paths(self) -> Iterator[str]:
        """Paths that are not written as we write them, `faces/PERSON/PHOTO`: of adopted rows, or made up."""
        for (path,) in self.connection.execute(
            "SELECT image_path FROM embeddings WHERE image_path NOT LIKE 'faces/%' OR image_path LIKE '%/.%' OR image_path LIKE '%//%'"
        ):
            if isinstance(path, str):
                yield path

    def _leave_mark(self, reference_uuid: str | None, person_mark: str, photo_mark: str | None, *, whole: bool) -> None:
        self.connection.execute(
            "INSERT OR REPLACE INTO deletion_marks(uuid, person_mark, photo_mark, whole_person, change_number) VALUES (?, ?, ?, ?, ?)",
            (reference_uuid or new_uuids(1)[0], person_mark, photo_mark, int(whole), self.next_change()),
        )

    def is_marked(self, name: str, photo_digest: str | None = None) -> bool:
        """Whether this person, or this photo of theirs, was deleted and not enrolled again since."""
        row = self.connection.execute(
            "SELECT 1 FROM deletion_marks WHERE person_mark=? AND (whole_person OR photo_mark=?) LIMIT 1",
            (self.mark(name), self.mark(photo_digest or "")),
        ).fetchone()
        return row is not None

    def drop_old_marks(self, now: datetime) -> int:
        """Delete marks that are older than MARKS_KEPT, or count one that is dated ahead from now on; how many were."""
        limit, ahead, today = (f"{one:%Y-%m-%d %H:%M:%S}" for one in (now - MARKS_KEPT, now + timedelta(days=1), now))
        self.connection.execute("UPDATE deletion_marks SET deleted_at=? WHERE deleted_at>?", (today, ahead))
        return self.connection.execute("DELETE FROM deletion_marks WHERE deleted_at<?", (limit,)).rowcount

    def mark_photo(self, name: str, image_path: str) -> None:
        """Have `is_photo_marked` know a deleted photo of a person by its path."""
        self._leave_mark(None, self.mark(name), self.mark(path_mark(image_path)), whole=False)

    def is_photo_marked(self, name: str, known_by: str) -> bool:
        """Whether this photo of a person was deleted and not enrolled again since."""
        row = self.connection.execute(
            "SELECT 1 FROM deletion_marks WHERE person_mark=? AND photo_mark=? LIMIT 1",
            (self.mark(name), self.mark(known_by)),
        ).fetchone()
        return row is not None

    # --- the whole file ----------------------------------------------------------------------------------------

    def backup_to(self, target: Path) -> None:
        """A consistent copy in `target`, complete alone, mode 0600, replaced in one step."""
        with unfinished_copy(target, self.path.parent / "run") as temporary:
            try:
                schema.copy_database(self.connection, temporary)
                temporary.replace(target)
            except DamagedError as fault:
                self.damage = fault
                raise
            except (sqlite3.Error, FileNotFoundError) as error:
                if isinstance(error, sqlite3.Error) and temporary.exists():
                    raise explain(error, target) from error
                raise TemporaryError(
                    "the copy was taken away while it was made: somebody was forgotten, or the site was restarted",
                    where=str(target),
                    remedy="try again",
                ) from error

    def want_remains_erased(self) -> None:
        """Note, inside a transaction, that `erase_remains` is to follow: also a process that is killed before comes to it."""
        self.set_fact(schema.ERASURE_DUE, "1")

    def remains_are_due(self) -> bool:
        return self.fact(schema.ERASURE_DUE) is not None

    @property
    def proof_is_due(self) -> bool:
        """Whether the file was left open by a process that was killed, and has not been read whole since."""
        return self.fact(_PROOF_DUE) is not None

    @proof_is_due.setter
    def proof_is_due(self, due: bool) -> None:
        if due:
            self.set_fact(_PROOF_DUE, "1")
        else:
            self.connection.execute("DELETE FROM store_facts WHERE key=?", (_PROOF_DUE,))

    def erase_remains(self) -> None:
        """Write the whole file anew: nothing of what was deleted is left in it.

        secure_delete overwrites deleted rows and pages, but not the copies of rows that SQLite left in the free middle of a page
        when it once moved them to its neighbour. Raises RollcallError; then it stays due.
        """
        try:
            write_anew(self.connection, self.path)
            self.drop_fact(schema.ERASURE_DUE)
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):  # the room that the WAL took is for others
                self.truncate_wal()
            raise self.explained(error) from error

    def truncate_wal(self, patience_s: float = _TRUNCATE_PATIENCE_S) -> bool:
        """Move everything into the database file and empty the WAL, so that erased rows are not left in it.

        False when somebody went on reading the WAL for `patience_s`: to be tried again.
        """
        self.connection.execute(f"PRAGMA busy_timeout={round(patience_s * 1000)}")
        try:
            busy = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return False
        finally:
            self.connection.execute(f"PRAGMA busy_timeout={round(BUSY_TIMEOUT_S * 1000)}")
        return not busy

    def drop_what_is_cached(self) -> None:
        """Give back what this connection keeps in memory and can hold somebody who is forgotten: pages of the file, and statements
        with the values that they were run with last."""
        for number in range(CACHED_STATEMENTS):  # each takes the place of another
            self.connection.execute(f"SELECT {number}")
        self.connection.execute("PRAGMA shrink_memory")

    def check(self) -> list[str]:
        """What is unsound in the file, one line each; empty when it is sound."""
        faults: list[str] = []
        try:
            for (line,) in self.connection.execute("PRAGMA integrity_check(20)"):
                if line != "ok":
                    faults.append(f"{self.path.name}: {line}")
            return faults + self._faults_of_content()
        except sqlite3.Error as error:  # a damaged file can't be read to its end
            return [*faults, self.explained(error).line()]

    def _faults_of_content(self) -> list[str]:
        faults = [
            f"{self.path.name}: row {row[1]} of {row[0]} refers to nothing"
            for row in self.connection.execute("PRAGMA foreign_key_check")
        ]
        for row in self.connection.execute(
            "SELECT id FROM embeddings WHERE id NOT IN (SELECT embedding_id FROM reference_facts)"
        ):
            faults.append(f"{self.path.name}: reference {row[0]} has no uuid")
        faults += [f"{self.path.name}: {what}" for what in schema.differences(self.connection)]
        unsound = [
            f"{self.path.name}: row {row_id}: {why}" for row_id, why in unsound_rows(self.connection, self.dim or 0)
        ]
        faults += unsound[:_FAULTS_AT_MOST]
        if len(unsound) > _FAULTS_AT_MOST:
            faults.append(f"{self.path.name}: and {len(unsound) - _FAULTS_AT_MOST} more unsound rows")
        if self.remains_are_due():
            faults.append(
                f"{self.path.name}: remains of a deletion are not overwritten yet: that is done at the next start of the site, "
                f"which needs {room_to_write_anew(self.connection)} bytes free for it"
            )
        if aside := damaged_rows(self.connection):
            faults.append(f"{self.path.name}: {aside_line(aside)}")
        return faults

    def close(self) -> None:
        """Close; a writable store's file is then complete alone."""
        try:
            if not self.read_only:
                self.truncate_wal(BUSY_TIMEOUT_S)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        finally:
            self.connection.close()


def _iso(timestamp: str | None) -> str | None:
    """SQLite's CURRENT_TIMESTAMP as ISO 8601 in UTC."""
    return None if timestamp is None else timestamp.replace(" ", "T") + ("" if timestamp.endswith("Z") else "Z")
