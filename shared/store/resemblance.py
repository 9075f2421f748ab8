"""Whom a face resembles among the stored references."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch
from shared.process.work_progress import beat
from shared.store.corrections import meet, negatives
from shared.store.loading import stored_batches
from shared.store.references import list_references
from shared.store.sighting_probes import alike_of
from shared.store.store import Store

_PEOPLE = 2  # asked for at first: the face's own person is among them, and the nearest other one

# `search(vector, k)`: the k people whose published references resemble `vector` (dim,) most, each with the best cosine, best first;
# fewer if there are fewer.
Search = Callable[[NDArray[np.float32], int], Sequence[tuple[str, float]]]


class Resembled(NamedTuple):
    """An enrolled person's reference that resembles a face most, and the cosine."""

    person: str
    reference: int
    score: float


def resembled(
    store: Store,
    vector: NDArray[np.float32],
    person: str,
    search: Search | None = None,
    unpublished: Sequence[int] = (),
) -> tuple[Resembled | None, Resembled | None]:
    """The reference of `person`, and the reference of anybody else, that resemble `vector` (dim,) most; None if there is none.

    `search`: finds the people in the published gallery, in milliseconds. None: every reference is read from the file, which takes seconds
    with a million of them. `unpublished`: the ids of references that were saved after what `search` knows.
    """
    own = _best_of(store, vector, person)
    if search is None:
        return own, _best(vector, stored_batches(store), without=person)
    return own, _nearest_other(store, vector, person, search, unpublished)


def _nearest_other(
    store: Store, vector: NDArray[np.float32], person: str, search: Search, unpublished: Sequence[int]
) -> Resembled | None:
    """The best reference of anybody but `person`. What the search finds can be deleted from the store by now, so that the people it names
    are compared again as they are stored, until no other can be better."""
    best = _best(vector, stored_batches(store, unpublished), without=person)
    asked = _PEOPLE
    while True:
        found = search(vector, asked)
        for name, score in found:
            if best is not None and best.score >= score:
                return best
            if name != person:
                best = _better(best, _best_of(store, vector, name))
        if len(found) < asked:  # that was everybody
            return best
        asked *= 2


def _best_of(store: Store, vector: NDArray[np.float32], person: str) -> Resembled | None:
    """The stored reference of this person, among those in use, that resembles `vector` most."""
    return _best(vector, stored_batches(store, [one.id for one in list_references(store, person)]))


def _best(vector: NDArray[np.float32], batches: Iterable[Batch], without: str | None = None) -> Resembled | None:
    """The reference that resembles `vector` most, without those of the person `without`."""
    best = None
    for batch in batches:
        beat()
        scores = np.vecdot(batch.references, vector)
        if without is not None:
            scores[[name == without for name in batch.names]] = -np.inf
        place = int(scores.argmax())
        if scores[place] > -np.inf:
            best = _better(best, Resembled(batch.names[place], batch.row_ids[place], float(scores[place])))
    return best


def _better(known: Resembled | None, other: Resembled | None) -> Resembled | None:
    if known is None or other is None:
        return known or other
    return other if other.score > known.score else known


def is_alike(store: Store, found: Resembled | None) -> bool:
    """Whether a face resembles this reference so much that the two count as one person's."""
    alike = alike_of(store)
    return found is not None and alike is not None and found.score >= alike


def meet_all(store: Store) -> None:
    """As `corrections.meet`, with every reference of the gallery: after a restore, when nothing is published yet."""
    if negatives(store):
        for batch in stored_batches(store):
            beat()
            meet(store, batch.names, batch.references)
