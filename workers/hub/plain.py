"""What plain clients send, stored. They know references only, and send all of theirs again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shared.errors import TemporaryError
from shared.sync.hybrid_clock import COUNTER_BITS
from workers.hub.database import Database
from workers.hub.gallery import Gallery
from workers.hub.items import Item, Kind, PlainItem
from workers.hub.lease import Lease, now_ms

_TRIES = 3
_AT_ONCE = 500  # a batch: as long as it is being stored, the next one waits


class PlainClients:
    """The store for plain clients of this process."""

    def __init__(self, database: Database, gallery: Gallery) -> None:
        self._gallery, self._lease = gallery, Lease(database)
        self._turn = asyncio.Lock()  # an origin's batches are published one after the other
        self._revision = 0

    async def save(self, given: Sequence[PlainItem]) -> int:
        """Store what is new. Returns how many of the items are stored now; what was deleted stays deleted.

        Raises TemporaryError if the origin is lost to another process again and again.
        """
        count = 0
        items = list({one.id: one for one in given}.values())
        for at in range(0, len(items), _AT_ONCE):
            async with self._turn:
                count += await self._save_some(items[at : at + _AT_ONCE])
        return count

    async def _save_some(self, given: Sequence[PlainItem]) -> int:
        known, deleted, newest = await self._known(given)
        fresh = [one for one in given if one.id not in deleted and known.get(one.id) != one]
        for _ in range(_TRIES):
            if not fresh:
                break
            await self._lease.hold()
            items = self._stamped(fresh, newest)
            if await self._gallery.insert(items):
                self._lease.origin = ""  # whoever held it before still wrote
            elif await self._lease.publish(items[-1].seq):
                await self._gallery.settle(items)
                break
        else:
            raise TemporaryError("another backend took this one's origin", remedy="send it again")
        return sum(one.id not in deleted for one in given)

    async def _known(self, given: Sequence[PlainItem]) -> tuple[dict[str, PlainItem], set[str], int]:
        """Of these ids: the newest version of each, those that are deleted, and the greatest revision."""
        documents = await self._gallery.known([one.id for one in given])
        newest: dict[str, Item] = {}
        for one in map(Item.from_document, documents):
            best = newest.get(one.id)
            if (
                best is None
                or one.kind is Kind.DELETED
                or (best.kind is not Kind.DELETED and one.revision > best.revision)
            ):
                newest[one.id] = one
        known = {
            one.id: PlainItem(one.id, one.person_name or "", one.embedding or b"", one.image_path, one.user_id)
            for one in newest.values()
        }
        deleted = {one.id for one in newest.values() if one.kind is Kind.DELETED}
        return known, deleted, max((one.revision for one in newest.values()), default=0)

    def _stamped(self, given: Sequence[PlainItem], newest: int) -> list[Item]:
        """The items with the next numbers and a revision that is newer than all that is known. A number is never used again: what became
        of a batch that failed is not known."""
        self._revision = max(self._revision + 1, newest + 1, now_ms() << COUNTER_BITS)
        first = self._lease.seq + 1
        self._lease.seq += len(given)
        return [
            Item(
                kind=Kind.REFERENCE, id=one.id, revision=self._revision, origin=self._lease.origin, seq=first + at,
                person_name=one.person_name, user_id=one.user_id, image_path=one.image_path, embedding=one.embedding,
            )
            for at, one in enumerate(given)
        ]  # fmt: skip

    async def close(self) -> None:
        await self._lease.let_go()
