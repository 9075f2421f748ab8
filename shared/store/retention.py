"""Decides whether the wall clock can be trusted when old data is to be deleted.

A machine without a clock battery starts in some other year, until the network sets its clock. If the clock is 400 days ahead for a
second, that must not delete a month of sightings. So a clock is trusted in two cases:
1. it shows little more than the last time that is known;
2. it has agreed with the kernel's own count of seconds for an hour. In that time a person who set it wrong can notice.
"""

from __future__ import annotations

from datetime import datetime, timedelta

# So much later than the last known time is plausible: a site that was off over a weekend. A clock that is this far ahead deletes data at
# most this much too early.
PLAUSIBLE = timedelta(days=3)
STEADY_S = 3600.0
# A person or a server may set the clock back by this; a clock that is behind deletes less, not more.
_SET_BACK = timedelta(hours=1)
_DRIFT_S = 60.0  # in an hour; NTP slews by 1.8 s


class ClockWatch:
    """Decides whether to trust the wall clock, from its readings over time. Pure: it reads no clock itself."""

    def __init__(self, known: datetime | None) -> None:
        """`known`: the last stored time of a trusted clock (aware, UTC); None if there is none."""
        self._known = known
        self._steady_since: tuple[datetime, float] | None = None

    def trusts(self, wall: datetime, elapsed_s: float) -> bool:
        """Whether to trust `wall` (aware, UTC) now. `elapsed_s`: seconds of a clock that nobody can set and that counts during sleep."""
        since = self._steady_since
        if since is None or abs((wall - since[0]).total_seconds() - (elapsed_s - since[1])) > _DRIFT_S:
            since = wall, elapsed_s
        steady = elapsed_s - since[1] >= STEADY_S
        self._steady_since = (wall, elapsed_s - STEADY_S) if steady else since  # small drifts do not add up
        plausible = self._known is not None and -_SET_BACK <= wall - self._known <= PLAUSIBLE
        if plausible or steady:
            self._known = wall
            return True
        return False
