"""The match: exact best people for a probe, by an int8 scan and a float32 rescore.

With reference r, probe q and their dequantised codes r', q': |r·q - r'·q'| <= |r - r'| |q| + |r'| |q - q'|, by Cauchy and
Schwarz. So every row's exact score lies within that bound of its scanned one. The scan goes through the gallery piece by
piece, and keeps for each probe a score that the k-th best person is sure to reach. A row whose scanned score plus the bound
stays below it cannot be among the best k people; the few others are scored exactly at the end. The answer is that of float32
brute force.

Cost: one pass over the codes at the speed of memory. Everything else touches a piece's scores while they are in the cache, or
the few rows in play.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numkong
import numpy as np
from numpy.typing import NDArray

_PACK_FROM = 3  # probes from which packing them pays; two are faster one by one
_PIECE_SCORES = 1 << 18  # scores of one piece of the gallery: 1 MiB, within a core's cache
_FIRST_PIECE_ROWS = 4096  # of packed probes: while nothing is known each row is in play, so learn from few
_TIGHTEN_AFTER = 64  # rows in play of each probe, from which it pays to look what they rule out
_BLOCKS = 128  # of rows, to learn from the best row of each
_WALK = 64  # rows looked at one by one for the k-th person, before all are at once
_RESCORE_ROWS = 4096  # references gathered at once: 8 MiB of 512-d ones, however many rows an adversary puts in play
_CODE_ROWS = 256  # coded at once: 512 KiB of 512-d rows, and as much again for what comes of them
_LEAST_SCALE = np.float32(1e-12)
_ROUNDING = np.float32(1e-6)  # float32 rounding of codes, scales and scores, on a score of at most 1
_MOST_NORM = 1.001  # of a reference: the store takes no row whose norm is further from 1


class Candidate(NamedTuple):
    """One person in a match's answer. `score`: cosine of the person's best reference."""

    person: str
    user_id: str | None
    score: float


class Rows(NamedTuple):
    """The arrays of a gallery that a match reads; see gallery_block's specification."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    errors: NDArray[np.float32]
    references: NDArray[np.float32]
    persons: NDArray[np.int32]
    largest_scale: float | None = None  # of `scales`, and of `errors`, where the caller knows: saves reading them all
    widest_error: float | None = None


class Found(NamedTuple):
    """A match's answer: for each probe (person index, exact cosine), best first. `dead_in_play`: a dead row scored high enough."""

    people: list[list[tuple[int, float]]]
    dead_in_play: bool


def quantise(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """int8 codes, scale and error bound of each row of `vectors` (n, dim; float32).

    The bound is widened by 1e-6 for float32 rounding here and in the scan.
    """
    count, dim = vectors.shape
    codes, scales, errors = np.empty((count, dim), np.int8), np.empty(count, np.float32), np.empty(count, np.float32)
    scaled, rounded = np.empty((2, min(count, _CODE_ROWS), dim), np.float32)
    for start in range(0, count, _CODE_ROWS):
        rows = slice(start, min(start + _CODE_ROWS, count))
        part = vectors[rows]
        units, whole = scaled[: len(part)], rounded[: len(part)]
        scales[rows] = np.maximum(np.maximum(part.max(axis=1), -part.min(axis=1)) / np.float32(127), _LEAST_SCALE)
        np.multiply(part, (1 / scales[rows])[:, None], out=units)
        np.rint(units, out=whole)
        np.copyto(codes[rows], whole, casting="unsafe")
        np.subtract(units, whole, out=units)
        errors[rows] = np.sqrt(np.vecdot(units, units)) * scales[rows] + _ROUNDING
    return codes, scales, errors


def match(rows: Rows, probes: NDArray[np.float32], k: int) -> list[list[tuple[int, float]]]:
    """For each probe (n, dim; float32, unit norm): up to `k` (person index, exact cosine), best first; dead rows never answer."""
    return search(rows, probes, k).people


def search(rows: Rows, probes: NDArray[np.float32], k: int) -> Found:
    """As `match`, and whether dead rows were in play: then a person whose row was replaced meanwhile may be missing."""
    if probes.ndim != 2 or (len(rows.codes) and probes.shape[1] != rows.codes.shape[1]):
        raise ValueError(f"probes of shape {probes.shape} against a gallery of dimension {rows.codes.shape[1]}")
    if not len(rows.codes) or not len(probes) or k < 1:
        return Found([[] for _ in probes], False)
    play = _Play(rows, np.ascontiguousarray(probes, dtype=np.float32), k)
    packed = numkong.dots_pack(play.codes) if len(probes) >= _PACK_FROM else None
    step = max(_FIRST_PIECE_ROWS, _PIECE_SCORES // len(probes))
    first = step if packed is None else _FIRST_PIECE_ROWS
    for start, end in itertools.pairwise([0, *range(first, len(rows.codes), step), len(rows.codes)]):
        codes = rows.codes[start:end]
        if packed is not None:
            play.look_at_all(start, np.asarray(numkong.dots_packed(codes, packed)))
        else:
            for number, code in enumerate(play.codes):
                dots = numkong.cdist(code[None], codes, metric="dot", out_dtype="float32")
                play.look_at_one(start, np.asarray(dots)[0], number)
    return Found(play.settle(), play.dead_in_play)


class _InPlay(NamedTuple):
    """Rows in play, as columns. `scores`: of the codes, divided by the probe's own scale; the exact one is within the bound."""

    probes: NDArray[np.intp]
    rows: NDArray[np.intp]
    persons: NDArray[np.int32]
    scores: NDArray[np.float32]


class _Play:
    """What is in play for each probe. A row stays in play while its score reaches the probe's `floor`."""

    def __init__(self, rows: Rows, probes: NDArray[np.float32], k: int) -> None:
        self._gallery, self._probes, self._k = rows, probes, k
        self.codes, scales, errors = quantise(probes)
        widest = float(rows.errors.max()) if rows.widest_error is None else rows.widest_error
        self._largest_scale = float(rows.scales.max()) if rows.largest_scale is None else rows.largest_scale
        norms = np.sqrt(np.vecdot(probes, probes))
        self._bounds = ((widest * norms + (_MOST_NORM + widest) * errors) / scales).astype(np.float32)
        self._floors = np.full(len(probes), -np.inf, np.float32)
        self._kept: list[_InPlay] = []
        self._untightened = 0
        self.dead_in_play = False

    def look_at_one(self, start: int, dots: NDArray[np.float32], probe: int) -> None:
        """Keep what is in play for one probe in one piece of the gallery. `dots` (rows from `start`,): products of the codes."""
        dots *= self._gallery.scales[start : start + len(dots)]
        self._learn(start, dots[None], probe)
        hits = np.flatnonzero(dots >= self._floors[probe])
        self._keep(hits + start, np.full(len(hits), probe), dots[hits])

    def look_at_all(self, start: int, dots: NDArray[np.int32]) -> None:
        """The same for all probes: `dots` (rows from `start`, probes).

        To scale every product would cost an eighth of the scan. One comparison with one number leaves few to scale: the lowest
        floor over the largest scale.
        """
        probes = dots.shape[1]
        if start == 0:
            scales = self._gallery.scales[: len(dots)]
            self._learn(0, np.multiply(dots.T, scales, dtype=np.float32, casting="unsafe", order="C"), 0)
        least = float(self._floors.min()) / self._largest_scale * (1 - 1e-6)
        # An int32 compares with an int of its own kind, or numpy would convert every product first.
        hits = np.flatnonzero(dots >= np.int32(least)) if least > 0 else np.arange(dots.size)
        rows = hits // probes
        of_probe = hits - rows * probes
        scores = dots.reshape(-1)[hits] * self._gallery.scales[rows + start]
        in_play = np.flatnonzero(scores >= self._floors[of_probe])
        self._keep(rows[in_play] + start, of_probe[in_play], scores[in_play].astype(np.float32, copy=False))

    def _learn(self, start: int, scores: NDArray[np.float32], first: int) -> None:
        """Raise the floors by the best rows of a few blocks of `scores` (probes from `first`, rows from `start`)."""
        probes, rows = scores.shape
        width = max(1, rows // _BLOCKS)
        blocks = scores[:, : rows // width * width].reshape(probes, -1, width)
        places = blocks.argmax(axis=2) + np.arange(blocks.shape[1]) * width
        persons = self._gallery.persons[places + start]
        best = np.where(persons < 0, -np.inf, scores[np.arange(probes)[:, None], places])
        order = np.argsort(-best, axis=1)
        for i in range(probes):
            kth = _kth_person(persons[i, order[i]], self._k)
            if kth is not None:
                self._raise_floor(first + i, best[i, order[i, kth]])

    def _raise_floor(self, probe: int, score: np.float32) -> None:
        """`k` people reach `score`: exactly scored a bound less, perhaps, and who beats that may be scanned a bound lower still."""
        self._floors[probe] = max(self._floors[probe], score - 2 * self._bounds[probe])

    def _keep(self, rows: NDArray[np.intp], probes: NDArray[np.intp], scores: NDArray[np.float32]) -> None:
        persons = self._gallery.persons[rows]  # one load: what a row was then, it is for the whole answer
        kept = _InPlay(probes, rows, persons, scores)
        if len(rows) and persons.min() < 0:
            self.dead_in_play = True
            kept = _chosen(kept, persons >= 0)
        self._kept.append(kept)
        self._untightened += len(kept.rows)
        if self._untightened >= _TIGHTEN_AFTER * len(self._probes):
            self._tighten()

    def _tighten(self) -> _InPlay:
        """Raise the floors by what was kept, and drop what lies below them."""
        kept = self._kept[0] if len(self._kept) == 1 else _joined(self._kept)
        kept = _chosen(kept, np.lexsort((-kept.scores, kept.probes)))
        begins = np.searchsorted(kept.probes, np.arange(len(self._probes) + 1)).tolist()
        for probe, (begin, end) in enumerate(itertools.pairwise(begins)):
            kth = _kth_person(kept.persons[begin:end], self._k)
            if kth is not None:
                self._raise_floor(probe, kept.scores[begin + kth])
        kept = _chosen(kept, kept.scores >= self._floors[kept.probes])
        self._kept, self._untightened = [kept], 0
        return kept

    def settle(self) -> list[list[tuple[int, float]]]:
        """The exact best people among what is still in play; equal scores by lower person index."""
        answers: list[list[tuple[int, float]]] = [[] for _ in self._probes]
        kept = self._tighten()
        scores = np.empty(len(kept.rows), np.float32)
        for start in range(0, len(scores), _RESCORE_ROWS):
            part = slice(start, start + _RESCORE_ROWS)
            references = self._gallery.references[kept.rows[part]]
            np.einsum("ij,ij->i", references, self._probes[kept.probes[part]], out=scores[part])
        order = np.lexsort((kept.persons, -scores, kept.probes))
        columns = (kept.probes[order].tolist(), kept.persons[order].tolist(), scores[order].tolist())
        for probe, person, score in zip(*columns, strict=True):
            answer = answers[probe]
            if len(answer) < self._k and all(person != known for known, _ in answer):
                answer.append((person, score))
        return answers


def _joined(parts: list[_InPlay]) -> _InPlay:
    return _InPlay(
        np.concatenate([one.probes for one in parts]),
        np.concatenate([one.rows for one in parts]),
        np.concatenate([one.persons for one in parts]),
        np.concatenate([one.scores for one in parts]),
    )


def _chosen(kept: _InPlay, which: NDArray[np.intp] | NDArray[np.bool_]) -> _InPlay:
    return _InPlay(kept.probes[which], kept.rows[which], kept.persons[which], kept.scores[which])


def _kth_person(persons: NDArray[np.int32], k: int) -> int | None:
    """Where, in `persons` sorted by falling score, the k-th different person first appears; None when there are fewer."""
    seen: set[int] = set()
    for place, person in enumerate(persons[:_WALK].tolist()):  # nearly always within a few steps
        seen.add(person)
        if len(seen) == k:
            return place
    firsts = np.unique(persons, return_index=True)[1]
    return int(np.sort(firsts)[k - 1]) if len(firsts) >= k else None
