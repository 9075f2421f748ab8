"""The SQLite store: one writable connection under the site's lock, or a read-only one beside it.

Everything that changes rows happens inside `transaction`; nothing here publishes, locks or talks to a socket. What belongs
together beyond that lies in modules of its own beside this one: saving, sightings, staging, restoring and others.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import (
    ConfigurationError,
    DamagedError,
    RollcallError,
    TemporaryError,
    damage_fault,
    read_only_fault,
)
from shared.files.run_folder import is_read_only
from shared.model_id import ModelId
from shared.store import schema
from shared.store.connection import BUSY_TIMEOUT_S, CACHED_STATEMENTS
from shared.store.rewriting import write_anew
from shared.store.sightings import Sightings

_TRUNCATE_PATIENCE_S = 1.0  # the writer's heartbeat must not wait for a reader of the WAL
_PROOF_DUE = "proof_due"


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
    def model_id(self) -> ModelId | None:
        """None: the embeddings are not stamped yet."""
        model, fingerprint, dim = self.model, self.fingerprint, self.dim
        return ModelId.parse(model, fingerprint, dim) if model and fingerprint and dim else None

    @property
    def change_number(self) -> int:
        return int(self.fact("change_number") or 0)

    def stamp(self, model: ModelId) -> None:
        """Say which model the embeddings are of."""
        for key, value in (("model", model.label), ("fingerprint", model.fingerprint), ("dim", str(model.dim))):
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

    # --- deletions ---------------------------------------------------------------------------------------------

    # --- the whole file ----------------------------------------------------------------------------------------

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

    def close(self) -> None:
        """Close; a writable store's file is then complete alone."""
        try:
            if not self.read_only:
                self.truncate_wal(BUSY_TIMEOUT_S)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        finally:
            self.connection.close()
