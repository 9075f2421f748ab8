"""Settings written into site.toml, with its comments and everything else in it kept."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from pathlib import Path

from shared.errors import ConfigurationError, disk_fault
from shared.settings.file import parse_settings

_SHOWN_HEADER = re.compile(r"^#\s*\[")
_HEADER = re.compile(r"^\s*\[\[?[^\[\]]+\]\]?\s*(#.*)?$")


def with_values(text: str, section: str, values: dict[str, float], path: Path) -> str:
    """A TOML `text`, read from `path`, with [section] KEY = VALUE set; every other line as it was.

    A key that is there keeps its place and its comment; one that is not takes the place of the line that shows its
    default, or the first place of its section. Raises FaultList when the result would not load, ConfigurationError when
    the file is written in a way that can't be edited so.
    """
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            "is not valid TOML", where=str(path), got=str(error), remedy="mend that line; see: supervisor.py check"
        ) from error
    changed = text
    for key, value in reversed(values.items()):  # new ones go to the head of the section: the first comes last
        changed = _with_value(changed, section, key, str(value))
    try:
        after = tomllib.loads(changed)
    except tomllib.TOMLDecodeError:
        after = {}
    if after != {**before, section: {**before.get(section, {}), **values}}:
        raise ConfigurationError(
            f"[{section}] is written in a way that can't be edited",
            where=str(path),
            expected=f"a line [{section}], and each key on a line of its own",
            remedy="set by hand: " + ", ".join(f"{key} = {value}" for key, value in values.items()),
        )
    parse_settings(after, path)
    return changed


def replace_file(path: Path, text: str) -> None:
    """Put `text` in the place of the file in one step, with the old one's mode and owner. Raises RollcallError."""
    path = path.resolve()  # a link to the file stays one
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


def _with_value(text: str, section: str, key: str, value: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    header = re.compile(rf"^\s*\[\s*{re.escape(section)}\s*\]\s*(#.*)?$")
    begin = next((i for i, line in enumerate(lines) if header.match(line.rstrip("\r\n"))), None)
    if begin is None:
        end_of_line = "" if not text or text.endswith("\n") else newline
        return f"{text}{end_of_line}{newline}[{section}]{newline}{key} = {value}{newline}"
    end = next((i for i in range(begin + 1, len(lines)) if _HEADER.match(lines[i].rstrip("\r\n"))), len(lines))
    present = re.compile(rf"^(\s*{re.escape(key)}\s*=\s*)[^#\r\n]*?(\s*(?:#.*)?)$")
    shown = re.compile(rf"^#\s*{re.escape(key)}\s*=")
    # What is commented out below a commented header belongs to that section.
    shown_end = next((i for i in range(begin + 1, end) if _SHOWN_HEADER.match(lines[i])), end)
    for i in range(begin + 1, end):
        if found := present.match(lines[i].rstrip("\r\n")):
            lines[i] = f"{found[1]}{value}{found[2]}{newline}"
            return "".join(lines)
    for i in range(begin + 1, shown_end):
        if shown.match(lines[i]):
            lines[i] = f"{key} = {value}{newline}"
            return "".join(lines)
    if not lines[begin].endswith("\n"):
        lines[begin] += newline
    lines.insert(begin + 1, f"{key} = {value}{newline}")
    return "".join(lines)
