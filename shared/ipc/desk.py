"""The requests to the process that looks at photos for the web part, and the answers (workers/photos/desk.py).

The messages are those of wire.py, over a pair of sockets. A photo is not part of its message: its open file is sent along as a descriptor,
so that the web process never holds its bytes.

    → {"v": 1, "op": "assess", "arguments": {"person": "Ada"}} and a descriptor
    ← {"v": 1, "fault": null, "width": 4032, "height": 3024, "faces": […]}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from shared.ipc.requests.base import Answer, Request

MAX_PHOTO_BYTES = 20 << 20
MAX_CROPS = 5  # that a capture at a camera gives


@dataclass(frozen=True)
class PhotoFault:
    """Why a photo is not used, in words: what is wrong, what was found, what was expected, and what to do."""

    what: str
    got: str | None = None
    expected: str | None = None
    remedy: str | None = None


@dataclass(frozen=True)
class QualityPart:
    """A part of a face's quality. `part`: size, detector, pose, sharpness or brightness. `value`: 0 to 1; 0 refuses the face. `measured`: the
    face's width in pixels, the detector's score, the distance of the eyes divided by that to the mouth, the sharpness from 0 to 1, the mean
    grey from 0 to 255. `what`, `remedy`: of a part that refuses the face, what is wrong and what to do."""

    part: str
    value: float
    measured: float
    what: str | None = None
    remedy: str | None = None


@dataclass(frozen=True)
class LookAlike:
    """Somebody who is enrolled and whom a face resembles. `score`: the cosine."""

    person: str
    score: float


@dataclass(frozen=True)
class FaceVerdict:
    """What a face of a photo is good for. `box`: x1, y1, x2, y2 in pixels of the whole photo, upright. `quality`: 0 to 1, of all parts. `fit`:
    it can become a reference. `look_alikes`: other people whom it resembles so much that it could be taken for them. `likeness`: its cosine with
    the nearest reference of the person who was asked about. `proposed`: it is the face that would be enrolled if none is chosen. `picture`: a
    JPEG of it, of at most 160 pixels a side, in base64."""

    box: list[float]
    det_score: float
    quality: float
    fit: bool
    parts: list[QualityPart]
    look_alikes: list[LookAlike]
    likeness: float | None
    proposed: bool
    picture: str


@dataclass(frozen=True, kw_only=True)
class AssessedPhoto(Answer):
    """`fault`: why the photo can't be used; then there are no faces. `width`, `height`: of the whole photo, upright, in pixels. `faces`: the
    largest first."""

    fault: PhotoFault | None = None
    width: int = 0
    height: int = 0
    faces: list[FaceVerdict] = field(default_factory=list)


@dataclass(frozen=True)
class Assess(Request[AssessedPhoto]):
    """What the faces of a photo are good for. Nothing is stored. `person`: whose photo it is to become, if they are enrolled."""

    op: ClassVar[str] = "assess"
    answer: ClassVar[type[Any]] = AssessedPhoto
    person: str | None = None


@dataclass(frozen=True, kw_only=True)
class IdentifiedPhoto(Answer):
    """`photo`: as an entry of `identify --json`."""

    photo: dict[str, Any]


@dataclass(frozen=True)
class Identify(Request[IdentifiedPhoto]):
    """Who is in a photo."""

    op: ClassVar[str] = "identify"
    answer: ClassVar[type[Any]] = IdentifiedPhoto


@dataclass(frozen=True, kw_only=True)
class PhotoEnrolled(Answer):
    """`person`: the name as it is stored. `fault`: why the photo was refused. `unchanged`: it was enrolled before. `set_aside`: and its
    reference is set aside, and stays so."""

    person: str
    fault: PhotoFault | None = None
    unchanged: bool = False
    set_aside: bool = False


@dataclass(frozen=True)
class Enrol(Request[PhotoEnrolled]):
    """Enrol a face of a photo as this person's. `box`: which face, as Assess tells it; None: the one that counts. `is_new`: refuse the name of
    somebody who is enrolled, unless this very photo is among their references."""

    op: ClassVar[str] = "enrol"
    answer: ClassVar[type[Any]] = PhotoEnrolled
    person: str
    user_id: str | None = None
    box: list[float] | None = None
    is_new: bool = False


@dataclass(frozen=True, kw_only=True)
class StrangerEnrolled(Answer):
    """`enrolled`: how many of the stranger's pictures became references; `sightings`: how many sightings are the person's now."""

    person: str
    enrolled: int
    sightings: int


@dataclass(frozen=True)
class EnrolStranger(Request[StrangerEnrolled]):
    """Enrol a stranger's pictures as this person's, and give their sightings to the person."""

    op: ClassVar[str] = "enrol_stranger"
    answer: ClassVar[type[Any]] = StrangerEnrolled
    id: str
    person: str
    user_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Looked(Answer):
    """`crops`: how many crops of the capture are kept. `enough`: no more frames are needed. `refused`: why this frame gave none: parts of the
    quality, or `face` if none was found in the box."""

    crops: int
    enough: bool
    refused: list[str]


@dataclass(frozen=True)
class Look(Request[Looked]):
    """Offer a camera's frame, whose JPEG follows the message, to a capture. `box`: the face in it, x1, y1, x2, y2 in pixels."""

    op: ClassVar[str] = "look"
    answer: ClassVar[type[Any]] = Looked
    capture: str
    box: list[float]


@dataclass(frozen=True)
class CapturedCrop:
    """A crop of a camera's frame. `jpeg`: base64; `verdict`: what its face is good for."""

    jpeg: str
    verdict: FaceVerdict


@dataclass(frozen=True, kw_only=True)
class Captured(Answer):
    """`crops`: the best first. `refused`: how many frames were not used, by reason."""

    crops: list[CapturedCrop]
    refused: dict[str, int]


@dataclass(frozen=True)
class Capture(Request[Captured]):
    """End a capture: its best crops. Nothing of it is kept."""

    op: ClassVar[str] = "capture"
    answer: ClassVar[type[Any]] = Captured
    capture: str
    person: str | None = None


REQUESTS: dict[str, type[Request[Any]]] = {
    one.op: one for one in (Assess, Identify, Enrol, EnrolStranger, Look, Capture)
}
