"""Fills a small file system with a file. There is room again when that file is deleted."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def fill(disk: Path, spare_bytes: int = 0) -> Path:
    """`disk`/filler takes every block of it but `spare_bytes`. Deleted, there is room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    os.truncate(filler, filler.stat().st_size - spare_bytes)
    return filler
