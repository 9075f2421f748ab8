"""The hub's store on a real database: cut at every step, written by two processes at once, and its leases."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from shared.settings.schema import BackendSettings
from shared.sync.hybrid_clock import COUNTER_BITS
from tests.support.hub import batch, deleted, now_revision, plain, reference
from tests.support.mongodb import mongodb, needs_mongodb
from tests.support.mongodb_link import link_to
from workers.hub.database import Database
from workers.hub.face_routes import batch_of
from workers.hub.gallery import Gallery
from workers.hub.hub import Hub
from workers.hub.items import Item, Kind, plain_item_of
from workers.hub.lease import Lease, now_ms
from workers.hub.origins import Origins
from workers.hub.plain import PlainClients
from workers.hub.sightings import SightingBatch, Sightings, fit_sightings

pytestmark = needs_mongodb
_MOST_STEPS = 40


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mongodb(tmp_path_factory.mktemp("hub") / "db") as address:
        yield address


class Store:
    """What one backend has of a database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.origins = Origins(database.origins)
        self.sightings = Sightings(database, self.origins)
        self.gallery = Gallery(database, self.origins, self.sightings)

    async def push(self, sent: dict[str, Any]) -> tuple[int, str | None]:
        pushed = await self.gallery.push("site", batch_of(sent, sent["embeddings"], now_ms()))
        return pushed.seq, pushed.fault

    async def read(
        self, position: dict[str, int] | None = None, limit: int = 1000
    ) -> tuple[list[Item], dict[str, int]]:
        heads = (await self.origins.heads()).items
        page = await self.gallery.page(heads, position or {}, None, limit)
        return page.items, page.position


async def opened(uri: str) -> Store:
    database = Database(uri, "test")
    await database.prepare()
    return Store(database)


def known(items: list[Item], first: int) -> dict[str, Item]:
    """The newest version of each thing of a test, without what is deleted."""
    wanted = {str(uuid.UUID(int=number)) for number in range(first, first + 100)}
    mine = sorted((one for one in items if one.id in wanted), key=lambda one: (one.revision, one.origin))
    gone = {one.id for one in mine if one.kind is Kind.DELETED}
    return {one.id: one for one in mine if one.id not in gone and one.kind is Kind.REFERENCE}


def cut_at_every_step(uri: str, work: Callable[[Store, int], Awaitable[None]]) -> None:
    """`work` for step 0, 1, 2 … until it runs through; and once more with the connection cut after each step."""

    async def one(step: int, *, after: bool) -> bool:
        async with link_to(uri) as (link, address):
            store = await opened(address)
            try:
                link.arm(step, after=after)
                await work(store, step * 2 + after)
                return len(link.steps) <= step
            finally:
                await store.database.close()

    for after in (False, True):
        assert any(asyncio.run(one(step, after=after)) for step in range(_MOST_STEPS)), "it never ran through"


def test_a_batch_that_is_cut_anywhere_and_sent_again_is_whole(uri: str) -> None:
    """Before that, a reader has the whole batch or nothing of it; nobody misses what the batch replaces or deletes. After it all is there."""

    async def work(store: Store, number: int) -> None:
        first, origin, other = 10_000 + 100 * number, secrets.token_urlsafe(8), secrets.token_urlsafe(8)
        healthy = await opened(uri)
        now = now_revision()
        start = [reference(first + n, n + 1, revision=now + n) for n in range(3)]
        await healthy.push(batch(other, 0, start, None, "x"))
        sent = batch(
            origin,
            0,
            [
                reference(first, 1, revision=now + 9, person_name="Renamed"),
                deleted(first + 1, 2),
                reference(first + 5, 3),
            ],
            None,
            "a",
        )
        with contextlib.suppress(PyMongoError):
            await store.push(sent)
        names = {item.person_name for item in known((await healthy.read())[0], first).values()}
        before, whole = {f"P{first + n}" for n in range(3)}, {"Renamed", f"P{first + 2}", f"P{first + 5}"}
        assert names in (before, whole)
        assert await healthy.push(sent) == (3, None)
        found, _ = await healthy.read()
        assert {item.person_name for item in known(found, first).values()} == whole
        mine = [one for one in found if one.id in {str(uuid.UUID(int=first + n)) for n in range(6)}]
        assert len(mine) == 4, "what was replaced or deleted is not kept"
        await healthy.database.close()

    cut_at_every_step(uri, work)


def test_a_batch_that_is_never_sent_again_takes_nothing_away(uri: str) -> None:
    """A site whose disk breaks in the middle of a batch: everybody goes on with what was there."""

    async def work(store: Store, number: int) -> None:
        first, origin, other = 60_000 + 100 * number, secrets.token_urlsafe(8), secrets.token_urlsafe(8)
        healthy = await opened(uri)
        now = now_revision()
        await healthy.push(batch(other, 0, [reference(first, 1, revision=now)], None, "x"))
        with contextlib.suppress(PyMongoError):
            await store.push(batch(origin, 0, [reference(first, 1, revision=now + 5, person_name="Half")], None, "a"))
        # Another site says something of the same reference, so that the hub looks at all of its versions.
        third = secrets.token_urlsafe(8)
        await healthy.push(batch(third, 0, [reference(first, 1, revision=now - 5)], None, "x"))
        heads = (await healthy.origins.heads()).items
        (left,) = known((await healthy.read())[0], first).values()
        assert left.person_name == ("Half" if heads.get(origin) == 1 else f"P{first}")
        await healthy.database.close()

    cut_at_every_step(uri, work)


def test_what_a_plain_client_sent_is_stored_once_it_sends_it_again(uri: str) -> None:
    """Cut anywhere: after the second try all is there, once."""

    async def work(store: Store, number: int) -> None:
        first = 110_000 + 100 * number
        healthy = await opened(uri)
        sent = [plain_item_of(plain(first + n)) for n in range(3)]
        with contextlib.suppress(PyMongoError):
            await PlainClients(store.database, store.gallery).save(sent)
        again = PlainClients(healthy.database, healthy.gallery)
        assert await again.save(sent) == 3
        assert await again.save(sent) == 3
        listed = [one.person_name async for some in healthy.gallery.plain_list(None) for one in some]
        assert sorted(name for name in listed if name in {one.person_name for one in sent}) == sorted(
            one.person_name for one in sent
        )
        await again.close()
        await healthy.database.close()

    cut_at_every_step(uri, work)


def test_sightings_that_are_cut_anywhere_are_there_once(uri: str) -> None:
    """Sent again, also under a new origin: a site that was restored from a backup in between."""

    async def work(store: Store, _: int) -> None:
        healthy = await opened(uri)
        site, person = f"site{secrets.token_hex(4)}", secrets.token_hex(4)
        seen = [
            {"key": f"k{n}", "id": n, "event": "named", "time": "2026-11-27T10:00:00Z", "camera": "c", "person": person}
            for n in (1, 2, 3)
        ]

        def of(origin: str) -> SightingBatch:
            documents, refused = fit_sightings(seen, site, origin, 0, 3)
            assert refused == []
            return SightingBatch(origin, 0, 3, documents, refused)

        with contextlib.suppress(PyMongoError):
            await store.sightings.push(site, of(secrets.token_urlsafe(8)))
        assert await healthy.sightings.push(site, of(secrets.token_urlsafe(8))) == (3, None)
        heads = (await healthy.origins.heads()).sightings
        page = await healthy.sightings.page(heads, {}, {"person": person}, 1000)
        assert [one["id"] for one in page.sightings] == [1, 2, 3]
        await healthy.database.close()

    cut_at_every_step(uri, work)


def test_what_a_site_left_behind_is_found_by_tidying(uri: str) -> None:
    """A site's last batch was published, and its backend killed before it looked at what the batch replaces: nothing of it stays for long."""

    async def work() -> None:
        store = await opened(uri)
        first, origin, other = 600_000, secrets.token_urlsafe(8), secrets.token_urlsafe(8)
        now = now_revision()
        await store.push(batch(other, 0, [reference(first, 1, revision=now), reference(first + 1, 2)], None, "x"))
        late = batch(origin, 0, [reference(first, 1, revision=now + 1), deleted(first + 1, 2)], None, "x")
        taken = batch_of(late, late["embeddings"], now_ms())
        await store.origins.of(origin, "site")
        await store.gallery.insert(taken.items)
        await store.origins.publish(origin, 2, None, "x")
        ids = {str(uuid.UUID(int=first + n)) for n in range(2)}
        assert len([one for one in (await store.read())[0] if one.id in ids]) == 4
        await store.gallery.settle_all()
        left = [one for one in (await store.read())[0] if one.id in ids]
        assert {one.document_id for one in left} == {f"{origin}:1", f"{origin}:2"}
        await store.database.close()

    asyncio.run(work())


def test_whoever_is_forgotten_is_gone_from_the_hub(uri: str) -> None:
    """By the person's id: references that are there, and those that come late from a site that does not know. One that knows is believed."""

    async def work() -> None:
        store = await opened(uri)
        first, origin, other = 700_000, secrets.token_urlsafe(8), secrets.token_urlsafe(8)
        person = str(uuid.uuid4())
        await store.push(batch(other, 0, [reference(first, 1, person_id=person)], None, "x"))
        mark = {"kind": "forgotten", "id": str(uuid.uuid4()), "person_id": person, "revision": now_revision(), "seq": 1}
        await store.push(batch(origin, 0, [mark], None, "x"))
        late = [
            reference(first + 1, 2, person_id=person),
            reference(first + 2, 3, person_id=person, knows=mark["revision"]),
        ]
        await store.push(batch(other, 1, late, "x", "y"))
        assert list(known((await store.read())[0], first)) == [str(uuid.UUID(int=first + 2))]
        await store.database.close()

    asyncio.run(work())


def test_marks_of_deletions_are_kept_for_three_years(uri: str) -> None:
    """Older ones are deleted, and nothing else is."""

    async def work() -> None:
        hub = Hub(BackendSettings(), Database(uri, "test"))
        await hub.database.prepare()
        first, origin = 800_000, secrets.token_urlsafe(8)
        now = now_ms()
        ages = {0: 3 * 365 + 1, 1: 3 * 365 - 1}
        marks = [
            deleted(first + n, n + 1, revision=(now - days * 86_400_000) << COUNTER_BITS) for n, days in ages.items()
        ]
        old = reference(first + 2, 3, revision=marks[0]["revision"])
        sent = batch(origin, 0, [*marks, old], None, "x")
        await hub.gallery.push("site", batch_of(sent, sent["embeddings"], now))
        await hub.delete_old_marks(now)
        kept = await hub.database.items.find({"origin": origin}).to_list()
        assert sorted(one["seq"] for one in kept) == [2, 3]
        await hub.close()

    asyncio.run(work())


def test_a_reader_goes_on_in_the_same_query(uri: str) -> None:
    """Pages from one backend, from another one, and with a stop that is longer than a reading is kept: the same items."""

    async def work() -> None:
        one, two = await opened(uri), await opened(uri)
        whole = [item.document_id for item in (await one.read())[0]]

        async def read(stores: list[Store], *, forgets: bool) -> list[str]:
            seen: list[str] = []
            position: dict[str, int] = {}
            for step in range(1000):
                items, position = await stores[step % len(stores)].read(position, limit=25)
                seen += [item.document_id for item in items]
                if forgets:
                    await one.gallery.close()
                if not items:
                    return seen
            raise AssertionError("it does not end")

        assert await read([one], forgets=False) == whole
        assert await read([one, two], forgets=False) == whole
        assert await read([one], forgets=True) == whole
        for store in (one, two):
            await store.gallery.close()
            await store.database.close()

    asyncio.run(work())


def test_two_backends_that_write_at_once_are_read_without_a_gap(uri: str) -> None:
    """A reader that goes on page by page while both write has in the end what a new reader has."""

    async def work() -> None:
        stores = [await opened(uri) for _ in range(3)]
        first, writing = 400_000, 2

        async def write(number: int) -> None:
            nonlocal writing
            origin, lineage = secrets.token_urlsafe(8), None
            for step in range(12):
                items = [reference(first + (7 * step + n + number) % 20, 10 * step + n + 1) for n in range(4)]
                if step % 3 == 2:
                    items.append(deleted(first + 40 + number, 10 * step + 9))
                sent = batch(
                    origin,
                    10 * (step - 1) + 9 if step and step % 3 == 0 else (10 * (step - 1) + 4 if step else 0),
                    items,
                    lineage,
                    f"l{step}",
                )
                assert (await stores[number].push(sent))[1] is None
                lineage = f"l{step}"
            writing -= 1

        async def read() -> list[Item]:
            seen: list[Item] = []
            position: dict[str, int] = {}
            while True:
                last = not writing
                while True:
                    items, position = await stores[2].read(position, limit=3)
                    seen += items
                    if not items:
                        break
                if last:
                    return seen

        _, _, seen = await asyncio.gather(write(0), write(1), read())
        fresh, _ = await stores[2].read()
        newest = known(seen, first)
        assert newest.keys() == known(fresh, first).keys()
        assert {one.document_id for one in newest.values()} == {one.document_id for one in known(fresh, first).values()}
        for one in stores:
            await one.database.close()

    asyncio.run(work())


@pytest.mark.parametrize("ahead", [0, 50])
def test_a_lease_that_is_lost_costs_a_try_and_no_change(uri: str, ahead: int) -> None:
    """Another process takes over an origin, while the first believes that it still has it. Both clients' items are there, whether the
    first comes to a number that the other has used or, `ahead`, to one that nobody has."""

    async def work() -> None:
        one, two = await opened(uri), await opened(uri)
        slow, fast = PlainClients(one.database, one.gallery), PlainClients(two.database, two.gallery)
        first = 500_000 + 100 * ahead
        assert await slow.save([plain_item_of(plain(first))]) == 1
        held = slow._lease.origin
        await one.database.origins.update_one({"_id": held}, {"$set": {"until": 0}})  # a clock that is hours ahead
        await two.database.origins.delete_many({"site": "", "_id": {"$ne": held}})  # so that it takes this one
        assert await fast.save([plain_item_of(plain(first + 1))]) == 1
        assert fast._lease.origin == held
        slow._lease.seq += ahead
        assert await slow.save([plain_item_of(plain(first + 2))]) == 1
        assert slow._lease.origin != held
        listed = {item.person_name async for some in one.gallery.plain_list(None) for item in some}
        assert {f"P{first}", f"P{first + 1}", f"P{first + 2}"} <= listed
        origins = {
            item.origin for item in (await one.read())[0] if item.person_name in {f"P{first + n}" for n in range(3)}
        }
        assert origins == {held, slow._lease.origin}
        for store in (one, two):
            await store.database.close()

    asyncio.run(work())


def test_there_are_never_more_origins_than_processes_at_once(uri: str) -> None:
    """One that was given back is taken again, and goes on after the highest number that is stored, published or not."""

    async def work() -> None:
        store = await opened(uri)
        await store.database.origins.delete_many({"site": ""})
        lease = Lease(store.database)
        await lease.hold()
        origin = lease.origin
        made = Item(kind=Kind.REFERENCE, id=str(uuid.uuid4()), revision=now_ms() << COUNTER_BITS, origin=origin, seq=41, person_name="X",
                    embedding=bytes(64))  # fmt: skip
        await store.gallery.insert([made])
        await lease.let_go()
        for _ in range(3):
            again = Lease(store.database)
            await again.hold()
            assert (again.origin, again.seq) == (origin, 41)
            await again.let_go()
        both = [Lease(store.database), Lease(store.database)]
        for one in both:
            await one.hold()
        assert len({one.origin for one in both}) == 2
        await store.database.close()

    asyncio.run(work())


def test_a_reader_between_two_pages_is_told_that_more_was_published_meanwhile(uri: str) -> None:
    """Its second page goes on where the first ended, and says that it is not the last one."""

    async def work() -> None:
        store = await opened(uri)
        origin = secrets.token_urlsafe(8)
        await store.push(batch(origin, 0, [reference(9000, 1), reference(9001, 2)], None, "a"))
        mine = {one: head for one, head in (await store.origins.heads()).items.items() if one == origin}
        first = await store.gallery.page(mine, {}, None, 1)
        assert [one.seq for one in first.items] == [1] and first.more
        await store.push(batch(origin, 2, [reference(9002, 3)], "a", "b"))
        second = await store.gallery.page({origin: 3}, first.position, None, 1000)
        assert [one.seq for one in second.items] == [2] and second.more
        third = await store.gallery.page({origin: 3}, second.position, None, 1000)
        assert [one.seq for one in third.items] == [3] and not third.more
        await store.gallery.close()
        await store.database.close()

    asyncio.run(work())
