"""Opens a camera's source once, for somebody who adds it: its first picture, its size, rate and codec, and the faces in it.

`python -m workers.camera_test.process` is started by the web process for one test. It gets what to test as a line of JSON on standard input,
since a source may hold a password, and writes its answer to standard output: the length of the JSON (uint32, little endian), the JSON, and the
JPEG. A stream that breaks its decoder, or never ends, costs only this process: it has limits of memory and of processor time, and whoever
started it ends it after a while.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setproctitle import setproctitle

from shared.errors import EXIT_DONE, RefusedError, RollcallError
from shared.process.own_limits import allow_cpu, limited_memory, lower_limit
from shared.settings.schema import Settings
from shared.settings.settable import why_not_reached
from shared.settings.sources import Reached, Source, parse_address, resolve_source
from shared.supervision.child import die_with_parent, run_child
from workers.capture.capture import Capture, CaptureState, Frame
from workers.models.opening import open_engine
from workers.recognition.devices import CPU
from workers.recognition.engine import Face, Image

_NICENESS = 10
_CPU_S = 30
_EXTRA_BYTES = 1 << 30  # for decoders and pictures, as a camera's process has it
_FRAME_S = 10.0
_MEASURED_S = 2.0  # how long the frames are counted
_FPS = 5.0
_MAX_WIDTH_PX = 960
_QUALITY = 80
_MAX_FACES = 50
_HEAD = struct.Struct("<I")


@dataclass(frozen=True)
class Opened:
    """What a source gave. `fps`: frames a second that came; None: it gives single pictures, or too few came."""

    frame: Frame
    codec: str
    fps: float | None


def main() -> int:
    """Test what standard input asks for. Returns the exit code."""
    setproctitle("rollcall: camera test")
    die_with_parent()
    lower_limit(resource.RLIMIT_CORE, 0)
    allow_cpu(_CPU_S)
    with contextlib.suppress(OSError):  # a courtesy that a sandbox may refuse
        os.nice(_NICENESS)
    asked = json.loads(sys.stdin.readline())
    settings = Settings.from_json(asked["settings"])
    reached = Reached(asked["tls"], asked["transport"], Path(asked["ca_file"]) if asked["ca_file"] else None)
    try:
        opened = _opened(resolve_source(asked["source"], "source", environ={}, reached=reached), asked["own_ports"])
        document, jpeg = _described(opened, settings)
    except RollcallError as error:
        document, jpeg = {"error": {"what": error.what, "got": str(error.got or ""), "remedy": error.remedy}}, b""
    head = json.dumps(document).encode()
    sys.stdout.buffer.write(_HEAD.pack(len(head)) + head + jpeg)
    sys.stdout.buffer.flush()
    return EXIT_DONE


def _opened(source: Source, own_ports: Collection[int]) -> Opened:
    """Open a source, and count what comes for a moment. Raises RefusedError."""
    _guard_names(source, own_ports)
    with limited_memory(_EXTRA_BYTES):
        capture = Capture(source, fps=_FPS, realtime=True)
        capture.start()
        try:
            frame = capture.next_frame(_FRAME_S)
            if frame is None:
                status = capture.status()
                nothing = (
                    "it has no frames" if status.state is CaptureState.ENDED else f"no picture in {_FRAME_S:.0f} s"
                )
                raise _no_picture(status.reason or f"{source.shown}: {nothing}")
            began, before, later = time.monotonic(), capture.status().grabbed, frame
            while (left := began + _MEASURED_S - time.monotonic()) > 0:
                later = capture.next_frame(left) or later
            came = capture.status().grabbed - before
            fps = came / (time.monotonic() - began) if came > 1 else None
            # The later one: a camera that wakes up gives a dark picture first.
            return Opened(later, capture.codec, None if fps is None else round(fps, 1))
        finally:
            capture.stop()


def _guard_names(source: Source, own_ports: Collection[int]) -> None:
    """Have every name that this process resolves looked at: a name server must not send us to an address that can't be given. Over HTTP no
    connection is made without this; an RTSP address is looked at before FFmpeg opens it. Raises RefusedError."""
    plain = socket.getaddrinfo

    def guarded(*given: Any, **named: Any) -> Any:
        found = plain(*given, **named)
        for *_, place in found:
            if why := why_not_reached(str(place[0]), int(place[1]), own_ports):
                raise OSError(0, why)
        return found

    socket.getaddrinfo = guarded
    address = parse_address(str(source.address))
    if address is None:
        raise _no_picture("not an address that can be read")
    try:
        guarded(address.host, address.port or 0)
    except OSError as error:
        raise _no_picture(f"{source.shown}: {error.strerror or error}") from error


def _no_picture(why: str) -> RefusedError:
    return RefusedError("the camera gives no picture", got=why, remedy="check its power, address, path and password")


def _described(opened: Opened, settings: Settings) -> tuple[dict[str, Any], bytes]:
    """The answer's document, and the picture as a JPEG, at most 960 pixels wide."""
    import cv2

    image = opened.frame.image
    height, width = image.shape[:2]
    found: list[Face] | None = None
    fault = None
    try:
        found = _faces(image, settings)
    except RollcallError as error:
        fault = error.line()
    scale = min(1.0, _MAX_WIDTH_PX / width)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1.0 else image
    jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    faces = None if found is None else [[round(float(side)) for side in one.box] for one in found[:_MAX_FACES]]
    document = {
        "width": width, "height": height, "fps": opened.fps, "codec": opened.codec, "faces": faces, "faces_fault": fault,
    }  # fmt: skip
    return document, jpeg


def _faces(image: Image, settings: Settings) -> list[Face]:
    engine = open_engine(settings.engine_choice, det_size=settings.recognition.det_size, threads=1, device=CPU)
    return engine.detect(image)


if __name__ == "__main__":
    sys.exit(run_child(main))
