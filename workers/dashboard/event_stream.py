"""One open stream of sightings: what came since the last id, then each new one; a status now and then; silence never for long."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from shared.errors import RollcallError
from shared.events import Sighting
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.site import Site, visitor_of
from workers.serving.problems import Problem

_STATUS_S = 5.0
_COMMENT_S = 15.0
_RETRY_MS = 2000  # a browser that lost the stream comes back after this time


class Stream:
    """The pieces of one stream, as bytes of server-sent events. It ends when its session is over, or when the process stops."""

    def __init__(self, site: Site, visitor: Visitor, request: Request, after: int | None) -> None:
        """`after`: the id of the last sighting that the reader has; None: begin with the next one."""
        self.site, self._visitor, self._request = site, visitor, request
        self._last = site.feed.last_id if after is None else after
        self._is_replay = after is not None
        self._status_at = self._comment_at = 0.0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._comment_at = time.monotonic() + _COMMENT_S
        yield format_sse_event(retry=_RETRY_MS)
        while not self.site.stopping and await self._is_let_in():
            if (status := await self._status()) is not None:
                yield status
            for piece in await self._sightings():
                self._comment_at = time.monotonic() + _COMMENT_S
                yield piece
            if time.monotonic() >= self._comment_at:
                self._comment_at = time.monotonic() + _COMMENT_S
                yield KEEPALIVE_COMMENT
            await self.site.feed.wait(self._last, max(0.0, self._status_at - time.monotonic()))

    async def _is_let_in(self) -> bool:
        """Whether the session or token is still valid. The doorkeeper asks the writer only now and then."""
        try:
            await visitor_of(self._request)
        except Problem:
            return False
        except RollcallError:  # the writer is being replaced: nobody is shut out for that
            return True
        return True

    async def _sightings(self) -> list[bytes]:
        pieces = []
        try:
            if self._is_replay:
                found, gap = await self._replayed()
                pieces += gap
            else:
                found = await self.site.feed.after(self._last)
        except RollcallError:  # as above: the next round asks again
            return []
        if found:
            self._last = found[-1].id
        pieces += [self._event(one) for one in found if self._visitor.sees(one.camera)]
        return pieces

    async def _replayed(self) -> tuple[list[Sighting], list[bytes]]:
        """What came after the reader's last id; and what it is told if it comes back so late that some of that is deleted."""
        page = await self.site.feed.page_after(self._last)
        self._is_replay = False
        self._last = min(self._last, page.last_id)  # an id that was never given out
        first = page.events[0].id if page.events else page.last_id + 1
        if first <= self._last + 1:
            return page.events, []
        gap = json.dumps({"after": self._last, "before": first})
        return page.events, [format_sse_event(event="gap", data_str=gap)]

    async def _status(self) -> bytes | None:
        """Every 5 s: which cameras are up, and whether the site is ready."""
        now = time.monotonic()
        if now < self._status_at:
            return None
        self._status_at = now + _STATUS_S
        try:
            site = (await self.site.status()).site
        except RollcallError:
            site = None
        cameras = {name: one.word for name, one in site.cameras.items() if self._visitor.sees(name)} if site else {}
        shown = {"ready": site is not None and site.ready, "cameras": cameras}
        return format_sse_event(event="status", data_str=json.dumps(shown))

    def _event(self, sighting: Sighting) -> bytes:
        document = json.dumps(self._visitor.document_of(sighting), separators=(",", ":"))
        return format_sse_event(event=sighting.event, id=str(sighting.id), data_str=document)
