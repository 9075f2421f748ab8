"""Capture: one thread that reads one source, and what the work loop sees of it.

The thread grabs every frame, so that nothing piles up in a driver or a socket, and turns only those into pictures that
the cadence asks for. Live sources and real-time files keep the newest picture only: a slow worker drops frames and
never lags. A file that is not real-time is back-pressured instead: every picture is delivered, in order.

A source that is lost is opened again after a backoff of 0.5 to 4 s, forever. OpenCV can't be interrupted inside a read;
the read timeout bounds it for the network, and `stop` never waits longer than it was told: the thread is a daemon.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, cast

import cv2

from shared.sources import Source, SourceKind
from workers.pacing import Cadence
from workers.source_faults import why_not_open

if TYPE_CHECKING:
    from workers.engines import Image

# FFmpeg and OpenCV print the address they fail on, which may hold a password. UDP is FFmpeg's first choice for RTSP, and
# loses packets on every busy network. Counting frames to learn a stream's rate, which nobody asks for, takes FFmpeg 2.4 s
# of an opening that is done in .7 without. Both variables are read when a source is opened.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|fpsprobesize;0")

# Each wait is drawn from the upper half of its backoff, so that cameras behind one switch do not all return at once.
_BACKOFF_FIRST_S = 1.0
_BACKOFF_LIMIT_S = 4.0
_SHORT = 0.9  # of the length a file announces; ending before that is worth saying


class CaptureState(StrEnum):
    """`down`: lost, or never there; it is tried again. `ended`: a file has been read to its end; nothing more comes."""

    OPENING = "opening"
    UP = "up"
    DOWN = "down"
    ENDED = "ended"
    STOPPED = "stopped"


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture. `image`: BGR (height, width, 3) uint8.

    `captured_at`: monotonic seconds; for a real-time file, when its clock says the frame was due. `wall_time`: seconds
    since 1970 at that moment. `media_time_s`: a file's own time, rising through every lap of a looped file; None for
    live sources. `lap`: how often a looped file has started again.
    """

    image: Image
    captured_at: float
    wall_time: float
    media_time_s: float | None
    lap: int = 0


@dataclass(frozen=True)
class CaptureStatus:
    """`reason`: why the source is down, safe to print. `grabbed`: frames read. `dropped`: pictures replaced before they
    were taken. `lost`: how often the source went down, counting a first attempt that failed."""

    state: CaptureState
    reason: str | None
    grabbed: int
    dropped: int
    lost: int


class _Stopped(Exception):
    """The thread was asked to stop while it waited; never leaves this module."""


class Capture:
    """Reads `source` in a thread of its own between `start` and `stop`."""

    def __init__(
        self,
        source: Source,
        *,
        realtime: bool = True,
        loop: bool = False,
        fps: float | None = None,
        open_timeout_s: float = 5.0,
        read_timeout_s: float = 5.0,
    ) -> None:
        """`fps`: pictures a second; None: all."""
        self._source = source
        self._is_file = source.is_file
        self._newest_only = realtime or not self._is_file
        self._loop = loop and self._is_file
        self._cadence = Cadence(fps)
        self._open_timeout_s, self._read_timeout_s = open_timeout_s, read_timeout_s
        self._news = threading.Condition()
        self._stopping = False
        self._state, self._reason = CaptureState.OPENING, cast("str | None", None)
        self._grabbed = self._dropped = self._lost = self._lap = 0
        self._pending: Frame | None = None
        self._first: Frame | None = None  # the first picture, until it has been processed and a file's clock starts
        self._clock_started_at: float | None = None  # monotonic second at which a real-time file's media time was 0
        self._media_offset_s = self._media_s = 0.0
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    # -- the work loop's side -----------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Ask the thread to end and wait; False when it hangs in a read that only OpenCV's own timeout ends."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def next_frame(self, timeout_s: float) -> Frame | None:
        """The newest (back-pressured: next) frame not yet taken; None after `timeout_s`, or when nothing more comes.

        A real-time file's clock starts with the second call: that is when the first frame has been processed.
        Raises RuntimeError when the thread is not running.
        """
        with self._news:
            if self._first is not None and self._pending is None:
                self._clock_started_at = time.monotonic() - (self._first.media_time_s or 0.0)
                self._first = None
                self._news.notify_all()
            self._news.wait_for(lambda: self._pending is not None or self._finished(), timeout_s)
            frame, self._pending = self._pending, None
            self._news.notify_all()
            return frame

    def status(self) -> CaptureStatus:
        with self._news:
            return CaptureStatus(self._state, self._reason, self._grabbed, self._dropped, self._lost)

    @property
    def ended(self) -> bool:
        """The file is over and every frame of it has been taken."""
        with self._news:
            return self._state is CaptureState.ENDED and self._pending is None

    def _finished(self) -> bool:
        if self._stopping or self._state in (CaptureState.ENDED, CaptureState.STOPPED):
            return True
        if not self._thread.is_alive():
            raise RuntimeError("the capture thread is not running: never started, or ended by a bug; see its traceback")
        return False

    # -- the thread's side --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._read_forever()
        except _Stopped:
            self._become(CaptureState.STOPPED)
        finally:
            with self._news:  # whoever waits for a frame looks again, and finds the thread gone
                self._news.notify_all()

    def _read_forever(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while True:
            frames, length_s = self._open_and_read()
            if frames and self._is_file:
                if not self._loop:
                    self._become(CaptureState.ENDED, self._ended_early(length_s))
                    return
                self._start_lap(frames)
                continue
            broke_off = f"{self._source.shown}: the stream broke off"
            self._become(CaptureState.DOWN, broke_off if frames else why_not_open(self._source))
            backoff_s = _BACKOFF_FIRST_S if frames else backoff_s
            self._sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret
            backoff_s = min(2 * backoff_s, _BACKOFF_LIMIT_S)

    def _open_and_read(self) -> tuple[int, float]:
        """Read the source once, to its end: the frames it gave, and the length in seconds it announces (0: none)."""
        if self._stopping:
            raise _Stopped
        video = self._open()
        try:
            if not video.isOpened():
                return 0, 0.0
            count, fps = video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)
            return self._read(video), count / fps if count > 0 and 0 < fps <= 1000 else 0.0
        finally:
            video.release()

    def _open(self) -> cv2.VideoCapture:
        address = self._source.address
        if self._source.kind is SourceKind.DEVICE:
            # A name under /dev/v4l/by-id is a link that follows the camera from port to port.
            return cv2.VideoCapture(address if isinstance(address, int) else os.path.realpath(address), cv2.CAP_V4L2)
        options = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(self._open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(self._read_timeout_s * 1000),
            cv2.CAP_PROP_N_THREADS, 1,  # decoding in threads holds frames back, and takes CPU from other cameras
        ]  # fmt: skip  # name and value in pairs
        return cv2.VideoCapture(str(address), cv2.CAP_FFMPEG, options)

    def _read(self, video: cv2.VideoCapture) -> int:
        frames = 0
        while not self._stopping and video.grab():
            frames += 1
            with self._news:
                self._grabbed += 1
                self._state, self._reason = CaptureState.UP, None
            captured_at, media_s = self._times(video)
            if not self._cadence.due(captured_at if self._newest_only or media_s is None else media_s):
                continue
            ok, image = video.retrieve()
            if ok:
                wall_time = time.time() - (time.monotonic() - captured_at)
                picture = cast("Image", image)  # what a capture gives is always 8 bit
                self._publish(Frame(picture, captured_at, wall_time, media_s, self._lap))
        if self._stopping:
            raise _Stopped
        return frames

    def _times(self, video: cv2.VideoCapture) -> tuple[float, float | None]:
        """The grabbed frame's capture time and media time; waits until a real-time file's frame is due."""
        if not self._is_file:
            return time.monotonic(), None
        position_s = max(0.0, video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        self._media_s = max(self._media_s, self._media_offset_s + position_s)  # some containers run back by a frame
        if not self._newest_only:
            return time.monotonic(), self._media_s
        with self._news:
            self._wait_for(lambda: self._first is None)
            if self._clock_started_at is None:  # this is the first frame
                return time.monotonic(), self._media_s
            due_at = self._clock_started_at + self._media_s
        self._sleep(due_at - time.monotonic())
        return due_at, self._media_s

    def _publish(self, frame: Frame) -> None:
        with self._news:
            if self._newest_only:
                self._dropped += self._pending is not None
            else:
                self._wait_for(lambda: self._pending is None)
            self._pending = frame
            if self._clock_started_at is None:
                self._first = frame
            self._news.notify_all()

    def _start_lap(self, frames: int) -> None:
        """A looped file's time goes on where it stopped, one mean frame later."""
        lap_s = self._media_s - self._media_offset_s
        self._media_offset_s = self._media_s + (lap_s / (frames - 1) if frames > 1 else 1 / 25)
        self._lap += 1

    def _ended_early(self, length_s: float) -> str | None:
        if length_s > 1 and self._media_s < _SHORT * length_s:
            read = f"{self._media_s:.1f} s of {length_s:.1f} s"
            return f"{self._source.shown}: ended after {read}; the file may be damaged"
        return None

    def _become(self, state: CaptureState, reason: str | None = None) -> None:
        with self._news:
            if state is CaptureState.DOWN and self._state is not CaptureState.DOWN:
                self._lost += 1
                if self._newest_only:
                    self._pending = None  # what was seen before the loss is no sign of the source being back
            self._state, self._reason = state, reason
            self._news.notify_all()

    def _sleep(self, seconds: float) -> None:
        """Wait, but not past a stop. Raises _Stopped."""
        if seconds > 0:
            with self._news:
                if self._news.wait_for(lambda: self._stopping, seconds):
                    raise _Stopped

    def _wait_for(self, ready: Callable[[], bool]) -> None:
        """Wait, with the lock held, until `ready`. Raises _Stopped."""
        self._news.wait_for(lambda: self._stopping or ready())
        if self._stopping:
            raise _Stopped
