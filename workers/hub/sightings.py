"""Sightings of all sites: who was where. Strangers, pictures and embeddings are not among them.

A sighting is kept under its site and its key, so that one that is sent twice is there once. Its number within its origin is published like
that of other changes (workers/hub/origins.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pymongo import ASCENDING, ReplaceOne

from shared.errors import RefusedError
from shared.person_names import text_of
from workers.hub.database import Database, Document, deadline, found, insert_new
from workers.hub.items import Item, Kind, Refused, Unfit
from workers.hub.origins import Origins
from workers.hub.positions import MAX_NUMBER, Position, news

MAX_PAGE = 1000
# The fields of a sighting's document that travel. All others stay at their site.
_TEXTS = (
    "event", "time", "camera", "person", "user_id", "person_id", "person_hash", "verdict", "started", "ended", "reason", "judged",
)  # fmt: skip
_NUMBERS = (
    "media_time_s",
    "track",
    "score",
    "margin",
    "confidence",
    "frames",
    "duration_s",
    "losses",
    "corrects",
    "knows",
)
_FIELDS = ("id", *_TEXTS, *_NUMBERS)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")
_MAX_KEY_CHARACTERS = 128
_MAX_BYTES = 8192


class SightingBatch(NamedTuple):
    """All sightings of an origin with after < seq <= through, as documents of the database."""

    origin: str
    after: int
    through: int
    documents: list[Document]
    refused: list[Refused]


class SightingPage(NamedTuple):
    sightings: list[dict[str, Any]]
    position: dict[str, int]
    more: bool


def fit_sightings(
    given: Sequence[object], site: str, origin: str, after: int, through: int
) -> tuple[list[Document], list[Refused]]:
    """The sightings of a batch that are fit, and those that are not. Pure."""
    fit: dict[str, Document] = {}
    refused: list[Refused] = []
    for one in given:
        try:
            made = _document_of(one, site, origin)
            if not after < made["seq"] <= through:
                raise Unfit("its seq is not within its batch")
            fit[made["_id"]] = made
        except Unfit as error:
            key = one.get("key") if isinstance(one, dict) else None
            refused.append(
                Refused(
                    key if isinstance(key, str) and len(key) <= _MAX_KEY_CHARACTERS else None, "sighting", str(error)
                )
            )
    return sorted(fit.values(), key=lambda one: int(one["seq"])), refused


def _document_of(given: object, site: str, origin: str) -> Document:
    if not isinstance(given, dict):
        raise Unfit("is no object")
    key, seq, event_id = given.get("key"), given.get("seq", given.get("id")), given.get("id")
    if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY_CHARACTERS or not key.isprintable():
        raise Unfit("key is not 1 to 128 printable characters")
    if any(type(one) is not int or not 0 < one <= MAX_NUMBER for one in (seq, event_id)):
        raise Unfit("id or seq is no whole number above 0")
    known = {name: given[name] for name in _FIELDS if given.get(name) is not None}
    _check(known)
    return {"_id": f"{site}\0{key}", "key": key, "site": site, "origin": origin, "seq": seq, **known}


def _check(known: Mapping[str, Any]) -> None:
    for name in _TEXTS:
        if name in known:
            try:
                text_of(known[name])
            except RefusedError:
                raise Unfit(f"{name} is no text") from None
    for name in _NUMBERS:
        if name in known and (type(known[name]) not in (int, float) or abs(known[name]) > MAX_NUMBER):
            raise Unfit(f"{name} is no number")
    if not isinstance(known.get("time"), str) or not _TIME.fullmatch(known["time"]):
        raise Unfit("time is not ISO 8601 in UTC, ending in Z")
    if not known.get("event") or not known.get("camera"):
        raise Unfit("has no event or no camera")
    if len(json.dumps(known)) > _MAX_BYTES:
        raise Unfit("is too large")


class Sightings:
    """The collection of sightings."""

    def __init__(self, database: Database, origins: Origins) -> None:
        self._sightings, self._marks, self._origins = database.sightings, database.marks, origins

    async def push(self, site: str, batch: SightingBatch) -> tuple[int, str | None]:
        """Store and publish a batch. Returns how far the origin's sightings are published, and "gap" or "fork" if it was not taken."""
        known = await self._origins.of(batch.origin, site)
        if known is None:
            return 0, "fork"
        published = int(known.get("sightings", 0))
        if published < batch.after:
            return published, "gap"
        await self._insert(batch)
        await self._drop_forgotten(batch.documents)
        await self._origins.publish_sightings(batch.origin, batch.through)
        return max(published, batch.through), None

    async def _insert(self, batch: SightingBatch) -> None:
        there = await insert_new(self._sightings, batch.documents)
        if not there:
            return
        # A sighting that is there came with an earlier try, or with an earlier origin of this site. If that never published it, nobody
        # has got it: then it is this origin's.
        heads = (await self._origins.heads()).sightings
        earlier = await found(self._sightings, {"_id": {"$in": sorted(there)}}, {"origin": True, "seq": True})
        lost = {
            one["_id"]: one
            for one in earlier
            if one["origin"] != batch.origin and one["seq"] > heads.get(one["origin"], 0)
        }
        changes = [
            ReplaceOne({"_id": one["_id"], "origin": lost[one["_id"]]["origin"]}, one)
            for one in batch.documents
            if one["_id"] in lost
        ]
        if changes:
            async with deadline():
                await self._sightings.bulk_write(changes, ordered=False)

    async def _drop_forgotten(self, documents: Sequence[Document]) -> None:
        """Delete those of a batch that show somebody who was forgotten, unless their site knew of it. A forgetting that comes later
        deletes them itself."""
        hashes = sorted({one["person_hash"] for one in documents if "person_hash" in one})
        people = sorted({one["person_id"] for one in documents if "person_id" in one})
        if not hashes and not people:
            return
        query = {
            "$or": [{"person_hash": {"$in": hashes}}, {"person_id": {"$in": people}}, {"id": {"$in": people}}],
        }
        await self.erase([Item.from_document(one) for one in await found(self._marks, query)])

    async def erase(self, items: Sequence[Item]) -> None:
        """Delete the sightings of people that these items forget or delete."""
        for item in items:
            for query in _erased_by(item):
                async with deadline():
                    await self._sightings.delete_many(query)

    async def page(self, heads: Position, position: Position, query: Mapping[str, Any], limit: int) -> SightingPage:
        """Sightings after a position, each origin's in its order. `query`: more conditions."""
        shown: list[dict[str, Any]] = []
        after = dict(position)
        for origin, read, head in news(heads, position):
            chosen = {**query, "origin": origin, "seq": {"$gt": read, "$lte": head}}
            async with deadline():
                cursor = self._sightings.find(chosen).sort("seq", ASCENDING).limit(limit - len(shown) + 1)
                documents = await cursor.to_list()
            for one in documents:
                if len(shown) == limit:
                    return SightingPage(shown, after, more=True)
                shown.append({name: one[name] for name in ("site", *_FIELDS) if name in one})
                after[origin] = one["seq"]
            after[origin] = head
        return SightingPage(shown, after, more=False)


def _erased_by(item: Item) -> list[Document]:
    """Which sightings an item erases. Pure. One whose site knew of the forgetting shows somebody who was enrolled again."""
    if item.kind is Kind.PERSON and item.deleted:
        return [{"person_id": item.id}]
    if item.kind is not Kind.FORGOTTEN:
        return []
    unaware = {"$not": {"$gte": item.revision}}
    known = {"person_hash": item.person_hash, "person_id": item.person_id}
    return [{name: value, "knows": unaware} for name, value in known.items() if value is not None]
