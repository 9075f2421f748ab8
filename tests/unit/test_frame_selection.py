"""Which frames are searched, with a fake clock."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from workers.pipeline.frame_selection import FrameSelection

FPS = 5.0


def searched(seconds: float, **what: Any) -> int:
    """How many of the frames of so many seconds are searched, after a first one."""
    attention = FrameSelection(FPS)
    known = {"cut": False, "moved": False, "in_view": False, "undecided": False}
    assert attention.wants(0.0, **known)
    return sum(attention.wants(step / FPS, **(known | what)) for step in range(1, round(seconds * FPS) + 1))


def test_empty_scene_costs_a_search_every_five_seconds() -> None:
    """The motion detector may be wrong; otherwise an empty corridor is decoded and looked over."""
    assert searched(20.0) == 4


@pytest.mark.parametrize("what", [{"moved": True}, {"in_view": True, "undecided": True}, {"cut": True}])
def test_every_frame_is_searched_when_it_may_tell_something(what: dict[str, bool]) -> None:
    """Something moves where nobody was known to be; somebody is not yet told apart; another scene."""
    assert searched(4.0, **what) == 20


def test_known_people_who_move_are_followed_with_every_third_frame() -> None:
    """Where their track goes is predicted in between."""
    assert searched(6.0, moved=True, in_view=True) == 10


@pytest.mark.parametrize("fps", [0.5, 1.0, 2.0])
def test_seldom_looking_camera_does_not_skip_so_many_that_tracks_are_lost(fps: float) -> None:
    """A track is lost after 1.5 s unseen, or two and a half frames: a search comes in time at any rate."""
    attention = FrameSelection(fps)
    looks = [
        step / fps
        for step in range(40)
        if attention.wants(step / fps, cut=False, moved=True, in_view=True, undecided=False)
    ]
    gaps = [after - before for before, after in pairwise(looks)]
    assert max(gaps) < max(1.5, 2.5 / fps)


def test_known_people_who_sit_still_are_looked_at_once_a_second() -> None:
    """Often enough for their track not to be lost."""
    assert searched(10.0, in_view=True) == 10


def test_other_frame_rates_shift_nothing() -> None:
    """Frames of a 24 a second film at five a second come 167 to 208 ms apart; every third one is still searched."""
    attention = FrameSelection(FPS)
    times = [0.0, 0.2083, 0.4167, 0.625, 0.8333, 1.0, 1.2083, 1.4167, 1.625]
    looks = [attention.wants(time, cut=False, moved=True, in_view=True, undecided=False) for time in times]
    assert looks == [True, False, False] * 3


def test_time_that_runs_back_begins_anew() -> None:
    """A looped file, a clock that was set."""
    attention = FrameSelection(FPS)
    nothing = {"cut": False, "moved": False, "in_view": False, "undecided": False}
    assert attention.wants(100.0, **nothing)
    assert attention.wants(1.0, **nothing)
