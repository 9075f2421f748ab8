"""Asks a network camera, before FFmpeg reads it: is it there, is its certificate right, does it accept our login?

FFmpeg reports such faults without a reason that helps. The probe finds a refused login before FFmpeg repeats it, so an
attempt costs one login and not two. After a refusal the caller waits for minutes, since cameras lock out users who try again
and again. A TLS camera proves its identity here, before a password is sent; FFmpeg verifies it again on its own RTSP
connection. HTTP cameras are read through `HttpCamera`, too (http_camera.py).
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass, replace
from enum import StrEnum

from shared.settings.sources import Address, Source, parse_address
from workers.capture.connection import ANSWER_TIMEOUT_S, MAX_HEAD_BYTES, PORTS, UNAUTHORIZED, connect
from workers.capture.login import Login


class Verdict(StrEnum):
    """What to do after the probe.

    `OPEN`: let FFmpeg open it. `SNAPSHOT`: each request gives one picture. `UNCLEAR`: let FFmpeg try; if it fails, `reason`
    is the reason. `REFUSED`: the login was refused; ask again only after minutes. `DOWN`: FFmpeg could not open it either.
    """

    OPEN = "open"
    SNAPSHOT = "snapshot"
    UNCLEAR = "unclear"
    REFUSED = "refused"
    DOWN = "down"


@dataclass(frozen=True)
class Finding:
    """What a probe found. `reason`: in words, without the address. `tls_name`: the name that FFmpeg has to find in the
    certificate, where that is not the host's."""

    verdict: Verdict
    reason: str | None = None
    tls_name: str | None = None


def probe(source: Source) -> Finding:
    """Ask a stream's host, with at most one login. Takes at most twice the time limits of a connection and an answer."""
    address = parse_address(str(source.address))
    if address is None:
        return Finding(Verdict.DOWN, "is not a valid address")
    try:
        return _asked(address, source)
    except (OSError, ValueError) as error:
        return _no_answer(error, address)


def _asked(address: Address, source: Source) -> Finding:
    if address.scheme in ("rtsp", "rtsps"):
        status, tls_name = _describe(address, source)
        return replace(_finding(status, "", address), tls_name=tls_name)
    if address.scheme in ("http", "https"):
        from workers.capture.http_camera import first_answer  # Python's HTTP takes 2 MB, and most cameras speak RTSP

        answer = first_answer(source, address)
        return _finding(answer.status, answer.headers.get("content-type", ""), address)
    return Finding(Verdict.DOWN, f"{address.scheme} is not read; a camera's address begins with {', '.join(PORTS)}")


def _no_answer(error: Exception, address: Address) -> Finding:
    port = address.port or PORTS.get(address.scheme, 554)
    if address.has_tls:
        from workers.capture.tls import distrust_of, handshake_fault

        if distrust := distrust_of(error):
            return Finding(Verdict.DOWN, distrust)
        if fault := handshake_fault(error):
            return Finding(Verdict.UNCLEAR, f"TLS on port {port} failed: {fault}")
    if isinstance(error, TimeoutError):
        return Finding(Verdict.DOWN, f"no answer from port {port}")
    if isinstance(error, OSError):
        return Finding(Verdict.DOWN, f"port {port}: {(error.strerror or 'unreachable').lower()}")
    return Finding(Verdict.UNCLEAR, "the host answers, but not as a camera does")


def _finding(status: int, content: str, address: Address) -> Finding:
    known = {
        401: (Verdict.REFUSED, "the camera refused the login (401): user or password is wrong"),
        403: (
            Verdict.REFUSED,
            "the camera forbids it (403): the user may not see this, or is locked out for a while",
        ),
        404: (Verdict.DOWN, "the camera has no such stream (404): the path in source is wrong"),
    }
    if status == UNAUTHORIZED and address.user is None:
        return Finding(Verdict.REFUSED, "the camera asks for a login (401), and source has none")
    if status in known:
        return Finding(*known[status])
    if 300 <= status < 400:
        why = f"the camera sends us to another address ({status}), which is not followed; name that address in source"
        return Finding(Verdict.DOWN, why)
    if 200 <= status < 300:
        return Finding(Verdict.SNAPSHOT if content.startswith("image/") else Verdict.OPEN)
    return Finding(Verdict.UNCLEAR, f"the camera answers {status}")


def _describe(address: Address, source: Source) -> tuple[int, str | None]:
    """The status code of an RTSP DESCRIBE, and `tls_name`. It is sent without a login first, as every client does, and then
    with the login."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = f"{address.scheme}://{host}{f':{address.port}' if address.port else ''}{address.path}"
    login = Login(address)
    with connect(address, source) as connection:
        status, headers = _rtsp_ask(connection, url, 1, None)
        if status == UNAUTHORIZED and address.user is not None and login.take(headers.get("www-authenticate", [])):
            status, _ = _rtsp_ask(connection, url, 2, login.header("DESCRIBE", url))
        if not address.has_tls:
            return status, None
        from workers.capture.tls import tls_name

        return status, tls_name(connection, address)


def _rtsp_ask(connection: socket.socket, url: str, number: int, login: str | None) -> tuple[int, dict[str, list[str]]]:
    lines = [f"DESCRIBE {url} RTSP/1.0", f"CSeq: {number}", "Accept: application/sdp", "User-Agent: Rollcall"]
    lines += [f"Authorization: {login}"] if login else []
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = _read_head(connection)
    first, *rest = head.split("\r\n")
    found = re.match(r"RTSP/\d\.\d (\d{3})", first)
    if not found:
        raise ValueError("no RTSP answer")
    headers: dict[str, list[str]] = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    return int(found[1]), headers


def _read_head(connection: socket.socket) -> str:
    """Read an answer and return its head; its body is dropped. Raises TimeoutError, or ValueError when it is no whole answer."""
    deadline, data = time.monotonic() + ANSWER_TIMEOUT_S, b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(4096)
        data += chunk
        if not chunk or len(data) > MAX_HEAD_BYTES:
            raise ValueError("no whole answer")
        if time.monotonic() > deadline:
            raise TimeoutError
    head, _, body = data.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    length = re.search(r"^content-length:\s*(\d{1,6})\s*$", text, re.MULTILINE | re.IGNORECASE)
    left = min(int(length[1]) if length else 0, MAX_HEAD_BYTES) - len(body)
    while left > 0 and time.monotonic() < deadline and (chunk := connection.recv(min(left, 4096))):
        left -= len(chunk)
    return text
