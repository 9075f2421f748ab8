"""Copies a whole gallery into this process's own memory, in order to compare all references with each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import Say
from shared.service.access import GalleryClient


@dataclass(frozen=True, eq=False)
class References:
    """A whole gallery: `vectors` (n, dim) float32 of unit norm, `persons` (n,) int32 indices into `names`, `row_ids` (n,). `different`: pairs
    of people, the lower index first, of whom somebody said that they are not one. `right`: the row ids of references of which somebody said
    that they are right, although they disagree with their person."""

    vectors: NDArray[np.float32]
    persons: NDArray[np.int32]
    row_ids: NDArray[np.int64]
    names: list[str]
    different: frozenset[tuple[int, int]] = frozenset()
    right: frozenset[int] = frozenset()


def load_references(gallery: GalleryClient, say: Say) -> References:
    """Copy every reference into this process's own memory: 2 KB for each with 512 dimensions. An empty gallery gives no rows.

    `say` is called with warnings about the gallery.
    """
    names: dict[str, int] = {}
    persons: list[int] = []
    row_ids: list[int] = []
    info = gallery.info()
    vectors = np.empty((info.references or 0, info.dim or 1), np.float32)
    with gallery.batches(say) as pieces:
        for piece in pieces:
            begin, end = len(persons), len(persons) + len(piece.names)
            if end > len(vectors):  # enrolled meanwhile
                vectors = np.concatenate([vectors, np.empty((end - len(vectors), vectors.shape[1]), np.float32)])
            vectors[begin:end] = piece.references
            persons += [names.setdefault(name, len(names)) for name in piece.names]
            row_ids += piece.row_ids
    known = ((names.get(one), names.get(other)) for one, other in gallery.different_people())
    different = frozenset((min(a, b), max(a, b)) for a, b in known if a is not None and b is not None)
    return References(
        vectors=vectors[: len(persons)],
        persons=np.array(persons, np.int32),
        row_ids=np.array(row_ids, np.int64),
        names=list(names),
        different=different,
        right=frozenset(gallery.right_references()),
    )
