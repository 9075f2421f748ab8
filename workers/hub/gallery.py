"""References, people and deletions in the database: how batches are stored and pages are read.

Every version is a document of its own, and is only ever inserted. After its batch is published, versions for which another one stands are
deleted (workers/hub/settling.py). A repeated batch therefore changes nothing, and two backends can't write over each other.

Whether a thing has other versions is known from one more insertion, of its id, that comes last: it fails if somebody was there before, who
then has published already. So new references cost insertions only, and of two that save one thing at once the second one sees the first.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from pymongo import ASCENDING

from workers.hub.database import Database, Document, deadline, found, insert_new
from workers.hub.items import Batch, Item, Kind
from workers.hub.origins import Origins, is_fork
from workers.hub.positions import Position, news, position_text
from workers.hub.settling import FIELDS, Version, useless, version_of
from workers.hub.sightings import Sightings

MAX_PAGE_ITEMS = 1000
PAGE_BYTES = 1 << 20
_OVERHEAD_BYTES = 420  # of an item's JSON beside its embedding
_AT_ONCE = 2000  # ids in one query
_KEPT_S, _MAX_READINGS = 20.0, 16
_LIST_CHUNK = 200  # documents that a plain list takes at a time


class Pushed(NamedTuple):
    """What became of a batch. `seq`: how far its origin is published. `fault`: "gap" or "fork"; None: it is stored. `lineage`: the one
    that the hub has."""

    seq: int
    lineage: str | None
    fault: str | None = None


class Page(NamedTuple):
    """Items after a position, the position after them, and whether there are more."""

    items: list[Item]
    position: dict[str, int]
    more: bool


class _Reading(NamedTuple):
    """A page's reading that can go on. `first`: was read already, and did not fit. `until`: monotonic."""

    first: tuple[Item, dict[str, int]]
    rest: AsyncGenerator[tuple[Item, dict[str, int]], None]
    end: dict[str, int]
    until: float


class Gallery:
    """References, people and deletions of all sites."""

    def __init__(self, database: Database, origins: Origins, sightings: Sightings) -> None:
        self._items, self._things, self._marks = database.items, database.things, database.marks
        self._origins, self._sightings = origins, sightings
        self._readings: OrderedDict[tuple[str, str | None], _Reading] = OrderedDict()

    # --- writing -------------------------------------------------------------------------------------------------

    async def push(self, site: str, batch: Batch) -> Pushed:
        """Store a batch of a site, and publish it."""
        known = await self._origins.of(batch.origin, site)
        if known is None:
            return Pushed(0, None, "fork")
        seq, lineage = known["seq"], known["lineage"]
        # First the gap: a hub that was restored from a backup has an old lineage, too.
        if seq < batch.after:
            return Pushed(seq, lineage, "gap")
        if is_fork(lineage, batch.lineage, batch.next_lineage):
            return Pushed(seq, lineage, "fork")
        if lineage != batch.next_lineage or seq < batch.through:
            await self.insert(batch.items)
            if not await self._origins.publish(batch.origin, batch.through, lineage, batch.next_lineage):
                known = await self._origins.of(batch.origin, site)
                if known is None or known["lineage"] != batch.next_lineage:
                    return Pushed(0 if known is None else known["seq"], None, "fork")
        await self.settle(batch.items)
        return Pushed(max(seq, batch.through), batch.next_lineage)

    async def insert(self, items: Sequence[Item]) -> set[str]:
        """Store new versions. They are not published yet. Returns the keys of those that were there."""
        await insert_new(self._marks, [one.to_document() for one in items if _is_mark(one)])
        return await insert_new(self._items, [one.to_document() for one in items])

    async def known(self, ids: Sequence[str]) -> list[Document]:
        """All versions of these things."""
        there = [one["_id"] for one in await found(self._things, {"_id": {"$in": list(ids)}})]
        return await found(self._items, {"id": {"$in": there}}) if there else []

    async def settle(self, items: Sequence[Item]) -> None:
        """Delete what a published batch has made useless. If this comes too early for one side of a race, the other side comes later."""
        ids = sorted({one.id for one in items})
        there = await insert_new(self._things, [{"_id": one} for one in ids])
        # What deletes looks in any case: a site may have ended before it came this far.
        looked_at = there | {one.id for one in items if one.deleted}
        await self._delete_useless(await self._around(looked_at, items))
        await self._sightings.erase(items)

    async def settle_all(self) -> None:
        """The same for everything that there is: what sites left behind that never came back in the middle of a batch."""
        async with deadline():
            cursor = self._items.find({}, FIELDS, batch_size=_AT_ONCE).sort("id", ASCENDING)
            versions = [version_of(one) for one in await cursor.to_list(_AT_ONCE)]
        while versions:
            async with deadline():
                more = [version_of(one) for one in await cursor.to_list(_AT_ONCE)]
            last = versions[-1].id if more else ""  # may go on in the next piece
            whole = [one for one in versions if one.id != last]
            people = {one.person_id for one in whole if one.kind == Kind.REFERENCE and one.person_id is not None}
            await self._delete_useless({*whole, *await self._forgettings(people)})
            versions = [one for one in versions if one.id == last] + more

    async def _delete_useless(self, versions: set[Version]) -> None:
        if not versions:
            return
        heads = (await self._origins.heads()).items
        gone = [one.document_id for one in useless(versions, heads)]
        for some in _pieces(gone):
            async with deadline():
                await self._items.delete_many({"_id": {"$in": some}})

    async def _around(self, ids: Collection[str], items: Sequence[Item]) -> set[Version]:
        """All versions of these things; the references of people that a batch forgets; and the forgettings of those that it saves."""
        around: set[Version] = set()
        forgotten = {one.person_id for one in items if one.kind is Kind.FORGOTTEN and one.person_id is not None}
        for name, values in (("id", ids), ("person_id", forgotten)):
            for some in _pieces(sorted(values)):
                around.update(map(version_of, await found(self._items, {name: {"$in": some}}, FIELDS)))
        marks = await self._forgettings({one.person_id for one in items if one.person_id is not None})
        return around | marks | ({version_of(one.to_document()) for one in items} if marks else set())

    async def _forgettings(self, people: Collection[str]) -> set[Version]:
        marks: set[Version] = set()
        for some in _pieces(sorted(people)):
            query = {"kind": "forgotten", "person_id": {"$in": some}}
            marks.update(map(version_of, await found(self._marks, query, FIELDS)))
        return marks

    # --- reading -------------------------------------------------------------------------------------------------

    async def page(self, heads: Position, position: Position, model: str | None, limit: int) -> Page:
        """What is published by `heads`, which was read before, and comes after a position.

        `model`: references of other models are left out; those without a model are not. Each origin's items are in the order of seq. A
        reader that asks for the next page soon goes on in the same query.
        """
        now = time.monotonic()
        reading = self._readings.pop((position_text(position), model), None)
        if reading is None or reading.until < now:
            rest = self._items_after(heads, position, model)
            end = {**position, **{origin: head for origin, _, head in news(heads, position)}}
            first = await anext(rest, None)
            if first is None:
                return Page([], end, more=False)
            reading = _Reading(first, rest, end, now)
        items: list[Item] = []
        after = dict(position)
        room = PAGE_BYTES
        following: tuple[Item, dict[str, int]] | None = reading.first
        while following is not None:
            item, position_then = following
            size = len(item.embedding or b"") * 4 // 3 + _OVERHEAD_BYTES
            if len(items) == limit or (size > room and items):
                await self._keep((position_text(after), model), reading._replace(first=following, until=now + _KEPT_S))
                return Page(items, after, more=True)
            items.append(item)
            after, room = position_then, room - size
            following = await anext(reading.rest, None)
        # A reading that went on ends where the heads were when it began.
        return Page(items, reading.end, more=bool(news(heads, reading.end)))

    async def _items_after(
        self, heads: Position, position: Position, model: str | None
    ) -> AsyncGenerator[tuple[Item, dict[str, int]], None]:
        """Each item after a position, and the position after it."""
        after = dict(position)
        for origin, read, head in news(heads, position):
            query: Document = {"origin": origin, "seq": {"$gt": read, "$lte": head}}
            async with self._items.find(query | _of_model(model)).sort("seq", ASCENDING) as cursor:
                while True:
                    async with deadline():
                        document = await anext(cursor, None)
                    if document is None:
                        break
                    after[origin] = document["seq"]
                    yield Item.from_document(document), dict(after)
            after[origin] = head

    async def _keep(self, key: tuple[str, str | None], reading: _Reading) -> None:
        """Keep a reading for a moment. Of too many the oldest are ended."""
        self._readings[key] = reading
        while len(self._readings) > _MAX_READINGS or next(iter(self._readings.values())).until < time.monotonic():
            _, old = self._readings.popitem(last=False)
            await old.rest.aclose()

    async def close(self) -> None:
        """End the readings that were kept."""
        while self._readings:
            _, old = self._readings.popitem()
            await old.rest.aclose()

    async def plain_model(self) -> str | None:
        """The model with most references; None if no reference has one."""
        async with deadline():
            models = [one for one in await self._items.distinct("model", {"kind": "reference"}) if one is not None]
            counted = [(await self._items.count_documents({"kind": "reference", "model": one}), one) for one in models]
        return max(counted)[1] if counted else None

    async def plain_list(self, model: str | None) -> AsyncIterator[list[Item]]:
        """All live references of one model, and those without a model that have its dimension, some at a time. Each person's photo once.

        `model` None: those without a model.
        """
        dim = None if model is None else await self._dim_of(model)
        async with deadline():
            cursor = self._items.find({"kind": {"$in": ["reference", "deleted"]}}, batch_size=_LIST_CHUNK).sort(
                "id", ASCENDING
            )
            documents = await cursor.to_list(_LIST_CHUNK)
        rest: list[Document] = []
        while documents:
            # The last id may go on in the next chunk.
            whole, rest = _without_last_id(rest + documents)
            if live := _live(whole, model, dim):
                yield live
            async with deadline():
                documents = await cursor.to_list(_LIST_CHUNK)
        if live := _live(rest, model, dim):
            yield live

    async def _dim_of(self, model: str) -> int | None:
        async with deadline():
            one = await self._items.find_one({"kind": "reference", "model": model}, {"dim": True})
        return None if one is None else int(one["dim"])


def _is_mark(item: Item) -> bool:
    """Whether it forgets or deletes a person."""
    return item.deleted and item.kind is not Kind.DELETED


def _of_model(model: str | None) -> Document:
    """What else than a reference has no model."""
    return {} if model is None else {"model": {"$in": [model, None]}}


def _live(documents: Iterable[Document], model: str | None, dim: int | None) -> list[Item]:
    """Of the versions of each reference the newest one under a model, or else without one, unless it is deleted. The documents are sorted
    by id."""
    live: list[Item] = []
    for _, versions in groupby(documents, lambda one: one["id"]):
        newest: dict[str | None, Document] = {}
        for one in versions:
            if one["kind"] == Kind.DELETED:
                newest.clear()
                break
            best = newest.get(one.get("model"))
            if best is None or version_of(one).stands_for(version_of(best)):
                newest[one.get("model")] = one
        chosen = newest.get(model) or newest.get(None)
        if chosen is not None and dim in (None, chosen["dim"]):
            live.append(Item.from_document(chosen))
    return live


def _without_last_id(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    last = documents[-1]["id"]
    cut = next(at for at, one in enumerate(documents) if one["id"] == last)
    return documents[:cut], documents[cut:]


def _pieces(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[at : at + _AT_ONCE] for at in range(0, len(values), _AT_ONCE))
