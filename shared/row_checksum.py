"""A checksum a reference: a bit that flipped on a disk, in its vector, its person's name or its user id, is seen at the next load.

The vector's 64-bit words are summed up with odd weights, modulo 2^64: one changed bit always changes the sum, two at random places do
but once in some 2,000 times, and a block of other bytes but once in 2^60. numpy does that for 9 million rows of 512 numbers a second;
zlib's CRC-32 does 600,000 of them and holds the interpreter meanwhile. Name and user id go in by their CRC-32. A photo's path is not in
it: it lies twice in the file, in the row and in the index over name and path, and `PRAGMA integrity_check` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def row_checksums(
    vectors: NDArray[np.float32], names: Sequence[str], user_ids: Sequence[str | None]
) -> NDArray[np.int64]:
    """The checksum of each row: `vectors` (n, dim) float32, and n names and user ids. (n,) int64, as SQLite keeps it."""
    words = np.ascontiguousarray(vectors, "<f4")
    if words.shape[1] % 2:
        words = np.pad(words, ((0, 0), (0, 1)))
    texts = np.fromiter(map(crc32, map(str.encode, names)), np.uint64, len(names))
    if user_ids.count(None) != len(names):
        # A user id of no letters is another thing than none: hence it begins at 1.
        users = (0 if one is None else crc32(one.encode(), 1) for one in user_ids)
        texts |= np.fromiter(users, np.uint64, len(names)) << np.uint64(32)
    weights = _weights(words.shape[1] // 2)
    sums: NDArray[np.uint64] = np.einsum("ij,j->i", words.view("<u8"), weights) + texts * np.uint64(_GOLDEN)
    return sums.view(np.int64)


def checksum_fits(checksum: int | None, vector: NDArray[np.float32], name: str, user_id: str | None) -> bool:
    """Whether a row with the vector (dim,) is as it was written; one whose checksum is not known is taken to be."""
    return checksum is None or checksum == int(row_checksums(vector[None], [name], [user_id])[0])


@lru_cache(maxsize=4)
def _weights(count: int) -> NDArray[np.uint64]:
    """`count` odd weights without a pattern: Steele, Lea and Flood's SplitMix64 (2014), from 0 on."""
    weights = []
    for place in range(1, count + 1):
        mixed = place * _GOLDEN & _MASK
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
        weights.append((mixed ^ mixed >> 31) | 1)
    return np.array(weights, np.uint64)
