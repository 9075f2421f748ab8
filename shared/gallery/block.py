"""The gallery block: one writer, many readers, no lock on the read path, nothing ever torn.

Specification
-------------
The block's files lie in a folder of their own. It has mode 0700, and it is in the shared-memory folder (`/dev/shm` on Linux, the
site's `run` folder elsewhere; `$ROLLCALL_SHM_DIR` wins):

    rollcall-<site>-<token>/head            the head: which generation is current and how much of it is published
    rollcall-<site>-<token>/g<generation>   a segment: one generation of the gallery

<site> is the first 12 hex digits of SHA-256 of the real path of the run folder. <token> is 32 random hex digits, made by the writer
and kept in the run folder, where readers find it: as what the link `block` says, since a link needs no room on a full disk. Anybody
may write in `/dev/shm`. But nobody can guess the token before the folder is there, and nobody else can make, see or change a file
in the folder after. What others put beside it is passed over and never touched. Whoever opens a file goes through the folder,
follows no link, and takes it only when folder and file belong to the site's user, are open to nobody else, and the file is plain and has one name.

When a file is removed while the site runs, the writer notices within a second, says so, and publishes the gallery anew. Readers look
once a second whether their head is still the file of that name, and move on to the new one.

The files are mapped with mmap, not `multiprocessing.shared_memory`: before Python 3.13 that unlinks a segment when any process
that attached to it exits (cpython issue 82300).

Head: two slots of 64 bytes, at 0 and 64; slot `sequence % 2` is written, with one pwrite, so that a writer that dies in the
middle spoils at most the slot that nobody relies on yet. Readers take both with one pread and use the slot with the higher
sequence among those whose CRC holds; when one's does not, they look again, since the other may be older than what was told before
they looked: only what stays as it is was spoilt by a writer that died. Slot, little-endian:

    magic 8s | format u32 | moves u32 | sequence u64 | generation u64 | rows u64 | counts_from u64 | published_ns u64 | crc32 u32

`rows`: rows published. `counts_from`: rises before anything that was published is overwritten, `moves`: before rows that moved
leave their old places (rule 5). `published_ns`: wall clock, for people.

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

The capacities are addresses, not memory: they are many times what the generation begins with, the file is sparse, and memory is
reserved a few thousand rows at a time. So growth maps and copies nothing, and no reader notices it. Nobody loads what lies beyond
the published rows: even to load a hole of a file in shared memory takes memory.

From 2 MiB on the codes lie in huge pages of 2 MiB where the kernel has MADV_COLLAPSE (Linux 6.1 and later; it does not go by the settings
for transparent huge pages, but for "deny"): a scan of the codes then takes up to half the time, where memory is scattered, since a processor
neither looks up nor fetches ahead beyond the end of a page. For that every mapping begins at a multiple of 2 MiB, and the file is as much longer.

Who may write what, when
1.  Only the writer process writes, and it holds the site's file lock for its whole life. Readers map read-only.
2.  The constants are written last, once, when all else of a generation is built, and before the head names it.
3.  Rows, names and heap text are written beyond what is published, then published by raising `rows` in the head. Two things
    change in place, each one aligned store, which no processor tears: `persons[row]` to -1 (a deletion) and `user_ids[person]`
    (to text already in the heap). An update is an append and a deletion, in this order: a person is never without a reference in
    between. A reader can see the deletion before it knows the appended row; so whoever goes over the rows looks at the head
    again in the end, and goes over what was published meanwhile, too; a match need not where it met no dead row in play.
4.  Order between processes: Python has no memory fences, so what must be seen in order goes through a system call. The writer
    stores, then calls pwrite on the head; a reader calls pread on the head, then loads. A text is published like that before
    a published entry points at it. On ARM as on x86 the kernel's locks and page references on these two ways order the two.
5.  What was published is overwritten only where nobody may rely on it any more. Whatever a reader has read counts only if the
    head that it began with is no older than the `counts_from` of the head as read after it; else it reads again. So before the
    writer overwrites something, it says by `counts_from` which head told first that this is not relied on any more; and between
    that head and this it leaves a pause, in which readings that began before come to their end, so that hardly one is repeated.
    erase     dead rows and the texts of people without a row are wiped. Who begins with the head that told of their death, or a
              later one, meets them as dead, whatever they hold.
    compact   the last live rows are copied into dead ones (no reading counts of when these lived); the copies come alive (none
              of before the copies were whole); the originals die (none of before the copies lived); `rows` sinks and what
              lies beyond is wiped (none of when the originals lived); these places are used again (none of when there were more
              rows). In between a reference can be met twice, never not at all, and that is also how it stays when the writer
              dies there. Who reads the gallery in pieces, each of which counts or not by itself, starts over when `moves` has
              risen: what moved may have gone from where the reader was not yet to where it was already.
6.  When even the addresses run out, another model comes or another writer starts, the next generation is built beside the old
    one and the head then names it. Before, dead rows of the old one are wiped, and its `ended` is set to 1 more than the rows
    that it has in the end, so that rule 3 holds for who still reads it; after that it is not written any more. Its file is
    unlinked; its memory goes when the last reader lets go of its mapping, which takes a second thread: to free gigabytes takes
    longer than a frame. Nor does a reader fault in a large generation between two frames: a second thread touches it while the
    reader goes on with the old one, as it was when it was replaced, for tenths of a second at most. What was deleted before is
    dead there, too; what is deleted in those tenths of a second answers until they are over.
7.  A generation is built with pwrite, and memory is reserved with posix_fallocate before anybody stores through a mapping: a
    full /dev/shm is an error there, and not a SIGBUS later.

What a reader has read through the `rows` of some head, and what counts, is therefore whole and of one moment; a deletion
shows at the latest with the next refresh (but for rule 6); the writer can die anywhere and readers go on with what the head
last said.
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
