"""The writer's side of the gallery block; gallery_block.py has the specification that this follows."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import RollcallError, TemporaryError
from shared.gallery_block import (
    Constants,
    Head,
    Replaced,
    Segment,
    Shape,
    head_path,
    read_head,
    segment_path,
    shm_folder,
    site_prefix,
)
from shared.gallery_building import Batch, Building, People, UnsoundRowError, text_entry
from shared.match import quantise

_ROOM = 1.25  # a new generation holds this many times what is in it
_LEAST_ROWS = 1024
_HEAP_PER_PERSON = 64  # bytes of text reserved for each person there is room for
_DEAD_SHARE = 0.25  # more dead rows than this share: the next generation leaves them behind
_MAX_TEXT = 0xFFFF
__all__ = ["Batch", "GalleryPublisher", "NoRoomError", "UnsoundRowError", "check_segment", "remove_left_behind"]


class NoRoomError(TemporaryError):
    """Shared memory is full: what is published goes on being served."""


class GalleryPublisher:
    """Publishes the gallery of one store. Only the process that holds the site's lock may have one."""

    def __init__(
        self, run_dir: Path, dim: int, model: str, fingerprint: str, progress: Callable[[], None] = lambda: None
    ) -> None:
        """`progress` is called every few thousand rows while a generation is built: with a million that takes seconds."""
        self._run_dir, self._model, self._fingerprint, self._dim = run_dir, model, fingerprint, dim
        self._progress = progress
        self._segment: Segment | None = None
        self._people = People()
        self._head, self._last_generation = _left_behind(run_dir)
        self._rows = self._dead = self._stores = 0
        self._descriptor = os.open(head_path(run_dir), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @property
    def dim(self) -> int:
        return self._dim

    def describe(self, dim: int, model: str, fingerprint: str) -> None:
        """What the next generation that is built holds."""
        self._dim, self._model, self._fingerprint = dim, model, fingerprint

    @property
    def live_rows(self) -> int:
        return self._rows - self._dead

    @property
    def room_rows(self) -> int:
        """Rows that the current generation still has room for."""
        return self._current().shape.rows - self._rows

    @property
    def generation(self) -> int:
        return self._head.generation

    @property
    def published_ns(self) -> int:
        return self._head.published_ns

    def publish_all(self, count: int, batches: Iterable[Batch]) -> None:
        """Build and publish a generation holding `batches`, `count` rows in all.

        Raises NoRoomError; then the old generation, if any, is untouched and still serves.
        """
        self._build(count, lambda building: building.fill(batches))

    def append(self, batch: Batch) -> None:
        """Publish new rows. Builds a larger generation when room has run out. Raises NoRoomError, nothing published then."""
        segment = self._current()
        if not self._fits(segment, batch):
            self._rebuild(extra=batch)
            segment = self._current()
        _fill(segment, self._people, self._rows, batch)
        self._rows += len(batch.row_ids)
        self._publish()

    def remove(self, row_ids: Sequence[int]) -> None:
        """Kill the rows of these ids, in place; unknown ids are ignored."""
        segment = self._current()
        ids, persons = segment.row_ids[: self._rows], segment.persons
        hit = (
            np.flatnonzero(ids == row_ids[0])
            if len(row_ids) == 1
            else np.flatnonzero(np.isin(ids, np.asarray(row_ids)))
        )
        self._kill(hit[persons[hit] >= 0])

    def replace(self, batch: Batch) -> None:
        """Publish rows in place of the published rows of the same ids: the new ones first, so nobody is ever missing."""
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
        self._current().persons[rows] = -1
        self._dead += len(rows)
        self._stores += len(rows)
        self._publish()

    def set_user_id(self, name: str, user_id: str | None) -> None:
        """Give a published person this user id."""
        if name not in self._people.indices or self._people.users.get(name) == user_id:
            return
        segment = self._current()
        if self._people.heap_used + len((user_id or "").encode()) > segment.shape.heap:
            self._rebuild()
            segment = self._current()
        index = self._people.indices[name]
        segment.user_ids[index] = _write_text(segment, self._people, user_id) if user_id else 0
        self._people.users[name] = user_id
        self._stores += 1
        self._publish()

    def compact(self) -> None:
        """Publish a generation without the dead rows, so that erased vectors leave memory. Raises NoRoomError."""
        if self._dead:
            self._rebuild()

    def compact_if_wasteful(self) -> None:
        """Compact when dead rows cost more scanning than a rebuild is worth."""
        if self._dead > _LEAST_ROWS and self._dead > _DEAD_SHARE * self._rows:
            self._rebuild()

    def wipe(self) -> None:
        """Overwrite the dead rows' vectors in place: the last resort when there is no room to compact.

        A dead row never answers, so a reader that scans one while it is wiped loses nothing.
        """
        segment = self._current()
        dead = np.flatnonzero(segment.persons[: self._rows] < 0)
        segment.references[dead] = 0
        segment.codes[dead] = 0

    def remove_block(self) -> None:
        """Take the block away at a clean stop, when nobody reads it any more."""
        if self._segment is not None:
            segment_path(self._run_dir, self._segment.generation).unlink(missing_ok=True)
        head_path(self._run_dir).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the mapping. The files stay, for readers that go on while the writer is replaced."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        os.close(self._descriptor)

    def check(self) -> list[str]:
        """What is unsound in the published block, one line each; empty when it is sound."""
        return check_segment(self._current(), self._rows)

    def _current(self) -> Segment:
        if self._segment is None:
            raise TemporaryError("the gallery block is not published", remedy="wait for the writer to load the gallery")
        return self._segment

    def _build(self, rows: int, write: Callable[[Building], None], people: int = 0, text_bytes: int = 0) -> None:
        """Build the next generation with `write` and switch to it; nothing is left of it, and nothing changed, when that fails.

        It gets room for `rows`, for `people` and their `text_bytes` besides those that `write` writes, and for more of each.
        """
        shape = Shape(self._dim, max(_LEAST_ROWS, int(rows * _ROOM)), 0, 0)
        try:
            replaced = Replaced(self._head.generation, self._head.rows)
            names = (self._model, self._fingerprint)
            building = Building(
                self._run_dir, Constants(self._last_generation + 1, shape, replaced, *names), self._progress
            )
            try:
                write(building)
                people, text_bytes = people + len(building.people.indices), text_bytes + building.text_bytes
                heads = max(_LEAST_ROWS, int(people * _ROOM) + shape.rows - rows)
                heap = int(text_bytes * _ROOM) + _HEAP_PER_PERSON * (heads - people) + 2 * _MAX_TEXT
                fresh = building.finish(heads, heap)
            except BaseException:
                building.discard()
                raise
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT):
                raise
            raise self._no_room(shape) from error
        self._switch(fresh, building.people, building.rows)

    def _no_room(self, shape: Shape) -> NoRoomError:
        folder, (_, size) = shm_folder(self._run_dir), shape.layout()
        return NoRoomError(
            "no room in shared memory for the gallery",
            where=str(folder),
            got=f"{_free_bytes(folder) >> 20} MiB free",
            expected=f"at least {(size >> 20) + 1} MiB",
            remedy="remove other files there or mount it larger (mount -o remount,size=…); what is published goes on serving",
        )

    def _fits(self, segment: Segment, batch: Batch) -> bool:
        fresh = {name for name in batch.names if name not in self._people.indices}
        text = sum(len(name.encode()) for name in fresh) + sum(len(user.encode()) for user in batch.user_ids if user)
        return (
            self._rows + len(batch.row_ids) <= segment.shape.rows
            and len(self._people.indices) + len(fresh) <= segment.shape.people
            and self._people.heap_used + text <= segment.shape.heap
        )

    def _rebuild(self, extra: Batch | None = None) -> None:
        """The live rows of the current generation in a new one, with room for `extra` and more."""
        old, people = self._current(), self._people
        live = np.flatnonzero(old.persons[: self._rows] >= 0)
        more, count, text = 0, 0, 0
        if extra is not None:
            more, count = len(extra.row_ids), len(set(extra.names))
            text = sum(len(name.encode()) for name in set(extra.names))
            text += sum(len(user.encode()) for user in extra.user_ids if user)
        names, users = list(people.indices), list(people.users.values())
        self._build(len(live) + more, lambda building: building.copy(old, live, names, users), count, text)

    def _switch(self, fresh: Segment, people: People, rows: int) -> None:
        old, self._segment = self._segment, fresh
        self._people, self._rows, self._dead, self._stores = people, rows, 0, 0
        self._last_generation = fresh.generation
        self._publish(generation=fresh.generation)
        if old is not None:
            segment_path(self._run_dir, old.generation).unlink(missing_ok=True)
            old.close()
        _sweep(self._run_dir, keep=fresh.generation)

    def _publish(self, generation: int | None = None) -> None:
        self._head = Head(
            self._head.sequence + 1, generation or self._head.generation, self._rows, self._stores, time.time_ns()
        )
        os.pwrite(self._descriptor, self._head.pack(), (self._head.sequence % 2) * 64)


def check_segment(segment: Segment, rows: int) -> list[str]:
    """What is unsound in `rows` published rows: norms, codes, persons, names; one line each."""
    faults: list[str] = []
    live = np.flatnonzero(segment.persons[:rows] >= 0)
    for chunk in np.array_split(live, max(1, len(live) // 16384)):
        references = segment.references[chunk]
        norms = np.linalg.norm(references, axis=1)
        faults += [
            f"block: row {row}: norm {norm:.6f}" for row, norm in zip(chunk, norms, strict=True) if abs(norm - 1) > 1e-3
        ]
        rest = np.linalg.norm(references - segment.codes[chunk] * segment.scales[chunk, None], axis=1)
        faults += [
            f"block: row {row}: codes are of another vector" for row in chunk[rest > segment.errors[chunk] + 1e-5]
        ]
    ids = segment.row_ids[live]
    if len(np.unique(ids)) != len(ids):
        faults.append("block: a reference is published twice")
    faults += [
        f"block: person {index} has no name" for index in np.unique(segment.persons[live]) if not segment.names[index]
    ]
    return faults


def _fill(segment: Segment, people: People, start: int, batch: Batch) -> None:
    n = len(batch.row_ids)
    to = slice(start, start + n)
    references = np.asarray(batch.references, np.float32)
    segment.codes[to], segment.scales[to], segment.errors[to] = quantise(references)
    segment.references[to] = references
    segment.row_ids[to] = batch.row_ids
    persons = np.empty(n, np.int32)
    for i, (name, user_id) in enumerate(zip(batch.names, batch.user_ids, strict=True)):
        persons[i] = _add_person(segment, people, name, user_id)
    segment.persons[to] = persons


def _add_person(segment: Segment, people: People, name: str, user_id: str | None) -> int:
    index = people.indices.get(name)
    if index is None:
        index = len(people.indices)
        segment.names[index] = _write_text(segment, people, name)
        segment.user_ids[index] = 0
        people.indices[name] = index
        people.users[name] = None
    if user_id is not None and people.users[name] != user_id:
        segment.user_ids[index] = _write_text(segment, people, user_id)
        people.users[name] = user_id
    return index


def _write_text(segment: Segment, people: People, text: str) -> int:
    entry, raw = text_entry(text, people.heap_used)
    segment.heap[people.heap_used : people.heap_used + len(raw)] = np.frombuffer(raw, np.uint8)
    people.heap_used += len(raw)
    return entry


def _left_behind(run_dir: Path) -> tuple[Head, int]:
    """The head of a writer that is gone, and the last generation there was.

    Readers may still follow that head, so sequence and generation go on from there.
    """
    try:
        head = read_head(run_dir)
    except RollcallError:
        head = None  # another format version: nobody of ours can be reading it
    head = head or Head(0, 0, 0, 0, 0)
    return head, max([head.generation, *(generation for _, generation in _segments(run_dir))])


def _segments(run_dir: Path) -> Iterator[tuple[Path, int]]:
    prefix = site_prefix(run_dir) + "g"
    for path in shm_folder(run_dir).glob(prefix + "*"):
        number = path.name.removeprefix(prefix)
        if number.isdigit():
            yield path, int(number)


def _sweep(run_dir: Path, keep: int) -> None:
    """Remove generations that a killed writer left."""
    for path, generation in _segments(run_dir):
        if generation != keep:
            path.unlink(missing_ok=True)


def remove_left_behind(run_dir: Path) -> int:
    """Remove every file of this site's block; for a start after a kill, under the site's lock. How many there were."""
    gone = [path for path, _ in _segments(run_dir)]
    for path in [*gone, head_path(run_dir)]:
        path.unlink(missing_ok=True)
    return len(gone)


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
