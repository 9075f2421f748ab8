"""A device to decode with is used where it is there; where it is not, the CPU decodes and `status` says so."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from av.codec.hwaccel import hwdevices_available
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from tests.support.camera_streams import still_room
from tests.support.clips import source, write_clip
from workers.capture.capture import Capture
from workers.capture.decode_device import AUTO, CPU, device_for, why_not_usable
from workers.capture.video import Video


def test_the_cpu_needs_nothing() -> None:
    """No device is opened or asked for."""
    why_not_usable.cache_clear()
    assert device_for(CPU) == CPU
    assert why_not_usable.cache_info().misses == 0


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


@pytest.mark.parametrize("size", [(640, 360), (322, 242), (321, 243)])
@pytest.mark.parametrize("full", [False, True])
def test_what_a_device_gives_has_its_own_colours(tmp_path: Path, size: tuple[int, int], full: bool) -> None:
    """Pictures as nv12, in rows that are longer than the picture is wide, of odd sizes, and of either range."""
    video = Video(source(write_clip(tmp_path / "clip.ts", 10)), open_timeout_s=5.0, read_timeout_s=5.0)
    picture = np.asarray(cv2.resize(still_room(640, 360), size), np.uint8)
    whole = VideoFrame.from_ndarray(picture, format="bgr24")
    frame = whole.reformat(format="nv12", dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG)
    frame.color_range = ColorRange.JPEG if full else ColorRange.MPEG
    image = video.image(frame)
    video.close()
    assert image.shape == picture.shape
    assert np.abs(image.astype(int) - picture).mean() < 4.0
