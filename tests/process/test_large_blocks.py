"""A process gives the memory of pictures back to the system when it frees them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

# Frees pictures, with something small that stays between each two.
_WORK = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from shared.process.large_blocks import return_large_blocks
if sys.argv[2] == "yes":
    return_large_blocks()
def private_mb():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty:")) / 1024
before = private_mb()
kept = []
for size in (6_000_000, 5_000_000, 4_000_000):
    pictures = []
    for _ in range(4):
        pictures.append(bytearray(size))
        kept.append(bytes(100_000))
    pictures.clear()
print(private_mb() - before - len(kept) * 0.1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc and /proc")
def test_freed_pictures_are_the_systems() -> None:
    """glibc by itself keeps megabytes of them."""

    def left_mb(asked: str) -> float:
        words = [sys.executable, "-c", _WORK, str(ROOT), asked]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        return float(done.stdout)

    assert left_mb("yes") < 2
    assert left_mb("no") > 4
