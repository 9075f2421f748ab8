"""A process that decodes and embeds photos. They may come from anybody, so a photo that crashes its decoder must crash only
this process.

`python -m workers.photos.process` is started by `workers.photos.pool`, with a socket as its standard input. It receives a
photo's bytes and sends back pixels or an embedding. It opens no photo file, no database and no gallery. Each photo has a
limit of processor time and, while it is decoded, of memory. A photo that needs more processor time ends the process, which
the pool then replaces.
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
from workers.models.opening import open_engine
from workers.photos.embedding import embed_image, enrolment_gate
from workers.recognition.devices import CPU
from workers.recognition.engine import Engine
from workers.recognition.quality import Gate


@dataclass(frozen=True)
class Limits:
    """The limits for one photo: processor time, time until the answer, and how much memory decoding may allocate."""

    cpu_s: int = 30  # the slowest photo that can be read takes 3 s on a slow core
    time_s: float = 120.0
    decoder_bytes: int = 640 << 20  # for 30 megapixels WebP takes the most memory of all formats: 490 MB

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def main() -> int:
    """Answer photos until the channel closes. Returns the exit code."""
    setproctitle("rollcall: photos")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the command, which ends its processes
    die_with_parent()
    channel, buffer = socket.socket(fileno=os.dup(sys.stdin.fileno())), wire.MessageBuffer()
    try:
        asked, _ = wire.receive(channel, buffer)
        limits, heic = Limits(**asked["limits"]), bool(asked.get("heic"))
        engine = gate = None
        if asked["embed"]:
            settings = Settings.from_json(asked["settings"])
            try:
                engine = open_engine(
                    settings.engine_choice, det_size=settings.recognition.det_size, threads=1, device=CPU
                )
            except RollcallError as error:
                channel.sendall(wire.encode(wire.error_document(error)))
                return error.exit_code
            gate = enrolment_gate(engine, settings.recognition.min_face_px) if asked["gated"] else None
        channel.sendall(wire.encode({"ready": True}))
        while True:
            asked, data = wire.receive(channel, buffer)
            channel.sendall(_answer(data, asked["suffix"], engine, gate, limits, heic=heic))
    except (ConnectionResetError, BrokenPipeError):
        return EXIT_DONE  # the command has ended


def _go_first() -> None:
    """Have the kernel kill this process first when memory runs out, since it costs only one photo. Also forbid core dumps, which
    would hold a face."""
    lower_limit(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError):  # a courtesy that a sandbox may refuse
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _answer(
    data: bytes, suffix: str, engine: Engine | None, gate: Gate | None, limits: Limits, *, heic: bool = False
) -> bytes:
    """The message that answers one photo: its pixels, its embedding, or the error that refuses it."""
    allow_cpu(limits.cpu_s)
    try:
        with limited_memory(limits.decoder_bytes):
            image, scale = decode_photo(data, suffix, heic=heic)
        if engine is None:
            return wire.encode({"shape": image.shape, "scale": scale}, image.data.cast("B"))
        found = embed_image(engine, image, gate)
        return wire.encode({"turn": found.turn}, np.asarray(found.embedding, "<f4").tobytes())
    except RefusedError as error:
        return wire.encode(wire.error_document(error))


if __name__ == "__main__":
    _go_first()  # before `run_child` makes our memory private: after that, /proc/self can't be written
    sys.exit(run_child(main))
