"""Everything that the routes of one backend process need, and who is let in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, cast

from fastapi import Request
from pymongo.errors import PyMongoError

from shared.errors import RollcallError
from shared.settings.schema import BackendSettings
from shared.sync.hybrid_clock import COUNTER_BITS
from workers.hub.answers import No
from workers.hub.database import Database, database_fault, deadline
from workers.hub.gallery import Gallery
from workers.hub.lease import now_ms
from workers.hub.origins import Heads, Origins
from workers.hub.plain import PlainClients
from workers.hub.positions import Position, position_text
from workers.hub.sightings import Sightings
from workers.hub.tokens import LOCAL_SITE, Doorkeeper
from workers.hub.watch import Watch
from workers.serving.brake import Brake
from workers.serving.callers import caller_of

_WRONG_TOKENS, _WITHIN_S = 20, 60.0
_SEEN_EVERY_S = 60.0
_FIRST_TIDY_S, _DAY_S = 600.0, 86_400.0
MARKS_KEPT_DAYS = 3 * 365  # a site that was away for longer could bring back what was deleted
_log = logging.getLogger("backend")


class Hub:
    """One backend process: its database, and what it remembers between requests."""

    def __init__(self, settings: BackendSettings, database: Database) -> None:
        self.settings, self.database = settings, database
        self.origins = Origins(database.origins)
        self.sightings = Sightings(database, self.origins)
        self.gallery = Gallery(database, self.origins, self.sightings)
        self.plain = PlainClients(database, self.gallery)
        self.doorkeeper = Doorkeeper(database.tokens)
        self.watch = Watch(self._look)
        self.wrong_tokens = Brake(_WRONG_TOKENS, _WITHIN_S)
        self._told: dict[
            str, tuple[float, str]
        ] = {}  # by site: when the database was told of it, and its position then

    async def _look(self) -> Position:
        return (await self.origins.heads()).items

    async def note_seen(self, site: str, position: Position) -> None:
        """Keep how far a site has read, for the others' status."""
        text, now = position_text(position), time.monotonic()
        told_at, told = self._told.get(site, (-_SEEN_EVERY_S, ""))
        if text == told and now - told_at < _SEEN_EVERY_S:
            return
        seen_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        async with deadline():
            await self.database.sites.update_one(
                {"_id": site}, {"$set": {"seen_at": seen_at, "position": text}}, upsert=True
            )
        self._told[site] = now, text

    async def sites(self) -> list[dict[str, Any]]:
        """Every site that ever read: its name, when it was seen, and its position."""
        async with deadline():
            return await self.database.sites.find({}).sort("_id").to_list()

    async def tidy(self) -> None:
        """Ten minutes after the start, and then once a day: delete marks of deletions that every site has had the time to read, and what
        sites left behind in the middle of a batch. Runs until it is cancelled."""
        wait_s = _FIRST_TIDY_S
        while True:
            await asyncio.sleep(wait_s)  # nothing to wait for: this is the clock's work
            wait_s = _DAY_S
            try:
                await self.delete_old_marks(now_ms())
                await self.gallery.settle_all()
            except (PyMongoError, TimeoutError) as error:
                _log.warning("the hub is not tidied today: %s", database_fault(error, self.database.hosts).line())

    async def delete_old_marks(self, now: int) -> None:
        """Delete marks of deletions that are older than three years. `now`: ms since 1970."""
        old = {"deleted": True, "revision": {"$lt": (now - MARKS_KEPT_DAYS * int(_DAY_S) * 1000) << COUNTER_BITS}}
        for collection in (self.database.items, self.database.marks):
            async with deadline():
                await collection.delete_many(old)

    async def close(self) -> None:
        """Give back what is held, and close the connections."""
        with contextlib.suppress(PyMongoError, TimeoutError, RollcallError):
            await self.gallery.close()
            await self.plain.close()
        await self.database.close()


def hub_of(request: Request) -> Hub:
    return cast(Hub, request.app.state.hub)


async def site_of(request: Request) -> str:
    """A dependency: the site that sends this request. Raises No.

    Where there are tokens everybody needs one. Where there is none, only this machine may ask.
    """
    hub, caller, now = hub_of(request), caller_of(request), time.monotonic()
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        wait_s = hub.wrong_tokens.wait_s(caller.address, now)
        # Who was let in before goes on: behind one address there can be many sites, and one of them guesses.
        if wait_s and not hub.doorkeeper.knows(token.strip()):
            headers = {"Retry-After": str(max(1, round(wait_s)))}
            raise No(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens came from this address", headers=headers)
        site = await hub.doorkeeper.site_of(token.strip())
        if site is not None:
            return site
        hub.wrong_tokens.note(caller.address, now)
    elif caller.is_local and not await hub.doorkeeper.has_tokens():
        return LOCAL_SITE
    raise No(
        HTTPStatus.UNAUTHORIZED,
        "this needs a token of a site: python supervisor.py backend token create SITE",
        headers={"WWW-Authenticate": 'Bearer realm="rollcall"'},
    )


def own_part(position: Position, heads: Heads, site: str) -> str:
    """The part of a position that is about the origins of a site."""
    return position_text({origin: seq for origin, seq in position.items() if heads.site_of.get(origin) == site})
