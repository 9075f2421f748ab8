"""Opens the store: finds and reports what is wrong with the database, and never makes it worse.

Only the holder of the site's lock opens it for writing. A damaged file is never overwritten: it is set aside under a new name, and the
site runs from its own backup, or from the photos. Only SQLite reads the file here. If we opened and closed it ourselves, the close would
release the locks that a connection of this process holds on it (POSIX).
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

from shared.errors import (
    ConfigurationError,
    ReadOnlyError,
    RollcallError,
    Say,
    TemporaryError,
    disk_fault,
    read_only_fault,
)
from shared.files.durable_folder import sync_folder
from shared.files.mark_key import key_id, key_path, new_key, read_key, write_key
from shared.files.private_folder import make_private_folder
from shared.files.run_folder import is_read_only
from shared.store import schema
from shared.store.connection import TimeLimit, connect, connect_read_only
from shared.store.copying import copy_database, half_made, owes_erasing
from shared.store.migration import key_within, migrate, require_room_to_migrate
from shared.store.schema import PARTS
from shared.store.sightings import Sightings
from shared.store.store import Store, explain

# After damage, ids go on above what can have been given out (`_continue_ids`): no site has so many sightings a second, or meets 8,640
# strangers a day, year after year.
_IDS_PER_S = 1000
_STRANGERS_SINCE_S, _S_PER_STRANGER = 1767225600, 10  # the beginning of 2026, in seconds since 1970


# The state of each file when this process last closed it. A file in that same state need not be checked again.
_left_sound: dict[Path, tuple[int, int, int]] = {}


def backup_path(db_path: Path) -> Path:
    """The path of the site's own backup."""
    return db_path.with_name(db_path.stem + ".backup.db")


def open_read_only(db_path: Path, *, unwritten: bool = False) -> Store:
    """Open a store for reading, beside a writer. Raises RollcallError if there is no database, or one that can't be used.

    `unwritten`: no process writes it. On a full disk nothing can be written, and there is no room for the files that readers and a
    writer share.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = connect_read_only(db_path, _unwritten_mode(db_path) if unwritten else "ro")
        connection.execute("PRAGMA query_only=ON")
        if schema.version(connection, db_path) != schema.SCHEMA_VERSION:
            raise ConfigurationError(
                "the database needs a migration first", where=str(db_path), remedy="start the site once"
            )
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise explain(error, db_path) from error
        raise
    return Store(connection, db_path, read_only=True)


def open_store(db_path: Path, say: Say) -> Store:
    """Open the store for writing. It is created, migrated or adopted as needed. The caller holds the SiteLock.

    `say` gets what the operator should know, one line each. Raises ConfigurationError or TemporaryError.
    """
    make_private_folder(db_path.parent)
    if is_read_only(db_path.parent):
        raise read_only_fault(db_path.parent)
    connection: sqlite3.Connection | None = None
    try:
        was_left_open = any(db_path.with_name(db_path.name + part).exists() for part in PARTS[1:])
        damage = None if _is_as_left(db_path) else _damage(db_path, "rw")
        if damage:
            _set_aside(db_path, damage, say)
            _restore_backup(db_path, say)
        if not db_path.exists():
            _create(db_path, after_damage=bool(damage))
        db_path.chmod(0o600)
        if _holds_nothing(db_path):
            _create(db_path, after_damage=False)
        for note in migrate(db_path):
            say(note)
        connection = connect(db_path)
        connection.execute("PRAGMA journal_mode=WAL")
        store = Store(connection, db_path, read_only=False)
        if was_left_open and not damage:
            with contextlib.suppress(sqlite3.Error):  # the site can run on a full disk
                store.proof_is_due = True
        _settle_mark_key(store, say)
        _finish_erasing(store, say)
        _finish_erasing_backup(backup_path(db_path), say)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise explain(error, db_path) from error
        if isinstance(error, OSError):
            raise disk_fault(error, db_path) from error
        raise
    return store


def open_store_or_read_only(db_path: Path, say: Say) -> tuple[Store, TemporaryError | None]:
    """As `open_store`. But on a full or read-only disk, open the store for reading only, and return also why it can't be written.

    SQLite needs room on the disk even to read beside a writer. Here no process writes, because the caller holds the lock, so it can read
    without. Raises as `open_store` if the file can't be used as it is: there is none, it is damaged, or it needs a migration.
    """
    try:
        return open_store(db_path, say), None
    except TemporaryError as error:
        connection: sqlite3.Connection | None = None
        mode = _unwritten_mode(db_path)
        try:
            if not db_path.exists():
                raise
            if damage := _damage(db_path, mode):
                say(
                    f"DATABASE DAMAGED: {db_path}: {damage}; once the disk can be written, it is set aside and replaced by its backup"
                )
                raise
            connection = connect_read_only(db_path, mode)
            if (found := schema.version(connection, db_path)) != schema.SCHEMA_VERSION:
                if not isinstance(error, ReadOnlyError):
                    require_room_to_migrate(db_path, found)
                raise
        except (sqlite3.Error, RollcallError, OSError) as fault:
            if connection is not None:
                connection.close()
            raise (fault if isinstance(fault, TemporaryError) else error) from None
        say(f"NOTHING CAN BE STORED: {error.line()}; what is enrolled stays in use, and the site tries again")
        wal = db_path.with_name(db_path.name + "-wal")
        if mode != "ro" and wal.exists() and wal.stat().st_size:
            say(
                f"{wal.name} holds {wal.stat().st_size} bytes of the last changes, which are read once the disk can be written"
            )
        return Store(connection, db_path, read_only=True), error


def _unwritten_mode(db_path: Path) -> str:
    """The mode for a database that no process writes and that can't be written.

    A killed writer can have left changes in the WAL. They are read, too, if SQLite needs to write nothing for that. This is so on a
    read-only disk with a -shm file beside the database; SQLite then does not trust that file's content.
    """
    wal, shared_memory = (db_path.with_name(db_path.name + part) for part in ("-wal", "-shm"))
    has_changes = wal.exists() and wal.stat().st_size > 0 and shared_memory.exists()
    return "ro" if has_changes and is_read_only(db_path.parent) else "ro&immutable=1"


def _holds_nothing(db_path: Path) -> bool:
    """Whether the database has no table yet."""
    connection = connect(db_path)
    try:
        return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    finally:
        connection.close()


def _settle_mark_key(store: Store, say: Say) -> None:
    """Make sure that there is the key of the deletion marks. Marks made with a key that is lost are useless and are dropped."""
    key, known = read_key(store.path), store.fact("mark_key_id")
    if key is not None and key_id(key) == known:
        return
    if key is None:
        key = new_key()
        # The file comes before the fact in the database. If the process is killed in between, the next start does this again.
        write_key(store.path, key)
    with store.transaction():
        lost = store.connection.execute("DELETE FROM deletion_marks").rowcount
        store.set_fact("mark_key_id", key_id(key))
    if lost:
        say(
            f"DELETIONS CAN'T BE REMEMBERED: {key_path(store.path)} is missing or was replaced; {lost} marks of people and photos that "
            "were deleted can't be read without it and were dropped; an old folder or a backup could bring these people back"
        )


def _finish_erasing(store: Store, say: Say) -> None:
    """Overwrite the remains of deletions, if that is due: a process was killed before it, or the file was too large to do it while the
    site runs."""
    if not store.remains_are_due():
        return
    try:
        store.erase_remains()
        store.truncate_wal()  # the WAL is now as large as the file
    except RollcallError as error:  # the site can run on a full disk
        say(f"remains of a deletion are not overwritten yet: {error.line()}")
    except sqlite3.Error as error:
        say(explain(error, store.path).line())


def _finish_erasing_backup(backup: Path, say: Say) -> None:
    """As `_finish_erasing`, for the site's own backup. A backup that can't be read stays; the next backup replaces it."""
    with contextlib.suppress(sqlite3.Error, RollcallError):
        if not backup.exists() or not _owes_erasing(backup):
            return
        store = Store(connect(backup), backup, read_only=False)
        try:
            _finish_erasing(store, say)
        finally:
            store.close()


def _owes_erasing(path: Path) -> bool:
    connection = connect_read_only(path)
    try:
        return owes_erasing(connection)
    finally:
        connection.close()


def close_store(store: Store) -> None:
    """Close a store. For a writable one, remember that its file was sound, so that opening it again soon needs no check."""
    store.close()
    if store.read_only:
        return
    _left_sound[store.path] = _signature(store.path)


def _create(db_path: Path, *, after_damage: bool) -> None:
    """Make a new database beside the path and put it in place when it is complete, so that a killed process leaves no half database."""
    half = half_made(db_path)
    half.touch(mode=0o600)
    connection = connect(half)
    try:
        schema.create(connection)
        if after_damage:
            _continue_ids(connection)
    finally:
        connection.close()
    _put_in_place(half, db_path)


def _put_in_place(half: Path, db_path: Path) -> None:
    """Make `half` the database. First remove the WAL of an older database that somebody deleted, or SQLite would apply it to this one."""
    for part in PARTS[1:]:
        db_path.with_name(db_path.name + part).unlink(missing_ok=True)
    half.replace(db_path)
    sync_folder(db_path.parent)


def _continue_ids(connection: sqlite3.Connection) -> None:
    """Let new ids begin above all that can have been given out. Ids only rise, even if the newest rows were lost with a damaged file."""
    Sightings(connection).ids_begin_after(int(time.time() * _IDS_PER_S))
    schema.ids_begin_after(connection, "strangers", int(time.time() - _STRANGERS_SINCE_S) // _S_PER_STRANGER)


def damage_of(db_path: Path) -> str | None:
    """What makes the file unusable as a database; None if nothing does. It changes nothing, so it is safe for other people's files."""
    # A file that no process writes is opened as immutable, or SQLite would leave a -wal and a -shm file beside it.
    alone = not any(db_path.with_name(db_path.name + part).exists() for part in PARTS[1:])
    return _damage(db_path, _unwritten_mode(db_path) if alone or is_read_only(db_path.parent) else "ro")


def _damage(db_path: Path, mode: str) -> str | None:
    """What makes an existing file unusable as a database; None if nothing does. With `mode` "rw" SQLite may roll back the journal of a
    program that crashed."""
    if not db_path.exists():
        return None
    if not db_path.stat().st_size:
        return "it is empty (0 bytes)"
    connection: sqlite3.Connection | None = None
    limit: TimeLimit | None = None
    try:
        connection = connect_read_only(db_path, mode)
        limit = TimeLimit(connection, db_path)
        first = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        return None if first == "ok" else str(first)
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF == sqlite3.SQLITE_NOTADB:
            return "it is not a SQLite database"
        if code & 0xFF == sqlite3.SQLITE_CORRUPT:
            return str(error)
        if code == sqlite3.SQLITE_READONLY_ROLLBACK:
            return None  # a program died while it wrote; opening the file for writing repairs that
        if limit is not None:
            limit.require_time(error)
        raise explain(error, db_path) from error
    finally:
        if connection is not None:
            connection.close()


def _signature(db_path: Path) -> tuple[int, int, int]:
    found = db_path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_as_left(db_path: Path) -> bool:
    """Whether the file is as this process left it when it closed it, with no WAL or journal beside it that would change it."""
    if any(db_path.with_name(db_path.name + part).exists() for part in PARTS[1:]) or not db_path.exists():
        return False
    return _left_sound.get(db_path) == _signature(db_path)


def _set_aside(db_path: Path, damage: str, say: Say) -> None:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    aside = db_path.with_name(f"{db_path.name}.damaged-{stamp}")
    for suffix in PARTS:
        part = db_path.with_name(db_path.name + suffix)
        if part.exists():
            part.rename(db_path.with_name(aside.name + suffix))
    say(f"DATABASE DAMAGED: {db_path}: {damage}; set aside as {aside.name}, nothing was overwritten")


def _restore_backup(db_path: Path, say: Say) -> None:
    backup = backup_path(db_path)
    if not backup.exists() or _damage(backup, "rw"):
        say("RUNNING WITHOUT THE OLD DATABASE: no usable backup; the gallery is made anew from the photos in faces/")
        return
    taken = datetime.fromtimestamp(backup.stat().st_mtime, UTC)
    half = half_made(db_path)
    source = connect_read_only(backup)
    try:
        key = key_within(source)
        if key is not None and read_key(db_path) is None:
            write_key(db_path, key)  # a database of an older version contains the key; the copy made here does not
        copy_database(source, half)
    finally:
        source.close()
    connection = connect(half)
    try:
        _continue_ids(connection)
    finally:
        connection.close()
    _put_in_place(half, db_path)
    say(f"RUNNING FROM BACKUP: {backup.name} of {taken:%Y-%m-%d %H:%M} UTC; what was enrolled since is missing")
