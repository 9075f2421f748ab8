"""The faces of corrections as rows of the gallery block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from shared.embeddings import Batch
from shared.gallery.negatives import negative_row, negative_text, sighting_of
from shared.records import NewReference
from shared.store.corrections import Negative, negatives
from shared.store.saving import Saved
from shared.store.store import Store


def negative_batches(store: Store, row_ids: Sequence[int] | None = None) -> Iterator[Batch]:
    """All negatives as one batch of rows, or those among `row_ids`. No batch if there are none."""
    chosen = None if row_ids is None else [one for one in map(sighting_of, row_ids) if one is not None]
    if found := negatives(store, chosen):
        texts = [_text(one) for one in found]
        rows = [negative_row(one.sighting) for one in found]
        yield Batch(rows, texts, [None] * len(found), np.stack([one.vector for one in found]))


def negative_step(store: Store, sightings: Sequence[int]) -> list[tuple[Saved, Sequence[NewReference]]]:
    """The negatives of these sightings as a step of Changes, which publishes them in place of their rows; no step if there are none."""
    found = negatives(store, sightings)
    if not found:
        return []
    vectors = np.stack([one.vector for one in found])
    saved = Saved([negative_row(one.sighting) for one in found], [True] * len(found), vectors)
    return [(saved, [NewReference(_text(one)) for one in found])]


def negative_rows(sightings: Sequence[int]) -> list[int]:
    """The row ids of these sightings' negatives, for a step of Changes that removes them."""
    return [negative_row(sighting) for sighting in sightings]


def _text(negative: Negative) -> str:
    return negative_text(None if negative.against_all else negative.person)
