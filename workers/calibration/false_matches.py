"""Computes the rates at a working point from leave-one-out scores.

A *working point* is a threshold and a margin. A *probe* is one reference, matched with all others. As a *stranger* it is
matched only with other people's references: any name it gets is false. As a *genuine* probe it is matched with its own
person's other references, too.

A site has few probes. If none of N probes is named, this only shows, at 95 %, that the rate is below 3/N. So these rates say how far the
limits can be trusted, and the limits themselves come from the law of false matches (workers/recognition/false_match_law.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.recognition.working_point import WorkingPoint


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of n probes. `own`: the best with its own person's other references; `first`, `second`: with the best and the
    second-best other person.

    Each (n,) float32; -2 if there is none. `people` (n,) int32: each probe's person.
    """

    own: NDArray[np.float32]
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    people: NDArray[np.int32]

    @property
    def genuine(self) -> NDArray[np.bool_]:
        """(n,) Which probes have another reference of their own person."""
        return self.own > -1.5

    @property
    def strangers(self) -> NDArray[np.bool_]:
        """(n,) Which probes have another person in the gallery."""
        return self.first > -1.5

    def people_among(self, which: NDArray[np.bool_]) -> int:
        return len(np.unique(self.people[which]))


@dataclass(frozen=True)
class Rates:
    """Shares of the probes, 0 to 1; None if there is no probe for it. `strangers_at_most`: upper bound at 95 % of `strangers_named`."""

    strangers_named: float | None
    strangers_at_most: float | None
    named_right: float | None
    named_wrong: float | None
    uncertain: float | None
    unknown: float | None


def rates(scores: Scores, point: WorkingPoint) -> Rates:
    """The rates that this working point gives with the probes, each judged by itself, without votes, as a clear face: one that comes
    within a margin of the threshold is uncertain, see WorkingPoint.verdict."""
    strangers, genuine = scores.strangers, scores.genuine
    named = named_scores(scores, point.margin)[strangers] >= point.threshold
    share = float(named.mean()) if len(named) else None
    at_most = None if share is None else upper_bound(int(named.sum()), len(named))
    own, first, second = scores.own[genuine], scores.first[genuine], scores.second[genuine]
    if not len(own):
        return Rates(share, at_most, None, None, None, None)
    right = (own >= point.threshold) & (own > first) & (own - first >= point.margin)
    wrong = (first >= point.threshold) & (first > own) & (first - np.maximum(own, second) >= point.margin)
    near = np.maximum(own, first) >= point.threshold - point.margin
    parts = (right, wrong, near & ~right & ~wrong, ~near)
    return Rates(share, at_most, *(float(part.mean()) for part in parts))


def named_scores(scores: Scores, margin: float) -> NDArray[np.float32]:
    """(n,) float32: the highest threshold at which each probe, as a stranger, would get a name. -2 for a probe that gets none
    at any threshold, since its best person leads the second by less than `margin`."""
    return np.where(scores.first - scores.second >= margin, scores.first, np.float32(-2.0))


def upper_bound(named: int, probes: int) -> float:
    """The 95 % upper bound of a rate when `named` of `probes` were named: 3/N for none (the rule of three), else Wilson's bound."""
    if named == 0:
        return min(1.0, 3 / probes)
    z, share = 1.645, named / probes
    spread = z * math.sqrt(share * (1 - share) / probes + (z / (2 * probes)) ** 2)
    return min(1.0, (share + z * z / (2 * probes) + spread) / (1 + z * z / probes))
