"""A device to decode with is used where it is there; where it is not, the CPU decodes and `status` says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from av.codec.hwaccel import hwdevices_available

from tests.support.clips import source, write_clip
from workers.capture.capture import Capture
from workers.capture.decode_device import AUTO, CPU, device_for, why_not_usable


def test_the_cpu_needs_nothing() -> None:
    """No device is opened for it."""
    assert device_for(CPU) == CPU


def test_auto_takes_what_is_there() -> None:
    """A device that can be opened, or the CPU."""
    taken = device_for(AUTO)
    assert taken == CPU or (taken in hwdevices_available() and why_not_usable(taken) is None)


def test_a_device_that_this_ffmpeg_lacks_is_named_with_those_it_has() -> None:
    """In words, for `status`."""
    assert "this FFmpeg has no warpdrive" in (why_not_usable("warpdrive") or "")
    for device in hwdevices_available():
        assert why_not_usable(device) is None or device in (why_not_usable(device) or "")


@pytest.mark.parametrize("wanted", [AUTO, CPU, "cuda", "warpdrive"])
def test_pictures_come_whatever_was_asked_for(tmp_path: Path, wanted: str) -> None:
    """Software is the fall-back, and it is said why."""
    capture = Capture(source(write_clip(tmp_path / "clip.ts", 10)), realtime=False, decode_device=wanted)
    capture.start()
    try:
        assert len(list(iter(lambda: capture.next_frame(10.0), None))) == 10
        said = capture.status().decode_device or ""
    finally:
        capture.stop()
    assert said == CPU or wanted in said or wanted == AUTO
