"""Finds unsound rows of references and sets them aside, so that a damaged row costs only that one reference."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

import numpy as np

from shared.embeddings import NORM_TOLERANCE
from shared.errors import RefusedError
from shared.person_names import name_of, text_of
from shared.process.work_progress import beat
from shared.row_checksum import checksum_fits
from shared.store import schema

_DAMAGED = "damaged: "  # begins the reason in left_out; other rows there were never usable
_ROWS_AT_ONCE = 1000
# Texts are read as bytes: text that is no UTF-8 must be found, and not replaced.
_ROWS = """
    SELECT id, typeof(person_name), CAST(person_name AS BLOB), typeof(user_id), CAST(user_id AS BLOB), embedding, checksum
    FROM embeddings LEFT JOIN reference_facts ON embedding_id=id WHERE id>? ORDER BY id LIMIT ?
"""


def unsound_rows(connection: sqlite3.Connection, dim: int) -> Iterator[tuple[int, str]]:
    """The id of each reference that can't be used, and why, in the order of the ids. The reason does not reveal the person."""
    last = -(1 << 63)
    while rows := connection.execute(_ROWS, (last, _ROWS_AT_ONCE)).fetchall():
        beat()
        for row_id, *values in rows:
            if reason := _why_unsound(dim, *values):
                yield row_id, reason
        last = rows[-1][0]


def _why_unsound(
    dim: int,
    name_kind: str,
    raw_name: bytes,
    user_kind: str,
    raw_user: bytes | None,
    blob: object,
    checksum: int | None,
) -> str:
    if not isinstance(blob, bytes) or len(blob) != 4 * dim:
        return f"{f'{len(blob)} bytes' if isinstance(blob, bytes) else 'no bytes'} where a vector has {4 * dim}"
    vector = np.frombuffer(blob, "<f4")
    norm = float(np.linalg.norm(vector))
    if not abs(norm - 1) < NORM_TOLERANCE:  # written so that NaN is unsound, too
        return f"a vector of norm {norm:.4g} where it is 1"
    try:
        name, user_id = raw_name.decode(), None if raw_user is None else raw_user.decode()
        name_of(name)
        text_of(user_id)
    except UnicodeDecodeError:
        return "a name or a user id that is no UTF-8"
    except RefusedError:
        return "an impossible name or user id"
    if name_kind != "text" or user_kind not in ("text", "null"):
        return "a name or a user id that is no text"
    return "" if checksum_fits(checksum, vector, name, user_id) else schema.NOT_AS_WRITTEN


def set_aside(connection: sqlite3.Connection, unsound: dict[int, str]) -> None:
    """Move rows to `left_out`, each with its reason, inside a transaction. `unsound`: reasons by row id. Raises sqlite3.Error.

    An index that does not fit its table is made anew.
    """
    columns = ", ".join(schema.COLUMNS)
    for row_id, reason in unsound.items():
        connection.execute("DELETE FROM left_out WHERE id=?", (row_id,))
        connection.execute(
            f"INSERT INTO left_out({columns}, reason) SELECT {columns}, ? FROM embeddings WHERE id=?",  # noqa: S608  # constants
            (_DAMAGED + reason, row_id),
        )
        try:
            connection.execute("DELETE FROM embeddings WHERE id=?", (row_id,))
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
                raise
            connection.execute("REINDEX")  # damage changed the name in the row, and the index still has the old name
            connection.execute("DELETE FROM embeddings WHERE id=?", (row_id,))


def damaged_rows(connection: sqlite3.Connection) -> int:
    """How many rows are set aside as damaged."""
    return int(connection.execute("SELECT COUNT(*) FROM left_out WHERE reason GLOB ?", (_DAMAGED + "*",)).fetchone()[0])


def aside_line(count: int) -> str:
    """The line to report so many damaged rows."""
    return f"{count} damaged rows are set aside in the table left_out; remedy: supervisor.py restore FILE, or enrol these people again"


def forget_damaged_rows(connection: sqlite3.Connection) -> None:
    """Delete all damaged rows, after a backup has replaced them, or because somebody is forgotten. A damaged row does not show reliably
    whose it is, so it may belong to that person."""
    connection.execute("DELETE FROM left_out WHERE reason GLOB ?", (_DAMAGED + "*",))


def forget_damaged_rows_of(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Delete the damaged rows of these people, who have been enrolled again."""
    if damaged_rows(connection):
        connection.executemany(
            "DELETE FROM left_out WHERE person_name=? AND reason GLOB ?", [(name, _DAMAGED + "*") for name in names]
        )
