"""How alike the faces of different people are in this gallery: the figure from which the decision's limits follow.

Each *comparison* is the cosine of two references of different people. What matters is the upper tail of these cosines, since a stranger
gets a name by a rare high score. The writer keeps a histogram of the comparisons of a sample of references, and publishes two points of
the tail with every head: the *anchor*, the score that a known share of the comparisons reaches, and the *broad anchor*, which ten times
that share reaches. Readers derive everything else from them and from the model's own law of false matches
(workers/recognition/false_match_law.py).

The sample has at most 2,048 references: those whose row id has a small hash. How small is halved until they are few enough, and doubled
again when references go. So the sample depends on the gallery only, not on the order of events: the writer, `calibrate`, and `identify`
without a running site choose the same one. That is 2 million comparisons. The anchor is the score of the fiftieth of them, or that of 3
in 10,000. A rarer point would say more about errors in the gallery than about faces: one person under two names gives some very high
scores. In a small gallery these can be fifty; the broad anchor hardly feels them, and shows them up.

The histogram follows every change of the gallery: a new reference adds its comparisons with the sample, a deleted one takes its own
away, from the same bins. That costs 0.3 ms with a thousand references, 2 ms with more than the sample has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch, cosines

MAX_SAMPLE = 2048
_BINS = 1024  # of cosines from -1 to 1
_AT_ONCE = 256  # rows compared with the sample at once: 2 MiB of scores
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio: spreads consecutive ids evenly
_HASHES = 1 << 32
# The lowest id of a reference: old databases can have ids below 0. Those of negatives lie further below (gallery/negatives.py).
_LEAST_ID = -(1 << 53)
_LEAST_SHARE, _LARGEST_SHARE = 3e-4, 0.5
_COMPARISONS_BEYOND = 50  # so many comparisons reach the anchor, where there are enough


class Tail(NamedTuple):
    """What a head publishes about the gallery's false matches.

    `references`: how many are live. `people`: how many people the sample has. `comparisons`: how many the histogram counts. `anchor`: the
    cosine that a share `share` of them reaches; `broad_anchor`: the one that a share `broad_share` reaches. Without comparisons both mean
    nothing.
    """

    references: int = 0
    people: int = 0
    comparisons: int = 0
    anchor: float = 0.0
    broad_anchor: float = 0.0

    @property
    def share(self) -> float:
        """The share of comparisons that reach `anchor`: fifty of them, but never less than 3 in 10,000 or more than half."""
        return share_of(self.comparisons)

    @property
    def broad_share(self) -> float:
        """Ten times `share`, but never more than half."""
        return min(10 * self.share, _LARGEST_SHARE)


def share_of(comparisons: int) -> float:
    """The share at which the anchor of so many comparisons lies."""
    return min(max(_LEAST_SHARE, _COMPARISONS_BEYOND / max(1, comparisons)), _LARGEST_SHARE)


class CrossScores:
    """The histogram of comparisons in one gallery, kept equal to it by the process that changes the gallery.

    A reference is known by its place, its row number in `references` (n, dim; float32, unit L2 norm). `persons` (n,) int32 are their
    people, -1 for a dead row; `row_ids` (n,) int64. Negatives, whose ids lie below those of all references, are not counted.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._below = _HASHES  # a row belongs to the sample if the hash of its id is below this
        self._places = np.empty(0, np.intp)
        self._persons = np.empty(0, np.int32)
        self._beyond = 0  # so many references would join the sample if `_below` were twice as high
        self._counts = np.zeros(_BINS, np.int64)
        self._references = 0
        self._tail: Tail | None = None

    def rebuild(self, references: NDArray[np.float32], persons: NDArray[np.int32], row_ids: NDArray[np.int64]) -> None:
        """Count a whole gallery anew."""
        self._begin()
        places = np.flatnonzero((persons >= 0) & (row_ids >= _LEAST_ID))
        self._references = len(places)
        hashes = _hashes(row_ids[places])
        self._below = _few_below(hashes)
        self._beyond = self._count_beyond(hashes)
        self._take(references, persons, places[hashes < self._below])

    def add(
        self,
        references: NDArray[np.float32],
        persons: NDArray[np.int32],
        row_ids: NDArray[np.int64],
        start: int,
    ) -> None:
        """Count the rows from `start` on, which were added to the gallery."""
        new = start + np.flatnonzero((persons[start:] >= 0) & (row_ids[start:] >= _LEAST_ID))
        hashes = _hashes(row_ids[new])
        chosen = new[hashes < self._below]
        if len(self._places) + len(chosen) > MAX_SAMPLE:
            self.rebuild(references, persons, row_ids)
            return
        self._references += len(new)
        self._beyond += self._count_beyond(hashes)
        self._take(references, persons, chosen)

    def remove(
        self,
        references: NDArray[np.float32],
        persons: NDArray[np.int32],
        row_ids: NDArray[np.int64],
        places: NDArray[np.intp],
    ) -> None:
        """Take away the rows at `places`, which were counted and are deleted now: `persons` has -1 there, and their references are not
        overwritten yet."""
        ids = row_ids[places]
        ids = ids[ids >= _LEAST_ID]
        self._references -= len(ids)
        self._beyond -= self._count_beyond(_hashes(ids))
        gone = np.isin(self._places, places)
        if self._below < _HASHES and np.count_nonzero(~gone) + self._beyond <= MAX_SAMPLE:
            self.rebuild(references, persons, row_ids)
            return
        self._subtract(references, gone)

    def _subtract(self, references: NDArray[np.float32], gone: NDArray[np.bool_]) -> None:
        """Take the rows `gone` of the sample out of it."""
        went, persons = self._places[gone], self._persons[gone]
        self._places, self._persons = self._places[~gone], self._persons[~gone]
        for begin in range(0, len(went), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            self._compare(references, went[part], persons[part], -1)
            rest = slice(begin + _AT_ONCE, None)
            self._count(references, went[part], persons[part], went[rest], persons[rest], -1)
        self._tail = None

    def _count_beyond(self, hashes: NDArray[np.uint64]) -> int:
        return int(np.count_nonzero((hashes >= self._below) & (hashes < 2 * self._below)))

    @property
    def tail(self) -> Tail:
        """The tail as the gallery is now."""
        if self._tail is None:
            comparisons = int(self._counts.sum())
            people = len(np.unique(self._persons))
            bare = Tail(self._references, people, comparisons)
            anchors = (_score_reached_by(share, self._counts) for share in (bare.share, bare.broad_share))
            self._tail = Tail(self._references, people, comparisons, *anchors) if comparisons else bare
        return self._tail

    def _take(self, references: NDArray[np.float32], persons: NDArray[np.int32], places: NDArray[np.intp]) -> None:
        for begin in range(0, len(places), _AT_ONCE):
            part = places[begin : begin + _AT_ONCE]
            self._compare(references, part, persons[part], 1)
            self._places = np.concatenate([self._places, part])
            self._persons = np.concatenate([self._persons, persons[part]])
        self._tail = None

    def _compare(
        self, references: NDArray[np.float32], places: NDArray[np.intp], persons: NDArray[np.int32], sign: int
    ) -> None:
        """Count the comparisons of some rows with the sample, of which they are no part, and with each other."""
        self._count(references, places, persons, self._places, self._persons, sign)
        scores = cosines(references[places], references[places])
        self._add_up(scores[np.triu(persons[:, None] != persons[None], 1)], sign)

    def _count(
        self,
        references: NDArray[np.float32],
        places: NDArray[np.intp],
        persons: NDArray[np.int32],
        others: NDArray[np.intp],
        others_persons: NDArray[np.int32],
        sign: int,
    ) -> None:
        """Count the comparisons of rows with other rows."""
        scores = cosines(references[places], references[others])
        self._add_up(scores[persons[:, None] != others_persons[None]], sign)

    def _add_up(self, scores: NDArray[np.float32], sign: int) -> None:
        bins = np.clip((scores + 1) * (_BINS / 2), 0, _BINS - 1).astype(np.intp)
        self._counts += sign * np.bincount(bins, minlength=_BINS)


def tail_of(
    references: NDArray[np.float32], persons: NDArray[np.int32], row_ids: NDArray[np.int64] | None = None
) -> Tail:
    """The tail of a gallery in a process's own memory. The arguments are as for CrossScores; with the block's row ids the answer is the
    block's. None: 0, 1, 2 …"""
    scores = CrossScores()
    scores.rebuild(references, persons, np.arange(len(persons), dtype=np.int64) if row_ids is None else row_ids)
    return scores.tail


class Sample(NamedTuple):
    """A copy of what a gallery's tail is counted from: `references` (n, dim) and `persons` (n,) of its sample, out of `in_all` references."""

    references: NDArray[np.float32]
    persons: NDArray[np.int32]
    in_all: int

    @property
    def tail(self) -> Tail:
        """The tail, counted anew."""
        return tail_of(self.references, self.persons)._replace(references=self.in_all)


def sample_of(references: NDArray[np.float32], persons: NDArray[np.int32], row_ids: NDArray[np.int64]) -> Sample:
    """The sample of a gallery; the arguments are as for CrossScores. A reference that is there twice, as during a compaction, counts once."""
    places = np.flatnonzero((persons >= 0) & (row_ids >= _LEAST_ID))
    places = places[np.unique(row_ids[places], return_index=True)[1]]
    hashes = _hashes(row_ids[places])
    chosen = places[hashes < _few_below(hashes)]
    return Sample(references[chosen], persons[chosen], len(places))


def tail_of_batches(batches: Iterable[Batch]) -> Tail:
    """The tail of references that come in batches; that of the block which is made of them. Only the sample stays in memory."""
    below, count = _HASHES, 0
    people: dict[str, int] = {}
    hashes, persons = np.empty(0, np.uint64), np.empty(0, np.int32)
    references: NDArray[np.float32] | None = None
    for batch in batches:
        count += len(batch.row_ids)
        hashes = np.concatenate([hashes, _hashes(np.array(batch.row_ids, np.int64))])
        numbers = np.array([people.setdefault(name, len(people)) for name in batch.names], np.int32)
        persons = np.concatenate([persons, numbers])
        references = batch.references if references is None else np.concatenate([references, batch.references])
        below = _few_below(hashes, below)
        chosen = hashes < below
        hashes, persons, references = hashes[chosen], persons[chosen], references[chosen]
    return Tail() if references is None else Sample(references, persons, count).tail


def _hashes(row_ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number from 0 to 2^32 - 1 for each id, evenly spread."""
    return (row_ids.astype(np.uint64) * _GOLDEN) >> np.uint64(32)


def _few_below(hashes: NDArray[np.uint64], below: int = _HASHES) -> int:
    """`below`, halved until no more of `hashes` are below it than the sample may have."""
    while np.count_nonzero(hashes < below) > MAX_SAMPLE:
        below //= 2
    return below


def _score_reached_by(share: float, counts: NDArray[np.int64]) -> float:
    """The cosine that a share of the comparisons reaches, as if the comparisons of a bin lay evenly in it."""
    wanted = share * float(counts.sum())
    reached = np.cumsum(counts[::-1])
    place = int(np.argmax(reached >= wanted))
    within = (reached[place] - wanted) / max(1, counts[::-1][place])  # of the bin, the part that lies below that cosine
    return float((_BINS - 1 - place + within) / (_BINS / 2) - 1)
