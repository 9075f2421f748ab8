"""RTSP, against a real server that goes away and comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import cv2
import pytest

from tests.support.camera_streams import walk_stream
from tests.support.clips import number_of, picture, source, wait_until
from tests.support.paths import FACES, ROOT, VIDEOS, needs_data
from tests.support.rtsp_camera import RtspCamera, require_server, write_pictures
from tests.support.site_process import SiteProcess
from tests.support.sites import enrol, write_site
from workers.capture.capture import Capture, CaptureState, Waits

RETURN_WITHIN_S = 10.0
NUMBERS = 48


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of numbered pictures."""
    require_server()
    return write_pictures(tmp_path_factory.mktemp("rtsp") / "numbers", (picture(i) for i in range(NUMBERS)))


@pytest.mark.alone
def test_stream_is_read_newest_frame_first(numbers: Path) -> None:
    """Behind a login, over TCP: pictures arrive whole, in order, at the cadence, and none is old."""
    with RtspCamera(numbers, login=("viewer", "hunter2")) as server:
        capture = Capture(source(server.url), fps=6.0)
        capture.start()
        try:
            frames = [capture.next_frame(15.0) for _ in range(10)]
        finally:
            assert capture.stop()
    taken = [frame for frame in frames if frame is not None]
    assert len(taken) == 10
    steps = [(number_of(b.image) - number_of(a.image)) % NUMBERS for a, b in pairwise(taken)]
    # The first frames come in one burst: what the server sent while FFmpeg looked at the stream.
    assert all(1 <= step <= 4 for step in steps[3:]), steps
    assert sum(steps[3:]) / len(steps[3:]) == pytest.approx(2, abs=0.5), "12 a second looked at 6 times a second"
    assert all(frame.media_time_s is None for frame in taken)


@pytest.mark.alone
def test_frames_resume_when_the_server_is_back(numbers: Path) -> None:
    """Switched off and on: one loss, with a reason, and frames again within 10 s of its return."""
    with RtspCamera(numbers) as server:
        capture = Capture(source(server.url))
        capture.start()
        try:
            assert capture.next_frame(15.0)
            before = capture.status().lost  # a first attempt that failed counts
            server.stop()
            wait_until(lambda: capture.status().state is CaptureState.DOWN, "loss", 15.0)
            assert capture.status().reason
            # Gone for long enough that the backoff has grown.
            wait_until(lambda: "refused" in (capture.status().reason or ""), "failed reconnection", 15.0)
            server.start()
            began = time.monotonic()
            assert capture.next_frame(RETURN_WITHIN_S) is not None
            assert time.monotonic() - began < RETURN_WITHIN_S
            assert capture.status().lost == before + 1
        finally:
            capture.stop()


@pytest.mark.alone
def test_server_that_freezes_is_lost_and_found(numbers: Path) -> None:
    """Nothing closes the connection: the read timeout finds out, and frames resume within 10 s of the thaw."""
    with RtspCamera(numbers) as server:
        capture = Capture(source(server.url), waits=Waits(open_s=3.0, read_s=1.0))
        capture.start()
        try:
            assert capture.next_frame(15.0)
            server.freeze(True)
            wait_until(lambda: capture.status().state is CaptureState.DOWN, "loss", 15.0)
            server.freeze(False)
            assert capture.next_frame(RETURN_WITHIN_S) is not None
        finally:
            capture.stop()


def test_refused_login_prints_no_password(numbers: Path) -> None:
    """A wrong password: down with a reason that helps, and neither stdout nor stderr holds what was tried."""
    program = (
        "import sys\n"
        "from shared.settings.sources import resolve_source\n"
        "from workers.capture.capture import Capture\n"
        "capture = Capture(resolve_source(sys.argv[1], 'test')); capture.start()\n"
        "for _ in range(100):\n"
        "    capture.next_frame(0.1)\n"
        "    if capture.status().reason: break\n"
        "print(capture.status().reason); capture.stop()\n"
    )
    with RtspCamera(numbers, login=("viewer", "hunter2")) as server:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV_")}
        clean["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(
            [sys.executable, "-c", program, server.url_for("viewer", "letmein99")],
            env=clean, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip  # options on one line
    assert "the camera refused the login (401)" in done.stdout
    assert "letmein99" not in done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.alone
@needs_data
def test_sightings_resume_when_the_camera_is_back(tmp_path: Path) -> None:
    """A site on an RTSP camera: people are named, the loss is told, and they are named again within 10 s of its return."""
    require_server()
    film = cv2.VideoCapture(str(VIDEOS / "friends_in_video.mp4"))
    pictures = [film.read()[1] for _ in range(100)][::2]  # one shot: Joey and Rachel, at 12 a second
    film.release()
    folder = write_pictures(tmp_path / "pictures", pictures)
    with RtspCamera(folder, login=("viewer", "hunter2")) as server:
        write_site(tmp_path, {"door": f'source = "{server.url.replace("hunter2", "${DOOR_WORD}")}"'})
        enrol(tmp_path, FACES / "friends_enrol")
        with SiteProcess(tmp_path, DOOR_WORD="hunter2") as site:
            site.wait_for_event(60, event="named", person="Joey")
            server.stop()
            down = site.wait_for_event(20, event="camera_down")
            # Down twice over: the first attempt to reconnect has failed too.
            site.wait_for(lambda: "refused" in str(site.status()["cameras"]["door"].get("down_reason")), "refusal", 20)
            told = len(site.events)
            server.start()
            began = time.monotonic()
            site.wait_for_event(20, after=told, event="camera_up")
            site.wait_for_event(20, after=told, event="named", person="Joey")
            assert time.monotonic() - began < RETURN_WITHIN_S
            assert site.stop() == 0
    assert down["camera"] == "door"
    left = [event for event in site.events if event["event"] == "left"]
    assert {event["person"] for event in left} >= {"Joey"}
    everything = "\n".join(site.log) + str(site.events)
    assert "hunter2" not in everything


@pytest.mark.alone
def test_pictures_of_a_stream_that_is_read_some_at_a_time_have_their_own_times(tmp_path: Path) -> None:
    """In an empty room several packets are read at once. Somebody comes: the pictures since then are 200 ms apart, as they were sent."""
    path = walk_stream(tmp_path / "walk.mp4", walks=(14.0,), seconds=20.0)
    times: list[float] = []

    def is_over(capture: Capture) -> bool:
        frame = capture.next_frame(0.2)
        times.extend([frame.captured_at] if frame else [])
        return len(times) > 45  # some 30 before the visit

    with RtspCamera(path) as server:
        capture = Capture(source(server.url), fps=5.0, min_face_px=40)
        capture.start()
        try:
            wait_until(lambda: is_over(capture), "visit", 60.0)
        finally:
            capture.stop(5.0)
    steps = [later - earlier for earlier, later in pairwise(times)]
    slept = max(number for number, step in enumerate(steps) if step > 1.5)
    walk = steps[slept + 1 : slept + 11]
    assert sum(step < 0.3 for step in walk) >= 9, walk
