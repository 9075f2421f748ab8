"""A gallery in the process's own memory, for commands that identify people while no site runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch
from shared.gallery.match import Candidate, Rows, match, quantise
from shared.gallery.negatives import Found, without_negatives
from shared.gallery.tail import tail_of


class MemoryGallery:
    """A gallery built from batches of references. The search is the same as in the block, and so is `tail`."""

    def __init__(self, batches: Iterable[Batch], user_id: Callable[[str], str | None]) -> None:
        """`user_id(name)`: the user id of a person, or None."""
        names: dict[str, int] = {}
        persons: list[int] = []
        row_ids: list[int] = []
        vectors: list[NDArray[np.float32]] = []
        for batch in batches:
            persons += [names.setdefault(name, len(names)) for name in batch.names]
            row_ids += batch.row_ids
            vectors.append(batch.references)
        references = np.concatenate(vectors) if vectors else np.empty((0, 1), np.float32)
        codes, scales, errors = quantise(references) if len(references) else _nothing(references.shape[1])
        self._rows = Rows(codes, scales, errors, references, np.asarray(persons, np.int32))
        self.tail = tail_of(references, self._rows.persons, np.array(row_ids, np.int64))
        self._names = list(names)
        self._user_ids = [user_id(name) for name in names]

    def match(self, probes: NDArray[np.float32], k: int = 2) -> list[list[Candidate]]:
        """As GalleryReader.match."""
        return without_negatives(self._search, probes, k) or []

    def _search(self, probes: NDArray[np.float32], k: int) -> list[list[Found]]:
        found = match(self._rows, probes, k)
        return [[(self._names[person], self._user_ids[person], score) for person, score in best] for best in found]


def _nothing(dim: int) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    return np.empty((0, dim), np.int8), np.empty(0, np.float32), np.empty(0, np.float32)
