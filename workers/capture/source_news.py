"""What is told of a source that comes and goes: each loss at first, then only what lasts, with the sum of what was left out.

An event and a log line for each would be 170,000 a day of a camera that gives six pictures and closes. No clock, no I/O.
"""

from __future__ import annotations

from collections import deque

_WINDOW_S = 86400.0
_TOLD_AT_ONCE = 3  # losses within a day
# From then on a source has to stay for so long before it is told up; doubled by each further loss that is told.
_FIRST_HOLD_S, _LONGEST_HOLD_S = 60.0, 1800.0
_DOUBLINGS = 5  # 60 s to 30 min


class SourceNews:
    """Of one source. At most `_TOLD_AT_ONCE` + `_DOUBLINGS` + 48 losses are told a day, and as many returns."""

    def __init__(self) -> None:
        self._told: deque[float] = deque(maxlen=_TOLD_AT_ONCE + _DOUBLINGS)  # when losses were told
        self._is_told_up: bool | None = None
        self._up_since: float | None = None
        self._untold = 0

    def lost(self, now_s: float, losses: int = 1) -> bool:
        """The source went down, `losses` times since the last call; whether that is to be told."""
        self._up_since = None
        if self._is_told_up is False:
            self._untold += losses
            return False
        self._untold += losses - 1
        self._is_told_up = False
        self._told.append(now_s)
        return True

    def well(self, now_s: float) -> bool:
        """The source gives pictures; whether its return is to be told."""
        if self._up_since is None:
            self._up_since = now_s
        if self._is_told_up or now_s - self._up_since < self.hold_s(now_s):
            return False
        self._is_told_up = True
        return True

    def take_untold(self) -> int:
        """How many losses were not told; they are told by this."""
        untold, self._untold = self._untold, 0
        return untold

    def hold_s(self, now_s: float) -> float:
        """For how long the source has to stay before it is told up."""
        recent = sum(now_s - told_at < _WINDOW_S for told_at in self._told)
        return (
            0.0 if recent <= _TOLD_AT_ONCE else min(_FIRST_HOLD_S * 2 ** (recent - _TOLD_AT_ONCE - 1), _LONGEST_HOLD_S)
        )
