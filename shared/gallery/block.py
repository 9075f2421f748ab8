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

import contextlib
import errno
import mmap
import os
import re
import secrets
import stat
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigurationError
from shared.files.run_folder import memory_folder, site_prefix

FORMAT = 3
_PAGE = 4096
HUGE_PAGE = 2 << 20
_MADV_COLLAPSE = 25  # asm-generic/mman-common.h; Python's mmap has no name for it
_COLLAPSE_TRIES = 3  # a page can be in somebody's hands for a moment
_LET_GO_BYTES = 8 << 20
_NAMED_IN = "block"  # in the run folder
_TOKEN = re.compile(r"[0-9a-f]{32}")
_HEAD_MAGIC = b"RCHEAD\0\0"
_SEGMENT_MAGIC = b"RCBLOCK\0"
_SLOT = struct.Struct("<8sII5QI")
_SLOT_SIZE = 64
HEAD_SIZE = 2 * _SLOT_SIZE
_CONSTANTS = struct.Struct("<8sII4Q128s64s")
_ENDED, _ENDED_AT = struct.Struct("<Q"), 2048
_SECTIONS = (
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
_DTYPES: dict[str, np.dtype[Any]] = dict(_SECTIONS)


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
        packed = _CONSTANTS.pack(_SEGMENT_MAGIC, FORMAT, *sizes, *named)
        return packed + struct.pack("<I", zlib.crc32(packed))


def _other_format(version: int, where: str = "") -> ConfigurationError:
    return ConfigurationError(
        "the gallery block has another format version",
        where=where,
        got=version,
        expected=str(FORMAT),
        remedy="stop the other Rollcall version on this data_dir, then start again",
    )


def _damaged(path: Path) -> ConfigurationError:
    return ConfigurationError("the gallery block is damaged", where=str(path), remedy="restart the site")


def shm_folder(run_dir: Path) -> Path:
    """Where the block's files lie for the site with this run folder."""
    return memory_folder() or run_dir


def block_folder(run_dir: Path) -> Path:
    """The folder of the site's block. Raises FileNotFoundError when there is none."""
    link = run_dir / _NAMED_IN
    try:
        token = str(link.readlink())
    except OSError as error:
        if error.errno == errno.EINVAL:  # no link
            raise _not_ours(link) from error
        raise
    if link.lstat().st_uid not in (os.geteuid(), run_dir.stat().st_uid):
        raise _not_ours(link)
    if not _TOKEN.fullmatch(token):
        raise FileNotFoundError(errno.ENOENT, "no token of a gallery block", str(run_dir / _NAMED_IN))
    return shm_folder(run_dir) / f"{site_prefix(run_dir)}{token}"


def new_block_folder(run_dir: Path) -> Path:
    """Make a folder for the site's block, and say in the run folder which. Only for the writer. Raises OSError."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    folder = shm_folder(run_dir) / f"{site_prefix(run_dir)}{token}"
    folder.mkdir(mode=0o700)
    half = run_dir / f".{_NAMED_IN}.new"
    half.unlink(missing_ok=True)
    half.symlink_to(token)
    half.replace(run_dir / _NAMED_IN)
    return folder


def forget_block_folder(run_dir: Path) -> None:
    """The site has no block any more. Where the disk has become read-only the link stays, and leads nowhere."""
    try:
        (run_dir / _NAMED_IN).unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise


def head_path(run_dir: Path) -> Path:
    return block_folder(run_dir) / "head"


def segment_path(run_dir: Path, generation: int) -> Path:
    return block_folder(run_dir) / f"g{generation}"


def is_ours(found: os.stat_result, run_dir: Path) -> bool:
    """Whether a file or folder belongs to the site's user, and nobody else may write or read it."""
    return found.st_uid in (os.geteuid(), run_dir.stat().st_uid) and not found.st_mode & 0o077


def open_ours(run_dir: Path, path: Path, flags: int) -> int:
    """A descriptor of a file of the block. Raises FileNotFoundError when it is not there, or not ours; OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not is_ours(os.fstat(folder), run_dir):
            raise _not_ours(path.parent)
        # Without O_NONBLOCK the opening of a FIFO would wait for somebody at its other end.
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(path.name, flags, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a FIFO
                raise _not_ours(path) from error
            error.filename = str(path)
            raise
    finally:
        os.close(folder)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or not is_ours(found, run_dir):
        os.close(descriptor)
        raise _not_ours(path)
    return descriptor


def _not_ours(path: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "there is a file that the site's writer did not make", str(path))


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
            raise _other_format(version)
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


def read_head(run_dir: Path) -> Head | None:
    """The current head, or None when this site has no block."""
    try:
        descriptor = open_ours(run_dir, head_path(run_dir), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return parse_head(os.pread(descriptor, HEAD_SIZE, 0))
    finally:
        os.close(descriptor)


class Segment:
    """One mapped generation. The arrays are views into the mapping; `close` needs every borrowed view gone."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    errors: NDArray[np.float32]
    references: NDArray[np.float32]
    row_ids: NDArray[np.int64]
    persons: NDArray[np.int32]
    names: NDArray[np.uint64]
    user_ids: NDArray[np.uint64]
    heap: NDArray[np.uint8]

    def __init__(self, mapping: mmap.mmap, constants: Constants) -> None:
        self._mapping = mapping
        self.constants, self.shape, self.generation = constants, constants.shape, constants.generation
        self._size_bytes = len(mapping)
        placed, _ = self.shape.layout()
        for name, dtype in _SECTIONS:
            offset, dims = placed[name]
            count = int(np.prod(dims, dtype=np.int64))
            setattr(self, name, np.frombuffer(mapping, dtype, count, offset).reshape(dims))

    @staticmethod
    def begin(run_dir: Path, generation: int, size_bytes: int) -> int:
        """The descriptor of a new segment's file, empty. Raises OSError when there is no room for `size_bytes`."""
        path = segment_path(run_dir, generation)
        found = os.statvfs(path.parent)
        if found.f_blocks and found.f_bavail * found.f_frsize < size_bytes:  # no blocks: a file system without a limit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return open_ours(run_dir, path, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    @classmethod
    def finish(cls, descriptor: int, constants: Constants) -> Segment:
        """Write the constants, which make a file a segment, and map it for writing; what is in it has its memory by now."""
        _, addresses = constants.shape.layout()
        os.ftruncate(descriptor, addresses + HUGE_PAGE)
        mapping = _mapped(descriptor, addresses, mmap.PROT_READ | mmap.PROT_WRITE)
        os.pwrite(descriptor, constants.pack(), 0)
        return cls(mapping, constants)

    @classmethod
    def attach(cls, run_dir: Path, generation: int) -> Segment:
        """Map a published generation read-only. Raises FileNotFoundError when it is gone, ConfigurationError when unfit."""
        path = segment_path(run_dir, generation)
        descriptor = open_ours(run_dir, path, os.O_RDONLY)
        try:
            constants = _constants(descriptor, path)
            _, addresses = constants.shape.layout()
            if constants.generation != generation or os.fstat(descriptor).st_size != addresses + HUGE_PAGE:
                raise _damaged(path)
            return cls(_mapped(descriptor, addresses, mmap.PROT_READ), constants)
        finally:
            os.close(descriptor)

    def reserve(self, run_dir: Path, old: Shape, room: Shape) -> None:
        """Have memory for `room` where there is some for `old`. Raises OSError when there is no room."""
        descriptor = open_ours(run_dir, segment_path(run_dir, self.generation), os.O_RDWR)
        try:
            take_huge(descriptor, *self.shape.huge_span(old.rows, room.rows))
            for sections, start, stop in (
                (OF_ROWS, old.rows, room.rows),
                (OF_PEOPLE, old.people, room.people),
                (("heap",), old.heap, room.heap),
            ):
                for section in sections:
                    reserve(descriptor, *self.shape.span(section, start, stop))
        finally:
            os.close(descriptor)

    @staticmethod
    def end(run_dir: Path, generation: int, rows: int) -> None:
        """Say in a generation that is about to be replaced how many rows it has in the end; nothing where it is gone."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = open_ours(run_dir, segment_path(run_dir, generation), os.O_WRONLY)
            try:
                os.pwrite(descriptor, _ENDED.pack(rows + 1), _ENDED_AT)
            finally:
                os.close(descriptor)

    @property
    def ended(self) -> int | None:
        """How many rows it had in the end; None while it is not replaced, or was by somebody who did not find it any more."""
        (after,) = _ENDED.unpack_from(self._mapping, _ENDED_AT)
        return after - 1 if after else None

    def text(self, reference: int) -> str | None:
        """The heap text that a `names` or `user_ids` entry points at; one that is wiped meanwhile can be any text."""
        if reference == 0:
            return None
        return self.heap[text_span(reference)].tobytes().decode("utf-8", "replace")

    def let_go(self) -> None:
        """As `close`, in small steps: one munmap of gigabytes holds up every thread that asks for memory meanwhile."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for start in range(0, self._size_bytes, _LET_GO_BYTES):
                self._mapping.madvise(mmap.MADV_DONTNEED, start, min(_LET_GO_BYTES, self._size_bytes - start))
        self.close()

    def close(self) -> None:
        """Let go of the mapping; memory of an unlinked generation is free once every holder has done so."""
        for name, _ in _SECTIONS:
            setattr(self, name, np.empty(0))
        with contextlib.suppress(BufferError):  # somebody still holds a view: the mapping goes with it
            self._mapping.close()


def _mapped(descriptor: int, addresses: int, prot: int) -> mmap.mmap:
    """A mapping that begins at a multiple of 2 MiB, where the system has it so. The file is longer by as much."""
    mapping = mmap.mmap(descriptor, addresses, prot=prot)
    over = np.frombuffer(mapping, np.uint8, 1).ctypes.data % HUGE_PAGE
    if over:  # the kernel places mappings downwards: one that is so much longer begins so much lower
        mapping.close()
        mapping = mmap.mmap(descriptor, addresses + over, prot=prot)
    return mapping


def take_huge(descriptor: int, start: int, stop: int) -> None:
    """Have huge pages for the whole 2 MiB from `start` to `stop`, in which there is no page yet.

    Where there are none to be had, small ones do, and whoever reserves the memory hears of it when there are not even those.
    """
    if stop <= start or sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        for at in range(start, stop, HUGE_PAGE):
            os.pwrite(descriptor, b"\0", at)  # of 2 MiB without any page the kernel makes none
        os.ftruncate(descriptor, max(os.fstat(descriptor).st_size, stop + HUGE_PAGE))
        with _mapped(descriptor, stop, mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
            for _ in range(_COLLAPSE_TRIES):
                try:
                    mapping.madvise(_MADV_COLLAPSE, start, stop - start)  # in one call: each waits for all processors
                    return
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.EBUSY):
                        raise


def reserve(descriptor: int, start: int, stop: int) -> None:
    """Have memory for bytes `start` to `stop` of a segment's file. Raises OSError when there is no room."""
    if stop > start and hasattr(os, "posix_fallocate"):  # macOS has none: the folder is on disk there
        os.posix_fallocate(descriptor, start, stop - start)


def _constants(descriptor: int, path: Path) -> Constants:
    """What an open segment says of itself. Raises ConfigurationError when it is none, of another format version, or damaged."""
    raw = os.pread(descriptor, _CONSTANTS.size + 4, 0)
    if len(raw) < _CONSTANTS.size + 4 or raw[:8] != _SEGMENT_MAGIC:
        raise ConfigurationError(
            "is not a gallery block", where=str(path), remedy="remove the file and restart the site"
        )
    (version,) = struct.unpack_from("<I", raw, 8)
    if version != FORMAT:
        raise _other_format(version, str(path))
    if raw[_CONSTANTS.size :] != struct.pack("<I", zlib.crc32(raw[: _CONSTANTS.size])):
        raise _damaged(path)
    _, _, dim, generation, rows, people, heap, model, fingerprint = _CONSTANTS.unpack(raw[: _CONSTANTS.size])
    named = (model.rstrip(b"\0").decode(), fingerprint.rstrip(b"\0").decode())
    return Constants(generation, Shape(dim, rows, people, heap), *named)
