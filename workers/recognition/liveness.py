"""Liveness: whether a face is a person's, or a picture of a person that is held up to the camera.

The model is insightface's liveness addon (2.1, `insightface/addons/liveness.py`), an ONNX graph. Its input is an 80 pixel
wide image of the face, aligned by its five points, with much of the surroundings, RGB from 0 to 1. Its output is the
probability that the face is alive. The package insightface is not imported, because it would take memory; a test compares
our preprocessing with the addon's own.

The model's file is not part of Rollcall and is never downloaded: an operator who wants liveness puts it into `models_dir`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigurationError, RollcallError
from shared.settings.camera_task import LivenessMode
from workers.recognition.alignment import similarity
from workers.recognition.engine import Face, Image, Points
from workers.recognition.onnx_session import UnfitGraphError, open_session, run_session

FILE_NAME = "liveness.onnx"
LICENCE = "InsightFace pretrained: non-commercial research only"
_URL = "https://github.com/deepinsight/insightface-model-addons/releases/download/addons/liveness.onnx"
INPUT_PX = 80
# Where both eyes, the nose and both corners of the mouth have to lie in the addon's input, pixels.
_TEMPLATE = np.array([[32.03, 38.06], [47.89, 37.98], [40.01, 47.08], [33.50, 56.36], [46.63, 56.29]], np.float64)
_MAX_MISSING = 0.3  # at most this share of the input may lie beyond the frame; the addon's limit


class Liveness(Protocol):
    """What a camera asks: a model in its own process, or in the inference process."""

    def score(self, frame: Image, faces: Sequence[Face]) -> list[float | None]:
        """For each face of the whole BGR picture (height, width, 3) the probability that it is alive; None: it can't be judged."""
        ...


class LivenessModel:
    """The addon's model; a camera calls `score`.

    `threads`: CPU threads of one run. Raises ConfigurationError when the file is missing, damaged, or not a liveness model.
    """

    def __init__(self, model_path: Path, *, threads: int) -> None:
        self._path = model_path
        if not model_path.is_file():
            raise _missing(model_path)
        try:
            self._session = open_session(model_path, threads=threads)
        except UnfitGraphError as error:
            raise _unfit(model_path, str(error).splitlines()[0][:300]) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if not _fits(inputs, outputs):
            shapes = [f"{value.name} {value.type} {value.shape}" for value in (*inputs, *outputs)]
            raise _unfit(model_path, ", ".join(shapes))
        self._input, self._output = inputs[0].name, outputs[0].name
        self._one_at_a_time = inputs[0].shape[0] == 1

    def score(self, frame: Image, faces: Sequence[Face]) -> list[float | None]:
        """For each face the probability that it is alive, 0 to 1; None if the face is too near the frame's edge.

        `frame`: the whole BGR picture (height, width, 3), since the surroundings of a face tell most. `faces`: with insightface's
        five points. Raises ConfigurationError when the model's answer is not a probability.
        """
        return scored(frame, faces, self.of_crops)

    def of_crops(self, crops: Sequence[Image]) -> list[float]:
        """The probability for each crop of `liveness_crop`. Raises ConfigurationError as `score`."""
        tensors = [_tensor(crop) for crop in crops]
        if not tensors:
            return []
        batches = [one[None] for one in tensors] if self._one_at_a_time else [np.stack(tensors)]
        rows = [np.asarray(run_session(self._session, [self._output], {self._input: batch})[0]) for batch in batches]
        scores = np.concatenate([row.reshape(-1) for row in rows])
        if len(scores) != len(tensors) or not np.all((scores >= 0) & (scores <= 1)):  # NaN is refused too
            raise _unfit(self._path, f"{len(scores)} answers for {len(tensors)} faces, or none from 0 to 1")
        return [float(score) for score in scores]


def scored(
    frame: Image, faces: Sequence[Face], of_crops: Callable[[Sequence[Image]], Sequence[float]]
) -> list[float | None]:
    """What `Liveness.score` gives, with `of_crops` for the probability of each crop."""
    crops = [liveness_crop(frame, face.points) for face in faces]
    answers = iter(of_crops([crop for crop in crops if crop is not None]))
    return [None if crop is None else next(answers) for crop in crops]


def liveness_crop(frame: Image, points: NDArray[np.float32]) -> Image | None:
    """The model's input before normalisation: BGR (80, 80, 3), the face with its surroundings.

    None if more than 30 % of it lies beyond the frame, or the points are not numbers. Pixels beyond the frame repeat its edge.
    """
    matrix = similarity(points, _TEMPLATE)
    size = (INPUT_PX, INPUT_PX)
    inside = cv2.warpAffine(np.ones(frame.shape[:2], np.float32), matrix, size)
    if float(inside.mean()) < 1 - _MAX_MISSING:
        return None
    crop = cv2.warpAffine(frame, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, np.uint8)


def open_liveness(models_dir: Path, mode: LivenessMode, *, threads: int, points: Points) -> LivenessModel | None:
    """The liveness model, or None if `mode` is "off".

    Raises ConfigurationError when it is not installed, or when it can't be aligned by the engine's `points`.
    """
    if mode == "off":
        return None
    if points is not Points.EYES_NOSE_MOUTH:
        raise ConfigurationError(
            "liveness needs insightface's five points, which the dlib engine does not give",
            where="liveness",
            got=f'"{mode}" with {points.value}',
            expected='engine = "insightface"',
            remedy='set liveness = "off", or another engine under [recognition]',
        )
    return LivenessModel(models_dir / FILE_NAME, threads=threads)


def _tensor(crop: Image) -> NDArray[np.float32]:
    """(3, 80, 80) float32, RGB, 0 to 1."""
    rgb = np.ascontiguousarray(crop[:, :, ::-1].transpose(2, 0, 1), np.float32)
    return rgb / np.float32(255)


def _fits(inputs: list[Any], outputs: list[Any]) -> bool:
    """Whether the graph takes one image and gives one probability, for exactly one face or for any number of faces."""
    if len(inputs) != 1 or len(outputs) != 1 or {inputs[0].type, outputs[0].type} != {"tensor(float)"}:
        return False
    image, answer = list(inputs[0].shape), list(outputs[0].shape)
    if len(image) != 4 or image[1:] != [3, INPUT_PX, INPUT_PX] or len(answer) != 1:
        return False
    return not any(isinstance(count, int) and count != 1 for count in (image[0], answer[0]))


def _missing(path: Path) -> RollcallError:
    return ConfigurationError(
        "liveness is on, and its model is not installed",
        where=str(path),
        expected=f"insightface's liveness addon ({LICENCE})",
        remedy=f'fetch {_URL} and put it there, or set liveness = "off"',
    )


def _unfit(path: Path, got: str) -> RollcallError:
    return ConfigurationError(
        "is damaged or no liveness model",
        where=str(path),
        got=got,
        expected=f"float input (N, 3, {INPUT_PX}, {INPUT_PX}) and one probability a face",
        remedy=f'fetch {_URL} again and put it there, or set liveness = "off"',
    )
