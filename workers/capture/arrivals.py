"""When a live stream's packets came, although they are read later. It has no clock and no I/O.

Packets wait in the socket while pictures are decoded after the fact, and while reading rests. Their own stamps tell how long after
the last packet that was waited for they came.
"""

from __future__ import annotations

# A read that took longer has waited for its packet. Reading a large picture that is there takes a few milliseconds.
_WAITED_S = 0.01
# Nothing waits longer than this to be read. Stamps that say so are wrong.
_MOST_BEHIND_S = 5.0


class Arrivals:
    """Gives each packet of one stream the time at which it came, in seconds of the caller's clock. The times never run back.

    `fresh`: whether the latest packet was waited for, so that nothing more is there to be read.
    """

    def __init__(self) -> None:
        self._known: tuple[float, float] | None = None  # of a packet that was waited for: when it came, and its stamp
        self._latest_s = float("-inf")
        self.fresh = False

    def came_at(self, stamp_s: float | None, read_at: float, took_s: float, *, keyframe: bool) -> float:
        """When the next packet came. `stamp_s`: its stamp for decoding, in seconds; None: it has none. `took_s`: how long the read
        took that ended at `read_at`. A keyframe may be so large that this does not mean that it was waited for."""
        self.fresh = took_s > _WAITED_S and not keyframe
        came_at = read_at
        if self._known is not None and stamp_s is not None and not self.fresh:
            at, of = self._known
            came_at = at + stamp_s - of
        if not read_at - _MOST_BEHIND_S < came_at < read_at:
            came_at = read_at
            self._known = None if stamp_s is None else (read_at, stamp_s)
        self._latest_s = came_at = max(came_at, self._latest_s)
        return came_at
