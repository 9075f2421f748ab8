"""What a deletion leaves to be done beyond the gallery's rows: photos kept, the site's own backup, copies set aside."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import RefusedError, RollcallError, Say
from shared.person_names import name_key
from shared.store.connection import TimeLimit, connect
from shared.store.leftovers import copies_of_before
from shared.store.marks import is_photo_marked, path_mark
from shared.store.references import is_referred_to, list_references, odd_image_paths, spellings_of
from shared.store.rewriting import write_anew
from shared.store.schema import PARTS, tables
from shared.store.store import Store
from shared.store.unsound_rows import forget_damaged_rows

_OTHERS = frozenset({"strangers", "models", "run"})


def photo_named(data_dir: Path, store: Store, person: str, photo: str) -> str | None:
    """The stored path of one of `person`'s photos, named by stored path, absolute path or file name; None: there is none."""
    known = photos_of(store, person)
    wanted = (data_dir / photo).resolve()
    ways: tuple[Callable[[str], bool], ...] = (
        lambda path: path == photo,
        lambda path: (data_dir / path).resolve() == wanted,
        lambda path: Path(path).name == Path(photo).name,
    )
    return next((path for is_it in ways for path in known if is_it(path)), None)


def photos_of(store: Store, person: str) -> list[str]:
    """The stored paths of a person's photos, however the name is spelt."""
    found = [row.image_path for one in spellings_of(store, person) for row in list_references(store, one)]
    return [path for path in found if isinstance(path, str) and path]


def was_deleted(data_dir: Path, store: Store, person: str, photo: str) -> bool:
    """Whether a photo, named as for `photo_named`, is one of `person`'s that was deleted: by its path then, or by its bytes."""
    stored = Path(os.path.normpath(data_dir / photo))
    names = [photo, f"faces/{person}/{Path(photo).name}"]
    if stored.is_relative_to(data_dir):
        names.append(stored.relative_to(data_dir).as_posix())
    digest = _digest(stored) if stored.is_file() else None
    return any(is_photo_marked(store, person, one) for one in (*map(path_mark, names), digest) if one)


# Writing a file of this size anew takes a second or two, in which the writer does nothing else; cameras go on meanwhile.
AT_ONCE_BYTES = 256 << 20


@dataclass(frozen=True)
class Kept:
    """What we keep of a person outside the database: photos, and the folders that are theirs."""

    photos: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.photos or self.folders)


@dataclass(frozen=True)
class Left:
    """A file or folder that could not be removed, and why not."""

    path: Path
    reason: str


def kept_digest(data_dir: Path, person: str, image_path: str) -> str | None:
    """SHA-256 of a photo that we keep for `person`, by which a mark knows it again; None when it is not there."""
    photo = _kept_photo(data_dir, person, image_path)
    return None if photo is None else _digest(photo)


def kept_photo(data_dir: Path, store: Store, person: str, image_path: str) -> Kept:
    """The photo of a reference that was deleted, when we keep it for `person` and no reference is of it any more."""
    photo = _kept_photo(data_dir, person, image_path)
    return Kept() if photo is None or _is_referred_to(store, data_dir, [photo]) else Kept([photo])


def kept_of_person(data_dir: Path, store: Store, person: str, image_paths: Iterable[str]) -> Kept:
    """Everything kept of a person: their folders in data/faces, photos right in it by their name, and what their rows named.

    Names are compared as `name_key` does: a folder's name, in whatever form a file system keeps it, becomes a person's.
    """
    from shared.photos.reading import is_photo_name  # Pillow has no business in a writer until somebody is forgotten

    faces, wanted = data_dir / "faces", name_key(person)
    photos: dict[Path, Path] = {}  # by where they really are: a row can name what is in the folder too
    folders = []
    for entry in sorted(faces.iterdir()) if faces.is_dir() else []:
        if entry.is_dir() and not entry.is_symlink() and _is_of(entry.name, wanted):
            within = sorted(entry.rglob("*"))
            folders += [entry, *(path for path in within if path.is_dir() and not path.is_symlink())]
            photos |= {path.resolve(): path for path in within if path.is_file() or path.is_symlink()}
        elif is_photo_name(entry) and _is_of(entry.stem, wanted):
            photos[entry.resolve()] = entry
    named = {photo for path in image_paths if (photo := _kept_photo(data_dir, person, path)) is not None}
    for photo in named - _is_referred_to(store, data_dir, named):
        photos.setdefault(photo, photo)
    return Kept(list(photos.values()), folders)


def remove(kept: Kept) -> list[Left]:
    """Remove photos and folders; what could not be removed."""
    left: dict[Path, str] = {}

    def note(path: Path, error: BaseException) -> None:
        if not isinstance(error, FileNotFoundError):
            left.setdefault(path, (error.strerror if isinstance(error, OSError) else None) or str(error))

    for path in kept.photos:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            note(path, error)
    for folder in kept.folders:
        # rmtree goes on with the rest; a folder that is not empty is told by what is in it
        shutil.rmtree(folder, onerror=lambda _, path, info: note(Path(path), info[1]))
    return [Left(path, reason) for path, reason in left.items() if os.path.lexists(path)]


def change_backup(backup: Path, changes: Sequence[Callable[[Store], object]], say: Say, *, erase: bool) -> None:
    """Carry out `changes`, which were committed to the gallery, on the site's own backup too; an unfit backup is removed.

    It must bring nobody back. `erase`: nothing of what they delete stays in its free space; in a large one until the next start.
    """
    if not backup.exists():
        return
    try:
        store = Store(connect(backup), backup, read_only=False)
        try:
            with store.transaction():
                for change in changes:
                    change(store)
                if erase:
                    store.want_remains_erased()
            if erase and backup.stat().st_size <= AT_ONCE_BYTES:
                store.erase_remains()
        finally:
            store.connection.close()
    except (sqlite3.Error, RollcallError):
        backup.unlink(missing_ok=True)
        say(f"the backup {backup.name} could not be changed and was removed; the next one is made within a day")


def change_copies_of_before(db_path: Path, forgotten: Sequence[tuple[str, str | None]], say: Say) -> None:
    """Take people, or a photo of theirs, out of what migrations left, whatever its version; a copy where that can't be is removed."""
    for copy in copies_of_before(db_path):
        try:
            _change_copy_of_before(copy, forgotten)
        except (sqlite3.Error, RollcallError):
            for part in PARTS:
                copy.with_name(copy.name + part).unlink(missing_ok=True)
            say(
                f"{copy.name}, which a migration left, could not be changed and was removed: somebody forgotten may be in it"
            )


def _change_copy_of_before(copy: Path, forgotten: Sequence[tuple[str, str | None]]) -> None:
    connection = connect(copy)
    try:
        TimeLimit(connection, copy)  # it can be of anybody's making
        if connection.execute("SELECT 1 FROM sqlite_master WHERE type='trigger'").fetchone():
            raise RefusedError("a database with triggers", where=str(copy), remedy="none: they may keep its rows")
        connection.execute("BEGIN IMMEDIATE")
        deleted = sum(_delete_from_copy(connection, person, photo) for person, photo in forgotten)
        connection.execute("COMMIT")
        if not deleted:
            return
        if copy.stat().st_size > AT_ONCE_BYTES:
            raise RefusedError("too large to be written anew while the site runs", where=str(copy))
        write_anew(connection, copy)
    finally:
        connection.close()


def _delete_from_copy(connection: sqlite3.Connection, person: str, photo: str | None) -> int:
    """Delete a person's rows, or those of one photo, however the name is spelt there; how many."""
    found, wanted, deleted = tables(connection), name_key(person), 0
    for table, column in (("embeddings", "person_name"), ("left_out", "person_name"), ("sightings", "person")):
        if table not in found or (photo is not None and table != "embeddings"):
            continue
        names = connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall()  # noqa: S608  # constants, as below
        for spelling in (one for (one,) in names if isinstance(one, str) and name_key(one) == wanted):
            where, values = (
                (f"{column}=?", (spelling,)) if photo is None else (f"{column}=? AND image_path=?", (spelling, photo))
            )
            deleted += connection.execute(f"DELETE FROM {table} WHERE {where}", values).rowcount  # noqa: S608
    if photo is None and "left_out" in found:
        forget_damaged_rows(connection)
    return deleted


def knows_strangers(store: Store) -> bool:
    """Whether this database has the strangers' tables: a backup made before there were any has not."""
    return "strangers" in tables(store.connection)


def _kept_photo(data_dir: Path, person: str, image_path: str) -> Path | None:
    """A photo that a row of `person` names, when it is one that is theirs: no other file is touched at a database's word.

    In data/faces only what lies in the person's own folder, or bears their name; of the rest of the data folder nothing that is kept
    for strangers, models or the running site.
    """
    from shared.photos.reading import is_photo_name

    try:
        home = data_dir.resolve()
        path = (home / image_path).resolve()
        if not (path.is_relative_to(home) and is_photo_name(path) and path.is_file()):
            return None
    except (OSError, ValueError, RuntimeError):  # a path that can't be one: too long, a NUL in it, links in a circle
        return None
    first, *rest = path.relative_to(home).parts
    if first == "faces":
        whose = rest[0] if len(rest) > 1 else path.stem
        return path if _is_of(whose, name_key(person)) else None
    return None if first in _OTHERS else path


def _is_of(name: str, wanted: str) -> bool:
    return name_key(os.fsencode(name).decode("utf-8", "replace")) == wanted


def _is_referred_to(store: Store, data_dir: Path, photos: Iterable[Path]) -> set[Path]:
    """Which of these resolved photos any reference is of, in whatever way its row writes the path."""
    home, wanted = data_dir.resolve(), set(photos)
    found = {photo for photo in wanted if is_referred_to(store, photo.relative_to(home).as_posix())}
    if not wanted - found:
        return found
    names = {photo.name for photo in wanted}
    for path in odd_image_paths(store):
        if path.rpartition("/")[2] in names:
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # as in _kept_photo
                found |= wanted & {(home / path).resolve()}
    return found


def _digest(photo: Path) -> str | None:
    try:
        with photo.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
