"""`Idempotency-Key`: done once, answered twice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from workers.serving import idempotency
from workers.serving.idempotency import Idempotency

_MAX_BODY_BYTES = 100


class Counting:
    """Answers with how often it was called, and the body; with `status`, once `hold` is set."""

    def __init__(self, status: int = 200, cookie: str | None = None) -> None:
        self.headers = {} if cookie is None else {"Set-Cookie": cookie}
        self.calls, self.status, self.hold = itertools.count(1), status, asyncio.Event()
        self.hold.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = next(self.calls)
        body = await Request(scope, receive).body()
        await self.hold.wait()
        await PlainTextResponse(f"{number}{body.decode()}", status_code=self.status, headers=self.headers)(
            scope, receive, send
        )


async def _everybody(_: Scope) -> bool:
    return True


def middleware(app: Counting, is_let_in: Callable[[Scope], Awaitable[bool]] = _everybody) -> Idempotency:
    return Idempotency(app, is_let_in, ("/tokens",), _MAX_BODY_BYTES)


async def ask(
    app: Idempotency, key: str | None, path: str = "/", visitor: str = "a", method: str = "POST", body: bytes = b""
) -> tuple[int, str]:
    sent: list[dict[str, Any]] = []

    pieces = [{"type": "http.request", "body": body[at : at + 4], "more_body": True} for at in range(0, len(body), 4)]
    pieces.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        return pieces.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", visitor.encode()), *([(b"idempotency-key", key.encode())] if key is not None else [])]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": headers,
        "state": {"request_id": "0"},
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:]).decode()


def asked(app: Idempotency, *requests: dict[str, Any]) -> list[tuple[int, str]]:
    async def all_of_them() -> list[tuple[int, str]]:
        return [await ask(app, **one) for one in requests]

    return asyncio.run(all_of_them())


def test_the_same_key_is_done_once() -> None:
    """Of one visitor, for one path; without a key, and of another visitor, each is done."""
    app = middleware(Counting())
    assert asked(
        app, {"key": "k"}, {"key": "k"}, {"key": "k", "visitor": "b"}, {"key": None}, {"key": "k", "method": "GET"}
    ) == [(200, "1"), (200, "1"), (200, "2"), (200, "3"), (200, "4")]


def test_a_key_of_another_request_is_refused() -> None:
    answers = asked(middleware(Counting()), {"key": "k"}, {"key": "k", "path": "/other"}, {"key": "x" * 256})
    assert [status for status, _ in answers] == [200, 409, 400]


def test_a_key_of_another_body_is_refused() -> None:
    """A program that uses a key again by mistake must not believe that its second request was done."""
    answers = asked(
        middleware(Counting()), *[{"key": "k", "body": one} for one in (b" a name", b" another", b" a name")]
    )
    assert [answers[0], answers[1][0], answers[2]] == [(200, "1 a name"), 409, (200, "1 a name")]


def test_a_body_that_is_too_large_is_not_read_to_its_end() -> None:
    answers = asked(middleware(Counting()), *[{"key": str(size), "body": b"x" * size} for size in (100, 101)])
    assert [status for status, _ in answers] == [200, 413]


@pytest.mark.parametrize("status", [503, 429, 401, 409])
def test_what_was_refused_is_tried_again(status: int) -> None:
    """It has changed nothing, and the reason may be over: the writer is back, the wait has passed."""
    assert asked(middleware(Counting(status)), {"key": "k"}, {"key": "k"})[1] == (status, "2")


def test_requests_of_nobody_have_no_keys() -> None:
    """The answer to one that signs in has the session's cookie: somebody else with the same key must not get it."""
    assert asked(middleware(Counting()), *[{"key": "k", "visitor": ""}] * 2) == [(200, "1"), (200, "2")]


def test_an_answer_that_signs_somebody_in_is_not_kept() -> None:
    """Also if the request had a cookie: that of another program on this host is no secret."""
    assert asked(middleware(Counting(cookie="rollcall=x")), *[{"key": "k"}] * 2) == [(200, "1"), (200, "2")]


def test_a_request_that_is_still_being_done_is_not_done_again() -> None:
    async def both() -> tuple[tuple[int, str], tuple[int, str]]:
        counting = Counting()
        app = middleware(counting)
        counting.hold.clear()
        first = asyncio.create_task(ask(app, "k"))
        await asyncio.sleep(0)  # let it begin
        second = await ask(app, "k")
        counting.hold.set()
        return await first, second

    first, second = asyncio.run(both())
    assert first == (200, "1")
    assert second[0] == 409


def test_what_is_kept_is_bounded() -> None:
    app = middleware(Counting())
    asked(app, *({"key": str(number)} for number in range(idempotency._MAX_KEPT + 5)))
    assert len(app._known) == idempotency._MAX_KEPT
    assert asked(app, {"key": "0"})[0][1] == str(idempotency._MAX_KEPT + 6), "the oldest is forgotten"


def test_an_answer_that_holds_a_secret_is_not_kept() -> None:
    app = middleware(Counting())
    assert asked(app, *[{"key": "k", "path": "/api/v1/tokens"}] * 2) == [(200, "1"), (200, "2")]
    assert not app._known


def test_a_kept_answer_is_for_those_who_are_let_in() -> None:
    """Whoever was shut out meanwhile gets what the application says to that."""
    let_in = iter([False, True])

    async def now_and_then(_: Scope) -> bool:
        return next(let_in)

    app = middleware(Counting(), now_and_then)
    assert asked(app, *[{"key": "k"}] * 3) == [(200, "1"), (200, "2"), (200, "1")]
