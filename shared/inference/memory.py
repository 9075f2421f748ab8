"""The memory of a slot: a file without a name, which the camera makes and the inference process maps.

On Linux it is sealed: nobody can make it shorter any more. Otherwise a camera that a hostile stream has taken over could shorten it, and
the inference process would die when it reads the missing pages.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
from pathlib import Path

from shared.inference.slot import MAX_SLOT_BYTES, SlotFault

_NAME = "rollcall-slot"  # as /proc shows it


def new_memory(size_bytes: int, folder: Path) -> tuple[int, mmap.mmap]:
    """Fresh memory of zeros, and its descriptor, which the caller closes. `folder`: where the file is made on a system that has no files in
    memory; it is removed at once. Raises OSError."""
    descriptor = _new_file(folder)
    try:
        os.ftruncate(descriptor, size_bytes)
        if sys.platform == "linux":
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return descriptor, mmap.mmap(descriptor, size_bytes)
    except BaseException:
        os.close(descriptor)
        raise


def _new_file(folder: Path) -> int:
    if sys.platform == "linux":
        return os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    import tempfile  # not on Linux, where each camera would have it for nothing

    with tempfile.TemporaryFile(dir=folder) as file:  # 0600, and unlinked
        return os.dup(file.fileno())


def attached_memory(descriptor: int) -> mmap.mmap:
    """Map the memory behind a descriptor that came from a camera. Raises SlotFault for what is no such memory, or OSError."""
    size_bytes = os.fstat(descriptor).st_size
    if not 0 < size_bytes <= MAX_SLOT_BYTES:
        raise SlotFault(f"memory of {size_bytes} bytes")
    if sys.platform == "linux" and not _seals(descriptor) & fcntl.F_SEAL_SHRINK:
        raise SlotFault("memory that can be made shorter")
    return mmap.mmap(descriptor, size_bytes)


def _seals(descriptor: int) -> int:
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:  # a file that can't have seals
        return 0
