"""The SQLite store: a connection to the site's database, with its facts and transactions.

There is one writable connection, under the site's lock; others are read-only. Every change of rows happens inside `transaction`. The
store does not publish, does not lock and uses no socket. Other modules of this folder work on a store, a subject each: saving,
sightings, staging, restoring and more.
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
from shared.store.change_times import note_time
from shared.store.connection import BUSY_TIMEOUT_S, CACHED_STATEMENTS
from shared.store.rewriting import write_anew
from shared.store.sightings import Sightings

_TRUNCATE_PATIENCE_S = 1.0  # the writer must not miss its heartbeat while it waits for a reader of the WAL
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
    """The RollcallError for an error of SQLite's, with a remedy. `path`: of the database."""
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
    """An open gallery database of the current schema. store/opening.py makes one."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
        self.connection, self.path, self.read_only = connection, path, read_only
        self.sightings = Sightings(connection)
        self._change_number = 0
        self._mark_key: bytes | None = None
        self.sync_key: bytes | None = None  # [sync] key_file: with it a tombstone knows a person at every site
        self.damage: DamagedError | None = None  # the last damage found; the writer handles it and resets this

    def explained(self, error: sqlite3.Error) -> RollcallError:
        """As `explain`, for this store. If the error means that the file is damaged, `damage` is set."""
        fault = explain(error, self.path)
        if isinstance(fault, DamagedError):
            self.damage = fault
        return fault

    # --- facts -------------------------------------------------------------------------------------------------

    def fact(self, key: str) -> str | None:
        """A value of the store_facts table; None if there is none."""
        row = self.connection.execute("SELECT value FROM store_facts WHERE key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, key: str, value: str) -> None:
        """Set a value of the store_facts table."""
        self.connection.execute(
            "INSERT INTO store_facts VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", (key, value)
        )

    def drop_fact(self, key: str) -> None:
        """Delete a value of the store_facts table."""
        self.connection.execute("DELETE FROM store_facts WHERE key=?", (key,))

    @property
    def dim(self) -> int | None:
        """The length of every embedding; None while nothing has been saved."""
        found = self.fact("dim")
        return None if found is None else int(found)

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the model that made the embeddings; None while they are not stamped."""
        return self.fact("fingerprint")

    @property
    def model(self) -> str | None:
        """The model's engine and name, like `insightface/buffalo_l`; None while the embeddings are not stamped."""
        return self.fact("model")

    @property
    def model_id(self) -> ModelId | None:
        """The model that made the embeddings; None while they are not stamped."""
        model, fingerprint, dim = self.model, self.fingerprint, self.dim
        return ModelId.parse(model, fingerprint, dim) if model and fingerprint and dim else None

    @property
    def change_number(self) -> int:
        """The highest change number given out so far. Every change of a reference gets one, and they only rise."""
        return int(self.fact("change_number") or 0)

    def stamp(self, model: ModelId) -> None:
        """Note which model made the embeddings. The cosine at which two faces are alike was the former model's."""
        if self.fingerprint != model.fingerprint:
            self.drop_fact("alike")
        for key, value in (("model", model.label), ("fingerprint", model.fingerprint), ("dim", str(model.dim))):
            self.set_fact(key, value)

    # --- transactions ------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE … COMMIT, rolled back on any error. Raises RollcallError for SQLite's errors."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            before = self._change_number = self.change_number
            yield
            if self._change_number != before:
                self.set_fact("change_number", str(self._change_number))
                note_time(self.connection, self._change_number)
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise self.explained(error) from error
        except BaseException:
            self._roll_back()
            raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """One request inside the transaction of a group: an error undoes only this request."""
        self.connection.execute("SAVEPOINT request")
        change_number = self._change_number
        try:
            yield
        except BaseException:
            self._change_number = change_number
            if self.connection.in_transaction:  # on a full disk SQLite may have rolled back the whole transaction
                self.connection.execute("ROLLBACK TO request")
                self.connection.execute("RELEASE request")
            raise
        self.connection.execute("RELEASE request")

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def next_change(self, count: int = 1) -> int:
        """Take `count` change numbers, inside a transaction. Returns the first of them."""
        self._change_number += count
        return self._change_number - count + 1

    @property
    def change_now(self) -> int:
        """The highest change number given out so far, also by the transaction that is open."""
        return max(self._change_number, self.change_number)

    def change_at_least(self, number: int) -> None:
        """Make all further change numbers higher than `number`, which another copy of this gallery has given out."""
        self._change_number = max(self._change_number, number)

    # --- the whole file ----------------------------------------------------------------------------------------

    def want_remains_erased(self) -> None:
        """Note, inside a transaction, that `erase_remains` has to follow. If the process is killed before, the next start does it."""
        self.set_fact(schema.ERASURE_DUE, "1")

    def remains_are_due(self) -> bool:
        """Whether `erase_remains` has to be done."""
        return self.fact(schema.ERASURE_DUE) is not None

    @property
    def proof_is_due(self) -> bool:
        """Whether a killed process left the file open, and the file has not been checked whole since."""
        return self.fact(_PROOF_DUE) is not None

    @proof_is_due.setter
    def proof_is_due(self, due: bool) -> None:
        if due:
            self.set_fact(_PROOF_DUE, "1")
        else:
            self.connection.execute("DELETE FROM store_facts WHERE key=?", (_PROOF_DUE,))

    def erase_remains(self) -> None:
        """Write the whole file anew, so that nothing of deleted rows is left in it. Raises RollcallError; then it stays due.

        `secure_delete` is not enough. It overwrites deleted rows and pages, but not old copies of rows: SQLite leaves these in the free
        middle of a page when it moves rows to a neighbouring page.
        """
        try:
            write_anew(self.connection, self.path)
            self.drop_fact(schema.ERASURE_DUE)
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):  # give back the room that the WAL took
                self.truncate_wal()
            raise self.explained(error) from error

    def truncate_wal(self, patience_s: float = _TRUNCATE_PATIENCE_S) -> bool:
        """Move everything from the WAL into the database file and empty the WAL, so that erased rows are not left in it.

        Returns False if another process kept reading the WAL for `patience_s`; then try again later. Raises sqlite3.Error.
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
        """Drop what this connection keeps in memory, because it can contain a forgotten person: pages of the file, and statements with
        the values of their last run."""
        for number in range(CACHED_STATEMENTS):  # each new statement replaces one that is kept
            self.connection.execute(f"SELECT {number}")
        self.connection.execute("PRAGMA shrink_memory")

    def close(self) -> None:
        """Close the connection. A writable store's file is then complete without a WAL. Raises RollcallError."""
        try:
            if not self.read_only:
                self.truncate_wal(BUSY_TIMEOUT_S)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        finally:
            self.connection.close()
