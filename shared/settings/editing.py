"""Writes settings into site.toml. Comments and everything else in the file stay as they are."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from shared.errors import ConfigurationError, RefusedError, RollcallError, disk_fault
from shared.files.durable_folder import sync_folder
from shared.files.run_folder import is_read_only
from shared.settings.file import parse_settings
from shared.settings.text import read_toml

# Also matches a header that is commented out, since the lines below it belong to that section.
_HEADER = re.compile(r"^#?\s*\[")


@dataclass(frozen=True)
class Change:
    """One key set to `value`, or removed if that is None. `camera`: of which camera, where `section` is "cameras". `key` None: the whole camera is
    removed."""

    section: str
    camera: str | None
    key: str | None
    value: Any = None

    @property
    def path(self) -> tuple[str, ...]:
        """Keys from the document to the table that is changed."""
        return (self.section,) if self.camera is None else (self.section, self.camera)


def with_changes(text: str, changes: Sequence[Change], where: str) -> str:
    """Make these changes in a TOML `text`. Returns the new text; what is not changed stays as it is written.

    Raises tomllib.TOMLDecodeError or ConfigurationError if the text is not TOML, or is written in a way that can't be changed key by key.
    `where`: the file.
    """
    wanted = read_toml(text, where)
    text += "" if text.endswith("\n") or not text else "\n"
    try:
        for change in changes:
            table = wanted
            for key in change.path:
                table = table.setdefault(key, {})
            _take(change, wanted, table)
            is_new = change.camera is None and change.value is not None and change.key is not None
            known = tomlkit.parse(text).get(change.section, {})
            document = tomlkit.parse(
                _with_places(text, change.section, [change.key or ""] if is_new and change.key not in known else [])
            )
            inner: Any = document
            for key in change.path:
                if key not in inner:
                    inner[key] = tomlkit.table(is_super_table=key == "cameras")
                inner = inner[key]
            _take(change, document, inner)
            text = tomlkit.dumps(document)
        if read_toml(text, where) == wanted:
            return text
    except (TOMLKitError, tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        pass  # tomlkit meets what it can't change; nothing is half done, since the result is compared
    raise ConfigurationError(
        "the file is written in a way that can't be changed key by key",
        where=where,
        expected="each section once, with its keys below it",
        remedy="change it as text",
    )


def _take(change: Change, document: Any, table: Any) -> None:
    if change.key is None:
        del document[change.section][change.camera]
    elif change.value is None:
        table.pop(change.key, None)
    else:
        table[change.key] = change.value


def with_values(text: str, section: str, values: Mapping[str, str | float | None], path: Path) -> str:
    """Set these keys of [section] in a TOML `text` that was read from `path`. Returns the new text.

    A key whose value is None is removed. Everything else stays as it was. An existing key keeps its place and its comment. A new key
    replaces the line that shows its default, or else becomes the first line of its section. Raises FaultList if the result would not
    load, ConfigurationError if the text is not TOML.
    """
    text += "" if text.endswith("\n") or not text else "\n"
    try:
        document = tomlkit.parse(text)
        new = [key for key, value in values.items() if value is not None and key not in document.get(section, {})]
        document = tomlkit.parse(_with_places(text, section, new))
    except TOMLKitError as error:
        raise ConfigurationError(
            "is not valid TOML", where=str(path), got=str(error), remedy="mend that line; see: supervisor.py check"
        ) from error
    table: Any = document.setdefault(section, tomlkit.table())
    for key, value in values.items():
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
    changed = tomlkit.dumps(document)
    parse_settings(dict(tomlkit.parse(changed).unwrap()), path)
    return changed


def _with_places(text: str, section: str, keys: Sequence[str]) -> str:
    """Add a line for each of these keys to [section]. Without a line that is the section's header, `text` stays as it is."""
    lines = text.splitlines(keepends=True)
    header = re.compile(rf"^\s*\[\s*{re.escape(section)}\s*\]\s*(#.*)?$")
    begin = next((i for i, line in enumerate(lines) if header.match(line.rstrip("\r\n"))), None)
    if begin is None:
        return text
    newline = "\r\n" if "\r\n" in text else "\n"
    lines[begin] = lines[begin].rstrip("\r\n") + newline
    for key in reversed(keys):  # reversed, so that keys added at the head of the section end up in their order
        end = next((i for i in range(begin + 1, len(lines)) if _HEADER.match(lines[i])), len(lines))
        shown = re.compile(rf"^#\s*{re.escape(key)}\s*=")
        place = next((i for i in range(begin + 1, end) if shown.match(lines[i])), None)
        lines[begin + 1 if place is None else place : begin + 1 if place is None else place + 1] = [
            f"{key} = 0{newline}"
        ]
    return "".join(lines)


def replace_file(path: Path, text: str) -> None:
    """Replace the content of the file with `text` in one step. Mode and owner stay. Raises RollcallError."""
    path = path.resolve()  # a symbolic link to the file stays a link
    temporary = path.with_name(f".{path.name}.new")
    try:
        old = path.stat()
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(old.st_mode & 0o777)
        if (old.st_uid, old.st_gid) != (os.getuid(), os.getgid()):
            os.chown(temporary, old.st_uid, old.st_gid)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise disk_fault(error, path) from error


def why_not_writable(path: Path | None) -> RollcallError | None:
    """Why this process can't replace the settings file; None if it can. With what to do."""
    if path is None:
        return RefusedError(
            "there is no site.toml yet",
            where="settings",
            remedy="type on the site's machine: python supervisor.py init",
        )
    real = path.resolve()
    try:
        owner = real.stat().st_uid
    except OSError as error:
        return disk_fault(error, real)
    folder, user = real.parent, os.geteuid()
    if is_read_only(folder) or not os.access(folder, os.W_OK):
        remedy = (
            f"as a service: sudo systemctl edit rollcall, add ReadWritePaths={folder} below [Service], "
            f"sudo chown rollcall: {folder} {real}, and restart it"
        )
        return RefusedError(
            "the folder of the settings can't be written", where=str(folder), got="read-only", remedy=remedy
        )
    if user not in (0, owner):
        return RefusedError(
            "the settings belong to another user",
            where=str(real),
            got=f"user {owner}",
            expected=f"user {user}, who runs the site",
            remedy=f"sudo chown {user} {real}",
        )
    return None
