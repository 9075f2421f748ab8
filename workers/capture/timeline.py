"""A file's own time, made of its packets' stamps. It has no clock and no I/O.

A container's stamps may start anywhere, jump by hours at one stray packet, or start again where two recordings were joined.
The time that comes out starts at 0 and goes on through all of that, so a jump neither hides pictures nor makes anybody wait.
"""

from __future__ import annotations

# A longer step between two packets is a jump. FFmpeg's own programs take the same limit (dts_delta_threshold).
_JUMP_S = 10.0
_FIRST_STEP_S = 1 / 25  # of a file whose first stamp is followed by a jump


class Timeline:
    """Gives each packet of one file its media time, in seconds. Packets come in the file's order."""

    def __init__(self) -> None:
        self._last_s: float | None = None  # the stamp of the packet before
        self._offset_s = 0.0
        self._end_s: float | None = None  # the latest media time so far
        self._steps, self._steps_s = 0, 0.0

    def at(self, decoded_s: float, shown_s: float | None) -> tuple[float, float]:
        """The media times of the next packet: when it is decoded, and when its picture is shown.

        `decoded_s`, `shown_s`: its stamps for decoding and for display, in seconds. With B-frames the second is later, and
        does not rise from packet to packet. None: the packet has none, or only one that can't be.
        """
        shown = decoded_s if shown_s is None or abs(shown_s - decoded_s) > _JUMP_S else shown_s
        step_s = None if self._last_s is None else decoded_s - self._last_s
        self._last_s = decoded_s
        if step_s is not None and 0 <= step_s <= _JUMP_S:
            self._steps, self._steps_s = self._steps + 1, self._steps_s + step_s
        else:  # the first packet, or the first one of a new timeline
            self._offset_s = (0.0 if self._end_s is None else self._end_s + self._mean_step_s()) - shown
        media_s = shown + self._offset_s
        self._end_s = media_s if self._end_s is None else max(self._end_s, media_s)
        return min(decoded_s + self._offset_s, media_s), media_s

    def restart(self) -> None:
        """The file starts again: the next packet follows the last one by one mean step."""
        self._last_s = None

    def _mean_step_s(self) -> float:
        return self._steps_s / self._steps if self._steps_s else _FIRST_STEP_S
