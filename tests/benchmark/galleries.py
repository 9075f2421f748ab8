"""Galleries for the benchmarks: people with ten references each, written to a block or a database in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.gallery.publisher import Batch, GalleryPublisher
from shared.model_id import ModelId
from shared.records import NewReference
from shared.store.opening import open_store
from shared.store.saving import save
from shared.store.store import Store
from tests.support.vectors import people

DIM = 512
EACH = 10  # references a person
_PIECE = 20_000


def pieces(rows: int, seed: int = 0) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(first row, references) of a gallery of `rows` references."""
    rng = np.random.default_rng(seed)
    for start in range(0, rows, _PIECE):
        count = min(_PIECE, rows - start)
        yield start, people(rng, -(-count // EACH), EACH, DIM)[:count]


def name_of(row: int) -> str:
    return f"person {row // EACH:07d}"


def batches(rows: int, seed: int = 0) -> Iterator[Batch]:
    for start, references in pieces(rows, seed):
        ids = range(start + 1, start + 1 + len(references))
        yield Batch(ids, [name_of(row - 1) for row in ids], [None] * len(ids), references)


def publish(run_dir: Path, rows: int) -> GalleryPublisher:
    """A publisher that has published a gallery of `rows` references."""
    publisher = GalleryPublisher(run_dir, DIM, "test/none", "f" * 64)
    publisher.publish_all(rows, batches(rows))
    return publisher


def write_database(path: Path, rows: int) -> None:
    """A database of the site's own schema with `rows` references."""
    store = open_store(path, lambda _: None)
    try:
        with store.transaction():
            store.stamp(ModelId.parse("test/none", "f" * 64, DIM))
            for start, references in pieces(rows):
                names = [name_of(start + i) for i in range(len(references))]
                paths = [f"faces/{name}/{start + i}.jpg" for i, name in enumerate(names)]
                save(store, [NewReference(name, path) for name, path in zip(names, paths, strict=True)], references)
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        store.close()


def warm(path: Path) -> None:
    """Have the page cache hold the whole file."""
    with path.open("rb") as file:
        while file.read(16 << 20):
            pass


def open_written(path: Path) -> Store:
    return open_store(path, lambda _: None)
