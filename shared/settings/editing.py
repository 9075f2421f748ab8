"""Writes settings into site.toml. Comments and everything else in the file stay as they are."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from shared.errors import ConfigurationError, disk_fault
from shared.settings.file import parse_settings

# Also matches a header that is commented out, since the lines below it belong to that section.
_HEADER = re.compile(r"^#?\s*\[")


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
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(old.st_mode & 0o777)
        if (old.st_uid, old.st_gid) != (os.getuid(), os.getgid()):
            os.chown(temporary, old.st_uid, old.st_gid)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise disk_fault(error, path) from error
