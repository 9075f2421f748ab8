"""A database whose file was removed under the process that has it open: what is open is whole, and is written anew."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from shared.errors import TemporaryError, disk_fault
from shared.files.durable_folder import NO_LINKS, sync_folder
from shared.files.folder_lock import identity
from shared.process.work_progress import beat, prove_progress
from shared.store import schema
from shared.store.copying import half_made
from shared.store.store import Store, explain


class DatabaseFile:
    """Which file an open store is in, so that its removal is noticed."""

    def __init__(self, store: Store) -> None:
        self._store, self._path = store, store.path
        self._wal_path = store.path.with_name(store.path.name + "-wal")
        self._file, self._wal = identity(self._path), identity(self._wal_path)

    def is_lost(self) -> bool:
        """Whether there is no file, or another one, where the store's was: what is committed is lost with this process."""
        return identity(self._path) != self._file

    def has_lost_wal(self) -> bool:
        """Whether the last changes lie in a file that has no name any more: a kill would lose them."""
        return self._wal is not None and identity(self._wal_path) != self._wal

    def empty_wal(self) -> None:
        """Have all that is committed in the database itself; then it must be opened again. Raises TemporaryError, nothing lost then."""
        try:
            done = self._store.truncate_wal()
        except sqlite3.Error as error:
            raise explain(error, self._path) from error
        if not done:
            raise TemporaryError(
                "somebody is reading the WAL", where=str(self._wal_path), remedy="tried again by itself"
            )

    def write_anew(self) -> None:
        """Write what is open to where it was; then the store must be opened again. Raises TemporaryError, nothing done then."""
        if identity(self._path) is not None:
            raise TemporaryError(
                "another file lies in place of the database",
                where=str(self._path),
                remedy="to go on with what was there, move it away: what is open is then written back; to use it, restart the site",
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
            for part in schema.PARTS[1:]:  # those of the file that is gone
                self._path.with_name(self._path.name + part).unlink(missing_ok=True)
            self._put_in_place(half)
            sync_folder(self._path.parent)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error
        except OSError as error:
            raise disk_fault(error, self._path) from error

    def _put_in_place(self, half: Path) -> None:
        """Not over a file that somebody puts there in this moment, where the file system has links."""
        try:
            os.link(half, self._path)
        except OSError as error:
            if error.errno not in NO_LINKS or identity(self._path) is not None:
                raise
            half.replace(self._path)
        else:
            half.unlink()
