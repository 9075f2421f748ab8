"""Which frames are due at a wanted frame rate, decided from the frames' times alone."""

from __future__ import annotations

_SLACK_S = 1e-6  # times come from milliseconds in float64; a frame that is early by a rounding error is due


class Cadence:
    """Lets through `fps` frames a second, spread evenly. Of a slower source it lets every frame through.

    Due times lie on a grid, so that a 24 fps source at `fps` 5 gives 5 a second and not 4.8. A late frame is not followed
    by a burst of frames. Only a frame that was let through changes the state. So a second cadence with the same `fps` lets
    through every frame that the first one did.
    """

    def __init__(self, fps: float | None) -> None:
        """`fps`: frames a second; None lets every frame through."""
        self._interval_s = 1.0 / fps if fps else 0.0
        self._next_s: float | None = None

    def due(self, time_s: float) -> bool:
        """Whether the frame of this time (seconds, any clock) is due. A time that runs back starts a new grid."""
        if self._next_s is not None:
            early_s = self._next_s - time_s
            if _SLACK_S < early_s <= self._interval_s + _SLACK_S:
                return False
            on_grid = -self._interval_s < early_s <= _SLACK_S
            self._next_s = self._next_s + self._interval_s if on_grid else time_s + self._interval_s
        else:
            self._next_s = time_s + self._interval_s
        return True
