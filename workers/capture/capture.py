"""Capture: a thread that reads one source and hands its frames to the work loop.

The thread reads every packet, so that nothing piles up in a driver or a socket, but makes pictures only of the frames that
the cadence lets through. Of live sources and real-time files it keeps only the newest frame: a slow worker misses frames, but
never lags behind. A file that is not real-time is back-pressured instead: the thread waits until each frame has been taken, so
that every frame is delivered, in order.

A source that is lost is opened again and again, without end. The wait between two attempts grows from 0.5 to 4 s; it
starts over once the source has worked for a minute. After a refused login the wait is 2, then 5, then 10 minutes. Before
FFmpeg opens a network camera, workers/capture/stream_probe.py asks the camera whether it is there and lets us in.

A read has a time limit, but nothing else ends it. `stop` never waits longer than its `timeout_s`: the thread is a daemon, so
one that hangs does not keep the process alive.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import cv2

from shared.settings.camera_task import Flip
from shared.settings.sources import Source, SourceKind
from workers.capture.arrivals import Arrivals
from workers.capture.cadence import Cadence
from workers.capture.decode_device import AUTO, CPU, device_for, why_not_usable
from workers.capture.decode_policy import DecodePolicy
from workers.capture.decoding import Decoding, Packet, Picture, Stamp
from workers.capture.source_faults import is_regular, why_not_open
from workers.capture.stream_probe import Finding, Verdict, probe
from workers.capture.timeline import Timeline
from workers.capture.video import Video, VideoFault

if TYPE_CHECKING:
    from workers.recognition.engine import Image

# Each wait is random, between half its backoff and the whole, so that cameras behind one switch do not all return at once.
_BACKOFF_FIRST_S = 1.0
_BACKOFF_LIMIT_S = 4.0
_HEALTHY_S = 60.0  # after so long without a loss, the backoff starts over
# Waits after the first, second, third refused login. Many cameras lock an address out for good after five to seven.
_REFUSED_S = (120.0, 300.0, 600.0)
_SHORT = 0.9  # a file that ends before this share of the length it announces is reported as ended early
_PATIENCE_S = 0.5  # for each picture that is decoded after the fact
# While nothing moves, a live stream is read so much at a time: each wake of a thread costs as much as several packets.
_LONGEST_REST_S = 0.15
_MOST_REORDERED_S = 1.0
# A stream whose packets can't be decoded for so long is given up: it has no keyframe, or what it sends is no video.
_NO_PICTURE_S = 10.0


class CaptureState(StrEnum):
    """`down`: the source was lost or never there; it is tried again. `ended`: a file was read to its end; no frame comes after."""

    OPENING = "opening"
    UP = "up"
    DOWN = "down"
    ENDED = "ended"
    STOPPED = "stopped"


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame. `image`: BGR (height, width, 3) uint8.

    `captured_at`: monotonic seconds; for a real-time file, the moment when the frame was due by the file's clock.
    `wall_time`: seconds since 1970 at that moment. `media_time_s`: the file's own time, which goes on rising when a looped
    file starts again; None for live sources. `lap`: how often a looped file has started again.
    """

    image: Image
    captured_at: float
    wall_time: float
    media_time_s: float | None
    lap: int = 0


@dataclass(frozen=True)
class CaptureStatus:
    """`reason`: why the source is down, without secrets. `grabbed`: packets read, each of them one frame. `dropped`: frames that were replaced by a
    newer one before the work loop took them. `lost`: how often the source went down, a failed first attempt included.
    `decoded`: how many pictures were decoded. `decoding`: what is decoded now, and why everything if it is everything.
    `decode_device`: what decodes, and why not what was asked for."""

    state: CaptureState
    reason: str | None
    grabbed: int
    dropped: int
    lost: int
    decoded: int = 0
    decoding: str | None = None
    decode_device: str | None = None


@dataclass
class _Reading:
    """One attempt to open and read the source. `frames`: how many were read. `length_s`: what a file announces. `began_at`:
    monotonic seconds of the first frame. `fault`: why it ended, without the address. `refused`: the login was refused."""

    frames: int = 0
    length_s: float = 0.0
    began_at: float | None = None
    fault: str | None = None
    refused: bool = False


class _Stopped(Exception):
    """The thread was asked to stop while it waited. Never leaves this module."""


class Turn(NamedTuple):
    """What makes a camera's picture upright: it is turned clockwise by `rotate` degrees (a multiple of 90), then mirrored."""

    rotate: int = 0
    flip: Flip = "none"


class Waits(NamedTuple):
    """Time limits of opening and of each read, seconds; and how long to wait after the first, second, … refused login in a
    row, where the last value repeats."""

    open_s: float = 5.0
    read_s: float = 5.0
    refused_s: tuple[float, ...] = _REFUSED_S


def upright(image: Image, turn: Turn) -> Image:
    """The picture (height, width, 3), turned and mirrored as `turn` says."""
    turns = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    if turn.rotate:
        image = cast("Image", cv2.rotate(image, turns[turn.rotate]))
    if turn.flip != "none":
        image = cast("Image", cv2.flip(image, 1 if turn.flip == "horizontal" else 0))
    return image


class Capture:
    """Reads `source` in a thread of its own, from `start` to `stop`."""

    def __init__(
        self,
        source: Source,
        *,
        realtime: bool = True,
        loop: bool = False,
        fps: float | None = None,
        turn: Turn = Turn(),  # noqa: B008  # immutable
        min_face_px: int | None = None,
        decode_device: str = CPU,
        waits: Waits = Waits(),  # noqa: B008  # immutable
    ) -> None:
        """`realtime`: keep only the newest frame; a live source always does. `loop`: start a file again at its end. `fps`:
        frames per second that are decoded; None: all. `turn`: what makes the picture upright. `min_face_px`: decode on demand,
        and miss no face of this width; None: decode everything. `decode_device`: of the settings.
        """
        self._source = source
        self._is_file = source.is_file
        self._newest_only = realtime or not self._is_file
        self._loop = loop and self._is_file
        self._cadence, self._fps = Cadence(fps), fps
        self._turn, self._waits = turn, waits
        self._wanted_device, self._device = decode_device, cast("str | None", None)
        self._min_face_px, self._people, self._shown = min_face_px, False, False
        self._policy: DecodePolicy | None = None
        self._codec = ""  # of the video that was open last
        self._decoding: Decoding | None = None
        self._decoded, self._always = 0, ""
        self._least_later_s = float("inf")
        self._arrivals = Arrivals()
        # The system keeps what comes over TCP until it is read. Over UDP, and from a device, it would be lost.
        self._may_rest = source.kind is SourceKind.STREAM and source.reached.transport == "tcp"
        self._news = threading.Condition()
        self._stopping = False
        self._state, self._reason = CaptureState.OPENING, cast("str | None", None)
        self._grabbed = self._dropped = self._lost = self._lap = 0
        self._pending: Frame | None = None
        self._first: Frame | None = None  # the first frame, until it has been processed and the file's clock starts
        self._clock_started_at: float | None = None  # monotonic second at which a real-time file's media time was 0
        self._timeline = Timeline()
        self._media_s = 0.0
        self._cpu_clock: int | None = None  # of the thread; it can be read from any other
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    # -- the work loop's side -----------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Ask the thread to end; `next_frame` no longer waits. May be called from a signal handler."""
        with self._news:
            self._stopping = True
            self._news.notify_all()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Ask the thread to end, and wait. False when it still hangs in a read, which only its time limit ends."""
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def next_frame(self, timeout_s: float) -> Frame | None:
        """The newest frame that was not taken yet; of a back-pressured file, the next one. None after `timeout_s`, or when
        no frame comes any more.

        A real-time file's clock starts at the second call, because by then the first frame has been processed.
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
            known = self._state, self._reason, self._grabbed, self._dropped, self._lost
        decoded = self._decoded + (self._decoding.decoded if self._decoding else 0)
        return CaptureStatus(*known, decoded, self._what_is_decoded(), self._what_decodes())

    @property
    def codec(self) -> str:
        """The codec of the video that was opened last, as FFmpeg calls it; "jpeg" for single pictures; empty: none was."""
        return self._codec or ("jpeg" if self._grabbed else "")

    def cpu_s(self) -> float | None:
        """The processor time that reading and decoding have taken so far. None where the system does not tell (macOS)."""
        if self._cpu_clock is None:
            return None
        try:
            return time.clock_gettime(self._cpu_clock)
        except OSError:  # the thread has ended
            return None

    def watch(self, *, people: bool, shown: bool) -> None:
        """`people`: somebody is in view, and everything is decoded. `shown`: somebody looks at the pictures, and one comes every four seconds."""
        self._people, self._shown = people, shown
        if self._policy is not None:
            self._policy.people, self._policy.shown = people, shown

    def _what_decodes(self) -> str | None:
        wanted, used = self._wanted_device, self._device
        if used != CPU or wanted in (AUTO, CPU):
            return used
        return f"{CPU}: {why_not_usable(wanted) or f'{wanted} does not decode this stream'}"

    def _what_is_decoded(self) -> str | None:
        policy = self._policy
        if policy is None:
            return f"everything: {self._always}" if self._always else None
        if policy.asleep:
            return "keyframes"
        return f"everything: {policy.why_always() or 'something moves, or too little is known of the stream yet'}"

    @property
    def ended(self) -> bool:
        """Whether the file was read to its end and every frame of it was taken."""
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
        if hasattr(time, "pthread_getcpuclockid"):
            self._cpu_clock = time.pthread_getcpuclockid(threading.get_ident())
        try:
            self._read_forever()
        except _Stopped:
            self._become(CaptureState.STOPPED)
        finally:
            with self._news:  # wake a caller that waits for a frame: it then finds that the thread has ended
                self._news.notify_all()

    def _read_forever(self) -> None:
        backoff_s, refusals = _BACKOFF_FIRST_S, 0
        while True:
            done = self._open_and_read()
            if done.frames and self._is_file and done.fault is None:
                if not self._loop:
                    self._become(CaptureState.ENDED, self._ended_early(done.length_s))
                    return
                self._timeline.restart()
                self._lap += 1
                continue
            refusals = refusals + 1 if done.refused else 0
            if done.began_at is not None and time.monotonic() - done.began_at >= _HEALTHY_S:
                backoff_s = _BACKOFF_FIRST_S
            wait_s = backoff_s * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
            if refusals:
                wait_s = self._waits.refused_s[min(refusals, len(self._waits.refused_s)) - 1] * random.uniform(1.0, 1.1)  # noqa: S311
            self._become(CaptureState.DOWN, self._why_down(done, wait_s))
            self._sleep(wait_s)
            backoff_s = min(2 * backoff_s, _BACKOFF_LIMIT_S)

    def _why_down(self, done: _Reading, wait_s: float) -> str:
        shown = self._source.shown
        if done.refused:
            return f"{shown}: {done.fault}; tried again in {wait_s / 60:.0f} min, since cameras lock out users who try too often"
        if done.fault is not None:
            return f"{shown}: {done.fault}"
        return f"{shown}: the stream broke off" if done.frames else why_not_open(self._source)

    def _open_and_read(self) -> _Reading:
        """Open the source and read it until it ends or fails. Raises _Stopped."""
        done = _Reading()
        if self._stopping:
            raise _Stopped
        finding = self._ask()
        if finding.verdict in (Verdict.REFUSED, Verdict.DOWN):
            done.refused = finding.verdict is Verdict.REFUSED
            done.fault = finding.reason
            return done
        try:
            if finding.verdict is Verdict.SNAPSHOT:
                self._read_snapshots(done)
            else:
                self._read_video(done, finding.tls_name)
        except VideoFault as error:
            done.fault = str(error) or (None if done.frames else finding.reason)
            if done.frames and self._is_file and not str(error):
                done.fault = None  # a file that was cut off: it has what it has
        return done

    def _ask(self) -> Finding:
        """What is known of the source before it is opened."""
        if self._is_file and not is_regular(Path(str(self._source.address))):
            return Finding(Verdict.DOWN)  # in a named pipe FFmpeg would wait for a writer without end
        finding = probe(self._source) if self._source.kind is SourceKind.STREAM else Finding(Verdict.OPEN)
        if self._stopping:
            raise _Stopped
        return finding

    def _read_snapshots(self, done: _Reading) -> None:
        from workers.capture.snapshots import Snapshots  # Python's HTTP takes 2 MB, and most cameras speak RTSP

        snapshots = Snapshots(self._source, self._fps, self._sleep)
        try:
            for image in snapshots.images():
                self._arrived(done)
                now = time.monotonic()
                if self._cadence.due(now):
                    self._publish(Frame(upright(image, self._turn), now, time.time(), None, self._lap))
        finally:
            snapshots.close()

    def _read_video(self, done: _Reading, tls_name: str | None) -> None:
        video = Video(
            self._source,
            open_timeout_s=self._waits.open_s,
            read_timeout_s=self._waits.read_s,
            tls_name=tls_name,
            device=device_for(self._wanted_device),
        )
        self._device = video.device
        try:
            done.length_s = video.length_s
            self._decoded += self._decoding.decoded if self._decoding else 0
            self._decoding = decoding = Decoding(video, self._policy_of(video))
            self._arrivals = Arrivals()
            picture_at = time.monotonic()
            for packet in video.packets():
                self._arrived(done)
                stamp = self._stamp(packet, video)
                if video.intra_only and not self._cadence.due(self._time_of(stamp.came_at, stamp.media_s)):
                    continue
                if decoding.keeps(packet, stamp):
                    self._rest()
                    continue
                for picture in decoding.feed(packet, stamp):
                    picture_at = time.monotonic()
                    self._show(video, picture)
                if self._newest_only and video.read_at - picture_at > _NO_PICTURE_S:
                    why = f"nothing that came for {_NO_PICTURE_S:.0f} s can be decoded: no keyframe, or no video"
                    raise VideoFault(why)
            for picture in decoding.finish():
                self._show(video, picture)
            if done.frames and not decoding.decoded:
                raise VideoFault("none of its pictures can be decoded")
        finally:
            video.close()

    def _policy_of(self, video: Video) -> DecodePolicy | None:
        """How this video is decoded; None: whole. Sets what `status` says of it."""
        if video.intra_only:
            self._policy, self._always = None, "each packet is a picture by itself, decoded when it is due"
        elif not self._newest_only:
            self._policy, self._always = None, "a file with realtime = false"
        elif self._min_face_px is None:
            self._policy, self._always = None, "set by hand"
        else:
            self._always = ""
            if self._policy is None or video.codec != self._codec:
                self._policy = DecodePolicy(self._min_face_px)
            else:
                self._policy.reopened()
            self._policy.people, self._policy.shown = self._people, self._shown
        self._codec = video.codec
        return self._policy

    def _arrived(self, done: _Reading) -> None:
        """A packet was read. Raises _Stopped."""
        if self._stopping:
            raise _Stopped
        done.frames += 1
        self._grabbed += 1
        if done.began_at is None:
            done.began_at = time.monotonic()
            with self._news:
                self._state, self._reason = CaptureState.UP, None

    def _rest(self) -> None:
        """A packet was only kept: if nothing more is there, wait until some more have come. They are read together. Raises
        _Stopped."""
        policy = self._policy
        if not (self._may_rest and self._arrivals.fresh and policy is not None and policy.asleep):
            return
        step_s = policy.step_s
        if (packets := round(_LONGEST_REST_S / step_s) if step_s else 0) > 1:
            self._sleep((packets - 0.5) * step_s)

    def _stamp(self, packet: Packet, video: Video) -> Stamp:
        """When a packet came. For a real-time file, waits until it is due."""
        shown, decoded, tick_s = packet.pts, packet.dts, video.tick_s
        decoded = shown if decoded is None else decoded
        if not self._is_file:
            stamp_s = None if decoded is None else decoded * tick_s
            came_at = self._arrivals.came_at(stamp_s, video.read_at, video.took_s, keyframe=packet.is_keyframe)
            return Stamp(came_at, came_at + self._shown_later(((shown or 0) - (decoded or 0)) * tick_s), None)
        shown_s = None if shown is None else shown * tick_s
        decoded_s, media_s = self._timeline.at((decoded or 0) * tick_s, shown_s)
        read_at = self._wait_until_due(decoded_s) if self._newest_only else time.monotonic()
        return Stamp(read_at, read_at + media_s - decoded_s, media_s)

    def _shown_later(self, later_s: float) -> float:
        """By how much a picture is shown later than its packet came, more than any picture of the stream is."""
        if not 0 <= later_s < _MOST_REORDERED_S:
            return 0.0
        self._least_later_s = min(self._least_later_s, later_s)
        return later_s - self._least_later_s

    def _wait_until_due(self, media_s: float) -> float:
        """Wait until a real-time file's clock has come to `media_s`. Returns the monotonic time of it."""
        with self._news:
            self._wait_for(lambda: self._first is None)
            if self._clock_started_at is None:  # before the first frame
                return time.monotonic()
            due_at = self._clock_started_at + media_s
        self._sleep(due_at - time.monotonic())
        return due_at

    def _show(self, video: Video, picture: Picture) -> None:
        """Publish a decoded picture, if it is due."""
        came_at, media_s = min(picture.stamp.came_at, time.monotonic()), picture.stamp.media_s
        if media_s is not None:  # in some containers time runs back by a frame
            self._media_s = media_s = max(self._media_s, media_s)
            came_at = self._wait_until_due(media_s) if self._newest_only else time.monotonic()
        if not video.intra_only and not self._cadence.due(self._time_of(came_at, media_s)):
            return
        wall_time = time.time() - (time.monotonic() - came_at)
        image = upright(video.image(picture.frame), self._turn)
        self._publish(Frame(image, came_at, wall_time, media_s, self._lap), late=picture.late)

    def _time_of(self, came_at: float, media_s: float | None) -> float:
        """The time that the cadence goes by."""
        return came_at if self._newest_only or media_s is None else media_s

    def _publish(self, frame: Frame, *, late: bool = False) -> None:
        with self._news:
            if late:  # the work loop is to have all of what is decoded after the fact
                self._news.wait_for(lambda: self._stopping or self._pending is None, _PATIENCE_S)
            if self._newest_only:
                self._dropped += self._pending is not None
            else:
                self._wait_for(lambda: self._pending is None)
            self._pending = frame
            if self._clock_started_at is None:
                self._first = frame
            self._news.notify_all()

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
                    self._pending = None  # a frame from before the loss must not look as if the source were back
            self._state, self._reason = state, reason
            self._news.notify_all()

    def _sleep(self, seconds: float) -> None:
        """Wait so many seconds. Raises _Stopped as soon as a stop is asked for."""
        if seconds > 0:
            with self._news:
                if self._news.wait_for(lambda: self._stopping, seconds):
                    raise _Stopped

    def _wait_for(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready()`; the caller holds the lock. Raises _Stopped."""
        self._news.wait_for(lambda: self._stopping or ready())
        if self._stopping:
            raise _Stopped
