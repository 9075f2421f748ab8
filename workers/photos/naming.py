"""Whose photo it is: by the folder that it lies in, the file's own name, or --name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import RefusedError
from shared.person_names import MAX_NAME_CHARACTERS, stored_name, unfitness
from shared.photos.reading import entries_in, is_photo_name, is_photo_without_suffix, shown
from workers.photos.embedding import refusal_reason

Told = tuple[Path, str]


@dataclass
class Found:
    """Whose photos some paths hold.

    `pairs`: (person, photo) in the order given, folders sorted by name, nothing twice. `named_by_file`: the photos among
    them that are of the person their file is named after, with their folder. `refused` and `skipped`: paths with the reason;
    what is skipped was not asked for, such as other files beside the photos.
    """

    pairs: list[tuple[str, Path]] = field(default_factory=list)
    named_by_file: dict[Path, Path] = field(default_factory=dict)
    refused: list[Told] = field(default_factory=list)
    skipped: list[Told] = field(default_factory=list)


def people_in(paths: Iterable[Path | str], name: str | None = None) -> Found:
    """Whose photos `paths` are.

    A photo is of `name`, or of the person its file is named after. A folder: each sub-folder is a person, and a photo
    right in it is of the person its file is named after; with `name` all of them are that person's. Deeper folders,
    links that lead out of the folder and files that are no photos by their names are skipped; hidden entries are not told.
    What does not exist is listed too: reading it gives the reason. No photo is opened, but the first bytes of files without
    a suffix.

    Unfit names, names that cameras give to files, and folders that can't be listed are refused by themselves. Raises
    RefusedError when `name` is unfit.
    """
    given = None if name is None else person_name(name)
    found = Found()
    seen: dict[tuple[str, Path], None] = {}
    for path in map(Path, paths):
        for person, photo, by_file in _named_after(path, found):
            try:
                if given is None and by_file:
                    _require_no_camera_name(photo, path)
                one = (given or person_name(person), photo)
            except RefusedError as error:
                found.refused.append((photo, refusal_reason(error)))
                continue
            seen[one] = None
            if given is None and by_file:
                found.named_by_file[photo] = photo.parent
    found.pairs = list(seen)
    return found


def person_name(text: str) -> str:
    """A new person's name as it is stored. Raises RefusedError for one that is unfit (`shared.person_names.unfitness`)."""
    name = stored_name(text)
    reason = unfitness(name)
    if reason:
        raise RefusedError(
            f"the name {reason}",
            got=ascii(name[:50]),
            expected=f"1 to {MAX_NAME_CHARACTERS} visible characters without slashes, no dot in front",
            remedy="choose another with --name, or rename the file or folder",
        )
    return name


def enrol_command(path: Path, name: str) -> str:
    """What to type to enrol what is at `path` as `name`'s."""
    return f"supervisor.py enrol {shlex.quote(shown(path))} --name {shlex.quote(shown(name))}"


# How cameras, phones and messengers name files: letters and a number, a date, their own name. Plain numbers are not among
# them: people's numbers are names in many a company.
_REST = r"[\d _\-.()a-z:]*"
_CAMERA_NAME = re.compile(
    rf"((fb_)?img|_mg|_?dsc[fn]?|dscn|pxl|mvimg|vid|cimg|hpim|imgp|pict?|sam|gopr|dji|wp|p)[ _\-]?\d{{3,}}{_REST}"
    rf"|(photo|image|bild|foto|picture|screenshot|whatsapp image|signal|snapchat|received|scan|unnamed|download)[ _\-.(]*\d{_REST}"
    rf"|(19|20)\d{{2}}[-_.]?\d{{2}}[-_.]?\d{{2}}[ _\-t.]+\d{_REST}"
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    re.IGNORECASE,
)


def _require_no_camera_name(photo: Path, given: Path) -> None:
    """Raises RefusedError, with what to type, for a photo that nobody named after a person. `given`: the path that held it."""
    if not _CAMERA_NAME.fullmatch(photo.stem):
        return
    if photo == given:
        remedy = f"say whose it is: {enrol_command(photo, 'NAME')}"
    elif photo.parent == given:
        folder = given.resolve()
        remedy = (
            f"if all photos of this folder are of {shown(folder.name)}: {enrol_command(given, folder.name)}; "
            "if not, put each into a folder named after the person"
        )
    else:
        remedy = "put it into a folder named after the person"
    raise RefusedError(
        "its name is a camera's and no person's", got=shown(photo.name), expected="a person's name", remedy=remedy
    )


def _named_after(path: Path, found: Found) -> Iterator[tuple[str, Path, bool]]:
    """(person, photo, whether that is the file's own name) of one path; what is passed over goes into `found`."""
    if not _is_folder(path):
        yield path.stem, path, True
        return
    for entry in _photos_and_folders(path, found):
        if not _is_folder(entry):
            yield entry.stem, entry, True
            continue
        for photo in _photos_and_folders(entry, found):
            if _is_folder(photo):
                found.skipped.append((photo, "a folder inside a person's folder"))
            else:
                yield entry.name, photo, False


def _photos_and_folders(folder: Path, found: Found) -> list[Path]:
    """What of a folder is looked at."""
    try:
        entries, leading_out = entries_in(folder)
    except RefusedError as error:
        found.refused.append((folder, refusal_reason(error)))
        return []
    found.skipped += [(entry, "a link that leads out of the folder") for entry in leading_out]
    wanted = []
    for entry in entries:
        if _is_folder(entry) or is_photo_name(entry) or is_photo_without_suffix(entry):
            wanted.append(entry)
        else:
            found.skipped.append((entry, f"no photo by its name ({shown(entry.suffix) or 'no suffix'})"))
    return wanted


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # it may not be looked at: reading it gives the reason
        return False
