"""The law of false matches: from a model and a gallery to the share of strangers who reach a score.

A *comparison* is the cosine of two references of different people. A stranger who is searched in a gallery of R references makes R
comparisons, and reaches a score if any of them does. If a share f of comparisons reaches the score, a share 1 - exp(-R f) of the
strangers reaches it. Measured with the small test pack (397 people with 1,018 references, 1,104 strangers): at the scores .35, .40 and .45
35.2, 9.5 and 1.7 % of the strangers; by this law from the people's own comparisons with them 38.2, 9.5 and 1.7 %.

How f falls with the score is the model's own, and nearly the same for any crowd: it comes with the model, as a table. A gallery differs
from it by a shift: its photos may be worse, or its people may be relatives. The gallery shows its shift itself, by its anchor
(shared/gallery/tail.py). Ten people show it only roughly, so the shift counts in the proportion n / (n + 10) for n people: a gallery
that grows passes from the model's law to its own without a jump. One person under two names gives some very high scores, which say nothing
about strangers. So the shift at the anchor may exceed that at the broad anchor by no more than a tenth of the law's width, from half of the
comparisons to one in a million: .05 for the small pack.

Measured on sub-galleries of these people with 5 to 397 people, 40 of each size: for a wanted share of .01, .86 to 1.18 % of the strangers
are named, and for .001 0 to .14 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from shared.gallery.tail import Tail

Point = tuple[float, float]

_PEOPLE = 10  # with so many people in the sample, the gallery's own shift counts half
_MOST_BEYOND = 0.1  # of the law's width: how much more the rarer comparisons may shift it than the commoner ones


@dataclass(frozen=True)
class FalseMatchLaw:
    """The share of comparisons that reach a score, for one model. `points`: (score, share) pairs, scores rising and shares falling.

    Between two points the logarithm of the share is linear, and beyond the last ones it goes on as before. That names fewer strangers
    than promised, rather than more, since real tails fall faster and faster.
    """

    points: tuple[Point, ...]

    def share(self, score: float) -> float:
        """The share of comparisons that reach `score` (cosine), 0 to 1."""
        (low, low_share), (high, high_share) = self._around(lambda point: point[0] >= score)
        slope = math.log(high_share / low_share) / (high - low)
        return min(1.0, low_share * math.exp(slope * (score - low)))

    def score(self, share: float) -> float:
        """The score (cosine) that a share of comparisons reaches; `share` above 0."""
        (low, low_share), (high, high_share) = self._around(lambda point: point[1] <= share)
        return low + (high - low) * math.log(share / low_share) / math.log(high_share / low_share)

    def _around(self, is_beyond: Callable[[Point], bool]) -> tuple[Point, Point]:
        """The two neighbouring points of which the second is the first one beyond; at the ends, the two outermost points."""
        steps = list(pairwise(self.points))
        return next((step for step in steps if is_beyond(step[1])), steps[-1])


@dataclass(frozen=True)
class StrangerScores:
    """How strangers score in one gallery, by the model's law and the gallery's own tail."""

    law: FalseMatchLaw
    tail: Tail

    @property
    def shift(self) -> float:
        """By how much the gallery's people score higher among each other than the model's law says, as far as that is known; cosine."""
        if not self.tail.comparisons:
            return 0.0
        tail, law = self.tail, self.law
        broad = tail.broad_anchor - law.score(tail.broad_share)
        most = broad + _MOST_BEYOND * (law.score(1e-6) - law.score(0.5))
        own = min(tail.anchor - law.score(tail.share), most)
        return own * tail.people / (tail.people + _PEOPLE)

    def share_reaching(self, score: float) -> float:
        """The share of strangers, 0 to 1, whose best score in this gallery is at least `score`."""
        return -math.expm1(-self.tail.references * self.law.share(score - self.shift))

    def score_reached_by(self, share: float) -> float:
        """The score that a share of the strangers reaches, above 0 and below 1. In an empty gallery -1, since nobody scores."""
        if not self.tail.references:
            return -1.0
        return self.law.score(-math.log1p(-share) / self.tail.references) + self.shift

    def confidence(self, score: float) -> float:
        """1 - the share of strangers who reach `score`."""
        return 1.0 - self.share_reaching(score)
