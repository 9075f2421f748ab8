"""Makes changes of a folder's entries durable, so that created, renamed and removed files stay so after a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

# The errors with which file systems without hard links (vfat, some network ones) refuse to make a link.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def sync_folder(folder: Path) -> None:
    """Write to the disk what was created, renamed and removed in `folder`. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
