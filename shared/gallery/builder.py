"""A generation of the gallery block while it is built: everything is written through its descriptor, in bulk.

A store through a fresh mapping faults at every 4 KiB, which is six times slower than pwrite of the same bytes. A pwrite that
finds no room is an error, not a SIGBUS; what stays unwritten, the first room to grow, is reserved before anybody maps it.
How many rows there will be is known at the beginning; how many people, and how long their names are, at the end, where these lie.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch, UnsoundRowError, require_sound
from shared.gallery.block import OF_ROWS, Constants, Shape
from shared.gallery.files import segment_path
from shared.gallery.match import quantise
from shared.gallery.segment import Segment, reserve, take_huge

_CODE_ROWS = 1024  # rows checked and coded between two writes
_MAX_AHEAD = 4  # batches written and not coded yet
_WRITE_BYTES = 16 << 20
_MAX_TEXT = 0xFFFF


@dataclass
class People:
    """Which person index a name has, and where texts lie, for the generation being written."""

    indices: dict[str, int] = field(default_factory=dict)
    users: dict[str, str | None] = field(default_factory=dict)
    count: int = 0  # indices given so far: that of a person who was wiped is nobody else's
    heap_used: int = 8  # offset 0 would read as "none"

    def by_index(self) -> tuple[list[str], list[str | None]]:
        """Name and user id of each index; of one that was wiped an empty name."""
        names = [""] * self.count
        users: list[str | None] = [None] * self.count
        for name, index in self.indices.items():
            names[index], users[index] = name, self.users[name]
        return names, users


def text_entry(text: str, offset: int) -> tuple[int, bytes]:
    """The `names` or `user_ids` entry of a text that lies at `offset` of the heap, and its bytes. Raises UnsoundRowError."""
    raw = text.encode()
    if len(raw) > _MAX_TEXT:
        raise UnsoundRowError("of somebody", f"a text of {len(raw)} bytes", f"at most {_MAX_TEXT}")
    return offset << 16 | len(raw), raw


class Building:
    """One generation's file, from its creation to `finish` or `discard`."""

    def __init__(self, run_dir: Path, constants: Constants, rows: int, progress: Callable[[], None]) -> None:
        """`constants` with a shape that has addresses for rows and not yet for people. `rows`: how many to have memory for.

        `progress` is called every few thousand rows. Raises OSError when there is no room.
        """
        self._path, self._constants = segment_path(run_dir, constants.generation), constants
        self._room_rows, self._progress = rows, progress
        self._layout, _ = constants.shape.layout()
        size_bytes = Shape(constants.shape.dim, rows, 0, 0).memory_bytes
        self._descriptor = Segment.begin(run_dir, constants.generation, size_bytes)
        take_huge(self._descriptor, *constants.shape.huge_span(0, rows))
        self._names: list[int] = []
        self._users: list[int] = []
        self._heap = bytearray(8)
        self.people = People()
        self.rows = 0

    def fill(self, batches: Any) -> None:
        """Write `batches` (iterable of Batch); a second thread writes and codes the references. Raises UnsoundRowError, OSError."""
        waiting: deque[Future[None]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="gallery-codes") as pool:
            for batch in batches:
                self._progress()
                waiting.append(pool.submit(self._write_references, self.rows, batch))
                self._write_rows(batch)
                while len(waiting) > _MAX_AHEAD or (waiting and waiting[0].done()):
                    waiting.popleft().result()
            self._reserve_rows()  # while the last references are written
            for one in waiting:
                one.result()

    def copy(self, old: Segment, live: NDArray[np.intp], names: Sequence[str], users: Sequence[str | None]) -> None:
        """Write rows `live` of `old` as they are. `names`, `users`: of each person index of `old`. Raises OSError."""
        persons = old.persons[live]
        used = np.flatnonzero(np.bincount(persons, minlength=len(names))).tolist()
        self.add_people([names[i] for i in used], [users[i] for i in used])
        index = np.full(len(names), -1, np.int32)
        index[used] = np.arange(len(used))
        self._write("persons", 0, index[persons])
        dense = len(live) == 0 or int(live[-1]) == len(live) - 1
        for section in OF_ROWS[:-1]:
            values = getattr(old, section)
            step = max(1, _WRITE_BYTES // values[:1].nbytes)
            for start in range(0, len(live), step):
                self._progress()
                rows = live[start : start + step]
                self._write(section, start, values[start : start + len(rows)] if dense else values[rows])
        self.rows = len(live)
        self._reserve_rows()

    def add_people(self, names: Sequence[str], users: Sequence[str | None]) -> list[int]:
        """The person index of each of `names`, new ones made; a person's user id is the last one given."""
        indices = self.people.indices
        found = [indices.get(name, -1) for name in names]
        if -1 in found:
            for name in dict.fromkeys(name for name, index in zip(names, found, strict=True) if index < 0):
                indices[name] = self.people.count
                self.people.count += 1
                self.people.users[name] = None
                self._names.append(self._add_text(name))
                self._users.append(0)
            found = [indices[name] for name in names]
        given = (
            {name: user for name, user in zip(names, users, strict=True) if user is not None}
            if set(users) != {None}
            else {}
        )
        for name, user in given.items():
            if self.people.users[name] != user:
                self.people.users[name] = user
                self._users[indices[name]] = self._add_text(user)
        return found

    @property
    def text_bytes(self) -> int:
        """How much of the heap is used."""
        return len(self._heap)

    def finish(self, people: int, heap: int, room: Shape) -> Segment:
        """The whole generation, mapped for writing, with addresses for so many people and bytes of text, and memory for `room`.

        Raises OSError.
        """
        shape = replace(self._constants.shape, people=people, heap=heap)
        self._layout, _ = shape.layout()
        self._write("names", 0, np.array(self._names, np.uint64))
        self._write("user_ids", 0, np.array(self._users, np.uint64))
        self._write("heap", 0, np.frombuffer(self._heap, np.uint8))
        sections = (
            ("names", len(self._names), room.people),
            ("user_ids", len(self._users), room.people),
            ("heap", self.text_bytes, room.heap),
        )
        for section, used, reserved in sections:
            reserve(self._descriptor, *shape.span(section, used, reserved))
        self.people.heap_used = self.text_bytes
        segment = Segment.finish(self._descriptor, replace(self._constants, shape=shape))
        os.close(self._descriptor)
        return segment

    def discard(self) -> None:
        """Leave nothing behind."""
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)

    def _add_text(self, text: str) -> int:
        entry, raw = text_entry(text, len(self._heap))
        self._heap += raw
        return entry

    def _write_rows(self, batch: Batch) -> None:
        self._write("row_ids", self.rows, np.array(batch.row_ids, np.int64))
        self._write("persons", self.rows, np.array(self.add_people(batch.names, batch.user_ids), np.int32))
        self.rows += len(batch.row_ids)

    def _write_references(self, row: int, batch: Batch) -> None:
        """Check, code and write the references of `batch` as rows from `row` on."""
        for start in range(0, len(batch.references), _CODE_ROWS):
            references = np.ascontiguousarray(batch.references[start : start + _CODE_ROWS], "<f4")
            require_sound(batch, start, references)
            codes, scales, errors = quantise(references)
            self._write("references", row + start, references)
            self._write("codes", row + start, codes)
            self._write("scales", row + start, scales)
            self._write("errors", row + start, errors)

    def _reserve_rows(self) -> None:
        """Reserve the room for rows behind those that there are."""
        for section in OF_ROWS:
            reserve(self._descriptor, *self._constants.shape.span(section, self.rows, self._room_rows))

    def _write(self, section: str, row: int, values: NDArray[Any]) -> None:
        if not values.size:
            return
        at = self._layout[section][0] + row * values[:1].nbytes
        raw = np.ascontiguousarray(values).data.cast("B")
        _write_all(self._descriptor, raw, at)


def _write_all(descriptor: int, raw: memoryview, at: int) -> None:
    while len(raw):
        written = os.pwrite(descriptor, raw, at)
        raw, at = raw[written:], at + written
