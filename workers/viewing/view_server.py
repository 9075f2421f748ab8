"""Shows a camera's newest frame to whoever asks on the camera's socket. The camera never waits for a reader.

The work loop only asks `wanted`, and hands over a frame while somebody looks. A thread of its own encodes and sends; it sleeps while
nobody is connected. Readers are bounded in number, in what they may send, and in how long they may leave an answer unread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from shared.errors import RefusedError, RollcallError, TemporaryError, UsageError
from shared.events import iso_time
from shared.files.identity import identity
from shared.files.private_folder import make_private_folder
from shared.ipc import wire
from shared.ipc.view import DIVISORS, MAX_REQUEST_BYTES, NO_FRAME_S, LiveTrack, View, Viewed, view_path
from workers.recognition.engine import Image

_MAX_READERS = 16
_BACKLOG = 16
_UNREAD_S = 10.0  # a reader that leaves an answer unread for so long is dropped
_IDLE_S = 60.0  # and one that asks nothing for so long
_CHECK_FILE_S = 2.0
_STOP_S = 2.0
_TILE = 4  # the divisor of a tile of the wall; smaller ones are looked at closely
_JPEG_QUALITY = 80

_log = logging.getLogger("rollcall.camera")


@dataclass(frozen=True, eq=False)
class _Shot:
    """A frame as the work loop handed it over. `jpegs`: what was encoded of it, by divisor."""

    image: Image
    view: Viewed
    jpegs: dict[int, bytes] = field(default_factory=dict)


class _Reader:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.inbox, self.outbox = wire.MessageBuffer(), bytearray()
        self.asked: View | None = None
        self.active_at = time.monotonic()  # when it last asked, or took something
        self.closing = False


class ViewServer:
    """The socket of one camera. Use `wanted`, `wanted_moving` and `show` from the work loop."""

    def __init__(self, run_dir: Path, camera: str) -> None:
        self._run_dir, self._camera, self._path = run_dir, camera, view_path(run_dir, camera)
        self._lock = threading.Lock()
        self._newest: _Shot | None = None
        self._number = 0
        self._wanted_until = self._close_until = float("-inf")
        self._readers: dict[int, _Reader] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        self._listener: socket.socket | None = None
        self._file: tuple[int, int] | None = None
        self._complained = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="view-server", daemon=True)

    def start(self) -> None:
        """Listen, on a thread. Returns at once."""
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._thread.start()

    @property
    def wanted(self) -> bool:
        """Whether somebody looks."""
        return time.monotonic() < self._wanted_until

    @property
    def wanted_moving(self) -> bool:
        """Whether somebody has just come, or looks at more than a tile. A tile of a room in which nothing moves needs no more pictures than
        the camera looks at by itself."""
        return time.monotonic() < self._close_until

    def show(self, image: Image, wall_time: float, tracks: Callable[[], Sequence[LiveTrack]]) -> None:
        """Hand over a frame, if somebody looks. Never waits. `image`: BGR (height, width, 3), not changed any more. `wall_time`: seconds since
        1970. `tracks()`: the faces that are followed now."""
        if not self.wanted:
            return
        height, width = image.shape[:2]
        self._number += 1
        view = Viewed(number=self._number, time=iso_time(wall_time), width=width, height=height, tracks=list(tracks()))
        with self._lock:
            self._newest = _Shot(image, view)
        self._wake()

    def stop(self) -> None:
        """Stop listening, and drop everybody."""
        self._stopping.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_writer.send(b"x")

    # --- the thread --------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        check_at = 0.0
        while not self._stopping.is_set():
            if (now := time.monotonic()) >= check_at:
                check_at = now + _CHECK_FILE_S
                self._check_file()
            for key, mask in self._selector.select(_CHECK_FILE_S if not self._readers else 0.5):
                if key.data is not None:
                    self._exchange(key.data, mask)
                elif key.fileobj is self._wake_reader:
                    self._wake_reader.recv(4096)
                else:
                    self._accept()
            self._answer()
            self._drop_idle()
        for reader in list(self._readers.values()):
            self._drop(reader)
        self._stop_listening()
        self._selector.close()

    def _check_file(self) -> None:
        """Listen; and listen anew if somebody removed the socket's file."""
        if self._listener is not None and identity(self._path) == self._file:
            return
        if self._listener is not None:
            _log.error("camera %s: its socket was removed by somebody else and is made anew", self._camera)
        try:
            self._stop_listening()
            make_private_folder(self._run_dir)
            self._listen()
            self._complained = False
        except (OSError, RollcallError) as error:  # tried again at the next check
            if not self._complained:
                _log.warning("camera %s can't be watched live: %s", self._camera, error)
            self._complained = True

    def _listen(self) -> None:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(OSError):  # elsewhere than on Linux; the folder lets nobody else in either way
                os.fchmod(listener.fileno(), 0o600)  # not umask, which is the whole process's
            with wire.address(self._path) as where:
                listener.bind(where)
            self._path.chmod(0o600)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        self._listener, self._file = listener, identity(self._path)
        self._selector.register(listener, selectors.EVENT_READ, None)

    def _stop_listening(self) -> None:
        if self._listener is None:
            return
        self._selector.unregister(self._listener)
        self._listener.close()
        self._listener = None
        if identity(self._path) == self._file:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        assert self._listener is not None  # it is registered only while it listens
        try:
            connection, _ = self._listener.accept()
        except OSError:  # gone already, or no descriptor is left
            return
        if len(self._readers) >= _MAX_READERS:
            connection.close()
            return
        connection.setblocking(False)
        reader = self._readers[connection.fileno()] = _Reader(connection)
        self._selector.register(connection, selectors.EVENT_READ, reader)

    def _exchange(self, reader: _Reader, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                data = reader.connection.recv(MAX_REQUEST_BYTES)
                if not data:
                    self._drop(reader)
                    return
                reader.inbox.feed(data)
                self._take(reader)
            if mask & selectors.EVENT_WRITE:
                self._push(reader)
        except RollcallError as error:  # after a faulty message nothing else can be read
            reader.outbox += wire.encode(wire.error_document(error))
            reader.closing = True
            self._push(reader)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(reader)

    def _take(self, reader: _Reader) -> None:
        if len(reader.inbox) > MAX_REQUEST_BYTES:
            raise RefusedError("a message over the limits", expected=f"at most {MAX_REQUEST_BYTES} bytes")
        message = reader.inbox.next()
        if message is None:
            return
        if reader.asked is not None or reader.outbox:
            raise UsageError("the next question comes after the answer", where=View.op)
        reader.asked = _asked(message[0])
        reader.active_at = time.monotonic()
        self._wanted_until = reader.active_at + NO_FRAME_S
        if reader.asked.divide < _TILE or not reader.asked.after:
            self._close_until = self._wanted_until

    def _answer(self) -> None:
        """Send the newest frame to those who ask for one after theirs; and tell those who have waited long that there is none."""
        with self._lock:
            shot = self._newest
            if shot is not None and not self.wanted:
                shot = self._newest = None  # nobody looks any more: no picture of anybody is kept
        for reader in list(self._readers.values()):
            if reader.asked is None:
                continue
            if shot is not None and shot.view.number > reader.asked.after:
                reader.outbox += wire.encode(shot.view.to_json(), _jpeg(shot, reader.asked.divide))
            elif time.monotonic() - reader.active_at > NO_FRAME_S:
                reader.outbox += wire.encode(wire.error_document(TemporaryError("the camera gives no frames")))
            else:
                continue
            reader.asked = None
            self._push(reader)

    def _push(self, reader: _Reader) -> None:
        try:
            while reader.outbox:
                del reader.outbox[: reader.connection.send(reader.outbox)]
                reader.active_at = time.monotonic()
        except BlockingIOError:
            pass
        except OSError:
            self._drop(reader)
            return
        if reader.closing and not reader.outbox:
            self._drop(reader)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if reader.outbox else 0)
        self._selector.modify(reader.connection, wanted, reader)

    def _drop_idle(self) -> None:
        now = time.monotonic()
        for reader in list(self._readers.values()):
            if now - reader.active_at > (_UNREAD_S if reader.outbox or len(reader.inbox) else _IDLE_S):
                self._drop(reader)

    def _drop(self, reader: _Reader) -> None:
        number = reader.connection.fileno()
        if number in self._readers:
            del self._readers[number]
            self._selector.unregister(reader.connection)
            reader.connection.close()


def _asked(document: dict[str, Any]) -> View:
    """The request in a message. Raises UsageError."""
    if document.get("op") != View.op:
        raise UsageError("a camera knows one request only", got=str(document.get("op"))[:40], expected=View.op)
    view = View.from_wire(document.get("arguments"), b"")
    if view.divide not in DIVISORS:
        raise UsageError("no such size", got=view.divide, expected=f"one of {DIVISORS}")
    return view


def _jpeg(shot: _Shot, divide: int) -> bytes:
    """The frame as a JPEG, made once for all who ask."""
    if divide not in shot.jpegs:
        image = _smaller(shot.image, divide)
        encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not encoded:
            raise ValueError("OpenCV could not write a JPEG")
        shot.jpegs[divide] = data.tobytes()
    return shot.jpegs[divide]


def _smaller(image: Image, divide: int) -> Image:
    """The picture with its width and height divided, each pixel the mean of those that it stands for. `divide`: one of DIVISORS.

    Halved and halved again: OpenCV has a fast path for halves only. A quarter takes .3 ms of 720p so, and .9 ms in one step.
    """
    height, width = (side // divide * divide for side in image.shape[:2])
    smaller: Image = image[:height, :width] if height and width else image
    while divide > 1:
        size = (max(1, smaller.shape[1] // 2), max(1, smaller.shape[0] // 2))
        smaller = np.asarray(cv2.resize(smaller, size, interpolation=cv2.INTER_AREA), np.uint8)
        divide //= 2
    return smaller
