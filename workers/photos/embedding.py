"""Turns a photo into a reference: which of its faces counts, whether that face is good enough, and its embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.errors import RefusedError, RollcallError
from shared.photos.reading import Image, read_photo, shown
from workers.recognition.engine import Engine, Face, Vectors
from workers.recognition.mirroring import embed_with_mirrors
from workers.recognition.quality import Gate, measured
from workers.recognition.turn import turn_of

# If the largest face has at least this many times the area of the next one, the other faces are bystanders.
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
    """What one photo gives: `embedding` (dim,) float32 of unit L2 norm, the face that it is of, the face's aligned BGR crop, and how far the
    head is turned sideways (recognition/turn.py)."""

    embedding: Vectors
    face: Face
    crop: Image
    turn: float


def enrolment_gate(engine: Engine, min_face_px: int) -> Gate:
    """The gate that a photo's face must pass to become a reference. It is the gate of a camera's crops.

    It refuses none of the test data's 225 photos with one clear face (dlib: 234), so what it refuses is really unfit.
    """
    return Gate(min_face_px, engine.points)


def embed_photo(engine: Engine, path: Path | str, gate: Gate | None = None) -> EnrolledPhoto:
    """The reference from the photo at `path`. Raises RefusedError, with the reason, when it gives none.

    `gate`: None for a photo that is a reference already and is only embedded again.
    """
    try:
        return embed_image(engine, read_photo(path), gate)
    except RefusedError as error:
        raise RefusedError(
            error.what, where=shown(path), got=error.got, expected=error.expected, remedy=error.remedy
        ) from error


def embed_image(engine: Engine, image: Image, gate: Gate | None = None) -> EnrolledPhoto:
    """The reference from a BGR image (height, width, 3). Raises RefusedError when it gives none.

    If no face is found, the image is also searched in its other three turns, since not every photo records which way is up.
    `face` then has its place in the turned image.
    """
    image, faces = _turned_to_a_face(engine, image)
    face = face_that_counts(faces)
    crop = engine.crop(image, face)
    if gate is not None:
        require_fit(gate, face, crop, image)
    return EnrolledPhoto(embed_with_mirrors(engine, [crop])[0], face, crop, turn_of(face.points, engine.points))


def require_fit(gate: Gate, face: Face, crop: Image, image: Image | None = None) -> None:
    """Raise RefusedError, with each fault, the measured value and a remedy, unless the face passes the gate.

    `crop`: its aligned crop. `image`: the picture that the crop was cut from, both BGR.
    """
    refused = gate.judge(face, crop, image).refused
    if not refused:
        return
    faults = list(faults_of(gate, refused, measured(face, crop, image)).values())
    raise RefusedError(
        " and ".join(what for what, _, _ in faults),
        got=", ".join(got for _, got, _ in faults),
        remedy=faults[0][2],
    )


def faults_of(gate: Gate, refused: Sequence[str], values: Mapping[str, float]) -> dict[str, tuple[str, str, str]]:
    """For each part of a quality that refuses a face: what is wrong, the measured value in words, the remedy. `values`: as `measured` has them."""
    return {part: _UNFIT[part](values[part], gate) for part in refused}


def face_of_photo(engine: Engine, image: Image) -> Face:
    """The face that a BGR photo (height, width, 3) is of: the only face, or one at least twice as large as any other.

    Raises RefusedError when there is no face, or when none is clearly the largest.
    """
    return face_that_counts(engine.detect(image))


def _turned_to_a_face(engine: Engine, image: Image) -> tuple[Image, list[Face]]:
    """The image and its faces. If it shows faces only in another turn, the image is returned in that turn."""
    turned, faces, _ = upright_faces(engine, image)
    return turned, faces


def upright_faces(engine: Engine, image: Image) -> tuple[Image, list[Face], int]:
    """As `_turned_to_a_face`, and by how many quarters the image was turned anticlockwise."""
    for quarters in range(4):
        turned = np.ascontiguousarray(np.rot90(image, quarters))
        if faces := engine.detect(turned):
            return turned, faces, quarters
    return image, [], 0


def face_that_counts(found: Sequence[Face]) -> Face:
    """The face that a photo is of: the only one, or one at least twice as large as any other. Raises RefusedError."""
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


def refusal_reason(error: RollcallError) -> str:
    """A refusal in words, without its place: the caller names the photo beside it."""
    return RollcallError(error.what, got=error.got, expected=error.expected, remedy=error.remedy).line()
