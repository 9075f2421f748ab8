"""How long a failed exchange waits, and what a server may ask for. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from workers.sync.retrying import retry_after_s, wait_s

_NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(("failures", "most"), [(1, 2), (2, 4), (5, 32), (9, 300), (1000, 300)])
def test_a_random_share_of_a_time_that_doubles(failures: int, most: float) -> None:
    """Full jitter: from nothing to a time that doubles up to five minutes, however many failures there were."""
    assert wait_s(failures, 0, lambda: 0.0) == 0
    assert wait_s(failures, 0, lambda: 1.0) == most
    assert wait_s(failures, 0, lambda: 0.5) == most / 2


def test_what_the_backend_asks_for_is_the_least() -> None:
    """Retry-After counts, up to an hour."""
    assert wait_s(1, 60, lambda: 0.5) == 60
    assert wait_s(9, 60, lambda: 1.0) == 300
    assert wait_s(1, 10**6, lambda: 0.0) == 3600


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("7", 7),
        (" 120 ", 120),
        ("Wed, 01 Jul 2026 12:00:30 GMT", 30),
        ("Wed, 01 Jul 2026 11:00:00 GMT", 0),
        ("soon", 0),
        ("-5", 0),
        ("9" * 400, 999_999_999),
    ],
)
def test_retry_after(header: str | None, seconds: float) -> None:
    """Seconds, or a date; anything else asks for nothing."""
    assert retry_after_s(header, _NOW) == seconds
