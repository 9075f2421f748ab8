"""Finds out who looks like whom: the best scores of some references (the probes) with a whole gallery, by person.

Arrays in, arrays out. The gallery comes piece by piece, so that it may be larger than this process's memory. A piece costs
one matrix product; beyond that, only scores that may still change an answer are examined.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NOBODY = np.float32(-2.0)  # below every cosine
NO_ROW = np.iinfo(np.int64).max
_PROBES_AT_ONCE = 256
_ROWS_AT_ONCE = 8192  # with 256 probes: 8 MiB of scores
# For a model with the threshold .45: two photos with a higher score than this are copies of one picture, also if mirrored or
# recompressed. In the test data these are 4 of 725 pairs of photos of one person. dlib's scores all lie just below 1; the same
# share of the way from its threshold to 1 gives .998, and again 4 pairs.
_COPY_AT_45 = 0.98


def copy_from(threshold: float) -> float:
    """Two references with at least this cosine are copies of one picture. `threshold`: the model's default."""
    return 1.0 - (1.0 - _COPY_AT_45) / (1.0 - 0.45) * (1.0 - threshold)


def unlike_below(threshold: float, margin: float) -> float:
    """The cosine below which a photo disagrees with its person, from the model's default threshold and margin.

    The lowest best score of a photo against its person's others was .481 with the small test pack (limit .35) and .935
    with dlib (limit .925), on 225 photos of 42 people. Photos of two people seldom reach the limit.
    """
    return threshold - 2 * margin


class Columns(NamedTuple):
    """For each of m probes: a score (NOBODY if there is none), the person's index, and the row of the gallery (-1 if none). Each (m,)."""

    scores: NDArray[np.float32]
    persons: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def empty(cls, count: int) -> Columns:
        return cls(np.full(count, NOBODY), np.full(count, -1), np.full(count, -1))


class Neighbours:
    """For each probe: the best other reference of its own person (`own`), and the two best other people (`first`, `second`).

    `own_count`: (m,) how many other references its person has. `copy_rows`: (m,) the lowest row with a copy of the probe's
    picture under the same name, or NO_ROW; a probe that is in the gallery is a copy of itself. Copies do not count as other
    references.
    """

    def __init__(self, probes: NDArray[np.float32], persons: NDArray[np.int32], copies_from: float) -> None:
        """`probes`: (m, dim) float32 of unit norm. `persons`: (m,) the index of each probe's person. `copies_from`: two references
        with at least this cosine are copies."""
        count = len(probes)
        self._probes, self._persons, self._copies_from = probes, persons, np.float32(copies_from)
        self.own, self.first, self.second = (Columns.empty(count) for _ in range(3))
        self.own_count = np.zeros(count, np.int64)
        self.copy_rows = np.full(count, NO_ROW)

    def compare(self, vectors: NDArray[np.float32], persons: NDArray[np.int32], start: int) -> None:
        """Compare the probes with n rows of the gallery, from row `start` on. `vectors`: (n, dim) float32 of unit norm. `persons`:
        (n,) int32; -1 for a row that does not count."""
        for begin in range(0, len(vectors), _ROWS_AT_ONCE):
            piece = slice(begin, begin + _ROWS_AT_ONCE)
            for first in range(0, len(self._probes), _PROBES_AT_ONCE):
                self._compare_chunk(
                    slice(first, first + _PROBES_AT_ONCE), vectors[piece], persons[piece], start + begin
                )

    def replace(self, probes: NDArray[np.intp], others: Neighbours) -> None:
        """Replace our results for `probes` (indices) by those of `others`, which has one result for each of them."""
        for mine, fresh in ((self.own, others.own), (self.first, others.first), (self.second, others.second)):
            mine.scores[probes], mine.persons[probes], mine.rows[probes] = fresh
        self.own_count[probes], self.copy_rows[probes] = others.own_count, others.copy_rows

    def _compare_chunk(
        self, chunk: slice, vectors: NDArray[np.float32], persons: NDArray[np.int32], start: int
    ) -> None:
        scores = self._probes[chunk] @ vectors.T
        scores[:, persons < 0] = NOBODY
        probes, rows = np.nonzero(self._persons[chunk, None] == persons[None])
        if len(probes):
            self._take_own(probes + chunk.start, scores[probes, rows], rows + start)
            scores[probes, rows] = NOBODY
        best = scores.argmax(axis=1)
        top = scores[np.arange(len(scores)), best]
        for i in np.flatnonzero(top > self.second.scores[chunk]).tolist():
            self._offer(chunk.start + i, top[i], int(persons[best[i]]), start + int(best[i]))
            scores[i, persons == persons[best[i]]] = NOBODY
            following = int(scores[i].argmax())
            self._offer(chunk.start + i, scores[i, following], int(persons[following]), start + following)

    def _take_own(self, probes: NDArray[np.intp], scores: NDArray[np.float32], rows: NDArray[np.intp]) -> None:
        copies = scores >= self._copies_from
        np.minimum.at(self.copy_rows, probes[copies], rows[copies])
        probes, scores, rows = probes[~copies], scores[~copies], rows[~copies]
        np.add.at(self.own_count, probes, 1)
        order = np.lexsort((scores, probes))
        last = order[np.flatnonzero(np.diff(probes[order], append=-1))]  # the best of each probe
        better = last[scores[last] > self.own.scores[probes[last]]]
        self.own.scores[probes[better]] = scores[better]
        self.own.persons[probes[better]] = self._persons[probes[better]]
        self.own.rows[probes[better]] = rows[better]

    def _offer(self, probe: int, score: np.float32, person: int, row: int) -> None:
        """Take another person's best row in a piece, if it is among the two best so far."""
        first, second = self.first, self.second
        if score <= NOBODY or score <= second.scores[probe]:
            return
        if person == first.persons[probe]:
            if score > first.scores[probe]:
                _put(first, probe, score, person, row)
        elif score > first.scores[probe]:
            _put(second, probe, first.scores[probe], int(first.persons[probe]), int(first.rows[probe]))
            _put(first, probe, score, person, row)
        else:
            _put(second, probe, score, person, row)


def _put(columns: Columns, probe: int, score: np.float32, person: int, row: int) -> None:
    columns.scores[probe], columns.persons[probe], columns.rows[probe] = score, person, row


@dataclass(frozen=True)
class PeoplePair:
    """Two people who look alike. `rows`: their most similar references in the gallery; `people`: in the same order."""

    people: tuple[int, int]
    rows: tuple[int, int]
    score: float


def alike_pairs(
    found: Neighbours,
    persons: NDArray[np.int32],
    rows: NDArray[np.int64],
    most: int,
    without: Collection[tuple[int, int]] = (),
) -> list[PeoplePair]:
    """The `most` pairs of people with the highest scores, best first, taken from each probe's two best other people.

    `persons`, `rows`: (m,) each probe's person and row. `without`: pairs, the lower index first, that are left out. A pair is missed only if
    each of its references is more similar to two other people.
    """
    own = np.concatenate([persons, persons]).astype(np.int64)
    own_rows = np.concatenate([rows, rows])
    other = np.concatenate([found.first.persons, found.second.persons])
    other_rows = np.concatenate([found.first.rows, found.second.rows])
    scores = np.concatenate([found.first.scores, found.second.scores])
    pairs: dict[tuple[int, int], PeoplePair] = {}
    for i in np.argsort(-scores, kind="stable").tolist():
        if len(pairs) == most or other[i] < 0:
            break
        key = (min(int(own[i]), int(other[i])), max(int(own[i]), int(other[i])))
        if key in without:
            continue
        people, places = (int(own[i]), int(other[i])), (int(own_rows[i]), int(other_rows[i]))
        pairs.setdefault(key, PeoplePair(people, places, float(scores[i])))
    return list(pairs.values())


def disagreeing(found: Neighbours, limit: float, threshold: float) -> NDArray[np.intp]:
    """The probes (indices) that disagree with their own person, if that person has at least two other references.

    A probe disagrees if none of those scores at least `limit`, or if none scores at least `threshold` while another person does.
    A probe that reaches `threshold` with its own person never disagrees, even if another person scores higher: the other
    person's photo may be the one in the wrong folder.
    """
    own, other = found.own.scores, found.first.scores
    unlike = (own < limit) | ((own < threshold) & (other >= threshold))
    return np.flatnonzero((found.own_count >= 2) & unlike)
