"""The connection between a camera and the inference process: one Unix socket for each camera.

It begins with four messages in the format of shared/ipc/wire.py:

    → {"v": 1, "op": "join", "model": "insightface/buffalo_l", "liveness": false}
    ← {"v": 1, "model": {"name": …, "fingerprint": …, "dim": 512, …}}    or {"v": 1, "error": {…}}
    → {"v": 1, "op": "share"}                                            with the descriptor of a slot's memory
    ← {"v": 1, "shared": true}

From then on each side sends single bytes only, and each is a bell: there is a request, or an answer, in the slot (shared/inference/slot.py).
Pixels and results never travel over the socket. When the socket ends, so does all that belongs to it.
"""

from __future__ import annotations

import array
import select
import socket
import time
from pathlib import Path
from typing import Any

from shared.errors import RefusedError
from shared.inference.slot import SlotFault
from shared.ipc import wire

BELL = b"!"
MAX_MESSAGE_BYTES = 64 << 10
_DESCRIPTORS = array.array("i")


def socket_path(run_dir: Path) -> Path:
    """The inference process's socket."""
    return run_dir / "inference.sock"


def connect(run_dir: Path, timeout_s: float) -> socket.socket:
    """A connection to the inference process. Raises OSError if there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with wire.address(socket_path(run_dir)) as where:
            connection.connect(where)
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection


def wait_readable(connection: socket.socket, timeout_s: float) -> bool:
    """Wait until there is something to read, or the other side is gone; at most `timeout_s`."""
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(max(0, int(timeout_s * 1000))))


def send_descriptor(connection: socket.socket, document: dict[str, Any], descriptor: int) -> None:
    """Send a message that carries a descriptor. Raises OSError."""
    carried = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    message = wire.encode(document)
    if connection.sendmsg([message], carried) != len(message):
        raise BlockingIOError("the other side does not read")


def receive_some(connection: socket.socket) -> tuple[bytes, list[int]]:
    """What has arrived, and the descriptors that came with it, which the caller closes. b"": the other side is gone."""
    room = socket.CMSG_SPACE(4 * _DESCRIPTORS.itemsize)
    data, carried, _, _ = connection.recvmsg(4096, room, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    found = array.array("i")
    for level, kind, raw in carried:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(raw[: len(raw) - len(raw) % found.itemsize])
    return data, list(found)


def ring(connection: socket.socket) -> None:
    """Tell the other side that something is in the slot. Raises OSError if it is gone, or does not read its bells."""
    connection.send(BELL)


def take_bell(connection: socket.socket) -> bool:
    """Take the bell that has come; False if none has. Raises ConnectionError if the other side is gone, SlotFault if it rang twice."""
    try:
        rung = connection.recv(16)
    except BlockingIOError:
        return False
    if not rung:
        raise ConnectionResetError("the other side is gone")
    if rung != BELL:
        raise SlotFault("more than one bell")
    return True


def receive_message(connection: socket.socket, buffer: wire.MessageBuffer, deadline: float) -> dict[str, Any] | None:
    """The next message of the beginning. None if it has not come by `deadline`, monotonic seconds. Raises ConnectionError if the other
    side is gone, SlotFault for what is no message."""
    while (message := next_message(buffer)) is None:
        if not wait_readable(connection, deadline - time.monotonic()):
            return None
        data = connection.recv(4096)
        if not data:
            raise ConnectionResetError("the inference process is gone")
        buffer.feed(data)
    return message


def next_message(buffer: wire.MessageBuffer) -> dict[str, Any] | None:
    """The next message that has arrived whole, or None. Raises SlotFault for what is no message, or a long one."""
    if len(buffer) > MAX_MESSAGE_BYTES:
        raise SlotFault("a message without end")
    try:
        message = buffer.next()
    except RefusedError as error:
        raise SlotFault(error.what) from error
    return None if message is None else message[0]
