"""The format of messages between the processes of a site. They are sent over one Unix socket in the run folder.

    ┌──────────────┬──────────────┬───────────────┬───────────┐
    │ uint32 LE    │ uint32 LE    │ JSON, UTF-8   │ raw bytes │
    │ JSON's bytes │ raw bytes    │               │           │
    └──────────────┴──────────────┴───────────────┴───────────┘

A client sends a request and reads the answer before it sends the next one. `v` is the protocol's version:

    → {"v": 1, "op": "delete", "arguments": {"person_name": "Ada", "image_path": null}}
    ← {"v": 1, "deleted": 2}
    ← {"v": 1, "error": {"exit_code": 1, "what": "nobody of that name", "where": "Ada", …}}

Raw bytes hold vectors: in JSON they would be three times as long. Only `follow` has more than one answer: sightings, as they are stored.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.errors import (
    EXIT_BUG,
    EXIT_CONFIGURATION,
    EXIT_REFUSED,
    EXIT_TEMPORARY,
    EXIT_USAGE,
    ConfigurationError,
    RefusedError,
    RollcallError,
    TemporaryError,
    UsageError,
)
from shared.events import is_deeper

VERSION = 1
MAX_JSON_BYTES = 16 << 20
MAX_BLOB_BYTES = 256 << 20
_MAX_DEPTH = 24  # nested lists and objects; our own messages have six levels
_LENGTHS = struct.Struct("<II")
_SUN_PATH_MAX = 100  # sockaddr_un holds 108 bytes on Linux, 104 on macOS
_PEER = struct.Struct("iII")  # struct ucred: pid, uid, gid
_SOL_LOCAL, _LOCAL_PEERPID = 0, 2  # macOS, sys/un.h
_KINDS: dict[int, type[RollcallError]] = {
    EXIT_REFUSED: RefusedError,
    EXIT_USAGE: UsageError,
    EXIT_TEMPORARY: TemporaryError,
    EXIT_CONFIGURATION: ConfigurationError,
    EXIT_BUG: RollcallError,
}


def socket_path(run_dir: Path) -> Path:
    return run_dir / "rollcall.sock"


@contextmanager
def address(path: Path) -> Iterator[str]:
    """An address for `path` that fits a sockaddr_un. Only on Linux the path may be long; elsewhere a long one raises ConfigurationError."""
    if len(os.fsencode(path)) <= _SUN_PATH_MAX:
        yield str(path)
    elif sys.platform == "linux":
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{folder}/{path.name}"
        finally:
            os.close(folder)
    else:
        raise ConfigurationError(
            "path too long for a socket",
            where=str(path),
            got=f"{len(os.fsencode(path))} bytes",
            expected=f"at most {_SUN_PATH_MAX}",
            remedy="set a shorter [site] data_dir",
        )


def encode(document: dict[str, Any], blob: bytes | memoryview = b"") -> bytes:
    """The bytes of a message. Raises ValueError, TypeError or RecursionError if JSON can't hold the document."""
    raw = json.dumps({"v": VERSION, **document}, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(raw), len(blob)) + raw + blob


def require_within_limits(json_size: int, blob_size: int) -> None:
    """Raises RefusedError if the message is larger than the receiver accepts."""
    if json_size > MAX_JSON_BYTES or blob_size > MAX_BLOB_BYTES:
        raise RefusedError(
            "a message over the limits",
            got=f"{json_size} + {blob_size} bytes",
            expected=f"at most {MAX_JSON_BYTES} + {MAX_BLOB_BYTES}",
            remedy="send fewer rows at a time",
        )


def error_document(error: RollcallError) -> dict[str, Any]:
    """The parts of an error, as a message holds them. `raise_error` raises the error anew on the other side."""
    return {
        "error": {
            "exit_code": error.exit_code,
            "what": error.what,
            "where": error.where,
            "expected": error.expected,
            "remedy": error.remedy,
            "got": error.got if isinstance(error.got, (str, int, float, type(None))) else repr(error.got),
        }
    }


def raise_error(document: dict[str, Any]) -> None:
    """Raise the error in `document`, if there is one."""
    fault = document.get("error")
    if fault is not None:
        kind = _KINDS.get(fault["exit_code"], RollcallError)
        raise kind(
            fault["what"], where=fault["where"], got=fault["got"], expected=fault["expected"], remedy=fault["remedy"]
        )


class MessageBuffer:
    """Cuts the bytes that arrive into messages.

    `next` raises RefusedError for a message that is over the limits, is not JSON, is nested too deep, or is of another version.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        # When the unfinished message began to wait: at its first byte, or when the message before it was taken.
        self.began_at = 0.0

    def __len__(self) -> int:
        """How many bytes are waiting for the rest of their message."""
        return len(self._bytes)

    def feed(self, data: bytes) -> None:
        if not self._bytes:
            self.began_at = time.monotonic()
        self._bytes += data

    def next(self) -> tuple[dict[str, Any], bytes] | None:
        """The next complete message, or None. Raises RefusedError if it is over the limits, or not a message of this protocol."""
        if len(self._bytes) < _LENGTHS.size:
            return None
        json_size, blob_size = _LENGTHS.unpack_from(self._bytes)
        require_within_limits(json_size, blob_size)
        end = _LENGTHS.size + json_size + blob_size
        if len(self._bytes) < end:
            return None
        middle = _LENGTHS.size + json_size
        with memoryview(self._bytes) as view:  # slicing the bytearray itself would make one more copy
            document, blob = bytes(view[_LENGTHS.size : middle]), bytes(view[middle:end])
        del self._bytes[:end]
        self.began_at = time.monotonic()
        try:
            parsed = json.loads(document)
        except (ValueError, RecursionError) as error:
            raise RefusedError("a message that is not JSON", got=str(error)[:200]) from error
        if is_deeper(parsed, _MAX_DEPTH):
            raise RefusedError(
                "a message that is too deep", expected=f"at most {_MAX_DEPTH} lists or objects in each other"
            )
        if not isinstance(parsed, dict) or parsed.get("v") != VERSION:
            raise RefusedError(
                "another protocol version",
                got=str(parsed.get("v") if isinstance(parsed, dict) else parsed)[:40],
                expected=str(VERSION),
                remedy="use the same Rollcall version for the command and the site",
            )
        return parsed, blob


def peer_pid(connection: socket.socket) -> int | None:
    """The pid of the process at the other end; None if the system does not provide it."""
    if sys.platform == "linux":
        return int(_PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0])
    if sys.platform == "darwin":
        return int.from_bytes(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4), sys.byteorder)
    return None


def connect(run_dir: Path, timeout_s: float) -> socket.socket:
    """A connection to the running site. Raises FileNotFoundError or ConnectionRefusedError if no site runs."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with address(socket_path(run_dir)) as where:
            connection.connect(where)
    except BaseException:
        connection.close()
        raise
    return connection


def receive(connection: socket.socket, buffer: MessageBuffer) -> tuple[dict[str, Any], bytes]:
    """The next message. Waits as long as the socket's timeout. Raises ConnectionError if the other side is gone."""
    while (message := buffer.next()) is None:
        data = connection.recv(1 << 20)
        if not data:
            raise ConnectionResetError("the site closed the connection")
        buffer.feed(data)
    return message
