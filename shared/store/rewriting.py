"""A database's file written anew, so that nothing of what was deleted is left in it: in little memory, and nowhere but in its folder.

VACUUM makes a second database and copies it back. In memory that takes as much of it as the file has bytes, and a unit with a limit
ends the process for it, at every start again. So the second one is a temporary file of SQLite's beside the database: it has mode 0600
and loses its name as soon as it is open, so that nothing of it is left by a process that is killed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from shared.errors import TemporaryError
from shared.store.connection import CACHE_KIB, MMAP_BYTES

TEMPORARY = "etilqs_"  # how SQLite's temporary files begin: one is left, empty, by a kill in the moment before it loses its name
SLACK_BYTES = 1 << 20  # room that is asked for beside what a copy of the database needs
_REWRITING_CACHE_KIB = 8 << 10
_one_at_a_time = threading.Lock()  # the folder of temporary files is one for the whole process


def write_anew(connection: sqlite3.Connection, path: Path) -> None:
    """Write the open database anew in place, at about 100 MB a second. Killed at any moment, it is as it was or done.

    Needs twice the file's size on its disk for as long as it lasts. Raises TemporaryError without that room, nothing done then;
    sqlite3.Error.
    """
    require_room(path, room_to_write_anew(connection), "to write the database anew")
    with _one_at_a_time, _in_little_memory(connection), _temporary_files_beside(connection, path):
        connection.execute("VACUUM")


def copy_anew(connection: sqlite3.Connection, target: Path) -> None:
    """A copy of the open database in `target`, an empty file, of one moment and without what was deleted. Raises sqlite3.Error."""
    with _in_little_memory(connection):
        connection.execute("VACUUM INTO ?", (str(target.absolute()),))


def room_to_write_anew(connection: sqlite3.Connection) -> int:
    """Bytes that must be free: for the second database, and for the WAL that it goes through on its way back."""
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return 2 * (pages - free) * size + SLACK_BYTES


def require_room(path: Path, needed_bytes: int, purpose: str) -> None:
    """Raises TemporaryError when the disk of `path` has less than `needed_bytes` free, with how much is missing."""
    found = os.statvfs(path.parent)
    free = found.f_bavail * found.f_frsize
    if free < needed_bytes:
        raise TemporaryError(
            f"the disk has too little room {purpose}",
            where=str(path),
            got=f"{free} bytes free",
            expected=f"{needed_bytes} bytes free for a while",
            remedy=f"free {needed_bytes - free} bytes more, then start the site; nothing was lost",
        )


@contextlib.contextmanager
def _in_little_memory(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("PRAGMA mmap_size=0")
    connection.execute(f"PRAGMA cache_size=-{_REWRITING_CACHE_KIB}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.execute(f"PRAGMA mmap_size={MMAP_BYTES}")


@contextlib.contextmanager
def _temporary_files_beside(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    folder = str(path.parent.absolute())
    try:
        folder.encode()
    except UnicodeEncodeError:  # bytes that are no text, which a PRAGMA can't name
        yield
        return
    connection.execute("PRAGMA temp_store_directory='{}'".format(folder.replace("'", "''")))
    try:
        # A SQLite that was built without this PRAGMA would write to a folder that is not ours: there it stays in memory.
        if connection.execute("PRAGMA temp_store_directory").fetchone() == (folder,):
            connection.execute("PRAGMA temp_store=FILE")
        yield
    finally:
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA temp_store_directory=''")
