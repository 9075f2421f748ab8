"""A connection of the web part: whoever sends slowly, or does not read, does not hold it for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from workers.serving import connection
from workers.serving.connection import Connection

_SHORT_S = 0.3
_WAIT_S = 10.0
_PIECE = b"x" * 65536
_HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"
_Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def _application(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the whole request; answers with pieces until the reader is gone, below /endless, and else with "ok"."""
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if scope["path"] == "/endless":
        for _ in range(1000):
            await send({"type": "http.response.body", "body": _PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b"ok"})


class _Server(uvicorn.Server):
    @property
    def count(self) -> int:
        return len(self.server_state.connections)


@asynccontextmanager
async def _listening() -> AsyncIterator[tuple[_Server, int]]:
    server = _Server(uvicorn.Config(_application, port=0, http=Connection, lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    try:
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, _WAIT_S)


def _run(talk: _Talk) -> None:
    async def all_of_it() -> None:
        async with _listening() as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
            await asyncio.wait_for(talk(reader, writer), _WAIT_S)
            while server.count:
                await asyncio.sleep(0)
            writer.transport.abort()

    asyncio.run(asyncio.wait_for(all_of_it(), 2 * _WAIT_S))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_REQUEST_S", _SHORT_S)
    monkeypatch.setattr(connection, "_UNREAD_S", _SHORT_S)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHost: lo", _HEAD, _HEAD + b"ab"],
    ids=["nothing", "half a head", "no body", "half a body"],
)
def test_a_request_that_does_not_come_ends_its_connection(sent: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            return

    _run(talk)


def test_the_second_request_of_a_connection_has_its_own_time() -> None:
    """The first is answered. A pause between requests does not close the connection, and a request that does not come to its end does."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(_HEAD + b"abc")
            assert b"200" in await reader.readline()
            assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"ok\r\n0\r\n\r\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 2 * _SHORT_S)
        writer.write(_HEAD)
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            return

    _run(talk)


def test_a_reader_who_does_not_read_is_dropped() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await writer.drain()  # the reader takes a kilobyte or two, and no more

    _run(talk)
