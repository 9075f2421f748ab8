"""What is past its time goes, from every copy, and a clock that has just jumped deletes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.retention import PLAUSIBLE, STEADY_S, ClockWatch

_NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_a_clock_that_goes_on_from_what_is_known_is_trusted() -> None:
    """At once after a start, also after a weekend off, and all the while."""
    watch = ClockWatch(_NOW)
    assert watch.trusts(_NOW + timedelta(days=2), 10.0)
    for minutes in range(0, 6000, 10):
        assert watch.trusts(_NOW + timedelta(days=2, minutes=minutes), 10.0 + 60 * minutes)


@pytest.mark.parametrize("known", [None, _NOW])
@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=-400), PLAUSIBLE + timedelta(minutes=1)])
def test_a_clock_that_jumped_is_trusted_after_an_hour_of_agreement(known: datetime | None, jump: timedelta) -> None:
    """A new box, and one that comes up in another year: not for an hour; then it is, and what it shows is known."""
    watch = ClockWatch(known)
    for seconds in range(0, int(STEADY_S), 600):
        assert not watch.trusts(_NOW + jump + timedelta(seconds=seconds), 5.0 + seconds)
    assert watch.trusts(_NOW + jump + timedelta(seconds=STEADY_S), 5.0 + STEADY_S)


def test_a_clock_that_is_set_right_is_trusted_at_once() -> None:
    """+400 days for seconds at the start: nothing is deleted, and as soon as it is right again everything goes on."""
    watch = ClockWatch(_NOW)
    assert not watch.trusts(_NOW + timedelta(days=400), 1.0)
    assert watch.trusts(_NOW + timedelta(seconds=20), 20.0)


def test_a_clock_that_jumps_while_the_site_runs_begins_anew() -> None:
    """An hour of agreement before says nothing of a clock that jumps now; nor do several small steps add up to one."""
    watch = ClockWatch(None)
    assert not watch.trusts(_NOW, 0.0)
    assert watch.trusts(_NOW + timedelta(seconds=STEADY_S), STEADY_S)
    assert not watch.trusts(_NOW + timedelta(days=30), STEADY_S + 600)
    assert not watch.trusts(_NOW + timedelta(days=30, seconds=600), STEADY_S + 1200)
    assert watch.trusts(_NOW + timedelta(seconds=STEADY_S + 1800), STEADY_S + 1800)
    slow = ClockWatch(None)
    for turn in range(100):  # 5 s more in every ten minutes: half an hour's worth is within what agrees
        assert slow.trusts(_NOW + timedelta(seconds=605 * turn), 600.0 * turn) == (turn >= 6)
