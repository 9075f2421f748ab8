"""One generation of the gallery block, mapped: its sections as arrays, its pages reserved and made huge."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigurationError
from shared.gallery.block import (
    CONSTANTS,
    ENDED,
    ENDED_AT,
    FORMAT,
    HUGE_PAGE,
    OF_PEOPLE,
    OF_ROWS,
    SECTIONS,
    SEGMENT_MAGIC,
    Constants,
    Shape,
    damaged_segment,
    other_format,
    text_span,
)
from shared.gallery.files import open_ours, segment_path

_MADV_COLLAPSE = 25  # asm-generic/mman-common.h; Python's mmap has no name for it
_COLLAPSE_TRIES = 3  # a page can be in somebody's hands for a moment
_LET_GO_BYTES = 8 << 20


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
        for name, dtype in SECTIONS:
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
                raise damaged_segment(path)
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
                os.pwrite(descriptor, ENDED.pack(rows + 1), ENDED_AT)
            finally:
                os.close(descriptor)

    @property
    def ended(self) -> int | None:
        """How many rows it had in the end; None while it is not replaced, or was by somebody who did not find it any more."""
        (after,) = ENDED.unpack_from(self._mapping, ENDED_AT)
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
        for name, _ in SECTIONS:
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
    raw = os.pread(descriptor, CONSTANTS.size + 4, 0)
    if len(raw) < CONSTANTS.size + 4 or raw[:8] != SEGMENT_MAGIC:
        raise ConfigurationError(
            "is not a gallery block", where=str(path), remedy="remove the file and restart the site"
        )
    (version,) = struct.unpack_from("<I", raw, 8)
    if version != FORMAT:
        raise other_format(version, str(path))
    if raw[CONSTANTS.size :] != struct.pack("<I", zlib.crc32(raw[: CONSTANTS.size])):
        raise damaged_segment(path)
    _, _, dim, generation, rows, people, heap, model, fingerprint = CONSTANTS.unpack(raw[: CONSTANTS.size])
    named = (model.rstrip(b"\0").decode(), fingerprint.rstrip(b"\0").decode())
    return Constants(generation, Shape(dim, rows, people, heap), *named)
