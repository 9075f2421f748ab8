"""What `check` finds in the rows."""

from __future__ import annotations

from pathlib import Path

from shared.records import NewReference
from shared.store.check import store_faults
from tests.support.stores import (
    keep,
    store_in,
    vectors,
)


def test_rows_that_somebody_else_spoilt_are_found(tmp_path: Path) -> None:
    """check() names a vector of the wrong length or norm, a row without its facts, and facts without their row."""
    for spoil, told in (
        ("UPDATE embeddings SET embedding=x'00' WHERE id=1", "bytes"),
        ("UPDATE embeddings SET embedding=zeroblob(256) WHERE id=1", "norm"),
        ("DELETE FROM reference_facts WHERE embedding_id=1", "no uuid"),
        ("DELETE FROM embeddings WHERE id=1", "refers to nothing"),
    ):
        folder = tmp_path / told.replace(" ", "-")
        with store_in(folder) as store:
            keep(store, vectors(2), NewReference("Ada"), NewReference("Bo"))
            assert store_faults(store) == []
            store.connection.execute("PRAGMA foreign_keys=OFF")
            store.connection.execute(spoil)
            assert told in "\n".join(store_faults(store))
