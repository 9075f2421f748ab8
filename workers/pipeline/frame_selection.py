"""Which of the frames at hand are searched for faces, decided from what is known and what changed.

A search costs ten times what everything else about a frame does. Where somebody is still to be told apart every frame
is searched; where everybody in view is known every third one; where nothing moves, just often enough to notice.
"""

from __future__ import annotations

_SLACK_S = 1e-6
_KNOWN_EVERY = 2.5  # frames: every third one, as frames do not come to the millisecond
_STILL_S = 1.0  # between searches while somebody is in view and nothing moves; a track is lost after 1.5 s unseen
_EMPTY_S = 5.0  # while nobody is in view and nothing moves: the motion detector may be wrong


class FrameSelection:
    """Times are seconds on one clock. `fps`: how many frames a second are at hand."""

    def __init__(self, fps: float) -> None:
        self._frame_s = 1.0 / fps
        self.searched_s = float("-inf")  # when a frame was searched last

    def wants(self, time_s: float, *, cut: bool, moved: bool, in_view: bool, undecided: bool) -> bool:
        """Whether to search the frame of this time, which is then taken as done.

        `cut`: another scene has begun. `moved`: since the last search. `in_view`: there are tracks. `undecided`: of one
        of them it is still to be found out who it is, or whether it is still there.
        """
        if cut or (in_view and undecided):
            due_s = 0.0
        elif moved:
            due_s = min(_KNOWN_EVERY * self._frame_s, _STILL_S) if in_view else 0.0
        else:
            due_s = _STILL_S if in_view else _EMPTY_S
        if 0 <= time_s - self.searched_s < due_s - _SLACK_S:  # a time that runs back begins anew
            return False
        self.searched_s = time_s
        return True
