"""A process that reads photos, which anybody may have made: whatever one of them does, it does to this process alone.

`python -m workers.photos.process`, started by `workers.photos.pool` with a socket as its standard input. It is given bytes and
gives back pixels or an embedding; it opens no photo, no database and no gallery. Each photo has a limit of processor time and,
while it is decoded, of memory; one that needs more processor time takes the process down, which the pool then replaces.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from setproctitle import setproctitle

from shared.errors import EXIT_DONE, RefusedError, RollcallError
from shared.ipc import wire
from shared.photos.reading import decode_photo
from shared.process.own_limits import allow_cpu, limited_memory, lower_limit
from shared.settings.schema import Settings
from shared.supervision.child import die_with_parent, run_child
from shared.supervision.child_process import PARENT_VARIABLE
from workers.models.opening import open_engine
from workers.photos.embedding import embed_image, enrolment_gate
from workers.recognition.engine import Engine
from workers.recognition.quality import Gate


@dataclass(frozen=True)
class Limits:
    """Of one photo: processor time for all of it, time until the answer, and what decoding may allocate."""

    cpu_s: int = 30  # the slowest photo that is read takes 3 s of a slow core
    time_s: float = 120.0
    decoder_bytes: int = 640 << 20  # of 30 megapixels WebP takes most: 490 MB

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def main() -> int:
    setproctitle("rollcall: photos")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the command, which ends its processes
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is not None:
        die_with_parent(int(parent))
    channel, buffer = socket.socket(fileno=os.dup(sys.stdin.fileno())), wire.MessageBuffer()
    try:
        asked, _ = wire.receive(channel, buffer)
        limits = Limits(**asked["limits"])
        engine = gate = None
        if asked["embed"]:
            settings = Settings.from_json(asked["settings"])
            try:
                engine = open_engine(settings, det_size=settings.recognition.det_size, threads=1)
            except RollcallError as error:
                channel.sendall(wire.encode(wire.error_document(error)))
                return error.exit_code
            gate = enrolment_gate(engine, settings.recognition.min_face_px) if asked["gated"] else None
        channel.sendall(wire.encode({"ready": True}))
        while True:
            asked, data = wire.receive(channel, buffer)
            channel.sendall(_answer(data, asked["suffix"], engine, gate, limits))
    except (ConnectionResetError, BrokenPipeError):
        return EXIT_DONE  # the command has ended


def _go_first() -> None:
    """When memory runs out, the kernel shall take the process that costs one photo; nor is a face left in a core dump."""
    lower_limit(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError):  # a courtesy that a sandbox may refuse
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _answer(data: bytes, suffix: str, engine: Engine | None, gate: Gate | None, limits: Limits) -> bytes:
    """The frame that answers one photo."""
    allow_cpu(limits.cpu_s)
    try:
        with limited_memory(limits.decoder_bytes):
            image, scale = decode_photo(data, suffix)
        if engine is None:
            return wire.encode({"shape": image.shape, "scale": scale}, image.data.cast("B"))
        embedding = embed_image(engine, image, gate).embedding
        return wire.encode({}, np.asarray(embedding, "<f4").tobytes())
    except RefusedError as error:
        return wire.encode(wire.error_document(error))


if __name__ == "__main__":
    _go_first()  # while /proc/self is still this user's to write
    sys.exit(run_child(main))
