"""Origins: how far each one's changes are published, whose it is, and how a copy of a store is found out.

A batch is published by raising its origin's number, in one step with the lineage, after all of it is on the disk. Readers take nothing
above that number. So a backend that is killed in between has published nothing, and the site sends the batch again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from pymongo.errors import DuplicateKeyError

from workers.hub.database import Collection, Document, deadline

_log = logging.getLogger("backend")


@dataclass(frozen=True)
class Heads:
    """How far each origin is published. `site_of`: whose each origin is; hub's own have ""."""

    items: Mapping[str, int] = field(default_factory=dict)
    sightings: Mapping[str, int] = field(default_factory=dict)
    site_of: Mapping[str, str] = field(default_factory=dict)


class Origins:
    """The collection of origins."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def heads(self) -> Heads:
        async with deadline():
            known = await self._collection.find({}).to_list()
        return Heads(
            {one["_id"]: one["seq"] for one in known},
            {one["_id"]: one.get("sightings", 0) for one in known},
            {one["_id"]: one["site"] for one in known},
        )

    async def of(self, origin: str, site: str) -> Document | None:
        """An origin, made if it is new. None if it is another site's."""
        async with deadline():
            known = await self._collection.find_one({"_id": origin})
            if known is None:
                made = {"_id": origin, "site": site, "seq": 0, "sightings": 0, "lineage": None}
                try:
                    await self._collection.insert_one(dict(made))
                except DuplicateKeyError:  # another backend was faster
                    known = await self._collection.find_one({"_id": origin})
                else:
                    known = made
        return known if known is not None and known["site"] == site else None

    async def publish(self, origin: str, through: int, lineage: str | None, next_lineage: str) -> bool:
        """Publish a batch. Returns False if the lineage is not `lineage` any more."""
        step = {"$max": {"seq": through}, "$set": {"lineage": next_lineage}}
        async with deadline():
            done = await self._collection.update_one({"_id": origin, "lineage": lineage}, step)
        return done.matched_count == 1

    async def publish_sightings(self, origin: str, through: int) -> None:
        async with deadline():
            await self._collection.update_one({"_id": origin}, {"$max": {"sightings": through}})


def is_fork(stored: str | None, lineage: str | None, next_lineage: str) -> bool:
    """Whether a store with this lineage is not the one that pushed last: it was copied or restored. Pure.

    An origin that has no lineage yet takes any: the hub may be new to it.
    """
    return stored is not None and stored not in (lineage, next_lineage)
