"""References, people and deletions in the database: how batches are stored and pages are read.

Every version is a document of its own, and is only ever inserted. After its batch is published, versions for which another one stands are
deleted (workers/hub/settling.py). A repeated batch therefore changes nothing, and two backends can't write over each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from pymongo import ASCENDING

from workers.hub.database import Database, Document, deadline, found, insert_new
from workers.hub.items import Batch, Item, Kind
from workers.hub.origins import Origins, is_fork
from workers.hub.positions import Position, news
from workers.hub.settling import FIELDS, Version, useless, version_of
from workers.hub.sightings import Sightings

MAX_PAGE_ITEMS = 1000
PAGE_BYTES = 1 << 20
_OVERHEAD_BYTES = 420  # of an item's JSON beside its embedding
_AT_ONCE = 2000  # ids in one query
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


class Gallery:
    """References, people and deletions of all sites."""

    def __init__(self, database: Database, origins: Origins, sightings: Sightings) -> None:
        self._items, self._origins, self._sightings = database.items, origins, sightings

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
        return await insert_new(self._items, [one.to_document() for one in items])

    async def settle(self, items: Sequence[Item]) -> None:
        """Delete what a published batch has made useless. If this comes too late for one side of a race, the other side comes later."""
        heads = (await self._origins.heads()).items
        gone = [one.document_id for one in useless(await self._around(items), heads)]
        for some in _pieces(gone):
            async with deadline():
                await self._items.delete_many({"_id": {"$in": some}})
        await self._sightings.erase(items)

    async def _around(self, items: Sequence[Item]) -> list[Version]:
        """All versions of the things of a batch; the forgettings of its people; and the references of the people that it forgets."""
        ids = {one.id for one in items}
        people = {one.person_id for one in items if one.kind is Kind.REFERENCE and one.person_id is not None}
        forgotten = {one.person_id for one in items if one.kind is Kind.FORGOTTEN and one.person_id is not None}
        around: set[Version] = set()
        for some in _pieces(sorted(ids)):
            around.update(map(version_of, await found(self._items, {"id": {"$in": some}}, FIELDS)))
        for kind, chosen in ((Kind.FORGOTTEN, people), (Kind.REFERENCE, forgotten)):
            for some in _pieces(sorted(chosen)):
                query = {"kind": str(kind), "person_id": {"$in": some}}
                around.update(map(version_of, await found(self._items, query, FIELDS)))
        return list(around)

    # --- reading -------------------------------------------------------------------------------------------------

    async def page(self, heads: Position, position: Position, model: str | None, limit: int) -> Page:
        """What is published by `heads`, which was read before, and comes after a position.

        `model`: references of other models are left out; those without a model are not. Each origin's items are in the order of seq.
        """
        items: list[Item] = []
        after = dict(position)
        room = PAGE_BYTES
        for origin, read, head in news(heads, position):
            async with deadline():
                query: Document = {"origin": origin, "seq": {"$gt": read, "$lte": head}}
                cursor = self._items.find(query | _of_model(model)).sort("seq", ASCENDING).limit(limit - len(items) + 1)
                async for document in cursor:
                    size = len(document.get("embedding", b"")) * 4 // 3 + _OVERHEAD_BYTES
                    if len(items) == limit or (size > room and items):
                        await cursor.close()
                        return Page(items, after, more=True)
                    item = Item.from_document(document)
                    items.append(item)
                    room -= size
                    after[origin] = item.seq
            after[origin] = head
        return Page(items, after, more=False)

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
