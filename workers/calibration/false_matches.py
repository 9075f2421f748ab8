"""Computes the rates at a working point, and the working point for a wanted false-match rate, from leave-one-out scores.

A *working point* is a threshold and a margin. A *probe* is one reference, matched with all others. As a *stranger* it is
matched only with other people's references: any name it gets is false. As a *genuine* probe it is matched with its own
person's other references, too.

For a rare event, a site has too few probes to count: if none of N probes is named, this only shows, at 95 %, that the rate
is below 3/N. So a threshold has one of three bases, and the answer says which:

    counted  At the wanted rate, at least ten strangers may be named. The threshold is the lowest at which no more are
             named. It is at most two of the model's margins below its default, since a camera's crops are worse than
             photos.
    tail     Fewer than ten may be named. The highest scores are extended to the wanted rate by an exponential. Let u be
             the score that a tenth of the strangers exceed (at least ten of them), and b the mean by which they exceed
             it. Then the rate r is reached at u + b·ln(share above u / r). One standard error is added to b, for as many
             people as the tail comes from, since the photos of one person err together. The margin is ignored: it can
             only lower the rate. The threshold is never below the model's default, nor below the score at which the
             wanted share of the probes is named.
    default  There are fewer than 50 strangers, or they are fewer than 10 people. The threshold is the model's default. It
             is higher if more than the wanted share of these strangers would be named at the default.

How exact a tail is, measured on real people: the test data's 42 people were split in halves 300 times, one half as the
gallery, the other as its strangers, without the lower limits. For wanted rates of 0.005 to 0.02 the real rate was 1.2 to
1.4 times the wanted one with the small test pack, and 1.7 to 2.4 times with dlib; without the standard error 2.1 to 4.9
times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workers.recognition.working_point import WorkingPoint

Basis = Literal["counted", "tail", "default"]

_COUNTED_FROM = 10  # the basis is "counted" if at least so many strangers may be named
_LOWEST_MARGINS = 2
_MIN_STRANGERS, _MIN_PEOPLE = 50, 10
_TAIL_SHARE = 0.1
_MIN_TAIL = 10
_MIN_GENUINE = 30  # with fewer, a single photo would decide which margin is chosen
_MARGIN_STEPS = (0.5, 1.0, 1.5, 2.0)  # times the model's default margin
_NO_COST = 0.005  # a larger margin may lose this share of the genuine probes
_DECIMALS = 3


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


@dataclass(frozen=True)
class Proposal:
    """The working point for the rate `wanted`. `basis`: see the head of this module. `lowest_shown`: the lowest rate that the
    probes can prove, 3/N; None without probes."""

    point: WorkingPoint
    wanted: float
    basis: Basis
    lowest_shown: float | None


def rates(scores: Scores, point: WorkingPoint) -> Rates:
    """The rates that this working point gives with the probes, each judged by itself, without votes."""
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


def propose(scores: Scores, default: WorkingPoint, wanted: float) -> Proposal:
    """Threshold and margin for a false-match rate `wanted` (0 to 1), as the head of this module describes.

    The margin is 0.5 to 2 times the model's default: of the margins with the fewest genuine probes named wrong, the largest
    that names at most half a percent fewer right than the best. With fewer than 30 genuine probes, or too few strangers, it is
    the default.
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
    """The threshold at which a share `wanted` of the strangers gets a name with this `margin`, and its basis."""
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
    """The score at which an exponential tail, fitted to the strangers' highest scores, reaches the rate `wanted`."""
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
