"""Whose turn it is in the inference process: nobody waits for more than one request of each other camera."""

from __future__ import annotations

import random

import pytest

from workers.sharing.turns import Turn, Turns


def _cameras(turns: list[Turn[str]]) -> list[str]:
    return [turn.camera for turn in turns]


def test_first_come_first_served() -> None:
    turns: Turns[str] = Turns(32)
    for name in "cab":
        turns.add(Turn(name))
    assert [_cameras(turns.take()) for _ in range(4)] == [["c"], ["a"], ["b"], []]


def test_crops_of_all_cameras_go_together() -> None:
    """Those of one model, wherever in the line they wait; the searches between them keep their places."""
    turns: Turns[str] = Turns(10)
    turns.add(Turn("a", "model", 4))
    turns.add(Turn("b"))
    turns.add(Turn("c", "model", 5))
    turns.add(Turn("d", "other", 1))
    turns.add(Turn("e", "model", 2))
    turns.add(Turn("f", "model", 1))
    assert _cameras(turns.take()) == ["a", "c", "f"], "e's crops would be more than one batch takes"
    assert [_cameras(turns.take()) for _ in range(3)] == [["b"], ["d"], ["e"]]


def test_a_request_that_is_larger_than_a_batch_is_served_alone() -> None:
    turns: Turns[str] = Turns(4)
    turns.add(Turn("a", "model", 8))
    turns.add(Turn("b", "model", 1))
    assert [_cameras(turns.take()) for _ in range(2)] == [["a"], ["b"]]


def test_nobody_waits_for_more_than_one_request_of_each_other() -> None:
    """Sixteen cameras that ask again as soon as they are answered: before a request, at most fifteen others are served."""
    chance = random.Random(3)
    turns: Turns[int] = Turns(32)
    asked_at = dict.fromkeys(range(16), 0)
    waiting = list(asked_at)
    for taken in range(2000):
        for camera in waiting:
            asked_at[camera] = taken
            turns.add(Turn(camera, "model" if chance.random() < 0.4 else None, chance.randint(1, 8)))
        waiting = [turn.camera for turn in turns.take()]
        assert all(taken - asked_at[camera] <= 15 for camera in waiting)


def test_a_camera_that_is_gone_is_not_served() -> None:
    turns: Turns[str] = Turns(32)
    turns.add(Turn("a"))
    turns.add(Turn("b"))
    turns.drop("a")
    assert len(turns) == 1
    assert _cameras(turns.take()) == ["b"]


def test_a_camera_has_one_request() -> None:
    """A second one would be a fault of ours: the slot holds one."""
    turns: Turns[str] = Turns(32)
    turns.add(Turn("a"))
    with pytest.raises(ValueError, match="second"):
        turns.add(Turn("a"))
