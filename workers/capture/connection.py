"""A connection to a network camera."""

from __future__ import annotations

import socket

from shared.settings.sources import Address, Source

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 5.0
MAX_HEAD_BYTES = 64 << 10
UNAUTHORIZED = 401
PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}


def connect(address: Address, source: Source) -> socket.socket:
    """Connect to the host. If the scheme has TLS, over TLS, and the host has proved its identity. Raises OSError."""
    plain = socket.create_connection(
        (address.host, address.port or PORTS.get(address.scheme, 554)), timeout=CONNECT_TIMEOUT_S
    )
    plain.settimeout(ANSWER_TIMEOUT_S)
    if not address.has_tls:
        return plain
    try:
        from workers.capture.tls import secure  # 0.7 MB that few cameras need

        return secure(plain, address, source)
    except BaseException:
        plain.close()
        raise
