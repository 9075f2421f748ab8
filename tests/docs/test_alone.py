"""A test that is to be alone runs while no other does, and gets its turn."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.support.alone import Turn
from tests.support.clips import wait_until

pytestmark = pytest.mark.alone  # a thread that does not get its processor in 0.3 s would look as if it waited


def waiting(turn: Turn, alone: bool) -> threading.Event:
    """A process that waits for its turn, and whether it has it."""
    has_it = threading.Event()

    def wait() -> None:
        turn.begin(alone)
        has_it.set()

    threading.Thread(target=wait, daemon=True).start()
    return has_it


def test_it_waits_for_all_and_none_comes_in_before_it(tmp_path: Path) -> None:
    """Two run side by side; one that is to be alone begins after both, and one that comes later begins after that one."""
    (tmp_path / "lock").touch()
    first, second, alone, late = (Turn(tmp_path / "lock") for _ in range(4))
    first.begin(alone=False)
    second.begin(alone=False)
    is_alone = waiting(alone, True)
    assert not is_alone.wait(0.3)
    is_late = waiting(late, False)
    first.end(alone=False, next_alone=False)
    assert not is_alone.wait(0.3)
    assert not is_late.is_set(), "it came later"
    second.end(alone=False, next_alone=False)
    wait_until(is_alone.is_set, "turn of the one that is to be alone")
    assert not is_late.wait(0.3)
    alone.end(alone=True, next_alone=False)
    wait_until(is_late.is_set, "turn of the one that came later")


def test_between_two_that_are_to_be_alone_nobody_comes_in(tmp_path: Path) -> None:
    """The second of them begins at once, and others after it."""
    (tmp_path / "lock").touch()
    alone, other = Turn(tmp_path / "lock"), Turn(tmp_path / "lock")
    alone.begin(alone=True)
    has_turn = waiting(other, False)
    alone.end(alone=True, next_alone=True)
    alone.begin(alone=True)
    assert not has_turn.wait(0.3)
    alone.end(alone=True, next_alone=False)
    wait_until(has_turn.is_set, "turn")
