"""A gallery in this process's own memory, for a command that identifies while no site runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.gallery.match import Candidate, Rows, match, quantise
from shared.store.loading import sound_batches
from shared.store.opening import Say
from shared.store.store import Store


class MemoryGallery:
    """The store's references, searched as the block is."""

    def __init__(self, store: Store, say: Say) -> None:
        """`say` is told of rows that are damaged."""
        names: dict[str, int] = {}
        persons: list[int] = []
        vectors: list[NDArray[np.float32]] = []
        for batch in sound_batches(store, say):
            persons += [names.setdefault(name, len(names)) for name in batch.names]
            vectors.append(batch.references)
        references = np.concatenate(vectors) if vectors else np.empty((0, store.dim or 1), np.float32)
        codes, scales, errors = quantise(references) if len(references) else _nothing(references.shape[1])
        self._rows = Rows(codes, scales, errors, references, np.asarray(persons, np.int32))
        self._names = list(names)
        self._user_ids = [store.user_id(name) for name in names]

    def match(self, probes: NDArray[np.float32], k: int = 2) -> list[list[Candidate]]:
        """As GalleryReader.match."""
        found = match(self._rows, probes, k)
        return [
            [Candidate(self._names[person], self._user_ids[person], score) for person, score in best] for best in found
        ]


def _nothing(dim: int) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    return np.empty((0, dim), np.int8), np.empty(0, np.float32), np.empty(0, np.float32)
