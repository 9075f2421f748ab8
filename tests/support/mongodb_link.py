"""A connection to a database that can be cut at any step: before the database gets a command, or after, before its answer is seen."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_STEPS = re.compile(rb"\x02(find|insert|update|delete|findAndModify)\x00")
_HEAD = 16
_BODY = 16 + 4 + 1 + 4  # of OP_MSG: its head, flags, the kind of the section, the length of the document


class Link:
    """Passes messages on, and counts those that read or write a collection. `steps`: the names of those since `arm`."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self._cut_at: int | None = None
        self._cut_after = False

    def arm(self, step: int | None, *, after: bool = False) -> None:
        """Cut every connection at this step, counted from 0; None: never. `after`: the database has carried it out by then."""
        self.steps, self._cut_at, self._cut_after = [], step, after

    def _is_cut(self) -> bool:
        return self._cut_at is not None and len(self.steps) > self._cut_at

    async def pass_on(self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end. Once it is cut, nothing more gets through, as after a kill."""
        there, to_there = await asyncio.open_connection(host, port)
        try:
            while not self._is_cut():
                message = await _message(reader)
                step = _STEPS.match(message[_BODY:])
                if step is not None:
                    self.steps.append(step[1].decode())
                if self._is_cut() and not self._cut_after:
                    return
                to_there.write(message)
                answer = await _message(there)
                if self._is_cut():
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            for one in (writer, to_there):
                one.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(_HEAD)
    return head + await reader.readexactly(int.from_bytes(head[:4], "little") - _HEAD)


@asynccontextmanager
async def link_to(uri: str) -> AsyncIterator[tuple[Link, str]]:
    """A link to the database of an address, and the address that goes through it. Nothing is tried twice on it."""
    found = re.fullmatch(r"mongodb://([\w.]+):(\d+)/(\w+)", uri)
    assert found is not None, "an address of one server"
    link = Link()
    passing: set[asyncio.Task[None]] = set()

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        passing.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await link.pass_on(found[1], int(found[2]), reader, writer)
        passing.discard(task)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield link, f"mongodb://127.0.0.1:{port}/{found[3]}?retryReads=false&retryWrites=false"
    finally:
        server.close()
        for one in list(passing):
            one.cancel()
