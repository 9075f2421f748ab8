"""The writer's side of the gallery block: publish references, delete, wipe, compact. gallery/block.py has the specification."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch, UnsoundRowError
from shared.errors import TemporaryError
from shared.files.identity import identity
from shared.gallery.block import MAX_TEXT_BYTES, Constants, Head, Shape
from shared.gallery.builder import Building, People, text_entry
from shared.gallery.check import check_segment, check_tail
from shared.gallery.files import (
    block_folder,
    claim_block,
    head_path,
    new_block_folder,
    open_ours,
    remove_block,
    segment_path,
    shm_folder,
    sweep,
)
from shared.gallery.match import Candidate, match, quantise
from shared.gallery.negatives import Found, without_negatives
from shared.gallery.rewriting import copy_rows, moves, unwiped, wipe_rows, wipe_texts
from shared.gallery.segment import Segment
from shared.gallery.tail import CrossScores, sample_of

# A generation has addresses for this many times the rows it begins with. A gallery that outgrows them is copied to a new generation.
_ADDRESSES = 16
_MIN_ADDRESSES = 1 << 16
# For how many more rows to reserve memory at a time: a sixteenth of the rows, within these bounds. An enrolment waits for the
# reserving, and 20 MiB take milliseconds.
_MIN_STEP, _MAX_STEP, _STEP_SHARE = 1024, 8192, 16
_HEAP_PER_PERSON = 64  # bytes of text
# The gallery is compacted when more than this share of its rows is dead: every match scans dead rows, too. Compacting moves at most
# one row for each row deleted.
_DEAD_SHARE = 1 / 16
_MIN_DEAD = 1024  # with fewer dead rows it is not compacted
# The pause in which readings finish (rule 5c): a quarter of a second with a million rows, which is five to ten matches. With few rows
# it is too short to notice.
_PAUSE_S_PER_ROW, _MAX_PAUSE_S = 0.25e-6, 1.0
__all__ = ["Batch", "GalleryPublisher", "NoRoomError", "UnsoundRowError"]


class NoRoomError(TemporaryError):
    """Shared memory is full. What was published before stays in use."""


class GalleryPublisher:
    """Publishes the gallery of one store. Only the process that holds the site's lock may have one."""

    def __init__(
        self, run_dir: Path, dim: int, model: str, fingerprint: str, progress: Callable[[], None] = lambda: None
    ) -> None:
        """Take over the site's block, or make one. Raises NoRoomError.

        `progress` is called every few thousand rows while a generation is built, which takes seconds with a million rows.
        """
        self._run_dir, self._model, self._fingerprint, self._dim = run_dir, model, fingerprint, dim
        self._progress = progress
        self._segment: Segment | None = None
        self._people = People()
        self._head, self._last_generation = self._claim()
        self._segment_file: tuple[int, int] | None = None  # device and inode of the segment's file
        self._room = Shape(dim, 0, 0, 0)  # for how much memory is reserved
        self._rows = self._dead = 0
        self._cross_scores = CrossScores()
        self._given_up: list[int] = []  # heap entries of former user ids, not wiped yet
        self._published_at = 0.0
        self._folder = block_folder(run_dir)
        self._descriptor = open_ours(run_dir, head_path(run_dir), os.O_RDWR | os.O_CREAT)

    def _claim(self) -> tuple[Head, int]:
        try:
            return claim_block(self._run_dir)
        except OSError as error:
            raise self._no_room(error, 0) from error

    def is_lost(self) -> bool:
        """Whether a file of the block, or the link to its folder, was removed or replaced, so that a reader can't open it any more."""
        try:
            if block_folder(self._run_dir) != self._folder:
                return True
        except OSError:
            return True
        head = os.fstat(self._descriptor)
        return identity(self._folder / "head") != (head.st_dev, head.st_ino) or (
            self._segment is not None and identity(self._folder / f"g{self._segment.generation}") != self._segment_file
        )

    def renew(self) -> None:
        """Replace a block folder that lost files by a new one, and remove what is left of the old one. Raises OSError.

        The next generation is published in the new folder.
        """
        folder = new_block_folder(self._run_dir)
        descriptor = open_ours(self._run_dir, folder / "head", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.close(self._descriptor)
        for left in ("head", f"g{self.generation}"):
            (self._folder / left).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()
        self._descriptor, self._folder = descriptor, folder

    @property
    def dim(self) -> int:
        """Length of the embeddings in the next generation."""
        return self._dim

    def describe(self, dim: int, model: str, fingerprint: str) -> None:
        """Set dimension, model and fingerprint for the next generation that is built."""
        self._dim, self._model, self._fingerprint = dim, model, fingerprint

    @property
    def is_published(self) -> bool:
        """Whether this publisher has published a generation."""
        return self._segment is not None

    @property
    def live_rows(self) -> int:
        """How many rows are published and not dead."""
        return self._rows - self._dead

    @property
    def live_references(self) -> int:
        """How many references are published and not dead. Negatives are not counted."""
        return self._cross_scores.tail.references

    @property
    def room_rows(self) -> int:
        """How many more rows fit into the reserved memory."""
        return self._room.rows - self._rows

    @property
    def generation(self) -> int:
        """Number of the generation that the head names."""
        return self._head.generation

    @property
    def published_ns(self) -> int:
        """When the current head was written, in nanoseconds since 1970."""
        return self._head.published_ns

    def has(self, name: str) -> bool:
        """Whether a person of this name is published, or lost the last row but is not wiped yet."""
        return name in self._people.indices

    def user_id(self, name: str) -> str | None:
        """The user id of a published person. None if the person has none, or is not published."""
        return self._people.users.get(name)

    def publish_all(self, count: int, batches: Iterable[Batch]) -> None:
        """Build and publish a generation of `batches`, `count` rows in all.

        Raises NoRoomError; the old generation, if there is one, then stays in use. Raises UnsoundRowError as Building.fill.
        """
        if self._segment is not None:
            self.erase()  # a reader may use the old generation for a while, and must not have deleted people in it
        self._build(count, lambda building: building.fill(batches))

    def append(self, batch: Batch) -> None:
        """Publish new rows. A person's user id becomes the last one given. Raises NoRoomError; then nothing was published."""
        self._make_room(batch)
        given = {name: user for name, user in zip(batch.names, batch.user_ids, strict=True) if user is not None}
        known = self._people.indices.keys() & given
        _fill(self._current(), self._people, self._rows, batch, given)
        before, self._rows = self._rows, self._rows + len(batch.row_ids)
        self._cross_scores.add(*self._sampled(), before)
        self._publish()
        for name in known:
            self.set_user_id(name, given[name])

    def remove(self, row_ids: Sequence[int]) -> set[str]:
        """Make the rows with these ids dead, in place. Unknown ids are ignored. Returns the names of the people who had these rows."""
        segment = self._current()
        ids, persons = segment.row_ids[: self._rows], segment.persons
        hit = (
            np.flatnonzero(ids == row_ids[0])
            if len(row_ids) == 1
            else np.flatnonzero(np.isin(ids, np.asarray(row_ids)))
        )
        hit = hit[persons[hit] >= 0]
        people = np.unique(persons[hit])
        self._kill(hit)
        return {segment.text(int(entry)) or "" for entry in segment.names[people]}

    def replace(self, batch: Batch) -> None:
        """Publish rows that replace the published rows of the same ids. The new ones come first, so that no person is ever missing.

        Raises NoRoomError.
        """
        before = self._rows
        rebuilt_from = self.generation
        ids = np.asarray(batch.row_ids)
        self.append(batch)
        if self.generation != rebuilt_from:
            before = self._rows - len(ids)
        segment = self._current()
        old = np.flatnonzero(np.isin(segment.row_ids[:before], ids))
        self._kill(old[segment.persons[old] >= 0])

    def _kill(self, rows: NDArray[np.intp]) -> None:
        if not len(rows):
            return
        segment = self._current()
        segment.persons[rows] = -1
        self._dead += len(rows)
        self._cross_scores.remove(*self._sampled(), rows)
        self._publish()

    def match(self, probes: NDArray[np.float32], k: int = 2) -> list[list[Candidate]]:
        """As GalleryReader.match, and at once: nobody else changes the block. Raises ValueError for probes of another dimension."""
        return without_negatives(self._search, probes, k) or []

    def _search(self, probes: NDArray[np.float32], k: int) -> list[list[Found]]:
        segment, users = self._current(), self._people.users
        found = match(segment.searched(0, self._rows), probes, k)
        texts = {one: segment.text(int(segment.names[one])) or "" for best in found for one, _ in best}
        return [[(texts[one], users.get(texts[one]), score) for one, score in best] for best in found]

    def set_user_id(self, name: str, user_id: str | None) -> None:
        """Give a published person this user id; None takes it away. Raises NoRoomError."""
        if name not in self._people.indices or self._people.users.get(name) == user_id:
            return
        self._make_room(Batch([], [name], [user_id], np.empty((0, self._dim), np.float32)))
        segment, entry = self._current(), 0
        index = self._people.indices[name]
        if user_id is not None:
            entry = _write_text(segment, self._people, user_id)
            self._publish()  # rule 4: a text is published before an entry points at it
        if former := int(segment.user_ids[index]):
            self._given_up.append(former)
        segment.user_ids[index] = entry
        self._people.users[name] = user_id
        self._publish()

    def erase(self) -> None:
        """Wipe dead rows, the names and user ids of people without a live row, and former user ids, so that nothing of them is left."""
        segment = self._current()
        dead = unwiped(segment, self._rows)
        if len(dead) or self._given_up:
            self._invalidate_readings()
            wipe_rows(segment, dead, self._progress)
            self._wipe_texts()

    def compact(self) -> None:
        """Move the last live rows into the places of dead rows, and wipe what then lies behind the live ones. Rule 6 has the steps."""
        if not self._dead:
            return
        segment, rows = self._current(), self._rows
        persons, move = segment.persons, moves(segment.persons[:rows])
        self._invalidate_readings()  # that began before the deaths were published
        copy_rows(segment, move, self._progress)
        self._publish()
        self._invalidate_readings()  # that began before the copies were complete
        persons[move.targets] = persons[move.sources]
        self._publish()
        self._invalidate_readings(moves=1)  # that began before the copies were live
        persons[move.sources] = -1
        self._publish()
        self._rows, self._dead = move.live, 0
        self._cross_scores.rebuild(*self._sampled())  # the rows have other places now
        self._invalidate_readings()  # that began before the originals were dead
        wipe_rows(segment, np.arange(self._rows, rows), self._progress)
        self._wipe_texts()
        self._invalidate_readings()  # that began before `rows` was lowered

    def compact_if_wasteful(self) -> None:
        """Compact if so many rows are dead that scanning them costs more than moving rows."""
        if self._dead > max(_MIN_DEAD, _DEAD_SHARE * self._rows):
            self.compact()

    def _invalidate_readings(self, moves: int = 0) -> None:
        """Invalidate readings that began before the current head (rule 5), after a pause that lets most of them finish."""
        counts_from = self._head.sequence
        pause = min(_MAX_PAUSE_S, _PAUSE_S_PER_ROW * self._rows)
        # This sleeps because there is nothing to wait for: the read path has no lock, so no event marks the end of a reading. A
        # reading that takes longer than the pause is repeated.
        time.sleep(max(0.0, self._published_at + pause - time.monotonic()))
        self._publish(counts_from=counts_from, moves=moves)

    def _wipe_texts(self) -> None:
        segment, people = self._current(), self._people
        persons = segment.persons[: self._rows]
        alive = np.bincount(persons[persons >= 0], minlength=people.count) > 0
        gone = np.flatnonzero(~alive & (segment.names[: people.count] != 0))
        for index in gone.tolist():
            name = segment.text(int(segment.names[index])) or ""
            del people.indices[name], people.users[name]
        wipe_texts(segment, gone, self._given_up)
        self._given_up.clear()

    def remove_block(self) -> None:
        """Remove the block at a clean stop, when no process reads it any more."""
        remove_block(self._run_dir)

    def close(self) -> None:
        """Unmap the block. The files stay for the readers, which go on while another writer starts."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        os.close(self._descriptor)

    def check(self) -> list[str]:
        """What is unsound in the published block, one line for each fault; empty if it is sound."""
        return check_segment(self._current(), self._rows) + check_tail(self._head.tail, sample_of(*self._sampled()))

    def _current(self) -> Segment:
        if self._segment is None:
            raise TemporaryError("the gallery block is not published", remedy="wait for the writer to load the gallery")
        return self._segment

    def _sampled(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
        """The columns of the published rows that the cross scores are counted from."""
        segment, rows = self._current(), slice(0, self._rows)
        return segment.references[rows], segment.persons[rows], segment.row_ids[rows]

    def _build(self, rows: int, write: Callable[[Building], None], people: int = 0, text_bytes: int = 0) -> None:
        """Build the next generation with `write` and switch to it. If that fails, its file is removed and nothing has changed.

        It gets memory for `rows` rows in all; for the people and texts that `write` writes, and `people` and `text_bytes` more; and for
        some more of each, to grow. Raises NoRoomError.
        """
        shape = Shape(self._dim, max(_MIN_ADDRESSES, _ADDRESSES * rows), 0, 0)
        room = Shape(self._dim, _ahead(rows), 0, 0)
        try:
            constants = Constants(self._last_generation + 1, shape, self._model, self._fingerprint)
            building = Building(self._run_dir, constants, room.rows, self._progress)
            try:
                write(building)
                people, text_bytes = people + building.people.count, text_bytes + building.text_bytes
                room = _room(self._dim, rows, people, text_bytes)
                heap = _ADDRESSES * text_bytes + _HEAP_PER_PERSON * shape.rows + 2 * MAX_TEXT_BYTES
                fresh = building.finish(shape.rows, heap, room)
            except BaseException:
                building.discard()
                raise
        except OSError as error:
            raise self._no_room(error, room.memory_bytes) from error
        self._room = room
        self._switch(fresh, building.people, building.rows)

    def _no_room(self, error: OSError, needed_bytes: int) -> NoRoomError:
        """The NoRoomError to raise for `error`. Raises `error` itself if it is no lack of room."""
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT):
            raise error
        folder = shm_folder(self._run_dir)
        return NoRoomError(
            "no room in shared memory for the gallery",
            where=str(folder),
            got=f"{_free_bytes(folder) >> 20} MiB free",
            expected=f"at least {(needed_bytes >> 20) + 1} MiB",
            remedy="remove other files there or mount it larger (mount -o remount,size=…); what is published stays in use",
        )

    def _make_room(self, batch: Batch) -> None:
        """Reserve memory for `batch`; in a new generation if it goes beyond this one's addresses. Raises NoRoomError."""
        if not _within(self._with(batch), self._current().shape):
            self._rebuild(extra=batch)
        needed = self._with(batch)
        if _within(needed, self._room):
            return
        self._reserve(needed)
        with contextlib.suppress(NoRoomError):  # `batch` has its room; more of it only saves later batches the wait
            self._reserve(_room(self._dim, needed.rows, needed.people, needed.heap))

    def _reserve(self, wanted: Shape) -> None:
        """Reserve memory for `wanted`, as far as this generation has addresses. Raises NoRoomError."""
        segment, old = self._current(), self._room
        room = Shape(
            self._dim,
            min(max(old.rows, wanted.rows), segment.shape.rows),
            min(max(old.people, wanted.people), segment.shape.people),
            min(max(old.heap, wanted.heap), segment.shape.heap),
        )
        try:
            segment.reserve(self._run_dir, old, room)
        except OSError as error:
            raise self._no_room(error, room.memory_bytes - old.memory_bytes) from error
        self._room = room

    def _with(self, batch: Batch) -> Shape:
        """The size of what is used now together with `batch`."""
        people = self._people
        fresh = {name for name in batch.names if name not in people.indices}
        text = _text_bytes(fresh, batch.user_ids)
        return Shape(self._dim, self._rows + len(batch.row_ids), people.count + len(fresh), people.heap_used + text)

    def _rebuild(self, extra: Batch) -> None:
        """Copy the live rows of the current generation to a new one that has room for `extra` and more. Raises NoRoomError."""
        self.erase()
        old, names, users = self._current(), *self._people.by_index()
        live = np.flatnonzero(old.persons[: self._rows] >= 0)
        fresh = set(extra.names)
        self._build(
            len(live) + len(extra.row_ids),
            lambda building: building.copy(old, live, names, users),
            len(fresh),
            _text_bytes(fresh, extra.user_ids),
        )

    def _switch(self, fresh: Segment, people: People, rows: int) -> None:
        old, self._segment = self._segment, fresh
        self._people, self._rows, self._dead, self._given_up = people, rows, 0, []
        self._last_generation = fresh.generation
        self._segment_file = identity(segment_path(self._run_dir, fresh.generation))
        self._cross_scores.rebuild(*self._sampled())
        Segment.end(self._run_dir, self._head.generation, self._head.rows)
        self._publish(generation=fresh.generation)
        if old is not None:
            segment_path(self._run_dir, old.generation).unlink(missing_ok=True)
            old.close()
        sweep(self._run_dir, keep=fresh.generation)

    def _publish(self, generation: int | None = None, counts_from: int | None = None, moves: int = 0) -> None:
        old = self._head
        self._head = Head(
            old.sequence + 1,
            generation or old.generation,
            self._rows,
            old.counts_from if counts_from is None else counts_from,
            old.moves + moves,
            time.time_ns(),
            self._cross_scores.tail,
        )
        os.pwrite(self._descriptor, self._head.pack(), self._head.offset)
        self._published_at = time.monotonic()


def _ahead(rows: int) -> int:
    """For how many rows to reserve memory if `rows` are needed."""
    return rows + min(_MAX_STEP, max(_MIN_STEP, rows // _STEP_SHARE))


def _room(dim: int, rows: int, people: int, text_bytes: int) -> Shape:
    """For how much to reserve memory if this much is needed. Each row ahead may belong to a new person."""
    ahead = _ahead(rows) - rows
    return Shape(dim, rows + ahead, people + ahead, text_bytes + ahead * _HEAP_PER_PERSON)


def _text_bytes(names: Iterable[str], user_ids: Iterable[str | None]) -> int:
    return sum(len(text.encode()) for text in (*names, *user_ids) if text)


def _within(needed: Shape, there: Shape) -> bool:
    return needed.rows <= there.rows and needed.people <= there.people and needed.heap <= there.heap


def _fill(segment: Segment, people: People, start: int, batch: Batch, given: dict[str, str]) -> None:
    """Write a batch behind the published rows, from row `start` on. `given`: the user ids of new people, by name."""
    n = len(batch.row_ids)
    to = slice(start, start + n)
    references = np.asarray(batch.references, np.float32)
    segment.codes[to], segment.scales[to], segment.errors[to] = quantise(references)
    segment.references[to] = references
    segment.row_ids[to] = batch.row_ids
    persons = np.empty(n, np.int32)
    for i, name in enumerate(batch.names):
        if name not in people.indices:
            _add_person(segment, people, name, given.get(name))
        persons[i] = people.indices[name]
    segment.persons[to] = persons


def _add_person(segment: Segment, people: People, name: str, user_id: str | None) -> None:
    index = people.count
    people.count += 1
    segment.names[index] = _write_text(segment, people, name)
    segment.user_ids[index] = 0 if user_id is None else _write_text(segment, people, user_id)
    people.indices[name] = index
    people.users[name] = user_id


def _write_text(segment: Segment, people: People, text: str) -> int:
    entry, raw = text_entry(text, people.heap_used)
    segment.heap[people.heap_used : people.heap_used + len(raw)] = np.frombuffer(raw, np.uint8)
    people.heap_used += len(raw)
    return entry


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
