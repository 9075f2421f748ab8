"""Cameras that come and go: what is told of them is bounded, and nothing is lost from the sum."""

from __future__ import annotations

import pytest

from workers.capture.source_news import SourceNews

DAY_S = 86400.0


def told_in_a_day(up_s: float, down_s: float) -> tuple[int, int, int]:
    """Losses told, returns told, and losses that a sum or an event covered, of a day of coming and going."""
    news, now_s = SourceNews(), 0.0
    downs = ups = covered = 0
    while now_s < DAY_S:
        for _ in range(int(up_s) + 1):
            if news.well(now_s):
                ups += 1
                covered += news.take_untold()
            now_s += 1.0
        if news.lost(now_s):
            downs += 1
            covered += 1
        now_s += down_s
    return downs, ups, covered + news.take_untold()


@pytest.mark.parametrize("up_s", [1.0, 59.0, 70.0, 500.0, 1700.0])
def test_a_day_of_coming_and_going_is_told_in_few_events(up_s: float) -> None:
    """However long it stays each time: a hundred or so events a day, and each loss is in one or in a sum."""
    downs, ups, covered = told_in_a_day(up_s, 2.0)
    assert downs + ups <= 120
    assert covered >= DAY_S / (up_s + 1 + 2.0) - 1


def test_the_first_losses_are_told_at_once() -> None:
    """A camera that was switched off and on is down and up in the same second."""
    news = SourceNews()
    assert news.well(0.0)
    for at in (100.0, 200.0, 300.0):
        assert news.lost(at)
        assert news.well(at + 5)
    assert news.take_untold() == 0


def test_a_camera_that_got_well_is_told_at_once_again() -> None:
    """A day later nothing is held against it."""
    news = SourceNews()
    for at in range(10):
        news.well(float(at))
        news.lost(at + 0.5)
    assert not news.well(11.0)
    assert news.hold_s(11.0) > 0
    assert news.hold_s(11.0 + DAY_S) == 0
    assert news.well(11.0 + DAY_S)


def test_a_camera_that_is_never_there_is_told_once() -> None:
    """Whatever the number of tries."""
    news = SourceNews()
    assert news.lost(0.0)
    assert not any(news.lost(float(at)) for at in range(1, 100))
