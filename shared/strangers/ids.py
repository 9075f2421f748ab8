"""How strangers are called, and what of an event is not for keeping."""

from __future__ import annotations

import re
import sqlite3

from shared.errors import RefusedError
from shared.store.schema import ids_begin_after

# Fields of an event that are for the writer alone: they are neither kept in the sighting nor handed on.
PRIVATE_FIELDS = frozenset({"traces", "fingerprint", "alike"})

_ID = re.compile(r"(?:stranger-)?(\d{1,15})")


def stranger_id(number: int) -> str:
    """A stranger's id as it is shown: `stranger-17`."""
    return f"stranger-{number}"


def stranger_number(text: str) -> int:
    """The number in an id; the number alone will do. Raises RefusedError."""
    found = _ID.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise RefusedError(
            "not a stranger's id",
            got=repr(text)[:60],
            expected="one like stranger-17",
            remedy="see: supervisor.py people --unknown",
        )
    return int(found.group(1))


def strangers_begin_after(connection: sqlite3.Connection, number: int) -> None:
    """Give no stranger a number up to `number` any more."""
    ids_begin_after(connection, "strangers", number)
