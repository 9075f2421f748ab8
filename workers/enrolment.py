"""From photos to references: whose photo it is, which of its faces counts, and that face's embedding."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shared.errors import RefusedError, RollcallError
from shared.photos import Image, entries_in, is_photo_name, photos_in, read_photo, shown
from workers.engines import Engine, Face, Vectors
from workers.quality import Gate, measured

MOST_NAME_CHARACTERS = 200
_MOST_NAME_BYTES = 255  # a person is a folder in data/faces, and file systems count bytes
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
    return Gate(min_face_px, points=engine.name != "dlib")


def embed_photo(engine: Engine, path: Path | str, gate: Gate | None = None) -> EnrolledPhoto:
    """The reference that the photo at `path` gives. Raises RefusedError, with the reason, when it gives none.

    `gate`: None for a photo that is a reference already, and is only embedded anew.
    """
    try:
        return embed_image(engine, read_photo(path), gate)
    except RefusedError as error:
        raise _refused_at(path, error) from error


def embed_image(engine: Engine, image: Image, gate: Gate | None = None) -> EnrolledPhoto:
    """The reference that a BGR image (height, width, 3) gives. Raises RefusedError when it gives none."""
    face = face_of_photo(engine, image)
    crop = engine.crop(image, face)
    if gate is not None:
        require_fit(gate, face, crop)
    return EnrolledPhoto(engine.embed([crop])[0], face, crop)


def require_fit(gate: Gate, face: Face, crop: Image) -> None:
    """Raises RefusedError, with each part that refuses, what was measured and a remedy, unless the face may pass."""
    refused = gate.judge(face, crop).refused
    if not refused:
        return
    values = measured(face, crop)
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
    faces = sorted(engine.detect(image), key=lambda face: -face.area)
    if not faces:
        raise RefusedError(
            "no face was found",
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


def people_in(paths: Iterable[Path | str], name: str | None = None) -> list[tuple[str, Path]]:
    """Whose photos `paths` are: (person, photo) in the order given, folders sorted by name, nothing twice.

    A photo is of `name`, or of the person its file is named after. A folder: each sub-folder is a person, and a photo
    right in it is of the person its file is named after; with `name` all of them are that person's. Deeper folders,
    hidden entries and links that lead out of the folder are not looked at. What does not exist is listed too: reading
    it gives the reason. No photo is opened.

    Raises RefusedError when a name is unfit, or a folder can't be listed; all unfit names at once.
    """
    given = None if name is None else person_name(name)
    found: dict[tuple[str, Path], None] = {}
    faults: list[str] = []
    for person, photo in (pair for path in paths for pair in _named_after(Path(path))):
        try:
            found[given or person_name(person), photo] = None
        except RefusedError as error:
            faults.append(f"{shown(photo)}: {error.line()}")
    if faults:
        raise RefusedError("\n".join(dict.fromkeys(faults)))
    return list(found)


def person_name(text: str) -> str:
    """A person's name as it is stored: Unicode NFC, no space around it.

    Raises RefusedError unless it can name a folder everywhere: 1 to 200 characters and at most 255 bytes of UTF-8, no
    slash, no control characters or line ends, no dot in front (`.`, `..`, and what is hidden).
    """
    name = unicodedata.normalize("NFC", text).strip()
    reason = _unfit(name)
    if reason:
        raise RefusedError(
            f"the name {reason}",
            got=ascii(name[:50]),
            expected=f"1 to {MOST_NAME_CHARACTERS} characters without slashes and control characters, no dot in front",
            remedy="choose another with --name, or rename the file or folder",
        )
    return name


def refusal_reason(error: RollcallError) -> str:
    """A refusal without its place, for where the photo is named beside it."""
    return RollcallError(error.what, got=error.got, expected=error.expected, remedy=error.remedy).line()


def _named_after(path: Path) -> list[tuple[str, Path]]:
    """(person, photo) of one path, by the names of files and folders alone."""
    if not path.is_dir():
        return [(path.stem, path)]
    pairs = []
    for entry in entries_in(path):
        if entry.is_dir():
            pairs += [(entry.name, photo) for photo in photos_in(entry)]
        elif is_photo_name(entry):
            pairs.append((entry.stem, entry))
    return pairs


def _unfit(name: str) -> str:
    """What makes a normalised name unfit; empty when nothing does."""
    if not name:
        return "is empty"
    if len(name) > MOST_NAME_CHARACTERS:
        return f"has {len(name)} characters"
    if name.startswith("."):
        return "starts with a dot"
    if "/" in name:
        return "contains a slash"
    # Cc: control characters, Cs: bytes that are no UTF-8, Zl and Zp: line ends, which tear log lines apart.
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        return "contains control characters or bytes that are not UTF-8"
    return "is too long for a folder" if len(name.encode()) > _MOST_NAME_BYTES else ""


def _refused_at(path: Path | str, error: RefusedError) -> RefusedError:
    return RefusedError(error.what, where=shown(path), got=error.got, expected=error.expected, remedy=error.remedy)
