"""A camera that is asked over HTTP. FFmpeg opens no HTTP connection of its own."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from shared.settings.sources import Address, Source
from workers.capture.connection import MAX_HEAD_BYTES, PORTS, UNAUTHORIZED, connect
from workers.capture.login import Login, challenge_of

_MAX_REDIRECTS = 3


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
        if response.status == UNAUTHORIZED and self._address.user is not None:
            offered = response.headers.get_all("WWW-Authenticate") or []
            stale = any(challenge_of(text).get("stale", "").lower() == "true" for text in offered)
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
            self._connection.sock = connect(self._address, self._source)
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
        response.read(MAX_HEAD_BYTES)
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


def first_answer(source: Source, address: Address) -> HttpAnswer:
    """A camera's answer, without a body, on a connection of its own. Raises OSError without one, ValueError if it is not one of HTTP."""
    camera = HttpCamera(source, address)
    try:
        return camera.get()
    except OSError:  # first, because an answer that breaks off is both
        raise
    except http.client.HTTPException as error:
        raise ValueError("no HTTP answer") from error
    finally:
        camera.close()
