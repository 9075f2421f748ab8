"""The cameras that have joined: each with its connection, and from its second message on with its slot."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass, field

from shared.errors import ConfigurationError
from shared.inference import link
from shared.inference.memory import attached_memory
from shared.inference.slot import FACE_FLOATS, MAX_FACES, Answer, Kind, Request, Slot, SlotFault
from shared.ipc import wire
from workers.recognition.liveness import INPUT_PX
from workers.recognition.model_description import ModelDescription

_MAX_SIDE_PX = 1920  # of a picture: the largest det_size


@dataclass(eq=False)
class Member:
    """One camera's connection. `model`: the label of the model that it wants. `slot`: None until it has shared one."""

    connection: socket.socket
    model: str | None = None
    liveness: bool = False  # whether it asks for that, too
    slot: Slot | None = None
    request: Request | None = None  # the one that is not answered yet
    gone: bool = False
    _description: ModelDescription | None = None
    _sequence: int = 0
    _buffer: wire.MessageBuffer = field(default_factory=wire.MessageBuffer)

    def read(self) -> str | None:
        """Read what has arrived. Returns what it asks for: "join", or "request", or None: nothing yet.

        Raises OSError if the camera is gone, SlotFault if it does not keep to the protocol.
        """
        if self.slot is not None:
            return self._read_request(self.slot) if link.take_bell(self.connection) else None
        try:
            data, descriptors = link.receive_some(self.connection)
        except BlockingIOError:
            return None
        try:
            if not data:
                raise ConnectionResetError("the camera is gone")
            self._buffer.feed(data)
            return self._read_message(descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _read_message(self, descriptors: list[int]) -> str | None:
        document = link.next_message(self._buffer)
        if document is None and not descriptors:
            return None
        if document is not None and document.get("op") == "join" and self.model is None:
            model = document.get("model")
            if isinstance(model, str) and len(model) <= 200:
                self.model, self.liveness = model, document.get("liveness") is True
                return "join"
        if document is not None and document.get("op") == "share" and self._description is not None and descriptors:
            self.slot = Slot.attach(attached_memory(descriptors[0]))
            self.connection.send(wire.encode({"shared": True}))
            return None
        raise SlotFault("a message out of turn")

    def _read_request(self, slot: Slot) -> str:
        if self.request is not None:
            raise SlotFault("a second request")
        request = slot.request(self._sequence)
        self._require_fit(request)
        self._sequence += 1
        self.request = request
        return "request"

    def _require_fit(self, request: Request) -> None:
        """Raise SlotFault for pictures that the detector does not take, or crops that the recogniser does not."""
        model = self._description
        assert model is not None and self.slot is not None  # it has shared a slot
        most = model.fixed_size or (_MAX_SIDE_PX, _MAX_SIDE_PX)
        if any(picture.size[0] > most[0] or picture.size[1] > most[1] for picture in request.pictures):
            raise SlotFault("a picture that is larger than the detector's input")
        if request.kind is Kind.SEARCH:
            if 4 * len(request.pictures) * MAX_FACES * FACE_FLOATS > self.slot.room.results:
                raise SlotFault("a search without room for as many faces as there may be")
            return
        side_px, width = (model.side_px, model.model_id.dim) if request.kind is Kind.EMBED else (INPUT_PX, 1)
        if request.side_px != side_px or (request.kind is Kind.LIVENESS and not self.liveness):
            raise SlotFault("crops of another size, or for a model that it did not ask for")
        if 4 * request.crops * width > self.slot.room.results:
            raise SlotFault("more crops than the slot has room for answers")

    def welcome(self, description: ModelDescription) -> None:
        """Tell the camera about its model. Raises OSError if it is gone."""
        self._description = description
        self.connection.send(wire.encode({"model": description.to_json()}))

    def refuse(self, error: ConfigurationError) -> None:
        """Tell the camera why it can't have its model."""
        with contextlib.suppress(OSError):
            self.connection.send(wire.encode(wire.error_document(error)))

    def answered(self, answer: Answer) -> None:
        """The answer is ready in the slot: ring. The camera may ask again before this returns, so the request is cleared first."""
        assert self.slot is not None
        self.request = None
        self.slot.conclude(answer)
        with contextlib.suppress(OSError):  # it is gone: the loop finds out by itself
            link.ring(self.connection)

    def close(self) -> None:
        self.gone = True
        self.connection.close()
        if self.slot is not None and self.request is None:
            self.slot.close()
