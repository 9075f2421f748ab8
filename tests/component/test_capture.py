"""Capture, on real files, a real HTTP camera and sources that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.clips import FRAMES_PER_S, number_of, source, wait_until, write_clip
from tests.support.mjpeg_server import MjpegServer
from tests.support.paths import ROOT
from workers.capture.cadence import Cadence
from workers.capture.capture import Capture, CaptureState, Frame, Waits
from workers.capture.source_faults import why_not_open
from workers.pipeline.figures import Figures


@contextmanager
def capturing(text: Path | str | int, **options: Any) -> Iterator[Capture]:
    capture = Capture(source(text), **options)
    capture.start()
    try:
        yield capture
    finally:
        capture.stop()


def rest_of(capture: Capture) -> list[Frame]:
    """Every frame until nothing more comes."""
    return list(iter(lambda: capture.next_frame(10.0), None))


# -- cadence ----------------------------------------------------------------------------------------------------------


def test_cadence_keeps_its_rate_on_a_source_whose_rate_is_no_multiple() -> None:
    """24 frames a second looked at 5 times a second give 5 a second, not 4.8."""
    cadence = Cadence(5.0)
    assert sum(cadence.due(i / 24) for i in range(240)) == 50


def test_two_cadences_in_a_row_let_through_what_one_does() -> None:
    """The capture and the pipeline may both gate the same frames."""
    first, second = Cadence(5.0), Cadence(5.0)
    passed = [i / 24 for i in range(240) if first.due(i / 24)]
    assert all(second.due(time_s) for time_s in passed)


def test_cadence_makes_no_burst_after_a_pause_and_looks_at_slow_sources_whole() -> None:
    """After 3 s without a frame the next is due, the one 40 ms later is not; one frame a second is always due."""
    cadence = Cadence(5.0)
    assert [cadence.due(t) for t in (0.0, 0.04, 3.0, 3.04, 3.2)] == [True, False, True, False, True]
    slow = Cadence(5.0)
    assert all(slow.due(float(t)) for t in range(5))
    assert all(Cadence(None).due(0.0) for _ in range(3))


def test_cadence_starts_anew_when_time_runs_back() -> None:
    """A source whose clock was set back is not ignored until it catches up."""
    cadence = Cadence(5.0)
    assert [cadence.due(t) for t in (100.0, 1.0, 1.1, 1.2)] == [True, True, False, True]


def test_progress_gives_ages_and_rates() -> None:
    """Ages are from capture to the start of work, latencies to its end, both in milliseconds."""
    progress = Figures()
    for i in range(11):
        progress.add(captured_at=i * 0.2, taken_at=i * 0.2 + 0.01, done_at=i * 0.2 + 0.05, faces=2)
    figures = progress.latest()
    assert (figures["age_p50_ms"], figures["latency_p95_ms"]) == (10.0, 50.0)
    assert (figures["looked_at"], figures["frames_per_s"]) == (11, 5.0)
    assert Figures().latest()["age_p95_ms"] is None


# -- files ------------------------------------------------------------------------------------------------------------


def test_back_pressured_file_delivers_every_frame_in_order(tmp_path: Path) -> None:
    """A worker slower than the file gets all of it, with the file's own times."""
    with capturing(write_clip(tmp_path / "clip.avi", 30), realtime=False) as capture:
        frames: list[Frame] = []
        while (frame := capture.next_frame(10.0)) is not None:
            # The thread has read ahead as far as it may before this frame is taken as done.
            wait_until(lambda: capture.status().grabbed >= min(30, len(frames) + 2), "frame read ahead")
            frames.append(frame)
        assert [number_of(frame.image) for frame in frames] == list(range(30))
        assert [frame.media_time_s for frame in frames] == pytest.approx([i / FRAMES_PER_S for i in range(30)])
        assert capture.ended
        assert capture.status().dropped == 0


def test_back_pressured_file_at_a_cadence_gives_the_same_frames_every_time(tmp_path: Path) -> None:
    """Which frames are decoded depends on the file's times alone."""
    clip = write_clip(tmp_path / "clip.avi", 60)
    runs = []
    for _ in range(2):
        with capturing(clip, realtime=False, fps=5.0) as capture:
            runs.append([number_of(frame.image) for frame in rest_of(capture)])
            assert capture.status().grabbed == 60
    assert runs[0] == runs[1] == list(range(0, 60, 5))


@pytest.mark.alone
def test_real_time_file_is_paced_by_its_own_clock(tmp_path: Path) -> None:
    """A frame is due when the clock says so, and not before it is there: one second of clip takes one second."""
    frames = []
    with capturing(write_clip(tmp_path / "clip.avi", 26), realtime=True) as capture:
        while (frame := capture.next_frame(10.0)) is not None:
            assert time.monotonic() >= frame.captured_at
            frames.append(frame)
    second, last = frames[1], frames[-1]
    assert last.media_time_s == pytest.approx(1.0)
    assert second.media_time_s is not None
    assert last.captured_at - second.captured_at == pytest.approx(1.0 - second.media_time_s, abs=0.01)
    assert last.wall_time == pytest.approx(time.time(), abs=1.0)


@pytest.mark.alone
def test_real_time_file_waits_for_its_first_frame_to_be_processed(tmp_path: Path) -> None:
    """The clock starts when the worker comes back for a second frame, however long the first one took."""
    with capturing(write_clip(tmp_path / "clip.avi", 26), realtime=True) as capture:
        first = capture.next_frame(10.0)
        assert first is not None
        wait_until(lambda: time.monotonic() - first.captured_at > 0.6, "pause")
        asked_at = time.monotonic()
        second = capture.next_frame(10.0)
        assert second is not None
        assert number_of(second.image) == 1
        assert second.captured_at - asked_at == pytest.approx(1 / FRAMES_PER_S, abs=0.02)


@pytest.mark.alone
def test_slow_worker_gets_the_newest_frame_of_a_real_time_file(tmp_path: Path) -> None:
    """Frames that nobody was there for are dropped and counted; none that is delivered is old."""
    with capturing(write_clip(tmp_path / "clip.avi", 40), realtime=True) as capture:
        capture.next_frame(10.0)
        capture.next_frame(10.0)
        wait_until(lambda: capture.status().grabbed >= 20, "twentieth frame")
        frame = capture.next_frame(10.0)
        assert frame is not None
        assert number_of(frame.image) >= 18
        assert time.monotonic() - frame.captured_at < 0.2
        assert capture.status().dropped >= 15


@pytest.mark.parametrize("realtime", [False, True])
def test_looped_file_starts_again_with_its_time_going_on(tmp_path: Path, realtime: bool) -> None:
    """Media time rises through every lap at the file's rate."""
    with capturing(write_clip(tmp_path / "clip.avi", 10), realtime=realtime, loop=True) as capture:
        frames = [capture.next_frame(10.0) for _ in range(25)]
        assert not capture.ended
    times = [frame.media_time_s for frame in frames if frame is not None and frame.media_time_s is not None]
    assert len(times) == 25
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert min(steps) > 0.03
    if not realtime:
        assert times == pytest.approx([i / FRAMES_PER_S for i in range(25)])
        assert [frame.lap for frame in frames if frame] == [0] * 10 + [1] * 10 + [2] * 5


def test_missing_file_is_reported_and_tried_again(tmp_path: Path) -> None:
    """As with a camera that is off: down with the reason, up by itself once it is there."""
    clip = tmp_path / "late.avi"
    with capturing(clip, realtime=False) as capture:
        wait_until(lambda: capture.status().state is CaptureState.DOWN, "loss")
        assert capture.status().reason == f"{clip}: no such file or directory"
        assert capture.status().lost == 1
        write_clip(tmp_path / "made.avi", 3).rename(clip)
        assert len(rest_of(capture)) == 3
        assert capture.status().state is CaptureState.ENDED


def test_looped_file_that_is_taken_away_is_down_and_comes_back(tmp_path: Path) -> None:
    """A loss in the middle is seen, said and survived."""
    clip = write_clip(tmp_path / "clip.avi", 5)
    with capturing(clip, realtime=True, loop=True) as capture:
        assert capture.next_frame(10.0)
        clip.rename(tmp_path / "away.avi")
        wait_until(lambda: capture.next_frame(0.1) is None and capture.status().state is CaptureState.DOWN, "loss")
        (tmp_path / "away.avi").rename(clip)
        assert capture.next_frame(10.0)
        assert capture.status().state is CaptureState.UP


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    """A folder, an unreadable file and a file of zeros each get their own reason."""
    zeros = tmp_path / "zeros.mp4"
    zeros.write_bytes(bytes(5000))
    with capturing(zeros) as capture:
        wait_until(lambda: capture.status().state is CaptureState.DOWN, "loss")
        assert capture.status().reason == f"{zeros}: is not a video that FFmpeg can read"
    assert why_not_open(source(tmp_path)).endswith("is a folder, not a video")
    assert why_not_open(source("x" * 300)).endswith("file name too long")
    assert why_not_open(source(77)) == "/dev/video77: no such file or directory"
    if os.geteuid() != 0:
        zeros.chmod(0)
        assert why_not_open(source(zeros)).endswith("permission denied")


def test_a_named_pipe_is_no_video(tmp_path: Path) -> None:
    """Nobody writes into it: down with the reason, instead of waiting for ever, and a stop is one."""
    os.mkfifo(tmp_path / "pipe")
    capture = Capture(source(tmp_path / "pipe"))
    capture.start()
    wait_until(lambda: capture.status().state is CaptureState.DOWN, "loss")
    assert capture.status().reason == f"{tmp_path / 'pipe'}: is not a file"
    assert capture.stop()


def test_file_that_breaks_off_says_so(tmp_path: Path) -> None:
    """A file cut short ends with what it had, and the reason."""
    clip = write_clip(tmp_path / "clip.avi", 100)
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 3])
    with capturing(clip, realtime=False) as capture:
        frames = rest_of(capture)
        assert 10 < len(frames) < 60
        assert "the file may be damaged" in (capture.status().reason or "")


# -- network ----------------------------------------------------------------------------------------------------------


def test_http_camera_is_read_and_comes_back_after_a_loss() -> None:
    """Motion JPEG over HTTP: newest frames, down when the server goes, up when it returns, no media time."""
    with MjpegServer() as server, capturing(server.url, fps=10.0) as capture:
        first = capture.next_frame(20.0)
        assert first is not None
        assert first.media_time_s is None
        server.__exit__(None, None, None)
        wait_until(lambda: capture.status().state is CaptureState.DOWN, "loss")
        reason = capture.status().reason
        assert reason is not None
        with MjpegServer(server.port):
            assert capture.next_frame(20.0) is not None
            assert capture.status().state is CaptureState.UP
            assert capture.status().lost == 1


@pytest.mark.alone
def test_stop_does_not_wait_for_a_camera_that_hangs() -> None:
    """A read that never returns holds neither `stop` longer than told nor the process."""
    with MjpegServer(most=60) as server:
        capture = Capture(source(server.url), waits=Waits(read_s=30.0))
        capture.start()
        assert capture.next_frame(20.0)
        wait_until(lambda: capture.next_frame(0.3) is None, "silence")
        began = time.monotonic()
        assert capture.stop(0.5) is False
        assert time.monotonic() - began < 1.5


def test_camera_that_hangs_is_lost_after_the_read_timeout() -> None:
    """Silence is a loss: the source is opened again."""
    with MjpegServer(most=60) as server, capturing(server.url, waits=Waits(read_s=1.0)) as capture:
        assert capture.next_frame(20.0)
        wait_until(lambda: capture.status().lost >= 1, "loss")
        assert capture.next_frame(20.0), "not opened again"


def test_no_password_in_any_output() -> None:
    """Neither FFmpeg nor we print a connection string: not for a refused port, nor a refused request."""
    program = (
        "import sys, time\n"
        "from shared.settings.sources import resolve_source\n"
        "from workers.capture.capture import Capture, CaptureState\n"
        "for source in sys.argv[1:]:\n"
        "    capture = Capture(resolve_source(source, 'test')); capture.start()\n"
        "    end = time.monotonic() + 10\n"
        "    while capture.status().state is not CaptureState.DOWN and time.monotonic() < end: capture.next_frame(0.05)\n"
        "    print(capture.status().state, capture.status().reason); capture.stop()\n"
    )
    with MjpegServer() as server:
        server.stopping.set()  # it accepts, answers and closes: not a video
        sources = [
            "rtsp://admin:hunter2@127.0.0.1:9/stream?token=s3cret",
            "http://admin:hunter2@127.0.0.1:9/video.mjpg?token=s3cret",
            f"http://admin:hunter2@127.0.0.1:{server.port}/video.mjpg?token=s3cret",
            "rtsp://admin:hunter2@nowhere.invalid/stream",
        ]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV_")}
        clean["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(
            [sys.executable, "-c", program, *sources], env=clean, capture_output=True, text=True, timeout=60, check=True
        )
    assert done.stdout.count("down") == len(sources), done.stdout + done.stderr
    assert "connection refused" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_asking_a_capture_that_does_not_run_is_an_error() -> None:
    """A thread that was never started, or died of a bug, is not mistaken for a quiet camera."""
    with pytest.raises(RuntimeError):
        Capture(source("clip.avi")).next_frame(0.1)
