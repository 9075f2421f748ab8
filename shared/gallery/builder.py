"""Builds a generation of the gallery block. Everything is written through the file's descriptor, in bulk, and mapped at the end.

Storing through a fresh mapping causes a page fault at every 4 KiB, which is six times slower than pwrite of the same bytes. And a
pwrite that finds no room is an error, not a SIGBUS. The room for the first growth is not written, so it is reserved before the mapping.

The number of rows is known at the beginning. The number of people and the length of their names are known at the end; so these
sections lie at the end of the file.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch, UnsoundRowError, require_sound
from shared.gallery.block import MAX_TEXT_BYTES, OF_ROWS, Constants, Shape
from shared.gallery.files import segment_path
from shared.gallery.match import quantise
from shared.gallery.segment import Segment, reserve, take_huge

_CODE_ROWS = 1024  # rows checked and quantised between two writes
_MAX_AHEAD = 4  # batches whose rows are written, and whose references are not
_WRITE_BYTES = 16 << 20


@dataclass
class People:
    """The people of a generation, on the writer's side: index and user id by name, and how much of the heap is used."""

    indices: dict[str, int] = field(default_factory=dict)
    users: dict[str, str | None] = field(default_factory=dict)
    count: int = 0  # indices given so far; the index of a wiped person is not given again
    heap_used: int = 8  # in bytes; it starts behind offset 0, because entry 0 means "none"

    def by_index(self) -> tuple[list[str], list[str | None]]:
        """The name and the user id of each person index. A wiped person's name is empty."""
        names = [""] * self.count
        users: list[str | None] = [None] * self.count
        for name, index in self.indices.items():
            names[index], users[index] = name, self.users[name]
        return names, users


def text_entry(text: str, offset: int) -> tuple[int, bytes]:
    """The `names` or `user_ids` entry for a text at `offset` of the heap, and the text's bytes.

    Raises UnsoundRowError for a text of more than 65,535 bytes.
    """
    raw = text.encode()
    if len(raw) > MAX_TEXT_BYTES:
        raise UnsoundRowError("of somebody", f"a text of {len(raw)} bytes", f"at most {MAX_TEXT_BYTES}")
    return offset << 16 | len(raw), raw


class Building:
    """One generation's file, from its creation to `finish` or `discard`."""

    def __init__(self, run_dir: Path, constants: Constants, rows: int, progress: Callable[[], None]) -> None:
        """Create the file.

        `constants`: with a shape that has addresses for rows, and none yet for people. `rows`: for how many rows to reserve memory.
        `progress` is called every few thousand rows. Raises OSError if there is no room.
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

    def fill(self, batches: Iterable[Batch]) -> None:
        """Write `batches`. A second thread quantises and writes the references.

        Raises UnsoundRowError for a row that must not be published, OSError if there is no room.
        """
        waiting: deque[Future[None]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="gallery-codes") as pool:
            for batch in batches:
                self._progress()
                waiting.append(pool.submit(self._write_references, self.rows, batch))
                self._write_rows(batch)
                while len(waiting) > _MAX_AHEAD or (waiting and waiting[0].done()):
                    waiting.popleft().result()
            self._reserve_rows()  # while the last references are written
            for written in waiting:
                written.result()

    def copy(self, old: Segment, live: NDArray[np.intp], names: Sequence[str], users: Sequence[str | None]) -> None:
        """Write the rows with the indices `live` (n,) of `old`, unchanged. Raises OSError.

        `names` and `users`: the name and user id of each person index of `old`.
        """
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
        """The person index of each of `names`; a new name gets a new index. A person's user id becomes the last one given."""
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
        """How many bytes of the heap are used."""
        return len(self._heap)

    def finish(self, people: int, heap: int, room: Shape) -> Segment:
        """Complete the generation and return it, mapped for writing. Raises OSError if there is no room.

        It gets addresses for `people` people and `heap` bytes of text, and reserved memory for `room`.
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
        """Check, quantise and write the references of `batch`, from row `row` on."""
        for start in range(0, len(batch.references), _CODE_ROWS):
            references = np.ascontiguousarray(batch.references[start : start + _CODE_ROWS], "<f4")
            require_sound(batch, start, references)
            codes, scales, errors = quantise(references)
            self._write("references", row + start, references)
            self._write("codes", row + start, codes)
            self._write("scales", row + start, scales)
            self._write("errors", row + start, errors)

    def _reserve_rows(self) -> None:
        """Reserve the memory for growth behind the rows that were written."""
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
