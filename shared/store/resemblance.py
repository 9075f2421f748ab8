"""Whom a face resembles, among all references of the store. Reads the whole gallery, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.process.work_progress import beat
from shared.store.corrections import meet, negatives
from shared.store.loading import stored_batches
from shared.store.sighting_probes import alike_of
from shared.store.store import Store


class Resembled(NamedTuple):
    """An enrolled person's reference that resembles a face most, and the cosine."""

    person: str
    reference: int
    score: float


def resembled(store: Store, vector: NDArray[np.float32], person: str) -> tuple[Resembled | None, Resembled | None]:
    """The reference of `person`, and the reference of anybody else, that resemble `vector` (dim,) most; None if there is none."""
    own = other = None
    for batch in stored_batches(store):
        beat()
        scores = np.vecdot(batch.references, vector)
        is_own = np.array([name == person for name in batch.names])
        own = _better(own, batch.names, batch.row_ids, np.where(is_own, scores, -np.inf))
        other = _better(other, batch.names, batch.row_ids, np.where(is_own, -np.inf, scores))
    return own, other


def _better(
    known: Resembled | None, names: Sequence[str], row_ids: Sequence[int], scores: NDArray[np.floating]
) -> Resembled | None:
    place = int(scores.argmax())
    score = float(scores[place])
    if score == -np.inf or (known is not None and known.score >= score):
        return known
    return Resembled(names[place], row_ids[place], score)


def is_alike(store: Store, found: Resembled | None) -> bool:
    """Whether a face resembles this reference so much that the two count as one person's."""
    alike = alike_of(store)
    return found is not None and alike is not None and found.score >= alike


def meet_all(store: Store) -> None:
    """As `corrections.meet`, with every reference of the gallery: after a restore."""
    if negatives(store):
        for batch in stored_batches(store):
            beat()
            meet(store, batch.names, batch.references)
