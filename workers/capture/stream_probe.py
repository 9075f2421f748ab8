"""Asks a network camera, before FFmpeg reads it: is it there, is its certificate right, does it accept our login?

FFmpeg reports such faults without a reason that helps. The probe finds a refused login before FFmpeg repeats it, so an
attempt costs one login and not two. After a refusal the caller waits for minutes, since cameras lock out users who try again
and again. A TLS camera proves its identity here, before a password is sent; FFmpeg verifies it again on its own RTSP
connection. HTTP cameras are read through `HttpCamera`, too: FFmpeg opens no HTTP connection of its own.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import re
import secrets
import socket
import ssl
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import cast
from urllib.parse import SplitResult, urljoin, urlsplit

from shared.settings.sources import Address, Source, parse_address

_CONNECT_TIMEOUT_S = 3.0
_ANSWER_TIMEOUT_S = 5.0
_MAX_HEAD_BYTES = 64 << 10
PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}
_UNAUTHORIZED = 401
_MAX_REDIRECTS = 3


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
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _no_answer(error, address.port or PORTS.get(address.scheme, 554))


def _asked(address: Address, source: Source) -> Finding:
    if address.scheme in ("rtsp", "rtsps"):
        status, tls_name = _describe(address, source)
        return replace(_finding(status, "", address), tls_name=tls_name)
    if address.scheme in ("http", "https"):
        camera = HttpCamera(source, address)
        try:
            answer = camera.get()
        finally:
            camera.close()
        return _finding(answer.status, answer.headers.get("content-type", ""), address)
    return Finding(Verdict.DOWN, f"{address.scheme} is not read; a camera's address begins with {', '.join(PORTS)}")


def _no_answer(error: Exception, port: int) -> Finding:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Finding(Verdict.DOWN, _distrust(error.verify_message))
    if isinstance(error, ssl.SSLError):
        return Finding(Verdict.UNCLEAR, f"TLS on port {port} failed: {error.reason or 'no handshake'}")
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
    if status == _UNAUTHORIZED and address.user is None:
        return Finding(Verdict.REFUSED, "the camera asks for a login (401), and source has none")
    if status in known:
        return Finding(*known[status])
    if 300 <= status < 400:
        why = f"the camera sends us to another address ({status}), which is not followed; name that address in source"
        return Finding(Verdict.DOWN, why)
    if 200 <= status < 300:
        return Finding(Verdict.SNAPSHOT if content.startswith("image/") else Verdict.OPEN)
    return Finding(Verdict.UNCLEAR, f"the camera answers {status}")


def _distrust(why: str) -> str:
    return (
        f"its certificate can't be trusted ({why}); no password was sent; name the right one in ca_file, "
        'or set tls = "insecure", with which anybody could answer in the camera\'s place'
    )


# -- TLS --------------------------------------------------------------------------------------------------------------


def ca_bundle(source: Source) -> str:
    """The file of certificates that a camera is verified with."""
    if source.reached.ca_file is not None:
        return str(source.reached.ca_file)
    paths = ssl.get_default_verify_paths()
    for path in (paths.cafile, paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt"):
        if path and Path(path).is_file():
            return path
    import certifi  # only where the system has no bundle

    return certifi.where()


def _connect(address: Address, source: Source) -> socket.socket:
    """Connect to the host. If the scheme has TLS, over TLS, and the host has proved its identity. Raises OSError."""
    plain = socket.create_connection(
        (address.host, address.port or PORTS.get(address.scheme, 554)), timeout=_CONNECT_TIMEOUT_S
    )
    plain.settimeout(_ANSWER_TIMEOUT_S)
    if not address.has_tls:
        return plain
    try:
        return _secure(plain, address, source)
    except BaseException:
        plain.close()
        raise


def _secure(plain: socket.socket, address: Address, source: Source) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if source.reached.tls == "insecure":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # old cameras know only old ciphers, and nothing is verified anyway
        return context.wrap_socket(plain, server_hostname=address.host)
    try:
        context.load_verify_locations(ca_bundle(source))
    except (OSError, ssl.SSLError) as error:
        why = error.strerror if not isinstance(error, ssl.SSLError) and error.strerror else "holds no certificate"
        raise _untrusted(f"ca_file: {why.lower()}") from None
    if not _is_number(address.host):
        return context.wrap_socket(plain, server_hostname=address.host)
    # No public authority vouches for an IP address of a site's own network. So we require a ca_file of the site's own. The
    # certificate must name this IP address, or be one that is in ca_file itself.
    if source.reached.ca_file is None:
        raise _untrusted("an address of numbers can only be verified by the camera's own certificate")
    context.check_hostname = False
    secure = context.wrap_socket(plain, server_hostname=address.host)
    names = cast("tuple[tuple[str, str], ...]", (secure.getpeercert() or {}).get("subjectAltName", ()))
    if not any(kind == "IP Address" and _same_number(name, address.host) for kind, name in names):
        own = context.get_ca_certs(binary_form=True)
        if secure.getpeercert(binary_form=True) not in own:
            secure.close()
            raise _untrusted(f"it is not for {address.host}")
    return secure


def _tls_name(connection: socket.socket, address: Address) -> str | None:
    """A name in the certificate of a camera that `_secure` has let pass though its certificate does not name the host."""
    certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    if not certificate or not _is_number(address.host):
        return None
    names = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    if any(kind == "IP Address" and _same_number(name, address.host) for kind, name in names):
        return None
    subject = cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ()))
    common = [value for part in subject for key, value in part if key == "commonName"]
    return next((name for kind, name in names if kind == "DNS"), next(iter(common), None))


def _untrusted(why: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, why)
    error.verify_message = why
    return error


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _same_number(name: str, host: str) -> bool:
    return _is_number(name) and ipaddress.ip_address(name) == ipaddress.ip_address(host)


# -- logging in -------------------------------------------------------------------------------------------------------


class Login:
    """Answers a server's login challenges for one user: basic, or digest (RFC 7616; MD5 and SHA-256)."""

    def __init__(self, address: Address) -> None:
        self._user, self._password = address.user or "", address.password or ""
        self._challenge: dict[str, str] | None = None
        self._count = 0

    def take(self, challenges: list[str]) -> bool:
        """Remember the best of a server's challenges (WWW-Authenticate values). False when we can answer none of them."""
        known = [_challenge(text) for text in challenges]
        digests = [one for one in known if one["scheme"] == "digest" and _hash_of(one) is not None]
        basics = [one for one in known if one["scheme"] == "basic"]
        self._challenge, self._count = next(iter(digests + basics), None), 0
        return self._challenge is not None

    def header(self, method: str, uri: str) -> str | None:
        """The value of the header Authorization for this request; None before a challenge was taken."""
        challenge = self._challenge
        if challenge is None:
            return None
        if challenge["scheme"] == "basic":
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode(errors="replace")).decode()
        self._count += 1
        realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")
        secret = _digest(challenge, f"{self._user}:{realm}:{self._password}")
        asked = _digest(challenge, f"{method}:{uri}")
        parts = {"username": self._user, "realm": realm, "nonce": nonce, "uri": uri}
        plain = {}
        middle = ""
        if "auth" in re.split(r"[,\s]+", challenge.get("qop", "")):
            plain = {"qop": "auth", "nc": f"{self._count:08x}"}
            parts["cnonce"] = secrets.token_hex(8)
            middle = f"{plain['nc']}:{parts['cnonce']}:auth:"
        parts["response"] = _digest(challenge, f"{secret}:{nonce}:{middle}{asked}")
        if "opaque" in challenge:
            parts["opaque"] = challenge["opaque"]
        if "algorithm" in challenge:
            plain["algorithm"] = challenge["algorithm"]
        quoted = [f'{name}="{_escaped(value)}"' for name, value in parts.items()]
        return "Digest " + ", ".join([*quoted, *(f"{name}={value}" for name, value in plain.items())])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _challenge(text: str) -> dict[str, str]:
    scheme, _, rest = text.strip().partition(" ")
    found = re.findall(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', rest)
    return {"scheme": scheme.lower(), **{name.lower(): quoted or plain for name, quoted, plain in found}}


def _hash_of(challenge: dict[str, str]) -> str | None:
    return {"": "md5", "MD5": "md5", "SHA-256": "sha256"}.get(challenge.get("algorithm", "").upper())


def _digest(challenge: dict[str, str], text: str) -> str:
    # The camera chooses the algorithm, and most cameras know only MD5.
    return hashlib.new(_hash_of(challenge) or "md5", text.encode(errors="replace"), usedforsecurity=False).hexdigest()


# -- RTSP -------------------------------------------------------------------------------------------------------------


def _describe(address: Address, source: Source) -> tuple[int, str | None]:
    """The status code of an RTSP DESCRIBE, and `tls_name`. It is sent without a login first, as every client does, and then
    with the login."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = f"{address.scheme}://{host}{f':{address.port}' if address.port else ''}{address.path}"
    login = Login(address)
    with _connect(address, source) as connection:
        status, headers = _rtsp_ask(connection, url, 1, None)
        if status == _UNAUTHORIZED and address.user is not None and login.take(headers.get("www-authenticate", [])):
            status, _ = _rtsp_ask(connection, url, 2, login.header("DESCRIBE", url))
        return status, _tls_name(connection, address)


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
    deadline, data = time.monotonic() + _ANSWER_TIMEOUT_S, b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(4096)
        data += chunk
        if not chunk or len(data) > _MAX_HEAD_BYTES:
            raise ValueError("no whole answer")
        if time.monotonic() > deadline:
            raise TimeoutError
    head, _, body = data.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    length = re.search(r"^content-length:\s*(\d{1,6})\s*$", text, re.MULTILINE | re.IGNORECASE)
    left = min(int(length[1]) if length else 0, _MAX_HEAD_BYTES) - len(body)
    while left > 0 and time.monotonic() < deadline and (chunk := connection.recv(min(left, 4096))):
        left -= len(chunk)
    return text


# -- HTTP -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP answer. `headers`: names in lower case. `body`: empty unless it was asked for."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


class HttpCamera:
    """A camera's HTTP address. Repeated requests use one connection, if the camera keeps it open."""

    def __init__(self, source: Source, address: Address) -> None:
        self._source, self._address = source, address
        self._login = Login(address)
        self._path = address.path.partition("#")[0] or "/"
        self._path = self._path if self._path.startswith("/") else "/" + self._path
        self._connection: http.client.HTTPConnection | None = None

    def get(self, most_bytes: int = 0) -> HttpAnswer:
        """Send one GET; answer a login challenge once. `most_bytes`: the largest body that is read; 0: read no body.

        Raises OSError or HTTPException when there is no answer, ValueError when the body is larger.
        """
        response = self._answered()
        headers = {name.lower(): value for name, value in response.getheaders()}
        if not most_bytes or response.status >= 300:  # not a picture
            self.close()
            return HttpAnswer(response.status, headers)
        body = response.read(most_bytes + 1)
        if len(body) > most_bytes:
            self.close()
            raise ValueError("the picture is too large")
        if response.will_close:
            self.close()
        return HttpAnswer(response.status, headers, body)

    def open(self) -> http.client.HTTPResponse:
        """Send one GET and return the answer with its body unread. Raises OSError, HTTPException, or ValueError without a body."""
        response = self._answered()
        if response.status != http.client.OK:
            raise ValueError(f"the camera answers {response.status}")
        return response

    def _answered(self) -> http.client.HTTPResponse:
        """The answer to a GET. A redirect to the same host is followed, one to another host is the answer."""
        for _ in range(_MAX_REDIRECTS):
            try:
                response = self._ask()
            except (http.client.HTTPException, ConnectionError):
                if self._connection is None:  # no connection was made at all
                    raise
                self.close()
                response = self._ask()  # once more: the camera had closed the connection that we kept open
            place = urlsplit(urljoin(self._url(), response.headers.get("location", "")))
            if not 300 <= response.status < 400 or not is_same_host(self._address, place):
                break
            self._drain(response)
            self._path = (place.path or "/") + (f"?{place.query}" if place.query else "")
        return response

    def _ask(self) -> http.client.HTTPResponse:
        sent, response = self._request()
        if response.status == _UNAUTHORIZED and self._address.user is not None:
            offered = response.headers.get_all("WWW-Authenticate") or []
            stale = any(_challenge(text).get("stale", "").lower() == "true" for text in offered)
            self._drain(response)
            if (stale or not sent) and self._login.take(offered):
                _, response = self._request()
        return response

    def _url(self) -> str:
        return f"{self._address.scheme}://{self._host()}{self._path}"

    def _request(self) -> tuple[bool, http.client.HTTPResponse]:
        """Send the request. Returns whether it had a login, and the answer."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._address.host, self._address.port)
            self._connection.auto_open = 0  # otherwise http.client would reconnect by itself, without TLS
            self._connection.sock = _connect(self._address, self._source)
        authorization = self._login.header("GET", self._path)
        headers = {"Accept": "*/*", "User-Agent": "Rollcall", "Host": self._host()}
        if authorization:
            headers["Authorization"] = authorization
        self._connection.request("GET", self._path, headers=headers)
        return authorization is not None, self._connection.getresponse()

    def _host(self) -> str:
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        return f"{host}:{self._address.port}" if self._address.port else host

    def _drain(self, response: http.client.HTTPResponse) -> None:
        """Read a refusal's body, so that the connection can be used again. If the body is long, close the connection."""
        response.read(_MAX_HEAD_BYTES)
        if response.will_close or not response.isclosed():
            self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def is_same_host(address: Address, place: SplitResult) -> bool:
    """Whether `place` is reached with the camera's own scheme, host and port."""
    usual = PORTS.get(address.scheme)
    try:
        port = place.port or usual
    except ValueError:  # the port is not a number
        return False
    same = place.scheme == address.scheme and (place.hostname or "").lower() == address.host.lower()
    return same and port == (address.port or usual)
