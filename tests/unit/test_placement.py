"""What faces tell about where a camera hangs: bounded figures, and advice only from enough faces."""

from __future__ import annotations

import pytest

from shared.status import CameraStatus
from workers.dashboard.placement import NEEDED, placement_of
from workers.pipeline.face_figures import RECENT, FaceFigures


def _camera(*faces: tuple[float, str | None]) -> CameraStatus:
    figures = FaceFigures()
    for width, reason in faces:
        figures.add(width, reason)
    return CameraStatus().updated(figures.latest())


def test_small_faces_call_for_a_nearer_camera() -> None:
    """With the share and the median that say so."""
    found = placement_of(_camera(*[(31.0, "size")] * 58, *[(44.0, None)] * 42))
    assert [(one.code, one.share) for one in found.advice] == [("nearer", 0.58)]
    assert (found.seen, found.median_px, found.refused["size"]) == (100, 31.0, 58)


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("size", "nearer"),
        ("pose", "facing"),
        ("sharpness", "sharper"),
        ("brightness", "light"),
        ("detector", "covered"),
    ],
)
def test_each_reason_has_its_advice(part: str, code: str) -> None:
    """From a quarter of the faces on; several at once, the most frequent first."""
    assert [one.code for one in placement_of(_camera(*[(80.0, part)] * 10, *[(80.0, None)] * 30)).advice] == [code]
    assert placement_of(_camera(*[(80.0, part)] * 9, *[(80.0, None)] * 31)).advice == []
    both = placement_of(_camera(*[(80.0, part)] * 20, *[(30.0, "size" if part != "size" else "pose")] * 15))
    assert both.advice[0].code == code
    assert len(both.advice) == 2


def test_too_few_faces_give_no_advice() -> None:
    """One fewer than enough: none, and how many there were."""
    found = placement_of(_camera(*[(20.0, "size")] * (NEEDED - 1)))
    assert (found.advice, found.seen, found.needed) == ([], NEEDED - 1, NEEDED)
    assert placement_of(CameraStatus()).median_px is None


def test_a_good_place_is_said() -> None:
    assert [one.code for one in placement_of(_camera(*[(120.0, None)] * 40)).advice] == ["well"]


def test_only_the_latest_count_and_totals_rise() -> None:
    """After a camera was moved, the faces of before are forgotten; the totals, for monitoring, stay."""
    camera = _camera(*[(20.0, "size")] * 1000, *[(120.0, None)] * RECENT)
    assert [one.code for one in placement_of(camera).advice] == ["well"]
    assert (camera.faces_seen, camera.refused_size, camera.recent_seen) == (1000 + RECENT, 1000, RECENT)
