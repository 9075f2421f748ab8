"""The kept photos in data/faces: find them, compute their digests, remove them. A path from a database is followed nowhere else.

Somebody else may have written the database. So a path in it must never lead to a file that is not a kept photo.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from shared.person_names import name_key

_OTHERS = frozenset({"strangers", "models", "run"})


@dataclass(frozen=True)
class Kept:
    """What we keep of a person outside the database: photos, and the person's folders."""

    photos: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.photos or self.folders)


@dataclass(frozen=True)
class Left:
    """A file or folder that could not be removed, and why not."""

    path: Path
    reason: str


class PhotoRows(Protocol):
    """What the gallery's rows know about photos."""

    def is_referred_to(self, image_path: str) -> bool:
        """Whether any reference was made from this photo. `image_path`: in our form, faces/PERSON/PHOTO."""
        ...

    def odd_image_paths(self) -> Iterable[str]:
        """The stored paths that do not have our form."""
        ...


def kept_digest(data_dir: Path, person: str, image_path: str) -> str | None:
    """The SHA-256 of a photo that we keep for `person`, for a deletion mark. None if the photo is not there."""
    photo = _kept_photo(data_dir, person, image_path)
    return None if photo is None else digest_of(photo)


def kept_photo(data_dir: Path, rows: PhotoRows, person: str, image_path: str) -> Kept:
    """The photo of a deleted reference, if we keep it for `person` and no other reference was made from it. Else nothing."""
    photo = _kept_photo(data_dir, person, image_path)
    return Kept() if photo is None or _is_referred_to(rows, data_dir, [photo]) else Kept([photo])


def kept_of_person(data_dir: Path, rows: PhotoRows, person: str, image_paths: Iterable[str]) -> Kept:
    """Everything kept of a person: their folders in data/faces, the photos beside them with the person's name, and `image_paths`, the
    photos that the person's rows named.

    Names are compared with `name_key`, because a file system may change the form of a name (NFC or NFD).
    """
    # Imported here, because a writer needs no Pillow until somebody is forgotten.
    from shared.photos.reading import is_photo_name

    faces, wanted = data_dir / "faces", name_key(person)
    photos: dict[Path, Path] = {}  # by resolved path, because a row can name a photo that is also in the folder
    folders = []
    for entry in sorted(faces.iterdir()) if faces.is_dir() else []:
        if entry.is_dir() and not entry.is_symlink() and _is_of(entry.name, wanted):
            within = sorted(entry.rglob("*"))
            folders += [entry, *(path for path in within if path.is_dir() and not path.is_symlink())]
            photos |= {path.resolve(): path for path in within if path.is_file() or path.is_symlink()}
        elif is_photo_name(entry) and _is_of(entry.stem, wanted):
            photos[entry.resolve()] = entry
    named = {photo for path in image_paths if (photo := _kept_photo(data_dir, person, path)) is not None}
    for photo in named - _is_referred_to(rows, data_dir, named):
        photos.setdefault(photo, photo)
    return Kept(list(photos.values()), folders)


def remove(kept: Kept) -> list[Left]:
    """Remove photos and folders. Returns what could not be removed."""
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
        # After an error rmtree goes on with the rest. It calls `note` for what it could not remove.
        shutil.rmtree(folder, onerror=lambda _, path, info: note(Path(path), info[1]))
    return [Left(path, reason) for path, reason in left.items() if os.path.lexists(path)]


def _kept_photo(data_dir: Path, person: str, image_path: str) -> Path | None:
    """The resolved path of a photo that a row of `person` names, if the photo can be this person's. Else None.

    In data/faces it must be in the person's own folder or have the person's name. Elsewhere in the data folder it must not be in the
    folders of strangers, models or the running site. So a database can't make us touch any other file.
    """
    from shared.photos.reading import is_photo_name

    try:
        home = data_dir.resolve()
        path = (home / image_path).resolve()
        if not (path.is_relative_to(home) and is_photo_name(path) and path.is_file()):
            return None
    except (
        OSError,
        ValueError,
        RuntimeError,
    ):  # no valid path: it is too long, has a NUL in it, or links lead in a circle
        return None
    first, *rest = path.relative_to(home).parts
    if first == "faces":
        whose = rest[0] if len(rest) > 1 else path.stem
        return path if _is_of(whose, name_key(person)) else None
    return None if first in _OTHERS else path


def _is_of(name: str, wanted: str) -> bool:
    return name_key(os.fsencode(name).decode("utf-8", "replace")) == wanted


def _is_referred_to(rows: PhotoRows, data_dir: Path, photos: Iterable[Path]) -> set[Path]:
    """Those of these resolved photos from which a reference was made, in whatever form its row has the path."""
    home, wanted = data_dir.resolve(), set(photos)
    found = {photo for photo in wanted if rows.is_referred_to(photo.relative_to(home).as_posix())}
    if not wanted - found:
        return found
    names = {photo.name for photo in wanted}
    for path in rows.odd_image_paths():
        if path.rpartition("/")[2] in names:
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # no valid path, as in _kept_photo
                found |= wanted & {(home / path).resolve()}
    return found


def digest_of(photo: Path) -> str | None:
    """The SHA-256 of a file, 64 hex digits; None if it can't be read."""
    try:
        with photo.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def stored_photo(data_dir: Path, base: Path, person: str, path: str | None) -> Path | None:
    """The photo of a reference of `person`, if it is in the data folder or in `base`. Else None: no other path of a database is opened.

    `base`: the folder of site.toml. In databases of the original program paths are relative to it.
    """
    if not path:
        return None
    home, beside = data_dir.resolve(), base.resolve()
    places = (
        data_dir / path,
        base / path,
        data_dir / "faces" / person / Path(path).name,
    )
    for candidate in places:
        try:
            real = candidate.resolve()
            if (real.is_relative_to(home) or real.is_relative_to(beside)) and real.is_file():
                return real
        except (OSError, ValueError):  # no valid path: it is too long, or has a NUL in it
            continue
    return None
