"""The cast of scenes: people of the test data with their photos, some enrolled and some not, and faces cut out of photos."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from shared.errors import RefusedError
from tests.support.brute_gallery import BruteGallery
from tests.support.paths import FACES
from workers.photos.embedding import embed_photo
from workers.recognition.engine import Engine, Image
from workers.recognition.quality import eye_mouth_ratio

ENROLLED_PHOTOS = 3  # of each person, the first ones; the others play
_FROM_THE_FRONT = 0.75  # of the eyes' distance to that of eyes and mouth, as in workers.recognition.quality
_SHOWN = 2.0
_CARD = (210, 50, 20)  # BGR
_REACH = (1.05, 1.1)  # half axes of what is cut out, widths and heights of the face: head, hair and collar


@dataclass(frozen=True, eq=False)
class CutOut:
    """A photo's face with head and collar. `mask`: (height, width) float32, 0 to 1. `box`: the face's, in the photo."""

    name: str
    image: Image
    mask: NDArray[np.float32]
    box: tuple[float, float, float, float]
    ratio: float

    @property
    def frontal(self) -> bool:
        return self.ratio >= _FROM_THE_FRONT


def held_up(photo: CutOut) -> CutOut:
    """The same face as a print on a blue card, two and a half faces wide."""
    x1, y1, x2, y2 = (round(side) for side in photo.box)
    width, height = x2 - x1, y2 - y1
    left, top = max(0, x1 - width // 5), max(0, y1 - height // 5)
    part = photo.image[top : y2 + height // 5, left : x2 + width // 5]
    across, along = 3 * width // 4, height // 2  # of card, on each side
    card = cv2.copyMakeBorder(part, along, along, across, across, cv2.BORDER_CONSTANT, value=_CARD)
    x, y = across + x1 - left, along + y1 - top
    box = float(x), float(y), float(x + width), float(y + height)
    return CutOut(
        f"{photo.name}, held up", np.asarray(card, np.uint8), np.ones(card.shape[:2], np.float32), box, photo.ratio
    )


class PhotoFaces:
    """What an engine finds in photos, each looked at once."""

    def __init__(self, engine: Engine) -> None:
        """`engine`: for photos of 150 pixels; its model must be the one that watches."""
        self._engine = engine
        self.fingerprint = engine.fingerprint
        self._references: dict[Path, NDArray[np.float32]] = {}
        self._cut_outs: dict[Path, CutOut | None] = {}

    def reference(self, photo: Path) -> NDArray[np.float32]:
        """Raises RefusedError as enrolment does."""
        if photo not in self._references:
            self._references[photo] = embed_photo(self._engine, photo).embedding
        return self._references[photo]

    def cut_out(self, photo: Path) -> CutOut | None:
        """The largest face of a photo, cut out with a soft edge; None where the photo shows another face."""
        if photo not in self._cut_outs:
            self._cut_outs[photo] = self._cut(photo)
        return self._cut_outs[photo]

    def _cut(self, photo: Path) -> CutOut | None:
        image = cv2.imread(str(photo))
        assert image is not None, photo
        faces = self._engine.detect(np.asarray(image, np.uint8))
        if not faces:
            return None
        face = max(faces, key=lambda one: one.area)
        mask = _ellipse(face.box, image.shape[1], image.shape[0])
        on_grey = cv2.blendLinear(image, np.full_like(image, 128), mask, 1 - mask)
        # As large as it is shown: a bystander too small to be found in the photo would be found in the scene. The whole
        # photo too: the soft edge leaves half a bystander, who is found in some frames.
        if any(len(self._engine.detect(_enlarged(shown))) != 1 for shown in (on_grey, image)):
            return None
        name = f"{photo.parent.name}/{photo.name}"
        return CutOut(name, np.asarray(image, np.uint8), mask, face.box, eye_mouth_ratio(face.points))


def _enlarged(image: MatLike) -> Image:
    return np.asarray(cv2.resize(image, None, fx=_SHOWN, fy=_SHOWN), np.uint8)


def _ellipse(box: tuple[float, float, float, float], width: int, height: int) -> NDArray[np.float32]:
    """(height, width): 1 on the face with hair and collar, 0 away from it; the photo's own border never shows."""
    x1, y1, x2, y2 = box
    x, y = round((x1 + x2) / 2), round((y1 + y2) / 2)
    across = round(min(_REACH[0] * (x2 - x1), x - 6, width - x - 6))
    along = round(min(_REACH[1] * (y2 - y1), y - 6, height - y - 6))
    mask = cv2.ellipse(np.zeros((height, width), np.uint8), (x, y), (across, along), 0, 0, 360, 255, -1)
    return cv2.GaussianBlur(mask, (0, 0), 2.5).astype(np.float32) / np.float32(255)


class Cast:
    """Two thirds of lfw_mini's people are enrolled, the others are strangers; who is which, `seed` tells."""

    def __init__(self, faces: PhotoFaces, seed: int = 0) -> None:
        self._faces = faces
        people = sorted(path for path in (FACES / "lfw_mini").iterdir() if path.is_dir())
        order = np.random.default_rng(seed).permutation(len(people))
        split = 2 * len(people) // 3
        self.enrolled = [people[i] for i in order[:split]]
        self.strangers = [people[i] for i in order[split:]]

    def gallery(self) -> BruteGallery:
        gallery = BruteGallery(self._faces.fingerprint)
        for person, _, embedding in self._references():
            gallery.enrol(person, embedding)
        return gallery

    def copy_photos(self, folder: Path) -> Path:
        """What the gallery is made from, as a folder to enrol: a folder of photos for each person."""
        for person, photo, _ in self._references():
            (folder / person).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(photo, folder / person / photo.name)
        return folder

    def _references(self) -> Iterator[tuple[str, Path, NDArray[np.float32]]]:
        for person in self.enrolled:
            for photo in sorted(person.iterdir())[:ENROLLED_PHOTOS]:
                with suppress(RefusedError):  # two people in one photo
                    yield person.name, photo, self._faces.reference(photo)

    def photos(self, person: Path) -> tuple[CutOut, ...]:
        """The cut-outs that play: from the front first, none that was enrolled, none with a second face in it."""
        found = [self._faces.cut_out(photo) for photo in sorted(person.iterdir())[ENROLLED_PHOTOS:]]
        return tuple(sorted((one for one in found if one is not None), key=lambda one: not one.frontal))
