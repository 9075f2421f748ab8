"""The working point: the threshold and the margin, and whom they name. Every part that names somebody asks here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.gallery.match import Candidate
    from workers.recognition.engine import Engine


@dataclass(frozen=True)
class WorkingPoint:
    """Raw cosines. A name needs a score of at least `threshold`, and a second person at least `margin` behind."""

    threshold: float
    margin: float

    def names(self, candidates: Sequence[Candidate]) -> str | None:
        """The person that one embedding names, given the people it resembles most, best first; None: nobody."""
        if not self.is_enough(candidates):
            return None
        ahead = lead(candidates)
        return None if ahead is not None and ahead < self.margin else candidates[0].person

    def is_enough(self, candidates: Sequence[Candidate]) -> bool:
        """Whether the best score reaches the threshold."""
        return bool(candidates) and candidates[0].score >= self.threshold


def working_point(engine: Engine, threshold: float | None, margin: float | None) -> WorkingPoint:
    """Of a site's or a camera's settings; what they leave open (None) the engine's model says."""
    return WorkingPoint(
        engine.threshold if threshold is None else threshold, engine.margin if margin is None else margin
    )


def lead(candidates: Sequence[Candidate]) -> float | None:
    """How far the best person is ahead of the second; None where there is no second."""
    return candidates[0].score - candidates[1].score if len(candidates) > 1 else None
