"""The site's own backup: a copy of the database beside it. It is made in the background and is at most a day old.

A thread copies through a read-only connection, so that the writer's loop goes on. The loop itself puts the finished copy in place. If
somebody is forgotten while a copy is made, the copy is stopped and removed.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from pathlib import Path

from shared.errors import DamagedError, RollcallError, disk_fault
from shared.store.copying import copy_database, copy_to
from shared.store.opening import backup_path, open_read_only
from shared.store.references import count_references
from shared.store.store import Store, explain

_EVERY_S = 24 * 3600.0
_FIRST_AFTER_S = 60.0
_AT_STOP_BYTES = 256 << 20  # copying a larger file would delay the stop; its backup is at most a day old anyway
_GIVE_UP_S = 10.0  # a step of a copy takes milliseconds; a disk that hangs must not delay the stop for longer

_log = logging.getLogger("backup")


class BackupKeeper:
    """Keeps the backup of one database. The writer's loop calls `turn`."""

    def __init__(self, db_path: Path) -> None:
        self._db_path, self._target = db_path, backup_path(db_path)
        self._fresh = self._target.with_name(self._target.name + ".new")
        # A copy that a killed writer left: a forgotten person may be in it. On a read-only disk it stays until the next start.
        with contextlib.suppress(OSError):
            self._fresh.unlink(missing_ok=True)
        self._thread: threading.Thread | None = None
        self._wanted = threading.Event()
        self._error: RollcallError | None = None
        self._erasures = 0
        self._due_at: float | None = None

    def turn(self, now: float, store: Store, erasures: int) -> None:
        """Start a backup if one is due and something has changed; put a finished one in place.

        `now`: time.monotonic(). `erasures`: how often somebody was forgotten; if it rises, the running copy is stopped.
        """
        if self._thread is not None:
            if erasures != self._erasures:
                self._wanted.clear()
            if not self._thread.is_alive():
                self._settle(now, store)
            return
        if self._due_at is None:
            self._due_at = now + _FIRST_AFTER_S
        if now >= self._due_at:
            self._due_at = now + _EVERY_S
            if self._is_behind(store, with_sightings=True):
                self._erasures = erasures
                self._wanted.set()
                self._thread = threading.Thread(target=self._copy, name="backup", daemon=True)
                self._thread.start()

    def finish(self, store: Store) -> None:
        """At a clean stop: stop a running copy, so that it no longer reads the WAL. Then make a last backup if the file is small enough
        not to delay the stop."""
        if self._thread is not None:
            self._wanted.clear()
            self._thread.join(_GIVE_UP_S)
            self._thread = None
            self._fresh.unlink(missing_ok=True)
        if self._db_path.stat().st_size <= _AT_STOP_BYTES and self._is_behind(store):
            copy_to(store, self._target)

    def _settle(self, now: float, store: Store) -> None:
        self._thread = None
        if self._error is None and self._wanted.is_set():
            self._fresh.replace(self._target)
            return
        if self._error is not None:
            _log.warning("%s could not be made and is tried again: %s", self._target.name, self._error.line())
            if isinstance(self._error, DamagedError):
                store.damage = self._error
        self._fresh.unlink(missing_ok=True)
        self._due_at = now + _FIRST_AFTER_S

    def _is_behind(self, store: Store, *, with_sightings: bool = False) -> bool:
        if not self._target.exists():
            return count_references(store) > 0
        try:
            backup = open_read_only(self._target)
        except RollcallError:
            return True
        try:
            if with_sightings and backup.sightings.last_id() != store.sightings.last_id():
                return True
            if 0 < backup.sightings.first_id() != store.sightings.first_id():
                return True  # it holds sightings that are kept no longer
            return backup.change_number != store.change_number
        finally:
            backup.close()

    def _copy(self) -> None:
        self._error = None
        try:
            self._fresh.unlink(missing_ok=True)
            source = open_read_only(self._db_path)
            try:
                copy_database(source.connection, self._fresh, self._wanted.is_set)
            finally:
                source.close()
        except (OSError, sqlite3.Error, RollcallError) as error:
            self._error = _fault(error, self._db_path)


def _fault(error: OSError | sqlite3.Error | RollcallError, path: Path) -> RollcallError:
    if isinstance(error, RollcallError):
        return error
    return explain(error, path) if isinstance(error, sqlite3.Error) else disk_fault(error, path)
