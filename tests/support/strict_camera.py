"""A camera for tests that requires a login and counts the attempts. Its answers can be chosen. RTSP or HTTP, with or without TLS."""

from __future__ import annotations

import base64
import hashlib
import re
import socketserver
import ssl
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
from numpy.typing import NDArray

from tests.support.clips import picture, write_clip
from tests.support.serving import Serving

_REALM, _NONCE = "camera", "0123456789abcdef"
_PACKETS = 7 * 188  # bytes of a transport stream in one RTP packet
_SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track1\r\n"


class StrictCamera(Serving):
    """Serves `url` between `with`; everything it was asked lies in `requests`, each whole, as it came.

    `login`: user and password, or None. `answer`: a status given to every request that comes in past the login. `shows`:
    "stream" or "snapshot" (HTTP only: one JPEG a request). `picture`: the image of a number, or its JPEG. `most`: pictures before a
    connection is closed. `tls`: certificate and key in one file.
    """

    def __init__(
        self,
        folder: Path,
        scheme: Literal["rtsp", "http"] = "rtsp",
        *,
        login: tuple[str, str] | None = None,
        auth: Literal["basic", "digest"] = "basic",
        answer: int = 200,
        shows: Literal["stream", "snapshot"] = "stream",
        picture: Callable[[int], NDArray[Any] | bytes] = picture,
        most: int | None = None,
        tls: Path | None = None,
    ) -> None:
        server = _Server(("127.0.0.1", 0), _Handler)
        super().__init__(server)
        server.camera = self
        if tls is not None:
            server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.tls.load_cert_chain(tls)
        self._secure = tls is not None
        self.scheme, self.login, self.auth, self.answer, self.shows = scheme, login, auth, answer, shows
        self.picture, self.most = picture, most
        self.requests: list[str] = []
        self.login_times: list[float] = []  # monotonic, of requests that brought a login
        self.connections = 0
        self._clip = write_clip(folder / "strict.ts", 250).read_bytes() if scheme == "rtsp" else b""

    @property
    def logins(self) -> int:
        """Requests that brought a login."""
        return len(self.login_times)

    def url(self, login: str = "", path: str = "/live", host: str = "127.0.0.1") -> str:
        secure = "s" if self._secure else ""
        return f"{self.scheme}{secure}://{login}{'@' if login else ''}{host}:{self.port}{path}"

    def packets(self) -> list[bytes]:
        return [self._clip[at : at + _PACKETS] for at in range(0, len(self._clip), _PACKETS)]


def make_certificate(folder: Path, name: str, address: str = "DNS:nowhere.invalid") -> Path:
    """A self-signed certificate and its key in one file, for `address` (as in subjectAltName)."""
    both, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName={address}", "-keyout", str(key), "-out", str(both),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip  # options in pairs
    both.write_text(both.read_text() + key.read_text())
    return both


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    camera: StrictCamera
    tls: ssl.SSLContext | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left, or that no handshake came about with, is no fault of the server."""


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        camera = self.server.camera
        camera.connections += 1
        self.request.settimeout(20)
        if self.server.tls:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        unread = b""
        while not camera.stopping.is_set():
            while b"\r\n\r\n" not in unread:
                chunk = self.request.recv(65536)
                if not chunk:
                    return
                unread += chunk
            head, _, unread = unread.partition(b"\r\n\r\n")
            text = head.decode("latin-1")
            camera.requests.append(text)
            if "\r\nauthorization:" in text.lower():
                camera.login_times.append(time.monotonic())
            if not self._answer(text):
                return

    def _answer(self, text: str) -> bool:
        """Whether the connection goes on."""
        camera = self.server.camera
        method = text.split(" ", 1)[0]
        if camera.login and method != "OPTIONS" and not self._has_login(text):
            return self._send(text, 401, {"WWW-Authenticate": self._challenge()})
        if camera.answer != 200 and method != "OPTIONS":
            return self._send(text, camera.answer)
        return self._rtsp(text, method) if camera.scheme == "rtsp" else self._http(text)

    def _challenge(self) -> str:
        if self.server.camera.auth == "basic":
            return f'Basic realm="{_REALM}"'
        return f'Digest realm="{_REALM}", nonce="{_NONCE}", qop="auth", algorithm=MD5'

    def _has_login(self, text: str) -> bool:
        camera = self.server.camera
        assert camera.login is not None
        found = re.search(r"^authorization: *(\w+) +(.*)$", text, re.MULTILINE | re.IGNORECASE)
        if not found:
            return False
        if camera.auth == "basic":
            return found[2].strip() == base64.b64encode(":".join(camera.login).encode()).decode()
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', found[2]))
        method = text.split(" ", 1)[0]
        ha1 = _md5(f"{camera.login[0]}:{_REALM}:{camera.login[1]}")
        ha2 = _md5(f"{method}:{given.get('uri', '')}")
        middle = f"{given['nc']}:{given['cnonce']}:auth:" if "qop" in given else ""
        return given.get("response") == _md5(f"{ha1}:{_NONCE}:{middle}{ha2}")

    def _send(self, text: str, code: int, headers: dict[str, str] | None = None, body: bytes = b"") -> bool:
        lines = dict(headers or {})
        if found := re.search(r"^cseq: *(\d+)", text, re.MULTILINE | re.IGNORECASE):
            lines["CSeq"] = found[1]
        lines["Content-Length"] = str(len(body))
        version = "RTSP/1.0" if self.server.camera.scheme == "rtsp" else "HTTP/1.1"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.request.sendall(f"{version} {code} X\r\n{head}\r\n".encode() + body)
        return True

    def _rtsp(self, text: str, method: str) -> bool:
        if method == "OPTIONS":
            return self._send(text, 200, {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY"})
        if method == "DESCRIBE":
            return self._send(text, 200, {"Content-Type": "application/sdp"}, _SDP.encode())
        if method == "SETUP":
            transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
            return self._send(text, 200, {"Transport": transport, "Session": "1"})
        if method != "PLAY":
            return self._send(text, 200)
        self._send(text, 200, {"Session": "1"})
        number = 0
        packets = self.server.camera.packets()
        while not self.server.camera.stopping.wait(10.0 / len(packets)):
            data = packets[number % len(packets)]
            head = struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, number * 3000 & 0xFFFFFFFF, 1)
            self.request.sendall(struct.pack(">cBH", b"$", 0, len(head) + len(data)) + head + data)
            number += 1
        return False

    def _http(self, text: str) -> bool:
        camera = self.server.camera
        if camera.shows == "snapshot":
            jpeg = _jpeg(camera.picture(len(camera.requests)))
            return self._send(text, 200, {"Content-Type": "image/jpeg"}, jpeg)
        head = "Content-Type: multipart/x-mixed-replace; boundary=frame\r\nConnection: close\r\n\r\n"
        self.request.sendall(f"HTTP/1.1 200 OK\r\n{head}".encode())
        number = 0
        while not camera.stopping.wait(1 / 25) and (camera.most is None or number < camera.most):
            jpeg = _jpeg(camera.picture(number))
            part = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.request.sendall(part.encode() + jpeg + b"\r\n")
            number += 1
        return False


def _jpeg(image: NDArray[Any] | bytes) -> bytes:
    return image if isinstance(image, bytes) else cv2.imencode(".jpg", image)[1].tobytes()


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
