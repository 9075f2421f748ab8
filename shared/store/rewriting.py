"""Writes a database's file anew, so that nothing of deleted rows is left in it. It needs little memory, and writes only in the
database's folder.

VACUUM makes a second database and copies it back. If that second database were in memory, it would take as much memory as the file has
bytes. A systemd unit with a memory limit would then kill the process, at every start again. So the second database is a temporary file
of SQLite's beside the database. It has mode 0600 and loses its name as soon as it is open, so that a killed process leaves nothing.
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

# How the names of SQLite's temporary files begin. A kill in the moment before such a file loses its name leaves it, empty.
TEMPORARY = "etilqs_"
# More room than a copy of the database needs. Its empty tables alone take 1 MiB: each has a page, and so has each index.
SLACK_BYTES = 2 << 20
_REWRITING_CACHE_KIB = 8 << 10
_one_at_a_time = threading.Lock()  # SQLite has one setting for the folder of temporary files in the whole process


def write_anew(connection: sqlite3.Connection, path: Path) -> None:
    """Write the open database anew in place, at about 100 MB a second. If the process is killed, the file is either old or new.

    Meanwhile it needs room for twice the file's size on its disk. Raises TemporaryError if that room is missing, with nothing done; or
    sqlite3.Error.
    """
    require_room(path, room_to_write_anew(connection), "to write the database anew")
    with _one_at_a_time, _in_little_memory(connection), _temporary_files_beside(connection, path):
        connection.execute("VACUUM")


def copy_anew(connection: sqlite3.Connection, target: Path) -> None:
    """Copy the open database into `target`, an empty file. The copy is of one moment and has no remains of deleted rows.

    Raises sqlite3.Error.
    """
    with _in_little_memory(connection):
        connection.execute("VACUUM INTO ?", (str(target.absolute()),))


def room_to_write_anew(connection: sqlite3.Connection) -> int:
    """How many bytes must be free on the disk: for the second database, and for the WAL through which it is copied back."""
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return 2 * (pages - free) * size + SLACK_BYTES


def require_room(path: Path, needed_bytes: int, purpose: str) -> None:
    """Raise TemporaryError, with how much is missing, if the disk of `path` has less than `needed_bytes` free."""
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
    except UnicodeEncodeError:  # the path's bytes are no text, and a PRAGMA can't name it
        yield
        return
    connection.execute("PRAGMA temp_store_directory='{}'".format(folder.replace("'", "''")))
    try:
        # A SQLite that was built without this PRAGMA would write to a folder that is not ours. Then stay in memory.
        if connection.execute("PRAGMA temp_store_directory").fetchone() == (folder,):
            connection.execute("PRAGMA temp_store=FILE")
        yield
    finally:
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA temp_store_directory=''")
