"""The origin under which one backend process stores what plain clients send.

Plain clients have no clock and count nothing, so a process does it for them, with an origin that it holds by a lease. One that nobody holds
any more is taken over, so that there are never more than processes that ran at once. Whoever takes one over goes on after the highest number
that is stored. Publishing asks again whether the origin is still held: clocks that differ can cost a try, and no change.
"""

from __future__ import annotations

import logging
import secrets
import time

from pymongo import DESCENDING, ReturnDocument

from workers.hub.database import Database, deadline
from workers.hub.positions import MAX_NUMBER

_LEASE_MS = 60_000
_SPARE_MS = 60_000  # clocks of two machines may differ by so much without a lost lease
_RENEW_EVERY_S = 10.0
_HOLDER_BYTES = 12
_log = logging.getLogger("backend")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Lease:
    """One origin of the hub's own, held by this process. `origin`, `seq`: as long as it is held."""

    def __init__(self, database: Database) -> None:
        self._origins, self._items = database.origins, database.items
        self._holder = secrets.token_urlsafe(_HOLDER_BYTES)
        self.origin = ""
        self.seq = 0
        self._renewed_at = 0.0  # monotonic

    async def hold(self) -> None:
        """Make sure that an origin is held long enough for what follows: renew the lease, or take an origin."""
        if self.origin and time.monotonic() - self._renewed_at < _RENEW_EVERY_S:
            return
        began = time.monotonic()
        mine = {"$set": {"holder": self._holder, "until": now_ms() + _LEASE_MS}}
        if self.origin:
            async with deadline():
                done = await self._origins.update_one({"_id": self.origin, "holder": self._holder}, mine)
            if done.matched_count:
                self._renewed_at = began
                return
            self.origin = ""
        idle = {"site": "", "until": {"$lt": now_ms() - _SPARE_MS}}
        async with deadline():
            taken = await self._origins.find_one_and_update(idle, mine, return_document=ReturnDocument.AFTER)
            if taken is None:
                taken = {
                    "_id": secrets.token_urlsafe(8),
                    "site": "",
                    "seq": 0,
                    "sightings": 0,
                    "lineage": None,
                    **mine["$set"],
                }
                await self._origins.insert_one(dict(taken))
            newest = (
                await self._items.find({"origin": taken["_id"]}, {"seq": True})
                .sort("seq", DESCENDING)
                .limit(1)
                .to_list()
            )
        self.origin, self._renewed_at = taken["_id"], began
        self.seq = max([taken["seq"], *(one["seq"] for one in newest)])
        _log.info("holds an origin for plain clients")

    async def publish(self, seq: int) -> bool:
        """Publish up to a number. Returns False if the origin is not held any more."""
        assert seq <= MAX_NUMBER
        async with deadline():
            done = await self._origins.update_one({"_id": self.origin, "holder": self._holder}, {"$max": {"seq": seq}})
        if not done.matched_count:
            self.origin = ""
        return bool(done.matched_count)

    async def let_go(self) -> None:
        """Give the origin back at once."""
        if self.origin:
            async with deadline():
                await self._origins.update_one({"_id": self.origin, "holder": self._holder}, {"$set": {"until": 0}})
            self.origin = ""
