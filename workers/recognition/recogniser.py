"""Runs a pack's recogniser on crops, in numbers that its graph and its device take well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.recognition.devices import CPU
from workers.recognition.engine import Image
from workers.recognition.onnx_session import run_session
from workers.recognition.pack import OnnxModel

# On a processor many crops at once take as long as one after another (5.6 ms each), and more memory.
_MOST_ON_CPU = 2
# On an accelerator a run of many costs little more than one of few. But CUDA's library makes a new plan whenever a session gets another number
# of crops than before, which took 89 ms where a run took 2.4. So each of these numbers has a session of its own, and runs are filled up.
_NUMBERS_ON_ACCELERATOR = (1, 4, 16, 32)
MAX_CROPS_AT_ONCE = _NUMBERS_ON_ACCELERATOR[-1]


class Recogniser:
    """`device`: what runs it. `open_session`: makes a session for the model on that device; it raises what `onnx_session.open_session` does."""

    def __init__(self, model: OnnxModel, device: str, open_session: Callable[[], Any]) -> None:
        self._pixels, self.side_px = model.pixels, model.side_px
        numbers: tuple[int, ...] = () if device == CPU else _NUMBERS_ON_ACCELERATOR
        if model.batch:
            numbers = (model.batch,)
        # By the number of crops of a run, rising; without numbers one session takes any.
        self._sessions = {number: open_session() for number in numbers} or {0: open_session()}
        self._most = numbers[-1] if numbers else _MOST_ON_CPU
        self._input = next(iter(self._sessions.values())).get_inputs()[0].name
        self.dim = model.dim or int(self.run([np.zeros((self.side_px, self.side_px, 3), np.uint8)]).shape[1])

    def run(self, crops: list[Image]) -> NDArray[np.floating[Any]]:
        """The raw embeddings of crops, BGR (side, side, 3): one or more rows of `dim` numbers."""
        parts = [self._run(crops[start : start + self._most]) for start in range(0, len(crops), self._most)]
        return np.concatenate(parts)

    def warm_up(self) -> None:
        """Run each session once, since the first run is slow."""
        crop = np.random.default_rng(0).integers(0, 255, (self.side_px, self.side_px, 3)).astype(np.uint8)
        for number in self._sessions:
            self._run([crop] * max(1, number))

    def _run(self, crops: list[Image]) -> Any:
        number = next((number for number in self._sessions if number >= len(crops)), 0)
        filled = [*crops, *crops[-1:] * (number - len(crops))]
        blob = self._pixels.blob(filled, (self.side_px, self.side_px))
        return run_session(self._sessions[number], None, {self._input: blob})[0][: len(crops)]
