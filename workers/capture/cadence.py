"""Which frames are looked at, decided from their times alone, and how the work keeps up with them."""

from __future__ import annotations

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
