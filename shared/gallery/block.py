"""The gallery block: one writer, many readers, no lock on the read path, nothing ever torn.

Specification
-------------
Words. A *row* holds one reference, or one negative (see Segment). A row is *live* if it belongs to a person, and *dead* if it was
deleted. A *generation* is one file that holds the whole gallery. To *publish* is to write a new head. Readers find generations and new
rows only through the head. They can see a change in place (rule 3b) a moment before the head announces it. A *reading* is one pass of a
reader over rows: one match, or one piece of a listing or of a check.

Where the files are
    rollcall-<site>-<token>/head            the head: which generation is current, and how many of its rows are published
    rollcall-<site>-<token>/g<generation>   a segment: one generation of the gallery

The folder has mode 0700. It is in the shared-memory folder: `/dev/shm` on Linux, the site's `run` folder elsewhere. `$ROLLCALL_SHM_DIR`
overrides both. <site> is the first 12 hex digits of SHA-256 of the real path of the run folder. <token> is 32 random hex digits. The
writer makes the token and keeps it in the run folder, as the target of the link `block`; readers read it there. It is a link because a
link needs no room on a full disk.

Everybody may write in `/dev/shm`. So the token is random: nobody can guess the folder's name before the folder exists. And the folder
is private: nobody else can create, see or change a file in it. Files beside the folder are ignored. A process that opens a file of the
block goes through the folder and follows no link. It accepts the file only if all of this is true: folder and file belong to the site's
user; nobody else may open them; the file is a plain file with one name.

If a file is removed while the site runs, the writer notices within a second, logs it, and publishes the gallery anew. Readers check once
a second whether the head that they have open is still the file of that name. If it is not, they switch to the new one.

The files are mapped with mmap, not with `multiprocessing.shared_memory`: before Python 3.13 that unlinks a segment when any process
that attached to it exits (cpython issue 82300).

Head
    Two slots of 128 bytes, at offsets 0 and 128. The writer writes slot `sequence % 2` with one pwrite. A writer that dies in the middle
    damages only that slot; the other one stays valid. A reader reads both slots with one pread. It uses the slot with the higher
    sequence among those whose CRC is right. If one CRC is wrong, the reader reads again: a slot that changes was being written; a slot
    that stays wrong was left by a dead writer. A slot, little-endian:

    magic 8s | format u32 | moves u32 | sequence u64 | generation u64 | rows u64 | counts_from u64 | published_ns u64
    | references u64 | people u32 | comparisons u32 | anchor f64 | broad_anchor f64 | crc32 u32

    sequence      rises by 1 with each publication
    rows          how many rows are published
    counts_from   readings that began with a head before this sequence do not count (rule 5)
    moves         rises before moved rows leave their old places (rule 6)
    published_ns  wall clock, for people
    references, people, comparisons, anchor, broad_anchor
                  how alike the faces of different people are in the gallery as this head publishes it (gallery/tail.py); from it
                  follow the limits of the decision who is named

Segment
    A page of constants (magic, format, dim, generation, capacities, model, fingerprint, CRC; at offset 2048 `ended` u64, rule 7), then
    these sections, each at a multiple of 2 MiB, as struct of arrays:

    codes       int8    (rows, dim)   round(reference / scale); scanned by every match
    scales      float32 (rows,)       largest magnitude of the reference / 127; 0: the row was wiped
    errors      float32 (rows,)       upper bound of |reference - codes * scale|, L2
    references  float32 (rows, dim)   unit L2 norm; for exact scores
    row_ids     int64   (rows,)       embeddings.id in SQLite
    persons     int32   (rows,)       index into `names`, or -1: the row is dead
    names       uint64  (people,)     heap offset << 16 | length in bytes; 0: this person was wiped
    user_ids    uint64  (people,)     as `names`; 0: this person has no user id
    heap        uint8                 UTF-8 text, never moved

    A *negative* is the face of a sighting that was judged wrong. It is a row like any other: it is scanned, published, deleted, moved and
    wiped as a reference is. Two things make it a negative. Its row id is -2^62 minus the sighting's id; ids of references have at most 53
    bits. And the text of its person begins with a NUL character, which no name can have: NUL alone stands for all faces that compete with
    everybody, NUL and a name for the faces that compete with that person only. Such a person has no user id. Readers never return one:
    the match says for each person how high their rival scores, and listings and counts leave negatives out.

    Capacities are address space, not memory. They are many times what the generation starts with. The file is sparse, and the writer
    reserves memory for a few thousand rows at a time. So growth maps nothing and copies nothing, and readers do not notice it. Nobody
    reads beyond the published rows, because reading a hole of a file in shared memory allocates memory.

    Codes of 2 MiB and more use huge pages of 2 MiB, if the kernel has MADV_COLLAPSE (Linux 6.1 and later; of the settings for
    transparent huge pages only "deny" prevents it). Where memory is fragmented, a scan of the codes then takes as little as half the
    time: at the end of each page a processor stops prefetching and has to translate an address. Huge pages need a mapping that begins
    at a multiple of 2 MiB. So every mapping begins at one, and the file is 2 MiB longer than its sections, to have room for the shift.

Who may write what, and when
1.  One writer. Only the writer process writes, and it holds the site's file lock for its whole life. Readers map read-only. So no two
    writers can meet, and no reader can do damage.
2.  A generation appears whole. The writer writes the constants once, after everything else in the generation and before the head names
    it. A file without constants is no segment.
3.  A change is an append or one aligned store.
    a. Rows, names and heap text are written behind the published ones. Then a higher `rows` in the head publishes them.
    b. Two values change in place, each with one aligned store, which no processor tears: `persons[row]` becomes -1 (a deletion), and
       `user_ids[person]` points to a text that is already in the heap.
    c. An update appends the new row first and deletes the old one then, so that a person is never without a reference.
    d. A reader can see the deletion of c before it knows the new row. So it reads the rows, reads the head again, and then reads the
       rows published in between. A match that met no dead row can skip this: no person is missing.
4.  Order between processes. Python has no memory fences, so whatever must be seen in order goes through a system call. The writer
    stores, then calls pwrite on the head. A reader calls pread on the head, then loads. A text is published in this way before a
    published entry points at it. On ARM and on x86, the locks and page references in the kernel's pwrite and pread keep this order.
5.  Overwriting. Apart from rule 3b, published bytes are overwritten only when no reading that counts can depend on them.
    a. A reader reads the head, reads the rows, and reads the head again. The reading counts if the first head's sequence is not below
       the second head's `counts_from`. If it is below, the reader reads everything again.
    b. Before the writer overwrites bytes, it publishes a head. The `counts_from` in it is the sequence of the first head whose readers
       do not use these bytes.
    c. Before b the writer pauses, so that most readings that began earlier finish in time and few are repeated.
6.  What is overwritten.
    Erase wipes dead rows, the texts of people who have no live row, and former user ids. A reading that begins with the head that
    announced the death or the new user id, or with a later head, uses none of these, whatever they hold.
    Compact moves live rows into the places of dead ones. Before each step `counts_from` is raised (rule 5), so that a reading that began
    before the previous step was published is repeated. Before step 1 these are the readings that began before the deaths were published.
       1. copy the last live rows into the places of dead rows; the copies still count as dead;
       2. make the copies live;
       3. raise `moves`, and make the originals dead;
       4. lower `rows`, and wipe what lies beyond;
       5. use these places again.
    Between 2 and 3 a reference is there twice, but never not at all. It stays twice if the writer dies there. A reader that reads the
    gallery in pieces, each of which counts by itself, starts again when `moves` has risen: a row may have moved from a piece not yet
    read into one already read. Each piece begins where the one before it ended, not where that was meant to end: step 4 can lower
    `rows` meanwhile, and new rows then come into the places between.
7.  Replacing a generation. A new generation is built beside the old one when the capacity is used up, when another model comes, or
    when another writer starts.
    a. The dead rows of the old generation are wiped, because readers may use it for a while.
    b. Its `ended` is set to the number of its rows plus 1 (0: not ended). These readers still need the number of rows for rule 3d, and
       the head soon has that of the new generation.
    c. The head names the new generation. The old one is not written any more, and its file is unlinked. Its memory is freed when the
       last reader unmaps it.
    d. A reader unmaps in a second thread, because freeing gigabytes takes longer than the time between two pictures. A second thread
       also touches the pages of a large new generation. Meanwhile the reader uses the old one: for some tenths of a second, at most
       5 s. Rows deleted before step c are dead in the old one, too. Rows deleted after step c still match until the reader switches.
8.  Memory before stores. A generation is built with pwrite, and memory is reserved with posix_fallocate before anybody stores through a
    mapping. So a full /dev/shm is an error at that point, and not a SIGBUS later.

In short: a reading that counts misses nobody who is live from its beginning to its end. A change made meanwhile may be in it or not. A
deletion is visible at the latest with the next refresh (except as in rule 7d). The writer can die at any point, and readers go on with
what the head named last.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import ConfigurationError
from shared.gallery.tail import Tail

FORMAT = 4
_PAGE = 4096
HUGE_PAGE = 2 << 20
_HEAD_MAGIC = b"RCHEAD\0\0"
SEGMENT_MAGIC = b"RCBLOCK\0"
_SLOT = struct.Struct("<8sII5QQIIddI")
_SLOT_SIZE = 128
HEAD_SIZE = 2 * _SLOT_SIZE
MAX_TEXT_BYTES = 0xFFFF  # of a name or a user id: 16 bits of its entry hold the length
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
    """The contents of one head slot; the module's specification explains each field."""

    sequence: int
    generation: int
    rows: int
    counts_from: int
    moves: int
    published_ns: int
    tail: Tail

    @property
    def offset(self) -> int:
        """Where its slot begins."""
        return self.sequence % 2 * _SLOT_SIZE

    def pack(self) -> bytes:
        """The slot's 128 bytes."""
        body = _SLOT.pack(
            _HEAD_MAGIC,
            FORMAT,
            self.moves,
            self.sequence,
            self.generation,
            self.rows,
            self.counts_from,
            self.published_ns,
            *self.tail,
            0,
        )[:-4]
        return (body + struct.pack("<I", zlib.crc32(body))).ljust(_SLOT_SIZE, b"\0")


def _whole(size_bytes: int, page: int) -> int:
    return -(-size_bytes // page) * page


def _bytes_of(section: str, dims: tuple[int, ...]) -> int:
    return int(np.prod(dims, dtype=np.int64)) * _DTYPES[section].itemsize


@dataclass(frozen=True)
class Shape:
    """Sizes of a segment: its capacities, its reserved memory, or its used part. `rows` and `people` are counts, `heap` is bytes."""

    dim: int
    rows: int
    people: int
    heap: int

    @property
    def memory_bytes(self) -> int:
        """How much memory a segment of this size takes."""
        return _PAGE + sum(_whole(_bytes_of(name, dims), _PAGE) for name, dims in self._dims().items())

    def layout(self) -> tuple[dict[str, tuple[int, tuple[int, ...]]], int]:
        """Each section's offset in bytes and array shape; and how many bytes of addresses a segment with these capacities takes."""
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
        """Where entries `start` to `stop` (exclusive) of a section begin and end, in bytes from the segment's start."""
        offset, (_, *dims) = self.layout()[0][section]
        entry = int(np.prod(dims, dtype=np.int64)) * _DTYPES[section].itemsize
        return offset + start * entry, offset + stop * entry

    def huge_span(self, start: int, stop: int) -> tuple[int, int]:
        """Which huge pages of the codes are first used with rows `start` to `stop` (exclusive): where they begin and end, in bytes.

        Begin and end are equal, so that there are none, while all codes fit into less than one huge page.
        """
        first, _ = self.span("codes", 0, 0)
        begin, end = self.span("codes", start, stop)
        if end - first < HUGE_PAGE:
            return begin, begin
        return _whole(begin, HUGE_PAGE), _whole(end, HUGE_PAGE)


@dataclass(frozen=True)
class Constants:
    """The constants at the start of a segment. They are written once and never change. Only `ended`, in the same page, does (rule 7b)."""

    generation: int
    shape: Shape
    model: str
    fingerprint: str

    def pack(self) -> bytes:
        """The bytes of the constants, with their CRC. Model and fingerprint are cut at 128 and 64 bytes."""
        shape, named = self.shape, (self.model.encode()[:128], self.fingerprint.encode()[:64])
        sizes = (shape.dim, self.generation, shape.rows, shape.people, shape.heap)
        packed = CONSTANTS.pack(SEGMENT_MAGIC, FORMAT, *sizes, *named)
        return packed + struct.pack("<I", zlib.crc32(packed))


def other_format(version: int, where: str = "") -> ConfigurationError:
    """The error for a block that another version of Rollcall made."""
    return ConfigurationError(
        "the gallery block has another format version",
        where=where,
        got=version,
        expected=str(FORMAT),
        remedy="stop the other Rollcall version on this data_dir, then start again",
    )


def damaged_segment(path: Path) -> ConfigurationError:
    """The error for a segment whose constants or size are wrong."""
    return ConfigurationError("the gallery block is damaged", where=str(path), remedy="restart the site")


def parse_head(raw: bytes) -> Head | None:
    """The slot of `raw` (256 bytes) with the highest sequence among those whose CRC is right; None if neither is.

    Raises ConfigurationError for a head of another format version.
    """
    best: Head | None = None
    other: int | None = None
    for start in (0, _SLOT_SIZE):
        slot = raw[start : start + _SLOT.size]
        if len(slot) < _SLOT.size:
            continue
        magic, version, moves, sequence, generation, rows, counts_from, published_ns, *tail, _ = _SLOT.unpack(slot)
        if magic != _HEAD_MAGIC:
            continue
        if version != FORMAT:  # its CRC is not where ours is
            other = version
        elif _crc_holds(slot) and (best is None or sequence > best.sequence):
            best = Head(sequence, generation, rows, counts_from, moves, published_ns, Tail(*tail))
    if best is None and other is not None:
        raise other_format(other)
    return best


def is_whole(raw: bytes) -> bool:
    """Whether the CRC of both slots of a head is right. A slot that was never written counts as right."""
    slots = [raw[start : start + _SLOT.size] for start in (0, _SLOT_SIZE)]
    return all(not any(slot) or _crc_holds(slot) for slot in slots)


def _crc_holds(slot: bytes) -> bool:
    return slot[-4:] == struct.pack("<I", zlib.crc32(slot[:-4]))


def text_span(entry: int) -> slice:
    """Where in the heap the text of a `names` or `user_ids` entry lies."""
    offset, length = entry >> 16, entry & 0xFFFF
    return slice(offset, offset + length)
