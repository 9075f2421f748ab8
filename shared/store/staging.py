"""Another model's embeddings: they are collected beside the active ones, and then replace them in one step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import unit_rows
from shared.errors import RefusedError
from shared.model_id import ModelId
from shared.store import people, schema
from shared.store.checksums import write_checksums
from shared.store.store import Store

_NOT_STAGED = "NOT EXISTS (SELECT 1 FROM staged_embeddings s WHERE s.embedding_id=embeddings.id AND s.fingerprint=?)"


def stage(
    store: Store,
    row_ids: Sequence[int],
    changes: Sequence[int],
    vectors: NDArray[np.float32],
    fingerprint: str,
    turns: Sequence[float | None] = (),
) -> int:
    """Keep embeddings of another model, `vectors` (n, dim), beside the active ones, and how far the heads are turned (empty: not known).
    Returns how many were kept.

    `changes`: the change numbers that the references had when their photos were read. A reference that was changed or deleted since is
    skipped, because its embedding is out of date.
    """
    rows = unit_rows(vectors, [f"row {row_id}" for row_id in row_ids]).astype("<f4", copy=False)
    return store.connection.executemany(
        "INSERT OR REPLACE INTO staged_embeddings SELECT embedding_id, ?, ?, ? FROM reference_facts WHERE embedding_id=? AND change_number=?",
        [
            (fingerprint, row.tobytes(), turn, row_id, change)
            for row, turn, row_id, change in zip(rows, turns or [None] * len(rows), row_ids, changes, strict=True)
        ],
    ).rowcount


def unstage(store: Store) -> None:
    """Delete all collected embeddings."""
    store.connection.execute("DELETE FROM staged_embeddings")


def not_staged(store: Store, fingerprint: str) -> list[int]:
    """The ids of the references for which no embedding of the model with this fingerprint was collected."""
    query = f"SELECT id FROM embeddings WHERE {_NOT_STAGED} ORDER BY id"  # noqa: S608  # a constant
    return [row[0] for row in store.connection.execute(query, (fingerprint,))]


def switch_model(store: Store, model: ModelId) -> int:
    """Make the staged embeddings the active ones. References without one move to `left_out`. Returns how many did.

    Raises RefusedError, with nothing changed, if a staged embedding has another length than the model's `dim`.
    """
    wrong = store.connection.execute(
        "SELECT LENGTH(embedding)/4 FROM staged_embeddings WHERE fingerprint=? AND LENGTH(embedding)<>? LIMIT 1",
        (model.fingerprint, 4 * model.dim),
    ).fetchone()
    if wrong is not None:
        raise RefusedError("staged embeddings of another length", got=wrong[0], expected=str(model.dim))
    columns = ", ".join(schema.COLUMNS)
    store.connection.execute(
        f"INSERT OR REPLACE INTO left_out({columns}, reason) SELECT {columns}, ? FROM embeddings WHERE {_NOT_STAGED}",  # noqa: S608  # constants
        (f"no photo to embed with {model.label}", model.fingerprint),
    )
    left_out = store.connection.execute(f"DELETE FROM embeddings WHERE {_NOT_STAGED}", (model.fingerprint,)).rowcount  # noqa: S608  # a constant
    store.connection.execute(
        "UPDATE embeddings SET embedding=(SELECT s.embedding FROM staged_embeddings s WHERE s.embedding_id=embeddings.id)"
    )
    store.connection.execute(
        "UPDATE reference_facts SET change_number=?, turn=(SELECT s.turn FROM staged_embeddings s WHERE s.embedding_id=reference_facts.embedding_id)",
        (store.next_change(),),
    )
    write_checksums(store.connection)
    people.complete(store.connection)
    unstage(store)
    store.stamp(model)
    return left_out
