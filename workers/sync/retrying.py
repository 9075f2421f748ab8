"""How long to wait before a failed exchange is tried again. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_FIRST_S = 1.0
_MOST_S = 300.0
_MOST_ASKED_S = 3600.0  # a backend that asks for more is asked again after an hour


def wait_s(failures: int, asked_s: float, share: Callable[[], float]) -> float:
    """Seconds to wait after so many failures in a row: a random share of a time that doubles up to five minutes, so that many sites do not
    come back at the same moment; but no less than the backend asked for. `share`: gives numbers from 0 to 1."""
    most = min(_MOST_S, _FIRST_S * 2.0 ** min(failures, 16))
    return max(most * share(), min(asked_s, _MOST_ASKED_S))


def retry_after_s(value: str | None, now: datetime | None = None) -> float:
    """The seconds of a Retry-After header, which has seconds or a date (RFC 9110). 0 without one, or for one that can't be read."""
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
