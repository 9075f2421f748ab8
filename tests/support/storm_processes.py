"""The processes of the storm: `python -m tests.support.storm_processes writer|reader FOLDER SEED`.

Every reference except the anchor's has a checksum: its person is named after its vector's digest. The anchor is one person who is
replaced over and over. A match must find the anchor at any time.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.gallery import publisher as gallery_publisher
from shared.gallery.publisher import GalleryPublisher
from shared.gallery.reader import GalleryReader
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.references import Delete, Save
from shared.model_id import ModelId
from shared.records import NewReference
from shared.service.service import StoreService
from shared.settings.schema import SiteSettings
from shared.store.lock import SiteLock
from shared.store.opening import open_store
from shared.store.references import list_people
from tests.support.vectors import noise, unit

DIM = 32
ANCHOR = "anchor"
_LOOKS = 64  # rows checked a turn


def digest(vector: NDArray[np.float32]) -> str:
    return hashlib.sha256(vector.tobytes()).hexdigest()[:24]


def anchor_vectors(rng: np.random.Generator) -> NDArray[np.float32]:
    """(1, DIM): the anchor as it looks now: near the vector that readers ask for, and never the same."""
    base = noise(np.random.default_rng(0), 1, DIM)
    return unit(base + noise(rng, 1, DIM) * np.float32(0.1))


@contextmanager
def service(folder: Path) -> Iterator[StoreService]:
    """The store and its block as the writer has them, loaded, under the site's lock."""
    database = folder / "face_embeddings.db"
    lock = SiteLock(database)
    lock.acquire(30)
    try:
        store = open_store(database, lambda _: None)
        if store.dim is None:
            with store.transaction():
                store.stamp(ModelId.parse("test/none", "f" * 64, DIM))
        publisher = GalleryPublisher(folder, DIM, "test/none", "f" * 64)
        opened = StoreService(store, publisher, site=SiteSettings(name="storm"), data_dir=folder, say=lambda _: None)
        opened.publish_everything()
        yield opened
    finally:
        lock.release()


class Storm:
    """What the writer does: at random, so many of each."""

    def __init__(self, opened: StoreService, seed: int) -> None:
        self._service, self._seed = opened, seed
        self._rng, self._chance = np.random.default_rng(seed), random.Random(seed)
        self._people = [row.person for row in list_people(opened.store) if row.person != ANCHOR]
        self.write_anchor()

    def turn(self) -> None:
        actions: list[tuple[Callable[[], None], int]] = [
            (self.write_anchor, 10), (self.enrol, 10), (self.enrol_many, 1), (self.remove, 6), (self.forget, 4)
        ]  # fmt: skip
        self._chance.choices([action for action, _ in actions], [weight for _, weight in actions])[0]()

    def write_anchor(self) -> None:
        self._save([ANCHOR], anchor_vectors(self._rng), "anchor.jpg")

    def enrol(self) -> None:
        self._enrol(self._chance.randint(1, 8))

    def enrol_many(self) -> None:
        """Enough to outgrow the room now and then; then many of them go, so that it is compacted."""
        self._enrol(600)
        while len(self._people) > 3000:
            self.remove()

    def _enrol(self, count: int) -> None:
        vectors = noise(self._rng, count, DIM)
        names = [digest(vector) for vector in vectors]
        self._save(names, vectors, None)
        self._people += names

    def _save(self, names: list[str], vectors: NDArray[np.float32], path: str | None) -> None:
        self._service.ask(Save([NewReference(name, path) for name in names], vectors=vectors))

    def remove(self) -> None:
        if self._people:
            for person in [self._people.pop() for _ in range(min(20, len(self._people)))]:
                self._service.ask(Delete(person))

    def forget(self) -> None:
        if self._people:
            self._service.ask(Forget(self._people.pop(self._chance.randrange(len(self._people)))))


def write(folder: Path, seed: int) -> dict[str, Any]:
    gallery_publisher._MIN_ADDRESSES, gallery_publisher._ADDRESSES = 3000, 1  # so that they run out now and then
    gallery_publisher._MIN_DEAD = 200
    with service(folder) as opened:
        storm, turns = Storm(opened, seed), 0
        print(json.dumps({"ready": True}), flush=True)
        stop = stop_asked()
        while not stop.is_set():
            storm.turn()
            turns += 1
        return {"turns": turns, "generation": opened.info().generation, "faults": opened.check()}


class Checks:
    """What one reader has seen."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._reader, self._rng = GalleryReader(folder), np.random.default_rng(seed)
        self._probe = noise(np.random.default_rng(0), 1, DIM)
        self.rows = self.mismatches = self.missing = self.generations = self.rewrites = 0
        self.longest_s = 0.0

    def turn(self) -> None:
        began, generation, counts_from = time.monotonic(), self._reader.generation, self._reader.counts_from
        self._reader.refresh()
        self.generations += self._reader.generation != generation
        self._look_at_rows()
        best = self._reader.match(self._probe, 1)[0]
        self.missing += not best or best[0].person != ANCHOR
        self.rewrites += self._reader.counts_from != counts_from
        self.longest_s = max(self.longest_s, time.monotonic() - began)

    @property
    def enough(self) -> bool:
        """Whether this reader has met all that a storm is for: on a slow machine that takes longer than on a fast one."""
        return self.rows > 1000 and self.generations > 0 and self.rewrites > 3

    def _look_at_rows(self) -> None:
        live = self._reader.copy_live()
        self.missing += ANCHOR not in live.names
        self.mismatches += len(live.names) - len(np.unique(live.row_ids))
        for row in self._rng.integers(0, len(live.names), _LOOKS).tolist():
            self.rows += 1
            self.mismatches += live.names[row] not in (digest(live.references[row]), ANCHOR)


def read(folder: Path, seed: int) -> dict[str, Any]:
    checks, told = Checks(folder, seed), False
    print(json.dumps({"ready": True}), flush=True)
    stop = stop_asked()
    while not stop.is_set():
        checks.turn()
        if not told and checks.enough:
            told = True
            print(json.dumps({"enough": True}), flush=True)
    return {
        "rows": checks.rows, "mismatches": checks.mismatches, "missing": checks.missing,
        "generations": checks.generations, "rewrites": checks.rewrites, "longest_s": checks.longest_s,
    }  # fmt: skip


def stop_asked() -> threading.Event:
    """Set once standard input ends."""
    stop = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    return stop


if __name__ == "__main__":
    work = {"writer": write, "reader": read}[sys.argv[1]]
    print(json.dumps(work(Path(sys.argv[2]), int(sys.argv[3]))), flush=True)
