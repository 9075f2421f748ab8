"""Opening the store: what may be wrong with the file is found, said, and never made worse.

Only the holder of the site's lock opens it for writing. A damaged file is set aside under a new name and the site runs from
its own backup, or from photos; it is never overwritten.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from shared import schema
from shared.errors import ConfigurationError, TemporaryError
from shared.store import _MMAP_BYTES, BUSY_TIMEOUT_S, Store, explain

_SQLITE_MAGIC = b"SQLite format 3\0"
_QUICK_CHECK_BYTES = (
    256 << 20
)  # beyond this the check costs seconds, and loading every row finds most of the same faults

Say = Callable[[str], None]


def backup_path(db_path: Path) -> Path:
    """Where the writer keeps the site's own backup."""
    return db_path.with_name(db_path.stem + ".backup.db")


def make_private_folder(folder: Path) -> None:
    """Create `folder` with mode 0700, and tighten it when it is ours and open to others."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(
            "the data folder can't be used",
            where=str(folder),
            got=error.strerror or str(error),
            expected="a writable folder",
            remedy="check the mount (read-only?), its free space and its owner, or set another [site] data_dir",
        ) from error


class SiteLock:
    """The lock that its holder writes under, for as long as it lives. The kernel frees it when the process dies."""

    def __init__(self, db_path: Path) -> None:
        self.path = db_path.with_name(db_path.name + ".lock")
        self._lock = FileLock(self.path, mode=0o600, fallback_to_soft=False, thread_local=False)

    def acquire(self, timeout_s: float) -> None:
        """Raises TemporaryError when another process holds it past `timeout_s`."""
        try:
            self._lock.acquire(timeout=timeout_s)
        except Timeout as error:
            raise TemporaryError(
                "another process is writing this gallery",
                where=str(self.path),
                expected="one site on one data_dir",
                remedy="stop the other one, or give this one its own [site] data_dir",
            ) from error
        except OSError as error:
            raise ConfigurationError(
                "the lock file can't be written",
                where=str(self.path),
                got=error.strerror or str(error),
                remedy="check the mount (read-only?), free space and the owner of data_dir",
            ) from error

    def release(self) -> None:
        self._lock.release()


def open_read_only(db_path: Path) -> Store:
    """A read-only store beside a writer. Raises ConfigurationError when there is none or it is unfit."""
    try:
        connection = sqlite3.connect(
            f"{db_path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
        )
        connection.execute("PRAGMA query_only=ON")
        if schema.version(connection, db_path) != schema.SCHEMA_VERSION:
            connection.close()
            raise ConfigurationError(
                "the database needs a migration first", where=str(db_path), remedy="start the site once"
            )
    except sqlite3.Error as error:
        raise explain(error, db_path) from error
    return Store(connection, db_path, read_only=True)


def open_store(db_path: Path, say: Say) -> Store:
    """The store for writing, created, migrated or adopted as needed; the caller holds the SiteLock.

    `say` gets what the operator should know, one line each. Raises ConfigurationError or TemporaryError.
    """
    make_private_folder(db_path.parent)
    damage = _damage(db_path)
    if damage:
        _set_aside(db_path, damage, say)
        _restore_backup(db_path, say)
    try:
        connection = _connect(db_path)
        found = schema.tables(connection)
        if not found:
            schema.create(connection)
        elif schema.needs_migration(connection, db_path):
            for note in schema.migrate(connection, db_path):
                say(note)
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        raise explain(error, db_path) from error
    db_path.chmod(0o600)
    return Store(connection, db_path, read_only=False)


def _connect(db_path: Path) -> sqlite3.Connection:
    if not db_path.exists():
        db_path.touch(mode=0o600)
    connection = sqlite3.connect(
        db_path.absolute().as_uri(), uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", f"mmap_size={_MMAP_BYTES}"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def damage_of(db_path: Path) -> str | None:
    """What makes the file unusable, or None; for `check`. Opens it read-only."""
    return _damage(db_path)


def _damage(db_path: Path) -> str | None:
    """What makes an existing file unusable as a database; no connection of this process is open to it yet."""
    if not db_path.exists():
        return None
    try:
        with db_path.open("rb") as file:
            magic = file.read(len(_SQLITE_MAGIC))
    except OSError as error:
        raise ConfigurationError(
            "the database can't be read",
            where=str(db_path),
            got=error.strerror or str(error),
            remedy="check its owner and mode",
        ) from error
    if not magic:
        return "it is empty (0 bytes)"
    if magic != _SQLITE_MAGIC:
        return "it is not a SQLite database"
    try:
        connection = sqlite3.connect(f"{db_path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
        try:
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            if db_path.stat().st_size <= _QUICK_CHECK_BYTES:
                first = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                return None if first == "ok" else str(first)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return str(error)
        raise explain(error, db_path) from error
    return None


def _set_aside(db_path: Path, damage: str, say: Say) -> None:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    aside = db_path.with_name(f"{db_path.name}.damaged-{stamp}")
    for suffix in ("", "-wal", "-shm"):
        part = db_path.with_name(db_path.name + suffix)
        if part.exists():
            part.rename(db_path.with_name(aside.name + suffix))
    say(f"DATABASE DAMAGED: {db_path}: {damage}; set aside as {aside.name}, nothing was overwritten")


def _restore_backup(db_path: Path, say: Say) -> None:
    backup = backup_path(db_path)
    if not backup.exists() or _damage(backup):
        say("RUNNING WITHOUT THE OLD DATABASE: no usable backup; the gallery is made anew from the photos in faces/")
        return
    source = sqlite3.connect(f"{backup.absolute().as_uri()}?mode=ro", uri=True)
    try:
        schema.copy_database(source, db_path)
    finally:
        source.close()
    taken = datetime.fromtimestamp(backup.stat().st_mtime, UTC)
    say(f"RUNNING FROM BACKUP: {backup.name} of {taken:%Y-%m-%d %H:%M} UTC; what was enrolled since is missing")
