"""Decides whose photo a file is: by --name, by the folder that it lies in, or by the file's own name."""

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
    """The photos below some paths, and whose they are.

    `pairs`: (person, photo) in the order of the paths, folders sorted by name, no pair twice. `named_by_file`: photo → folder,
    for the photos whose person is their file's name. `refused` and `skipped`: (path, reason); a skipped path is one that nobody
    asked for, such as another file beside the photos.
    """

    pairs: list[tuple[str, Path]] = field(default_factory=list)
    named_by_file: dict[Path, Path] = field(default_factory=dict)
    refused: list[Told] = field(default_factory=list)
    skipped: list[Told] = field(default_factory=list)


def people_in(paths: Iterable[Path | str], name: str | None = None) -> Found:
    """Find the photos below `paths`, and whose they are.

    With `name`, all photos are that person's. Without, a path that is a photo belongs to the person that its file is named
    after. In a path that is a folder, each sub-folder is a person, and a photo right in the folder belongs to the person that
    its file is named after.

    Deeper folders, links that lead out of the folder, and files whose names are no photos' are skipped; hidden entries are not
    even reported. A path that does not exist is listed like a photo: reading it later gives the reason. Photos are not opened;
    only of files without a suffix the first bytes are read.

    An unfit name, a name that cameras give to files, and a folder that can't be listed are put into `refused`. Raises
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
    """A new person's name as it is stored. Raises RefusedError for an unfit name (`shared.person_names.unfitness`)."""
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
    """The command that enrols the photos at `path` as those of `name`."""
    return f"supervisor.py enrol {shlex.quote(shown(path))} --name {shlex.quote(shown(name))}"


# How cameras, phones and messengers name files: letters and a number, a date, or the program's own name. A plain number is not
# among them, since many companies name people's photos by personnel numbers.
_REST = r"[\d _\-.()a-z:]*"
_CAMERA_NAME = re.compile(
    rf"((fb_)?img|_mg|_?dsc[fn]?|dscn|pxl|mvimg|vid|cimg|hpim|imgp|pict?|sam|gopr|dji|wp|p)[ _\-]?\d{{3,}}{_REST}"
    rf"|(photo|image|bild|foto|picture|screenshot|whatsapp image|signal|snapchat|received|scan|unnamed|download)[ _\-.(]*\d{_REST}"
    rf"|(19|20)\d{{2}}[-_.]?\d{{2}}[-_.]?\d{{2}}[ _\-t.]+\d{_REST}"
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    re.IGNORECASE,
)


def _require_no_camera_name(photo: Path, given: Path) -> None:
    """Raise RefusedError, with a remedy, for a photo whose name a camera gave it. `given`: the path under which it was found."""
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
    """The photos of one path: (person, photo, whether the person is the file's own name). Skipped entries go into `found`."""
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
    """The photos and sub-folders of a folder. What is refused or skipped goes into `found`."""
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
    except OSError:  # no permission: reading the file later gives the reason
        return False
