"""What `status` says of the exchange with other sites."""

from __future__ import annotations

import pytest

from shared.status import ChildState, SyncStatus
from workers.commands.status import sync_line
from workers.sync.loop import reasons_text

_UP = SyncStatus(state=ChildState.RUNNING, up=True, wire="rollcall", has_key=True, last_sync="2026-01-02T03:04:05Z")


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ({}, ""),
        ({"of another model": 3}, "of another model (3)"),
        ({"b": 1, "a": 1, "of another model": 7}, "of another model (7); a (1); b (1)"),
        ({name: 9 - place for place, name in enumerate("abcdefg")}, "a (9); b (8); c (7); d (6); e (5); other reasons (7)"),
    ],
)  # fmt: skip  # a table
def test_reasons_are_told_by_how_often_they_are_given(reasons: dict[str, int], expected: str) -> None:
    assert reasons_text(reasons) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "up: last exchange 2026-01-02T03:04:05Z, sent 0, received 0, sightings sent 0"),
        ({"quarantined": 2, "quarantine": "norm (2)"}, "2 in quarantine: norm (2)"),
        ({"has_key": False}, "no [sync] key_file"),
        ({"wire": "plain", "unshown": 4}, "NOT SYNCED: its list does not have 4 references"),
        ({"unconfirmed": "mill"}, "deletions not confirmed by mill"),
        ({"up": False, "down_since": "2026-01-01T00:00:00Z", "down_reason": "refused"}, "DOWN since 2026-01-01T00:00:00Z: refused"),
    ],
)  # fmt: skip  # a table
def test_the_line_says_what_is_wrong(changes: dict[str, object], expected: str) -> None:
    assert expected in sync_line(_UP.updated(changes))
    assert len(changes) == 0 or expected not in sync_line(_UP)
