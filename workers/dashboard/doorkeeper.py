"""Who is at the door: finds the access that a request shows, and says what it allows."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any

from shared.events import Sighting
from shared.ipc.requests.accesses import AccessesUsed, AccessFound, FindAccess
from shared.records import Access, AccessKind, Role
from workers.dashboard.writer_link import WriterLink
from workers.serving.secrets import Shown, is_same, read_secret

# What the writer said is believed so long. So an access that was taken back ends within this time, and a page of forty pictures asks
# the writer once.
_BELIEVED_S = 5.0
_MAX_KNOWN = 1024
_TELL_USED_EVERY_S = 60.0
_NOBODY = (0.0, None, None)
_LET_IN = (AccessKind.SESSION, AccessKind.TOKEN)


@dataclass(frozen=True)
class Visitor:
    """Somebody who was let in."""

    access: Access

    def may(self, role: Role) -> bool:
        """Whether they may do what `role` may."""
        return self.access.role.includes(role)

    @property
    def sees_all(self) -> bool:
        """Whether they see every camera, also those that will be added."""
        return self.access.cameras is None

    def sees(self, camera: str) -> bool:
        return self.access.cameras is None or camera in self.access.cameras

    def document_of(self, sighting: Sighting) -> dict[str, Any]:
        """The sighting's public document. Where else the person is now, on cameras that this visitor does not see, is left out."""
        if self.sees_all or not sighting.also_at:
            return sighting.to_json()
        seen = [one for one in sighting.also_at if self.sees(one["camera"])]
        return replace(sighting, also_at=seen or None).to_json()


class Doorkeeper:
    """Finds accesses, and remembers for a moment what it found."""

    def __init__(self, writer: WriterLink) -> None:
        self._writer = writer
        self._known: dict[str, tuple[float, Access | None, str | None]] = {}
        self._asked: dict[str, asyncio.Future[AccessFound]] = {}  # those that the writer is being asked about
        self._used: set[str] = set()
        self._tell_at = time.monotonic() + _TELL_USED_EVERY_S

    async def visitor(self, text: str) -> Visitor | None:
        """Who shows this secret; None if nobody is let in with it. Raises TemporaryError if the writer does not answer."""
        shown = read_secret(text)
        if shown is None:
            return None
        access, known = await self._find(shown)
        if access is None or access.kind not in _LET_IN or not is_same(known, shown.hash):
            return None
        self._used.add(access.id)
        return Visitor(access)

    def knows(self, text: str) -> bool:
        """Whether somebody was let in with this secret a moment ago."""
        shown = read_secret(text)
        return shown is not None and is_same(self._known.get(shown.id, _NOBODY)[2], shown.hash)

    async def _find(self, shown: Shown) -> tuple[Access | None, str | None]:
        now = time.monotonic()
        known = self._known.get(shown.id)
        if known is not None and now < known[0] + _BELIEVED_S:
            return known[1:]
        asked = self._asked.get(shown.id)
        if asked is None:  # two hundred streams of one browser ask once
            asked = self._asked[shown.id] = asyncio.ensure_future(self._writer.ask(FindAccess(shown.id)))
            asked.add_done_callback(lambda done: self._take(shown.id, done))
        found = await asyncio.shield(asked)
        return found.access, found.secret

    def _take(self, access_id: str, asked: asyncio.Future[AccessFound]) -> None:
        del self._asked[access_id]
        if asked.cancelled() or asked.exception() is not None:
            return
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[access_id] = (time.monotonic(), asked.result().access, asked.result().secret)

    def forget(self, access_id: str) -> None:
        """Ask the writer about this access, and about the sessions that came of it, when they are seen again."""
        for known_id, (_, access, _) in list(self._known.items()):
            if access_id == known_id or (access is not None and access.parent == access_id):
                del self._known[known_id]

    async def tell_used(self) -> None:
        """Once a minute, tell the writer which accesses were used."""
        now = time.monotonic()
        if now < self._tell_at or not self._used:
            return
        used, self._used, self._tell_at = self._used, set(), now + _TELL_USED_EVERY_S
        await self._writer.ask(AccessesUsed(sorted(used)))
