"""The site's lock. Only the process that holds it may write the site's database."""

from __future__ import annotations

from pathlib import Path

from shared.errors import (
    RollcallError,
    Say,
    TemporaryError,
)
from shared.files.folder_lock import FolderLock, LockedError


class GalleryInUseError(TemporaryError):
    """Another process holds the site's lock."""


class SiteLock:
    """The site's file lock. The kernel releases it when the process that holds it dies."""

    def __init__(self, db_path: Path) -> None:
        self._lock = FolderLock(db_path.with_name(db_path.name + ".lock"))

    def acquire(self, timeout_s: float) -> None:
        """Take the lock. Raises GalleryInUseError if another process still holds it after `timeout_s`."""
        try:
            self._lock.acquire(timeout_s)
        except LockedError as error:
            raise GalleryInUseError(
                "another process is writing this gallery",
                where=error.where,
                expected="one site on one data_dir",
                remedy="stop the other one, or give this one its own [site] data_dir",
            ) from error

    def watch(self, say: Say) -> None:
        """Make the lock file anew if it was removed, and report that with `say`."""
        if self._lock.is_lost():
            try:
                self._lock.mend()
            except RollcallError as error:
                say(f"THE LOCK FILE WAS REMOVED, and can't be made anew: {error.line()}")
            else:
                say(f"THE LOCK FILE WAS REMOVED by somebody else and is made anew: {self._lock.path}")

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()
