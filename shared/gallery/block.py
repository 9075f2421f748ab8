"""The gallery block: one writer, many readers, no lock on the read path, nothing ever torn.

Specification
-------------
The block's files lie in a folder of their own. It has mode 0700, and it is in the shared-memory folder (`/dev/shm` on Linux, the
site's `run` folder elsewhere; `$ROLLCALL_SHM_DIR` wins):

    rollcall-<site>-<token>/head            the head: which generation is current and how much of it is published
    rollcall-<site>-<token>/g<generation>   a segment: one generation of the gallery

<site> is the first 12 hex digits of SHA-256 of the real path of the run folder. <token> is 32 random hex digits. The writer makes it
and keeps it in the run folder, as the target of the link `block`: a link needs no room on a full disk. Readers find it there.

Anybody may write in `/dev/shm`. Nobody can guess the token before the folder exists, and nobody else can create, see or change a file in
the folder. Other files beside the folder are ignored. A process that opens a file of the block goes through the folder and follows no
link. It accepts the file only if folder and file belong to the site's user, nobody else may open them, and the file is a plain file with
one name.

If a file is removed while the site runs, the writer notices within a second, logs it, and publishes the gallery anew. Readers check once a
second whether their head is still the file of that name, and switch to the new one.

The files are mapped with mmap, not with `multiprocessing.shared_memory`: before Python 3.13 that unlinks a segment when any process
that attached to it exits (cpython issue 82300).

Head: two slots of 64 bytes, at offsets 0 and 64. The writer writes slot `sequence % 2` with one pwrite. A writer that dies in the middle
damages only that slot; the other one stays valid. A reader reads both slots with one pread. It uses the slot with the higher sequence
among those whose CRC is right. If one CRC is wrong, the reader reads again: a slot that changes was being written; a slot that stays
wrong was left by a dead writer. A slot, little-endian:

    magic 8s | format u32 | moves u32 | sequence u64 | generation u64 | rows u64 | counts_from u64 | published_ns u64 | crc32 u32

`rows`: how many rows are published. `counts_from`: is raised before published bytes are overwritten. `moves`: is raised before rows that
were moved leave their old places (both: rule 5). `published_ns`: wall clock, for people.

Segment: a page of constants (magic, format, dim, generation, capacities, model, fingerprint, CRC; at 2048 `ended` u64, rule 6),
then sections, each at a multiple of 2 MiB, as struct of arrays:

    codes       int8    (rows, dim)   round(reference / scale); scanned by every match
    scales      float32 (rows,)       largest magnitude of the reference / 127; 0: the row was wiped
    errors      float32 (rows,)       upper bound of |reference - codes * scale|, L2
    references  float32 (rows, dim)   unit L2 norm; exact scores
    row_ids     int64   (rows,)       embeddings.id in SQLite
    persons     int32   (rows,)       index into `names`, or -1: the row is dead
    names       uint64  (people,)     heap offset << 16 | length in bytes; 0: this person was wiped
    user_ids    uint64  (people,)     the same; 0 is "none"
    heap        uint8                 UTF-8 text, never moved

Capacities are address space, not memory. They are many times what the generation starts with. The file is sparse, and memory is reserved
a few thousand rows at a time. So growth maps nothing and copies nothing, and readers do not notice it. Nobody reads beyond the published
rows: reading a hole of a file in shared memory allocates memory.

From 2 MiB on the codes use huge pages of 2 MiB, if the kernel has MADV_COLLAPSE (Linux 6.1 and later; of the settings for transparent huge
pages only "deny" prevents it). A scan of the codes then takes up to half the time where memory is fragmented, because a processor neither
translates addresses nor prefetches beyond the end of a page. For this every mapping begins at a multiple of 2 MiB, and the file is
longer by that much.

Who may write what, when
1.  Only the writer process writes, and it holds the site's file lock for its whole life. Readers map read-only.
2.  The constants are written last, once, when all else of a generation is built, and before the head names it.
3.  Rows, names and heap text are written behind the published ones, then published by raising `rows` in the head. Two things
    change in place, each with one aligned store, which no processor tears: `persons[row]` becomes -1 (a deletion), and
    `user_ids[person]` points to text that is already in the heap. An update appends first and deletes then, so that a person is
    never without a reference. A reader can see the deletion before it knows the appended row. So a reader that goes over the rows
    reads the head again at the end, and then goes over the rows published meanwhile. A match that met no dead row can skip this.
4.  Order between processes: Python has no memory fences, so whatever must be seen in order goes through a system call. The writer
    stores, then calls pwrite on the head. A reader calls pread on the head, then loads. A text is published in this way before a
    published entry points at it. On ARM and on x86 the kernel's locks and page references on these two paths order the two.
5.  Published bytes are overwritten only when no reader can depend on them. The rule for a reader: read the head, read the rows, read
    the head again. The reading counts if the first head's sequence is not below the second head's `counts_from`; if it is below, read
    again. So before the writer overwrites something, it sets `counts_from` to the sequence of the head from which on nobody depends
    on it. Before that it pauses, so that most readings that began earlier end in time and few are repeated.
    erase     wipes dead rows, and the texts of people without a row. A reading that begins with the head that announced the death, or a
              later one, skips these rows whatever they hold.
    compact   has these steps; before each of 2 to 5 `counts_from` is raised, so that a reading that began earlier is repeated:
              1. copy the last live rows into the places of dead rows; 2. make the copies live; 3. make the originals dead; 4. lower
              `rows` and wipe what lies beyond; 5. use these places again. In between a reference can be found twice, but never not at
              all, and it stays so if the writer dies there. A reader that reads the gallery in pieces, each of which counts by
              itself, starts again when `moves` has risen: a row may have moved from a piece not yet read into one already read.
6.  A new generation is built beside the old one when the capacity is used up, when another model comes, or when another writer starts;
    then the head names it. Before that, the dead rows of the old generation are wiped, and its `ended` is set to the number of its
    rows plus 1, so that rule 3 holds for readers that still use it. Then it is not written any more. Its file is unlinked. Its memory
    is freed when the last reader unmaps it. A reader unmaps in a second thread, because freeing gigabytes takes longer than a
    frame. A second thread also touches the pages of a large new generation, while the reader goes on with the old one for some tenths
    of a second. Rows that were deleted before are dead in the old one, too. Rows deleted in those tenths of a second still match
    until the reader switches.
7.  A generation is built with pwrite, and memory is reserved with posix_fallocate before anybody stores through a mapping. So a full
    /dev/shm is an error there, and not a SIGBUS later.

In short: a reading that counts is complete and of one moment. A deletion is visible at the latest with the next refresh (except as in
rule 6). The writer can die at any point, and readers go on with what the head said last.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import ConfigurationError

FORMAT = 3
_PAGE = 4096
HUGE_PAGE = 2 << 20
_HEAD_MAGIC = b"RCHEAD\0\0"
SEGMENT_MAGIC = b"RCBLOCK\0"
_SLOT = struct.Struct("<8sII5QI")
_SLOT_SIZE = 64
HEAD_SIZE = 2 * _SLOT_SIZE
CONSTANTS = struct.Struct("<8sII4Q128s64s")
ENDED, ENDED_AT = struct.Struct("<Q"), 2048
SECTIONS = (
    ("codes", np.dtype(np.int8)),
    ("scales", np.dtype("<f4")),
    ("errors", np.dtype("<f4")),
    ("references", np.dtype("<f4")),
    ("row_ids", np.dtype("<i8")),
    ("persons", np.dtype("<i4")),
    ("names", np.dtype("<u8")),
    ("user_ids", np.dtype("<u8")),
    ("heap", np.dtype(np.uint8)),
)
OF_ROWS = ("codes", "scales", "errors", "references", "row_ids", "persons")
OF_PEOPLE = ("names", "user_ids")
_DTYPES: dict[str, np.dtype[Any]] = dict(SECTIONS)


@dataclass(frozen=True)
class Head:
    """What the head says; see the module's specification."""

    sequence: int
    generation: int
    rows: int
    counts_from: int
    moves: int
    published_ns: int

    def pack(self) -> bytes:
        body = _SLOT.pack(
            _HEAD_MAGIC,
            FORMAT,
            self.moves,
            self.sequence,
            self.generation,
            self.rows,
            self.counts_from,
            self.published_ns,
            0,
        )[:-4]
        return (body + struct.pack("<I", zlib.crc32(body))).ljust(_SLOT_SIZE, b"\0")


def _whole(size_bytes: int, page: int) -> int:
    return -(-size_bytes // page) * page


def _bytes_of(section: str, dims: tuple[int, ...]) -> int:
    return int(np.prod(dims, dtype=np.int64)) * _DTYPES[section].itemsize


@dataclass(frozen=True)
class Shape:
    """So much of each: `rows` and `people` are counts, `heap` is bytes. A segment's capacities, or how much memory is reserved."""

    dim: int
    rows: int
    people: int
    heap: int

    @property
    def memory_bytes(self) -> int:
        """How much memory it takes to have so much of each."""
        return _PAGE + sum(_whole(_bytes_of(name, dims), _PAGE) for name, dims in self._dims().items())

    def layout(self) -> tuple[dict[str, tuple[int, tuple[int, ...]]], int]:
        """Each section's offset and array shape, and the addresses in bytes that a segment with these capacities takes."""
        offset, placed = HUGE_PAGE, {}
        for name, dims in self._dims().items():
            placed[name] = (offset, dims)
            offset += _whole(_bytes_of(name, dims), HUGE_PAGE)
        return placed, offset

    def _dims(self) -> dict[str, tuple[int, ...]]:
        return {
            "codes": (self.rows, self.dim),
            "scales": (self.rows,),
            "errors": (self.rows,),
            "references": (self.rows, self.dim),
            "row_ids": (self.rows,),
            "persons": (self.rows,),
            "names": (self.people,),
            "user_ids": (self.people,),
            "heap": (self.heap,),
        }

    def span(self, section: str, start: int, stop: int) -> tuple[int, int]:
        """Where entries `start` to `stop` of a section begin and end, in bytes from the segment's start."""
        offset, (_, *dims) = self.layout()[0][section]
        entry = int(np.prod(dims, dtype=np.int64)) * _DTYPES[section].itemsize
        return offset + start * entry, offset + stop * entry

    def huge_span(self, start: int, stop: int) -> tuple[int, int]:
        """Where the whole 2 MiB of codes begin and end that are first used when rows `start` to `stop` are. A few rows have none."""
        first, _ = self.span("codes", 0, 0)
        begin, end = self.span("codes", start, stop)
        if end - first < HUGE_PAGE:
            return begin, begin
        return _whole(begin, HUGE_PAGE), _whole(end, HUGE_PAGE)


@dataclass(frozen=True)
class Constants:
    """What a segment says of itself, once and for all."""

    generation: int
    shape: Shape
    model: str
    fingerprint: str

    def pack(self) -> bytes:
        shape, named = self.shape, (self.model.encode()[:128], self.fingerprint.encode()[:64])
        sizes = (shape.dim, self.generation, shape.rows, shape.people, shape.heap)
        packed = CONSTANTS.pack(SEGMENT_MAGIC, FORMAT, *sizes, *named)
        return packed + struct.pack("<I", zlib.crc32(packed))


def other_format(version: int, where: str = "") -> ConfigurationError:
    return ConfigurationError(
        "the gallery block has another format version",
        where=where,
        got=version,
        expected=str(FORMAT),
        remedy="stop the other Rollcall version on this data_dir, then start again",
    )


def damaged_segment(path: Path) -> ConfigurationError:
    return ConfigurationError("the gallery block is damaged", where=str(path), remedy="restart the site")


def parse_head(raw: bytes) -> Head | None:
    """The newest whole slot of `raw` (128 bytes); None when there is none.

    Raises ConfigurationError for a head of another format version.
    """
    best: Head | None = None
    for start in (0, _SLOT_SIZE):
        slot = raw[start : start + _SLOT.size]
        if len(slot) < _SLOT.size:
            continue
        magic, version, moves, sequence, generation, rows, counts_from, published_ns, _ = _SLOT.unpack(slot)
        if magic != _HEAD_MAGIC or not _crc_holds(slot):
            continue
        if version != FORMAT:
            raise other_format(version)
        if best is None or sequence > best.sequence:
            best = Head(sequence, generation, rows, counts_from, moves, published_ns)
    return best


def is_whole(raw: bytes) -> bool:
    """Whether no slot of the head is spoilt, or was just being written."""
    slots = [raw[start : start + _SLOT.size] for start in (0, _SLOT_SIZE)]
    return all(not any(slot) or _crc_holds(slot) for slot in slots)


def _crc_holds(slot: bytes) -> bool:
    return slot[-4:] == struct.pack("<I", zlib.crc32(slot[:-4]))


def text_span(entry: int) -> slice:
    """Where in the heap the text of a `names` or `user_ids` entry lies."""
    offset, length = entry >> 16, entry & 0xFFFF
    return slice(offset, offset + length)
