"""The values in a request, taken only when they are what they must be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError
from shared.person_names import invisible_in, stored_name

_MAX_NAME_BYTES = 1024
_MAX_TEXT_BYTES = 4096


def vectors_of(blob: bytes | memoryview, rows: int) -> NDArray[np.float32]:
    """(rows, dim) little-endian float32 as sent. Raises ValueError for bytes that are not so many rows."""
    if not rows:
        return np.empty((0, 0), np.float32)
    if not blob or len(blob) % (4 * rows):
        raise ValueError(f"{len(blob)} bytes of vectors for {rows} rows")
    return np.frombuffer(blob, "<f4").reshape(rows, -1)


def name_of(value: object) -> str:
    """`value`, when it can name a person. Raises RefusedError."""
    if not isinstance(value, str) or not value.strip() or not _fits(value, _MAX_NAME_BYTES):
        raise RefusedError(
            "not a name", got=repr(value)[:80], expected=f"text of 1 to {_MAX_NAME_BYTES} bytes without NUL"
        )
    return value


def new_name_of(value: object) -> str:
    """`value` as a person's name is stored (NFC, no space around), when it can name one. Raises RefusedError."""
    name = stored_name(name_of(value))
    if unseen := invisible_in(name):
        raise RefusedError(
            "the name contains characters that nobody sees",
            got=f"{ascii(name)[:80]}: {unseen}",
            expected="a name that is seen as it is: two that look the same would be two people",
            remedy="take the character out",
        )
    return name


def text_of(value: object) -> str | None:
    """`value`, when it is text or nothing. Raises RefusedError."""
    if value is not None and (not isinstance(value, str) or not _fits(value, _MAX_TEXT_BYTES)):
        raise RefusedError(
            "not text", got=repr(value)[:80], expected=f"at most {_MAX_TEXT_BYTES} bytes of UTF-8 without NUL"
        )
    return value


def _fits(text: str, size: int) -> bool:
    try:
        return len(text.encode()) <= size and "\0" not in text
    except UnicodeEncodeError:  # half of a surrogate pair: bytes of a file name that are no UTF-8
        return False
