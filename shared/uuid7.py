"""UUIDs of version 7 (RFC 9562). They are ordered by time, so that an index of them grows only at its end."""

from __future__ import annotations

import os
import time

_RANDOM_BYTES = 10
_VARIANT = "89ab"


def new_uuids(count: int) -> list[str]:
    """`count` new UUIDs with the current time, in ascending order."""
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    head = f"{stamp[:8]}-{stamp[8:]}-7"
    digits = os.urandom(_RANDOM_BYTES * count).hex()
    step = 2 * _RANDOM_BYTES
    tails = sorted(digits[at : at + step] for at in range(0, step * count, step))
    # 12 + 62 random bits. The variant replaces two bits of the fourth digit.
    return [f"{head}{tail[:3]}-{_VARIANT[int(tail[3], 16) & 3]}{tail[4:7]}-{tail[7:19]}" for tail in tails]
