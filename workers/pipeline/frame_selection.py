"""Which frames are searched for faces, decided from what is known about the people in view and from what moved.

A search costs ten times as much as everything else that is done with a frame. While somebody in view is not identified
yet, every frame is searched. When everybody in view is known, every third frame. While nothing moves, a frame now and
then.
"""

from __future__ import annotations

_SLACK_S = 1e-6
_KNOWN_EVERY = 2.5  # frames; 2.5 and not 3 selects every third one, since frames do not arrive to the millisecond
# Between two searches while somebody is in view and nothing moves. A track is lost after 1.5 s unseen.
_STILL_S = 1.0
# Between two searches while nobody is in view and nothing moves: the motion detector may be wrong.
_EMPTY_S = 5.0


class FrameSelection:
    """Decides frame by frame. Times are seconds on one clock. `fps`: how many frames per second are offered to `wants`."""

    def __init__(self, fps: float) -> None:
        self._frame_s = 1.0 / fps
        self.searched_s = float("-inf")  # when a frame was searched last

    def wants(self, time_s: float, *, cut: bool, moved: bool, in_view: bool, undecided: bool) -> bool:
        """Whether to search the frame of this time. After True, the frame counts as searched.

        `cut`: another scene has begun. `moved`: something moved since the last search. `in_view`: there are tracks.
        `undecided`: for at least one track it is still open who it is, or whether it is still there.
        """
        if cut or (in_view and undecided):
            due_s = 0.0
        elif moved:
            due_s = min(_KNOWN_EVERY * self._frame_s, _STILL_S) if in_view else 0.0
        else:
            due_s = _STILL_S if in_view else _EMPTY_S
        if 0 <= time_s - self.searched_s < due_s - _SLACK_S:  # a time that runs back starts over
            return False
        self.searched_s = time_s
        return True
