"""What every request passes before it is looked at, and every answer before it is sent. An ASGI middleware.

- A request must name this machine by one of its known names. A page of another site that has its own name point at us (DNS rebinding)
  sends that name.
- A request that changes something must come from our own pages, or carry a token. Browsers send cookies along with requests that other
  pages make.
- An answer tells browsers to run nothing but our own files, and to keep nothing.
"""

from __future__ import annotations

import logging
import secrets
import time
import traceback
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.settings.schema import LOOPBACK, WebSettings
from workers.serving.callers import Caller, Callers
from workers.serving.problems import Problem, not_allowed

_log = logging.getLogger("web")

_FRAMES_SHOWN = 3
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; manifest-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_YEAR_S = 365 * 86400


class Seen(NamedTuple):
    """One answered request, for the metrics. `route`: the path with its parameters' names; "" for a path that there is not."""

    method: str
    route: str
    status: int
    took_s: float


class Gate:
    """The middleware. Each request gets `state.caller` and `state.request_id`."""

    def __init__(self, app: ASGIApp, web: WebSettings, on_answer: Callable[[Seen], None]) -> None:
        """`on_answer`: called when an answer is sent."""
        self._app, self._on_answer = app, on_answer
        self._names = frozenset({*LOOPBACK, *web.hosts, web.host.lower()}) - {"0.0.0.0", "::"}  # noqa: S104  # what is no name
        self._callers = Callers(
            web.proxies, has_tls=web.certificate is not None, is_behind_socket=web.unix_path is not None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers, began = Headers(scope=scope), time.monotonic()
        request_id = secrets.token_hex(8)
        caller = self._callers.of(scope, headers)
        scope.setdefault("state", {}).update(caller=caller, request_id=request_id)
        status = 0

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), request_id, is_secure=caller.is_secure)
            await send(message)

        fault = self._fault(scope["method"], headers, caller)
        try:
            if fault is not None:
                await fault.response(request_id)(scope, receive, send_safely)
            else:
                await self._app(scope, receive, send_safely)
        except Exception as error:  # noqa: BLE001  # the outermost loop of a request: a bug must not end the process
            # Without the error's text, which may hold what somebody sent.
            places = "".join(traceback.format_tb(error.__traceback__)[-_FRAMES_SHOWN:])
            _log.error("request %s failed: %s\n%s", request_id, type(error).__name__, places)
        finally:
            route = getattr(scope.get("route"), "path", "")
            self._on_answer(Seen(scope["method"], route, status, time.monotonic() - began))

    def _fault(self, method: str, headers: Headers, caller: Caller) -> Problem | None:
        if caller.in_the_clear:
            return Problem(
                HTTPStatus.FORBIDDEN,
                "not-encrypted",
                "Faces and passwords do not travel in the clear",
                detail="use https: through the proxy, or with a certificate in [web]",
            )
        hosts = headers.getlist("host")
        name = name_of(hosts[0]) if len(hosts) == 1 else ""
        if name not in self._names:
            return Problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                "unknown-host",
                "This machine is not known by that name",
                detail=f"asked for {name[:80]!r}; add the name to hosts in [web]",
            )
        if method in _SAFE or headers.get("authorization", "").lower().startswith("bearer "):
            return None
        if not _is_our_own_page(headers, hosts[0]):
            return not_allowed("a page of another site sent this; programs send a token (Authorization: Bearer …)")
        return None


def name_of(host: str) -> str:
    """The name in a Host header, without its port; empty if there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_our_own_page(headers: Headers, host: str) -> bool:
    """Whether a browser says that one of our pages sent this. Over plain HTTP browsers send no Sec-Fetch-Site, but an Origin."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    try:
        return urlsplit(headers.get("origin", "")).netloc.lower() == host.lower()
    except ValueError:  # no address
        return False


def _add_headers(headers: MutableHeaders, request_id: str, *, is_secure: bool) -> None:
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")
    headers["X-Request-Id"] = request_id
    if is_secure:
        headers.setdefault("Strict-Transport-Security", f"max-age={_YEAR_S}")


def request_id_of(request: Request) -> str:
    return str(request.state.request_id)
