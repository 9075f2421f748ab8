"""Revisions: which of two versions of the same thing is the newer one, at sites whose clocks differ.

A revision is a hybrid logical clock (Kulkarni and others, 2014) in one whole number: milliseconds since 1970, and below them ten bits that
count. It is the wall clock's time, unless a newer revision is known already: then it is the one after that. So who has seen a version and
changes it makes a newer one, whatever the clocks say. It stays below 2^53, which every JSON reader takes.

A revision that is more than a minute ahead of the clock is of a clock that is wrong. The hub refuses it, and so does a site. What the hub has
taken is right: so a site whose clock has jumped back goes on after that (store/change_times.py), and a clock that was years ahead for a day
does no harm afterwards.
"""

from __future__ import annotations

import time
from typing import NamedTuple

COUNTER_BITS = 10
MAX_AHEAD_MS = 60_000
MAX_REVISION = 1 << 53  # every JSON reader takes whole numbers below it
OLDEST = 1  # of what was there before revisions were counted, or comes from a backup


class Version(NamedTuple):
    """Whose change a version is. Versions of one thing are ordered: by their revisions, and by their origins where these are equal."""

    revision: int
    origin: str


def now_ms() -> int:
    """The wall clock: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def next_revision(last: int, now: int) -> int:
    """The revision of a change that is made now. `last`: the newest one that is known."""
    return max(last + 1, now << COUNTER_BITS)


def ms_of(revision: int) -> int:
    """The time in a revision, in milliseconds since 1970."""
    return revision >> COUNTER_BITS


def newest_possible(now: int) -> int:
    """The newest revision of a clock that is right."""
    return ((now + MAX_AHEAD_MS + 1) << COUNTER_BITS) - 1


def is_ahead(revision: int, now: int) -> bool:
    """Whether this revision is of a clock that is wrong."""
    return revision > newest_possible(now)


def wins(version: Version, known: Version | None) -> bool:
    """Whether this version takes the place of the one that is known."""
    return known is None or version > known
