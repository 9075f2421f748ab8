"""Sites that exchange their galleries over a hub in memory: real stores, and a clock, a network and disks that a test has in its hand."""

from __future__ import annotations

import copy
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from shared import uuid7
from shared.errors import RefusedError
from shared.ipc.requests.base import Answer, Request
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.people import Merge, Rename, UndoPeople
from shared.ipc.requests.references import Delete, Save
from shared.ipc.requests.sync import BeginAnew, Outgoing, Resend, Sent, SetBack, SyncStatus, TakeIn, TakenIn
from shared.model_id import ModelId
from shared.records import NewReference
from shared.service.service import StoreService
from shared.store import synced
from shared.store.copying import copy_to
from shared.store.opening import open_store
from shared.sync import hybrid_clock
from shared.uuid7 import new_uuids
from tests.support.memory_hub import MemoryHub
from tests.support.stores import rows, service_of, silent

MODEL = ModelId.parse("dlib/x", "ab" * 32, 16)
KEY = b"k" * 32
_START_MS = 1_800_000_000_000
_BEHIND_MS = 20_000  # a clock that is less right sees the others' changes in the future
_PAGE, _BATCH_BYTES = 3, 1500  # small, so that everything comes in parts
_MAX_ROUNDS = 100
_Answer = TypeVar("_Answer", bound=Answer)


@dataclass(frozen=True)
class Seen:
    """A reference as a site shows it."""

    person: str
    person_id: str
    user_id: str | None
    embedding: bytes


class Clock:
    """The wall clock of all sites, in milliseconds since 1970."""

    def __init__(self) -> None:
        self.now, self.ahead = _START_MS, 0

    def read(self) -> int:
        return self.now + self.ahead


@contextmanager
def one_clock(seed: int | None = None) -> Iterator[Clock]:
    """A clock that all sites of this process read. `seed`: of all that they draw, so that a run can be repeated."""
    clock, patch = Clock(), pytest.MonkeyPatch()
    patch.setattr(hybrid_clock, "now_ms", clock.read)
    if seed is not None:
        random = Random(seed)
        patch.setattr(uuid7, "os", SimpleNamespace(urandom=random.randbytes))
        patch.setattr(uuid7, "time", SimpleNamespace(time_ns=lambda: clock.now * 1_000_000))
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        patch.setattr(secrets, "token_urlsafe", lambda size: "".join(random.choices(letters, k=(size * 4 + 2) // 3)))
    try:
        yield clock
    finally:
        patch.undo()


class SyncedSite:
    """One site: its store, its clock's error, and the batch and the page that it got last."""

    def __init__(self, folder: Path, clock: Clock, key: bytes | None = KEY) -> None:
        self.folder, self.clock, self.key = folder, clock, key
        self.ahead_ms = 0
        self.page: TakeIn | None = None
        folder.mkdir()
        self.open()
        with self.store.transaction():
            self.store.stamp(MODEL)

    def open(self) -> None:
        """Begin, as a site that is started."""
        self.store = open_store(self.folder / "face_embeddings.db", silent)
        self.store.connection.execute("PRAGMA synchronous=OFF")
        self.store.sync_key = self.key
        self.service: StoreService = service_of(self.store, self.folder)

    def reopen(self) -> None:
        """As a site that is started again."""
        self.store.close()
        self.open()

    def close(self) -> None:
        self.store.close()

    def ask(self, request: Request[_Answer]) -> _Answer:
        """Carry out a request at this site's time."""
        self.clock.ahead = self.ahead_ms
        try:
            return self.service.ask(request)
        finally:
            self.clock.ahead = 0

    # --- what people do ----------------------------------------------------------------------------------------

    def save(self, name: str, vector: NDArray[np.float32] | None = None, **fields: Any) -> str:
        """Save a reference. Returns its UUID."""
        uuid = fields.pop("uuid", None) or new_uuids(1)[0]
        if vector is None:
            vector = np.frombuffer(bytes.fromhex(uuid.replace("-", "")), np.uint8).astype(np.float32) + 1
        self.ask(Save([NewReference(name, uuid=uuid, **fields)], None, vectors=vector.reshape(1, -1)))
        return uuid

    def view(self) -> dict[str, Seen]:
        """All references, by UUID."""
        found = rows(
            self.store,
            "SELECT f.uuid, e.person_name, p.uuid, e.user_id, e.embedding FROM embeddings e "
            "JOIN reference_facts f ON f.embedding_id=e.id JOIN people p ON p.name=e.person_name",
        )
        return {uuid: Seen(*rest) for uuid, *rest in found}

    def people(self) -> dict[str, int]:
        """The names of all people, with numbers of references."""
        return dict(rows(self.store, "SELECT person_name, COUNT(*) FROM embeddings GROUP BY 1"))

    # --- the exchange ------------------------------------------------------------------------------------------

    def outgoing(self) -> dict[str, Any] | None:
        """The next batch as it goes over the wire."""
        batch = self.ask(Outgoing(_BATCH_BYTES))
        if not batch.next_lineage:
            return None
        return {
            "origin": batch.origin, "after": batch.after, "through": batch.through, "lineage": batch.lineage,
            "next_lineage": batch.next_lineage, "embeddings": copy.deepcopy(batch.items),
        }  # fmt: skip  # one object

    def hear(self, batch: dict[str, Any], answer: dict[str, Any]) -> None:
        """Take the hub's answer to a batch."""
        match answer.get("reason"):
            case "fork":
                self.ask(BeginAnew())
            case "gap":
                self.ask(Resend(batch["origin"], answer["seq"], answer["lineage"]))
            case _:
                self.ask(Sent(batch["through"], batch["next_lineage"]))

    def push(self, hub: MemoryHub) -> bool:
        """Send one batch. Returns whether there was one."""
        batch = self.outgoing()
        if batch is None:
            return False
        self.hear(batch, hub.push(batch))
        return True

    def pull(self, hub: MemoryHub, limit: int = _PAGE) -> bool:
        """Take one page in. Returns whether there is more."""
        standing = self.ask(SyncStatus())
        others = ",".join(one for one in standing.position.split(",") if not one.startswith(standing.origin + ":"))
        if standing.origin and (lost := hub.behind(others)):
            self.ask(SetBack("hub", lost))
            standing = self.ask(SyncStatus())
        items, position, more = hub.pull(standing.position, limit)
        items = [one for one in items if one["origin"] != standing.origin]
        self.page = TakeIn("hub", standing.position, position, items)
        taken = self.ask(self.page)
        assert all("in the future" in one.reason for one in taken.refused), taken.refused
        return more

    def take(self, *items: dict[str, Any]) -> TakenIn:
        """Take items in that came from somewhere."""
        position = self.ask(SyncStatus()).position
        return self.ask(TakeIn("hub", position, position, list(items)))

    # --- what must always hold ---------------------------------------------------------------------------------

    def require_settled(self) -> None:
        """After an exchange this site shows exactly what follows from registers and references, and its store is sound."""
        every = rows(self.store, "SELECT uuid FROM synced_people UNION SELECT person FROM synced")
        found = synced.around(self.store, [uuid for (uuid,) in every])
        shown = found.shown()
        people = {name: rest for name, *rest in rows(self.store, "SELECT name, uuid, user_id FROM people")}
        for row in found.rows:
            one = shown[row.person]
            assert (row.name, people[row.name]) == (one.name, [one.uuid, one.user_id])
        assert len(found.rows) == rows(self.store, "SELECT COUNT(*) FROM embeddings")[0][0]
        assert len(set(shown.values())) == len({one.name for one in shown.values()})


@contextmanager
def sites(folder: Path, count: int = 2, *, keys: bool = True) -> Iterator[tuple[MemoryHub, list[SyncedSite]]]:
    """A hub and some sites of one clock. `keys`: the sites share a key."""
    with one_clock(seed=0) as clock:
        made = [SyncedSite(folder / f"site-{number}", clock, KEY if keys else None) for number in range(count)]
        try:
            yield MemoryHub(), made
        finally:
            for one in made:
                one.close()


def exchange(hub: MemoryHub, *some: SyncedSite) -> None:
    """Let sites push and pull until nobody has anything to say."""
    for _ in range(_MAX_ROUNDS):
        busy = False
        some[0].clock.now += 100
        for one in some:
            while one.pull(hub):
                pass
            while one.push(hub):
                busy = True
            one.require_settled()
        if not busy:
            break
    else:
        raise AssertionError("the sites never came to rest")
    for one in some:
        while one.pull(hub):
            pass
        one.require_settled()


class World:
    """Three sites and a hub, to which anything may happen. What happens is drawn from a generator, or called by a state machine."""

    NAMES = ("Ada", "Bo", "Cy", "Di", "Eve")
    PHOTOS = 4

    def __init__(self, seed: int = 0, keys: tuple[bool, ...] = (True, True, True)) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self._clock = one_clock(seed)
        self.clock = self._clock.__enter__()
        self.rng = np.random.default_rng(seed)
        self.hub, self.old_hub = MemoryHub(), MemoryHub()
        self.sites = [
            SyncedSite(self.folder / f"site-{number}", self.clock, KEY if has_key else None)
            for number, has_key in enumerate(keys)
        ]
        self.under_way: list[tuple[int, dict[str, Any]]] = []  # batches of sites that may still come to the hub
        self.saved: set[str] = set()
        self.deleted: set[str] = set()
        self.loses = False  # somebody was forgotten or restored: references may be gone that nobody deleted
        self.is_restored = False

    def close(self) -> None:
        for one in self.sites:
            one.close()
        self._clock.__exit__(None, None, None)
        shutil.rmtree(self.folder)

    # --- what people do ----------------------------------------------------------------------------------------

    def save(self, at: int, name: str, photo: int | None, user_id: str | None) -> None:
        path = None if photo is None else f"faces/{name}/{photo}.jpg"
        before = self.sites[at].view().keys()
        digest = None if photo is None else f"{photo:064x}"
        self.sites[at].save(name, self._vector(), image_path=path, user_id=user_id, photo_digest=digest)
        self.saved |= self.sites[at].view().keys() - before

    def replace(self, at: int, which: int) -> None:
        """Save another vector for a reference."""
        if chosen := self._one(at, which):
            self.sites[at].save(chosen[1].person, self._vector(), uuid=chosen[0])

    def delete(self, at: int, which: int) -> None:
        chosen = self._one(at, which)
        if chosen is None:
            return
        [(path,)] = rows(
            self.sites[at].store,
            "SELECT image_path FROM embeddings e JOIN reference_facts f ON f.embedding_id=e.id WHERE f.uuid=?",
            chosen[0],
        )
        if path is not None:
            self._deleting(at, Delete(chosen[1].person, path))

    def forget(self, at: int, name: str) -> None:
        self.loses = True
        self._deleting(at, Forget(name, None))

    def rename(self, at: int, name: str, new: str) -> None:
        self._try(at, Rename(name, new))

    def merge(self, at: int, name: str, into: str) -> None:
        self._deleting(at, Merge(name, into))  # of two references of one photo one is kept

    def undo(self, at: int) -> None:
        before = self.sites[at].view().keys()
        self._try(at, UndoPeople())
        self.deleted -= self.sites[at].view().keys() - before

    def _one(self, at: int, which: int) -> tuple[str, Seen] | None:
        every = sorted(self.sites[at].view().items())
        return every[which % len(every)] if every else None

    def _vector(self) -> NDArray[np.float32]:
        return self.rng.normal(size=MODEL.dim).astype(np.float32)

    def _try(self, at: int, request: Request[Any]) -> None:
        try:
            self.sites[at].ask(request)
        except RefusedError:
            return

    def _deleting(self, at: int, request: Request[Any]) -> None:
        before = self.sites[at].view().keys()
        self._try(at, request)
        self.deleted |= before - self.sites[at].view().keys()

    # --- the network -------------------------------------------------------------------------------------------

    def send(self, at: int) -> None:
        """A batch sets out. Nobody waits for it."""
        if (batch := self.sites[at].outgoing()) is not None:
            self.under_way.append((at, batch))
        self.sites[at].require_settled()

    def arrive(self, which: int, *, twice: bool, is_answered: bool) -> None:
        """A batch that is under way comes to the hub, in any order."""
        if not self.under_way:
            return
        at, batch = self.under_way[which % len(self.under_way)]
        if not twice:
            self.under_way.remove((at, batch))
        answer = self.hub.push(copy.deepcopy(batch))
        still_waits = rows(self.sites[at].store, "SELECT value FROM sync_state WHERE key='next_lineage'")
        if is_answered and still_waits == [(batch["next_lineage"],)]:
            self.sites[at].hear(batch, answer)

    def die_in_between(self, at: int) -> None:
        """A backend dies after it stored a batch, and before it published it."""
        if (batch := self.sites[at].outgoing()) is not None:
            self.hub.insert(batch)

    def drop(self, which: int) -> None:
        if self.under_way:
            self.under_way.pop(which % len(self.under_way))

    def pull(self, at: int) -> None:
        self.sites[at].pull(self.hub)
        self.sites[at].require_settled()

    def pull_again(self, at: int) -> None:
        """A page comes once more, late."""
        if (page := self.sites[at].page) is not None:
            self.sites[at].ask(page)
            self.sites[at].require_settled()

    # --- faults ------------------------------------------------------------------------------------------------

    def wait(self, ms: int) -> None:
        self.clock.now += ms

    def skew(self, at: int, ms: int) -> None:
        self.sites[at].ahead_ms = ms

    def reopen(self, at: int) -> None:
        self.sites[at].reopen()

    def keep_hub(self) -> None:
        """A backup of the hub."""
        self.old_hub = copy.deepcopy(self.hub)

    def restore_hub(self) -> None:
        self.hub = copy.deepcopy(self.old_hub)

    def back_up(self, at: int) -> None:
        site = self.sites[at]
        copy_to(site.store, site.folder / "kept.db")

    def restore(self, at: int) -> None:
        """The references of a backup take the place of a site's."""
        file = self.sites[at].folder / "kept.db"
        if file.exists():
            self.loses = self.is_restored = True
            self.sites[at].service.restore(file)

    # --- the end -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everybody speaks with the hub until there is nothing left to say; then all is equal, and nobody who was deleted is back."""
        self.under_way.clear()
        for one in self.sites:
            one.ahead_ms = max(one.ahead_ms, -_BEHIND_MS)
        exchange(self.hub, *self.sites)
        first = self.sites[0].view()
        for one in self.sites[1:]:
            assert one.view() == first
        assert self.hub.references() == first.keys()
        for one in self.sites:
            assert one.service.check() == []
        assert not self.deleted & first.keys()
        if not self.loses:
            assert self.saved - self.deleted <= first.keys()


_OFTEN: tuple[tuple[str, float], ...] = (
    ("save", 6), ("replace", 2), ("delete", 1), ("forget", 0.6), ("rename", 1.5), ("merge", 1), ("undo", 0.8), ("send", 4),
    ("arrive", 6), ("drop", 0.5), ("die", 0.3), ("pull", 7), ("pull_again", 0.5), ("wait", 1), ("skew", 0.3), ("reopen", 0.5),
)  # fmt: skip  # a table
_SELDOM: tuple[tuple[str, float], ...] = (("keep_hub", 0.2), ("restore_hub", 0.1), ("back_up", 0.3), ("restore", 0.15))


def happen(world: World, random: Random, *, seldom: bool = False) -> str:
    """One thing that happens. Returns its name."""
    table = _OFTEN + (_SELDOM if seldom else ())
    at, which, name = random.randrange(3), random.randrange(1000), random.choice(World.NAMES)
    [what] = random.choices([one for one, _ in table], [often for _, often in table])
    match what:
        case "save":
            photo = random.randrange(World.PHOTOS) if random.random() < 0.5 else None
            world.save(at, name, photo, random.choice([None, None, None, "7", "8"]))
        case "rename" | "merge":
            getattr(world, what)(at, name, random.choice(World.NAMES))
        case "forget":
            world.forget(at, name)
        case "replace" | "delete":
            getattr(world, what)(at, which)
        case "arrive":
            world.arrive(which, twice=random.random() < 0.1, is_answered=random.random() < 0.8)
        case "drop":
            world.drop(which)
        case "die":
            world.die_in_between(at)
        case "wait":
            world.wait(random.choice([1, 50, 5000]))
        case "skew":
            world.skew(at, random.choice([0, 20_000, -20_000, -(10**9)]))
        case "keep_hub" | "restore_hub":
            getattr(world, what)()
        case _:
            getattr(world, what)(at)
    return f"{what} at {at}"
