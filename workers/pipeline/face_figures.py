"""Figures of the faces that a camera saw: how large they were, and for which part of quality nobody could be recognised. Numbers only.

A face counts once for each time that it was in view, with its largest picture: somebody who comes nearer is small at first, and that does no
harm. Bounded: totals, and the latest RECENT faces.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from shared.status import REFUSALS

RECENT = 300


class FaceFigures:
    """The figures of one camera since its process began."""

    def __init__(self) -> None:
        self._seen = 0
        self._refused = dict.fromkeys(REFUSALS, 0)
        self._recent: deque[tuple[float, str | None]] = deque(maxlen=RECENT)

    def add(self, width_px: float, refused: str | None) -> None:
        """A face has left: its largest width in pixels, and the part of quality that refused all its pictures; None: one could be used."""
        self._seen += 1
        if refused is not None and refused in self._refused:
            self._refused[refused] += 1
        self._recent.append((width_px, refused))

    def latest(self) -> dict[str, float | int | None]:
        """The figures by the names that they have in CameraStatus."""
        widths = [width for width, _ in self._recent]
        reasons = [reason for _, reason in self._recent]
        return {
            "faces_seen": self._seen,
            **{f"refused_{part}": count for part, count in self._refused.items()},
            "recent_seen": len(widths),
            **{f"recent_{part}": reasons.count(part) for part in REFUSALS},
            "recent_px_p50": round(float(np.median(widths)), 1) if widths else None,
        }
