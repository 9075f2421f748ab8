"""Finds out who is in one photo, from an engine and a gallery: the answer of the command `identify`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shared.errors import RefusedError
from shared.gallery.match import Candidate, Gallery
from shared.photos.reading import Image, read_scaled, shown
from workers.photos.embedding import refusal_reason
from workers.recognition.engine import Engine
from workers.recognition.mirroring import embed_with_mirrors
from workers.recognition.quality import Gate
from workers.recognition.working_point import Limits, Word, lead

Box = tuple[float, float, float, float]

_CANDIDATES = 3  # listed for each face: the verdict needs two; the third shows how far all others are behind


class Verdict(NamedTuple):
    """The verdict on one face. `person`: set if `word` is "named". `score`: the best person's cosine; None in an empty gallery.
    `margin`: its lead over the second person's; None if there is no second. `confidence`: 1 - the share of strangers to this gallery who
    reach the score.
    """

    word: Word
    person: str | None
    score: float | None
    margin: float | None
    confidence: float | None = None


@dataclass(frozen=True)
class IdentifiedFace:
    """A face and who it is. `box`: (x1, y1, x2, y2) in pixels; `candidates`: the people it resembles most, best first, without those whose it
    is known not to be."""

    box: Box
    det_score: float
    verdict: Verdict
    candidates: Sequence[Candidate]

    def to_json(self) -> dict[str, Any]:
        return {
            "box": list(self.box),
            "det_score": self.det_score,
            "person": self.verdict.person,
            "verdict": self.verdict.word,
            "score": _rounded(self.verdict.score),
            "margin": _rounded(self.verdict.margin),
            "confidence": _rounded(self.verdict.confidence, 6),
            "candidates": [{"person": one.person, "score": _rounded(one.score)} for one in self.candidates],
        }


@dataclass(frozen=True)
class IdentifiedPhoto:
    """A photo's faces, best detection first. `error`: why it could not be read."""

    path: str
    error: str | None = None
    faces: Sequence[IdentifiedFace] = ()

    def to_json(self) -> dict[str, Any]:
        """One entry of `identify --json`'s "photos"."""
        return {"path": self.path, "error": self.error, "faces": [face.to_json() for face in self.faces]}


def single_verdict(candidates: Sequence[Candidate], in_force: Limits, *, clear: bool) -> Verdict:
    """The verdict on one embedding, see WorkingPoint.verdict. `candidates`: the people it resembles most, best first. Those whose the face
    is known not to be are no part of the verdict."""
    word = in_force.point.verdict(candidates, clear=clear)
    standing = in_force.point.standing(candidates)
    if not standing:
        return Verdict(word, None, None, None)
    score = standing[0].score
    return Verdict(word, in_force.point.names(standing), score, lead(standing), in_force.strangers.confidence(score))


def identify_photo(
    path: Path | str,
    engine: Engine,
    gallery: Gallery,
    in_force: Limits,
    *,
    min_face_px: int = 1,
    read: Callable[[Path | str], tuple[Image, int]] = read_scaled,
) -> IdentifiedPhoto:
    """Every face of a photo with its verdict, or why the photo can't be read.

    Boxes are in pixels of the whole photo, upright by its EXIF orientation. Faces are listed by their detection score, best
    first. A face narrower than `min_face_px`, in pixels of the decoded photo (at most 12 megapixels), is not judged: it is
    *uncertain*, without candidates. `read`: a function like `shared.photos.reading.read_scaled`; for photos of unknown origin,
    one that decodes in another process.
    """
    try:
        image, scale = read(path)
        faces = _whichever_way_up(
            image, lambda turned: identify_image(turned, engine, gallery, in_force, min_face_px=min_face_px)
        )
    except RefusedError as error:
        return IdentifiedPhoto(shown(path), refusal_reason(error))
    whole = [replace(face, box=_scaled(face.box, scale)) for face in faces]
    return IdentifiedPhoto(shown(path), None, whole)


def _scaled(box: Box, scale: int) -> Box:
    x1, y1, x2, y2 = box
    return x1 * scale, y1 * scale, x2 * scale, y2 * scale


def _whichever_way_up(image: Image, identify: Callable[[Image], list[IdentifiedFace]]) -> list[IdentifiedFace]:
    """The faces of the image; if it shows none, of its first other turn that shows some. Boxes are in the unturned image.

    Not every photo records which way is up.
    """
    height, width = image.shape[:2]
    for quarters in range(4):
        if faces := identify(np.ascontiguousarray(np.rot90(image, quarters))):
            return [replace(face, box=turned_back(face.box, quarters, height, width)) for face in faces]
    return []


def turned_back(box: Box, quarters: int, height: int, width: int) -> Box:
    """A box in an image of (height, width) that was turned anticlockwise, in the image as it was."""
    x1, y1, x2, y2 = box
    return (
        (x1, y1, x2, y2),
        (width - y2, x1, width - y1, x2),
        (width - x2, height - y2, width - x1, height - y1),
        (y1, height - x2, y2, height - x1),
    )[quarters]


def identify_image(
    image: Image, engine: Engine, gallery: Gallery, in_force: Limits, *, min_face_px: int = 1
) -> list[IdentifiedFace]:
    """The faces of a BGR image (height, width, 3), as `identify_photo` lists them; boxes in the image's pixels."""
    faces = engine.detect(image)
    gate = Gate(min_face_px, engine.points)
    judged = [(face, engine.crop(image, face)) for face in faces if face.width >= min_face_px]
    embeddings = embed_with_mirrors(engine, [crop for _, crop in judged])
    matches = gallery.match(embeddings, _CANDIDATES) if judged else []
    known = {id(face): (crop, found) for (face, crop), found in zip(judged, matches, strict=True)}
    answers = []
    for face in faces:
        verdict, candidates = Verdict("uncertain", None, None, None), list[Candidate]()
        if id(face) in known:
            crop, found = known[id(face)]
            candidates = list(in_force.point.standing(found))
            quality = gate.judge(face, crop, image)
            verdict = single_verdict(candidates, in_force, clear=quality.clear and not quality.refused)
        x1, y1, x2, y2 = (round(side, 1) for side in face.box)
        answers.append(IdentifiedFace((x1, y1, x2, y2), round(face.det_score, 4), verdict, candidates))
    return answers


def _rounded(value: float | None, decimals: int = 4) -> float | None:
    """Rounded to four decimals; compressing a photo again already changes the fourth."""
    return None if value is None else round(float(value), decimals)
