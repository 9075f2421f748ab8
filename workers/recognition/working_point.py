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
    second person."""

    threshold: float
    margin: float

    def names(self, candidates: Sequence[Candidate]) -> str | None:
        """The person that one embedding names, or None. `candidates`: the people it resembles most, best first."""
        if not candidates or candidates[0].score < self.threshold:
            return None
        ahead = lead(candidates)
        return None if ahead is not None and ahead < self.margin else candidates[0].person

    def is_near(self, candidates: Sequence[Candidate]) -> bool:
        """Whether the best score comes within a margin of the threshold, or reaches it: too close to call the face a stranger's."""
        return bool(candidates) and candidates[0].score >= self.threshold - self.margin

    def verdict(self, candidates: Sequence[Candidate], *, clear: bool) -> Word:
        """The verdict on a single face.

        *named* if the limits name a person. *uncertain* if the face is near one (a near miss), or not `clear`: good enough to count
        against a name. Else *unknown*. A track with this one face and one vote gets the same verdict (workers/pipeline/voting.py).
        """
        if self.names(candidates) is not None:
            return "named"
        return "unknown" if clear and not self.is_near(candidates) else "uncertain"


class ModelDefaults(Protocol):
    """What an engine says of its model: its own threshold and margin, raw cosines, and its law of false matches."""

    @property
    def threshold(self) -> float: ...
    @property
    def margin(self) -> float: ...
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
    """By how much the best person's score exceeds the second's; None if there is no second."""
    return candidates[0].score - candidates[1].score if len(candidates) > 1 else None
