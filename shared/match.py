"""The match: exact best people for a probe, by an int8 scan and a float32 rescore.

With reference r, probe q and their dequantised codes r', q': |r·q - r'·q'| <= |r - r'| |q| + |r'| |q - q'|, by Cauchy and
Schwarz. So a row whose scanned score lies further than twice that bound below the k-th best person's cannot be among the
best k people, and only the few rows above need their exact score. The answer is that of float32 brute force.
"""

from __future__ import annotations

from typing import NamedTuple

import numkong
import numpy as np
from numpy.typing import NDArray

_PACK_FROM = 4  # probes from which packing them pays; measured


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


def quantise(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """int8 codes, scale and error bound of each row of `vectors` (n, dim; float32).

    The bound is widened by 1e-6 for float32 rounding here and in the scan.
    """
    scales = np.maximum(np.abs(vectors).max(axis=1) / np.float32(127), np.float32(1e-12)).astype(np.float32)
    codes = np.rint(vectors / scales[:, None]).astype(np.int8)
    rest = vectors - codes * scales[:, None]
    errors = np.sqrt(np.einsum("ij,ij->i", rest, rest)) + np.float32(1e-6)
    return codes, scales, errors.astype(np.float32)


def match(rows: Rows, probes: NDArray[np.float32], k: int) -> list[list[tuple[int, float]]]:
    """For each probe (n, dim; float32, unit norm): up to `k` (person index, exact cosine), best first; dead rows never answer."""
    if probes.ndim != 2 or (len(rows.codes) and probes.shape[1] != rows.codes.shape[1]):
        raise ValueError(f"probes of shape {probes.shape} against a gallery of dimension {rows.codes.shape[1]}")
    if not len(rows.codes) or not len(probes) or k < 1:
        return [[] for _ in probes]
    persons = rows.persons.copy()  # one moment for the whole answer: the writer may kill rows while we look
    dead = np.flatnonzero(persons < 0)
    codes, scales, errors = quantise(np.ascontiguousarray(probes, dtype=np.float32))
    widest = float(rows.errors.max())
    answers = []
    for i, scan in enumerate(_scans(rows, codes)):
        scan[dead] = -np.inf
        bound = widest + (1 + widest) * float(errors[i])
        # `scan` is in units of the probe's scale; the bound is brought to the same units instead of the other way round.
        answers.append(_best_people(rows.references, persons, probes[i], scan, 2 * bound / float(scales[i]), k))
    return answers


def _scans(rows: Rows, codes: NDArray[np.int8]) -> list[NDArray[np.float32]]:
    """Each probe's approximate score per row, divided by the probe's own scale."""
    if len(codes) >= _PACK_FROM:
        dots = np.asarray(numkong.dots_packed(rows.codes, numkong.dots_pack(codes)))
        return list(np.multiply(dots.T, rows.scales, dtype=np.float32, order="C"))
    return [
        np.asarray(numkong.cdist(code[None], rows.codes, metric="dot"))[0].astype(np.float32) * rows.scales
        for code in codes
    ]


def _best_people(
    references: NDArray[np.float32],
    persons: NDArray[np.int32],
    probe: NDArray[np.float32],
    scan: NDArray[np.float32],
    slack: float,
    k: int,
) -> list[tuple[int, float]]:
    """Exact best `k` people. Writes into `scan`: rows of people already found are taken out of it."""
    found: list[NDArray[np.intp]] = []
    kth = np.inf
    while len(found) < k:
        best = int(scan.argmax())
        if scan[best] == -np.inf:
            kth = -np.inf  # fewer than k people: everybody is in the answer already
            break
        kth = float(scan[best])
        own = np.flatnonzero(persons == persons[best])
        scan[own] = -np.inf
        found.append(own)
    if not found:
        return []
    # Any other row that could still beat the k-th best person once it is scored exactly.
    others = np.flatnonzero(scan >= kth - slack) if kth > -np.inf else np.empty(0, np.intp)
    chosen = np.concatenate([*found, others])
    return _best_per_person(persons[chosen], references[chosen] @ probe)[:k]


def _best_per_person(persons: NDArray[np.int32], scores: NDArray[np.float32]) -> list[tuple[int, float]]:
    """(person, best score), best first; equal scores by lower person index, so that the answer does not depend on order."""
    order = np.lexsort((persons, -scores))
    people, first = np.unique(persons[order], return_index=True)
    ranked = np.argsort(first, kind="stable")
    return [(int(people[i]), float(scores[order[first[i]]])) for i in ranked]
