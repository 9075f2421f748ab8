"""Lets readers wait for news. While somebody waits, one task looks once a second how far the origins are; batches of this process are
told at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

from pymongo.errors import PyMongoError

_LOOK_EVERY_S = 1.0
_log = logging.getLogger("backend")


class Watch:
    """What was last seen of the origins, and who waits for more."""

    def __init__(self, look: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        """`look`: reads how far each origin is published."""
        self._look = look
        self._seen: dict[str, int] = {}
        self._changed, self._wanted, self._told = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._waiting = 0
        self.stopping = False

    async def run(self) -> None:
        """Look, as long as somebody waits. Runs until it is cancelled."""
        while True:
            await self._wanted.wait()
            self._told.clear()
            try:
                self._note(await self._look())
            except (PyMongoError, TimeoutError) as error:  # readers wait on; each asks the database itself at the end
                _log.warning("can't look for news: %s", type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._told.wait()

    def tell(self) -> None:
        """Something was published here."""
        self._told.set()

    def stop(self) -> None:
        """Let everybody go who waits, now and later."""
        self.stopping = True
        self._wake()

    async def wait(self, seen: Mapping[str, int], timeout_s: float) -> None:
        """Wait until there is more than a reader has seen, at most so long."""
        self._note(seen)
        before = dict(self._seen)
        self._waiting += 1
        self._wanted.set()
        try:
            async with asyncio.timeout(timeout_s):
                while self._seen == before and not self.stopping:
                    await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._wanted.clear()

    def _note(self, heads: Mapping[str, int]) -> None:
        newer = {origin: seq for origin, seq in heads.items() if seq > self._seen.get(origin, 0)}
        if newer:
            self._seen |= newer
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
