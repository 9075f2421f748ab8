"""Rollcall's entry point and its supervisor: `python supervisor.py` runs a site, other words are commands.

The supervisor starts the writer, then the cameras, watches them and starts again what fell; it touches no frame and no row.
Signal handlers only queue; everything happens in one loop.
"""

from __future__ import annotations

import sys

from shared.process import early_signals, freed_memory

if __name__ == "__main__":
    if sys.argv[1:2] in ([], ["run"]) or sys.argv[1].startswith("-"):  # a site; other commands soon end
        freed_memory.start_over()
    early_signals.hold()  # before what takes time to import: a reload or stop that is asked for at once must not kill
    freed_memory.let_signals_in()

import contextlib
import logging
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from shared.errors import (
    EXIT_BUG,
    EXIT_CONFIGURATION,
    EXIT_DONE,
    EXIT_REFUSED,
    EXIT_TEMPORARY,
    ConfigurationError,
    FaultList,
    RollcallError,
    TemporaryError,
    disk_fault,
)
from shared.process.library_faults import imports_explained, library_fault

try:
    with imports_explained():
        from shared.files.folder_lock import LockedError
        from shared.files.run_folder import is_in_memory, is_read_only
        from shared.files.run_folder_lock import hold_run_folder
        from shared.ipc.client import site_is_running
        from shared.ipc.following import EventStream
        from shared.printing import start_logging
        from shared.process.private_memory import keep_memory_private
        from shared.settings.schema import Settings, load_settings
        from shared.store.opening import SiteLock, make_private_folder
        from shared.supervision import systemd_notify
        from shared.supervision.camera_status import CameraStatus
        from shared.supervision.child_process import LOADING_TIMEOUT_S, ChildProcess, ChildState
        from shared.supervision.restart_policy import RestartPolicy
        from shared.supervision.status_reporter import StatusReporter
except ConfigurationError as fault:  # no command can say it: they need the same libraries
    sys.stderr.write(f"{fault.line()}\n")
    sys.exit(fault.exit_code)

_log = logging.getLogger("rollcall")

_TURN_S = 0.2
_LATE_S = 5.0  # a turn that took this long was not work of ours: the machine stood still
_CAMERA_STOP_S = 8.0
_WRITER_STOP_S = 60.0
_PREPARE_STOP_S = 10.0
_UNKILLABLE_S = 5.0  # a process that the kernel does not let go in this time hangs in a disk or a driver
_FILE_PATIENCE_S = 10.0
_EXTEND_EVERY_S = 5.0
# What systemd is asked for at each sign of progress: the next may take this long, and a child that hangs has then been killed by us.
_EXTEND_US = int((LOADING_TIMEOUT_S + 30.0) * 1e6)
# What no child needs of our environment today: where the backend is, and how to log in to its database.
_SECRETS = frozenset({"BACKEND_API", "MONGODB_URI"})
# Variables that are no secret also where a source names one: without them a process may not start.
_ORDINARY = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"})
_CREDENTIALS = "CREDENTIALS_DIRECTORY"  # systemd's folder of secrets: for cameras whose source names one
_SETTLED = (ChildState.RUNNING, ChildState.ENDED, ChildState.WAITING, ChildState.STOPPED, ChildState.FAILED)
_LOOKS_FOR_WRITER = 10
_OVER = (ChildState.ENDED, ChildState.STOPPED, ChildState.FAILED)


class Supervisor:
    """One site: its children in order of dependency, the writer first.

    The loop is `_turn`; whatever takes time (a start, a stop, a reload, a child that hangs) is a state that it looks after.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_event: Callable[[dict[str, Any]], None],
        until_ended: bool = False,
        assume_model: bool = False,
        child_output: int | None = None,
    ) -> None:
        """`child_output`: a descriptor that takes the children's log; default: our standard error."""
        self.settings = settings
        self._child_output = child_output
        self._on_event, self._until_ended, self._assume_model = on_event, until_ended, assume_model
        # Without a writer nothing is kept. What stopped it may pass (a disk that is read-only for an hour), whatever its exit code.
        self._writer = self._child("writer", "writer", policy=RestartPolicy(gives_up=False))
        self._cameras: dict[str, ChildProcess] = {}
        self._others: list[ChildProcess] = []
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._wake_reader, self._wake_writer = os.pipe()
        for descriptor in (self._wake_reader, self._wake_writer):
            os.set_blocking(descriptor, False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._stopping = False
        self._reload_asked = False
        self._awaited: ChildProcess | None = None  # whose end is the site's end
        self._runs = False  # from here on a reload can be carried out
        self._ready = False
        self._turned_at = time.monotonic()
        self._extended_at = self._progress_at = 0.0
        self._watchdog_s = systemd_notify.watchdog_interval_s()
        self._watchdog_at = 0.0
        self._snapshot_lock = threading.Lock()
        self._snapshot: dict[str, Any] = {}
        self._told_status = ""
        self._down_since: dict[str, str] = {}  # when a camera was first seen not to be up; wall time
        self._outline: list[tuple[object, ...]] = []  # of the last snapshot: whether it is news
        self._reporter: StatusReporter | None = None
        self._started_at = time.monotonic()

    def run(self) -> int:
        """Run the site until it is asked to stop, or its files have ended; the exit code."""
        settings = self.settings
        make_private_folder(settings.data_dir)
        with contextlib.ExitStack() as held:
            try:
                run_dir = hold_run_folder(settings.data_dir, held)
            except LockedError as error:
                raise _already_running(settings) from error
            if not _is_silent(run_dir):
                raise _already_running(settings)
            self.settings = replace(settings, held_run_dir=run_dir)
            self._equip(self._writer, None)
            self._install_signals()
            self._take_signals()
            if self._stopping:
                return EXIT_DONE  # asked for before anything was begun
            self._turned_at = time.monotonic()
            code = self._prepare()
            return code if code != EXIT_DONE or self._stopping else self._run_prepared()

    def ask_to_stop(self) -> None:
        """Stop in order, as if SIGTERM had come; safe from any thread."""
        self._queue_signal(signal.SIGTERM, None)

    def snapshot(self) -> dict[str, Any]:
        """The state of every child, as `status` shows it; safe from any thread."""
        with self._snapshot_lock:
            return self._snapshot

    # --- start -------------------------------------------------------------------------------------------------

    def _child(self, name: str, kind: str, *arguments: str, policy: RestartPolicy | None = None) -> ChildProcess:
        child = ChildProcess(name, kind, arguments, {}, output=self._child_output, policy=policy)
        self._equip(child, name if kind == "camera" else None)
        return child

    def _equip(self, child: ChildProcess, camera: str | None) -> None:
        """Give a child its settings, and of the secrets those of its own camera."""
        needed = set() if camera is None else self.settings.variables(camera)
        child.settings = self.settings.for_child(camera).to_json()
        child.hidden = (self.settings.variables() | _SECRETS) - needed - _ORDINARY
        if not needed:
            child.hidden |= {_CREDENTIALS}

    def _prepare(self) -> int:
        """Models, database and an empty gallery's photos, in a process of their own: engines are not for the supervisor."""
        systemd_notify.notify("STATUS=preparing: models, database")
        prepare = self._child("prepare", "prepare", *(["--assume-model"] if self._assume_model else []))
        self._others.append(prepare)
        code = self._first_start(prepare, lambda: False)
        if self._stopping:
            return self._stop_children([prepare], _PREPARE_STOP_S)
        self._others.remove(prepare)
        return code if code is not None else EXIT_DONE

    def _run_prepared(self) -> int:
        code = self._first_start(self._writer, lambda: self._writer.state is ChildState.RUNNING)
        if code is not None:
            return self._stop(code or EXIT_BUG)  # nobody asked it to end
        events = EventStream(self.settings.run_dir, self._on_event)
        self._take_snapshot(time.monotonic())
        with events, StatusReporter(self.settings.run_dir, self.snapshot) as self._reporter:
            while not events.following and not self._stopping:
                self._turn()  # a camera's first sighting must not be missed
            for name in self.settings.enabled_cameras():
                self._add_camera(name)
            self._runs = True
            while not self._stopping:
                self._turn()
                if self._until_ended and self._files_have_ended():
                    return self._stop(self._code_of_ended())
                if self._has_lost_run_folder():
                    _log.error("the disk with the run folder became read-only: the site ends, to start anew without it")
                    return self._stop(EXIT_TEMPORARY)
            return self._stop(EXIT_DONE)

    def _first_start(self, child: ChildProcess, is_ready: Callable[[], bool]) -> int | None:
        """Start a child that the site can't begin without. None once it is ready, or the site is to stop; else the site's exit code.

        It may take as long as it makes progress: the first start of a site may embed thousands of photos.
        """
        self._awaited = child
        self._start(child, time.monotonic())
        while not self._stopping and not is_ready():
            self._turn()
            if child.exit_code is not None and not child.start_refused:
                child.restart_at = None
                return _site_code(child)
        self._awaited = None
        return None

    def _start(self, child: ChildProcess, now: float) -> None:
        """Spawn; what the system refuses for a moment (descriptors, processes, memory) is tried again, as a child that fell."""
        try:
            child.start()
        except OSError as error:
            again = child.start_failed(now)
            _log.warning(
                "%s: can't be started: %s; tried again in %.1f s", child.name, error.strerror or error, again - now
            )
            return
        assert child.channel is not None  # start made it
        self._selector.register(child.channel, selectors.EVENT_READ, child)

    def _add_camera(self, name: str) -> None:
        self._cameras[name] = camera = self._child(name, "camera", "--camera", name)
        if not self._stopping:
            self._start(camera, time.monotonic())

    # --- the loop ----------------------------------------------------------------------------------------------

    def _children(self) -> list[ChildProcess]:
        return [*self._others, self._writer, *self._cameras.values()]

    def _turn(self) -> None:
        self._wait_for_news(_TURN_S)
        self._allow_for_pause(time.monotonic())
        self._take_signals()
        now = time.monotonic()
        for child in self._children():
            self._look_after(child, now)
        self._drop_removed_cameras()
        self._tell_systemd(now)
        self._take_snapshot(now)

    def _wait_for_news(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_reader, 4096)
            elif not key.data.hear():
                self._selector.unregister(key.fileobj)  # it says nothing more; the reaping says how it ended

    def _allow_for_pause(self, now: float) -> None:
        """After a pause of the whole machine the children have been silent for want of time: each gets its grace anew."""
        late_s = now - self._turned_at - _TURN_S
        self._turned_at = now
        if late_s < _LATE_S:
            return
        _log.warning("the machine stood still for %.0f s; nothing is restarted for that", late_s)
        for child in self._children():
            child.allow_for_pause(now, late_s)

    def _look_after(self, child: ChildProcess, now: float) -> None:
        """Kill what is stuck or does not stop, reap what ended, start what is due."""
        if child.is_overdue(now):
            _log.error("%s: did not stop within its grace; killed", child.name)
            child.kill(now)
        elif child.is_stuck(now):
            _log.error("%s: no progress for %.0f s; killed", child.name, child.heartbeat_age_s(now))
            child.kill(now)
        channel = child.channel
        code = child.reap(now)
        if code is not None:
            if channel is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(channel)
            self._say_ended(child, code, now)
        if child.restart_at is not None and now >= child.restart_at and not self._stopping:
            self._start(child, now)

    def _say_ended(self, child: ChildProcess, code: int, now: float) -> None:
        if child.stop_asked or child.state is ChildState.ENDED or (child in self._others and code == EXIT_DONE):
            return
        how = _how_ended(child)
        if child is self._awaited:
            _log.error("%s: %s; the site can't begin without it", child.name, how)
        elif child.restart_at is not None:
            _log.warning("%s: %s; started again in %.1f s", child.name, how, child.restart_at - now)
        else:
            _log.error(
                "%s: %s; not started again%s",
                child.name,
                how,
                " until its settings are mended" if code == EXIT_CONFIGURATION else "",
            )

    def _has_lost_run_folder(self) -> bool:
        """Whether a writer that fell can't take its place again, since nothing can be made in the run folder any more."""
        run_dir = self.settings.run_dir
        return not (self._writer.running or is_in_memory(run_dir)) and is_read_only(run_dir)

    def _files_have_ended(self) -> bool:
        """Whether every camera on a file that ends has ended, can't go on, or could never be read."""
        unread = self._unread_files()
        return all(name in unread or camera.state in _OVER for name, camera in self._cameras_on_files())

    def _code_of_ended(self) -> int:
        """What to say once every file has ended: done only when each was read and all that was seen in it is stored."""
        if any(camera.stats.get("unsent") for _, camera in self._cameras_on_files()):
            _log.error("not everything that was seen could be stored")
            return EXIT_TEMPORARY
        return EXIT_REFUSED if self._unread_files() else EXIT_DONE

    def _unread_files(self) -> set[str]:
        """Cameras on files that end which failed, or gave no frame in all the time that a real one needs to open."""
        return {name for name, camera in self._cameras_on_files() if _is_hopeless(camera)}

    def _cameras_on_files(self) -> list[tuple[str, ChildProcess]]:
        """Those whose file has an end; without those that a reload removed and that are on their way out."""
        known = self.settings.cameras
        return [(name, one) for name, one in self._cameras.items() if name in known and self.settings.ends(name)]

    # --- signals and reload ------------------------------------------------------------------------------------

    def _install_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # a demo or a test that runs the site on a thread stops it by ask_to_stop
        self._signals += early_signals.hand_over(self._queue_signal)

    def _queue_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the handler's signature
        self._signals.append(number)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"x")

    def _take_signals(self) -> None:
        """Act on what was queued. A reload that is asked for while the site starts is carried out once it runs."""
        while self._signals:
            if self._signals.pop(0) == signal.SIGHUP:
                self._reload_asked = True
            else:
                self._stopping = True
        if self._reload_asked and self._runs and not self._stopping:
            self._reload_asked = False
            self._reload()

    def _reload(self) -> None:
        """Read the file again: only what changed restarts; a faulty file is refused whole and the site goes on."""
        systemd_notify.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            fresh = replace(load_settings(self.settings.path), held_run_dir=self.settings.held_run_dir)
            if (fresh.data_dir, fresh.site) != (self.settings.data_dir, self.settings.site):
                raise ConfigurationError(
                    "[site] can't change while the site runs",
                    where=str(fresh.path),
                    remedy="undo it, or restart the site",
                )
            self._require_model_of_gallery(fresh)
        except (RollcallError, OSError, ImportError) as error:
            fault = _fault(error)
            for line in (one.line() for one in fault.faults) if isinstance(fault, FaultList) else [fault.line()]:
                _log.error("reload refused: %s", line)
            _log.error("reload refused: the site goes on with the settings it has")
        else:
            self._apply(fresh, time.monotonic())
        systemd_notify.notify("READY=1")

    def _require_model_of_gallery(self, fresh: Settings) -> None:
        """Another model in the file is only right once `models use` has switched the gallery, which cameras follow."""
        from shared.gallery.reader import GalleryReader  # numpy, which the supervisor otherwise lives without

        with GalleryReader(fresh.run_dir) as gallery:
            wanted = f"{fresh.recognition.engine}/{fresh.model}"
            if gallery.model not in ("", wanted):
                raise ConfigurationError(
                    "the gallery is of another model",
                    where=f"{fresh.path}: [recognition] model",
                    got=wanted,
                    expected=gallery.model,
                    remedy=f"undo it, or switch with: supervisor.py models use {fresh.model}",
                )

    def _apply(self, fresh: Settings, now: float) -> None:
        """Have what changed stopped, restarted and started, all at once; the loop looks after it."""
        old, self.settings = self.settings, fresh
        self._equip(self._writer, None)
        same_folder = old.models_dir == fresh.models_dir
        wanted = fresh.enabled_cameras()
        for name, camera in self._cameras.items():
            if name not in wanted:
                camera.ask_to_stop(now, _CAMERA_STOP_S)
                _log.info("%s: stopped: no longer configured", name)
            elif same_folder and name in old.enabled_cameras() and old.camera(name) == fresh.camera(name):
                self._equip(camera, name)
            else:
                self._equip(camera, name)
                camera.renew(now, _CAMERA_STOP_S)
                _log.info("%s: restarted with its new settings", name)
        for name in wanted:
            if name not in self._cameras:
                self._add_camera(name)
        _log.info("reloaded %s", fresh.path)

    def _drop_removed_cameras(self) -> None:
        """A camera that is configured no longer is forgotten once its process has ended."""
        if self._stopping:
            return  # then all of them stop, and `status` shows them to the end
        wanted = set(self.settings.enabled_cameras())
        for name in [name for name, camera in self._cameras.items() if name not in wanted and not camera.running]:
            del self._cameras[name]
            self._down_since.pop(name, None)

    # --- what others are told ----------------------------------------------------------------------------------

    def _tell_systemd(self, now: float) -> None:
        if not self._runs:
            self._extend_start(now)
            return
        up = sum(self._camera_status(name, now).up is True for name in self._cameras)  # a child says what it likes
        status = f"STATUS={up} of {len(self._cameras)} cameras up"
        if not self._ready and all(camera.state in _SETTLED for camera in self._cameras.values()):
            self._ready = True
            self._told_status = status
            systemd_notify.notify("READY=1", status)
            _log.info("the site runs: %d cameras", len(self._cameras))
        if not self._ready:
            self._extend_start(now)
        if self._ready and status != self._told_status:
            self._told_status = status
            systemd_notify.notify(status)
        if self._watchdog_s and now >= self._watchdog_at:
            # It vouches for this loop alone: a writer or camera that hangs is killed and started again by it.
            self._watchdog_at = now + self._watchdog_s
            systemd_notify.notify("WATCHDOG=1")

    def _extend_start(self, now: float) -> None:
        """While a site starts, its children's progress earns it time, and nothing else does."""
        heard_at = max(child.heard_at for child in self._children())
        if heard_at > self._progress_at and now >= self._extended_at + _EXTEND_EVERY_S and not self._stopping:
            self._extended_at, self._progress_at = now, heard_at
            systemd_notify.notify(f"EXTEND_TIMEOUT_USEC={_EXTEND_US}")

    def _camera_status(self, name: str, now: float) -> CameraStatus:
        """What the camera says of itself, as far as its process lives to mean it, and since when it is down."""
        camera = self._cameras[name]
        said = CameraStatus.from_json({**camera.describe(now), "state": camera.state})
        if camera.state is not ChildState.RUNNING:
            said = replace(said, up=False, down_reason=self._why_without_process(camera, now))
        if said.up or camera.state is ChildState.ENDED:
            self._down_since.pop(name, None)
            return said
        since = self._down_since.setdefault(name, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
        return replace(said, down_since=since)

    @staticmethod
    def _why_without_process(camera: ChildProcess, now: float) -> str | None:
        if camera.state is ChildState.WAITING and camera.restart_at is not None:
            return f"its process {_how_ended(camera)}; started again in {max(0.0, camera.restart_at - now):.0f} s"
        if camera.state is ChildState.FAILED:
            return f"its process {_how_ended(camera)}; not started again until its settings are mended"
        return None

    def _take_snapshot(self, now: float) -> None:
        snapshot = {
            "site": self.settings.site.name,
            "pid": os.getpid(),
            "ready": self._ready,
            "uptime_s": round(now - self._started_at, 1),
            "writer": self._writer.describe(now),
            "cameras": {name: self._camera_status(name, now).to_json() for name in self._cameras},
        }
        with self._snapshot_lock:
            self._snapshot = snapshot
        outline: list[tuple[object, ...]] = [
            (child.name, child.state, child.restarts, child.stats.get("up")) for child in self._children()
        ]
        if outline != self._outline:
            self._outline = outline
            if self._reporter is not None:
                self._reporter.changed()

    # --- stop --------------------------------------------------------------------------------------------------

    def _stop(self, code: int) -> int:
        """Cameras first, then the writer, drained; each with a deadline. The site's exit code."""
        self._stopping = True
        systemd_notify.notify("STOPPING=1")
        self._stop_children(list(self._cameras.values()), _CAMERA_STOP_S)
        if not self._writer.running and code == EXIT_DONE:
            _log.error("the writer did not run when the site stopped; the last sightings are not kept")
            code = EXIT_TEMPORARY
        undrained = self._stop_children([self._writer], _WRITER_STOP_S)
        if self._writer.exit_code != EXIT_DONE:
            self._remove_block()
            served = self._writer.stats.get("state") is ChildState.RUNNING  # while it loads, nothing was sent to it
            if served and code == undrained == EXIT_DONE:
                _log.error(
                    "writer: %s while it stopped; not everything that was seen may be stored", _how_ended(self._writer)
                )
                code = EXIT_TEMPORARY
        return code or undrained

    def _remove_block(self) -> None:
        """The gallery in shared memory, which a writer that ended well has removed itself."""
        lock = SiteLock(self.settings.db_path)  # a writer that somebody started by hand keeps its block
        try:
            from shared.gallery.files import remove_left_behind  # numpy, which the supervisor otherwise lives without

            lock.acquire(0.0)
            try:
                remove_left_behind(self.settings.run_dir)
            finally:
                lock.release()
        except (OSError, RollcallError, ImportError) as error:
            _log.error("the gallery in shared memory is not removed: %s", _fault(error).line())

    def _stop_children(self, children: list[ChildProcess], grace_s: float) -> int:
        """Ask them all, and turn until they have ended. EXIT_TEMPORARY when one had to be killed."""
        now = time.monotonic()
        for child in children:
            child.ask_to_stop(now, grace_s)
        while any(child.running and not _is_unkillable(child) for child in children):
            self._turn()
        return EXIT_TEMPORARY if any(child.was_killed for child in children) else EXIT_DONE


def _fault(error: OSError | ImportError | RollcallError) -> RollcallError:
    if isinstance(error, RollcallError):
        return error
    return disk_fault(error) if isinstance(error, OSError) else library_fault(error)


def _is_unkillable(child: ChildProcess) -> bool:
    return child.killed_at is not None and time.monotonic() > child.killed_at + _UNKILLABLE_S


def _how_ended(child: ChildProcess) -> str:
    """As a log line and `status` say it."""
    code = child.exit_code or 0
    if child.start_refused:
        return "could not be started"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _site_code(child: ChildProcess) -> int:
    """How a site ends that can't begin because this child has ended: no signal and no unasked end is "done"."""
    if child.was_killed:
        return EXIT_TEMPORARY
    return EXIT_BUG if child.exit_code is None or child.exit_code < 0 else child.exit_code


def _is_hopeless(camera: ChildProcess) -> bool:
    """Whether a camera on a file failed, or has found nothing to read for too long."""
    waiting = camera.state is ChildState.RUNNING and camera.stats.get("down_reason") and not camera.stats.get("frames")
    return camera.state is ChildState.FAILED or bool(waiting and camera.uptime_s(time.monotonic()) >= _FILE_PATIENCE_S)


def _is_silent(run_dir: Path) -> bool:
    """Whether no writer answers: one whose supervisor was killed a moment ago is given the time to end."""
    for _ in range(_LOOKS_FOR_WRITER):
        if not site_is_running(run_dir):
            return True
        time.sleep(_TURN_S)
    return False


def _already_running(settings: Settings) -> TemporaryError:
    return TemporaryError(
        "a site is already running on this data_dir",
        where=str(settings.data_dir),
        expected="one supervisor",
        remedy="use it (supervisor.py status), stop it, or give this one its own [site] data_dir",
    )


def main(argv: list[str] | None = None) -> int:
    """The command line; see workers/commands/command_line.py for its words."""
    from workers.commands import command_line

    keep_memory_private()
    start_logging()
    return command_line.main(argv, Supervisor, beside=Path(__file__).resolve().parent)


if __name__ == "__main__":
    sys.exit(main())
