"""Figures of the inference process: how much it does, and how long requests wait for their turn."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

_REMEMBERED = 1024
_SPAN_S = 60.0


class Figures:
    """Add each request that was served. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._searches = self._embedded = 0
        # Of each request: when it was done, how long it waited, whether it was a search.
        self._latest: deque[tuple[float, float, bool]] = deque(maxlen=_REMEMBERED)

    def add(self, waited_s: float, done_at: float, crops: int, *, searched: bool) -> None:
        """`crops`: how many were embedded. `searched`: it was a search."""
        self._searches += searched
        self._embedded += crops
        self._latest.append((done_at, waited_s, searched))

    def latest(self, now: float) -> dict[str, Any]:
        """The fields of InferenceStatus, by name. Rates and waits are those of the last minute."""
        recent = [one for one in self._latest if now - one[0] <= _SPAN_S]
        waits = [waited_s for _, waited_s, _ in recent]
        span_s = now - recent[0][0] if recent else 0.0
        return {
            "searches": self._searches,
            "embedded": self._embedded,
            "searches_per_s": round(sum(searched for *_, searched in recent) / span_s, 2) if span_s else None,
            "waited_p95_ms": round(float(np.percentile(waits, 95)) * 1000, 1) if waits else None,
        }
