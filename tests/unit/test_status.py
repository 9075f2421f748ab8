"""What is known of a site's processes: its JSON ends, and what a child says that can't be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from shared.status import CameraStatus, ChildState, ChildStatus, SiteSnapshot, SyncStatus, WriterStatus

_CAMERA = CameraStatus(ChildState.RUNNING, pid=7, uptime_s=3.5, up=True, frames=9, age_p50_ms=1.5, source="door.avi")
_SITE = SiteSnapshot(
    "ours",
    1,
    True,
    2.5,
    WriterStatus(pid=2, waiting=3),
    {"door": _CAMERA},
    {"sync": SyncStatus(up=True), "web": ChildStatus()},
    3,
    ("site.toml: [recognition] fps: not a valid value",),
    ("[site] name",),
)


def test_it_comes_back_as_it_was() -> None:
    """Through JSON, the states included."""
    found = SiteSnapshot.from_json(json.loads(json.dumps(_SITE.to_json())))
    assert found == _SITE
    assert found.cameras["door"].state is ChildState.RUNNING


def test_a_field_of_a_newer_program_is_left_out() -> None:
    """It changes nothing, whatever it holds; a field that is missing is what it is without."""
    document = {**_SITE.to_json(), "newer": [1], "cameras": {"door": {"frames": 9, "newer": {"than": "ours"}}}}
    assert SiteSnapshot.from_json(document) == replace(_SITE, cameras={"door": CameraStatus(frames=9)})


@pytest.mark.parametrize(
    "said",
    [{"up": 1}, {"up": "yes"}, {"up": None}, {"frames": 1.5}, {"frames": True}, {"source": 3}, {"age_p50_ms": "1"},
     {"age_p50_ms": True}, {"state": "gone"}, {"state": 1}, {"state": None}, {"pid": [1]}],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(said: dict[str, object]) -> None:
    """A number is no truth value, a truth value no number; the error does not hold the value."""
    with pytest.raises(ValueError, match=r"no CameraStatus|not a valid ChildState"):
        _CAMERA.updated(said)


def test_a_whole_number_is_a_number() -> None:
    """JSON writes 5.0 frames a second as it likes, and a figure that is not known as null."""
    assert _CAMERA.updated({"frames_per_s": 5}).frames_per_s == 5
    assert _CAMERA.updated({"age_p50_ms": None}).age_p50_ms is None


def test_what_changes_at_once() -> None:
    """A child that is in another state, or a camera that loses its picture, is news; its figures are not."""
    assert replace(_CAMERA, up=False).outline != _CAMERA.outline
    assert replace(_CAMERA, state=ChildState.WAITING).outline != _CAMERA.outline
    assert replace(_CAMERA, frames=10, uptime_s=4.0).outline == _CAMERA.outline
    assert replace(_SITE, uptime_s=9.0).outline == _SITE.outline
    assert replace(_SITE, reloads=4).outline != _SITE.outline
    assert replace(_SITE, cameras={"yard": _CAMERA}).outline != _SITE.outline
    for changed in (replace(_SITE.writer, restarts=1), replace(_SITE.writer, state=ChildState.WAITING)):
        assert replace(_SITE, writer=changed).outline != _SITE.outline
