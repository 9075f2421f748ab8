"""Finds out whether a model pack gets its input as it was trained for: by a photo of six people.

If the input is made wrongly, a detector finds fewer faces, and a recogniser takes two people for more alike than one of them and their mirror
image. That finds a wrong mean or divisor. Swapped channels it finds only in models that mind them: the small test pack gives .89 for
mirror images and .23 for two people with them, and .88 and .26 without.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np

from workers.recognition.engine import Engine, Image

_LEAST_FACES = 4  # of the six in the photo
_LEAST_OWN = 0.4


def fault_in(engine: Engine, picture: Image) -> str:
    """What is wrong with a pack that finds no faces in a photo of several people, or for which two of them are more alike than one of them and
    their mirror image: its input is made in another way than the models were trained for. Empty: nothing.

    `picture`: BGR (height, width, 3).
    """
    crops = [engine.crop(picture, face) for face in engine.detect(picture)]
    if len(crops) < _LEAST_FACES:
        return f"the detector finds {len(crops)} faces in a photo of six people: are its mean, std and colour right?"
    faces = engine.embed(crops)
    mirrored = engine.embed([np.ascontiguousarray(crop[:, ::-1]) for crop in crops])
    own = float(np.vecdot(faces, mirrored).min())
    between = (faces @ faces.T)[~np.eye(len(faces), dtype=bool)]
    others = float(between.max())
    if own > others and own >= _LEAST_OWN:
        return ""
    return f"a face and its mirror image agree to {own:.2f}, two people to {others:.2f}: are the recogniser's mean, std and colour right?"


def group_photo() -> Image | None:
    """A photo of six people that the package insightface brings; None if it is not there."""
    spec = importlib.util.find_spec("insightface")
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        picture = cv2.imread(str(Path(folder) / "data" / "images" / "t1.jpg"))
        if picture is not None:
            return np.asarray(picture, np.uint8)
    return None
