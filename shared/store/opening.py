"""Opening the store: what may be wrong with the file is found, said, and never made worse.

Only the holder of the site's lock opens it for writing. A damaged file is set aside under a new name and the site runs from
its own backup, or from photos; it is never overwritten. Nothing here reads the file but SQLite: closing a descriptor of our own
would drop the locks that a connection of this process holds on it.
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

_IDS_PER_S = 1000  # more sightings than any site has; see _continue_ids
_STRANGERS_SINCE_S, _S_PER_STRANGER = (
    1767225600,
    10,
)  # 2026 began then; no site meets 8,640 strangers a day, year after year


# Files as this process left them when it last closed them: what has not changed since need not be proven sound again.
_left_sound: dict[Path, tuple[int, int, int]] = {}


def backup_path(db_path: Path) -> Path:
    """Where the writer keeps the site's own backup."""
    return db_path.with_name(db_path.stem + ".backup.db")


def open_read_only(db_path: Path, *, unwritten: bool = False) -> Store:
    """A read-only store beside a writer. Raises ConfigurationError when there is none or it is unfit.

    `unwritten`: nobody writes it, as on a full disk, where there is no room for what readers and a writer share.
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
    """The store for writing, created, migrated or adopted as needed; the caller holds the SiteLock.

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
            with contextlib.suppress(sqlite3.Error):  # a full disk is no reason not to run
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


def open_store_or_look(db_path: Path, say: Say) -> tuple[Store, TemporaryError | None]:
    """As `open_store`; where the disk is full or read-only, the store as it lies there, to be read only, and why it is so.

    SQLite needs room even to read beside a writer. Nobody writes here: the caller holds the lock. Raises as `open_store` does where
    the file can't be served as it is: there is none, it is damaged, or of another schema.
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
                    f"DATABASE DAMAGED: {db_path}: {damage}; it is set aside, and its backup taken, once the disk can be written"
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
        say(f"NOTHING CAN BE STORED: {error.line()}; what is enrolled is served, and it is tried again")
        wal = db_path.with_name(db_path.name + "-wal")
        if mode != "ro" and wal.exists() and wal.stat().st_size:
            say(
                f"{wal.name} holds {wal.stat().st_size} bytes of the last changes, which are read once it can be written"
            )
        return Store(connection, db_path, read_only=True), error


def _unwritten_mode(db_path: Path) -> str:
    """How a database is opened that nobody writes and that can't be written.

    What a killed writer left in the WAL is read with it where SQLite needs to write nothing for that: on a read-only disk, with a
    -shm beside it, whose content SQLite then does not trust.
    """
    wal, shared_memory = (db_path.with_name(db_path.name + part) for part in ("-wal", "-shm"))
    has_changes = wal.exists() and wal.stat().st_size > 0 and shared_memory.exists()
    return "ro" if has_changes and is_read_only(db_path.parent) else "ro&immutable=1"


def _holds_nothing(db_path: Path) -> bool:
    """Whether it is a database in which no table was made yet."""
    connection = connect(db_path)
    try:
        return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    finally:
        connection.close()


def _settle_mark_key(store: Store, say: Say) -> None:
    """Have a key for the marks. Marks that were made with a key that is gone can't be read by anybody any more."""
    key, known = read_key(store.path), store.fact("mark_key_id")
    if key is not None and key_id(key) == known:
        return
    if key is None:
        key = new_key()
        write_key(
            store.path, key
        )  # before the database says so: killed between the two, the next start comes here again
    with store.transaction():
        lost = store.connection.execute("DELETE FROM deletion_marks").rowcount
        store.set_fact("mark_key_id", key_id(key))
    if lost:
        say(
            f"DELETIONS CAN'T BE REMEMBERED: {key_path(store.path)} is missing or another one; {lost} marks of people and photos that "
            "were deleted can't be read without it and were dropped; an old folder or a backup could bring these people back"
        )


def _finish_erasing(store: Store, say: Say) -> None:
    """What a deletion left to be done: its process was killed before, or the file too large for a pause while the site runs."""
    if not store.remains_are_due():
        return
    try:
        store.erase_remains()
        store.truncate_wal()  # it is as large as the file now
    except RollcallError as error:  # a full disk is no reason not to run
        say(f"remains of a deletion are not overwritten yet: {error.line()}")
    except sqlite3.Error as error:
        say(explain(error, store.path).line())


def _finish_erasing_backup(backup: Path, say: Say) -> None:
    """The same for the site's own backup. One that can't be read is left to who makes the next."""
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
    """Close a writable store, and remember that its file was sound, so that opening it again soon costs no proof."""
    store.close()
    if store.read_only:
        return
    _left_sound[store.path] = _signature(store.path)


def _create(db_path: Path, *, after_damage: bool) -> None:
    """A new database, made beside and put in place whole: a process killed here leaves no half of one."""
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
    """Make `half` the database. What is left of one that somebody deleted goes: SQLite would write its WAL into ours."""
    for part in PARTS[1:]:
        db_path.with_name(db_path.name + part).unlink(missing_ok=True)
    half.replace(db_path)
    sync_folder(db_path.parent)


def _continue_ids(connection: sqlite3.Connection) -> None:
    """Sightings' ids only rise, also when the newest were lost with a damaged file: go on beyond what can have been given out."""
    Sightings(connection).ids_begin_after(int(time.time() * _IDS_PER_S))
    schema.ids_begin_after(connection, "strangers", int(time.time() - _STRANGERS_SINCE_S) // _S_PER_STRANGER)


def damage_of(db_path: Path) -> str | None:
    """What makes the file unusable, or None; for files that are not ours to open for writing. Changes nothing."""
    # A file that nobody writes is read as it stands: SQLite would otherwise leave a -wal and a -shm beside it.
    alone = not any(db_path.with_name(db_path.name + part).exists() for part in PARTS[1:])
    return _damage(db_path, _unwritten_mode(db_path) if alone or is_read_only(db_path.parent) else "ro")


def _damage(db_path: Path, mode: str) -> str | None:
    """What makes an existing file unusable as a database. `mode` "rw" lets SQLite roll a crashed program's journal back."""
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
            return None  # a program died while it wrote; opening it for writing puts that right
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
    """Whether the file is as this process closed it, with nothing beside that would change it."""
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
            write_key(db_path, key)  # one of an older version has it in itself, and copies have none
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
