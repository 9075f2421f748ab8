"""The gallery's own figure of how alike different people's faces are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.embeddings import Batch
from shared.gallery.negatives import negative_row
from shared.gallery.tail import MAX_SAMPLE, CrossScores, Tail, sample_of, share_of, tail_of, tail_of_batches
from tests.support.vectors import noise

DIM = 16


def _gallery(
    count: int, people: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return noise(rng, count, DIM), rng.integers(0, people, count).astype(np.int32), np.arange(1, count + 1)


def _counted(references: NDArray[np.float32], persons: NDArray[np.int32]) -> NDArray[np.float32]:
    """All comparisons of two different people, the highest first."""
    scores = references @ references.T
    return np.sort(scores[np.triu(persons[:, None] != persons[None], 1)])[::-1]


def test_the_anchor_is_the_score_that_its_share_of_all_comparisons_reaches() -> None:
    """With 400 references of 90 people it is the fiftieth of so many comparisons, to the width of a bin."""
    references, persons, _ = _gallery(400, 90)
    scores, tail = _counted(references, persons), tail_of(references, persons)
    assert (tail.references, tail.people, tail.comparisons) == (400, 90, len(scores))
    assert tail.share == max(3e-4, 50 / len(scores))
    place = round(tail.share * len(scores))
    assert scores[place + 1] - 2e-3 <= tail.anchor <= scores[place - 2] + 2e-3
    assert tail.broad_share == 10 * tail.share
    place = round(tail.broad_share * len(scores))
    assert scores[place + 1] - 2e-3 <= tail.broad_anchor <= scores[place - 2] + 2e-3


def test_the_share_moves_from_half_to_three_in_ten_thousand_without_a_jump() -> None:
    """A gallery that grows comparison by comparison never sees its anchor's share change by more than it must."""
    shares = [share_of(count) for count in range(1, 200_000)]
    assert (shares[0], shares[-1]) == (0.5, 3e-4)
    assert all(later <= earlier for earlier, later in itertools.pairwise(shares))
    assert max(1 - later / earlier for earlier, later in itertools.pairwise(shares)) < 0.05


def test_rows_added_and_removed_one_by_one_give_the_tail_of_what_is_left() -> None:
    """The figure follows every change, and ends where counting anew ends."""
    references, persons, ids = _gallery(300, 40)
    scores = CrossScores()
    for count in range(1, 301):
        scores.add(references[:count], persons[:count], ids[:count], count - 1)
    assert scores.tail == tail_of(references, persons)
    persons[:200] = -1
    scores.remove(references, persons, ids, np.arange(0, 200))
    left = tail_of(references[200:], persons[200:])
    assert scores.tail[:3] == left[:3]
    assert scores.tail.anchor == pytest.approx(left.anchor, abs=4e-3)


def test_removing_everything_leaves_nothing() -> None:
    """An empty gallery says that it knows nothing, also after it had people."""
    references, persons, ids = _gallery(50, 10)
    scores = CrossScores()
    scores.rebuild(references, persons, ids)
    scores.remove(references, np.full(50, -1, np.int32), ids, np.arange(50))
    assert scores.tail == Tail()


def test_the_sample_is_bounded_and_does_not_depend_on_the_order() -> None:
    """10,000 references: at most 2,048 are compared, the same ones whether the gallery was loaded or grew."""
    references, persons, ids = _gallery(10_000, 3000)
    loaded, grown = CrossScores(), CrossScores()
    loaded.rebuild(references, persons, ids)
    for start in range(0, 10_000, 1000):
        grown.add(references[: start + 1000], persons[: start + 1000], ids[: start + 1000], start)
    assert loaded.tail == grown.tail
    assert loaded.tail.references == 10_000
    assert MAX_SAMPLE / 4 <= loaded.tail.people <= MAX_SAMPLE


@pytest.mark.parametrize("count", [0, 900, 10_000])
def test_references_that_come_in_batches_have_the_tail_of_the_whole(count: int) -> None:
    """However they are cut, with fewer references than the sample has and with more."""
    references, persons, ids = _gallery(count, 3000)
    names = [f"P{person}" for person in persons]

    def cut(size: int) -> Iterator[Batch]:
        for start in range(0, count, size):
            part = slice(start, start + size)
            yield Batch(ids[part].tolist(), names[part], [None] * len(names[part]), references[part])

    assert tail_of_batches(cut(1024)) == tail_of_batches(cut(700)) == tail_of(references, persons, ids)


@pytest.mark.parametrize("count", [900, 3000])
def test_a_copied_sample_has_the_tail_of_the_whole(count: int) -> None:
    """Also in the middle of a compaction, when a reference is there twice."""
    references, persons, ids = _gallery(count, 700)
    expected = tail_of(references, persons, ids)
    assert sample_of(references, persons, ids).tail == expected
    twice = [np.concatenate([column, column[: count // 2]]) for column in (references, persons, ids)]
    assert sample_of(*twice).tail == expected


def test_the_sample_of_a_gallery_that_shrank_is_that_of_one_that_was_always_small() -> None:
    """9,000 references shrink to 500 in steps: after each the sample is the one that counting anew takes, and so it is after each row of a
    batch was replaced."""
    references, persons, ids = _gallery(9000, 3000)
    scores = CrossScores()
    scores.rebuild(references, persons, ids)
    for left in (8000, 4100, 4000, 500):
        gone = np.flatnonzero(persons[left:] >= 0) + left
        persons[left:] = -1
        scores.remove(references, persons, ids, gone)
        expected = tail_of(references[:left], persons[:left], ids[:left])
        assert scores.tail[:3] == expected[:3]
        assert scores.tail.anchor == pytest.approx(expected.anchor, abs=4e-3)
    references, persons, ids = (np.concatenate([column, column]) for column in _gallery(2000, 700))
    scores.rebuild(references[:2000], persons[:2000], ids[:2000])
    scores.add(references, persons, ids, 2000)
    assert scores.tail.references == 4000
    persons[:2000] = -1
    scores.remove(references, persons, ids, np.arange(2000))
    assert scores.tail == tail_of(references[2000:], persons[2000:])


def test_dead_rows_and_rows_that_are_no_references_are_not_counted() -> None:
    """Live references are compared, also those of old databases with an id below 0; negatives are not."""
    references, persons, ids = _gallery(60, 20)
    persons[:20], ids[30:40] = -1, -ids[30:40]
    ids[20:30] = [negative_row(sighting) for sighting in range(1, 11)]
    scores = CrossScores()
    scores.rebuild(references, persons, ids)
    assert scores.tail == tail_of(references[30:], persons[30:])
    persons[20:30] = -1
    scores.remove(references, persons, ids, np.arange(20, 30))
    assert scores.tail == tail_of(references[30:], persons[30:])
