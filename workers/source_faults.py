"""Why a video source gives nothing, in words to act on and without its password; OpenCV itself does not say."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from shared.sources import Source, SourceKind, parse_address

_CONNECT_TIMEOUT_S = 2.0
_PORTS = {"http": 80, "https": 443, "rtsps": 322, "rtmp": 1935}


def why_not_open(source: Source) -> str:
    """Why `source` could not be opened; takes at most a connection's time (2 s) and a name lookup's."""
    if source.kind is SourceKind.FILE:
        return f"{source.shown}: {_why_no_file(Path(str(source.address)))}"
    if source.kind is SourceKind.DEVICE:
        device = Path(source.address if isinstance(source.address, str) else source.shown)
        fault = "gives no video, or is in use" if os.access(device, os.R_OK) else _why_no_file(device)
        return f"{source.shown}: {fault}"
    return f"{source.shown}: {_why_no_stream(str(source.address))}"


def _why_no_file(path: Path) -> str:
    try:
        if path.is_dir():
            return "is a folder, not a video"
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # a named pipe would block here
    except OSError as error:
        return (error.strerror or "can't be read").lower()
    return "is not a video that OpenCV can read"


def _why_no_stream(source: str) -> str:
    """As far as a TCP connection to its host tells."""
    address = parse_address(source)
    if address is None:
        return "is not a valid address"
    port = address.port or _PORTS.get(address.scheme, 554)
    try:
        socket.create_connection((address.host, port), _CONNECT_TIMEOUT_S).close()
    except TimeoutError:
        return f"no answer from port {port}"
    except OSError as error:
        return f"port {port}: {(error.strerror or 'unreachable').lower()}"
    return "the host answers but gives no video: wrong path, user or password, or a stream that can't be decoded"
