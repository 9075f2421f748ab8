"""A checksum for each reference. It finds bits that flipped on the disk, in the vector, the person's name or the user id, at the next load.

The vector's 64-bit words are multiplied by odd weights and summed up, modulo 2^64. One changed bit always changes the sum. Two changed bits
at random places leave it the same once in some 2,000 times; a block of other bytes once in 2^60.

numpy computes this for 9 million rows of 512 numbers a second. zlib's CRC-32 manages 600,000 and holds the interpreter's lock meanwhile.

Name and user id enter by their CRC-32. A photo's path is not part of the checksum. The file contains it twice, in the row and in the index
over name and path, and `PRAGMA integrity_check` compares the two.
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
    """The checksums (n,) int64, as SQLite stores them, of n rows: `vectors` (n, dim) float32, `names` and `user_ids` (n)."""
    words = np.ascontiguousarray(vectors, "<f4")
    if words.shape[1] % 2:
        words = np.pad(words, ((0, 0), (0, 1)))
    texts = np.fromiter(map(crc32, map(str.encode, names)), np.uint64, len(names))
    if user_ids.count(None) != len(names):
        # The CRC starts with 1, so that an empty user id differs from none.
        users = (0 if user_id is None else crc32(user_id.encode(), 1) for user_id in user_ids)
        texts |= np.fromiter(users, np.uint64, len(names)) << np.uint64(32)
    weights = _weights(words.shape[1] // 2)
    sums: NDArray[np.uint64] = np.einsum("ij,j->i", words.view("<u8"), weights) + texts * np.uint64(_GOLDEN)
    return sums.view(np.int64)


def checksum_fits(checksum: int | None, vector: NDArray[np.float32], name: str, user_id: str | None) -> bool:
    """Whether a row with the vector (dim,) is as it was written; one whose checksum is not known is taken to be."""
    return checksum is None or checksum == int(row_checksums(vector[None], [name], [user_id])[0])


@lru_cache(maxsize=4)
def _weights(count: int) -> NDArray[np.uint64]:
    """`count` odd weights without a pattern, from SplitMix64 (Steele, Lea and Flood, 2014) with the seed 0."""
    weights = []
    for place in range(1, count + 1):
        mixed = place * _GOLDEN & _MASK
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
        weights.append((mixed ^ mixed >> 31) | 1)
    return np.array(weights, np.uint64)
