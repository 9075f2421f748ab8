"""The key of the deletion marks, in a file of its own beside the database: `marks.key`, mode 0600.

Marks are keyed hashes of names. Whoever has the key can try names against them, so it is in no backup and in no copy of the
database; the database holds a short hash of it, which tells whose key the marks were made with.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from shared.errors import disk_fault
from shared.files.durable_folder import sync_folder

_LETTERS = 64
_ID_LETTERS = 16


def key_path(db_path: Path) -> Path:
    """Where the key of this database's marks lies."""
    return db_path.with_name("marks.key")


def new_key() -> str:
    return secrets.token_hex(_LETTERS // 2)


def key_id(key: str) -> str:
    """What the database says of the key: enough to know it again, too little to guess names with."""
    return hashlib.sha256(b"rollcall deletion marks\0" + key.encode()).hexdigest()[:_ID_LETTERS]


def read_key(db_path: Path) -> str | None:
    """The key; None when there is none, or something else in its place. Raises RollcallError for a file that can't be read."""
    path = key_path(db_path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk_fault(error, path) from error
    try:
        raw = os.read(descriptor, 2 * _LETTERS)
    except OSError as error:
        raise disk_fault(error, path) from error
    finally:
        os.close(descriptor)
    key = raw.decode("ascii", "replace").strip()
    return key if len(key) == _LETTERS and all(letter in "0123456789abcdef" for letter in key) else None


def write_key(db_path: Path, key: str) -> None:
    """Put the key in place, whole and on disk when this returns. Raises RollcallError."""
    path = key_path(db_path)
    half = path.with_name(f".{path.name}.new")
    try:
        half.unlink(missing_ok=True)
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{key}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        half.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)
        raise disk_fault(error, path) from error
