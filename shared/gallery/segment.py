"""One generation of the gallery block, mapped into memory. Its sections are numpy arrays.

This module also reserves a segment's memory and asks the kernel for huge pages.
"""

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
from shared.gallery.match import Rows

_MADV_COLLAPSE = 25  # asm-generic/mman-common.h; Python's mmap has no name for it
_COLLAPSE_TRIES = 3  # the kernel refuses while a page is in use, which is for a moment
_RELEASE_BYTES = 8 << 20  # freed in one call


class Segment:
    """One mapped generation. The arrays are views into the mapping. The memory stays mapped until all views of it are gone.

    gallery/block.py describes each array: dtype, shape and meaning.
    """

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
        """Create an empty file for a segment and return its descriptor. Raises OSError if there is no room for `size_bytes`."""
        path = segment_path(run_dir, generation)
        found = os.statvfs(path.parent)
        if found.f_blocks and found.f_bavail * found.f_frsize < size_bytes:  # no blocks: a file system without a limit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return open_ours(run_dir, path, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    @classmethod
    def finish(cls, descriptor: int, constants: Constants) -> Segment:
        """Write the constants, which make the file a segment, and map it for writing.

        All that is in it was written or reserved before, so that no store through the mapping can fail (rule 8).
        """
        _, addresses = constants.shape.layout()
        os.ftruncate(descriptor, addresses + HUGE_PAGE)
        mapping = _mapped(descriptor, addresses, mmap.PROT_READ | mmap.PROT_WRITE)
        os.pwrite(descriptor, constants.pack(), 0)
        return cls(mapping, constants)

    @classmethod
    def attach(cls, run_dir: Path, generation: int) -> Segment:
        """Map a published generation read-only.

        Raises FileNotFoundError if it is gone, ConfigurationError if it is damaged or of another format version.
        """
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
        """Grow the reserved memory from `old` to `room`. Raises OSError if there is no room."""
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
        """Write into a generation that is about to be replaced how many rows it ends with (rule 7). Does nothing if its file is gone."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = open_ours(run_dir, segment_path(run_dir, generation), os.O_WRONLY)
            try:
                os.pwrite(descriptor, ENDED.pack(rows + 1), ENDED_AT)
            finally:
                os.close(descriptor)

    @property
    def ended(self) -> int | None:
        """How many rows the generation ended with. None while it is not replaced, or if its file was gone when it was."""
        (after,) = ENDED.unpack_from(self._mapping, ENDED_AT)
        return after - 1 if after else None

    def searched(self, start: int, stop: int) -> Rows:
        """The rows from `start` to `stop` (exclusive), as a match reads them."""
        part = slice(start, stop)
        return Rows(self.codes[part], self.scales[part], self.errors[part], self.references[part], self.persons[part])

    def text(self, reference: int) -> str | None:
        """The heap text that a `names` or `user_ids` entry points at; None for entry 0. If it is wiped meanwhile, it can be any text."""
        if reference == 0:
            return None
        return self.heap[text_span(reference)].tobytes().decode("utf-8", "replace")

    def close_in_steps(self) -> None:
        """As `close`, but free the memory in small steps: one munmap of gigabytes blocks every thread that asks for memory."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for start in range(0, self._size_bytes, _RELEASE_BYTES):
                self._mapping.madvise(mmap.MADV_DONTNEED, start, min(_RELEASE_BYTES, self._size_bytes - start))
        self.close()

    def close(self) -> None:
        """Unmap the segment. The memory of an unlinked generation is freed when the last process has unmapped it."""
        for name, _ in SECTIONS:
            setattr(self, name, np.empty(0))
        with contextlib.suppress(BufferError):  # a view is still in use: the mapping ends with the view
            self._mapping.close()


def _mapped(descriptor: int, addresses: int, prot: int) -> mmap.mmap:
    """A mapping that begins at a multiple of 2 MiB, if the system permits. The file is 2 MiB longer to make room for this."""
    mapping = mmap.mmap(descriptor, addresses, prot=prot)
    over = np.frombuffer(mapping, np.uint8, 1).ctypes.data % HUGE_PAGE
    if over:  # the kernel places mappings from the top down: a mapping that is longer by `over` begins lower by `over`
        mapping.close()
        mapping = mmap.mmap(descriptor, addresses + over, prot=prot)
    return mapping


def take_huge(descriptor: int, start: int, stop: int) -> None:
    """Take huge pages for bytes `start` to `stop`, both multiples of 2 MiB, where the file has no page yet.

    Without huge pages small ones are used. A lack of memory is no error here: `reserve` raises it.
    """
    if stop <= start or sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        for at in range(start, stop, HUGE_PAGE):
            os.pwrite(descriptor, b"\0", at)  # the kernel makes no huge page where there is no page at all
        os.ftruncate(descriptor, max(os.fstat(descriptor).st_size, stop + HUGE_PAGE))
        with _mapped(descriptor, stop, mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
            for _ in range(_COLLAPSE_TRIES):
                try:
                    # One call for all pages, because each call waits for all processors.
                    mapping.madvise(_MADV_COLLAPSE, start, stop - start)
                    return
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.EBUSY):
                        raise


def reserve(descriptor: int, start: int, stop: int) -> None:
    """Reserve memory for bytes `start` to `stop` of a segment's file. Raises OSError if there is no room."""
    if stop > start and hasattr(os, "posix_fallocate"):  # macOS lacks it; there the folder is on disk
        os.posix_fallocate(descriptor, start, stop - start)


def _constants(descriptor: int, path: Path) -> Constants:
    """Read the constants of an open segment. Raises ConfigurationError if it is no segment, of another format version, or damaged."""
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
