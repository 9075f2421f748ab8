"""An engine whose models run in the inference process. A camera that has one loads no model, and no onnxruntime.

The camera scales the frame straight into its slot, and cuts crops into it. If the inference process dies or hangs, the request is made
again, of the same frame, once there is a new one. So a file gets the same answers whatever happens meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigurationError, RefusedError, TemporaryError
from shared.inference import link
from shared.inference.memory import new_memory
from shared.inference.slot import MAX_PICTURES, Answer, Kind, Outcome, Picture, Request, Slot, SlotFault, room_for
from shared.ipc import wire
from shared.model_id import ModelId
from workers.recognition.alignment import aligned
from workers.recognition.detector import Reach, faces_of, fit_of, scaled
from workers.recognition.engine import Appearance, Face, Image, Points, Vectors
from workers.recognition.face_search import FaceSearch
from workers.recognition.false_match_law import FalseMatchLaw
from workers.recognition.liveness import INPUT_PX, scored
from workers.recognition.model_description import ModelDescription

# A camera embeds at most so many crops of a frame (workers/pipeline/pipeline.py).
_MAX_CROPS = 8
_CONNECT_S = 1.0
# Forty cameras before this one, with eight crops each and a model that takes 150 ms a crop on two processors, take 24 s. The supervisor
# replaces an inference process that hangs long before this.
_ANSWER_S = 60.0
_SLICE_S = 0.5  # between two signs of life while an answer is awaited
_RETRY_S = 0.2


class EngineAway(TemporaryError):
    """The inference process did not come back within the camera's patience, or the camera was asked to stop."""


class Waiting(Protocol):
    """What a camera does while it waits for the inference process."""

    def wait(self, timeout_s: float) -> bool:
        """Wait, at most so long, and give a sign of life. Returns whether the camera was asked to stop."""
        ...


@dataclass
class _Joined:
    """One connection and its slot. Neither outlives the other."""

    connection: socket.socket
    slot: Slot
    model: ModelDescription
    sequence: int = 0

    def close(self) -> None:
        self.connection.close()
        self.slot.close()


class RemoteEngine:
    """An `Engine`, see there. `model_label`: "engine/pack". `det_size`, `least_face_px`: as of the local engine.

    `liveness`: whether `liveness_of` will be asked. `patience_s`: how long a request waits for an inference process that is away. `busy_s`:
    how long processors of the inference process were busy for this camera so far.

    Raises ConfigurationError if the inference process can't load the model; TemporaryError if there is no such process, see `patience_s`.
    """

    def __init__(
        self,
        run_dir: Path,
        model_label: str,
        *,
        det_size: int,
        waiting: Waiting,
        least_face_px: int | None = None,
        liveness: bool = False,
        patience_s: float = float("inf"),
        first_patience_s: float = 60.0,
    ) -> None:
        self._run_dir, self._label, self._waiting = run_dir, model_label, waiting
        self._det_size, self._patience_s, self._liveness = det_size, patience_s, liveness
        self._away_s = 0.0
        self.busy_s = dict.fromkeys(Kind, 0.0)
        self._known: ModelDescription | None = None
        self._joined: _Joined | None = self._join_within(first_patience_s)
        self._search = FaceSearch(self, det_size, least_face_px)

    # --- what an engine is -----------------------------------------------------------------------------------------

    @property
    def description(self) -> ModelDescription:
        assert self._known is not None  # since it was joined once
        return self._known

    @property
    def model_id(self) -> ModelId:
        return self.description.model_id

    @property
    def name(self) -> str:
        return self.model_id.engine

    @property
    def model(self) -> str:
        return self.model_id.pack

    @property
    def fingerprint(self) -> str:
        return self.model_id.fingerprint

    @property
    def dim(self) -> int:
        return self.model_id.dim

    @property
    def threshold(self) -> float:
        return self.description.threshold

    @property
    def margin(self) -> float:
        return self.description.margin

    @property
    def law(self) -> FalseMatchLaw:
        return self.description.law

    @property
    def points(self) -> Points:
        return self.description.points

    @property
    def appearance(self) -> Appearance:
        return self.description.appearance

    @property
    def mirrors(self) -> bool:
        return self.description.mirrors

    @property
    def device(self) -> str:
        return self.description.device

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        return self.description.fixed_size

    def detect(self, frame: Image) -> list[Face]:
        """Faces of a BGR frame (height, width, 3), best score first. Raises EngineAway."""
        return self._search.detect(frame)

    def crop(self, frame: Image, face: Face) -> Image:
        """The aligned BGR crop (side, side, 3) for `embed`; black where it reaches beyond the frame."""
        return aligned(frame, face.points, self.description.side_px)

    def embed(self, crops: list[Image]) -> Vectors:
        """(len(crops), dim) float32, rows of unit L2 norm. Raises RefusedError for a crop that gives no embedding, or EngineAway."""
        parts = [self._embed(crops[start : start + _MAX_CROPS]) for start in range(0, len(crops), _MAX_CROPS)]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    def search(self, frame: Image, reaches: Sequence[Reach]) -> list[list[Face]]:
        """For each reach the faces of a frame, as `OnnxDetector.search`. Raises EngineAway."""
        height, width = frame.shape[:2]
        fits = [fit_of((width, height), reach, self.fixed_size) for reach in reaches[:MAX_PICTURES]]
        visible = [fit for fit in fits if min(fit.picture) >= 1]
        if not visible:
            return [[] for _ in reaches]
        pictures = tuple(Picture(fit.picture, (width, height), fit.scale) for fit in visible)

        def put(slot: Slot, session: int, sequence: int) -> Request:
            request = Request(session, sequence, Kind.SEARCH, pictures)
            for fit, place in zip(visible, slot.pictures(request), strict=True):
                scaled(frame, fit, place)
            return request

        _, results = self._ask(put)
        found = iter(results)
        return [faces_of(next(found)) if min(fit.picture) >= 1 else [] for fit in fits]

    def _embed(self, crops: list[Image]) -> Vectors:
        answer, results = self._ask_of_crops(Kind.EMBED, crops, self.description.side_px)
        if answer.outcome is Outcome.REFUSED:
            raise RefusedError(
                "the model gave no usable embedding",
                where=self.model,
                remedy="if it happens with every face, install the model again",
            )
        if results[0].shape != (len(crops), self.dim):
            raise TemporaryError("the inference process gave another number of embeddings", got=results[0].shape)
        return results[0]

    def liveness_of(self, crops: Sequence[Image]) -> list[float]:
        """The probability that a face is alive for each crop of `liveness_crop`. Only if `liveness` was asked for.

        Raises ConfigurationError when the model's answer is not a probability, or EngineAway.
        """
        found: list[float] = []
        for start in range(0, len(crops), _MAX_CROPS):
            part = crops[start : start + _MAX_CROPS]
            answer, results = self._ask_of_crops(Kind.LIVENESS, part, INPUT_PX)
            if answer.outcome is Outcome.REFUSED or results[0].shape != (len(part), 1):
                raise ConfigurationError(
                    "the liveness model gives no probability",
                    where=self._label,
                    remedy='install it again, or set liveness = "off"',
                )
            found += [float(score) for score in results[0][:, 0]]
        return found

    def _ask_of_crops(
        self, kind: Kind, crops: Sequence[Image], side_px: int
    ) -> tuple[Answer, list[NDArray[np.float32]]]:
        def put(slot: Slot, session: int, sequence: int) -> Request:
            request = Request(session, sequence, kind, (), len(crops), side_px)
            for crop, place in zip(crops, slot.crops(request), strict=True):
                place[:] = crop
            return request

        return self._ask(put)

    # --- the inference process -------------------------------------------------------------------------------------

    def take_away_s(self) -> float:
        """For how long the inference process was away, since the last call, while something was asked of it."""
        away_s, self._away_s = self._away_s, 0.0
        return away_s

    @property
    def total_busy_s(self) -> float:
        """For how long processors of the inference process were busy for this camera so far."""
        return sum(self.busy_s.values())

    def close(self) -> None:
        """Leave the inference process."""
        self._leave()

    def _leave(self) -> None:
        joined, self._joined = self._joined, None
        if joined is not None:
            joined.close()

    def _ask(self, put: _Put) -> tuple[Answer, list[NDArray[np.float32]]]:
        """Make a request until it is answered. Raises EngineAway, or what `_join` raises."""
        asked_at, lost = time.monotonic(), False
        while True:
            if self._joined is None:
                lost = True
                self._joined = self._join_within(self._patience_s - (time.monotonic() - asked_at))
            try:
                answered = self._ask_once(self._joined, put)
            except (OSError, SlotFault):  # it died, or hangs, or is not what it should be: all of it is dropped
                self._leave()
                continue
            if lost:
                self._away_s += time.monotonic() - asked_at
            return answered

    def _ask_once(self, joined: _Joined, put: _Put) -> tuple[Answer, list[NDArray[np.float32]]]:
        joined.sequence += 1
        slot, deadline = joined.slot, time.monotonic() + _ANSWER_S
        request = put(slot, slot.session, joined.sequence)
        slot.ask(request)
        link.ring(joined.connection)
        while not (link.wait_readable(joined.connection, _SLICE_S) and link.take_bell(joined.connection)):
            if self._waiting.wait(0.0):
                self._leave()
                raise EngineAway("the camera was asked to stop while it waited for the inference process")
            if time.monotonic() > deadline:
                raise TimeoutError
        answer = slot.answer(joined.sequence)
        results = slot.take(answer)
        if request.crops:
            slot.wipe(3 * request.crops * request.side_px**2)
        self.busy_s[request.kind] += answer.busy_s
        return answer, results

    def _join_within(self, patience_s: float) -> _Joined:
        """Join the inference process, as soon as there is one. Raises EngineAway if there is none within `patience_s`."""
        deadline = time.monotonic() + patience_s
        while True:
            with contextlib.suppress(OSError, SlotFault):
                return self._join(link.connect(self._run_dir, _CONNECT_S))
            if self._waiting.wait(_RETRY_S) or time.monotonic() > deadline:
                raise EngineAway(
                    "the inference process does not answer",
                    where=str(link.socket_path(self._run_dir)),
                    expected="one process that owns the models, since [recognition] shared_engine is on",
                    remedy="see the site's log for why it does not run",
                )

    def _join(self, connection: socket.socket) -> _Joined:
        """Say which model is wanted, wait while it is loaded, and share a new slot. Raises OSError or SlotFault if the other side is gone."""
        buffer = wire.MessageBuffer()
        try:
            connection.sendall(wire.encode({"op": "join", "model": self._label, "liveness": self._liveness}))
            document = self._next_message(connection, buffer)
            wire.raise_error(document)
            try:
                model = ModelDescription.from_json(document["model"])
            except (ValueError, KeyError, TypeError) as error:
                raise SlotFault("no description of a model") from error
            self._require_same(model)
            width, height = model.fixed_size or (self._det_size, self._det_size)
            room = room_for(MAX_PICTURES * 3 * width * height, _MAX_CROPS, model.side_px, model.model_id.dim)
            descriptor, memory = new_memory(room.slot, self._run_dir)
            try:
                slot = Slot.begin(memory, room, secrets.randbits(64))
                link.send_descriptor(connection, {"op": "share"}, descriptor)
            finally:
                os.close(descriptor)
            if not self._next_message(connection, buffer).get("shared"):
                raise SlotFault("the slot was not taken")
        except BaseException:
            connection.close()
            raise
        self._known = model
        return _Joined(connection, slot, model)

    def _next_message(self, connection: socket.socket, buffer: wire.MessageBuffer) -> dict[str, Any]:
        """The next message. It may take as long as a model takes to load: the supervisor ends an inference process that hangs."""
        while (document := link.receive_message(connection, buffer, time.monotonic() + _SLICE_S)) is None:
            if self._waiting.wait(0.0):
                raise EngineAway("the camera was asked to stop while it waited for the inference process")
        return document

    def _require_same(self, model: ModelDescription) -> None:
        """Raise TemporaryError if the model became another one while the inference process was away. The camera then starts anew."""
        if self._known is not None and not self._known.model_id.is_same(model.model_id):
            raise TemporaryError(
                "the model was replaced while the camera ran",
                where=self._label,
                got=model.model_id.shown,
                expected=self._known.model_id.shown,
            )


class RemoteLiveness:
    """A `Liveness` of a RemoteEngine that has asked for it."""

    def __init__(self, engine: RemoteEngine) -> None:
        self._engine = engine

    def score(self, frame: Image, faces: Sequence[Face]) -> list[float | None]:
        """As `LivenessModel.score`."""
        return scored(frame, faces, self._engine.liveness_of)


class _Put(Protocol):
    """Writes what is asked about into a slot."""

    def __call__(self, slot: Slot, session: int, sequence: int) -> Request: ...
