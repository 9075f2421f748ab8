"""What a camera has to know of a model that runs in another process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.model_id import ModelId
from workers.recognition.engine import Appearance, Points
from workers.recognition.false_match_law import FalseMatchLaw

_MOST_SIDE_PX, _MOST_DIM = 1024, 8192


@dataclass(frozen=True)
class ModelDescription:
    """See `Engine` for what is not explained here. `side_px`: of a crop. `fixed_size`: (width, height) of a detector that takes one size of
    input only, else None. `device`: what runs it, in words."""

    model_id: ModelId
    threshold: float
    margin: float
    law: FalseMatchLaw
    points: Points
    appearance: Appearance
    side_px: int
    fixed_size: tuple[int, int] | None
    device: str
    mirrors: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "engine": self.model_id.engine,
            "pack": self.model_id.pack,
            "fingerprint": self.model_id.fingerprint,
            "dim": self.model_id.dim,
            "threshold": self.threshold,
            "margin": self.margin,
            "law": [list(point) for point in self.law.points],
            "points": self.points.value,
            "different": self.appearance.different,
            "alike": self.appearance.alike,
            "side_px": self.side_px,
            "fixed_size": None if self.fixed_size is None else list(self.fixed_size),
            "device": self.device,
            "mirrors": self.mirrors,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ModelDescription:
        """Raises ValueError, KeyError or TypeError for what is none."""
        dim, side_px = int(document["dim"]), int(document["side_px"])
        if not (0 < dim <= _MOST_DIM and 0 < side_px <= _MOST_SIDE_PX):
            raise ValueError("a model of an impossible size")
        fixed = document["fixed_size"]
        return cls(
            ModelId(str(document["engine"]), str(document["pack"]), str(document["fingerprint"]), dim),
            float(document["threshold"]),
            float(document["margin"]),
            FalseMatchLaw(tuple((float(score), float(share)) for score, share in document["law"])),
            Points(document["points"]),
            Appearance(float(document["different"]), float(document["alike"])),
            side_px,
            None if fixed is None else (int(fixed[0]), int(fixed[1])),
            str(document["device"]),
            bool(document["mirrors"]),
        )
