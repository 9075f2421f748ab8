"""What the faces of a photo are good for, before anything is stored: the parts of their quality, whom they look like, which one counts.

Also makes the photo that is kept of one face among several: cut down to that face, so that it counts whenever the photo is read again.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError
from shared.gallery.match import Gallery
from shared.ipc.desk import FaceVerdict, LookAlike, QualityPart
from shared.photos.reading import Image
from workers.photos.embedding import face_that_counts, faults_of, upright_faces
from workers.photos.identify import Box, turned_back
from workers.recognition.engine import Engine, Face
from workers.recognition.face_picture import as_jpeg, cut, face_picture
from workers.recognition.quality import Gate, measured

_MAX_FACES = 32  # the largest are judged; a photo of more is nobody's portrait
_LOOK_ALIKES = 3
_SAME_FACE = 0.5  # two boxes of one face share at least so much of what both cover
# How much is cut out around a face that has others beside it, in longer sides of the face: as much as leaves it the one that counts. A
# detector needs the head around a face.
_AROUND = (2.6, 2.2, 1.8, 1.5)
_CUT_PX = 1280  # the largest side of such a cut
_CUT_QUALITY = 95


@dataclass(frozen=True)
class Measure:
    """What faces are measured by. `look_alike`: the cosine from which a face could be taken for somebody. `own`: the references (n, dim) of the
    person whose photo it is to become, and the person's name; None: nobody's yet."""

    gate: Gate
    look_alike: float
    person: str | None = None
    own: NDArray[np.float32] | None = None


def assess_image(engine: Engine, gallery: Gallery, image: Image, measure: Measure, scale: int = 1) -> list[FaceVerdict]:
    """The faces of a BGR image (height, width, 3), the largest first. `scale`: by what number the photo's sides were divided."""
    turned, found, quarters = upright_faces(engine, image)
    faces = sorted(found, key=lambda face: -face.area)[:_MAX_FACES]
    if not faces:
        return []
    crops = [engine.crop(turned, face) for face in faces]
    embeddings = engine.embed(crops)
    matches = gallery.match(embeddings, _LOOK_ALIKES + 1)
    likeness = [None if measure.own is None else float((measure.own @ one).max()) for one in embeddings]
    proposed = _proposed(faces, likeness, measure)
    height, width = image.shape[:2]
    verdicts = []
    for at, face in enumerate(faces):
        alike = [one for one in matches[at] if one.score >= measure.look_alike and one.person != measure.person]
        x1, y1, x2, y2 = (round(side * scale, 1) for side in turned_back(face.box, quarters, height, width))
        quality = measure.gate.judge(face, crops[at], turned)
        verdicts.append(
            FaceVerdict(
                box=[x1, y1, x2, y2],
                det_score=round(float(face.det_score), 4),
                quality=round(quality.value, 3),
                fit=not quality.refused,
                parts=_parts(measure.gate, face, crops[at], turned),
                look_alikes=[LookAlike(one.person, round(float(one.score), 4)) for one in alike[:_LOOK_ALIKES]],
                likeness=_rounded(likeness[at]),
                proposed=at == proposed,
                picture=base64.b64encode(face_picture(turned, face.box)).decode(),
            )
        )
    return verdicts


def _parts(gate: Gate, face: Face, crop: Image, image: Image) -> list[QualityPart]:
    values, quality = measured(face, crop, image), gate.judge(face, crop, image)
    faults = faults_of(gate, quality.refused, values)
    return [
        QualityPart(part, round(value, 3), round(float(values[part]), 3), *_words(faults.get(part)))
        for part, value in quality.parts().items()
    ]


def _words(fault: tuple[str, str, str] | None) -> tuple[str | None, str | None]:
    return (None, None) if fault is None else (fault[0], fault[2])


def _proposed(faces: Sequence[Face], likeness: Sequence[float | None], measure: Measure) -> int | None:
    """Which face is proposed: of somebody who is enrolled, the one most like them if it is like them at all; else the one that counts."""
    known = [(value, at) for at, value in enumerate(likeness) if value is not None]
    if known and (best := max(known))[0] >= measure.look_alike:
        return best[1]
    try:
        counts = face_that_counts(faces)
    except RefusedError:
        return None
    return next(at for at, face in enumerate(faces) if face is counts)


def photo_of_face(engine: Engine, image: Image, box: Sequence[float], scale: int) -> bytes | None:
    """The JPEG of one face of a photo, cut down so far that this face counts in it. None: it counts in the whole photo.

    `image`: BGR (height, width, 3); `box`: the face, x1, y1, x2, y2 in pixels of the whole photo; `scale`: by what number the photo's sides
    were divided. Raises RefusedError if there is no face, or if another one is too near.
    """
    turned, faces, quarters = upright_faces(engine, image)
    height, width = image.shape[:2]
    wanted: Box = (box[0] / scale, box[1] / scale, box[2] / scale, box[3] / scale)
    shares = [_shared(turned_back(face.box, quarters, height, width), wanted) for face in faces]
    if not shares or max(shares) < _SAME_FACE:
        raise RefusedError(
            "the photo has no face there",
            where="box",
            got=", ".join(f"{side:.0f}" for side in box),
            remedy="assess the photo again, and take a box from the answer",
        )
    face = faces[int(np.argmax(shares))]
    if _counts(faces, face):
        return None
    for around in _AROUND:
        part = cut(turned, face.box, around, _CUT_PX)
        inside = engine.detect(part)
        if inside and _counts(inside, max(inside, key=lambda one: one.area)) and _is_in_the_middle(inside, part):
            return as_jpeg(part, _CUT_QUALITY)
    raise RefusedError(
        "another face is too near to this one",
        expected="one face, or one that is clearly the largest",
        remedy="cut the photo down to one person",
    )


def _counts(faces: Sequence[Face], face: Face) -> bool:
    try:
        return face_that_counts(faces) is face
    except RefusedError:
        return False


def _is_in_the_middle(faces: Sequence[Face], part: Image) -> bool:
    """Whether the largest face lies where the part was cut around: its box holds the part's middle."""
    x1, y1, x2, y2 = max(faces, key=lambda one: one.area).box
    height, width = part.shape[:2]
    return bool(x1 < width / 2 < x2 and y1 < height / 2 < y2)


def _shared(one: Box, other: Box) -> float:
    """The area that two boxes share, of the area that both cover."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return width * height / (both - width * height)


def of_person(measure: Measure, person: str, own: NDArray[np.float32]) -> Measure:
    """The same measure for a photo of somebody who is enrolled. `own`: their references (n, dim)."""
    return replace(measure, person=person, own=own if len(own) else None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
