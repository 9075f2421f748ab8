"""`Idempotency-Key`: a request that is sent twice is done once, and answered twice. An ASGI middleware.

A program that got no answer sends its request again with the same key. For an hour the answer is kept, and sent again. While the first
request is still being done, a second one is refused. So is another request with this key: one of another path, or with another body.
What was refused has changed nothing: it is done again.

Photos that are handed in have no keys: they are too large to be held here, and one that is enrolled already stays one reference.

Keys belong to whoever is signed in: the same key of another program is another one. Requests of nobody have no keys, and an answer that
holds a secret is never kept: the cookie of a session, or a new token. A kept answer is sent only to whoever is still let in.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.serving.problems import Problem

_HEADER = "idempotency-key"
_UPLOAD = "multipart/form-data"
_MAX_KEY_BYTES = 255
_KEPT_S = 3600.0
_MAX_KEPT = 512
_MAX_ANSWER_BYTES = 64 << 10


@dataclass
class _Answer:
    """An answer that was sent, or that is being made (`start` is None)."""

    request: str
    until: float
    start: Message | None = None
    body: bytes = b""


class Idempotency:
    """The middleware."""

    def __init__(
        self,
        app: ASGIApp,
        is_let_in: Callable[[Scope], Awaitable[bool]],
        secret_paths: Collection[str],
        max_body_bytes: int,
    ) -> None:
        """`is_let_in`: whether whoever sends a request is signed in. `secret_paths`: the ends of the paths whose answers hold a secret.
        `max_body_bytes`: a request with a key that has more is refused."""
        self._app, self._is_let_in, self._secret_paths = app, is_let_in, tuple(secret_paths)
        self._max_body_bytes = max_body_bytes
        self._known: OrderedDict[str, _Answer] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        given = headers.get(_HEADER)
        whose = headers.get("authorization", "") + "\0" + headers.get("cookie", "")
        is_kept = scope.get("method") in ("POST", "PATCH", "PUT") and not scope["path"].endswith(self._secret_paths)
        is_kept = is_kept and not headers.get("content-type", "").lower().startswith(_UPLOAD)
        if given is None or whose == "\0" or not is_kept:
            await self._app(scope, receive, send)
            return
        if not 0 < len(given) <= _MAX_KEY_BYTES:
            fault = Problem(
                HTTPStatus.BAD_REQUEST, "not-understood", "Not an Idempotency-Key", detail="1 to 255 characters"
            )
            await fault.response(scope["state"]["request_id"])(scope, receive, send)
            return
        try:
            body = await _whole_body(receive, self._max_body_bytes)
        except ClientDisconnect:
            return
        if body is None:
            fault = Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "The request is too large")
            await fault.response(scope["state"]["request_id"])(scope, receive, send)
            return
        receive = _Received(body, receive)
        key, request, now = _key(whose, given), _hash_of(scope, body), time.monotonic()
        self._drop_old(now)
        known = self._known.get(key)
        if known is None:
            await self._answer(key, _Answer(request, now + _KEPT_S), scope, receive, send)
        elif not await self._is_let_in(scope):
            await self._app(scope, receive, send)  # it says so itself
        elif known.start is None or known.request != request:
            detail = "it is still being done" if known.request == request else "another request had this key"
            fault = Problem(HTTPStatus.CONFLICT, "same-key", "The Idempotency-Key was used", detail=detail)
            await fault.response(scope["state"]["request_id"])(scope, receive, send)
        else:
            await send(known.start)
            await send({"type": "http.response.body", "body": known.body})

    async def _answer(self, key: str, answer: _Answer, scope: Scope, receive: Receive, send: Send) -> None:
        self._known[key] = answer

        async def send_and_keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.start = message
            elif len(answer.body) <= _MAX_ANSWER_BYTES:
                answer.body += message.get("body", b"")
            await send(message)

        try:
            await self._app(scope, receive, send_and_keep)
        finally:
            failed = answer.start is None or answer.start["status"] >= HTTPStatus.BAD_REQUEST
            if failed or _signs_in(answer.start) or len(answer.body) > _MAX_ANSWER_BYTES:
                self._known.pop(key, None)

    def _drop_old(self, now: float) -> None:
        while self._known and (len(self._known) >= _MAX_KEPT or next(iter(self._known.values())).until <= now):
            self._known.popitem(last=False)


class _Received:
    """What an application receives: a body that was read already, and then that the caller went away."""

    def __init__(self, body: bytes, rest: Receive) -> None:
        self._body: bytes | None = body
        self._rest = rest

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._rest()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _whole_body(receive: Receive, max_bytes: int) -> bytes | None:
    """The body of a request; None if it is too large. Raises ClientDisconnect."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message["body"]
        if len(body) > max_bytes:
            return None
        if not message["more_body"]:
            return bytes(body)


def _hash_of(scope: Scope, body: bytes) -> str:
    """What a request asks for, as a hash, so that no body is kept here."""
    asked = f"{scope['method']} {scope['path']}?{scope['query_string'].decode('latin-1')}\0"
    return hashlib.sha256(asked.encode() + body).hexdigest()


def _signs_in(start: Message | None) -> bool:
    return start is not None and any(name.lower() == b"set-cookie" for name, _ in start["headers"])


def _key(whose: str, given: str) -> str:
    """The key of one visitor: a hash, so that no secret is kept here."""
    return hashlib.sha256(f"{whose}\0{given}".encode()).hexdigest()
