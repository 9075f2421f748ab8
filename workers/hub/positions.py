"""Positions: how far a reader has read. Pure.

Each origin (one life of one site's store) numbers its changes. A position has for each origin the highest number that was read, as text
"origin:seq,origin:seq", sorted by origin. The empty text is the beginning. One number for all origins would not do: with two backends that
write at once, a later number can become visible before an earlier one, and a reader would skip that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from shared.errors import UsageError

MAX_NUMBER = (1 << 53) - 1  # the largest integer that JSON readers of all languages keep exact
_MAX_ORIGINS = 2048  # their text fits the head of a request
_ORIGIN = re.compile(r"[A-Za-z0-9_-]{11}")
_ENTRY = re.compile(r"([A-Za-z0-9_-]{11}):([0-9]{1,16})")

Position = Mapping[str, int]


def is_origin(value: object) -> bool:
    """Whether this is the id of an origin: 64 bits as 11 characters of base64url."""
    return isinstance(value, str) and _ORIGIN.fullmatch(value) is not None


def position_of(text: str) -> dict[str, int]:
    """The position that a text has. Raises UsageError."""
    entries = text.split(",") if text else []
    found: dict[str, int] = {}
    for entry in entries:
        parts = _ENTRY.fullmatch(entry)
        if parts is None or int(parts[2]) > MAX_NUMBER or parts[1] in found or len(found) == _MAX_ORIGINS:
            raise UsageError(
                "not a position",
                got=ascii(entry[:40]),
                expected=f"origin:number,origin:number with at most {_MAX_ORIGINS} origins, each once",
            )
        found[parts[1]] = int(parts[2])
    return found


def position_text(position: Position) -> str:
    """The text of a position."""
    return ",".join(f"{origin}:{seq}" for origin, seq in sorted(position.items()) if seq > 0)


def news(heads: Position, position: Position) -> list[tuple[str, int, int]]:
    """What a reader at `position` has not read of `heads`: for each such origin, sorted, its name, the number read and the newest."""
    return [
        (origin, position.get(origin, 0), head)
        for origin, head in sorted(heads.items())
        if head > position.get(origin, 0)
    ]


def behind(heads: Position, position: Position) -> dict[str, int]:
    """The origins of which a reader has read more than there is: this database was set back. Where they are now. A reader names its own origin
    with the highest number."""
    return {
        origin: heads.get(origin, 0)
        for origin, seq in sorted(position.items())
        if heads.get(origin, 0) < seq < MAX_NUMBER
    }


def tag_of(heads: Position, hub: str) -> str:
    """The ETag of a hub that has come this far."""
    return f'"{hashlib.sha256(f"{hub} {position_text(heads)}".encode()).hexdigest()[:20]}"'
