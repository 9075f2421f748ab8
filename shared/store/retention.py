"""When the wall clock may be trusted to delete what is past its time.

A box without a battery starts in some other year until the network tells it better; +400 days for a second must not delete a
month of sightings. A clock is trusted when it shows little more than was known of it, or once it has agreed with the kernel's own
count of seconds for an hour: then whoever set it wrong has had the time to see it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

# That a site was off: a weekend. A clock that is so far ahead deletes no more than that early.
PLAUSIBLE = timedelta(days=3)
STEADY_S = 3600.0
_SET_BACK = timedelta(hours=1)  # by a person or a server; a clock that is behind deletes less, not more
_DRIFT_S = 60.0  # in an hour; NTP slews by 1.8 s


class ClockWatch:
    """Told the wall clock from time to time; says whether to trust it. Pure: it reads no clock."""

    def __init__(self, known: datetime | None) -> None:
        """`known`: what a trusted clock showed last, as it was stored; None: nothing is known yet."""
        self._known = known
        self._steady_since: tuple[datetime, float] | None = None

    def trusts(self, wall: datetime, elapsed_s: float) -> bool:
        """Whether to trust `wall` (aware, UTC) now. `elapsed_s`: any count of seconds that nobody sets and that goes on in sleep."""
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
