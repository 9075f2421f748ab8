"""Copies of the gallery that a killed process left unfinished, and what else in the data folder may hold somebody.

Every copy of ours is made under a name that is known here, so that whoever holds the lock can remove what was not finished. SQLite
opens its files by name, so a copy can't be made without one (O_TMPFILE): one that is made outside the data folder is noted in
data/run first.
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
BEFORE_MIGRATION = ".before-v"  # what was there when a database was migrated is called so, behind its name
_MAX_ENTRIES = 20_000  # of the data folder that are looked at for other copies
_MAX_NAMED = 100
_NOT_OURS_TO_LIST = frozenset({"faces", "models", "run", "strangers"})


@contextmanager
def unfinished_copy(target: Path, run_dir: Path) -> Iterator[Path]:
    """Where a copy is made before it is put in `target`'s place; what is there of it afterwards is removed."""
    number = new_uuids(1)[0]
    path, note = target.with_name(f".rollcall-{number}.part"), run_dir / f"copy-{number}.path"
    if target.parent != run_dir.parent:
        # Without room for the note the copy is worth more than the note: a full disk is when somebody wants a copy elsewhere.
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
    """Where this process copies a backup to that it is about to restore: the one copy that its own `sweep` leaves."""
    return run_dir / f"{_OWN_RESTORE.format(os.getpid())}{new_uuids(1)[0]}.db"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sweep(db_path: Path) -> list[str]:
    """Remove every unfinished copy; what could not be removed, one line each. The caller holds the site's lock.

    A copy that somebody is making at this moment goes too: they are told to try again, and who was forgotten is not in it then.
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
    """Remove the copy that a note tells of: only a file of the name that goes with the note's, whatever the note says."""
    try:
        with note.open("rb") as file:
            path = Path(os.fsdecode(file.read(_MAX_NOTE_BYTES)))
        if path.name == f".rollcall-{note.stem.removeprefix('copy-')}.part" and path.is_absolute():
            if not path.parent.is_dir():
                return []  # a stick that was pulled out: the note stays for when it is back
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
    """What migrations of this database left beside it. `forget` reaches them."""
    return [path for path in _entries(db_path.parent) if path.name.startswith(db_path.name + BEFORE_MIGRATION)]


def other_copies(db_path: Path) -> list[str]:
    """Files in the data folder that may still hold a person, which only the operator may delete: paths in it, 100 at most.

    Set aside as damaged, databases of any name, photos outside `faces`; what lies in `models` or behind a
    link is not looked at.
    """
    from shared.photos.reading import is_photo_name  # Pillow has no business in a writer until somebody is forgotten

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
    """Whether a file that is not the site's database is one of SQLite's: by its first bytes, whatever its name."""
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
