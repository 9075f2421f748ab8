"""Small files with a secret that people copy by hand: a token, a key. Nobody but their owner may read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from shared.errors import ConfigurationError

_MAX_BYTES = 4096


def read_secret(path: Path, where: str) -> str:
    """The secret in a file, without the line's end. `where`: the setting that names the file. Raises ConfigurationError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            raw = os.read(descriptor, _MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigurationError(
            "a file with a secret can't be read",
            where=where,
            got=f"{path}: {error.strerror}",
            expected="a file that Rollcall's user can read",
            remedy="write it, and close it to others: chmod 600",
        ) from error
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
        raise ConfigurationError(
            "others can read a secret",
            where=where,
            got=f"{path}: mode {stat.S_IMODE(status.st_mode):o}",
            expected="a file of mode 600",
            remedy=f"chmod 600 {path}",
        )
    text = raw.decode("utf-8", "replace").strip()
    if not text or len(raw) > _MAX_BYTES or not text.isprintable() or "\ufffd" in text:
        raise ConfigurationError(
            "a file holds no secret",
            where=where,
            got=str(path),
            expected="one line of text",
            remedy="write the secret into it, and nothing else",
        )
    return text
