"""A folder's own entries on the disk: what was created, renamed or removed in it outlives a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

# What file systems without hard links (vfat, some of a network) answer to one.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def sync_folder(folder: Path) -> None:
    """Have the disk keep what was created, renamed and removed in `folder`. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
