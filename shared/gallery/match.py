"""The match: exact best people for a probe, by an int8 scan and a float32 rescore.

With reference r, probe q and their dequantised codes r', q': |r·q - r'·q'| <= |r - r'| |q| + |r'| |q - q'|, by Cauchy and
Schwarz. So every row's exact score is at most its scanned one and that bound: its *ceiling*. The scan goes through the gallery
piece by piece and keeps, for each probe, a *floor*: a score that k people among the rows it has kept reach exactly. A row whose
ceiling stays below the floor cannot be among the best k people; the few others are scored exactly at the end. The answer is
that of float32 brute force.

Cost: one pass over the codes at the speed of memory. Everything else touches a piece's products while they are in the cache,
or the few rows in play.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple, Protocol

import numkong
import numpy as np
from numpy.typing import NDArray

_PIECE_PRODUCTS = 1 << 18  # products of one piece of the gallery: 1 MiB, within a core's cache
_CACHED_BYTES = 1 << 19  # of codes, likewise
_REPEATS = 64  # of the probes' least products, so that one comparison runs over many rows
_TIGHTEN_AFTER = 64  # rows in play of each probe, from which it pays to look what they rule out
_BLOCKS = 8  # of rows for each person wanted, to learn from the best row of each
_WALK = 64  # rows looked at one by one for different people, before all are at once
_RESCORE_ROWS = 4096  # references gathered at once: 8 MiB of 512-d ones, however many rows an adversary puts in play
_CODE_ROWS = (
    1024  # coded at once: beside a thread that needs the interpreter, few long steps pass quicker than many short ones
)
_MIN_SCALE = np.float32(1e-12)
_ROUNDING = np.float32(1e-6)  # float32 rounding of codes, scales and scores, on a score of at most 1
_INT32 = np.iinfo(np.int32)
_MAX_NORM = 1.001  # of a reference: the store takes no row whose norm is further from 1


People = list[list[tuple[int, float]]]  # of each probe: (person index, exact cosine), best first
Products = NDArray[np.int32] | NDArray[np.float32]  # of codes; the kernels' own kinds, both exact


class Candidate(NamedTuple):
    """One person in a match's answer. `score`: cosine of the person's best reference."""

    person: str
    user_id: str | None
    score: float


class Gallery(Protocol):
    """What can be matched against: a process's view of the block, or a gallery in its own memory."""

    def match(self, probes: NDArray[np.float32], k: int = 2) -> list[list[Candidate]]:
        """For each probe (n, dim), float32 of unit norm: at most `k` people, best first, each with the best of their
        references' cosines."""
        ...


class Rows(NamedTuple):
    """The arrays of a gallery that a match reads; see gallery_block's specification."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    errors: NDArray[np.float32]
    references: NDArray[np.float32]
    persons: NDArray[np.int32]


class Found(NamedTuple):
    """A match's answer. `dead_in_play`: a dead row scored high enough."""

    people: People
    dead_in_play: bool


def quantise(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """int8 codes, scale and error bound of each row of `vectors` (n, dim; float32).

    The bound is widened by 1e-6 for float32 rounding here and in the scan.
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
    """The best `k` people of each probe (n, dim; float32, unit norm); dead rows never answer."""
    return search(rows, probes, k).people


def search(rows: Rows, probes: NDArray[np.float32], k: int) -> Found:
    """As `match`, and whether dead rows were in play: then a person whose row was replaced meanwhile may be missing."""
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
            play.look(start, _products_of_one(codes, play.codes))
        else:
            play.look(start, _products(codes, packed, len(probes)))
    return Found(play.settle(), play.dead_in_play)


def _products_of_one(codes: NDArray[np.int8], probe: NDArray[np.int8]) -> NDArray[np.float32]:
    return np.asarray(numkong.cdist(probe, codes, metric="dot", out_dtype="float32")).T


def _products(codes: NDArray[np.int8], packed: numkong.PackedMatrix, probes: int) -> NDArray[np.int32]:
    """The product of each row of `codes` with each packed probe.

    The kernel waits for memory line by line. Rows read in order first, at memory's speed, it finds in the cache.
    """
    products = numkong.empty((len(codes), probes), dtype="int32")
    step = max(1, _CACHED_BYTES // codes.shape[1])
    for start in range(0, len(codes), step):
        end = min(start + step, len(codes))
        codes[start:end].max()
        numkong.dots_packed(codes, packed, out=products, start_row=start, end_row=end)
    return np.asarray(products)


def merged(one: People, other: People, k: int) -> People:
    """For each probe the best `k` people of two answers over different rows of one gallery."""
    answers = []
    for of_one, of_other in zip(one, other, strict=True):
        best = dict(of_one)
        for person, score in of_other:
            best[person] = max(score, best.get(person, score))
        answers.append(sorted(best.items(), key=lambda known: (-known[1], known[0]))[:k])
    return answers


class _InPlay(NamedTuple):
    """Rows in play, as columns. `ceilings`: what the exact score is at most."""

    probes: NDArray[np.intp]
    rows: NDArray[np.intp]
    persons: NDArray[np.int32]
    ceilings: NDArray[np.float32]


class _Play:
    """What is in play for each probe. A row stays in play while its ceiling reaches the probe's floor."""

    def __init__(self, rows: Rows, probes: NDArray[np.float32], k: int) -> None:
        self._gallery, self._probes, self._k = rows, probes, k
        self.codes, self._scales, self._errors = quantise(probes)
        self._norms = np.sqrt(np.vecdot(probes, probes))
        self._floors = np.full(len(probes), -np.inf, np.float32)
        nobody = np.empty(0, np.intp)
        self._kept = [_InPlay(nobody, nobody, np.empty(0, np.int32), np.empty(0, np.float32))]
        self._untightened, self._tighten_at = 0, _TIGHTEN_AFTER * len(probes)
        self.dead_in_play = False

    def look(self, start: int, dots: Products) -> None:
        """Keep what is in play in one piece of the gallery. `dots` (rows from `start`, probes): products of the codes."""
        if start == 0:
            self._learn(dots)
        probes = dots.shape[1]
        least = self._least(start, len(dots)).astype(dots.dtype)  # or numpy would convert every product
        if len(dots) % _REPEATS == 0:
            hits = np.flatnonzero(dots.reshape(-1, probes * _REPEATS) >= np.tile(least, _REPEATS))
        else:
            hits = np.flatnonzero(dots >= least)
        if len(hits):
            rows = hits // probes
            self._keep(rows + start, hits - rows * probes, dots.reshape(-1)[hits])

    def _least(self, start: int, rows: int) -> NDArray[np.float64]:
        """What each probe's product with a row of this piece is at least, if the row is in play.

        To scale every product by its row's own scale would cost an eighth of the scan: this goes by the piece's largest.
        """
        piece = slice(start, start + rows)
        widest = float(self._gallery.errors[piece].max())
        largest = max(float(self._gallery.scales[piece].max()), float(_MIN_SCALE))  # wiped rows have none
        scores = self._floors.astype(np.float64) - self._norms * widest - (_MAX_NORM + widest) * self._errors
        products = np.minimum(scores / self._scales / largest * (1 - 1e-6), _INT32.max)
        return np.where(scores > 0, products, _INT32.min)

    def _learn(self, dots: Products) -> None:
        """Raise the floors by the best rows of a few blocks of the first piece. They are kept, and met again: that harms nothing."""
        scores = np.multiply(dots.T, self._gallery.scales[: len(dots)], dtype=np.float32, casting="unsafe", order="C")
        probes, rows = scores.shape
        width = max(1, rows // (_BLOCKS * self._k))
        blocks = scores[:, : rows // width * width].reshape(probes, -1, width)
        places = (blocks.argmax(axis=2) + np.arange(blocks.shape[1]) * width).reshape(-1)
        of_probe = np.repeat(np.arange(probes), blocks.shape[1])
        self._keep(places, of_probe, dots[places, of_probe])
        self._tighten()

    def _keep(self, rows: NDArray[np.intp], probes: NDArray[np.intp], dots: Products) -> None:
        """Keep those of `rows` that are in play for the probe beside them; `dots`: the products of their codes."""
        gallery = self._gallery
        errors, off = gallery.errors[rows], self._errors[probes]
        ceilings = dots.astype(np.float32) * gallery.scales[rows] * self._scales[probes]
        ceilings += errors * self._norms[probes] + (np.float32(_MAX_NORM) + errors) * off
        kept = _InPlay(probes, rows, gallery.persons[rows], ceilings)  # persons: one load for the whole answer
        kept = _chosen(kept, ceilings >= self._floors[probes])
        if len(kept.rows) and kept.persons.min() < 0:
            self.dead_in_play = True
            kept = _chosen(kept, kept.persons >= 0)
        self._kept.append(kept)
        self._untightened += len(kept.rows)
        if self._untightened >= self._tighten_at:
            self._tighten()

    def _tighten(self) -> _InPlay:
        """Raise the floors by what was kept, and drop what lies below them."""
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
        # Where thousands of ties stay in play, it takes thousands more before it pays to look again.
        self._tighten_at = max(_TIGHTEN_AFTER * len(self._probes), len(kept.rows))
        return kept

    def _exact(self, probes: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Exact scores of `rows` for the probes beside them."""
        scores = np.empty(len(rows), np.float32)
        for start in range(0, len(scores), _RESCORE_ROWS):
            part = slice(start, start + _RESCORE_ROWS)
            references = self._gallery.references[rows[part]]
            np.vecdot(
                references, self._probes[probes[part]], out=scores[part]
            )  # sums as BLAS does: einsum is off by 1e-6
        return scores

    def settle(self) -> People:
        """The exact best people among what is still in play; equal scores by lower person index."""
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
        np.concatenate([one.probes for one in parts]),
        np.concatenate([one.rows for one in parts]),
        np.concatenate([one.persons for one in parts]),
        np.concatenate([one.ceilings for one in parts]),
    )


def _chosen(kept: _InPlay, which: NDArray[np.intp] | NDArray[np.bool_]) -> _InPlay:
    return _InPlay(kept.probes[which], kept.rows[which], kept.persons[which], kept.ceilings[which])


def _first_of_people(persons: NDArray[np.int32], wanted: int) -> NDArray[np.intp]:
    """Where each of the first `wanted` different people of `persons` appears first, in order; fewer when there are fewer."""
    first: dict[int, int] = {}
    for place, person in enumerate(persons[:_WALK].tolist()):  # nearly always within a few steps
        first.setdefault(person, place)
        if len(first) == wanted:
            break
    if len(first) == wanted or len(persons) <= _WALK:
        return np.fromiter(first.values(), np.intp, len(first))
    return np.sort(np.unique(persons, return_index=True)[1])[:wanted]
