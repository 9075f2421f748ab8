"""Decides which losses and returns of a source are reported when it comes and goes.

At first every loss is reported. After a few of them, a return is reported only once the source has stayed up for a while,
together with the number of losses that were not reported. Otherwise a camera that gives six pictures and closes would
cause 170,000 events and log lines a day. This module has no clock and no I/O.
"""

from __future__ import annotations

from collections import deque

_WINDOW_S = 86400.0
_TOLD_AT_ONCE = 3  # so many losses within a day are reported without any hold
# After that, the source has to stay up for the hold before its return is reported. Each further reported loss doubles it.
_FIRST_HOLD_S, _LONGEST_HOLD_S = 60.0, 1800.0
_DOUBLINGS = 5  # 60 s to 30 min


class SourceNews:
    """The reports on one source. At most `_TOLD_AT_ONCE` + `_DOUBLINGS` + 48 losses a day are reported, and as many returns."""

    def __init__(self) -> None:
        self._told: deque[float] = deque(maxlen=_TOLD_AT_ONCE + _DOUBLINGS)  # when losses were reported
        self._is_told_up: bool | None = None
        self._up_since: float | None = None
        self._untold = 0

    def lost(self, now_s: float, losses: int = 1) -> bool:
        """The source went down, `losses` times since the last call. Whether this is to be reported. `now_s`: any clock, seconds."""
        self._up_since = None
        if self._is_told_up is False:
            self._untold += losses
            return False
        self._untold += losses - 1
        self._is_told_up = False
        self._told.append(now_s)
        return True

    def well(self, now_s: float) -> bool:
        """The source gives pictures. Whether its return is to be reported."""
        if self._up_since is None:
            self._up_since = now_s
        if self._is_told_up or now_s - self._up_since < self.hold_s(now_s):
            return False
        self._is_told_up = True
        return True

    def take_untold(self) -> int:
        """How many losses were not reported. The caller reports this number, and the count starts over."""
        untold, self._untold = self._untold, 0
        return untold

    def hold_s(self, now_s: float) -> float:
        """For how many seconds the source has to stay up before its return is reported."""
        recent = sum(now_s - told_at < _WINDOW_S for told_at in self._told)
        return (
            0.0 if recent <= _TOLD_AT_ONCE else min(_FIRST_HOLD_S * 2 ** (recent - _TOLD_AT_ONCE - 1), _LONGEST_HOLD_S)
        )
