"""The key that all sites share, `[sync] key_file`: with it a tombstone knows a person at every site and tells the name to nobody.

It is made at one site and copied to the others by hand. No hub has it.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from shared.errors import ConfigurationError, Say, disk_fault
from shared.files.secret_file import read_secret
from shared.settings.schema import Settings

_BYTES = 32
_KEY = re.compile(r"[0-9a-f]{64}")
_WHERE = "[sync] key_file"


def read_sync_key(settings: Settings) -> bytes | None:
    """The key; None if the settings name no file. Raises ConfigurationError if the file holds no key."""
    path = settings.sync_path(settings.sync.key_file)
    if path is None:
        return None
    text = read_secret(path, _WHERE)
    if not _KEY.fullmatch(text):
        raise ConfigurationError(
            "a file holds no key",
            where=_WHERE,
            got=str(path),
            expected="64 hex digits",
            remedy="copy it from the first site",
        )
    return bytes.fromhex(text)


def sync_key_or_none(settings: Settings, say: Say) -> bytes | None:
    """As `read_sync_key`, but a faulty file is said and does no more harm: forgetting somebody must work at this site in any case."""
    try:
        return read_sync_key(settings)
    except ConfigurationError as error:
        say(error.line())
        return None


def make_sync_key(path: Path) -> None:
    """Write a new key into a new file of mode 600. Raises RollcallError; ConfigurationError if the file exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{secrets.token_hex(_BYTES)}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileExistsError as error:
        raise ConfigurationError(
            "there is a key already",
            where=_WHERE,
            got=str(path),
            expected="no file",
            remedy="use that key at all sites; tombstones that were made with it need it",
        ) from error
    except OSError as error:
        raise disk_fault(error, path) from error
