"""A lock on a folder, held until it is released or the process dies; then the kernel releases it.

It consists of two locks: a lock file, and a lock on the folder itself. If somebody removes the lock file, another process can make and
lock a new one; but the folder stays, and its lock with it. Where no file can be made (a full or read-only disk), the folder's lock is
enough.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from shared.errors import TemporaryError, disk_fault

_TRY_AGAIN_S = 0.05
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class LockedError(TemporaryError):
    """Another process holds the lock."""


class FolderLock:
    """The lock of one folder, under the name of one lock file in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = self._new_file()
        self._folder: int | None = None

    def _new_file(self) -> FileLock:
        return FileLock(self.path, mode=0o600, fallback_to_soft=False, thread_local=False)

    def acquire(self, timeout_s: float) -> None:
        """Take the lock. Raises LockedError if another process still holds it after `timeout_s`; the RollcallError of `disk_fault` if
        the folder can't be used."""
        deadline = time.monotonic() + timeout_s
        try:
            self._file.acquire(timeout=timeout_s)
        except Timeout as error:
            raise LockedError("locked", where=str(self.path)) from error
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise disk_fault(error, self.path) from error
        try:
            self._lock_folder(deadline)
        except BaseException:
            self._file.release()
            raise

    def _lock_folder(self, deadline: float) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._folder = descriptor
                return
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    raise LockedError("locked", where=str(self.path.parent)) from error
                time.sleep(_TRY_AGAIN_S)  # flock has no deadline, and no event marks the moment when it is let go
            except OSError:  # a network file system that can't lock folders: the lock file has to do
                os.close(descriptor)
                return

    def is_lost(self) -> bool:
        """Whether the lock file was removed, so that another process could make and lock a new one."""
        return self._file.is_locked and not self.path.exists()

    def mend(self) -> None:
        """Make the lock file anew. Raises LockedError if another process was faster, or the RollcallError of `disk_fault`."""
        fresh = self._new_file()
        try:
            fresh.acquire(timeout=0)
        except Timeout as error:
            raise LockedError("locked", where=str(self.path)) from error
        except OSError as error:
            raise disk_fault(error, self.path) from error
        old, self._file = self._file, fresh
        with contextlib.suppress(OSError):
            old.release(force=True)

    def close(self) -> None:
        """As `release`."""
        self.release()

    def release(self) -> None:
        """Release the lock. Does nothing if it is not held."""
        self._file.release()
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None
