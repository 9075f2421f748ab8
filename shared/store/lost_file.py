"""Notices that the file of an open database was removed, and writes it anew. What the process has open is still complete."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from shared.errors import TemporaryError, disk_fault
from shared.files.durable_folder import NO_LINKS, sync_folder
from shared.files.identity import identity
from shared.process.work_progress import beat, prove_progress
from shared.store import schema
from shared.store.copying import half_made
from shared.store.store import Store, explain


class DatabaseFile:
    """The file of an open store, and its WAL, to notice if they are removed."""

    def __init__(self, store: Store) -> None:
        self._store, self._path = store, store.path
        self._wal_path = store.path.with_name(store.path.name + "-wal")
        self._file, self._wal = identity(self._path), identity(self._wal_path)

    def is_lost(self) -> bool:
        """Whether the store's file was removed or replaced. If this process ends then, all that is committed is lost."""
        return identity(self._path) != self._file

    def has_lost_wal(self) -> bool:
        """Whether the WAL was removed or replaced. If this process is killed then, the last changes are lost."""
        return self._wal is not None and identity(self._wal_path) != self._wal

    def empty_wal(self) -> None:
        """Move all that is committed into the database file; then the store must be opened again.

        Raises TemporaryError if another process reads the WAL; then nothing is lost.
        """
        try:
            done = self._store.truncate_wal()
        except sqlite3.Error as error:
            raise explain(error, self._path) from error
        if not done:
            raise TemporaryError(
                "another process is reading the WAL", where=str(self._wal_path), remedy="tried again by itself"
            )

    def write_anew(self) -> None:
        """Write the open database to its old path; then the store must be opened again. Raises TemporaryError, with nothing done."""
        if identity(self._path) is not None:
            raise TemporaryError(
                "another file is in the place of the database",
                where=str(self._path),
                remedy="to keep the old database, move the new file away, and the old one is written back; to use the new file, restart the site",
            )
        half = half_made(self._path)
        try:
            half.touch(mode=0o600)
            copy = sqlite3.connect(half, isolation_level=None)
            prove_progress(copy)
            try:
                self._store.connection.backup(copy, pages=256, progress=lambda *_: beat())
                copy.execute("PRAGMA journal_mode=DELETE")
            finally:
                copy.close()
            for part in schema.PARTS[1:]:  # the WAL and the others of the removed file
                self._path.with_name(self._path.name + part).unlink(missing_ok=True)
            self._put_in_place(half)
            sync_folder(self._path.parent)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error
        except OSError as error:
            raise disk_fault(error, self._path) from error

    def _put_in_place(self, half: Path) -> None:
        """Give the file its name. If the file system has hard links, this never overwrites a file that appears there at this moment."""
        try:
            os.link(half, self._path)
        except OSError as error:
            if error.errno not in NO_LINKS or identity(self._path) is not None:
                raise
            half.replace(self._path)
        else:
            half.unlink()
