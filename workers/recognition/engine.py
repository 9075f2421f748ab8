"""The interface of a recognition engine.

An engine detects faces, cuts aligned crops, and turns crops into embeddings. It knows nothing about galleries, tracks or
processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.model_id import ModelId
from workers.recognition.false_match_law import FalseMatchLaw

Image = NDArray[np.uint8]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Face:
    """One detection. `box`: x1, y1, x2, y2 in pixels; `points`: (5, 2) float32, the engine's own five landmarks."""

    box: tuple[float, float, float, float]
    points: NDArray[np.float32]
    det_score: float

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def area(self) -> float:
        return max(0.0, self.box[2] - self.box[0]) * max(0.0, self.box[3] - self.box[1])


class Points(StrEnum):
    """Which points of a face an engine's five landmarks are."""

    EYES_NOSE_MOUTH = "eyes, nose, corners of the mouth"
    EYE_CORNERS_NOSE = "corners of both eyes, nose"


@dataclass(frozen=True)
class Appearance:
    """Limits for the cosine of two crops of a track. Below `different` they show two people; from `alike` up, one person.

    Measured on clear crops in three films: one face, .2 s and 1 s apart (1st percentile), against two faces in one frame (99th
    percentile). insightface (the small test pack): .41 and .43 against .32. dlib: .95 and .93 against .92.
    """

    different: float
    alike: float


class Engine(Protocol):
    """A model that can be used by cameras, enrolment and `identify`.

    `fingerprint`: 64 hex digits, SHA-256 over the recognition file's digest and its preprocessing; embeddings with different
    fingerprints are never compared. `threshold` and `margin`: this model's own defaults, raw cosine. `law`: how rare a high cosine of two
    people's faces is.
    `points`: which points of a face its five landmarks are. `appearance`: how much two crops of one track resemble each other.
    `device`: what runs it, in words. `mirrors`: whether the mean with the mirror image's embedding is better than a crop's alone
    (mirroring.py).
    """

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def model_id(self) -> ModelId: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def threshold(self) -> float: ...
    @property
    def margin(self) -> float: ...
    @property
    def law(self) -> FalseMatchLaw: ...
    @property
    def points(self) -> Points: ...
    @property
    def appearance(self) -> Appearance: ...
    @property
    def device(self) -> str: ...
    @property
    def mirrors(self) -> bool: ...

    def detect(self, frame: Image) -> list[Face]:
        """Faces of a BGR frame (height, width, 3), best score first."""
        ...

    def crop(self, frame: Image, face: Face) -> Image:
        """The face's aligned BGR crop (side, side, 3), uint8, for `embed`."""
        ...

    def embed(self, crops: list[Image]) -> Vectors:
        """The crops' embeddings: (len(crops), dim) float32, each row of unit L2 norm; an empty list gives (0, dim).

        Raises RefusedError for a crop that gives no embedding.
        """
        ...
