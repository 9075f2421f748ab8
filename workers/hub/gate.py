"""What every request to the hub passes first. An ASGI middleware.

- Faces and tokens do not travel the network in the clear.
- Browsers have no business here. A page could otherwise ask a hub that has no tokens and runs on the machine of whoever looks at it.
"""

from __future__ import annotations

import logging
import traceback
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.settings.schema import LOOPBACK, BackendSettings
from workers.hub.answers import No
from workers.serving.callers import Caller, Callers
from workers.serving.gate import name_of

_log = logging.getLogger("backend")
_FRAMES_SHOWN = 3
_BROWSERS = ("origin", "sec-fetch-site")


class Gate:
    """The middleware. Each request gets `state.caller`."""

    def __init__(self, app: ASGIApp, backend: BackendSettings) -> None:
        self._app = app
        self._callers = Callers(backend.proxies, has_tls=backend.certificate is not None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        caller = self._callers.of(scope, headers)
        scope.setdefault("state", {}).update(caller=caller)
        try:
            fault = _fault(headers, caller)
            await (self._app if fault is None else fault.response())(scope, receive, send)
        except Exception as error:  # noqa: BLE001  # the outermost loop of a request: a bug must not end the process
            # Without the error's text, which may hold what somebody sent. An answer that was begun is broken off: no reader takes it as whole.
            places = "".join(traceback.format_tb(error.__traceback__)[-_FRAMES_SHOWN:])
            _log.error("a request failed: %s\n%s", type(error).__name__, places)


def _fault(headers: Headers, caller: Caller) -> No | None:
    if caller.in_the_clear:
        return No(HTTPStatus.FORBIDDEN, "faces and tokens do not travel in the clear: use https")
    if headers.get("authorization"):
        return None
    hosts = headers.getlist("host")
    is_named = len(hosts) == 1 and name_of(hosts[0]) in LOOPBACK
    if any(name in headers for name in _BROWSERS) or (caller.is_local and not is_named):
        return No(
            HTTPStatus.FORBIDDEN, "a page in a browser asked; programs only, by the address 127.0.0.1 or with a token"
        )
    return None
