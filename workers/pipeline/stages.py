"""What the stages of a camera's work cost: time, and share of a core.

`ms` is the time that one piece took: one picture decoded, one frame searched, one crop embedded, one match. With a shared engine it includes
the wait for a turn. `cores` is the processor time of the stage, divided by the time that went by: .25 is a quarter of a core. With a shared
engine it includes what the inference process spent on this camera.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

Stage = Literal["detect", "embed", "match"]
_SPAN_S = 60.0
_REMEMBERED = 2048  # pieces of work: a minute of ten searches a second, with all that follows


class _Done(NamedTuple):
    at: float
    took_s: float
    cpu_s: float
    pieces: int


class Stages:
    """`cpu_clock`: the processor time that the work loop has spent so far, seconds. `began_at`: monotonic seconds."""

    def __init__(self, cpu_clock: Callable[[], float] = time.thread_time) -> None:
        self._cpu_clock, self._began_at = cpu_clock, time.monotonic()
        self._done: dict[Stage, deque[_Done]] = {
            stage: deque(maxlen=_REMEMBERED) for stage in ("detect", "embed", "match")
        }

    @contextmanager
    def measured(self, stage: Stage, pieces: int = 1) -> Iterator[None]:
        """The block is `pieces` pieces of this stage's work."""
        began_at, cpu_s = time.monotonic(), self._cpu_clock()
        yield
        now = time.monotonic()
        if pieces:
            self._done[stage].append(_Done(now, now - began_at, max(0.0, self._cpu_clock() - cpu_s), pieces))

    def latest(self) -> dict[str, float | None]:
        """The figures of the last minute, by name: `detect_ms`, `detect_cores` and so on."""
        figures: dict[str, float | None] = {}
        now = time.monotonic()
        for stage, done in self._done.items():
            recent = [one for one in done if now - one.at <= _SPAN_S]
            full = len(done) == _REMEMBERED
            span_s = now - recent[0].at if full and recent else min(_SPAN_S, now - self._began_at)
            pieces = sum(one.pieces for one in recent)
            figures[f"{stage}_ms"] = round(1000 * sum(one.took_s for one in recent) / pieces, 2) if pieces else None
            figures[f"{stage}_cores"] = round(sum(one.cpu_s for one in recent) / span_s, 4) if span_s else None
        return figures


class DecodeCost:
    """The same for decoding, which another thread does: from how much it has spent so far, and how many pictures it has decoded."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float, int]] = deque()

    def latest(self, now: float, cpu_s: float | None, decoded: int) -> dict[str, Any]:
        """`decode_ms` and `decode_cores` of the last minute. `cpu_s`: None where the system does not tell."""
        if cpu_s is None:
            return {"decode_ms": None, "decode_cores": None}
        self._seen.append((now, cpu_s, decoded))
        while now - self._seen[0][0] > _SPAN_S:
            self._seen.popleft()
        at, spent_s, before = self._seen[0]
        pictures, span_s = decoded - before, now - at
        return {
            "decode_ms": round(1000 * (cpu_s - spent_s) / pictures, 2) if pictures > 0 else None,
            "decode_cores": round((cpu_s - spent_s) / span_s, 4) if span_s > 0 else None,
        }
