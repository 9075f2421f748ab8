"""When a live stream's packets came, told from their stamps and from how long each read took."""

from __future__ import annotations

import pytest

from workers.capture.arrivals import Arrivals


def read(arrivals: Arrivals, stamp_s: float | None, read_at: float, took_s: float, *, keyframe: bool = False) -> float:
    return arrivals.came_at(stamp_s, read_at, took_s, keyframe=keyframe)


def test_what_was_waited_for_came_when_it_was_read() -> None:
    """Whatever its stamp says: a camera's clock may run fast or slow."""
    arrivals = Arrivals()
    assert [read(arrivals, 0.5 * i, 10 + 0.04 * i, 0.03) for i in range(3)] == pytest.approx([10.0, 10.04, 10.08])
    assert arrivals.fresh


def test_what_was_there_already_came_as_its_stamp_says() -> None:
    """Reading rested for 160 ms: four packets are read at once, and came 40 ms apart."""
    arrivals = Arrivals()
    read(arrivals, 7.0, 10.0, 0.03)
    came = [read(arrivals, 7.04 + 0.04 * i, 10.165, 0.0001) for i in range(4)]
    assert came == pytest.approx([10.04, 10.08, 10.12, 10.16])
    assert not arrivals.fresh


def test_a_large_keyframe_takes_long_to_read_and_was_there_all_the_same() -> None:
    """Pictures were decoded after the fact for half a second."""
    arrivals = Arrivals()
    read(arrivals, 7.0, 10.0, 0.03)
    assert read(arrivals, 7.1, 10.5, 0.02, keyframe=True) == pytest.approx(10.1)
    assert read(arrivals, 7.14, 10.5, 0.0001) == pytest.approx(10.14)


@pytest.mark.parametrize("stamp_s", [None, 3600.0, 1.0, 7.5])
def test_stamps_that_cannot_be_are_not_followed(stamp_s: float | None) -> None:
    """None, hours ahead, long before, or later than now: it came when it was read, and what follows is counted from there."""
    arrivals = Arrivals()
    read(arrivals, 7.0, 10.0, 0.03)
    assert read(arrivals, stamp_s, 10.2, 0.0001) == 10.2
    if stamp_s is not None:
        assert read(arrivals, stamp_s + 0.04, 10.3, 0.0001) == pytest.approx(10.24)


def test_times_do_not_run_back() -> None:
    """A stamp that lies a little before the last one."""
    arrivals = Arrivals()
    read(arrivals, 7.0, 10.0, 0.03)
    read(arrivals, 7.1, 10.2, 0.0001)
    assert read(arrivals, 7.06, 10.2, 0.0001) == pytest.approx(10.1)
