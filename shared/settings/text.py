"""Reads site.toml as text. If another kind of file has its name, it is refused with a clear error, and reading never blocks."""

from __future__ import annotations

import codecs
import grp
import os
import pwd
import stat
import tomllib
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError

_MAX_BYTES = 1 << 20  # forty cameras take 10 KB


def read_document(path: Path) -> dict[str, Any]:
    """The file's TOML document. Raises tomllib.TOMLDecodeError, or ConfigurationError if the file can't be read as text."""
    return read_toml(read_text(path), str(path))


def read_toml(text: str, where: str) -> dict[str, Any]:
    """The TOML document of a text. Raises tomllib.TOMLDecodeError, or ConfigurationError. `where`: where the text was read."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number has thousands of digits, or there are thousands of brackets
        raise ConfigurationError(
            "is not TOML that can be read",
            where=where,
            got=str(error),
            expected="numbers and nesting as the settings have them",
            remedy="mend it; `supervisor.py init` shows every key",
        ) from error


def read_text(path: Path) -> str:
    """The file's text. A byte order mark is removed, and any line ends are allowed. Raises ConfigurationError."""
    return text_of(read_bytes(path), path)


def text_of(raw: bytes, path: Path) -> str:
    """The text of what was read from the file. Raises ConfigurationError."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:64]:
        raise ConfigurationError(
            "is UTF-16 text", where=str(path), expected="UTF-8", remedy="save it as UTF-8 (Notepad: Save as, Encoding)"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            "is not UTF-8 text", where=str(path), got=str(error), remedy="save it as UTF-8"
        ) from error


def read_bytes(path: Path) -> bytes:
    """The file's content. Raises ConfigurationError, also if it is no regular file or too large for settings."""
    try:
        # O_NONBLOCK: a FIFO must not block. O_NOCTTY: a terminal must not become the controlling terminal.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            "can't be read",
            where=str(path),
            got=getattr(error, "strerror", None) or str(error),
            remedy="make it readable for this user",
        ) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError("is no regular file", where=str(path), remedy="put a text file there")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            "can't be read", where=str(path), got=error.strerror or str(error), remedy="check the disk"
        ) from error
    finally:
        os.close(descriptor)
    if len(raw) > _MAX_BYTES:
        raise ConfigurationError(
            "is too large for settings",
            where=str(path),
            got=f"{found.st_size} bytes",
            expected=f"at most {_MAX_BYTES}",
            remedy="check what was put there",
        )
    return raw


def require_trustworthy(path: Path, *, named: bool) -> None:
    """Refuse a settings file that others can change, since it decides what is opened and where faces are stored.

    `named`: the operator named the file. Then it may belong to anybody and be writable for a group, but not for everybody. A file that
    was found without being named must belong to this user or root, and nobody else may write it. Git has the same rule for
    repositories. Raises ConfigurationError.
    """
    try:
        found = path.stat()
    except OSError:
        return  # reading the file reports the fault
    problem = None
    if found.st_mode & stat.S_IWOTH:
        problem = "everybody may write it"
    elif not named and found.st_uid not in (0, os.geteuid()):
        problem = f"it belongs to {_user_name(found.st_uid)}"
    elif not named and found.st_mode & stat.S_IWGRP and not _is_private_group(found.st_gid):
        problem = "a group may write it"
    if problem is not None:
        owner_remedy = f"sudo chown {_user_name(os.geteuid())} {path}, or name it if you trust it: --config {path}"
        raise ConfigurationError(
            "these settings are not used: others may change them",
            where=str(path),
            got=problem,
            expected="a file of this user or of root that nobody else may write",
            remedy=owner_remedy if "belongs" in problem else f"chmod go-w {path}",
        )


def _is_private_group(gid: int) -> bool:
    """Whether a group has this user as its only member. Many systems give each user such a group, and make files writable for it."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_gid == user.pw_gid and set(group.gr_mem) <= {user.pw_name} and group.gr_name == user.pw_name


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
