"""A model in the inference process: what it does for all cameras. Its methods may run in several threads at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError
from shared.inference.slot import Picture
from workers.recognition.detector import Fit, input_of
from workers.recognition.devices import CPU
from workers.recognition.engine import Image
from workers.recognition.model_description import ModelDescription
from workers.recognizer_arcface import ArcFaceEngine

Rows = NDArray[np.float32]


class SharedModel:
    """An ArcFace pack that searches pictures which cameras have scaled, and embeds crops which they have cut."""

    def __init__(self, engine: ArcFaceEngine) -> None:
        self._engine = engine
        self.description = ModelDescription(
            engine.model_id,
            engine.threshold,
            engine.margin,
            engine.law,
            engine.points,
            engine.appearance,
            engine.side_px,
            engine.detector.fixed_size,
            engine.device,
            engine.mirrors,
        )

    @property
    def label(self) -> str:
        return self._engine.model_id.label

    @property
    def is_on_accelerator(self) -> bool:
        return not self.description.device.startswith(CPU)

    def warm_up(self, side_px: int) -> None:
        """Run both models once, since the first run is slow. `side_px`: of the detector's input."""
        self._engine.warm_up(side_px)

    def search(self, image: Image, picture: Picture) -> Rows:
        """The faces in a scaled picture, as `Scrfd.rows`: (n, 15) float32."""
        detector = self._engine.detector
        fit = Fit(picture.scale, picture.size, detector.fixed_size or input_of(picture.size))
        return detector.rows(image, fit, picture.frame)

    def embed(self, requests: list[list[Image]]) -> list[Rows | None]:
        """For each request the embeddings of its crops, (n, dim) float32, all run as one batch. None: one of its crops gives none."""
        try:
            rows = self._engine.embed([crop for crops in requests for crop in crops])
        except RefusedError:  # whose crop it is: each by itself
            return [self._embed_alone(crops) for crops in requests]
        ends = np.cumsum([len(crops) for crops in requests])[:-1]
        return list(np.split(rows, ends))

    def _embed_alone(self, crops: list[Image]) -> Rows | None:
        try:
            return self._engine.embed(crops)
        except RefusedError:
            return None
