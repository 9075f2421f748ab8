"""The match: the exact best people for a probe, found by an int8 scan and scored again in float32.

Why the answer is exact. Take a reference r, a probe q, and their dequantised codes r', q'. By Cauchy and Schwarz,
|r·q - r'·q'| <= |r - r'| |q| + |r'| |q - q'|.
1. So a row's exact score is at most its scanned score plus this bound. That sum is the row's *ceiling*.
2. The scan reads the gallery piece by piece. For each probe it keeps a *floor*: a score that the best rows of k people, among those
   kept so far, reach or exceed exactly.
3. A row whose ceiling lies below the floor can't belong to the best k people. It is dropped. The few other rows are *in play*.
4. In the end the rows in play are scored exactly. The answer is that of float32 brute force.

Cost: one pass over the codes at the speed of memory. Everything else reads a piece's products while they are in the cache, or the few
rows in play.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple, Protocol

import numkong
import numpy as np
from numpy.typing import NDArray

from shared.gallery.tail import Tail

_PIECE_PRODUCTS = 1 << 18  # products of one piece of the gallery: 1 MiB, which fits into a core's cache
_CACHED_BYTES = 1 << 19  # of codes; they fit into the cache, too
_REPEATS = 64  # how often the probes' least products are repeated, so that one comparison covers many rows
_TIGHTEN_AFTER = 64  # with so many rows in play for each probe, raising the floors is worth its cost
_BLOCKS = 8  # for each person wanted: the first piece is cut into blocks, and the best row of each raises the floors
_WALK = 64  # so many rows are searched one by one for different people; if that is not enough, all rows at once
_RESCORE_ROWS = (
    4096  # references gathered at once: 8 MiB with 512 dimensions, however many rows an adversary puts in play
)
# Rows quantised at once. Beside a thread that needs the interpreter, few long steps finish sooner than many short ones.
_CODE_ROWS = 1024
_MIN_SCALE = np.float32(1e-12)
_ROUNDING = np.float32(1e-6)  # float32 rounding of codes, scales and scores, on a score of at most 1
_INT32 = np.iinfo(np.int32)
_MAX_NORM = 1.001  # of a reference: the store accepts no row whose norm is further from 1


People = list[list[tuple[int, float]]]  # for each probe: (person index, exact cosine), best first
Products = NDArray[np.int32] | NDArray[np.float32]  # of codes; the kernel decides the dtype; both are exact


class Candidate(NamedTuple):
    """One person in the answer of a match. `score`: the cosine between the probe and the person's best reference.

    `rival`: the highest cosine between the probe and a face that was judged not to be this person's. None if there is no such face, or
    all of them score lower than the last person of the answer.
    """

    person: str
    user_id: str | None
    score: float
    rival: float | None = None


class Gallery(Protocol):
    """What a probe can be matched against: a process's view of the block, or a gallery in its own memory.

    `tail`: how alike the faces of different people in it are.
    """

    @property
    def tail(self) -> Tail: ...

    def match(self, probes: NDArray[np.float32], k: int = 2) -> list[list[Candidate]]:
        """For each of `probes` (n, dim; float32, unit L2 norm): its `k` best people, best first, each with the highest cosine among
        their references. People who have a higher rival of their own are in the answer beyond these `k`."""
        ...


class Rows(NamedTuple):
    """The arrays of a gallery that a match reads; gallery/block.py specifies them."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    errors: NDArray[np.float32]
    references: NDArray[np.float32]
    persons: NDArray[np.int32]


class Found(NamedTuple):
    """A match's answer. `dead_in_play`: whether a dead row scored high enough to be in play."""

    people: People
    dead_in_play: bool


def quantise(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Codes (n, dim; int8), scales (n,; float32) and error bounds (n,; float32) of `vectors` (n, dim; float32).

    Each bound has 1e-6 added for float32 rounding here and in the scan.
    """
    count, dim = vectors.shape
    codes, scales, errors = np.empty((count, dim), np.int8), np.empty(count, np.float32), np.empty(count, np.float32)
    scaled = np.empty((min(count, _CODE_ROWS), dim), np.float32)
    for start in range(0, count, _CODE_ROWS):
        rows = slice(start, min(start + _CODE_ROWS, count))
        part = vectors[rows]
        units = scaled[: len(part)]
        scales[rows] = np.maximum(np.maximum(part.max(axis=1), -part.min(axis=1)) / np.float32(127), _MIN_SCALE)
        np.multiply(part, (1 / scales[rows])[:, None], out=units)
        np.rint(units, out=codes[rows], casting="unsafe")
        np.subtract(units, codes[rows], out=units)
        errors[rows] = np.sqrt(np.vecdot(units, units)) * scales[rows] + _ROUNDING
    return codes, scales, errors


def match(rows: Rows, probes: NDArray[np.float32], k: int) -> People:
    """The best `k` people for each of `probes` (n, dim; float32, unit L2 norm). Dead rows are never in the answer.

    Raises ValueError for probes of another dimension.
    """
    return search(rows, probes, k).people


def search(rows: Rows, probes: NDArray[np.float32], k: int) -> Found:
    """As `match`, and whether dead rows were in play. If so, a person whose row was replaced meanwhile may be missing."""
    if probes.ndim != 2 or (len(rows.codes) and probes.shape[1] != rows.codes.shape[1]):
        raise ValueError(f"probes of shape {probes.shape} against a gallery of dimension {rows.codes.shape[1]}")
    if not len(rows.codes) or not len(probes) or k < 1:
        return Found([[] for _ in probes], False)
    play = _Play(rows, np.ascontiguousarray(probes, dtype=np.float32), k)
    packed = numkong.dots_pack(play.codes) if len(probes) > 1 else None
    step = max(_REPEATS, _PIECE_PRODUCTS // len(probes) // _REPEATS * _REPEATS)
    for start in range(0, len(rows.codes), step):
        codes = rows.codes[start : start + step]
        if packed is None:
            play.scan(start, _products_of_one(codes, play.codes))
        else:
            play.scan(start, _products(codes, packed, len(probes)))
    return Found(play.settle(), play.dead_in_play)


def _products_of_one(codes: NDArray[np.int8], probe: NDArray[np.int8]) -> NDArray[np.float32]:
    return np.asarray(numkong.cdist(probe, codes, metric="dot", out_dtype="float32")).T


def _products(codes: NDArray[np.int8], packed: numkong.PackedMatrix, probes: int) -> NDArray[np.int32]:
    """The product of each row of `codes` with each packed probe.

    The kernel by itself waits for memory at every cache line. So `max` reads a step's rows first, in order and at the speed of memory;
    then the kernel finds them in the cache.
    """
    products = numkong.empty((len(codes), probes), dtype="int32")
    step = max(1, _CACHED_BYTES // codes.shape[1])
    for start in range(0, len(codes), step):
        end = min(start + step, len(codes))
        codes[start:end].max()
        numkong.dots_packed(codes, packed, out=products, start_row=start, end_row=end)
    return np.asarray(products)


def merged(first: People, second: People, k: int) -> People:
    """For each probe the best `k` people of two answers over different rows of one gallery."""
    answers = []
    for of_first, of_second in zip(first, second, strict=True):
        best = dict(of_first)
        for person, score in of_second:
            best[person] = max(score, best.get(person, score))
        answers.append(sorted(best.items(), key=lambda known: (-known[1], known[0]))[:k])
    return answers


class _InPlay(NamedTuple):
    """Rows in play, each for one probe, as columns (n,). `ceilings`: upper bounds of the exact scores."""

    probes: NDArray[np.intp]
    rows: NDArray[np.intp]
    persons: NDArray[np.int32]
    ceilings: NDArray[np.float32]


class _Play:
    """The rows in play for each probe. A row stays in play while its ceiling reaches the probe's floor."""

    def __init__(self, rows: Rows, probes: NDArray[np.float32], k: int) -> None:
        self._gallery, self._probes, self._k = rows, probes, k
        self.codes, self._scales, self._errors = quantise(probes)
        self._norms = np.sqrt(np.vecdot(probes, probes))
        self._floors = np.full(len(probes), -np.inf, np.float32)
        nobody = np.empty(0, np.intp)
        self._kept = [_InPlay(nobody, nobody, np.empty(0, np.int32), np.empty(0, np.float32))]
        self._untightened, self._tighten_at = 0, _TIGHTEN_AFTER * len(probes)
        self.dead_in_play = False

    def scan(self, start: int, dots: Products) -> None:
        """Keep the rows of one piece of the gallery that are in play. `dots` (rows from `start`, probes): products of the codes."""
        if start == 0:
            self._learn(dots)
        probes = dots.shape[1]
        least = self._least(start, len(dots)).astype(dots.dtype)  # in another dtype numpy would convert every product
        if len(dots) % _REPEATS == 0:
            hits = np.flatnonzero(dots.reshape(-1, probes * _REPEATS) >= np.tile(least, _REPEATS))
        else:
            hits = np.flatnonzero(dots >= least)
        if len(hits):
            rows = hits // probes
            self._keep(rows + start, hits - rows * probes, dots.reshape(-1)[hits])

    def _least(self, start: int, rows: int) -> NDArray[np.float64]:
        """For each probe a lower bound of its product with any row of this piece that is in play.

        It uses the largest scale and the largest error of the piece. Scaling every product by its own row's scale would cost an eighth
        of the scan.
        """
        piece = slice(start, start + rows)
        widest = float(self._gallery.errors[piece].max())
        largest = max(float(self._gallery.scales[piece].max()), float(_MIN_SCALE))  # wiped rows have scale 0
        scores = self._floors.astype(np.float64) - self._norms * widest - (_MAX_NORM + widest) * self._errors
        products = np.minimum(scores / self._scales / largest * (1 - 1e-6), _INT32.max)
        return np.where(scores > 0, products, _INT32.min)

    def _learn(self, dots: Products) -> None:
        """Raise the floors with the best rows of some blocks of the first piece. The scan meets these rows again, which does no harm."""
        scores = np.multiply(dots.T, self._gallery.scales[: len(dots)], dtype=np.float32, casting="unsafe", order="C")
        probes, rows = scores.shape
        width = max(1, rows // (_BLOCKS * self._k))
        blocks = scores[:, : rows // width * width].reshape(probes, -1, width)
        places = (blocks.argmax(axis=2) + np.arange(blocks.shape[1]) * width).reshape(-1)
        of_probe = np.repeat(np.arange(probes), blocks.shape[1])
        self._keep(places, of_probe, dots[places, of_probe])
        self._tighten()

    def _keep(self, rows: NDArray[np.intp], probes: NDArray[np.intp], dots: Products) -> None:
        """Keep each of `rows` that is in play for the probe at the same place of `probes`. `dots`: the products of their codes."""
        gallery = self._gallery
        errors, off = gallery.errors[rows], self._errors[probes]
        ceilings = dots.astype(np.float32) * gallery.scales[rows] * self._scales[probes]
        ceilings += errors * self._norms[probes] + (np.float32(_MAX_NORM) + errors) * off
        # `persons` of a row is loaded here only; the whole answer uses this value.
        kept = _InPlay(probes, rows, gallery.persons[rows], ceilings)
        kept = _chosen(kept, ceilings >= self._floors[probes])
        if len(kept.rows) and kept.persons.min() < 0:
            self.dead_in_play = True
            kept = _chosen(kept, kept.persons >= 0)
        self._kept.append(kept)
        self._untightened += len(kept.rows)
        if self._untightened >= self._tighten_at:
            self._tighten()

    def _tighten(self) -> _InPlay:
        """Raise the floors with the kept rows, and drop the rows whose ceilings lie below."""
        kept = self._kept[0] if len(self._kept) == 1 else _joined(self._kept)
        kept = _chosen(kept, np.lexsort((-kept.ceilings, kept.probes)))
        begins = np.searchsorted(kept.probes, np.arange(len(self._probes) + 1)).tolist()
        firsts = [_first_of_people(kept.persons[begin:end], 2 * self._k) for begin, end in itertools.pairwise(begins)]
        chosen = np.concatenate([begin + places for begin, places in zip(begins, firsts, strict=False)])
        scores = self._exact(kept.probes[chosen], kept.rows[chosen])
        end = 0
        for probe, places in enumerate(firsts):
            begin, end = end, end + len(places)
            if len(places) >= self._k:
                floor = np.partition(scores[begin:end], len(places) - self._k)[len(places) - self._k]
                self._floors[probe] = max(self._floors[probe], floor - _ROUNDING)
        kept = _chosen(kept, kept.ceilings >= self._floors[kept.probes])
        self._kept, self._untightened = [kept], 0
        # If thousands of ties stay in play, the next tightening is worth its cost only after thousands more.
        self._tighten_at = max(_TIGHTEN_AFTER * len(self._probes), len(kept.rows))
        return kept

    def _exact(self, probes: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The exact score of each of `rows` for the probe at the same place of `probes`."""
        scores = np.empty(len(rows), np.float32)
        for start in range(0, len(scores), _RESCORE_ROWS):
            part = slice(start, start + _RESCORE_ROWS)
            references = self._gallery.references[rows[part]]
            # vecdot sums as BLAS does; einsum differs by 1e-6.
            np.vecdot(references, self._probes[probes[part]], out=scores[part])
        return scores

    def settle(self) -> People:
        """The exact best people among the rows still in play. Equal scores are ordered by person index, the lower first."""
        answers: People = [[] for _ in self._probes]
        kept = self._tighten()
        scores = self._exact(kept.probes, kept.rows)
        order = np.lexsort((kept.persons, -scores, kept.probes))
        columns = (kept.probes[order].tolist(), kept.persons[order].tolist(), scores[order].tolist())
        for probe, person, score in zip(*columns, strict=True):
            answer = answers[probe]
            if len(answer) < self._k and all(person != known for known, _ in answer):
                answer.append((person, score))
        return answers


def _joined(parts: list[_InPlay]) -> _InPlay:
    return _InPlay(
        np.concatenate([part.probes for part in parts]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.persons for part in parts]),
        np.concatenate([part.ceilings for part in parts]),
    )


def _chosen(kept: _InPlay, which: NDArray[np.intp] | NDArray[np.bool_]) -> _InPlay:
    return _InPlay(kept.probes[which], kept.rows[which], kept.persons[which], kept.ceilings[which])


def _first_of_people(persons: NDArray[np.int32], wanted: int) -> NDArray[np.intp]:
    """Where each of the first `wanted` different people of `persons` appears first, in order. Fewer places if there are fewer people."""
    first: dict[int, int] = {}
    for place, person in enumerate(persons[:_WALK].tolist()):  # nearly always within a few steps
        first.setdefault(person, place)
        if len(first) == wanted:
            break
    if len(first) == wanted or len(persons) <= _WALK:
        return np.fromiter(first.values(), np.intp, len(first))
    return np.sort(np.unique(persons, return_index=True)[1])[:wanted]
