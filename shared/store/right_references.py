"""References of which somebody said that they are right, although they disagree with the others of their person.

Such a reference is no longer told as one to look at. The mark stays with the row through renames, merges and models. It goes with the row,
and when the row gets another content or another person. It is this site's own decision, and isn't sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from shared.store import schema
from shared.store.store import Store


def mark_right(store: Store, row_id: int) -> str:
    """Remember that a reference is right, inside a transaction. Returns since when; of one that is marked already the time stays."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    store.connection.execute("INSERT OR IGNORE INTO right_references VALUES (?, ?)", (row_id, now))
    return right_since(store, row_id) or now


def drop_right(store: Store, row_ids: Iterable[int]) -> None:
    """Take that back, inside a transaction. A backup of an older version knows none of it."""
    if _is_there(store):
        store.connection.executemany(
            "DELETE FROM right_references WHERE embedding_id=?", [(row_id,) for row_id in row_ids]
        )


def right_since(store: Store, row_id: int) -> str | None:
    """Since when a reference is marked as right, ISO 8601, UTC; None: it is not."""
    row = store.connection.execute("SELECT since FROM right_references WHERE embedding_id=?", (row_id,)).fetchone()
    return None if row is None else str(row[0])


def right_ids(store: Store, after: int, limit: int) -> list[int]:
    """The ids, above `after`, of references that are marked as right, in order; at most `limit`."""
    rows = store.connection.execute(
        "SELECT embedding_id FROM right_references WHERE embedding_id>? ORDER BY embedding_id LIMIT ?", (after, limit)
    )
    return [row_id for (row_id,) in rows]


def follow(backup: Store, reference_uuid: str, since: str | None) -> None:
    """Mark a reference of the site's own backup as right, or take that back (None). A backup of an older version can't note it."""
    if not _is_there(backup):
        return
    backup.connection.execute(
        "DELETE FROM right_references WHERE embedding_id IN (SELECT embedding_id FROM reference_facts WHERE uuid=?)",
        (reference_uuid,),
    )
    if since is not None:
        backup.connection.execute(
            "INSERT INTO right_references SELECT embedding_id, ? FROM reference_facts WHERE uuid=?",
            (since, reference_uuid),
        )


def drop_where_replaced(store: Store, contents: Sequence[tuple[int, memoryview]]) -> None:
    """Drop the marks of rows that are about to get another embedding. `contents`: row id and the new embedding's bytes, before they are
    written."""
    if store.connection.execute("SELECT 1 FROM right_references LIMIT 1").fetchone() is None:
        return
    store.connection.executemany(
        "DELETE FROM right_references WHERE embedding_id=?1 AND (SELECT embedding FROM embeddings WHERE id=?1)<>?2",
        contents,
    )


def marks_with_content(store: Store) -> list[tuple[str, str, bytes]]:
    """Every mark: since when, the UUID of its reference, and the embedding that it was made for."""
    return store.connection.execute(
        "SELECT r.since, f.uuid, e.embedding FROM right_references r JOIN reference_facts f ON f.embedding_id=r.embedding_id "
        "JOIN embeddings e ON e.id=r.embedding_id"
    ).fetchall()


def mark_again(store: Store, marks: Iterable[tuple[str, str, bytes]]) -> None:
    """Make marks again, as `marks_with_content` had them, on references that have the same content."""
    store.connection.executemany(
        "INSERT OR IGNORE INTO right_references SELECT f.embedding_id, ?1 FROM reference_facts f "
        "JOIN embeddings e ON e.id=f.embedding_id WHERE f.uuid=?2 AND e.embedding=?3",
        marks,
    )


def _is_there(store: Store) -> bool:
    return "right_references" in schema.tables(store.connection)
