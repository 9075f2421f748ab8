"""The site's own backup: a copy of the database beside it, made in the background, at most a day old.

A thread copies through a read-only connection, so that the writer's loop goes on; the loop itself puts the finished copy in
place, and throws it away when somebody was forgotten meanwhile.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from shared import schema
from shared.errors import RollcallError
from shared.store import Store
from shared.store_opening import backup_path, open_read_only

_EVERY_S = 24 * 3600.0
_FIRST_AFTER_S = 60.0
_AT_STOP_BYTES = 256 << 20  # a larger file would hold up the stop; its backup is at most a day old anyway


class BackupKeeper:
    """Keeps the backup of one database; `turn` is called from the writer's loop."""

    def __init__(self, db_path: Path) -> None:
        self._db_path, self._target = db_path, backup_path(db_path)
        self._fresh = self._target.with_name(self._target.name + ".new")
        self._thread: threading.Thread | None = None
        self._error: str | None = None
        self._erasures = 0
        self._due_at: float | None = None

    def turn(self, now: float, store: Store, erasures: int) -> None:
        """Start a backup when one is due and anything changed; put a finished one in place."""
        if self._thread is not None:
            if not self._thread.is_alive():
                self._settle(now, erasures)
            return
        if self._due_at is None:
            self._due_at = now + _FIRST_AFTER_S
        if now >= self._due_at:
            self._due_at = now + _EVERY_S
            if self._is_behind(store):
                self._erasures = erasures
                self._thread = threading.Thread(target=self._copy, name="backup", daemon=True)
                self._thread.start()

    def finish(self, store: Store) -> None:
        """At a clean stop: a last backup, when the file is small enough not to hold the stop up."""
        if self._thread is None and self._db_path.stat().st_size <= _AT_STOP_BYTES and self._is_behind(store):
            store.backup_to(self._target)

    def _settle(self, now: float, erasures: int) -> None:
        self._thread = None
        if self._error is None and erasures == self._erasures:
            self._fresh.replace(self._target)
            return
        self._fresh.unlink(missing_ok=True)
        self._due_at = now + _FIRST_AFTER_S

    def _is_behind(self, store: Store) -> bool:
        if not self._target.exists():
            return store.count() > 0
        try:
            backup = open_read_only(self._target)
        except RollcallError:
            return True
        try:
            return backup.change_number != store.change_number
        finally:
            backup.close()

    def _copy(self) -> None:
        self._error = None
        try:
            self._fresh.unlink(missing_ok=True)
            source = open_read_only(self._db_path)
            try:
                schema.copy_database(source.connection, self._fresh)
            finally:
                source.close()
        except (OSError, sqlite3.Error, RollcallError) as error:
            self._error = str(error)
