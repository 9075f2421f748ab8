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

from shared.gallery_block import head_path
from shared.gallery_publisher import NoRoomError, remove_left_behind
from shared.gallery_reader import GalleryReader
from tests.conftest import SmallDisk
from tests.storm_processes import DIM, ask, service
from tests.vectors import noise

_STORM_S = float(os.environ.get("ROLLCALL_STORM_S", "4"))
_READERS = 4
_LONGEST_TURN_S = 5.0  # of a reader, on a machine with more processes than cores; a blocked one never ends its turn


class StormProcess:
    """One process of tests.storm_processes; started again with `start` when it was killed."""

    def __init__(self, kind: str, folder: Path, seed: int) -> None:
        self._words = [sys.executable, "-m", "tests.storm_processes", kind, str(folder), str(seed)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._words,
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline()) == {"ready": True}

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
    started[0].wait_until_ready()
    started += [StormProcess("reader", folder, seed) for seed in range(2, 2 + _READERS)]
    for one in started[1:]:
        one.wait_until_ready()
    yield started
    for one in started:
        if one.process.poll() is None:
            one.kill()


def assert_nothing_torn(seen: list[dict[str, Any]]) -> None:
    assert [(one["mismatches"], one["missing"]) for one in seen] == [(0, 0)] * len(seen)
    assert max(one["longest_s"] for one in seen) < _LONGEST_TURN_S


@pytest.mark.timeout(_STORM_S + 120)
def test_no_reader_ever_sees_a_torn_or_missing_row(processes: list[StormProcess]) -> None:
    """Under enrolments, updates, deletions, growth and compaction every row that is read is that of its name, and a person who is
    replaced all the time is always found."""
    threading.Event().wait(_STORM_S)
    seen = [one.finish() for one in processes[1:]]
    wrote = processes[0].finish()
    assert_nothing_torn(seen)
    assert min(one["rows"] for one in seen) > 1000
    assert max(one["generations"] for one in seen) > 0, "the storm replaced no generation: it tested too little"
    assert wrote["turns"] > 20
    assert wrote["faults"] == []


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
        victim.wait_until_ready()
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


def save_people(opened: Any, names: list[str], vectors: np.ndarray[Any, Any]) -> dict[str, Any]:
    return ask(opened, "save", vectors.tobytes(), rows=[{"person_name": name} for name in names])


@pytest.mark.parametrize("what", ["growth", "compaction"])
def test_full_memory_keeps_enrolments_and_serves_them_later(folder: Path, small_memory: Path, what: str) -> None:
    """Shared memory full at growth or compaction: a warning that says so, the old generation answers, nothing is lost, nothing deleted
    answers, and once there is room everything is live."""
    rng = np.random.default_rng(4)
    vectors = noise(rng, 1200, DIM)
    names = [f"p{i}" for i in range(len(vectors))]
    filler = small_memory / "filler"
    with service(folder) as opened, GalleryReader(folder) as reader:
        save_people(opened, names[:1000], vectors[:1000])
        reader.refresh()
        assert reader.match(vectors[5:6])[0][0].person == "p5"
        free = os.statvfs(small_memory)
        filler.write_bytes(bytes(free.f_bavail * free.f_frsize))
        grows = what == "growth"
        answer = save_people(opened, names[1000:], vectors[1000:]) if grows else ask(opened, "forget", person="p7")
        assert "no room in shared memory" in answer["warning"]
        reader.refresh()
        assert reader.match(vectors[5:6])[0][0].person == "p5"
        if not grows:
            assert reader.match(vectors[7:8])[0][0].person != "p7"
        assert opened.store.count() == (1200 if grows else 999)
        filler.unlink()
        opened.tick(time.monotonic() + 60)
        reader.refresh()
        if grows:
            assert reader.match(vectors[1100:1101])[0][0].person == "p1100"
        assert opened.check() == []


def test_full_memory_at_the_start_is_a_clear_error(folder: Path, small_memory: Path) -> None:
    """With no room for the first block, the start fails with what is missing, and leaves no half-made generation."""
    free = os.statvfs(small_memory)
    (small_memory / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - 8192))
    with pytest.raises(NoRoomError, match="no room in shared memory"), service(folder):
        pass
    assert {path.name for path in small_memory.iterdir()} <= {"filler", head_path(folder).name}
