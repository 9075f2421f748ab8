"""Calibration: measures on a gallery's own photos what the limits name that follow from a risk. Arrays in, a report out.

Every reference is used twice as a probe, the embedding that is searched in the gallery. Without itself in the gallery it is a
*genuine* probe: the person's best other reference is compared with the best other person. Without any reference of its
person it is a *stranger*: the share of strangers that a threshold and a margin name is the false-match rate at this
gallery's size.

Some photos would spoil the figures, so they are left out and counted: all but one of several copies of one picture, and
photos that disagree with their own person, unless somebody said that they are right. If two people look like one person under two
names, they count as one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.gallery.tail import tail_of
from shared.progress import Progress
from workers.calibration.false_matches import Scores
from workers.calibration.gallery_copy import References
from workers.calibration.neighbours import Neighbours, PeoplePair, alike_pairs, copy_from, disagreeing, unlike_below
from workers.recognition.working_point import Limits, ModelDefaults, ModelPoint, WorkingPoint, limits

MAX_PROBES = 20_000  # at 100,000 references of 512 numbers: 2e12 multiplications, half a minute on two cores
_PIECE_ROWS = 8192
_MAX_PAIRS = 50
_MIN_GENUINE = 10  # with fewer genuine scores, their lower quartile means nothing
_MIN_COMPARISONS = 6
_USUAL = 0.9  # the quantile of the strangers' best scores that counts as usual
_MAX_COMPARED = 100  # photos of a person that are compared, at most


@dataclass(frozen=True)
class Disagreement:
    """A photo that disagrees with its own person. `own`: its best score with that person's other photos. `other_person`, `other`:
    the most similar other person and the score, or None."""

    row: int
    own: float
    other_person: int | None
    other: float | None


@dataclass(frozen=True)
class LeftOut:
    """How many probes do not count: copies of another photo, and photos that disagree with their person."""

    copies: int = 0
    disagreeing: int = 0


@dataclass(frozen=True, eq=False)
class Calibration:
    """The result. Rows and people are indices into the References that were calibrated.

    `sampled`: how many references were used as probes. `scores`: of the probes that count. `now`: the limits in force; `proposal`: those
    that follow from the share `wanted` of strangers. `one_person`: pairs of people who look like one person under two names.
    """

    references: int
    people: int
    single_photo_people: int
    sampled: int
    left_out: LeftOut
    scores: Scores
    wanted: float
    proposal: Limits
    now: Limits
    pairs: list[PeoplePair] = field(default_factory=list)
    one_person: list[tuple[int, int]] = field(default_factory=list)
    disagreeing: list[Disagreement] = field(default_factory=list)

    @property
    def table(self) -> list[WorkingPoint]:
        """The proposed working point among others with its margin and thresholds around its own, the lowest first."""
        proposed = self.proposal.point.threshold
        step = (1 - proposed) / 12
        found = {proposed, *(round(proposed + step * i, 3) for i in range(-4, 5) if i)}
        return [WorkingPoint(one, self.proposal.point.margin) for one in sorted(found) if 0 <= one <= 1]


@dataclass(frozen=True, eq=False)
class LookedThrough:
    """A gallery compared with itself. `probes`: (m,) rows that were searched. `found`: their neighbours. `strange`: the probes (indices) that
    disagree with their person; `right`: those that do so, and of which somebody said that they are right. `copies_from`: the cosine from which
    two references are copies."""

    probes: NDArray[np.int64]
    found: Neighbours
    strange: NDArray[np.intp]
    right: NDArray[np.intp]
    copies_from: float


def look_through(
    references: References, model: ModelPoint, most_probes: int | None, progress: Progress | None = None
) -> LookedThrough:
    """Compare a gallery with itself; the arguments as of `calibrate`."""
    probes = _sample(len(references.persons), most_probes)
    copies, limit = copy_from(model.threshold), unlike_below(model.threshold, model.margin)
    found = _ask(references, references.persons, probes, copies, progress)
    strange = disagreeing(found, limit, model.threshold)
    is_right = np.isin(references.row_ids[probes[strange]], list(references.right))
    return LookedThrough(probes, found, strange[~is_right], strange[is_right], copies)


def calibrate(
    references: References,
    model: ModelDefaults,
    wanted: float,
    now: Limits | None = None,
    *,
    most_probes: int | None = MAX_PROBES,
    apart: bool = False,
    progress: Progress | None = None,
) -> Calibration:
    """Calibrate a gallery. `wanted`: the share of strangers that may get a name, 0 to 1; `now`: the limits in force, None: those of `wanted`.
    The proposal has the margin in force.

    `most_probes`: of a larger gallery, a random sample of so many references is used as probes, always the same sample; None:
    use all. `apart`: never take two people for one person under two names. `progress` is called with (rows compared, rows in
    all). Memory: the gallery, the probes (40 MB with 512 dimensions), and some 30 MB.
    """
    persons = references.persons
    looked = look_through(references, model, most_probes, progress)
    probes, found, strange, copies = looked.probes, looked.found, looked.strange, looked.copies_from
    counts = np.bincount(persons) if len(persons) else np.zeros(0, np.int64)
    pairs = alike_pairs(found, persons[probes], probes, _MAX_PAIRS)
    one_person = [] if apart else [_sorted(pair.people) for pair in one_person_pairs(references, pairs, looked, model)]
    differing = [_disagreement(found, int(i), int(probes[i])) for i in strange]

    mended = _mended(persons, probes[strange], one_person)
    again = _touched(found, persons, mended, probes)
    if len(again):
        found.replace(again, _ask(references, mended, probes[again], copies, progress))
    is_copy = found.copy_rows < probes
    is_copy[strange] = False
    counted = ~is_copy
    counted[strange] = False
    scores = Scores(
        own=found.own.scores[counted],
        first=found.first.scores[counted],
        second=found.second.scores[counted],
        people=mended[probes[counted]],
    )
    tail = tail_of(references.vectors, persons, references.row_ids) if now is None else now.strangers.tail
    proposal = limits(model, tail, wanted, margin=None if now is None else now.point.margin)
    return Calibration(
        references=len(persons),
        people=int((counts > 0).sum()),
        single_photo_people=int((counts == 1).sum()),
        sampled=len(probes),
        left_out=LeftOut(int(is_copy.sum()), len(strange)),
        scores=scores,
        wanted=wanted,
        proposal=proposal,
        now=now or proposal,
        pairs=pairs,
        one_person=sorted(one_person),
        disagreeing=sorted(differing, key=lambda one: one.own),
    )


def _sample(count: int, most: int | None) -> NDArray[np.int64]:
    if most is None or count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def _ask(
    references: References,
    persons: NDArray[np.int32],
    probes: NDArray[np.int64],
    copies: float,
    progress: Progress | None,
) -> Neighbours:
    found = Neighbours(references.vectors[probes], persons[probes], copies)
    for start in range(0, len(persons), _PIECE_ROWS):
        piece = slice(start, start + _PIECE_ROWS)
        found.compare(references.vectors[piece], persons[piece], start)
        if progress is not None:
            progress(min(start + _PIECE_ROWS, len(persons)), len(persons))
    return found


def one_person_pairs(
    references: References, pairs: list[PeoplePair], looked: LookedThrough, model: ModelPoint
) -> list[PeoplePair]:
    """Those of the most similar pairs that look like one person. The median score of all photos of both decides, not one lucky photo.

    The median has to come within a margin of the threshold, and to be at least the best score of nine strangers in ten. In the
    test data it was .448 for the one person under two names, and at most .283 for two people; with dlib .938 and .918. If the
    two have fewer than six pairs of photos, the median has to reach the lower quartile of the genuine scores instead of the
    threshold less a margin. A pair that is known to be different is none.
    """
    genuine = looked.found.own.scores[looked.found.own_count > 0]
    few = looked.copies_from
    if len(genuine) >= _MIN_GENUINE:
        few = max(model.threshold, float(np.quantile(genuine, 0.25)))
    alike: dict[tuple[int, int], tuple[PeoplePair, float]] = {}
    for pair in pairs:
        both = _sorted(pair.people)
        ours, theirs = (np.flatnonzero(references.persons == one)[:_MAX_COMPARED] for one in both)
        scores = references.vectors[ours] @ references.vectors[theirs].T
        median = float(np.median(scores))
        if median >= (model.threshold - model.margin if scores.size >= _MIN_COMPARISONS else few):
            alike[both] = pair, median
    usual = _usual(references, looked, alike)
    return [pair for both, (pair, median) in alike.items() if median >= usual and both not in references.different]


def _usual(references: References, looked: LookedThrough, alike: Collection[tuple[int, int]]) -> float:
    """The best score of nine strangers in ten. Two who may be one person are no strangers to each other: in a small gallery a few such pairs
    would be more than a tenth. A photo that disagrees with its person is nobody's."""
    first, second, persons = looked.found.first, looked.found.second, references.persons[looked.probes].tolist()
    is_twin = np.array([_sorted(pair) in alike for pair in zip(persons, first.persons.tolist(), strict=True)], bool)
    scores, others = np.where(is_twin, second.scores, first.scores), np.where(is_twin, second.persons, first.persons)
    counts = others >= 0
    counts[looked.strange] = False
    return float(np.quantile(scores[counts], _USUAL)) if counts.any() else 0.0


def _sorted(pair: tuple[int, int]) -> tuple[int, int]:
    return min(pair), max(pair)


def _disagreement(found: Neighbours, probe: int, row: int) -> Disagreement:
    person = int(found.first.persons[probe])
    other = (person, float(found.first.scores[probe])) if person >= 0 else (None, None)
    return Disagreement(row, float(found.own.scores[probe]), *other)


def _mended(
    persons: NDArray[np.int32], strange: NDArray[np.int64], one_person: Iterable[tuple[int, int]]
) -> NDArray[np.int32]:
    """`persons`, corrected: rows that disagree belong to nobody (-1), and two people who are one get one index."""
    count = int(persons.max(initial=-1)) + 1
    roots = np.arange(count, dtype=np.int32)
    for a, b in one_person:
        roots[roots == roots[b]] = roots[a]
    mended = roots[persons] if count else persons.copy()
    mended[strange] = -1
    return mended


def _touched(
    found: Neighbours, persons: NDArray[np.int32], mended: NDArray[np.int32], probes: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Which probes have to be compared again, because `mended` changes their person or one of their best matches."""
    changed_row = persons != mended
    if not changed_row.any():
        return np.empty(0, np.intp)
    changed_person = np.zeros(int(persons.max()) + 2, bool)  # the last entry is for nobody, index -1
    changed_person[persons[changed_row]] = True
    changed_person[mended[changed_row & (mended >= 0)]] = True
    columns = (found.own, found.first, found.second)
    hit = [changed_person[column.persons] for column in columns]
    return np.flatnonzero((changed_person[persons[probes]] | np.logical_or.reduce(hit)) & (mended[probes] >= 0))
