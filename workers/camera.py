"""One camera's process: it captures frames, finds and names the faces in them, and sends sightings to the writer.

The supervisor starts it; it can also be started by hand beside a running site.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import sys
import time
from dataclasses import replace

# One frame keeps one core busy; BLAS threads would only take cores and memory from the other cameras. numpy reads these
# variables when it is imported, so they are set before.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import cv2  # noqa: E402  # see above

from shared.errors import EXIT_DONE, ConfigurationError, TemporaryError  # noqa: E402
from shared.events import Event, new_event  # noqa: E402
from shared.gallery.reader import GalleryReader  # noqa: E402
from shared.ipc.event_sender import EventSender  # noqa: E402
from shared.model_id import other_model  # noqa: E402
from shared.process.large_blocks import return_large_blocks  # noqa: E402
from shared.process.own_limits import may_allocate  # noqa: E402
from shared.settings.camera_task import CameraTask, source_of  # noqa: E402
from shared.settings.engine_choice import DLIB, EngineChoice  # noqa: E402
from shared.status import CameraStatus, ChildState, ChildStatus  # noqa: E402
from shared.supervision.child import Child, run_child  # noqa: E402
from workers.capture.capture import Capture, CaptureState, Frame, Turn  # noqa: E402
from workers.capture.picture_watch import PictureWatch  # noqa: E402
from workers.capture.source_news import SourceNews  # noqa: E402
from workers.pipeline.pipeline import CameraPipeline  # noqa: E402
from workers.pipeline.risky_settings import risks_of  # noqa: E402
from workers.pipeline.stages import DecodeCost, Stages  # noqa: E402
from workers.recognition.engine import Engine  # noqa: E402
from workers.recognition.liveness import Liveness, open_liveness  # noqa: E402
from workers.recognition.remote_engine import EngineAway, RemoteEngine, RemoteLiveness  # noqa: E402
from workers.viewing.view_server import ViewServer  # noqa: E402

_FRAME_WAIT_S = 1.0
_GALLERY_WAIT_S = 60.0
_FLUSH_S = 3.0
_CAPTURE_STOP_S = 2.0
_STATS_EVERY_S = 1.0
# How long a frame waits for an inference process that is away, and for how long tracks outlive that. After a crash it is back in some
# seconds. Whoever was in view longer ago may have left.
_ENGINE_PATIENCE_S = 30.0
_MAX_WAITING_WITH_TRACES = 200
_MAX_WAITING_WITH_FACES = 2000
# How much memory the process may take beyond the engine's, for decoders and pictures. A hostile stream must not take the
# memory of other processes. Measured: an 8K camera takes 0.42 GB.
_EXTRA_BYTES = 1 << 30

_log = logging.getLogger("rollcall.camera")


class Camera:
    """One camera's work, from its source to the sightings that it sends to the writer."""

    def __init__(self, task: CameraTask, child: Child) -> None:
        """Raises ConfigurationError when the camera's source names a variable that is not set."""
        self._task, self._child = task, child
        self._camera = task.camera
        self._source = source_of(task.camera, task.path, task.base)
        self._is_up = False
        self._losses = 0
        self._news = SourceNews()
        self._status = CameraStatus(state=ChildState.LOADING)
        self._watch = PictureWatch()
        self._view = ViewServer(task.run_dir, task.camera.name)
        self._stats_at = float("-inf")
        self._remote: RemoteEngine | None = None  # None: this process runs the models itself
        self._runs_on: str | None = None
        self._capture: Capture | None = None
        self._decode_cost = DecodeCost()

    def run(self) -> int:
        """Work until a stop is asked for, or until the source has ended, if it is a file. Returns the exit code.

        Raises ConfigurationError when the gallery's model is not installed, or only with another fingerprint; TemporaryError when
        there is no gallery after a minute.
        """
        cv2.setNumThreads(self._camera.threads)
        return_large_blocks()
        self._child.heartbeat(ChildStatus(ChildState.LOADING))
        gallery = self._open_gallery()
        try:
            # Not the model that the settings name: `models use` may have switched the gallery since they were read.
            engine = self._engine_for(gallery)
            self._work(engine, gallery)
        finally:
            gallery.close()
            if self._remote is not None:
                self._remote.close()
        return EXIT_DONE

    def _work(self, engine: Engine, gallery: GalleryReader) -> None:
        camera = self._camera
        liveness = self._open_liveness(engine)
        pipeline = CameraPipeline(
            camera,
            engine,
            gallery,
            liveness=liveness,
            keep_unknowns=self._task.keep_unknowns,
            keep_probes=self._task.keep_probes,
            stages=Stages(self._cpu_s),
        )
        for line in risks_of(camera, engine.threshold, pipeline.limits):
            _log.warning("camera %s: %s", camera.name, line)
        client = EventSender(self._task.run_dir)
        # Capture starts after the engine has loaded: until then a file's clock must not run, and a stream must not pile up.
        turn = Turn(camera.rotate, camera.flip)
        capture = Capture(
            self._source,
            realtime=camera.realtime,
            loop=camera.loop,
            fps=camera.fps,
            turn=turn,
            min_face_px=camera.min_face_px if camera.decode == "on_demand" else None,
            decode_device=camera.decode_device,
        )
        self._capture = capture
        may_allocate(_EXTRA_BYTES)
        self._child.on_stop(capture.ask_to_stop)
        capture.start()
        self._view.start()
        try:
            while not self._child.stopping and not capture.ended:
                events = self._step(capture, pipeline, gallery)
                capture.watch(people=pipeline.in_view or self._view.wanted_moving, shown=self._view.wanted)
                if time.monotonic() - self._stats_at >= _STATS_EVERY_S or self._is_up != self._status.up:
                    self._status = self._status_now(capture, pipeline, client)
                    self._stats_at = time.monotonic()
                # Heartbeat first: a reader of `camera_up` may ask for the status at once.
                self._child.heartbeat(self._status)
                client.record(_affordable(events, client.backlog))
            client.record(pipeline.finish())
            if not client.flush(_FLUSH_S):
                _log.warning(
                    "camera %s: the writer did not take the last %d sightings", self._camera.name, client.backlog
                )
            if capture.ended:
                if reason := capture.status().reason:
                    _log.warning("camera %s: %s", self._camera.name, reason)
                # The last heartbeat. From its `unsent` the supervisor knows whether every sighting is stored.
                ended = replace(self._status_now(capture, pipeline, client), state=ChildState.ENDED)
                self._child.heartbeat(ended)
        finally:
            self._view.stop()
            capture.stop(_CAPTURE_STOP_S)
            client.close()

    def _step(self, capture: Capture, pipeline: CameraPipeline, gallery: GalleryReader) -> list[Event]:
        """Process one frame, or wait a second without one. Returns the new events."""
        frame = capture.next_frame(_FRAME_WAIT_S)
        events = self._source_lost(capture)
        if frame is None:
            events += pipeline.idle(time.monotonic(), time.time())
        else:
            seen = self._processed(frame, pipeline)
            self._view.show(frame.image, frame.wall_time, pipeline.live_tracks)
            events += [*self._source_back(capture), *seen]
            if not self._source.is_file:
                self._watch_picture(frame)
        if pipeline.model_changed:
            self._switch_model(pipeline, gallery)
        return events

    def _processed(self, frame: Frame, pipeline: CameraPipeline) -> list[Event]:
        """The frame's events; none if the inference process was away for too long."""
        try:
            return pipeline.process(frame)
        except EngineAway as error:
            if not self._child.stopping:
                _log.warning("camera %s: %s; nobody is recognised until it does", self._camera.name, error.what)
            return []
        finally:
            if self._remote is not None and (away_s := self._remote.take_away_s()):
                pipeline.unobserved(min(away_s, _ENGINE_PATIENCE_S))

    def wait(self, timeout_s: float) -> bool:
        """The camera waits for the inference process: give a sign of life. Returns whether the camera was asked to stop."""
        if timeout_s:
            self._status = replace(self._status, runs_on="waits for the inference process")
        self._child.heartbeat(self._status)
        return self._child.wait(timeout_s)

    # -- the source ---------------------------------------------------------------------------------------------------

    def _watch_picture(self, frame: Frame) -> None:
        """Log when the picture becomes frozen or empty, and when it is well again."""
        before = self._watch.fault
        self._watch.compare(frame.image, frame.captured_at)
        fault = self._watch.fault
        if fault and not before:
            _log.warning("camera %s: %s", self._camera.name, fault)
        elif before and not fault:
            _log.info("camera %s: the picture is well again", self._camera.name)

    def _source_lost(self, capture: Capture) -> list[Event]:
        """A `camera_down` event, if the source was lost since the last call and this loss is to be reported."""
        status = capture.status()
        losses = status.lost - self._losses
        if not losses:
            return []
        self._losses, self._is_up = status.lost, False
        self._watch.lost()
        now_s = time.monotonic()
        if not self._news.lost(now_s, losses):
            return []
        reason = status.reason or "the stream broke off"
        if hold_s := self._news.hold_s(now_s):
            reason += f"; it comes and goes: reported up again once it has stayed up for {hold_s / 60:.0f} min"
        _log.warning("camera %s is down: %s", self._camera.name, reason)
        return [new_event(self._camera.name, "camera_down", time.time(), reason=reason)]

    def _source_back(self, capture: Capture) -> list[Event]:
        """A `camera_up` event, if the source is back and this is to be reported. Call it after a frame was processed."""
        if capture.status().state not in (CaptureState.UP, CaptureState.ENDED):
            return []
        self._is_up = True
        if not self._news.well(time.monotonic()):
            return []
        untold = self._news.take_untold()
        lost = f"; lost {untold} more times meanwhile" if untold else ""
        _log.info("camera %s is up: %s%s", self._camera.name, self._source.shown, lost)
        return [new_event(self._camera.name, "camera_up", time.time(), losses=untold or None)]

    def _status_now(self, capture: Capture, pipeline: CameraPipeline, client: EventSender) -> CameraStatus:
        status = capture.status()
        return CameraStatus(
            state=ChildState.RUNNING,
            source=self._source.shown,
            up=self._is_up,
            down_reason=status.reason if status.state is CaptureState.DOWN else None,
            picture_fault=self._watch.fault,
            decoding=status.decoding,
            decoded=status.decoded,
            decode_device=status.decode_device,
            runs_on=self._runs_on,
            frames=status.grabbed,
            dropped=status.dropped,
            losses=status.lost,
            unsent=client.backlog,
            **self._decode_cost.latest(time.monotonic(), capture.cpu_s(), status.decoded),
            **pipeline.stats(),
        )

    def _cpu_s(self) -> float:
        """The processor time of the work loop so far, seconds: of this process but for capture, and of the inference process for this camera."""
        if self._remote is not None:
            return time.thread_time() + self._remote.total_busy_s
        if self._camera.threads == 1:
            return time.thread_time()
        # The threads of onnxruntime work for this one; nobody else but capture does much.
        captured_s = self._capture.cpu_s() if self._capture is not None else None
        return time.process_time() - (captured_s or 0.0)

    # -- the model ----------------------------------------------------------------------------------------------------

    def _open_engine(self, choice: EngineChoice) -> Engine:
        camera = self._camera
        if self._remote is not None:
            self._remote.close()
        if choice.shared_engine is True and choice.engine != DLIB:
            self._remote = RemoteEngine(
                self._task.run_dir,
                choice.label,
                det_size=camera.det_size,
                least_face_px=camera.min_face_px,
                liveness=camera.liveness != "off",
                waiting=self,
                # Of a file that is read as fast as possible no frame may be left out.
                patience_s=float("inf") if self._source.is_file and not camera.realtime else _ENGINE_PATIENCE_S,
            )
            self._runs_on = f"shared: {self._remote.description.device}"
            _return_unused_memory()
            return self._remote
        self._remote = None
        from workers.models.opening import open_engine  # 0.4 MB that a camera with a shared engine does not need

        engine = open_engine(choice, det_size=camera.det_size, threads=camera.threads, least_face_px=camera.min_face_px)
        self._runs_on = engine.device
        _return_unused_memory()
        return engine

    def _open_liveness(self, engine: Engine) -> Liveness | None:
        camera = self._camera
        if self._remote is not None:
            return None if camera.liveness == "off" else RemoteLiveness(self._remote)
        return open_liveness(
            self._task.engine.models_dir, camera.liveness, threads=camera.threads, points=engine.points
        )

    def _open_gallery(self) -> GalleryReader:
        deadline = time.monotonic() + _GALLERY_WAIT_S
        while True:
            try:
                return GalleryReader(self._task.run_dir)
            except TemporaryError:
                self._child.heartbeat(ChildStatus(ChildState.LOADING))
                if self._child.wait(0.1) or time.monotonic() > deadline:
                    raise

    def _switch_model(self, pipeline: CameraPipeline, gallery: GalleryReader) -> None:
        """Go on with another model, between two frames: `models use` has put that model's gallery in place."""
        _log.info("camera %s: the gallery is now %s", self._camera.name, gallery.model)
        self._child.heartbeat(replace(self._status, state=ChildState.LOADING))
        engine = self._engine_for(gallery)
        pipeline.use_engine(engine, self._open_liveness(engine))

    def _engine_for(self, gallery: GalleryReader) -> Engine:
        """The engine with the gallery's model. Raises ConfigurationError when that model is not installed, or when the
        installed one has the same name but another fingerprint."""
        choice = self._task.engine
        if (wanted := gallery.model_id) is not None:
            choice = replace(choice, engine=wanted.engine, model=wanted.pack)
        engine = self._open_engine(choice)
        _require_same_model(engine, gallery, f"camera {self._camera.name}")
        return engine


def _return_unused_memory() -> None:
    """Have glibc return free memory to the system. Loading a model leaves 7 MB of holes that the process never needs again."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _affordable(events: list[Event], backlog: int) -> list[Event]:
    """The events without strangers' pictures (60 KB each), if too many already wait for the writer; without probes and crops (10 KB) only if
    far more do."""
    if backlog >= _MAX_WAITING_WITH_TRACES:
        events = [replace(event, traces=None) for event in events]
    if backlog >= _MAX_WAITING_WITH_FACES:
        events = [replace(event, probe=None, picture=None) for event in events]
    return events


def _require_same_model(engine: Engine, gallery: GalleryReader, where: str) -> None:
    """Raise ConfigurationError when engine and gallery have different models: their embeddings can't be compared."""
    if gallery.model_id is not None and not gallery.model_id.is_same(engine.model_id):
        raise other_model(
            ConfigurationError,
            "the gallery was made with another model",
            where=where,
            got=engine.model_id,
            expected=gallery.model_id,
            remedy="set [recognition] engine and model to the gallery's, or embed its photos anew: models use",
        )


def _task_of(arguments: argparse.Namespace) -> CameraTask:
    """From the supervisor on standard input, or from the settings file if the camera was started by hand. Raises ConfigurationError."""
    if arguments.settings_stdin:
        return CameraTask.from_json(json.loads(sys.stdin.readline()))
    # Only by hand: the schema and pydantic take 7 MB, and a site has dozens of cameras.
    from shared.settings.engine_sharing import task_of
    from shared.settings.file import find_config, load_settings

    return task_of(load_settings(find_config(arguments.config)), arguments.camera)


def main(argv: list[str] | None = None) -> int:
    """Run one camera until it is asked to stop or its file has ended. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers.camera", description="One camera of a running site.")
    parser.add_argument("--config")
    parser.add_argument("--settings-stdin", action="store_true", help="its task as one line of JSON on standard input")
    parser.add_argument("--camera", required=True, help="its name in the settings")
    arguments = parser.parse_args(argv)
    task = _task_of(arguments)
    child = Child(f"rollcall: camera {arguments.camera}")
    try:
        return Camera(task, child).run()
    except TemporaryError:
        if child.stopping:  # it was asked to stop while it waited for the gallery
            return EXIT_DONE
        raise


if __name__ == "__main__":
    sys.exit(run_child(main))
