"""The limits of the decision: a threshold and a margin, and which person they name. Every part that names a person uses this.

The limits follow from the risk: the share of strangers who may get a name (`strangers_named`). With the model's law of false matches and
the gallery as it is now, this share gives the threshold. It moves with every enrolment. The margin is the model's own. A threshold or
margin that is set by hand wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from workers.recognition.false_match_law import FalseMatchLaw, StrangerScores

if TYPE_CHECKING:
    from shared.gallery.match import Candidate
    from shared.gallery.tail import Tail

Word = Literal["named", "uncertain", "unknown"]
Reason = Literal["set by hand", "strangers_named", "lowest for the model"]

# The threshold is never lower than the model's default less two margins, however few people are enrolled: a camera's crops are worse than
# the photos that the law was measured on.
_LOWEST_MARGINS = 2


@dataclass(frozen=True)
class WorkingPoint:
    """Threshold and margin, raw cosines. A name needs a score of at least `threshold`, and a lead of at least `margin` over the
    second person, and over the faces that were judged not to be the person's."""

    threshold: float
    margin: float

    def names(self, candidates: Sequence[Candidate]) -> str | None:
        """The person that one embedding names, or None. `candidates`: the people it resembles most, best first, as `standing` gives
        them."""
        if not candidates or candidates[0].score < self.threshold:
            return None
        ahead = lead(candidates)
        return None if ahead is not None and ahead < self.margin else candidates[0].person

    def standing(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """The candidates without those whose rival leads them by the margin: the embedding shows a face that is known not to be theirs."""
        if all(one.rival is None for one in candidates):
            return candidates
        return [one for one in candidates if one.rival is None or one.rival - one.score < self.margin]

    def is_near(self, candidates: Sequence[Candidate]) -> bool:
        """Whether the best score comes within a margin of the threshold, or reaches it: too close to call the face a stranger's.

        `candidates`: as `standing` gives them.
        """
        return bool(candidates) and candidates[0].score >= self.threshold - self.margin

    def verdict(self, candidates: Sequence[Candidate], *, clear: bool) -> Word:
        """The verdict on a single face. `candidates`: all that a match gives.

        *named* if the limits name a person. *uncertain* if the face is near one (a near miss), or not `clear`: good enough to count
        against a name. Else *unknown*. A track with this one face and one vote gets the same verdict (workers/pipeline/voting.py), if the
        quality gate lets its crop pass.
        """
        standing = self.standing(candidates)
        if self.names(standing) is not None:
            return "named"
        return "unknown" if clear and not self.is_near(standing) else "uncertain"


class ModelPoint(Protocol):
    """A model's own threshold and margin, raw cosines."""

    @property
    def threshold(self) -> float: ...
    @property
    def margin(self) -> float: ...


class ModelDefaults(ModelPoint, Protocol):
    """What an engine says of its model: its own threshold and margin, and its law of false matches."""

    @property
    def law(self) -> FalseMatchLaw: ...


class Limits(NamedTuple):
    """The limits in force with a gallery as it is now. `reason`: where the threshold comes from."""

    point: WorkingPoint
    reason: Reason
    strangers: StrangerScores


def limits(
    model: ModelDefaults,
    tail: Tail,
    strangers_named: float,
    threshold: float | None = None,
    margin: float | None = None,
) -> Limits:
    """The limits for a site's or a camera's settings. `tail`: of the gallery. `threshold`, `margin`: set by hand, or None."""
    strangers = StrangerScores(model.law, tail)
    margin = model.margin if margin is None else margin
    if threshold is not None:
        return Limits(WorkingPoint(threshold, margin), "set by hand", strangers)
    lowest = model.threshold - _LOWEST_MARGINS * model.margin
    wanted = min(1.0, strangers.score_reached_by(strangers_named))
    if wanted < lowest:
        return Limits(WorkingPoint(lowest, margin), "lowest for the model", strangers)
    return Limits(WorkingPoint(wanted, margin), "strangers_named", strangers)


def lead(candidates: Sequence[Candidate]) -> float | None:
    """By how much the best person's score exceeds the second's, or that of the best person's rival if that is higher; it can then be
    negative. None if there is neither."""
    if not candidates:
        return None
    behind = [one.score for one in candidates[1:2]]
    if candidates[0].rival is not None:
        behind.append(candidates[0].rival)
    return candidates[0].score - max(behind) if behind else None
