"""Reads the content of a block's file, without addresses at which nothing is stored."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path


def held_spans(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where data begins and ends in a sparse file. Memory that is reserved and was never written is none."""
    stop = 0
    while True:
        try:
            start = os.lseek(descriptor, stop, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no more data
                return
            raise
        stop = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, stop


def held_bytes(path: Path) -> bytes:
    """All that a block's file holds."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return b"".join(os.pread(descriptor, stop - start, start) for start, stop in held_spans(descriptor))
    finally:
        os.close(descriptor)
