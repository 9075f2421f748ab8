"""References that are set aside: somebody took them out of use, with a reason, and can bring them back.

The row of such a reference stays in `embeddings`. So it is forgotten, renamed, merged, backed up and embedded anew like any other. Only
the gallery, against which faces are matched, leaves it out. Nothing is set aside or brought back by itself.
"""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from shared.errors import RefusedError
from shared.person_names import name_key, text_of
from shared.store import schema
from shared.store.store import Store

MAX_REASON_CHARACTERS = 200
# Takes the place of a reason with the name of somebody who was forgotten.
_NAMELESS = "the reason named somebody who was forgotten"
_REASONS = (("set_aside", "embedding_id", "reason"), ("merged_references", "rowid", "set_aside_reason"))


class Aside(NamedTuple):
    """Why and since when a reference is set aside. `since`: ISO 8601, UTC."""

    reason: str
    since: str


def reason_of(value: object) -> str:
    """`value`, without spaces around it, if it can be a reason. Raises RefusedError if not."""
    text = (text_of(value) or "").strip()
    # Cc: control characters; Zl and Zp: line ends.
    odd = any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in text)
    if odd or not 1 <= len(text) <= MAX_REASON_CHARACTERS:
        raise RefusedError(
            "not a reason",
            got="line ends or control characters" if odd else f"{len(text)} characters",
            expected=f"1 to {MAX_REASON_CHARACTERS} characters on one line",
            remedy="say it in fewer words, on one line",
        )
    return text


def put_aside(store: Store, row_id: int, reason: str) -> Aside:
    """Set a reference aside, inside a transaction."""
    aside = Aside(reason, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}")
    store.connection.execute("INSERT INTO set_aside VALUES (?, ?, ?)", (row_id, *aside))
    # The gallery has changed, and whoever compares it with the store must see that. The reference itself is the same as before.
    store.next_change()
    return aside


def take_back(store: Store, row_id: int) -> None:
    """Bring a reference back that was set aside, inside a transaction."""
    store.connection.execute("DELETE FROM set_aside WHERE embedding_id=?", (row_id,))
    store.next_change()


def follow(backup: Store, reference_uuid: str, aside: Aside | None) -> None:
    """Set a reference of the site's own backup aside, or bring it back (None). A backup of an older version can't note it."""
    if not _is_there(backup.connection):
        return
    backup.connection.execute(
        "DELETE FROM set_aside WHERE embedding_id IN (SELECT embedding_id FROM reference_facts WHERE uuid=?)",
        (reference_uuid,),
    )
    if aside is not None:
        backup.connection.execute(
            "INSERT INTO set_aside SELECT embedding_id, ?, ? FROM reference_facts WHERE uuid=?",
            (*aside, reference_uuid),
        )


def aside_of(store: Store, row_id: int) -> Aside | None:
    """Why and since when this reference is set aside; None if it is in use."""
    row = store.connection.execute("SELECT reason, since FROM set_aside WHERE embedding_id=?", (row_id,)).fetchone()
    return None if row is None else Aside(*row)


def aside_among(store: Store, row_ids: Collection[int]) -> set[int]:
    """Those of these references that are set aside."""
    if store.connection.execute("SELECT 1 FROM set_aside LIMIT 1").fetchone() is None:
        return set()
    rows = store.connection.execute(
        "SELECT embedding_id FROM set_aside WHERE embedding_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(row_ids)),),
    )
    return {row_id for (row_id,) in rows}


def count_aside(store: Store) -> int:
    """How many references are set aside."""
    return int(store.connection.execute("SELECT COUNT(*) FROM set_aside").fetchone()[0])


def count_in_use(store: Store, person: str) -> int:
    """How many references of a person are not set aside."""
    row = store.connection.execute(
        "SELECT COUNT(*) FROM embeddings WHERE person_name=? AND id NOT IN (SELECT embedding_id FROM set_aside)",
        (person,),
    ).fetchone()
    return int(row[0])


def forget_names(store: Store, names: Iterable[str]) -> None:
    """Replace the reasons that contain one of these names, whose people are forgotten."""
    if not _is_there(store.connection):
        return
    wanted = [name_key(name).casefold() for name in names]
    for table, key, column in _REASONS:
        rows = store.connection.execute(
            f"SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608  # constants
        ).fetchall()
        naming = [row for row, reason in rows if any(_contains(name_key(reason).casefold(), one) for one in wanted)]
        store.connection.executemany(
            f"UPDATE {table} SET {column}=? WHERE {key}=?",  # noqa: S608  # constants
            [(_NAMELESS, row) for row in naming],
        )


def _contains(text: str, name: str) -> bool:
    """Whether `text` contains `name`. In scripts with capitals the name must begin a word, so that "somebody" does not contain Bo; it need
    not end one (Ada's). Other scripts may have no spaces between words."""
    at = text.find(name)
    while at >= 0:
        if not at or name[0].upper() == name[0] or not text[at - 1].isalpha():
            return True
        at = text.find(name, at + 1)
    return False


def _is_there(connection: sqlite3.Connection) -> bool:
    """Whether the database has this table. A backup of an older version has none."""
    return "set_aside" in schema.tables(connection)
