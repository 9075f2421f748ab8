"""Rates at a working point, and the working point for a wanted false-match rate, from leave-one-out scores.

A threshold for a rare event needs more probes than a site has: N probes of which none is named show only, at 95 %, that
the rate is below 3/N. So there are three answers, and each says which it is:

    counted  at least ten strangers may be named: the threshold that so many of the scores reach; at most two of the
             model's margins below its default threshold, since a camera's crops are worse than photos
    tail     fewer: the highest scores are continued exponentially to the rate wanted. u is the score that a tenth of
             the strangers reach (ten at the least), b the mean of what they exceed it by, and a rate r is reached at
             u + b·ln(share above u / r). b is taken one standard error high, of as many people as the tail is of, since
             one person's photos err together. The margin is not counted on: it can only lower the rate. Never below the
             model's default, nor below what so many of the scores seen reach
    default  fewer than 50 strangers, or of fewer than 10 people: the model's default, or just above what was seen

How far off a tail is, on real people (the test data's 42 split in halves 300 times, one half the gallery, the other its
strangers; no floor): the real rate was 1.2 to 1.4 times the one wanted with the small test pack, 1.7 to 2.4 times with
dlib, for 0.005 to 0.02; without the standard error 2.1 to 4.9 times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workers.recognition.working_point import WorkingPoint

Basis = Literal["counted", "tail", "default"]

_COUNTED_FROM = 10  # strangers that may be named
_LOWEST_MARGINS = 2
_MIN_STRANGERS, _MIN_PEOPLE = 50, 10
_TAIL_SHARE = 0.1
_MIN_TAIL = 10
_MIN_GENUINE = 30  # below it one photo more or less would choose the margin
_MARGIN_STEPS = (0.5, 1.0, 1.5, 2.0)  # of the model's default
_NO_COST = 0.005  # of the genuine probes: what a larger margin may cost
_DECIMALS = 3


@dataclass(frozen=True, eq=False)
class Scores:
    """Each probe's best score with the own person's other references (`own`), the best other person and the second.

    (n,) float32, -2 where there is none. `people` (n,): whose probes they are.
    """

    own: NDArray[np.float32]
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    people: NDArray[np.int32]

    @property
    def genuine(self) -> NDArray[np.bool_]:
        """Which probes have another reference of their person to be compared with."""
        return self.own > -1.5

    @property
    def strangers(self) -> NDArray[np.bool_]:
        """Which probes have another person to be mistaken for."""
        return self.first > -1.5

    def people_among(self, which: NDArray[np.bool_]) -> int:
        return len(np.unique(self.people[which]))


@dataclass(frozen=True)
class Rates:
    """Shares, 0 to 1; None where no probe can tell. `strangers_at_most`: the rate's upper bound at 95 %."""

    strangers_named: float | None
    strangers_at_most: float | None
    named_right: float | None
    named_wrong: float | None
    uncertain: float | None
    unknown: float | None


@dataclass(frozen=True)
class Proposal:
    """The point for the rate `wanted`, what it rests on, and the lowest rate that the probes can show (3/N; None: no probes)."""

    point: WorkingPoint
    wanted: float
    basis: Basis
    lowest_shown: float | None


def rates(scores: Scores, point: WorkingPoint) -> Rates:
    """What these settings would have made of the probes, each by itself: threshold and margin, no votes."""
    strangers, genuine = scores.strangers, scores.genuine
    named = named_scores(scores, point.margin)[strangers] >= point.threshold
    share = float(named.mean()) if len(named) else None
    at_most = None if share is None else upper_bound(int(named.sum()), len(named))
    own, first, second = scores.own[genuine], scores.first[genuine], scores.second[genuine]
    if not len(own):
        return Rates(share, at_most, None, None, None, None)
    right = (own >= point.threshold) & (own > first) & (own - first >= point.margin)
    wrong = (first >= point.threshold) & (first > own) & (first - np.maximum(own, second) >= point.margin)
    reached = np.maximum(own, first) >= point.threshold
    parts = (right, wrong, reached & ~right & ~wrong, ~reached)
    return Rates(share, at_most, *(float(part.mean()) for part in parts))


def named_scores(scores: Scores, margin: float) -> NDArray[np.float32]:
    """Up to which threshold each probe, as a stranger, would get a name; -2 when the margin is too small at any threshold."""
    return np.where(scores.first - scores.second >= margin, scores.first, np.float32(-2.0))


def upper_bound(named: int, probes: int) -> float:
    """The 95 % upper bound of a rate of which `named` of `probes` were seen: 3/N for none (the rule of three), else Wilson's."""
    if named == 0:
        return min(1.0, 3 / probes)
    z, share = 1.645, named / probes
    spread = z * math.sqrt(share * (1 - share) / probes + (z / (2 * probes)) ** 2)
    return min(1.0, (share + z * z / (2 * probes) + spread) / (1 + z * z / probes))


def propose(scores: Scores, default: WorkingPoint, wanted: float) -> Proposal:
    """Threshold and margin for a false-match rate `wanted`, as the head of this module says.

    The margin: of the model's default by 0.5 to 2, the one with the fewest genuine probes named wrong; among those that
    name as many right as any, but for half a percent, the largest. With fewer than 30 genuine probes, or too few strangers: the default.
    """
    strangers = int(scores.strangers.sum())
    lowest = 3 / strangers if strangers else None
    threshold, basis = threshold_for(scores, default, default.margin, wanted)
    if basis == "default" or int(scores.genuine.sum()) < _MIN_GENUINE:
        return Proposal(WorkingPoint(threshold, default.margin), wanted, basis, lowest)
    choices: list[tuple[WorkingPoint, Basis, Rates]] = []
    for step in _MARGIN_STEPS:
        margin = round(step * default.margin, _DECIMALS + 1)
        threshold, basis = threshold_for(scores, default, margin, wanted)
        point = WorkingPoint(threshold, margin)
        choices.append((point, basis, rates(scores, point)))
    fewest = min(found.named_wrong or 0.0 for _, _, found in choices)
    choices = [one for one in choices if (one[2].named_wrong or 0.0) <= fewest]
    most = max(found.named_right or 0.0 for _, _, found in choices)
    point, basis, _ = [one for one in choices if (one[2].named_right or 0.0) >= most - _NO_COST][-1]
    return Proposal(point, wanted, basis, lowest)


def threshold_for(scores: Scores, default: WorkingPoint, margin: float, wanted: float) -> tuple[float, Basis]:
    """The threshold at which a share `wanted` of the strangers gets a name under `margin`, and what it rests on."""
    strangers = scores.strangers
    named = np.sort(named_scores(scores, margin)[strangers])[::-1]
    allowed = math.floor(wanted * len(named) + 1e-9)
    seen = _just_above(float(named[allowed])) if allowed < len(named) else 0.0
    if len(named) < _MIN_STRANGERS or scores.people_among(strangers) < _MIN_PEOPLE:
        return max(default.threshold, seen), "default"
    if wanted * len(named) >= _COUNTED_FROM:
        return max(seen, round(default.threshold - _LOWEST_MARGINS * default.margin, _DECIMALS)), "counted"
    return max(default.threshold, seen, _rounded_up(_continued(scores, wanted))), "tail"


def _continued(scores: Scores, wanted: float) -> float:
    """Where an exponential tail, fitted to the strangers' highest scores, reaches the rate `wanted`."""
    first, people = scores.first[scores.strangers], scores.people[scores.strangers]
    falling = np.argsort(-first)
    size = min(max(_MIN_TAIL, round(_TAIL_SHARE * len(first))), len(first) - 1)
    top, begin = falling[:size], float(first[falling[size]])
    spread = 1 + 1 / math.sqrt(len(np.unique(people[top])))
    excess = float((first[top] - begin).mean()) * spread
    return min(1.0, begin + excess * math.log(size / len(first) / wanted))


def _just_above(score: float) -> float:
    if score < -1.5:
        return 0.0
    return max(0.0, _rounded_up(score + 1e-6))


def _rounded_up(value: float) -> float:
    scale: int = 10**_DECIMALS
    return min(1.0, math.ceil(value * scale) / scale)
