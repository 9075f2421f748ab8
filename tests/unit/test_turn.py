"""How far a head is turned, from five points of a drawn face."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.records import Side, side_of
from workers.recognition.engine import Points
from workers.recognition.turn import turn_of

_FRONT = np.array([(30, 40), (70, 40), (50, 60), (35, 80), (65, 80)], np.float32)
_DLIB = np.array([(80, 40), (60, 40), (20, 40), (40, 40), (50, 60)], np.float32)


def _with_nose(points: NDArray[np.float32], at: int, x: float) -> NDArray[np.float32]:
    moved = points.copy()
    moved[at, 0] = x
    return moved


@pytest.mark.parametrize(
    ("points", "kind", "nose"), [(_FRONT, Points.EYES_NOSE_MOUTH, 2), (_DLIB, Points.EYE_CORNERS_NOSE, 4)]
)
def test_the_nose_shows_the_side(points: NDArray[np.float32], kind: Points, nose: int) -> None:
    """0 from the front, below 0 to the left of the picture; the same in a picture that is tilted, larger or elsewhere."""
    assert turn_of(points, kind) == pytest.approx(0)
    left, right = (turn_of(_with_nose(points, nose, x), kind) for x in (38, 62))
    assert left == pytest.approx(-right)
    assert left < -0.25
    angle = np.radians(35)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = (_with_nose(points, nose, 62) @ tilt.T * 3 + 100).astype(np.float32)
    assert turn_of(turned, kind) == pytest.approx(right, abs=1e-5)


def test_points_on_one_spot_give_a_bounded_number() -> None:
    for x in (0.0, 1000.0):
        points = np.zeros((5, 2), np.float32)
        points[1, 0], points[2, 0] = 1e-3, x
        assert abs(turn_of(points, Points.EYES_NOSE_MOUTH)) <= 2


def test_a_small_turn_is_the_front() -> None:
    found = [side_of(one) for one in (None, -0.15, -0.149, 0.0, 0.149, 0.15)]
    assert found == [None, Side.LEFT, Side.FRONT, Side.FRONT, Side.FRONT, Side.RIGHT]
