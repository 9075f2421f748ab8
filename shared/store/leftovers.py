"""Finds and removes copies of the gallery that a killed process left unfinished, and finds other files that may hold a person's data.

We make every copy under a name that this module knows, so that the holder of the lock can remove unfinished copies. SQLite opens its
files by name, so a copy can't be made without a name (O_TMPFILE). A copy outside the data folder is noted in data/run first.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.store.rewriting import TEMPORARY
from shared.store.schema import PARTS
from shared.uuid7 import new_uuids

_UNFINISHED = re.compile(r"\.rollcall-[0-9a-f-]{36}\.part")
_NOTE = re.compile(r"copy-[0-9a-f-]{36}\.path")
_OWN_RESTORE = "restore-{}-"
_MAX_NOTE_BYTES = 8192
_SQLITE = b"SQLite format 3\0"
BEFORE_MIGRATION = ".before-v"  # follows the database's name in the name of the copy that a migration leaves
_MAX_ENTRIES = 20_000  # entries of the data folder that are searched for other copies
_MAX_NAMED = 100
_NOT_OURS_TO_LIST = frozenset({"faces", "models", "run", "strangers"})


@contextmanager
def unfinished_copy(target: Path, run_dir: Path) -> Iterator[Path]:
    """A path for a copy that is then renamed to `target`. If it was not renamed, the unfinished copy is removed at the end."""
    number = new_uuids(1)[0]
    path, note = target.with_name(f".rollcall-{number}.part"), run_dir / f"copy-{number}.path"
    if target.parent != run_dir.parent:
        # If there is no room for the note, go on without it: a full disk is when an operator wants a copy elsewhere.
        with contextlib.suppress(OSError):
            run_dir.mkdir(mode=0o700, exist_ok=True)
            with open(note, "xb", opener=_private) as file:
                file.write(os.fsencode(path))
    try:
        yield path
    finally:
        _remove_with_parts(path)
        note.unlink(missing_ok=True)


def staged_restore(run_dir: Path) -> Path:
    """The path to which this process copies a backup before it restores it. Only `sweep` of this same process leaves it there."""
    return run_dir / f"{_OWN_RESTORE.format(os.getpid())}{new_uuids(1)[0]}.db"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sweep(db_path: Path) -> list[str]:
    """Remove every unfinished copy. Returns what could not be removed, one line each. The caller holds the site's lock.

    A copy that a command is making at this moment is removed, too. That command fails and asks the operator to try again; the next copy
    does not have the forgotten person.
    """
    data_dir, run_dir = db_path.parent, db_path.parent / "run"
    ours = (f".{db_path.stem}.", f"{db_path.stem}.backup.db.new", TEMPORARY)
    doomed = [path for path in _entries(data_dir) if path.name.startswith(ours) or _UNFINISHED.match(path.name)]
    staged = [path for path in _entries(run_dir) if path.name.startswith(("restore-", ".restore-"))]
    doomed += [path for path in staged if not path.name.startswith(_OWN_RESTORE.format(os.getpid()))]
    left = [line for path in doomed if (line := _remove(path))]
    for note in _entries(run_dir):
        if _NOTE.fullmatch(note.name):
            left += _sweep_noted(note)
    return left


def _sweep_noted(note: Path) -> list[str]:
    """Remove the copy that a note names. The file's name must belong to the note's own name; any other path in the note is ignored."""
    try:
        with note.open("rb") as file:
            path = Path(os.fsdecode(file.read(_MAX_NOTE_BYTES)))
        if path.name == f".rollcall-{note.stem.removeprefix('copy-')}.part" and path.is_absolute():
            if not path.parent.is_dir():
                return []  # for example an unplugged USB stick: the note stays until it is back
            _remove_with_parts(path)
        note.unlink()
    except (OSError, ValueError) as error:
        return [f"{note}: {error}"]
    return []


def _remove_with_parts(path: Path) -> None:
    for part in PARTS:
        path.with_name(path.name + part).unlink(missing_ok=True)


def _remove(path: Path) -> str:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""


def _entries(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in os.scandir(folder)] if folder.is_dir() else []


def copies_of_before(db_path: Path) -> list[Path]:
    """The copies that migrations of this database left beside it. `forget` removes people from them, too."""
    return [path for path in _entries(db_path.parent) if path.name.startswith(db_path.name + BEFORE_MIGRATION)]


def other_copies(db_path: Path) -> list[str]:
    """Other files in the data folder that may hold a person's data, as paths relative to it, 100 at most. Only the operator deletes them.

    They are files set aside as damaged, databases of any name, and photos outside `faces`. The folders of `_NOT_OURS_TO_LIST` are not
    searched, and links are not followed.
    """
    # Imported here: a writer needs no Pillow until somebody is forgotten.
    from shared.photos.reading import is_photo_name

    data_dir = db_path.parent
    own = {db_path.name + part for part in (*PARTS, ".lock")} | {f"{db_path.stem}.backup.db"}
    own |= {path.name for path in copies_of_before(db_path)}
    aside = (f"{db_path.name}.damaged-", f"{db_path.stem}.backup.db.damaged-")
    found = []
    for path in _walk(data_dir):
        name = path.relative_to(data_dir).as_posix()
        if name in own:
            continue
        if path.name.startswith(aside) or is_photo_name(path) or _is_database(path):
            found.append(name)
    return sorted(found)[:_MAX_NAMED]


def _walk(data_dir: Path) -> Iterator[Path]:
    seen = 0
    for folder, folders, files in os.walk(data_dir):
        if Path(folder) == data_dir:
            folders[:] = [name for name in folders if name not in _NOT_OURS_TO_LIST]
        for name in files:
            seen += 1
            if seen > _MAX_ENTRIES:
                return
            yield Path(folder) / name


def _is_database(path: Path) -> bool:
    """Whether a file is a SQLite database, by its first bytes. Not for the site's own database, whose locks a close would release."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(descriptor, len(_SQLITE)) == _SQLITE
    except OSError:  # a folder, a pipe
        return False
    finally:
        os.close(descriptor)
