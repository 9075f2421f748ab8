"""A process that looks at photos for the web part: what they are good for, who is in them; and enrols them.

`python -m workers.photos.desk` is started by the web process (workers/dashboard/photo_desk.py) when somebody needs it, with a socket as its
standard input, and is ended when nobody has needed it for a while. It holds the engine and maps the gallery, so that the web process holds
neither. A photo comes as a descriptor (shared/ipc/desk.py) and is decoded in one more process, since it may come from anybody. The gallery's
writer does all the writing. Photos are in memory only, until they are enrolled.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import resource
import signal
import socket
import sys
from array import array
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from setproctitle import setproctitle

from shared.errors import EXIT_DONE, RefusedError, RollcallError, UsageError
from shared.ipc import desk, wire
from shared.ipc.requests.base import Answer, Request
from shared.photos.metadata import suffix_of, without_metadata
from shared.photos.reading import Image, Photo, is_heic
from shared.process.machine import usable_cpus
from shared.process.own_limits import lower_limit
from shared.service.access import RunningSite
from shared.settings.schema import Settings
from shared.supervision.child import die_with_parent, run_child
from workers.models.opening import open_engine
from workers.photos.assessing import Measure, assess_image, of_person, photo_of_face
from workers.photos.capturing import Capture
from workers.photos.embedding import enrolment_gate
from workers.photos.enrolling import EnrolmentReport, HandedIn, enrol_photos
from workers.photos.identify import identify_photo
from workers.photos.naming import Found, person_name
from workers.photos.naming_strangers import enrol_stranger
from workers.photos.pool import PhotoReader
from workers.photos.same_model import require_same_model
from workers.recognition.devices import CPU
from workers.recognition.engine import Engine
from workers.recognition.face_picture import as_jpeg
from workers.recognition.working_point import limits

_log = logging.getLogger("photos")
_MAX_CAPTURES = 4
_JPEG_QUALITY = 95  # of a photo that is kept in another format than it came in


class Desk:
    """What the process does. One request at a time."""

    def __init__(self, settings: Settings, engine: Engine, site: RunningSite, reader: PhotoReader) -> None:
        self._settings, self._engine, self._site, self._reader = settings, engine, site, reader
        recognition = settings.recognition
        by_hand = recognition.threshold
        gate = enrolment_gate(engine, recognition.min_face_px)
        self._measure = Measure(gate, engine.threshold if by_hand is None else by_hand)
        self._captures: dict[str, Capture] = {}
        self._do: dict[type[Request[Any]], Callable[[Any, bytes], Answer]] = {
            desk.Assess: self.assess,
            desk.Identify: self.identify,
            desk.Enrol: self.enrol,
            desk.EnrolStranger: self.enrol_stranger,
            desk.Look: self.look,
            desk.Capture: self.capture,
        }

    def answer(self, request: Request[Any], data: bytes) -> Answer:
        """Carry out a request. `data`: the photo's or the frame's bytes. Raises RollcallError."""
        return self._do[type(request)](request, data)

    def assess(self, request: desk.Assess, data: bytes) -> desk.AssessedPhoto:
        try:
            image, scale = self._decoded(data)
        except RefusedError as error:
            return desk.AssessedPhoto(fault=_fault(error))
        return self._assessed(image, scale, request.person)

    def _assessed(self, image: Image, scale: int, person: str | None) -> desk.AssessedPhoto:
        with self._site.matching(_log.warning) as gallery:
            faces = assess_image(self._engine, gallery, image, self._measure_for(person), scale)
        height, width = image.shape[:2]
        return desk.AssessedPhoto(width=width * scale, height=height * scale, faces=faces)

    def _measure_for(self, person: str | None) -> Measure:
        if person is None:
            return self._measure
        vectors = list(self._site.vectors_of(person).values())
        return of_person(self._measure, person, np.stack(vectors) if vectors else np.empty((0, 0), np.float32))

    def identify(self, _: desk.Identify, data: bytes) -> desk.IdentifiedPhoto:
        recognition = self._settings.recognition
        with self._site.matching(_log.warning) as gallery:
            answer = identify_photo(
                "",
                self._engine,
                gallery,
                limits(
                    self._engine,
                    gallery.tail,
                    recognition.strangers_named,
                    recognition.threshold,
                    recognition.margin,
                ),
                min_face_px=recognition.min_face_px,
                read=lambda _: self._decoded(data),
            )
        return desk.IdentifiedPhoto(photo=answer.to_json())

    def enrol(self, request: desk.Enrol, data: bytes) -> desk.PhotoEnrolled:
        person = person_name(request.person)
        require_same_model(self._site, self._engine, self._settings)
        try:
            photo = self._photo_to_keep(data, request.box)
        except RefusedError as error:
            return desk.PhotoEnrolled(person=person, fault=_fault(error))
        if request.is_new:
            self._require_new(person, photo)
        report = enrol_photos(
            Found([(person, photo.path)]),
            self._site,
            self._engine,
            self._settings,
            user_id=request.user_id,
            handed_in=HandedIn({photo.path: photo}, self._reader),
        )
        return _outcome(person, report)

    def _require_new(self, person: str, photo: Photo) -> None:
        references = list(self._site.references(person))
        if references and photo.digest not in {one.photo_digest for one in references}:
            raise RefusedError(
                "somebody of that name is enrolled already",
                where=person,
                remedy="add the photo to that person, or choose another name",
            )

    def _photo_to_keep(self, data: bytes, box: list[float] | None) -> Photo:
        """The photo that is enrolled: as it came, without metadata; a JPEG if it came as HEIC; cut down if another face is chosen than the one
        that counts. Its name is made from its content, and never from the name under which it came."""
        kept = without_metadata(data)
        if is_heic(data) or box is not None:
            image, scale = self._decoded(data)
            part = None if box is None else photo_of_face(self._engine, image, box, scale)
            if part is not None:
                kept = part
            elif is_heic(data):
                kept = as_jpeg(image, _JPEG_QUALITY)
        digest = hashlib.sha256(kept).hexdigest()
        path = self._settings.run_dir / f"web-{digest[:16]}{suffix_of(kept)}"
        return Photo(path, kept, hashlib.sha256(data).hexdigest())

    def _decoded(self, data: bytes) -> tuple[Image, int]:
        """Decoded in another process, within limits. Raises RefusedError."""
        return self._reader.decode(Photo(self._settings.run_dir / "photo", without_metadata(data), ""))

    def enrol_stranger(self, request: desk.EnrolStranger, _: bytes) -> desk.StrangerEnrolled:
        person = person_name(request.person)
        require_same_model(self._site, self._engine, self._settings)
        report, named = enrol_stranger(
            self._site.stranger(request.id), person, self._site, self._engine, self._settings, user_id=request.user_id
        )
        answer = desk.StrangerEnrolled(person=person, enrolled=len(report.enrolled), sightings=named.sightings)
        return answer.with_warnings(sorted(report.warnings))

    def look(self, request: desk.Look, data: bytes) -> desk.Looked:
        capture = self._captures.get(request.capture)
        if capture is None:
            while len(self._captures) >= _MAX_CAPTURES:  # of somebody who went away
                self._captures.pop(next(iter(self._captures)))
            capture = self._captures[request.capture] = Capture(self._engine, self._measure.gate)
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if frame is None:
            raise UsageError("no frame of a camera")
        refused = capture.look(np.asarray(frame, np.uint8), request.box)
        return desk.Looked(crops=len(capture.crops), enough=capture.enough, refused=refused)

    def capture(self, request: desk.Capture, _: bytes) -> desk.Captured:
        capture = self._captures.pop(request.capture, None)
        crops: list[desk.CapturedCrop] = []
        for jpeg in capture.crops if capture else []:
            image = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
            # The crop itself is judged, since it is what will be kept.
            faces = self._assessed(image, 1, request.person).faces
            proposed = next((face for face in faces if face.proposed), None)
            if proposed is not None and proposed.fit:
                crops.append(desk.CapturedCrop(base64.b64encode(jpeg).decode(), proposed))
        return desk.Captured(crops=crops, refused=dict(capture.refused) if capture else {})


def _fault(error: RollcallError) -> desk.PhotoFault:
    got = None if error.got in (None, "") else str(error.got)
    return desk.PhotoFault(error.what, got, error.expected or None, error.remedy or None)


def _outcome(person: str, report: EnrolmentReport) -> desk.PhotoEnrolled:
    fault = desk.PhotoFault(report.refused[0]["reason"]) if report.refused else None
    answer = desk.PhotoEnrolled(
        person=person, fault=fault, unchanged=report.unchanged > 0, set_aside=bool(report.set_aside)
    )
    return answer.with_warnings(sorted(report.warnings))


# --- the process ----------------------------------------------------------------------------------------------------


def main() -> int:
    """Answer requests until the channel closes. Returns the exit code."""
    setproctitle("rollcall: desk")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the site, which ends its children
    die_with_parent()
    channel, inbox = socket.socket(fileno=os.dup(0)), _Inbox()
    try:
        first, _ = inbox.receive(channel)
        settings = Settings.from_json(first["settings"])
        try:
            engine = open_engine(
                settings.engine_choice,
                det_size=settings.recognition.det_size,
                threads=max(1, usable_cpus() // 2),
                device=CPU,
            )
            site = RunningSite(settings)
            require_same_model(site, engine, settings)
        except RollcallError as error:
            channel.sendall(wire.encode(wire.error_document(error)))
            return error.exit_code
        channel.sendall(wire.encode({"ready": True}))
        with PhotoReader(heic=True) as reader:
            one = Desk(settings, engine, site, reader)
            while True:
                message, data = inbox.receive(channel)
                channel.sendall(_answer(one, message, data))
    except (ConnectionResetError, BrokenPipeError):
        return EXIT_DONE  # nobody needs it any more


def _answer(one: Desk, message: dict[str, Any], data: bytes) -> bytes:
    try:
        kind = desk.REQUESTS[str(message.get("op"))]
        return wire.encode(one.answer(kind.from_wire(message.get("arguments"), b""), data).to_json())
    except RollcallError as error:
        return wire.encode(wire.error_document(error))


class _Inbox:
    """Receives messages, and the files that come with them."""

    def __init__(self) -> None:
        self._buffer = wire.MessageBuffer()
        self._files: list[int] = []

    def receive(self, channel: socket.socket) -> tuple[dict[str, Any], bytes]:
        """The next message, and the bytes of the file that came with it, or its own. Raises ConnectionError if the other side is gone."""
        while (message := self._buffer.next()) is None:
            received, carried, _, _ = channel.recvmsg(1 << 16, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
            for level, kind, raw in carried:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self._files += array("i", raw[: len(raw) - len(raw) % 4]).tolist()
            if not received:
                raise ConnectionResetError("the web process is gone")
            self._buffer.feed(received)
        document, blob = message
        if not self._files:
            return document, blob
        with open(self._files.pop(0), "rb") as file:  # noqa: PTH123  # a descriptor has no path
            file.seek(0)
            return document, file.read(desk.MAX_PHOTO_BYTES + 1)


if __name__ == "__main__":
    lower_limit(resource.RLIMIT_CORE, 0)  # a dump of its memory would hold faces
    sys.exit(run_child(main))
