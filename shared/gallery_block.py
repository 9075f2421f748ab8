"""The gallery block: one writer, many readers, no lock on the read path, nothing ever torn.

Specification
-------------
Two kinds of file lie in the shared-memory folder (`/dev/shm` on Linux, the site's `run` folder elsewhere; `$ROLLCALL_SHM_DIR`
wins), all named `rollcall-<site>-…`, where <site> is the first 12 hex digits of SHA-256 of the real path of the run folder:

    rollcall-<site>-head            the head: which generation is current and how much of it is published
    rollcall-<site>-g<generation>   a segment: one generation of the gallery

They are plain files with mode 0600, mapped with mmap, not `multiprocessing.shared_memory`: before Python 3.13 that unlinks a
segment when any process that attached to it exits (cpython issue 82300).

Head: two slots of 64 bytes, at 0 and 64; slot `sequence % 2` is written, with one pwrite, so that a writer that dies in the
middle spoils at most the slot that nobody relies on yet. Readers take both with one pread and use the slot with the higher
sequence among those whose CRC holds. Slot, little-endian:

    magic 8s | format u32 | reserved u32 | sequence u64 | generation u64 | rows u64 | stores u64 | published_ns u64 | crc32 u32

`rows`: rows published. `stores`: in-place stores made in this generation so far. `published_ns`: wall clock, for people.

Segment: a page of constants (magic, format, generation, dim, capacities, section offsets, model, fingerprint, CRC), then
sections, each at a multiple of 4096 bytes, as struct of arrays in enrolment order:

    codes       int8    (rows, dim)   round(reference / scale); scanned by every match
    scales      float32 (rows,)       largest magnitude of the reference / 127
    errors      float32 (rows,)       upper bound of |reference - codes * scale|, L2
    references  float32 (rows, dim)   unit L2 norm; exact scores
    row_ids     int64   (rows,)       embeddings.id in SQLite
    persons     int32   (rows,)       index into `names`, or -1: the row is dead
    names       uint64  (people,)     heap offset << 16 | length in bytes
    user_ids    uint64  (people,)     the same; 0 is "none"
    heap        uint8                 UTF-8 text, never moved

Who may write what, when
1.  Only the writer process writes, and it holds the site's file lock for its whole life. Readers map read-only.
2.  The constants are written before the head names the generation, and never again.
3.  Rows, names and heap text are written beyond what is published, then published by raising `rows` in the head. A published
    row is never rewritten: a reader that took `rows` from the head reads only bytes that will not change again.
4.  Two things change in place, each one aligned store, which no processor tears: `persons[row]` to -1 (a deletion) and
    `user_ids[person]` (to text already in the heap).
5.  An update is an append and a deletion, in this order: a person is never without a reference in between. A reader can see
    the deletion before it knows the appended row; so a match that met a dead row in play, and finds then that the head has
    moved on, is done again with what the head says.
6.  When room runs out, or too many rows are dead, the next generation is built beside the old one and the head then names it.
    The old file is unlinked; its memory goes when the last reader lets go of its mapping, which takes a second thread: to
    free gigabytes takes longer than a frame. Nor does a reader fault in a large generation between two frames: a second thread
    touches it while the reader goes on with the old one, as it was when it was replaced, for tenths of a second at most. What
    was deleted before is dead there, too; what is deleted in those tenths of a second answers until they are over.
7.  Order between processes: Python has no memory fences, so what must be seen in order goes through a system call. The writer
    stores, then calls pwrite on the head; a reader calls pread on the head, then loads. On ARM as on x86 the kernel's copy
    under the inode's lock orders the two.
8.  A generation is built with pwrite, and the rest of its space is reserved with posix_fallocate before it is mapped for
    writing: a full /dev/shm is an error there, and not a SIGBUS later.

A row read through `rows` of some head is therefore whole and of one moment; a deletion shows at the latest with the next
refresh (but for rule 6); the writer can die anywhere and readers go on with what the head last said.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import struct
import sys
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigurationError, TemporaryError
from shared.match import Candidate, Found, Rows, search

__all__ = [
    "Candidate",
    "GalleryReader",
    "Head",
    "Segment",
    "head_path",
    "read_head",
    "segment_path",
    "shm_folder",
    "site_prefix",
]

FORMAT = 1
_PAGE = 4096
_LET_GO_BYTES = 8 << 20
_TOUCH_AT_ONCE_BYTES = 32 << 20  # of codes: takes a few milliseconds
_MOST_RETRIES = 4  # of a match that saw a dead row while the writer published
_HEAD_MAGIC = b"RCHEAD\0\0"
_SEGMENT_MAGIC = b"RCBLOCK\0"
_SLOT = struct.Struct("<8sII5QI")
_SLOT_SIZE = 64
_CONSTANTS = struct.Struct("<8sIIQQQQ128s64s")
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


@dataclass(frozen=True)
class Head:
    """What the head says; see the module's specification."""

    sequence: int
    generation: int
    rows: int
    stores: int
    published_ns: int

    def pack(self) -> bytes:
        body = _SLOT.pack(
            _HEAD_MAGIC, FORMAT, 0, self.sequence, self.generation, self.rows, self.stores, self.published_ns, 0
        )
        body = body[:-4]
        return (body + struct.pack("<I", zlib.crc32(body))).ljust(_SLOT_SIZE, b"\0")


@dataclass(frozen=True)
class Shape:
    """Capacities of one segment. `rows` and `people` are counts, `heap` is bytes."""

    dim: int
    rows: int
    people: int
    heap: int

    def layout(self) -> tuple[dict[str, tuple[int, tuple[int, ...]]], int]:
        """Each section's offset and array shape, and the segment's size in bytes."""
        shapes: dict[str, tuple[int, ...]] = {
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
        offset, placed = _PAGE, {}
        for name, dtype in _SECTIONS:
            placed[name] = (offset, shapes[name])
            offset += -(-int(np.prod(shapes[name], dtype=np.int64)) * dtype.itemsize // _PAGE) * _PAGE
        return placed, offset


def shm_folder(run_dir: Path) -> Path:
    """Where the block's files lie for the site with this run folder."""
    if chosen := os.environ.get("ROLLCALL_SHM_DIR"):
        return Path(chosen)
    memory = Path("/dev/shm")  # noqa: S108  # POSIX shared memory on Linux; our files in it are 0600
    return memory if sys.platform == "linux" and memory.is_dir() else run_dir


def site_prefix(run_dir: Path) -> str:
    return f"rollcall-{hashlib.sha256(os.fsencode(run_dir.resolve())).hexdigest()[:12]}-"


def head_path(run_dir: Path) -> Path:
    return shm_folder(run_dir) / f"{site_prefix(run_dir)}head"


def segment_path(run_dir: Path, generation: int) -> Path:
    return shm_folder(run_dir) / f"{site_prefix(run_dir)}g{generation}"


def parse_head(raw: bytes) -> Head | None:
    """The newest whole slot of `raw` (128 bytes); None when there is none.

    Raises ConfigurationError for a head of another format version.
    """
    best: Head | None = None
    for start in (0, _SLOT_SIZE):
        slot = raw[start : start + _SLOT.size]
        if len(slot) < _SLOT.size:
            continue
        magic, version, _, sequence, generation, rows, stores, published_ns, crc = _SLOT.unpack(slot)
        if magic != _HEAD_MAGIC or crc != zlib.crc32(slot[:-4]):
            continue
        if version != FORMAT:
            raise ConfigurationError(
                "the gallery block has another format version",
                got=version,
                expected=str(FORMAT),
                remedy="stop the other Rollcall version on this data_dir, then start again",
            )
        if best is None or sequence > best.sequence:
            best = Head(sequence, generation, rows, stores, published_ns)
    return best


def read_head(run_dir: Path) -> Head | None:
    """The current head, or None when this site has no block."""
    try:
        descriptor = os.open(head_path(run_dir), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return parse_head(os.pread(descriptor, 2 * _SLOT_SIZE, 0))
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

    def __init__(self, mapping: mmap.mmap, shape: Shape, generation: int, model: str, fingerprint: str) -> None:
        self._mapping = mapping
        self.shape, self.generation, self.model, self.fingerprint = shape, generation, model, fingerprint
        self.size_bytes = len(mapping)
        placed, _ = shape.layout()
        for name, dtype in _SECTIONS:
            offset, dims = placed[name]
            count = int(np.prod(dims, dtype=np.int64))
            setattr(self, name, np.frombuffer(mapping, dtype, count, offset).reshape(dims))

    @staticmethod
    def begin(run_dir: Path, generation: int, shape: Shape, model: str, fingerprint: str) -> int:
        """The descriptor of a new segment's file, holding the constants only. Raises OSError when there is no room for it all."""
        path = segment_path(run_dir, generation)
        _, size = shape.layout()
        found = os.statvfs(path.parent)
        if found.f_blocks and found.f_bavail * found.f_frsize < size:  # no blocks: a file system without a limit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        named = (model.encode()[:128], fingerprint.encode()[:64])
        constants = _CONSTANTS.pack(
            _SEGMENT_MAGIC, FORMAT, shape.dim, generation, shape.rows, shape.people, shape.heap, *named
        )
        try:
            os.ftruncate(descriptor, size)
            os.pwrite(descriptor, constants + struct.pack("<I", zlib.crc32(constants)), 0)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        return descriptor

    @classmethod
    def view(cls, run_dir: Path, generation: int, shape: Shape) -> Segment:
        """The segment being built, for its builder to read what it has written."""
        descriptor = os.open(segment_path(run_dir, generation), os.O_RDONLY | os.O_CLOEXEC)
        try:
            mapping = mmap.mmap(descriptor, shape.layout()[1], prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        return cls(mapping, shape, generation, "", "")

    @classmethod
    def finish(cls, descriptor: int, generation: int, shape: Shape, model: str, fingerprint: str) -> Segment:
        """Reserve the space that nothing was written to yet, and map it all for writing. Raises OSError when there is no room."""
        _, size = shape.layout()
        _reserve(descriptor, size)
        return cls(mmap.mmap(descriptor, size), shape, generation, model, fingerprint)

    @classmethod
    def attach(cls, run_dir: Path, generation: int) -> Segment:
        """Map a published generation read-only. Raises FileNotFoundError when it is gone, ConfigurationError when unfit."""
        path = segment_path(run_dir, generation)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            raw = os.pread(descriptor, _CONSTANTS.size + 4, 0)
            shape, named, model, fingerprint = _parse_constants(raw, path)
            _, size = shape.layout()
            if named != generation or os.fstat(descriptor).st_size != size:
                raise ConfigurationError("the gallery block is damaged", where=str(path), remedy="restart the site")
            mapping = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        return cls(mapping, shape, generation, model, fingerprint)

    def text(self, reference: int) -> str | None:
        """The heap text that a `names` or `user_ids` entry points at."""
        if reference == 0:
            return None
        offset, length = reference >> 16, reference & 0xFFFF
        return self.heap[offset : offset + length].tobytes().decode("utf-8")

    def let_go(self) -> None:
        """As `close`, in small steps: one munmap of gigabytes holds up every thread that asks for memory meanwhile."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for start in range(0, self.size_bytes, _LET_GO_BYTES):
                self._mapping.madvise(mmap.MADV_DONTNEED, start, min(_LET_GO_BYTES, self.size_bytes - start))
        self.close()

    def close(self) -> None:
        """Let go of the mapping; memory of an unlinked generation is free once every holder has done so."""
        for name, _ in _SECTIONS:
            setattr(self, name, np.empty(0))
        with contextlib.suppress(BufferError):  # somebody still holds a view: the mapping goes with it
            self._mapping.close()


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS: the folder is on disk there, where a full disk fails the write below
        os.ftruncate(descriptor, size)


def _parse_constants(raw: bytes, path: Path) -> tuple[Shape, int, str, str]:
    if len(raw) < _CONSTANTS.size + 4 or raw[:8] != _SEGMENT_MAGIC:
        raise ConfigurationError(
            "is not a gallery block", where=str(path), remedy="remove the file and restart the site"
        )
    magic_to_crc, (crc,) = raw[: _CONSTANTS.size], struct.unpack("<I", raw[_CONSTANTS.size :])
    _, version, dim, generation, rows, people, heap, model, fingerprint = _CONSTANTS.unpack(magic_to_crc)
    if version != FORMAT:
        raise ConfigurationError(
            "the gallery block has another format version",
            where=str(path),
            got=version,
            expected=str(FORMAT),
            remedy="stop the other Rollcall version on this data_dir, then start again",
        )
    if crc != zlib.crc32(magic_to_crc):
        raise ConfigurationError("the gallery block is damaged", where=str(path), remedy="restart the site")
    return Shape(dim, rows, people, heap), generation, model.rstrip(b"\0").decode(), fingerprint.rstrip(b"\0").decode()


class _Coming:
    """A generation that a reader is about to use. Touched first: to fault in a million rows would hold up the first match."""

    def __init__(self, segment: Segment, rows: int) -> None:
        self.segment, self.rows = segment, rows
        self.largest_scale = self.widest_error = 0.0
        self.done = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self.touch, name="gallery-touch", daemon=True).start()

    def touch(self) -> None:
        try:
            self.segment.codes[: self.rows].reshape(-1)[::_PAGE].max(initial=0)
            self.segment.persons[: self.rows : _PAGE // 4].max(initial=0)
            self.largest_scale = float(self.segment.scales[: self.rows].max(initial=0))
            self.widest_error = float(self.segment.errors[: self.rows].max(initial=0))
        finally:
            self.done.set()


class GalleryReader:
    """A reader's view of the gallery: `refresh` between two frames, `match` as often as wanted. Not thread-safe."""

    def __init__(self, run_dir: Path) -> None:
        """Raises TemporaryError when the site has no block yet, ConfigurationError when the block is unfit."""
        self._run_dir = run_dir
        try:
            self._descriptor = os.open(head_path(run_dir), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise TemporaryError(
                "no gallery block yet",
                where=str(head_path(run_dir)),
                expected="a running writer",
                remedy="start the site",
            ) from error
        self._raw = b""
        self._segment: Segment | None = None
        self._texts: dict[int, str | None] = {}
        self.rows = 0
        self.published_ns = 0
        self._moved = False
        self._coming: _Coming | None = None
        self._measured, self._largest_scale, self._widest_error = 0, 0.0, 0.0
        try:
            self.refresh()
            if self._segment is None:
                raise TemporaryError(
                    "the gallery block is not published yet", where=str(head_path(run_dir)), remedy="try again"
                )
        except BaseException:
            os.close(self._descriptor)
            raise

    def refresh(self) -> bool:
        """Move to the newest published state; True when anything changed. One pread when nothing did."""
        moved, self._moved = self._moved, False
        raw = os.pread(self._descriptor, 2 * _SLOT_SIZE, 0)
        if raw == self._raw:
            return moved
        for _ in range(4):  # a generation can be replaced between the pread and the open; each turn reads the head anew
            head = parse_head(raw)
            if head is None:
                return moved
            try:
                if not self._follow(head):
                    return moved
            except FileNotFoundError:
                self._reopen_head()
                raw = os.pread(self._descriptor, 2 * _SLOT_SIZE, 0)
                continue
            self._raw = raw
            return True
        return moved

    def _reopen_head(self) -> None:
        """After a restart the head can be another file of the same name."""
        try:
            descriptor = os.open(head_path(self._run_dir), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _follow(self, head: Head) -> bool:
        """Take over what `head` says; False while the generation that it names is being made ready."""
        if self._segment is None or self._segment.generation != head.generation:
            fresh = self._ready(head)
            if fresh is None:
                return False
            old, self._segment = self._segment, fresh.segment
            self._largest_scale, self._widest_error, self._measured = (
                fresh.largest_scale,
                fresh.widest_error,
                fresh.rows,
            )
            self._texts = {}
            if old is not None:
                # The last one to let go frees the old generation's memory, 0.4 s for 2.5 GiB: not between two frames.
                threading.Thread(target=old.let_go, name="gallery-let-go", daemon=True).start()
        self.rows = head.rows
        self.published_ns = head.published_ns
        self._measure()
        return True

    def _ready(self, head: Head) -> _Coming | None:
        """The generation that `head` names, mapped and touched; a large one takes a second thread and some turns."""
        coming = self._coming
        if coming is None or coming.segment.generation != head.generation:
            self._abandon()
            coming = _Coming(Segment.attach(self._run_dir, head.generation), head.rows)
            if self._segment is None or coming.segment.codes[: head.rows].nbytes < _TOUCH_AT_ONCE_BYTES:
                coming.touch()
                return coming
            coming.start()
            self._coming = coming
        if not coming.done.is_set():
            return None
        self._coming = None
        return coming

    def _abandon(self) -> None:
        """Let go of a generation that was replaced, or is not wanted, before it was ready."""
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.done.wait()  # a moment: to touch a whole gallery takes tenths of a second at most
            coming.segment.close()

    def _measure(self) -> None:
        """Take new rows into the gallery's largest scale and widest error, which every match needs."""
        new = slice(self._measured, self.rows)
        if new.stop > new.start:
            self._largest_scale = max(self._largest_scale, float(self.segment.scales[new].max()))
            self._widest_error = max(self._widest_error, float(self.segment.errors[new].max()))
        self._measured = self.rows

    @property
    def segment(self) -> Segment:
        if self._segment is None:
            raise TemporaryError("the gallery reader is closed", remedy="open another")
        return self._segment

    @property
    def fingerprint(self) -> str:
        return self.segment.fingerprint

    @property
    def model(self) -> str:
        return self.segment.model

    @property
    def dim(self) -> int:
        return self.segment.shape.dim

    @property
    def generation(self) -> int:
        return self.segment.generation

    def live_rows(self) -> NDArray[np.intp]:
        """Indices of the rows that are published and not dead."""
        return np.flatnonzero(self.segment.persons[: self.rows] >= 0)

    def person(self, index: int) -> str:
        """Name of person `index`."""
        if index not in self._texts:
            self._texts[index] = self.segment.text(int(self.segment.names[index]))
        return self._texts[index] or ""

    def user_id(self, index: int) -> str | None:
        return self.segment.text(int(self.segment.user_ids[index]))

    def match(self, probes: NDArray[np.float32], k: int = 2) -> list[list[Candidate]]:
        """For each probe (n, dim; float32, unit norm) its `k` best people, best reference of each, best first.

        Exact: the same people and scores (1e-6) as float32 brute force over the live rows. An empty gallery gives [].
        """
        for _ in range(_MOST_RETRIES):
            found, known = self._search(probes, k), (self.generation, self.rows)
            if not found.dead_in_play or os.pread(self._descriptor, 2 * _SLOT_SIZE, 0) == self._raw:
                break
            # A row that died may have been replaced by one beyond the rows we know: look again with those (rule 5).
            self._moved = self.refresh()
            if known == (self.generation, self.rows):
                break
        return [
            [Candidate(self.person(person), self.user_id(person), score) for person, score in best]
            for best in found.people
        ]

    def _search(self, probes: NDArray[np.float32], k: int) -> Found:
        segment, n = self.segment, self.rows
        rows = Rows(
            segment.codes[:n],
            segment.scales[:n],
            segment.errors[:n],
            segment.references[:n],
            segment.persons[:n],
            self._largest_scale,
            self._widest_error,
        )
        return search(rows, probes, k)

    def close(self) -> None:
        self._abandon()
        if self._segment is not None:
            os.close(self._descriptor)
            self._segment.close()
            self._segment = None

    def __enter__(self) -> GalleryReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
