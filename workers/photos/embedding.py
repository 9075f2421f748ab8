"""From photos to references: whose photo it is, which of its faces counts, and that face's embedding."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from shared.errors import RefusedError, RollcallError
from shared.person_names import MOST_NAME_CHARACTERS, stored_name, unfitness
from shared.photos.reading import Image, entries_in, is_photo_name, is_photo_without_suffix, read_photo, shown
from workers.recognition.engine import Engine, Face, Vectors
from workers.recognition.quality import Gate, measured

# How much larger the largest face must be than the next for the others to be bystanders; DESIGN's rule.
_CLEARLY_LARGEST = 2.0


def _too_small(width: float, gate: Gate) -> tuple[str, str, str]:
    return (
        "the face is too small",
        f"{width:.0f} pixels wide of {gate.min_face_px} ([recognition] min_face_px), in a photo of 12 megapixels at most",
        "take a closer photo, or cut a large one down to the person",
    )


def _hardly_a_face(score: float, _: Gate) -> tuple[str, str, str]:
    return (
        "it is hardly a face",
        f"a detector score of {score:.2f}",
        "take a photo of the whole face, nothing before it",
    )


def _turned_away(ratio: float, _: Gate) -> tuple[str, str, str]:
    way = "from above or below" if ratio > 1 else "from the side"
    got = f"{way}: eyes apart {ratio:.2f} of their distance to the mouth, .9 from the front"
    return "the face is turned away", got, "take a photo from the front"


def _blurred(sharpness: float, _: Gate) -> tuple[str, str, str]:
    return (
        "the face is blurred",
        f"a sharpness of {sharpness:.2f}, .4 to .6 is sharp",
        "take a sharp photo, not enlarged",
    )


def _ill_lit(grey: float, _: Gate) -> tuple[str, str, str]:
    what = "the face is too dark" if grey < _HALF_GREY else "the face is too bright"
    return what, f"a mean grey of {grey:.0f} of 255", "take a photo in even light"


_HALF_GREY = 128
_UNFIT = {
    "size": _too_small,
    "detector": _hardly_a_face,
    "pose": _turned_away,
    "sharpness": _blurred,
    "brightness": _ill_lit,
}


@dataclass(frozen=True, eq=False)
class EnrolledPhoto:
    """One photo's reference: `embedding` (dim,) float32 of unit L2 norm, the face it is of, its aligned BGR crop."""

    embedding: Vectors
    face: Face
    crop: Image


def enrolment_gate(engine: Engine, min_face_px: int) -> Gate:
    """What a photo's face must have to become a reference: what a camera's crop must have to be judged.

    None of the test data's 225 photos with one clear face is refused by it (dlib: 234): what it refuses is no reference.
    """
    return Gate(min_face_px, engine.points)


def embed_photo(engine: Engine, path: Path | str, gate: Gate | None = None) -> EnrolledPhoto:
    """The reference that the photo at `path` gives. Raises RefusedError, with the reason, when it gives none.

    `gate`: None for a photo that is a reference already, and is only embedded anew.
    """
    try:
        return embed_image(engine, read_photo(path), gate)
    except RefusedError as error:
        raise RefusedError(
            error.what, where=shown(path), got=error.got, expected=error.expected, remedy=error.remedy
        ) from error


def embed_image(engine: Engine, image: Image, gate: Gate | None = None) -> EnrolledPhoto:
    """The reference that a BGR image (height, width, 3) gives. Raises RefusedError when it gives none.

    One that shows no face is looked at in the other three turns, too: not every photo says which way is up. `face` is then
    of the image as it was turned.
    """
    image, faces = _turned_to_a_face(engine, image)
    face = _face_that_counts(faces)
    crop = engine.crop(image, face)
    if gate is not None:
        require_fit(gate, face, crop, image)
    return EnrolledPhoto(engine.embed([crop])[0], face, crop)


def require_fit(gate: Gate, face: Face, crop: Image, image: Image | None = None) -> None:
    """Raises RefusedError, with each part that refuses, what was measured and a remedy, unless the face may pass."""
    refused = gate.judge(face, crop, image).refused
    if not refused:
        return
    values = measured(face, crop, image)
    told = [_UNFIT[part](values[part], gate) for part in refused]
    raise RefusedError(
        " and ".join(what for what, _, _ in told),
        got=", ".join(got for _, got, _ in told),
        remedy=told[0][2],
    )


def face_of_photo(engine: Engine, image: Image) -> Face:
    """The face that a BGR photo (height, width, 3) is of: the only one, or one at least twice as large as any other.

    Raises RefusedError when there is no face, or when it can't be told whose photo it is.
    """
    return _face_that_counts(engine.detect(image))


def _turned_to_a_face(engine: Engine, image: Image) -> tuple[Image, list[Face]]:
    """The image and its faces; turned where it shows some only then."""
    for quarters in range(4):
        turned = np.ascontiguousarray(np.rot90(image, quarters))
        if faces := engine.detect(turned):
            return turned, faces
    return image, []


def _face_that_counts(found: list[Face]) -> Face:
    faces = sorted(found, key=lambda face: -face.area)
    if not faces:
        raise RefusedError(
            "no face was found, whichever way it is turned",
            remedy="take a photo that shows the whole head, from the front, with some room around it",
        )
    if len(faces) > 1 and faces[0].area < _CLEARLY_LARGEST * faces[1].area:
        raise RefusedError(
            "it can't be told whose photo it is",
            got=f"{len(faces)} faces, of which the largest is not twice as large as the next",
            expected="one face, or one that is clearly the largest",
            remedy="cut the photo down to one person",
        )
    return faces[0]


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
            expected=f"1 to {MOST_NAME_CHARACTERS} visible characters without slashes, no dot in front",
            remedy="choose another with --name, or rename the file or folder",
        )
    return name


def refusal_reason(error: RollcallError) -> str:
    """A refusal without its place, for where the photo is named beside it."""
    return RollcallError(error.what, got=error.got, expected=error.expected, remedy=error.remedy).line()


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


def _refused_at(path: Path | str, error: RefusedError) -> RefusedError:
    return RefusedError(error.what, where=shown(path), got=error.got, expected=error.expected, remedy=error.remedy)
