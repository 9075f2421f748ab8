"""How a camera keeps up: frames and faces a second, ages and latencies of the latest frames."""

from __future__ import annotations

from collections import deque

import numpy as np

_REMEMBERED = 512  # frames the figures are made from: 100 s at 5 a second


class Figures:
    """What was done with the latest frames that were looked at. All times in seconds, figures out in milliseconds."""

    def __init__(self) -> None:
        self.looked_at = 0
        self.faces = 0
        self.embedded = 0
        self._frames: deque[tuple[float, float, float, int]] = deque(maxlen=_REMEMBERED)

    def add(self, *, captured_at: float, taken_at: float, done_at: float, faces: int) -> None:
        """One frame: when it was captured, when its processing began and ended (one monotonic clock), and its faces."""
        self.looked_at += 1
        self.faces += faces
        self._frames.append((taken_at - captured_at, done_at - captured_at, done_at, faces))

    def latest(self) -> dict[str, float | int | None]:
        """`age_*`: of a frame when its processing began; `latency_*`: when its sightings were ready."""
        figures: dict[str, float | int | None] = {
            "looked_at": self.looked_at,
            "faces": self.faces,
            "embedded": self.embedded,
        }
        ages, latencies = ([frame[i] for frame in self._frames] for i in (0, 1))
        for name, values in (("age", ages), ("latency", latencies)):
            for percent in (50, 95):
                key = f"{name}_p{percent}_ms"
                figures[key] = round(float(np.percentile(values, percent)) * 1000, 1) if values else None
        span_s = self._frames[-1][2] - self._frames[0][2] if len(self._frames) > 1 else 0.0
        figures["frames_per_s"] = round((len(self._frames) - 1) / span_s, 2) if span_s else None
        figures["faces_per_s"] = round(sum(frame[3] for frame in self._frames) / span_s, 2) if span_s else None
        return figures
