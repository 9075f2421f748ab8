"""The sightings as they come, for any number of streams: one connection to the writer, one list of the newest in memory.

A stream asks for what comes after the last sighting that it sent. What the list no longer has, it reads from the writer. So a stream
that reads slowly holds nothing and misses nothing. The list has the sightings of two seconds, and a stream that begins
reads from the writer: somebody who is forgotten is gone from here as well.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from shared.events import Sighting
from shared.ipc.following import find_last_id, follow_across_restarts
from shared.ipc.requests.sightings import Sightings, SightingsPage
from workers.dashboard.writer_link import WriterLink

_KEPT_S = 2.0
_MAX_KEPT = 1000
_PAGE = 1000
_RETRY_S = 0.5


class SightingFeed:
    """Follows the writer on a thread of its own. Use everything else from the event loop."""

    def __init__(self, run_dir: Path, writer: WriterLink, on_sighting: Callable[[Sighting], None]) -> None:
        """`on_sighting`: called on the event loop with each new sighting."""
        self._run_dir, self._writer, self._on_sighting = run_dir, writer, on_sighting
        self._newest: deque[tuple[float, Sighting]] = deque(maxlen=_MAX_KEPT)  # when each came, and it
        self._changed = asyncio.Event()
        self._stopping = threading.Event()
        self.last_id = 0
        self.is_following = False

    def start(self) -> None:
        """Begin to follow, as soon as the writer answers. Returns at once."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._follow, args=(loop,), name="sighting-feed", daemon=True).start()

    def stop(self) -> None:
        """End all waiting."""
        self._stopping.set()
        self._changed.set()

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        last_id = find_last_id(self._run_dir, self._give_up)
        if last_id is None:
            return
        loop.call_soon_threadsafe(self._begin, last_id)
        for sighting in follow_across_restarts(self._run_dir, last_id, self._give_up):
            if self._stopping.is_set():
                return
            loop.call_soon_threadsafe(self._take, sighting)

    def _give_up(self, _: Exception) -> bool:
        return self._stopping.wait(_RETRY_S)

    def _begin(self, last_id: int) -> None:
        self.last_id, self.is_following = last_id, True

    def _take(self, sighting: Sighting) -> None:
        self._newest.append((time.monotonic(), sighting))
        self.last_id = sighting.id
        self._on_sighting(sighting)
        self._changed.set()
        self._changed = asyncio.Event()

    def drop_old(self) -> None:
        """Drop what came some seconds ago. Call it every second."""
        while self._newest and self._newest[0][0] < time.monotonic() - _KEPT_S:
            self._newest.popleft()

    async def wait(self, after_id: int, timeout_s: float) -> None:
        """Wait until there is a sighting after `after_id`, or until `timeout_s` have passed, or until the process stops."""
        changed = self._changed
        if self.last_id > after_id or self._stopping.is_set():
            return
        try:
            await asyncio.wait_for(changed.wait(), timeout_s)
        except TimeoutError:
            return

    async def stored_after(self, after_id: int) -> list[Sighting]:
        """The next kept sightings after `after_id`, oldest first, as the writer has them now. Raises RollcallError."""
        return (await self.page_after(after_id)).events

    async def page_after(self, after_id: int) -> SightingsPage:
        """As `stored_after`, with the id of the last sighting that there was."""
        return await self._writer.ask(Sightings(after_id, None, _PAGE))

    async def after(self, after_id: int) -> list[Sighting]:
        """As `stored_after`, for a stream that follows: what came in the last moments is taken from memory. Somebody may have been forgotten
        in these moments."""
        if after_id >= self.last_id:
            return []
        # The list may have holes where sightings were forgotten, but it misses nothing that came after its first.
        if self._newest and self._newest[0][1].id <= after_id + 1:
            return [one for _, one in self._newest if one.id > after_id]
        return await self.stored_after(after_id)
