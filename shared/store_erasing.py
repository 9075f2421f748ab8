"""What a deletion leaves to be done beyond the gallery's rows: photos kept, the site's own backup, copies set aside."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import RefusedError, RollcallError
from shared.schema import tables
from shared.store import Store
from shared.store_connection import connect
from shared.store_opening import Say, backup_path


def photo_digest(data_dir: Path, image_path: str) -> str | None:
    """SHA-256 of a kept photo, by which a mark knows it again; None when it is not there."""
    photo = _kept_photo(data_dir, image_path)
    if photo is None:
        return None
    with photo.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def photo_named(data_dir: Path, store: Store, person: str, photo: str) -> str:
    """The stored path of one of `person`'s photos, named by stored path, absolute path or file name. Raises RefusedError."""
    known = [str(row["image_path"]) for row in store.references(person) if row["image_path"]]
    wanted = (data_dir / photo).resolve()
    ways: tuple[Callable[[str], bool], ...] = (
        lambda path: path == photo,
        lambda path: (data_dir / path).resolve() == wanted,
        lambda path: Path(path).name == Path(photo).name,
    )
    for is_it in ways:
        if found := [path for path in known if is_it(path)]:
            return found[0]
    raise RefusedError(
        "no such photo of that person",
        where=person,
        got=photo,
        expected="one of " + (", ".join(known[:20]) or "none"),
        remedy="name one of those",
    )


# Writing a file of this size anew takes a second or two, in which the writer does nothing else; cameras go on meanwhile.
AT_ONCE_BYTES = 256 << 20


@dataclass(frozen=True)
class Kept:
    """What we keep of a person outside the database: photos, and the folders that are theirs."""

    photos: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.photos or self.folders)


def kept_photo(data_dir: Path, store: Store, image_path: str) -> Kept:
    """The photo, when we keep it and no reference is of it any more."""
    photo = _kept_photo(data_dir, image_path)
    return Kept() if photo is None or store.is_referred_to(image_path) else Kept([photo])


def kept_of_person(data_dir: Path, store: Store, person: str, image_paths: Iterable[str]) -> Kept:
    """Everything kept of a person: their folders in data/faces, photos right in it by their name, and what their rows named.

    Names are compared in Unicode's normal form, as a folder's name becomes a person's.
    """
    from shared.photos import is_photo_name  # Pillow has no business in a writer until somebody is forgotten

    faces, wanted = data_dir / "faces", _normal(person)
    photos: dict[Path, Path] = {}  # by where they really are: a row can name what is in the folder too
    folders = []
    for entry in sorted(faces.iterdir()) if faces.is_dir() else []:
        if entry.is_dir() and not entry.is_symlink() and _normal(entry.name) == wanted:
            folders.append(entry)
            photos |= {path.resolve(): path for path in sorted(entry.rglob("*")) if path.is_file()}
        elif _normal(entry.stem) == wanted and is_photo_name(entry):
            photos[entry.resolve()] = entry
    for image_path in image_paths:
        for photo in kept_photo(data_dir, store, image_path).photos:
            photos.setdefault(photo, photo)
    return Kept(list(photos.values()), folders)


def remove(kept: Kept) -> list[str]:
    """Remove photos and folders; what could not be removed, one line each."""
    left = []
    for path in (*kept.photos, *kept.folders):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            left.append(f"{path}: {error.strerror or error}")
    return left


def forget_in_backup(backup: Path, person: str, photo: str | None, digest: str | None, say: Say) -> None:
    """The site's own backup must not bring anybody back: the person leaves it too; an unfit backup is removed."""

    def forget(store: Store) -> None:
        if photo is None:
            store.forget(person)
        else:
            store.delete(person, photo, digest)

    _change_backup(backup, forget, say)


def forget_stranger_in_backup(backup: Path, number: int, say: Say) -> None:
    """A stranger's sightings leave the site's own backup; embeddings of strangers were never in it."""
    _change_backup(backup, lambda store: _with_strangers(store, lambda: store.sightings.forget_stranger(number)), say)


def name_in_backup(backup: Path, number: int, person: str, say: Say) -> None:
    """A stranger's sightings are `person`'s in the site's own backup too: it could come back, and `person` be forgotten then."""
    _change_backup(
        backup, lambda store: _with_strangers(store, lambda: store.sightings.give_to(number, person)), say, erase=False
    )


def _with_strangers(store: Store, change: Callable[[], object]) -> None:
    if "strangers" in tables(store.connection):  # a backup made before there were any knows of none
        change()


def _change_backup(backup: Path, change: Callable[[Store], object], say: Say, *, erase: bool = True) -> None:
    backup.with_name(backup.name + ".new").unlink(missing_ok=True)  # one that was not finished
    if not backup.exists():
        return
    try:
        store = Store(connect(backup), backup, read_only=False)
        try:
            with store.transaction():
                change(store)
            if erase and backup.stat().st_size <= AT_ONCE_BYTES:
                store.erase_remains()
        finally:
            store.connection.close()
    except (sqlite3.Error, RollcallError):
        backup.unlink(missing_ok=True)
        say(f"the backup {backup.name} could not be changed and was removed; the next one is made at the next stop")


def other_copies(db_path: Path) -> list[str]:
    """Files of ours that may still hold a person, which only the operator may delete."""
    aside = (f"{db_path.name}.before-", f"{db_path.name}.damaged-", f"{backup_path(db_path).name}.damaged-")
    return sorted(path.name for path in db_path.parent.iterdir() if path.name.startswith(aside))


def _kept_photo(data_dir: Path, image_path: str) -> Path | None:
    """A photo that a row names, when it is one and lies under data_dir: no other file is touched at a database's word."""
    from shared.photos import is_photo_name

    try:
        path = (data_dir / image_path).resolve()
        inside = path.is_relative_to(data_dir.resolve()) and path.is_file()
    except (OSError, ValueError):  # a path that can't be one: too long, a NUL in it
        return None
    return path if inside and is_photo_name(path) else None


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()
