"""The key of the deletion marks, in a file of its own beside the database: `marks.key`, mode 0600.

Marks are keyed hashes of names. A person who has the key can try names against them. So the key is in no backup and in no copy of the
database. The database holds only a short hash of the key, to recognise the key with which the marks were made.
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
    """The path of the key of this database's marks."""
    return db_path.with_name("marks.key")


def new_key() -> str:
    """A new random key, 64 hex digits."""
    return secrets.token_hex(_LETTERS // 2)


def key_id(key: str) -> str:
    """The short hash of the key that the database holds: enough to recognise the key, too little to guess names with."""
    return hashlib.sha256(b"rollcall deletion marks\0" + key.encode()).hexdigest()[:_ID_LETTERS]


def read_key(db_path: Path) -> str | None:
    """The key. None if there is no file, or it contains no key. Raises RollcallError if the file can't be read."""
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
    """Write the key. When this returns, the file is complete and on the disk. Raises RollcallError."""
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
