"""A storm over the block: one writer, four readers, each row carrying its own checksum; then the same with processes killed.

`ROLLCALL_STORM_S=60` makes each storm last a minute; by default it is a few seconds.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.gallery.files import head_path, remove_left_behind, segment_path
from shared.gallery.publisher import NoRoomError
from shared.gallery.reader import GalleryReader
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.references import Save, Saved
from shared.records import NewReference
from shared.service.service import StoreService
from shared.store.references import count_references
from tests.conftest import SmallDisk
from tests.support.blocks import held_bytes
from tests.support.full_disks import fill
from tests.support.paths import ROOT
from tests.support.storm_processes import DIM, service
from tests.support.vectors import noise

_STORM_S = float(os.environ.get("ROLLCALL_STORM_S", "4"))
_READERS = 4
_LONGEST_TURN_S = 5.0  # of a reader, on a machine with more processes than cores; a blocked one never ends its turn


class StormProcess:
    """One process of tests.support.storm_processes; started again with `start` when it was killed."""

    def __init__(self, kind: str, folder: Path, seed: int) -> None:
        self._words = [sys.executable, "-m", "tests.support.storm_processes", kind, str(folder), str(seed)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._words,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until(self, state: str) -> None:
        """Until it says that it is "ready", or that it has seen "enough"; the test's time limit is the deadline."""
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline()) == {state: True}

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def finish(self) -> dict[str, Any]:
        """Ask it to end; what it has seen."""
        output, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        answer: dict[str, Any] = json.loads(output.splitlines()[-1])
        return answer


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    remove_left_behind(tmp_path)


@pytest.fixture
def processes(folder: Path) -> Iterator[list[StormProcess]]:
    """The writer and then the readers, all at work."""
    started = [StormProcess("writer", folder, 1)]
    started[0].wait_until("ready")
    started += [StormProcess("reader", folder, seed) for seed in range(2, 2 + _READERS)]
    for one in started[1:]:
        one.wait_until("ready")
    yield started
    for one in started:
        if one.process.poll() is None:
            one.kill()


def assert_nothing_torn(seen: list[dict[str, Any]]) -> None:
    assert [(one["mismatches"], one["missing"]) for one in seen] == [(0, 0)] * len(seen)
    assert max(one["longest_s"] for one in seen) < _LONGEST_TURN_S


@pytest.mark.alone
@pytest.mark.timeout(_STORM_S + 120)
def test_no_reader_ever_sees_a_torn_or_missing_row(processes: list[StormProcess]) -> None:
    """Under enrolments, updates, deletions, growth and compaction every row that is read is that of its name, and a person who is
    replaced all the time is always found."""
    threading.Event().wait(_STORM_S)
    for one in processes[1:]:
        one.wait_until("enough")
    seen = [one.finish() for one in processes[1:]]
    wrote = processes[0].finish()
    assert_nothing_torn(seen)
    assert wrote["turns"] > 20
    assert wrote["faults"] == []


@pytest.mark.alone
@pytest.mark.timeout(_STORM_S + 120)
def test_kills_at_random_block_nobody(folder: Path, processes: list[StormProcess]) -> None:
    """SIGKILL of readers and of the writer at random moments: the others go on, and in the end store and block are sound."""
    chance, pause = random.Random(3), threading.Event()
    end, kills = time.monotonic() + _STORM_S, 0
    while time.monotonic() < end or kills < 4:
        pause.wait(chance.uniform(0.1, 0.6))
        victim = processes[0] if kills % 2 else chance.choice(processes[1:3])  # two readers live through it all
        victim.kill()
        victim.start()
        victim.wait_until("ready")
        kills += 1
    assert_nothing_torn([one.finish() for one in processes[1:]])
    assert processes[0].finish()["faults"] == []
    with service(folder) as opened:
        assert opened.check() == []


@pytest.fixture
def small_memory(small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared-memory folder of 2 MiB."""
    folder = small_disk("shm", 2048)
    monkeypatch.setenv("ROLLCALL_SHM_DIR", str(folder))
    return folder


def save_people(opened: StoreService, names: list[str], vectors: NDArray[np.float32]) -> Saved:
    return opened.ask(Save([NewReference(name) for name in names], vectors=vectors))


@pytest.mark.parametrize("most_waiting", [10_000, 10])
def test_full_memory_keeps_enrolments_and_serves_them_later(
    folder: Path, small_memory: Path, monkeypatch: pytest.MonkeyPatch, most_waiting: int
) -> None:
    """Shared memory full at growth: a warning that says so, what was live answers, nothing is lost, and once there is room everything
    is live, in a new generation where more rows wait than are remembered. To forget and to compact need no room."""
    monkeypatch.setattr("shared.service.publication._MAX_WAITING", most_waiting)
    rng = np.random.default_rng(4)
    vectors = noise(rng, 4000, DIM)
    names = [f"p{i}" for i in range(len(vectors))]
    with service(folder) as opened, GalleryReader(folder) as reader:
        save_people(opened, names[:1000], vectors[:1000])
        reader.refresh()
        assert reader.match(vectors[5:6])[0][0].person == "p5"
        filler = fill(small_memory)
        assert "no room in shared memory" in (save_people(opened, names[1000:], vectors[1000:]).warning or "")
        opened.ask(Forget("p7"))
        assert opened.info().behind
        reader.refresh()
        assert reader.match(vectors[5:6])[0][0].person == "p5"
        assert reader.match(vectors[7:8])[0][0].person != "p7"
        block = segment_path(folder, reader.generation)
        assert vectors[7].tobytes() not in held_bytes(block)
        assert count_references(opened.store) == 3999
        filler.unlink()
        opened.tick(time.monotonic() + 60)
        reader.refresh()
        assert reader.match(vectors[3900:3901])[0][0].person == "p3900"
        assert (reader.generation > 1) == (most_waiting == 10)
        assert opened.check() == []


def test_what_waits_for_room_takes_no_more_than_its_own(folder: Path, small_memory: Path) -> None:
    """Once there is room for the rows that wait, though not for a second block, they are live, as they are stored by then: some
    forgotten, some with a user id. The generation stays the same."""
    vectors = noise(np.random.default_rng(4), 7000, DIM)
    with service(folder) as opened, GalleryReader(folder) as reader:
        save_people(opened, [f"p{i}" for i in range(5000)], vectors[:5000])
        reader.refresh()
        generation = reader.generation
        filler = fill(small_memory)
        block = held_bytes(segment_path(folder, generation))
        for names, more in (([f"p{i}" for i in range(5000, 6999)], vectors[5000:6999]), (["p6999"], vectors[6999:])):
            assert "no room" in (save_people(opened, names, more).warning or "")
        for i, person, user_id in ((5500, "p5500", "u5500"), (6001, "p1", "first"), (1, "p1", "last")):
            opened.ask(Save([NewReference(person, user_id=user_id)], vectors=vectors[i : i + 1]))
        opened.ask(Forget("p6500"))
        os.truncate(filler, filler.stat().st_size - len(block) // 2)
        assert opened.ask(Forget("p7")).warning is None, "this brings the rest with it"
        assert not opened.info().behind
        assert opened.check() == []
        reader.refresh()
        assert reader.generation == generation
        found = {i: reader.match(vectors[i : i + 1])[0][0] for i in (1, 7, 4999, 5000, 5500, 6500, 6999)}
        assert [found[i].person for i in (1, 4999, 5000, 5500, 6999)] == ["p1", "p4999", "p5000", "p5500", "p6999"]
        assert not {"p7", "p6500"} & {one.person for one in found.values()}
        assert [found[i].user_id for i in (1, 5500, 5000)] == ["last", "u5500", None]


def test_forgetting_and_compacting_need_no_room(
    folder: Path, small_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With shared memory full: no warning, and nothing of who was forgotten is left in it."""
    monkeypatch.setattr("shared.gallery.publisher._MIN_DEAD", 100)
    vectors = noise(np.random.default_rng(4), 1500, DIM)
    with service(folder) as opened:
        save_people(opened, [f"p{i}" for i in range(1500)], vectors)
        fill(small_memory)
        for person in range(110):
            assert opened.ask(Forget(f"p{person}")).warning is None
        assert opened.info().published_rows == 1390
        with GalleryReader(folder) as reader:
            assert reader.rows < 1500, "compacted on the way"
        assert opened.check() == []


def test_full_memory_at_the_start_is_a_clear_error(folder: Path, small_memory: Path) -> None:
    """With no room for the first block, the start fails with what is missing, and leaves no half-made generation."""
    filler = fill(small_memory, spare_bytes=8192)
    with pytest.raises(NoRoomError, match="no room in shared memory"), service(folder):
        pass
    assert {path for path in small_memory.rglob("*") if path.is_file()} <= {filler, head_path(folder)}
