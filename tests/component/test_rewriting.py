"""What is overwritten in a published generation: nothing that a reader may rely on, at any moment of it."""

from __future__ import annotations

import copy
import itertools
import mmap
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import TemporaryError
from shared.gallery import publisher as gallery_publisher
from shared.gallery import reader as gallery_reader
from shared.gallery import rewriting as gallery_rewriting
from shared.gallery import segment as gallery_segment
from shared.gallery.block import HUGE_PAGE, Head
from shared.gallery.check import check_rows
from shared.gallery.files import remove_left_behind, segment_path, shm_folder
from shared.gallery.match import Found, Rows, quantise, search
from shared.gallery.negatives import are_negatives
from shared.gallery.publisher import Batch, GalleryPublisher
from shared.gallery.reader import GalleryReader
from shared.gallery.rewriting import copy_rows, moves
from shared.gallery.segment import Segment
from tests.support.blocks import held_bytes
from tests.support.vectors import noise

DIM = 16


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    remove_left_behind(tmp_path)


@pytest.fixture
def publisher(run_dir: Path) -> Iterator[GalleryPublisher]:
    publisher = GalleryPublisher(run_dir, DIM, "test/none", "f" * 64)
    publisher.publish_all(0, [])
    yield publisher
    publisher.close()


def people(count: int) -> Batch:
    ids = range(1, count + 1)
    vectors = noise(np.random.default_rng(0), count, DIM)
    return Batch(ids, [f"person {i}" for i in ids], [f"user {i}" for i in ids], vectors)


def held(run_dir: Path, publisher: GalleryPublisher) -> bytes:
    return held_bytes(segment_path(run_dir, publisher.generation))


def piece(whole: Batch, part: slice) -> Batch:
    return Batch(whole.row_ids[part], whole.names[part], whole.user_ids[part], whole.references[part])


def taken_bytes(run_dir: Path, publisher: GalleryPublisher) -> int:
    return segment_path(run_dir, publisher.generation).stat().st_blocks * 512


# --- growth ---------------------------------------------------------------------------------------------------------


def test_growth_takes_memory_and_copies_nothing(run_dir: Path, publisher: GalleryPublisher) -> None:
    """Past the memory that was reserved, the same generation goes on: a reader that has it mapped sees the new rows."""
    all_of_them = people(6000)
    taken = [taken_bytes(run_dir, publisher)]
    with GalleryReader(run_dir) as reader:
        generation, mapped = reader.generation, reader.segment
        for start in range(0, 6000, 1500):
            part = slice(start, start + 1500)
            assert publisher.room_rows < 1500
            publisher.append(piece(all_of_them, part))
            taken.append(taken_bytes(run_dir, publisher))
            reader.refresh()
            assert reader.match(all_of_them.references[start : start + 1])[0][0].person == f"person {start + 1}"
        assert reader.segment is mapped
        assert reader.generation == generation
        assert reader.count_live() == 6000
    assert all(before < after for before, after in itertools.pairwise(taken))
    assert taken[-1] < 2 * len(held(run_dir, publisher)), "addresses are no memory"
    assert publisher.check() == []


def test_long_texts_have_their_memory_before_they_are_written(run_dir: Path, publisher: GalleryPublisher) -> None:
    """Names and user ids of a kilobyte and more, of new people and of known ones: nothing is stored where a full /dev/shm kills."""
    vectors = noise(np.random.default_rng(0), 200, DIM)
    for turn in range(2):
        names = [f"{i} {'n' * 2000}" for i in range(200)]
        users = [f"{turn} {i} {'u' * 1000}" for i in range(200)]
        publisher.append(Batch(range(200 * turn, 200 * turn + 200), names, users, vectors))
        assert publisher._people.heap_used <= publisher._room.heap
        assert taken_bytes(run_dir, publisher) >= publisher._room.memory_bytes


@pytest.fixture
def huge_pages(tmp_path: Path) -> None:
    """Skips where the kernel gives none to files in shared memory."""
    folder = shm_folder(tmp_path)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(bytes(2 * HUGE_PAGE))
        with gallery_segment._mapped(file.fileno(), HUGE_PAGE, mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
            try:
                mapping.madvise(gallery_segment._MADV_COLLAPSE, 0, HUGE_PAGE)
            except OSError as error:
                pytest.skip(f"no huge pages in {folder}: {error}")


def huge_kib(segment: Segment) -> int:
    """How much of a mapping's memory this process has in huge pages."""
    begin = f"{segment.codes.ctypes.data - segment.shape.layout()[0]['codes'][0]:x}-"
    (one,) = [
        part
        for part in re.split(r"(?m)^(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text())
        if part.startswith(begin)
    ]
    (kib,) = re.findall(r"ShmemPmdMapped: +(\d+) kB", one)
    return int(kib)


@pytest.mark.alone
@pytest.mark.usefixtures("huge_pages")
def test_the_codes_lie_in_huge_pages(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As loaded, and as grown: from 2 MiB on, and up to the next whole 2 MiB, the codes are huge pages to whoever reads them."""
    monkeypatch.setattr(gallery_segment, "_COLLAPSE_TRIES", 1000)  # a busy machine refuses for a moment
    publisher = GalleryPublisher(run_dir, 512, "test/none", "f" * 64)
    vectors = noise(np.random.default_rng(0), 3000, 512)

    def batch(start: int) -> Batch:
        return Batch(range(start, start + 3000), ["x"] * 3000, [None] * 3000, vectors)

    publisher.publish_all(6000, [batch(0), batch(3000)])
    with GalleryReader(run_dir) as reader:
        assert int(reader.segment.codes[:6000].any(axis=1).sum()) == 6000
        assert huge_kib(reader.segment) == 2 * 2048
        for start in (6000, 9000):
            publisher.append(batch(start))
        reader.refresh()
        assert reader.rows == 12000
        assert int(reader.segment.codes[:12000].any(axis=1).sum()) == 12000
        assert huge_kib(reader.segment) == 3 * 2048
        assert reader.match(vectors[2999:])[0][0].person == "x"
    assert publisher.check() == []
    publisher.close()


def test_where_there_are_no_huge_pages_small_ones_do(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without them, or without any left."""
    monkeypatch.setattr(gallery_segment, "_MADV_COLLAPSE", 12345)
    publisher = GalleryPublisher(run_dir, 512, "test/none", "f" * 64)
    vectors = noise(np.random.default_rng(0), 5000, 512)
    publisher.publish_all(5000, [Batch(range(5000), ["x"] * 5000, [None] * 5000, vectors)])
    with GalleryReader(run_dir) as reader:
        assert reader.match(vectors[4999:])[0][0].person == "x"
    assert publisher.check() == []
    publisher.close()


# --- erasing --------------------------------------------------------------------------------------------------------


def test_an_erased_person_is_nowhere_in_memory(run_dir: Path, publisher: GalleryPublisher) -> None:
    """Vector, codes, name, user ids of now and of before are gone from the block, and the name from the reader; others stay."""
    three = people(3)
    publisher.append(three)
    publisher.set_user_id("person 2", "another user")
    codes = publisher._current().codes[1].tobytes()
    with GalleryReader(run_dir) as reader:
        assert reader.match(three.references[1:2])[0][0][:2] == ("person 2", "another user")
        publisher.remove([2])
        traces = (three.references[1].tobytes(), codes, b"person 2", b"user 2", b"another user")
        assert all(trace in held(run_dir, publisher) for trace in traces)
        publisher.erase()
        assert not [trace for trace in traces if trace in held(run_dir, publisher)]
        reader.refresh()
        assert "person 2" not in reader._texts.values()
        found = reader.match(three.references)
        assert [(one[0].person, one[0].user_id) for one in (found[0], found[2])] == [
            ("person 1", "user 1"),
            ("person 3", "user 3"),
        ]
        assert "person 2" not in {one.person for one in found[1]}
        publisher.append(Batch([4], ["person 2"], [None], three.references[1:2]))
        reader.refresh()
        assert reader.match(three.references[1:2])[0][0][:2] == ("person 2", None)
    assert publisher.check() == []


@pytest.mark.parametrize("another", ["model", "addresses"])
def test_a_generation_that_is_replaced_holds_nothing_of_the_dead(
    run_dir: Path, publisher: GalleryPublisher, another: str
) -> None:
    """Whoever was only deleted, and not forgotten, is wiped at the latest when nobody writes the generation any more."""
    given = people(3)
    publisher.append(given)
    publisher.remove([2])
    with GalleryReader(run_dir) as reader:
        held = reader.segment
        assert given.references[1].tobytes() in held.references[:3].tobytes()
        if another == "model":
            publisher.publish_all(0, [])
        else:
            publisher._rebuild(extra=Batch([], [], [], given.references[:0]))
        assert given.references[1].tobytes() not in held.references[:3].tobytes()
        assert b"person 2" not in held.heap[:200].tobytes()


def test_a_user_id_that_was_given_up_is_erased_with_the_next(run_dir: Path, publisher: GalleryPublisher) -> None:
    """Of somebody who stays, the former user id goes too."""
    publisher.append(people(2))
    publisher.set_user_id("person 1", "badge 7")
    publisher.remove([2])
    publisher.erase()
    assert b"user 1" not in held(run_dir, publisher)
    assert b"badge 7" in held(run_dir, publisher)


def test_the_check_tells_wiped_rows_that_live_or_hold_something(publisher: GalleryPublisher) -> None:
    """Two faults of rewriting that readers would suffer from, each named with its row."""
    publisher.append(people(3))
    publisher.remove([2])
    publisher.erase()
    assert publisher.check() == []
    segment = publisher._current()
    segment.codes[1, 0] = 1
    assert publisher.check() == ["block: row 1: wiped, and not empty"]
    segment.persons[1] = 0
    assert "block: row 1: wiped, and live" in publisher.check()


# --- compacting -----------------------------------------------------------------------------------------------------


def test_moves_are_the_fewest() -> None:
    """Only rows beyond the live count move, each into a dead place below it."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        persons = rng.integers(-1, 2, rng.integers(0, 12)).astype(np.int32)
        move, live = moves(persons), int((persons >= 0).sum())
        assert len(move.sources) == len(move.targets) == int((persons[:live] < 0).sum())
        persons[move.targets] = persons[move.sources]
        persons[move.sources] = -1
        assert (persons[:live] >= 0).all()
        assert (persons[live:] < 0).all()


def test_compacting_needs_no_room_and_makes_place(run_dir: Path, publisher: GalleryPublisher) -> None:
    """The same generation, fewer rows, the places behind them empty and used again; a reader that has it mapped goes along."""
    many = people(50)
    publisher.append(many)
    with GalleryReader(run_dir) as reader:
        segment = reader.segment
        publisher.remove(list(range(1, 41)))
        publisher.compact()
        reader.refresh()
        assert (reader.segment is segment, reader.rows, reader.count_live()) == (True, 10, 10)
        assert not segment.references[10:50].any()
        assert [found[0].person for found in reader.match(many.references[40:])] == list(many.names[40:])
        publisher.append(Batch([51], ["new"], [None], many.references[:1]))
        reader.refresh()
        assert reader.rows == 11
        assert reader.match(many.references[:1])[0][0].person == "new"
    assert many.references[0].tobytes() in held(run_dir, publisher)
    assert many.references[1].tobytes() not in held(run_dir, publisher)
    assert publisher.check() == []


def test_a_wasteful_block_is_compacted_by_itself(publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a share of dead rows on, not before."""
    monkeypatch.setattr(gallery_publisher, "_MIN_DEAD", 4)
    publisher.append(people(100))
    for row_id in range(1, 7):
        publisher.remove([row_id])
        publisher.compact_if_wasteful()
        assert publisher._rows == 100
    publisher.remove([7])
    publisher.compact_if_wasteful()
    assert publisher._rows == 93


class Moment(NamedTuple):
    """A block at one moment of the writer's work."""

    head: Head
    codes: NDArray[np.int8]
    persons: NDArray[np.int32]
    references: NDArray[np.float32]
    names: NDArray[np.uint64]
    heap: NDArray[np.uint8]


def moments_of(publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> list[Moment]:
    """The block before and after every publication, and before every single row that is copied or wiped."""
    seen: list[Moment] = []

    def look() -> None:
        one = publisher._current()
        seen.append(
            Moment(
                copy.copy(publisher._head),
                one.codes[:20].copy(),
                one.persons[:20].copy(),
                one.references[:20].copy(),
                one.names[:20].copy(),
                one.heap[:1000].copy(),
            )
        )

    publish = GalleryPublisher._publish

    def publish_watched(*given: Any, **named: Any) -> None:
        look()
        publish(*given, **named)
        look()

    monkeypatch.setattr(gallery_rewriting, "_ROWS_AT_ONCE", 1)
    monkeypatch.setattr(GalleryPublisher, "_publish", publish_watched)
    monkeypatch.setattr(publisher, "_progress", look)
    look()
    work()
    look()
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize("rewriting", ["erase", "compact"])
def test_whatever_a_reader_meets_when_it_counts_is_whole(
    publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch, rewriting: str
) -> None:
    """A reader that is held up anywhere: the head; the codes of the first half of the rows; whether these live, and the other codes;
    whether those live; the references, the names and the head again: each from any moment of a deletion, an update, a rewriting
    and an enrolment in the places that it made, in order. When that counts, nothing that it takes for alive is torn, and nobody
    who was there all the time is missing."""
    given, later = people(8), people(10)
    publisher.append(given)
    vectors = {name: vector.tobytes() for name, vector in zip(later.names, later.references, strict=True)}
    codes_of = {codes.tobytes(): name for codes, name in zip(quantise(later.references)[0], later.names, strict=True)}

    def work() -> None:
        publisher.remove([2, 5])
        publisher.replace(Batch([7], ["person 7"], [None], given.references[6:7]))
        getattr(publisher, rewriting)()
        publisher.append(piece(later, slice(8, None)))

    moments = moments_of(publisher, monkeypatch, work)
    counted, stays = 0, set(given.names) - {"person 2", "person 5"}
    for begin, first, second, third, end in itertools.combinations_with_replacement(range(len(moments)), 5):
        head, last = moments[begin].head, moments[end].head
        if head.sequence < last.counts_from:
            continue
        counted += 1
        half, found, dead = head.rows // 2, set(), False
        for row in range(head.rows):
            codes_at, persons_at = (first, second) if row < half else (second, third)
            person = int(moments[persons_at].persons[row])
            if person < 0:
                dead = True
                continue
            name = text(moments[end], person)
            assert codes_of[moments[codes_at].codes[row].tobytes()] == name
            assert moments[end].references[row].tobytes() == vectors[name]
            found.add(name)
        if dead and last.rows > head.rows:  # rule 3d: it reads what was published since
            found |= {text(moments[end], int(person)) for person in moments[end].persons[head.rows : last.rows]}
        assert found >= stays, (begin, first, second, third, end)
    assert counted > 300
    assert len({one.head.counts_from for one in moments}) == 1 + (1 if rewriting == "erase" else 5)


def text(moment: Moment, person: int) -> str:
    entry = int(moment.names[person])
    return moment.heap[entry >> 16 : (entry >> 16) + (entry & 0xFFFF)].tobytes().decode()


# --- reading meanwhile ----------------------------------------------------------------------------------------------


def once_before(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None], times: int = 1) -> list[int]:
    """From now on a match looks at who lives, then `change` happens, then it scans; `times` times. The calls there were."""
    calls: list[int] = []

    def search_late(rows: Rows, probes: NDArray[np.float32], k: int) -> Found:
        calls.append(len(rows.codes))
        if len(calls) <= times:
            rows = rows._replace(persons=rows.persons.copy())
            change()
        return search(rows, probes, k)

    monkeypatch.setattr(gallery_reader, "search", search_late)
    return calls


@pytest.mark.parametrize("rewriting", ["erase", "compact"])
def test_a_match_that_something_was_rewritten_under_is_repeated(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch, rewriting: str
) -> None:
    """Somebody who moved meanwhile is found, whoever was wiped is not named, and the second time it counts."""
    given = people(6)
    publisher.append(given)

    def change() -> None:
        publisher.remove([1])
        getattr(publisher, rewriting)()

    with GalleryReader(run_dir) as reader:
        calls = once_before(monkeypatch, change)
        gone, moved = reader.match(given.references[[0, 5]], 6)
        assert calls == [6, 5 if rewriting == "compact" else 6]
        assert "person 1" not in {one.person for one in gone}
        assert moved[0].person == "person 6"
        assert moved[0].score == pytest.approx(1, abs=1e-5)
        reader.match(given.references[:1])
        assert len(calls) == 3


def test_a_match_goes_on_when_its_generation_was_rewritten_and_replaced(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head tells of the new generation only; the old one is read once more, now that nobody writes it."""
    given = people(6)
    publisher.append(given)

    def change() -> None:
        publisher.remove([1])
        publisher.compact()
        publisher.publish_all(1, [Batch([9], ["nine"], [None], given.references[:1])])

    with GalleryReader(run_dir) as reader:
        calls = once_before(monkeypatch, change)
        assert reader.match(given.references[5:6])[0][0].person == "person 6"
        assert calls == [6, 5]
        reader.match(given.references[5:6])
        assert len(calls) == 3, "nothing changes any more"
        reader.refresh()
        assert reader.match(given.references[:1])[0][0].person == "nine"


def test_a_match_is_not_repeated_for_ever(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewritten again during each repetition: a clear temporary error in the end."""
    given = people(20)
    publisher.append(given)
    ids = iter(range(1, 20))

    def change() -> None:
        publisher.remove([next(ids)])
        publisher.erase()

    with GalleryReader(run_dir) as reader:
        calls = once_before(monkeypatch, change, times=100)
        with pytest.raises(TemporaryError, match="changed again and again"):
            reader.match(given.references[19:])
        assert len(calls) == 8


def test_a_match_that_cannot_follow_says_so(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody is replaced before each and every scan: an error in the end, and no answer without them."""
    given = people(2)
    publisher.append(given)

    def search_late(rows: Rows, probes: NDArray[np.float32], k: int) -> Found:
        publisher.replace(Batch([2], ["person 2"], [None], given.references[1:2]))
        return search(rows, probes, k)

    with GalleryReader(run_dir) as reader:
        monkeypatch.setattr(gallery_reader, "search", search_late)
        with pytest.raises(TemporaryError, match="changed again and again"):
            reader.match(given.references[1:2])


def test_a_name_read_while_it_is_forgotten_is_not_kept(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A match names somebody who was removed after its scan and before its look at the head in the midst of it."""
    given = people(3)
    publisher.append(given)
    publisher.remove([3])  # a dead row, so that it looks

    def search_early(rows: Rows, probes: NDArray[np.float32], k: int) -> Found:
        found = search(rows, probes, k)
        if publisher.live_rows == 2:
            publisher.remove([2])
            publisher._invalidate_readings()
        return found

    with GalleryReader(run_dir) as reader:
        monkeypatch.setattr(gallery_reader, "search", search_early)
        assert reader.match(given.references[1:2], 3)[0][0].person == "person 1"
        assert "person 2" not in reader._texts.values()


def test_a_head_that_is_not_whole_lets_no_reading_count(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both slots half written, whenever it looks: nobody knows what was rewritten."""
    publisher.append(people(2))
    with GalleryReader(run_dir) as reader:
        monkeypatch.setattr(os, "pread", lambda *_: bytes(128))
        with pytest.raises(TemporaryError, match="head cannot be read"):
            reader.match(people(2).references[:1])


def test_an_older_slot_beside_one_that_is_just_written_is_not_taken_for_the_newest(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest is half written when the reader looks, and whole when it looks again; one that stays spoilt is passed over."""
    given = people(6)
    publisher.append(given)
    real = os.pread
    torn: list[bool] = []

    def spoilt(raw: bytes) -> bytes:
        newest = publisher._head.sequence % 2 * 64
        return raw[: newest + 50] + b"torn" + raw[newest + 54 :]

    def pread(*given: Any) -> bytes:
        return spoilt(real(*given)) if torn and torn.pop() else real(*given)

    def change() -> None:
        publisher.remove([1])
        publisher.erase()
        torn.append(True)

    with GalleryReader(run_dir) as reader:
        calls = once_before(monkeypatch, change)
        monkeypatch.setattr(os, "pread", pread)
        assert "person 1" not in {one.person for one in reader.match(given.references[:1], 6)[0]}
        assert calls == [6, 6]
        publisher.remove([2])
        monkeypatch.setattr(os, "pread", lambda *given: spoilt(real(*given)))
        reader.refresh()
        assert reader.count_live() == 4


@pytest.mark.parametrize("read", ["copy_live", "count_live"])
def test_who_is_replaced_just_before_a_reading_is_in_it(run_dir: Path, publisher: GalleryPublisher, read: str) -> None:
    """The reader knows the old row only, and it is dead; the new one is beyond the rows that it knows."""
    given = people(3)
    publisher.append(given)
    with GalleryReader(run_dir) as reader:
        publisher.replace(Batch([2], ["person 2"], [None], given.references[1:2]))
        if read == "count_live":
            assert reader.count_live() == 3
        else:
            assert sorted(reader.copy_live().names) == ["person 1", "person 2", "person 3"]


def between_copy_and_death(publisher: GalleryPublisher) -> Segment:
    """A compaction that has made the copy of person 3 live, and not yet the original dead; person 1 is deleted."""
    publisher.append(people(3))
    publisher.remove([1])
    segment = publisher._current()
    copy_rows(segment, moves(segment.persons[:3]), lambda: None)
    segment.persons[0] = segment.persons[2]
    publisher._publish()
    return segment


def test_a_reference_met_twice_counts_once(run_dir: Path, publisher: GalleryPublisher) -> None:
    """As in the midst of a compaction: the copy is alive, and so is the original."""
    segment = between_copy_and_death(publisher)
    with GalleryReader(run_dir) as reader:
        live = reader.copy_live()
        assert sorted(live.names) == ["person 2", "person 3"]
        assert reader.count_live() == 2
    segment.persons[0] = -1


def test_an_original_that_dies_while_it_is_listed_hides_nobody(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in step 3 of a compaction: copy and original are alive, and the original dies while the listing looks at the rows."""
    segment = between_copy_and_death(publisher)

    def died_meanwhile(row_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        segment.persons[2] = -1
        return are_negatives(row_ids)

    with GalleryReader(run_dir) as reader:
        monkeypatch.setattr(gallery_reader, "are_negatives", died_meanwhile)
        assert sorted(reader.copy_live().names) == ["person 2", "person 3"]


def test_a_compaction_between_two_pieces_hides_nobody(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that moved to where the reader had been are met in another round, and those that it has are not met again."""
    monkeypatch.setattr(gallery_reader, "_PIECE_ROWS", 4)
    given = people(12)
    publisher.append(given)
    with GalleryReader(run_dir) as reader:
        pieces = reader.live_pieces()
        names = next(pieces).names
        publisher.remove([1, 2, 6])
        publisher.compact()
        publisher.append(Batch([13, 14, 15], ["new"] * 3, [None] * 3, given.references[:3]))
        for piece in pieces:
            names += piece.names
    assert sorted(names) == sorted([*(name for name in given.names if name != "person 6"), "new", "new", "new"])


def test_a_person_who_is_replaced_at_the_end_of_a_compaction_is_in_a_listing(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing begins when `moves` is raised and `rows` is not lowered yet. Its piece is read again when `rows` is lowered; meanwhile the
    person gets a new row beyond. The listing goes on behind the rows that were read, not behind those that there were."""
    given = people(12)
    publisher.append(given)
    publisher.remove([1, 2, 6])
    pauses, readings = itertools.count(1), itertools.count(1)
    is_held, go_on = threading.Event(), threading.Event()

    def pause(_: float) -> None:
        if next(pauses) == 4:  # after step 3 of rule 6
            is_held.set()
            assert go_on.wait(30)

    def copied(self: GalleryReader, *given_to: Any) -> Any:
        reading = next(readings)
        if reading == 1:
            go_on.set()
            compaction.join(30)
        elif reading == 2:
            publisher.replace(piece(given, slice(6, 7)))
        return as_it_is(self, *given_to)

    as_it_is = GalleryReader._copied
    monkeypatch.setattr(GalleryReader, "_copied", copied)
    monkeypatch.setattr(time, "sleep", pause)
    compaction = threading.Thread(target=publisher.compact)
    compaction.start()
    assert is_held.wait(30)
    with GalleryReader(run_dir) as reader:
        assert sorted(reader.copy_live().names) == sorted(set(given.names) - {"person 1", "person 2", "person 6"})
    assert next(readings) > 3


def test_a_compaction_between_two_pieces_hides_no_fault(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unsound row that moved to where the check had been is found in another round."""
    monkeypatch.setattr(gallery_reader, "PIECE_ROWS", 4)
    publisher.append(people(12))
    publisher._current().references[11] *= 2
    publisher.remove([1])
    compactions = iter([lambda: None, publisher.compact])  # while the second piece is read

    def checked(*arguments: Any) -> list[str]:
        found = check_rows(*arguments)
        next(compactions, lambda: None)()
        return found

    monkeypatch.setattr(gallery_reader, "check_rows", checked)
    with GalleryReader(run_dir) as reader:
        assert [line.split(": ")[-1] for line in reader.check()] == ["norm 2.000000", "codes are of another vector"]


def test_a_reading_in_pieces_is_not_begun_for_ever(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compacted after each piece: a clear temporary error in the end; forgetting alone does not make it start over."""
    monkeypatch.setattr(gallery_reader, "_PIECE_ROWS", 4)
    given = people(40)
    publisher.append(given)
    with GalleryReader(run_dir) as reader:
        ids = iter(range(1, 40))
        for _ in reader.live_pieces():
            publisher.remove([next(ids)])
            publisher.erase()
        met = 0
        with pytest.raises(TemporaryError, match="changed again and again"):
            for _ in reader.live_pieces():
                met += 1
                publisher.append(Batch([100 + met], ["new"], [None], given.references[:1]))
                publisher.remove([next(ids)])
                publisher.compact()


def test_a_user_id_goes_with_its_person(publisher: GalleryPublisher) -> None:
    """Told to whoever removes rows: whose they were."""
    publisher.append(people(3))
    assert publisher.remove([1, 3, 77]) == {"person 1", "person 3"}


def test_the_writer_pauses_between_two_rewritings(publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as many matches take: nothing to speak of with few rows, a second at most with millions."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    publisher.append(people(20))
    for row_id, expected in ((1, (0, 5e-6)), (2, (0, 5e-6)), (3, (0.9, 1))):
        if row_id == 3:
            monkeypatch.setattr(gallery_publisher, "_PAUSE_S_PER_ROW", 1.0)
        publisher.remove([row_id])
        publisher.erase()
        assert expected[0] <= slept[-1] <= expected[1]
    slept.clear()
    publisher.remove([4])
    publisher.compact()
    assert [round(pause, 1) for pause in slept] == [1.0] * 5, "also between its steps"


@pytest.mark.parametrize("rewriting", ["erase", "compact"])
def test_no_reading_is_repeated_that_begins_and_ends_between_two_steps(
    run_dir: Path, publisher: GalleryPublisher, monkeypatch: pytest.MonkeyPatch, rewriting: str
) -> None:
    """In each pause of the writer a match ends that began in the one before, or just before the rewriting: each is done once."""
    given = people(20)
    publisher.append(given)
    publisher.remove([1, 2])
    searches: list[int] = []

    def search_counted(rows: Rows, probes: NDArray[np.float32], k: int) -> Found:
        searches.append(len(rows.codes))
        return search(rows, probes, k)

    monkeypatch.setattr(gallery_reader, "search", search_counted)
    with GalleryReader(run_dir) as reader:
        began = iter_of_matches(reader, given.references[19:])
        next(began)
        monkeypatch.setattr(time, "sleep", lambda _: next(began))
        getattr(publisher, rewriting)()
        matches = next(began)
        assert matches == (2 if rewriting == "erase" else 6)
        assert len(searches) == matches


def iter_of_matches(reader: GalleryReader, probe: NDArray[np.float32]) -> Iterator[int]:
    """Looks for news; at each further step matches with what it knew, and looks again; how many matches there were."""
    matches = 0
    reader.refresh()
    while True:
        yield matches
        assert reader.match(probe)[0][0].person == "person 20"
        matches += 1
        reader.refresh()


def test_a_text_that_is_torn_is_no_error(publisher: GalleryPublisher) -> None:
    """Half a letter, read while it is wiped: the reading does not count, and must not fail either."""
    publisher.append(Batch([1], ["Zoë"], [None], people(1).references))
    segment: Segment = publisher._current()
    entry = int(segment.names[0])
    segment.heap[(entry >> 16) + (entry & 0xFFFF) - 1] = 0
    assert segment.text(entry) == "Zo\N{REPLACEMENT CHARACTER}\0"
