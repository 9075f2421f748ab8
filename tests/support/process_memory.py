"""Reads the private memory of a process, as root. Erased data must not be found there."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

needs_others_memory = pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="reading another process's memory needs root and Linux"
)
_PIECE_BYTES, _EVERY_BYTES = 64, 256
_MAX_BYTES = 64 << 20  # read at a time
_REGION = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ \S+ *(.*)")


def texts(name: str) -> dict[str, bytes]:
    """A text as UTF-8, as UTF-16 and in four bytes a character, as Python keeps it."""
    return {f"{name} {code}": name.encode(code) for code in ("utf-8", "utf-16-le", "utf-32-le")}


def pieces(what: str, vector: bytes) -> dict[str, bytes]:
    """Pieces of a vector, one in every 256 bytes: half a vector holds four of them."""
    starts = range(0, len(vector) - _PIECE_BYTES + 1, _EVERY_BYTES)
    return {f"{what} {start}": vector[start : start + _PIECE_BYTES] for start in starts}


def remains(pid: int, wanted: Mapping[str, bytes]) -> dict[str, int]:
    """How often each of `wanted` is in the private writable memory of a process: heap, stacks, what libraries keep."""
    found: dict[str, int] = {}
    for where, memory in _regions(pid):
        for what, raw in wanted.items():
            if times := memory.count(raw):
                found[f"{what} in {where}"] = found.get(f"{what} in {where}", 0) + times
    return found


def _regions(pid: int) -> Iterator[tuple[str, bytes]]:
    """Each region by its name, a large one in pieces that overlap: what lies across two is whole in one of them."""
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
            if not (region := _REGION.match(line)):
                continue
            start, end = (int(one, 16) for one in region.groups()[:2])
            for at in range(start, end, _MAX_BYTES - 4096):
                try:
                    yield region[3] or "anonymous", os.pread(memory, min(_MAX_BYTES, end - at), at)
                except OSError:  # unmapped since, or kept from everybody
                    break
    finally:
        os.close(memory)
