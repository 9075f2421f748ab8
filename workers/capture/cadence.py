"""Which frames are looked at, decided from their times alone, and how the work keeps up with them."""

from __future__ import annotations

from collections import deque

import numpy as np

_REMEMBERED = 512  # frames the figures are made from: 100 s at 5 a second
_SLACK_S = 1e-6  # times come from milliseconds in float64; a frame that is due to the rounding error is due


class Cadence:
    """Lets through `fps` frames a second, spread evenly; a source slower than that is looked at whole.

    Due times lie on a grid, so that a 24 fps source at `fps` 5 gives 5 a second and not 4.8. A frame that comes late
    brings no burst after it. Only frames that were let through change the state: what one cadence let through, a second
    one of the same `fps` lets through too.
    """

    def __init__(self, fps: float | None) -> None:
        """`fps`: frames a second; None lets every frame through."""
        self._interval_s = 1.0 / fps if fps else 0.0
        self._next_s: float | None = None

    def due(self, time_s: float) -> bool:
        """Whether the frame of this time (any clock, seconds) is to be looked at. A time that runs back starts anew."""
        if self._next_s is not None:
            early_s = self._next_s - time_s
            if _SLACK_S < early_s <= self._interval_s + _SLACK_S:
                return False
            on_grid = -self._interval_s < early_s <= _SLACK_S
            self._next_s = self._next_s + self._interval_s if on_grid else time_s + self._interval_s
        else:
            self._next_s = time_s + self._interval_s
        return True


class Progress:
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

    def figures(self) -> dict[str, float | int | None]:
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
