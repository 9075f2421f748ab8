"""Figures that show whether a camera keeps up: frames and faces per second, and ages and latencies of the latest frames."""

from __future__ import annotations

from collections import deque

import numpy as np

_REMEMBERED = 512  # the figures are made from so many frames: 100 s at 5 a second


class Figures:
    """Figures of the frames that were searched for faces. Times come in as seconds; the figures are milliseconds.

    `looked_at`: how many frames were searched; `faces`: how many faces were found in them; `embedded`: how many crops were
    embedded.
    """

    def __init__(self) -> None:
        self.looked_at = 0
        self.faces = 0
        self.embedded = 0
        self._latest: dict[str, float | int | None] = {}  # of so many frames as there are; they cost a millisecond
        self._frames: deque[tuple[float, float, float, int]] = deque(maxlen=_REMEMBERED)

    def add(self, *, captured_at: float, taken_at: float, done_at: float, faces: int) -> None:
        """Add one searched frame: when it was captured, when its processing began and ended (all on one monotonic clock), and
        how many faces it had."""
        self.looked_at += 1
        self.faces += faces
        self._latest = {}
        self._frames.append((taken_at - captured_at, done_at - captured_at, done_at, faces))

    def latest(self) -> dict[str, float | int | None]:
        """The figures by name. `age_*`: how old frames were when their processing began; `latency_*`: when it ended."""
        if not self._latest or self._latest["embedded"] != self.embedded:
            self._latest = self._made()
        return self._latest

    def _made(self) -> dict[str, float | int | None]:
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
