"""The working point: a threshold and a margin, and which person they name. Every part that names a person uses this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.gallery.match import Candidate
    from workers.recognition.engine import Engine


@dataclass(frozen=True)
class WorkingPoint:
    """Threshold and margin, raw cosines. A name needs a score of at least `threshold`, and a lead of at least `margin` over the
    second person."""

    threshold: float
    margin: float

    def names(self, candidates: Sequence[Candidate]) -> str | None:
        """The person that one embedding names, or None. `candidates`: the people it resembles most, best first."""
        if not self.is_enough(candidates):
            return None
        ahead = lead(candidates)
        return None if ahead is not None and ahead < self.margin else candidates[0].person

    def is_enough(self, candidates: Sequence[Candidate]) -> bool:
        """Whether the best score reaches the threshold."""
        return bool(candidates) and candidates[0].score >= self.threshold


def working_point(engine: Engine, threshold: float | None, margin: float | None) -> WorkingPoint:
    """The working point of a site's or a camera's settings. A value that is not set (None) is the engine's default."""
    return WorkingPoint(
        engine.threshold if threshold is None else threshold, engine.margin if margin is None else margin
    )


def lead(candidates: Sequence[Candidate]) -> float | None:
    """By how much the best person's score exceeds the second's; None if there is no second."""
    return candidates[0].score - candidates[1].score if len(candidates) > 1 else None
