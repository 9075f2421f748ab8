"""Revisions: ordered like what people did, whatever the clocks say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.sync.hybrid_clock import MAX_AHEAD_MS, Version, is_ahead, ms_of, newest_possible, next_revision, wins

MS = st.integers(0, 4_000_000_000_000)
REVISIONS = st.integers(0, (1 << 53) - 2)


@given(REVISIONS, MS)
def test_a_change_is_newer_than_whatever_was_known(last: int, now: int) -> None:
    """Also where the clock is behind what is known."""
    assert next_revision(last, now) > last


@given(MS, st.integers(1, 10**9))
def test_revisions_follow_the_clock(now: int, later: int) -> None:
    """Where nothing newer is known, the later change has the newer revision, and it fits into every JSON reader's numbers."""
    assert next_revision(0, now) < next_revision(0, now + later) < 1 << 53


@given(MS)
def test_only_more_than_a_minute_ahead_is_ahead(now: int) -> None:
    """A revision of a minute ahead is taken, whatever it counts; the next millisecond is refused."""
    assert not is_ahead(newest_possible(now), now)
    assert is_ahead(newest_possible(now) + 1, now)
    assert not is_ahead(((now + MAX_AHEAD_MS) << 10) + 1023, now)
    assert is_ahead((now + MAX_AHEAD_MS + 1) << 10, now)
    assert ms_of(newest_possible(now)) == now + MAX_AHEAD_MS


def test_of_two_versions_exactly_one_wins() -> None:
    """Equal revisions are told apart by their origins; a version does not win over itself."""
    one, other = Version(5, "a"), Version(5, "b")
    assert wins(other, one)
    assert not wins(one, other)
    assert not wins(one, one)
    assert wins(one, None)
    assert wins(Version(6, "a"), other)
