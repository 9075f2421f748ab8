"""The block against a plain model, under everything that may happen to it."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from shared.errors import ConfigurationError, TemporaryError
from shared.files.run_folder import site_prefix
from shared.gallery import builder as gallery_building
from shared.gallery import publisher as gallery_publisher
from shared.gallery import reader as gallery_reader
from shared.gallery import rewriting as gallery_rewriting
from shared.gallery.files import head_path, remove_left_behind, segment_path, shm_folder
from shared.gallery.publisher import Batch, GalleryPublisher, NoRoomError, UnsoundRowError
from shared.gallery.reader import GalleryReader
from shared.gallery.segment import Segment
from shared.gallery.tail import MAX_SAMPLE, tail_of
from tests.conftest import SmallDisk
from tests.support.blocks import held_bytes
from tests.support.clips import wait_until
from tests.support.full_disks import fill
from tests.support.paths import ROOT
from tests.support.vectors import noise

DIM = 16


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    remove_left_behind(tmp_path)


def publisher_of(run_dir: Path, dim: int = DIM) -> GalleryPublisher:
    publisher = GalleryPublisher(run_dir, dim, "test/none", "f" * 64)
    publisher.publish_all(0, [])
    return publisher


def follows(reader: GalleryReader, publisher: GalleryPublisher) -> bool:
    reader.refresh()
    return reader.generation == publisher.generation


def batch(ids: list[int], names: list[str], vectors: NDArray[np.float32]) -> Batch:
    return Batch(ids, names, [None] * len(ids), vectors)


_NAMES = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=12)


class BlockAgainstModel(RuleBasedStateMachine):
    """Random enrolments, updates, deletions, growth and compaction; after each, every reader sees the model exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(gallery_publisher, "_MIN_ADDRESSES", 2500)  # so that they run out now and then
        self.patch.setattr(gallery_publisher, "_ADDRESSES", 2)
        self.publisher = publisher_of(self.folder)
        self.early = GalleryReader(self.folder)  # attached from the start: has to follow every generation
        self.model: dict[int, tuple[str, str | None, NDArray[np.float32]]] = {}
        self.users: dict[str, str | None] = {}
        self.gone: list[NDArray[np.float32]] = []
        self.next_id = 1

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def _rows(self, names: list[str]) -> Batch:
        ids = list(range(self.next_id, self.next_id + len(names)))
        self.next_id += len(names)
        return batch(ids, names, noise(self.rng, len(names), DIM))

    def _remember(self, new: Batch) -> None:
        for row_id, name, vector in zip(new.row_ids, new.names, new.references, strict=True):
            self.model[row_id] = (name, None, vector)
            self.users.setdefault(name, None)

    def _append(self, new: Batch) -> None:
        generation = self.publisher.generation
        self.publisher.append(new)
        if self.publisher.generation != generation:
            self._drop_people_without_rows()
        self._remember(new)

    def _drop_people_without_rows(self) -> None:
        self.users = {name: self.users[name] for name in {row[0] for row in self.model.values()}}

    @rule(names=st.lists(_NAMES, min_size=1, max_size=6))
    def enrol(self, names: list[str]) -> None:
        self._append(self._rows([name.encode("utf-8", "ignore").decode() or "x" for name in names]))

    @rule(count=st.integers(1100, 1500))
    def enrol_past_the_room(self, count: int) -> None:
        if len(self.model) < 6000:
            self._append(self._rows([f"p{i % 700}" for i in range(count)]))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        row_id = data.draw(st.sampled_from(sorted(self.model)))
        name = self.model[row_id][0]
        new, generation = batch([row_id], [name], noise(self.rng, 1, DIM)), self.publisher.generation
        self.publisher.replace(new)
        if self.publisher.generation != generation:
            self._drop_people_without_rows()
        self._remember(new)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        name = self.model[data.draw(st.sampled_from(sorted(self.model)))][0]
        ids = [row_id for row_id, row in self.model.items() if row[0] == name]
        self.publisher.remove(ids)
        for row_id in ids:
            self.gone.append(self.model.pop(row_id)[2])

    @precondition(lambda self: self.model)
    @rule(data=st.data(), user_id=st.one_of(st.none(), st.text(max_size=8)))
    def give_user_id(self, data: st.DataObject, user_id: str | None) -> None:
        name = self.model[data.draw(st.sampled_from(sorted(self.model)))][0]
        wanted = (user_id or "").encode("utf-8", "ignore").decode() or None
        self.publisher.set_user_id(name, wanted)
        self.users[name] = wanted

    @rule()
    def compact(self) -> None:
        self.publisher.compact()
        self._drop_people_without_rows()

    @rule()
    def erase(self) -> None:
        self.publisher.erase()
        self._drop_people_without_rows()
        held = held_bytes(segment_path(self.folder, self.publisher.generation))
        for vector in self.gone[-50:]:
            assert vector.tobytes() not in held

    @invariant()
    def nothing_lies_where_no_memory_is(self) -> None:
        room, people = self.publisher._room, self.publisher._people
        assert self.publisher._rows <= room.rows
        assert people.count <= room.people
        assert people.heap_used <= room.heap
        segment = segment_path(self.folder, self.publisher.generation)
        assert segment.stat().st_blocks * 512 >= room.memory_bytes

    @invariant()
    def readers_see_the_model(self) -> None:
        self.early.refresh()
        with GalleryReader(self.folder) as late:
            for reader in (self.early, late):
                live = reader.copy_live()
                assert len(live.names) == len(self.model) == reader.count_live()
                assert {
                    row_id: (name, vector.tobytes())
                    for row_id, name, vector in zip(live.row_ids.tolist(), *live[1:], strict=True)
                } == {row_id: (row[0], row[2].tobytes()) for row_id, row in self.model.items()}
        assert self.publisher.check() == []

    @invariant()
    def readers_see_the_tail_of_the_model(self) -> None:
        self.early.refresh()
        scores = self.publisher._cross_scores
        tail, segment = self.early.tail, self.publisher._current()
        assert tail.references == len(self.model)
        assert len(scores._places) == len(self.model) or len(self.model) > MAX_SAMPLE // 4
        expected = tail_of(segment.references[scores._places], segment.persons[scores._places])
        assert (tail.people, tail.comparisons) == (expected.people, expected.comparisons)
        assert tail.anchor == pytest.approx(expected.anchor, abs=4e-3)
        assert tail.broad_anchor == pytest.approx(expected.broad_anchor, abs=4e-3)

    @invariant()
    def a_probe_finds_its_own(self) -> None:
        self.early.refresh()
        if self.model:
            row_id = int(self.rng.choice(sorted(self.model)))
            name, _, vector = self.model[row_id]
            best = self.early.match(vector[None], 1)[0][0]
            assert best.score == pytest.approx(1.0, abs=1e-5)
            assert best.person == name
            assert best.user_id == self.users[name]

    def teardown(self) -> None:
        self.early.close()
        self.publisher.remove_block()
        self.publisher.close()
        assert not list(shm_folder(self.folder).glob(site_prefix(self.folder) + "*"))
        shutil.rmtree(self.folder)
        self.patch.undo()


BlockAgainstModel.TestCase.settings = hypothesis_settings(max_examples=25, stateful_step_count=20, deadline=None)
TestBlockAgainstModel = BlockAgainstModel.TestCase


def test_a_reader_cannot_write(run_dir: Path) -> None:
    """The mapping is read-only: writing raises, and the row stays."""
    publisher = publisher_of(run_dir)
    publisher.append(batch([1], ["Ada"], noise(np.random.default_rng(0), 1, DIM)))
    with GalleryReader(run_dir) as reader:
        with pytest.raises(ValueError, match="read-only"):
            reader.segment.persons[0] = -1
        assert segment_path(run_dir, reader.generation).stat().st_mode & 0o777 == 0o600
    publisher.close()


def test_a_foreign_process_that_maps_and_dies_changes_nothing(run_dir: Path) -> None:
    """A process that attached and exited, or was killed, neither unlinks nor changes the block (cpython 82300)."""
    publisher = publisher_of(run_dir)
    publisher.append(batch([1], ["Ada"], noise(np.random.default_rng(0), 1, DIM)))
    for ending in ("", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"):
        code = f"from pathlib import Path; from shared.gallery.reader import GalleryReader as R; r = R(Path({str(run_dir)!r}));{ending}"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60)
    with GalleryReader(run_dir) as reader:
        assert reader.person(0) == "Ada"
    assert publisher.check() == []
    publisher.close()


def test_a_new_writer_takes_over_and_readers_follow(run_dir: Path) -> None:
    """After a writer that died without cleaning up, an attached reader follows the next one's generation."""
    rng = np.random.default_rng(0)
    first = publisher_of(run_dir)
    first.append(batch([1], ["Ada"], noise(rng, 1, DIM)))
    reader = GalleryReader(run_dir)
    second = publisher_of(run_dir)
    second.append(batch([2], ["Bo"], noise(rng, 1, DIM)))
    assert reader.refresh()
    assert reader.person(0) == "Bo"
    assert not segment_path(run_dir, first.generation).exists()
    reader.close()
    second.close()


def test_a_torn_head_is_never_believed(run_dir: Path) -> None:
    """With the newest slot spoiled in the middle of a write, a reader goes by the slot before."""
    publisher = publisher_of(run_dir)
    publisher.append(batch([1], ["Ada"], noise(np.random.default_rng(0), 1, DIM)))
    sequence = 2
    with head_path(run_dir).open("r+b") as head:
        head.seek((sequence % 2) * 64 + 24)
        head.write(b"\xff" * 8)
    with GalleryReader(run_dir) as reader:
        assert reader.rows == 0
    publisher.close()


def test_no_block_another_format_and_damage_are_told_apart(run_dir: Path) -> None:
    """No block: temporary. Another format version, or damaged constants: configuration, with a remedy."""
    with pytest.raises(TemporaryError, match="no gallery block"):
        GalleryReader(run_dir)
    publisher = publisher_of(run_dir)
    path = segment_path(run_dir, publisher.generation)
    whole = path.read_bytes()[:4096]
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(16)
        file.write(struct.pack("<Q", 99))
    with pytest.raises(ConfigurationError, match="damaged"):
        Segment.attach(run_dir, publisher.generation)
    with path.open("r+b") as file:
        file.write(whole)
    with head_path(run_dir).open("r+b") as head:
        body = bytearray(head.read(256)[128:])  # the slot of sequence 1
        body[8:12] = struct.pack("<I", 99)
        head.seek(0)
        head.write(body)
        head.write(body)
    with pytest.raises(ConfigurationError, match="format version"):
        GalleryReader(run_dir)
    publisher.close()


def test_a_start_over_a_block_of_another_format_takes_its_place(run_dir: Path) -> None:
    """A block that another version left: readers are told the version; a new writer sweeps it away and publishes beyond it."""
    old = publisher_of(run_dir)
    old.close()
    with head_path(run_dir).open("r+b") as head:
        body = bytearray(head.read(256)[128:])  # the slot of sequence 1
        body[8:12] = struct.pack("<I", 99)
        head.seek(0)
        head.write(bytes(body) * 2)
    with pytest.raises(ConfigurationError, match=r"format version.*99"):
        GalleryReader(run_dir)
    new = publisher_of(run_dir)
    new.append(batch([1], ["Ada"], noise(np.random.default_rng(0), 1, DIM)))
    assert new.generation > old.generation
    with GalleryReader(run_dir) as reader:
        assert reader.person(0) == "Ada"
    assert not segment_path(run_dir, old.generation).exists()
    new.close()


def test_a_start_over_a_block_cut_short_takes_its_place(run_dir: Path) -> None:
    """A segment that a crash left half made: damage to a reader, swept away by the next writer."""
    old = publisher_of(run_dir)
    old.close()
    path = segment_path(run_dir, old.generation)
    with path.open("r+b") as file:
        file.truncate(8192)
    with pytest.raises(ConfigurationError, match="damaged"):
        GalleryReader(run_dir)
    new = publisher_of(run_dir)
    with GalleryReader(run_dir) as reader:
        assert reader.generation == new.generation
    assert not path.exists()
    new.close()


def test_another_model_and_another_dimension_are_told_by_the_reader(run_dir: Path) -> None:
    """A generation of another model or dimension says so in its constants; a probe of the old dimension is refused, not matched."""
    rng = np.random.default_rng(0)
    publisher = publisher_of(run_dir)
    publisher.append(batch([1], ["Ada"], noise(rng, 1, DIM)))
    reader = GalleryReader(run_dir)
    publisher.describe(DIM, "test/other", "e" * 64)
    publisher.publish_all(1, [batch([1], ["Ada"], noise(rng, 1, DIM))])
    assert reader.refresh()
    assert (reader.model, reader.fingerprint, reader.dim) == ("test/other", "e" * 64, DIM)
    publisher.describe(2 * DIM, "test/wide", "d" * 64)
    publisher.publish_all(1, [batch([1], ["Ada"], noise(rng, 1, 2 * DIM))])
    assert reader.refresh()
    assert (reader.model, reader.dim) == ("test/wide", 2 * DIM)
    with pytest.raises(ValueError, match="dimension"):
        reader.match(noise(rng, 1, DIM))
    reader.close()
    publisher.close()


def test_an_unsound_row_stops_the_load_and_is_named(run_dir: Path) -> None:
    """A reference that is no unit vector, in the middle of many: its row is named, nothing is published, nothing is left."""
    vectors = noise(np.random.default_rng(0), 3000, DIM)
    vectors[2500] *= 2
    publisher = publisher_of(run_dir)
    with pytest.raises(UnsoundRowError, match="row 2501"):
        publisher.publish_all(3000, [batch(list(range(1, 3001)), ["x"] * 3000, vectors)])
    assert not segment_path(run_dir, publisher.generation + 1).exists()
    with GalleryReader(run_dir) as reader:
        assert reader.rows == 0
    publisher.close()


def test_a_large_generation_is_made_ready_beside_the_old_one(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every generation taken as large: the reader answers from the old one, and has the newest after some refreshes, also
    when the generation it was making ready is replaced meanwhile."""
    monkeypatch.setattr(gallery_reader, "_TOUCH_AT_ONCE_BYTES", 0)
    rng = np.random.default_rng(0)
    ada = noise(rng, 1, DIM)
    publisher = publisher_of(run_dir)
    publisher.append(batch([1, 2], ["Ada", "Bo"], np.concatenate([ada, noise(rng, 1, DIM)])))
    with GalleryReader(run_dir) as reader:
        for row_id in (3, 4, 5):
            cy = noise(rng, 1, DIM)
            publisher.publish_all(2, [batch([1, row_id], ["Ada", "Cy"], np.concatenate([ada, cy]))])
            reader.refresh()
            assert reader.match(ada)[0][0].person == "Ada"
        wait_until(lambda: follows(reader, publisher), "new generation")
        assert reader.rows == 2
        assert reader.match(ada)[0][0].person == "Ada"
    publisher.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness for each thread")
def test_a_reader_s_own_thread_goes_before_its_helpers(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads that make a generation ready and free the old one have a lower priority than the thread that matches."""
    monkeypatch.setattr(gallery_reader, "_TOUCH_AT_ONCE_BYTES", 0)
    usual, niceness = os.getpriority(os.PRIO_PROCESS, 0), {}
    done = threading.Event()
    touch, close = gallery_reader._Coming.touch, Segment.close_in_steps

    def touch_noted(coming: gallery_reader._Coming) -> None:
        niceness[threading.current_thread().name] = os.getpriority(os.PRIO_PROCESS, 0)
        touch(coming)

    def close_noted(segment: Segment) -> None:
        niceness[threading.current_thread().name] = os.getpriority(os.PRIO_PROCESS, 0)
        close(segment)
        done.set()

    monkeypatch.setattr(gallery_reader._Coming, "touch", touch_noted)
    monkeypatch.setattr(Segment, "close_in_steps", close_noted)
    rng = np.random.default_rng(0)
    publisher = publisher_of(run_dir)
    publisher.append(batch([1, 2], ["Ada", "Bo"], noise(rng, 2, DIM)))
    with GalleryReader(run_dir) as reader:
        publisher.publish_all(1, [batch([2], ["Bo"], noise(rng, 1, DIM))])
        wait_until(lambda: follows(reader, publisher), "new generation")
        assert done.wait(30)
    publisher.close()
    aside = min(usual + gallery_reader._NICENESS, 19)
    assert niceness == {"MainThread": usual, "gallery-touch": aside, "gallery-close": aside}
    assert os.getpriority(os.PRIO_PROCESS, 0) == usual


def test_a_person_who_is_replaced_while_a_match_runs_is_found(run_dir: Path) -> None:
    """The reader knows the old row only, and it is dead: the row that replaced it is searched, too, again and again."""
    rng = np.random.default_rng(0)
    ada = noise(rng, 1, DIM)
    publisher = publisher_of(run_dir)
    publisher.append(batch([1, 2], ["Ada", "Bo"], np.concatenate([ada, noise(rng, 1, DIM)])))
    with GalleryReader(run_dir) as reader:
        for _ in range(2):
            publisher.replace(batch([1], ["Ada"], ada))
            assert [one.person for one in reader.match(ada)[0]] == ["Ada", "Bo"]
        assert reader.refresh(), "that the gallery changed is still told"
    publisher.close()


@pytest.mark.parametrize("large", [False, True])
def test_a_person_who_is_replaced_before_a_generation_is_found(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """Replaced, and then the generation is replaced: who still reads the old one finds the person there, also while the new one
    is made ready; then also who was enrolled just before."""
    monkeypatch.setattr(gallery_reader, "_TOUCH_AT_ONCE_BYTES", 0 if large else 1 << 20)
    monkeypatch.setattr(gallery_reader._Coming, "start", lambda _: None)  # one that never gets ready
    ada, bo = noise(np.random.default_rng(0), 2, DIM)[:, None]
    publisher = publisher_of(run_dir)
    publisher.append(batch([1], ["Ada"], ada))
    reader = GalleryReader(run_dir)
    old = reader.generation
    publisher.replace(batch([1], ["Ada"], ada))
    publisher.append(batch([2], ["Bo"], bo))
    publisher.publish_all(2, [batch([1, 2], ["Ada", "Bo"], np.concatenate([ada, bo]))])
    assert reader.match(ada)[0][0].person == "Ada"
    assert reader.generation == old, "a match moves to no other generation"
    reader.rows = 1  # as if it had not matched since
    assert reader.refresh() != large
    assert (reader.generation == old, reader.rows) == ((True, 3) if large else (False, 2))
    assert reader.match(bo)[0][0].person == "Bo"
    assert reader.match(ada)[0][0].person == "Ada"
    if large:
        reader._coming.done.set()  # type: ignore[union-attr]  # so that it can be closed
    reader.close()
    publisher.close()


@pytest.mark.parametrize("refused", ["nice", "thread"])
def test_a_large_generation_is_followed_where_courtesies_are_refused(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """More than 32 MiB of codes, in a service whose system-call filter refuses a priority, or that may start no more threads: the
    reader follows the new generation, and the one after it."""

    def refuse(*_: object) -> None:
        raise (
            PermissionError(1, "Operation not permitted")
            if refused == "nice"
            else RuntimeError("can't start new thread")
        )

    rows, dim = 66_000, 512
    (ada, bo), rng = noise(np.random.default_rng(1), 2, dim)[:, None], np.random.default_rng(0)
    publisher = GalleryPublisher(run_dir, dim, "test/none", "f" * 64)
    crowd = Batch(range(3, rows), ["crowd"] * (rows - 3), [None] * (rows - 3), noise(rng, rows - 3, dim))
    publisher.publish_all(rows, [batch([1], ["Ada"], ada), crowd])
    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    with GalleryReader(run_dir) as reader:
        for name in ("Bo", "Bob"):
            publisher.publish_all(rows, [batch([2], [name], bo), crowd])
            deadline = time.monotonic() + 20
            with monkeypatch.context() as patch:
                patch.setattr("os.nice" if refused == "nice" else "threading.Thread.start", refuse)
                while not reader.refresh():
                    assert time.monotonic() < deadline, "it never followed"
                    assert reader._coming is not None
                    reader._coming.done.wait(1)
            assert reader.generation == publisher.generation
            assert reader.match(bo)[0][0].person == name
    assert died == []
    publisher.close()


def test_a_touching_that_hangs_holds_nobody_up(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second thread that never gets the processor: the new generation is used untouched after a while, and closing waits no
    longer than that either."""
    monkeypatch.setattr(gallery_reader, "_TOUCH_AT_ONCE_BYTES", 0)
    monkeypatch.setattr(gallery_reader, "_TOUCH_LIMIT_S", 0.2)
    release = threading.Event()
    publisher = publisher_of(run_dir)
    reader = GalleryReader(run_dir)
    monkeypatch.setattr(gallery_reader._Coming, "touch", lambda _: release.wait(60))
    publisher.publish_all(1, [batch([1], ["Ada"], noise(np.random.default_rng(0), 1, DIM))])
    wait_until(reader.refresh, "new generation")
    assert reader.person(0) == "Ada"
    publisher.publish_all(1, [batch([1], ["Bo"], noise(np.random.default_rng(0), 1, DIM))])
    assert not reader.refresh()
    began = time.monotonic()
    reader.close()
    assert time.monotonic() - began < 5
    release.set()
    publisher.close()


def test_whoever_builds_a_generation_proves_progress(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading, growing out of the addresses, erasing and compacting report every few rows: a writer silent for seconds would be
    taken for stuck, and killed."""
    monkeypatch.setattr(gallery_building, "_WRITE_BYTES", 4096)
    monkeypatch.setattr(gallery_rewriting, "_ROWS_AT_ONCE", 8)
    monkeypatch.setattr(gallery_publisher, "_MIN_ADDRESSES", 1000)
    monkeypatch.setattr(gallery_publisher, "_ADDRESSES", 1)
    told: list[int] = []
    publisher = GalleryPublisher(run_dir, DIM, "test/none", "f" * 64, lambda: told.append(1))
    vectors = noise(np.random.default_rng(0), 1200, DIM)
    publisher.publish_all(600, [batch([i], ["x"], vectors[i : i + 1]) for i in range(600)])
    assert len(told) == 600
    told.clear()
    generation = publisher.generation
    publisher.append(batch(list(range(600, 1200)), ["x"] * 600, vectors[600:]))
    assert publisher.generation > generation
    assert len(told) > 10
    for change in (publisher.erase, publisher.compact):
        publisher.remove(list(range(3, 600, 2)))
        told.clear()
        change()
        assert len(told) > 20
    publisher.close()


def test_a_new_writer_says_what_it_replaces(run_dir: Path) -> None:
    """A writer that takes over tells who still reads the last one's generation how far that one had got."""
    publisher = publisher_of(run_dir)
    publisher.append(batch([1, 2], ["Ada", "Bo"], noise(np.random.default_rng(0), 2, DIM)))
    publisher.close()
    with GalleryReader(run_dir) as reader:
        assert reader.segment.ended is None
        successor = publisher_of(run_dir)
        assert reader.segment.ended == 2
    successor.close()


def test_who_is_two_generations_behind_misses_nobody(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced twice within one look, and the newest is not ready yet: who was replaced in the old one is found there."""
    monkeypatch.setattr(gallery_reader, "_TOUCH_AT_ONCE_BYTES", 0)
    monkeypatch.setattr(gallery_reader._Coming, "start", lambda _: None)  # one that never gets ready
    ada, bo = noise(np.random.default_rng(0), 2, DIM)[:, None]
    publisher = publisher_of(run_dir)
    publisher.append(batch([1, 2], ["Ada", "Bo"], np.concatenate([ada, bo])))
    reader = GalleryReader(run_dir)
    publisher.replace(batch([1], ["Ada"], ada))
    for _ in range(2):
        publisher.publish_all(2, [batch([1, 2], ["Ada", "Bo"], np.concatenate([ada, bo]))])
    assert not reader.refresh()
    assert [one.person for one in reader.match(ada)[0]] == ["Ada", "Bo"]
    reader._coming.done.set()  # type: ignore[union-attr]  # so that it can be closed
    reader.close()
    publisher.close()


def test_a_tail_that_drifts_from_the_rows_is_found(run_dir: Path) -> None:
    """By the writer's check and by a reader's, each figure by its name. Here comparisons were counted that no references made."""
    publisher = publisher_of(run_dir)
    publisher.append(batch(list(range(30)), [f"P{i % 9}" for i in range(30)], noise(np.random.default_rng(1), 30, DIM)))
    with GalleryReader(run_dir) as reader:
        assert publisher.check() == reader.check() == []
        publisher._cross_scores._counts[1000] += 40
        publisher.append(batch([30], ["P1"], noise(np.random.default_rng(2), 1, DIM)))
        for faults in (publisher.check(), reader.check()):
            assert [fault.split()[2] for fault in faults] == ["comparisons", "anchor", "broad_anchor"]
            assert "counted anew" in faults[0]
        publisher.publish_all(0, [])
        assert publisher.check() == reader.check() == []
    publisher.close()


def test_a_reader_checks_the_tail_while_the_writer_goes_on(run_dir: Path) -> None:
    """Rows are added, replaced, removed and compacted all the time: none of the states in between is a fault."""
    publisher = publisher_of(run_dir)
    rng, done = np.random.default_rng(3), threading.Event()
    ids = list(range(3000))
    publisher.append(batch(ids, [f"P{i % 700}" for i in ids], noise(rng, 3000, DIM)))

    def change() -> None:
        while not done.is_set():
            some = rng.choice(3000, 20, replace=False).tolist()
            publisher.replace(batch(some, [f"P{i % 700}" for i in some], noise(rng, 20, DIM)))
            publisher.remove(some[:10])
            publisher.append(batch(some[:10], [f"P{i % 700}" for i in some[:10]], noise(rng, 10, DIM)))
            publisher.compact()
            done.wait(0.01)

    writer = threading.Thread(target=change)
    writer.start()
    try:
        with GalleryReader(run_dir) as reader:
            began = publisher.published_ns
            found = [fault for _ in range(8) for fault in reader.check()]
            assert publisher.published_ns > began
    finally:
        done.set()
        writer.join()
    assert found == []
    assert publisher.check() == []
    publisher.close()


@pytest.fixture
def small_memory(small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared-memory folder of 1 MiB."""
    folder = small_disk("shm", 1024)
    monkeypatch.setenv("ROLLCALL_SHM_DIR", str(folder))
    return folder


def test_full_memory_is_an_error_and_the_old_generation_serves(small_memory: Path, tmp_path: Path) -> None:
    """Growing past a full /dev/shm raises NoRoomError; what was published still answers, nothing half-made is left."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    rng = np.random.default_rng(0)
    publisher = publisher_of(run_dir)
    ada = noise(rng, 1, DIM)
    publisher.append(batch([1], ["Ada"], ada))
    with pytest.raises(NoRoomError, match="no room in shared memory"):
        publisher.append(batch(list(range(2, 20002)), ["x"] * 20000, noise(rng, 20000, DIM)))
    with GalleryReader(run_dir) as reader:
        assert reader.match(ada)[0][0].person == "Ada"
    assert set(small_memory.glob("*/*")) == {head_path(run_dir), segment_path(run_dir, publisher.generation)}
    publisher.append(batch([2], ["Bo"], noise(rng, 1, DIM)))
    publisher.close()


def test_room_ahead_is_asked_for_only_where_there_is_some(small_memory: Path, tmp_path: Path) -> None:
    """Memory left for one row more than is reserved, though not for a step of them: that row is live."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    rng = np.random.default_rng(0)
    publisher = publisher_of(run_dir)
    room = publisher.room_rows
    publisher.append(batch(list(range(room)), ["x"] * room, noise(rng, room, DIM)))
    fill(small_memory, spare_bytes=10 * mmap.PAGESIZE)
    publisher.append(batch([room], ["x"], noise(rng, 1, DIM)))
    assert publisher.live_rows == room + 1
    assert publisher.check() == []
    publisher.close()


def test_a_head_of_another_format_is_swept_away(run_dir: Path) -> None:
    """Left by a Rollcall of another version: no slot of it stays beside ours, for readers to stumble over."""
    publisher = publisher_of(run_dir)
    publisher.append(batch([1], ["Ada"], noise(np.random.default_rng(0), 1, DIM)))  # now both slots are written
    publisher.close()
    for start in (0, 64):  # as format 2 had them
        slot = bytearray(head_path(run_dir).read_bytes()[start : start + 60])
        slot[:12] = b"RCHEAD\0\0" + (2).to_bytes(4, "little")
        slot[-4:] = zlib.crc32(slot[:-4]).to_bytes(4, "little")
        with head_path(run_dir).open("r+b") as file:
            file.truncate(128)
            file.seek(start)
            file.write(slot)
    with pytest.raises(ConfigurationError, match="another format version"):
        GalleryReader(run_dir)
    publisher = publisher_of(run_dir)
    with GalleryReader(run_dir) as reader:
        assert reader.rows == 0
    publisher.close()
