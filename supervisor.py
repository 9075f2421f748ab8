"""Rollcall's entry point and its supervisor: `python supervisor.py` runs a site, other words are commands.

The supervisor starts the writer, then the cameras, watches them and starts again what fell; it touches no frame and no row.
Signal handlers only queue; everything happens in one loop.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from shared import systemd_notify
from shared.child_process import HEARTBEAT_TIMEOUT_S, ChildProcess, child_environment
from shared.errors import (
    EXIT_CONFIGURATION,
    EXIT_DONE,
    EXIT_REFUSED,
    ConfigurationError,
    FaultList,
    RollcallError,
    TemporaryError,
)
from shared.event_stream import EventStream
from shared.settings import Settings, load_settings
from shared.status_reporter import StatusReporter
from shared.store_opening import make_private_folder

_log = logging.getLogger("rollcall")

_TURN_S = 0.2
_CAMERA_STOP_S = 8.0
_WRITER_STOP_S = 60.0
_WRITER_READY_S = 300.0
_FILE_PATIENCE_S = 10.0
_SETTLED = ("running", "ended", "failed", "stopped")


class Supervisor:
    """One site: its children in order of dependency, the writer first."""

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
        self._writer = ChildProcess("writer", "workers.writer", [], settings.to_json(), child_output)
        self._cameras: dict[str, ChildProcess] = {}
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._wake_reader, self._wake_writer = os.pipe()
        for descriptor in (self._wake_reader, self._wake_writer):
            os.set_blocking(descriptor, False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._stopping = False
        self._ready = False
        self._watchdog_s = systemd_notify.watchdog_interval_s()
        self._watchdog_at = 0.0
        self._snapshot_lock = threading.Lock()
        self._snapshot: dict[str, Any] = {}
        self._started_at = time.time()

    def run(self) -> int:
        """Run the site until it is asked to stop, or its files have ended; the exit code."""
        settings = self.settings
        make_private_folder(settings.data_dir)
        make_private_folder(settings.run_dir)
        lock = FileLock(settings.run_dir / "supervisor.lock", mode=0o600, fallback_to_soft=False)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise TemporaryError(
                "a site is already running on this data_dir",
                where=str(settings.data_dir),
                expected="one supervisor",
                remedy="use it (supervisor.py status), stop it, or give this one its own [site] data_dir",
            ) from error
        with lock:
            self._install_signals()
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

    def _prepare(self) -> int:
        """Models, database and an empty gallery's photos, in a process of their own: engines are not for the supervisor."""
        systemd_notify.notify("STATUS=preparing: models, database")
        environment = child_environment()
        arguments = ["--assume-model"] if self._assume_model else []
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.prepare", "--settings-stdin", *arguments],
            stdin=subprocess.PIPE,
            stdout=self._child_output or sys.stderr.fileno(),
            stderr=self._child_output,
            env=environment,
            process_group=0,
        )
        assert process.stdin is not None  # a pipe was asked for
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(self.settings.to_json()).encode() + b"\n")
            process.stdin.close()
        while process.poll() is None:
            self._wait_for_news(_TURN_S)
            if self._take_signals():
                process.terminate()
            systemd_notify.notify(f"EXTEND_TIMEOUT_USEC={int(30e6)}")
        return EXIT_DONE if self._stopping else process.returncode

    def _run_prepared(self) -> int:
        self._start(self._writer)
        if not self._wait_for_writer():
            return self._stop(self._writer.exit_code if self._writer.exit_code is not None else EXIT_DONE)
        with EventStream(self.settings.run_dir, self._on_event), StatusReporter(self.settings.run_dir, self.snapshot):
            for name in self.settings.enabled_cameras():
                self._add_camera(name)
            while not self._stopping:
                self._turn()
                if self._until_ended and self._files_have_ended():
                    return self._stop(EXIT_REFUSED if self._unread_files() else EXIT_DONE)
            return self._stop(EXIT_DONE)

    def _wait_for_writer(self) -> bool:
        """Whether the gallery was loaded; a writer that can't load at the start ends the site with its own exit code."""
        deadline = time.monotonic() + _WRITER_READY_S
        while not self._stopping and time.monotonic() < deadline:
            self._wait_for_news(_TURN_S)
            self._take_signals()
            self._writer.hear()
            systemd_notify.notify(f"EXTEND_TIMEOUT_USEC={int(30e6)}")
            if self._writer.state == "running":
                return True
            if self._writer.reap(time.monotonic()) is not None:
                return False
        return False

    def _start(self, child: ChildProcess) -> None:
        child.start()
        assert child.channel is not None  # start made it
        self._selector.register(child.channel, selectors.EVENT_READ, child)

    def _add_camera(self, name: str) -> None:
        camera = ChildProcess(name, "workers.camera", ["--camera", name], self.settings.to_json(), self._child_output)
        self._cameras[name] = camera
        self._start(camera)

    # --- the loop ----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._wait_for_news(_TURN_S)
        self._take_signals()
        now = time.monotonic()
        for child in (self._writer, *self._cameras.values()):
            self._look_after(child, now)
        self._tell_systemd(now)
        self._take_snapshot(now)

    def _wait_for_news(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_reader, 4096)
            else:
                key.data.hear()

    def _look_after(self, child: ChildProcess, now: float) -> None:
        """Kill what is stuck, reap what ended, start what is due."""
        if child.is_stuck(now):
            _log.error("%s: no progress for %.0f s; killed", child.name, child.heartbeat_age_s(now))
            child.kill()
            child.wait(5.0)
        channel = child.channel
        code = child.reap(now)
        if code is not None:
            if channel is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(channel)
            self._say_ended(child, code, now)
        if child.restart_at is not None and now >= child.restart_at and not self._stopping:
            child.restarts += 1
            self._start(child)

    def _say_ended(self, child: ChildProcess, code: int, now: float) -> None:
        if child.stop_asked or child.state == "ended":
            return
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if child.restart_at is not None:
            _log.warning("%s: %s; started again in %.1f s", child.name, how, child.restart_at - now)
        else:
            _log.error(
                "%s: %s; not started again%s",
                child.name,
                how,
                " until its settings are mended" if code == EXIT_CONFIGURATION else "",
            )

    def _files_have_ended(self) -> bool:
        """Whether every camera on a file that ends has ended, can't go on, or could never be read."""
        files = {name: camera for name, camera in self._cameras.items() if self.settings.ends(name)}
        unread = self._unread_files()
        return all(name in unread or camera.state in ("ended", "stopped", "failed") for name, camera in files.items())

    def _unread_files(self) -> set[str]:
        """Cameras on files that end which failed, or gave no frame in all the time that a real one needs to open."""
        return {name for name, camera in self._cameras.items() if self.settings.ends(name) and _is_hopeless(camera)}

    # --- signals and reload ------------------------------------------------------------------------------------

    def _install_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # a demo or a test that runs the site on a thread stops it by ask_to_stop
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._queue_signal)

    def _queue_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the handler's signature
        self._signals.append(number)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"x")

    def _take_signals(self) -> bool:
        """Act on what was queued; True when the site is to stop."""
        while self._signals:
            if self._signals.pop(0) == signal.SIGHUP:
                self._reload()
            else:
                self._stopping = True
        return self._stopping

    def _reload(self) -> None:
        """Read the file again: only what changed restarts; a faulty file is refused whole and the site goes on."""
        systemd_notify.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            fresh = load_settings(self.settings.path)
            if (fresh.data_dir, fresh.site) != (self.settings.data_dir, self.settings.site):
                raise ConfigurationError(
                    "[site] can't change while the site runs",
                    where=str(fresh.path),
                    remedy="undo it, or restart the site",
                )
            self._require_model_of_gallery(fresh)
        except RollcallError as error:
            for line in (fault.line() for fault in error.faults) if isinstance(error, FaultList) else [error.line()]:
                _log.error("reload refused: %s", line)
            _log.error("reload refused: the site goes on with the settings it has")
        else:
            self._apply(fresh)
        systemd_notify.notify("READY=1")

    def _require_model_of_gallery(self, fresh: Settings) -> None:
        """Another model in the file is only right once `models use` has switched the gallery, which cameras follow."""
        from shared.gallery_reader import GalleryReader  # numpy, which the supervisor otherwise lives without

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

    def _apply(self, fresh: Settings) -> None:
        old, self.settings = self.settings, fresh
        self._writer.settings = fresh.to_json()
        same_folder = old.models_dir == fresh.models_dir
        wanted = fresh.enabled_cameras()
        for name, camera in list(self._cameras.items()):
            if name in wanted and same_folder and old.camera(name) == fresh.camera(name):
                camera.settings = fresh.to_json()
                continue
            self._stop_children([camera], _CAMERA_STOP_S)
            del self._cameras[name]
            _log.info(
                "%s: %s", name, "restarted with its new settings" if name in wanted else "stopped: no longer configured"
            )
        for name in wanted:
            if name not in self._cameras:
                self._add_camera(name)
        _log.info("reloaded %s", fresh.path)

    # --- what others are told ----------------------------------------------------------------------------------

    def _tell_systemd(self, now: float) -> None:
        running = sum(camera.state == "running" for camera in self._cameras.values())
        status = f"STATUS={running} of {len(self._cameras)} cameras run"
        if not self._ready and all(camera.state in _SETTLED for camera in self._cameras.values()):
            self._ready = True
            systemd_notify.notify("READY=1", status)
            _log.info("the site runs: %d cameras", len(self._cameras))
        if self._watchdog_s and now >= self._watchdog_at and self._writer.heartbeat_age_s(now) < HEARTBEAT_TIMEOUT_S:
            self._watchdog_at = now + self._watchdog_s
            systemd_notify.notify("WATCHDOG=1", status)

    def _take_snapshot(self, now: float) -> None:
        snapshot = {
            "site": self.settings.site.name,
            "pid": os.getpid(),
            "ready": self._ready,
            "uptime_s": round(time.time() - self._started_at, 1),
            "writer": self._writer.describe(now),
            "cameras": {name: camera.describe(now) for name, camera in self._cameras.items()},
        }
        with self._snapshot_lock:
            self._snapshot = snapshot

    # --- stop --------------------------------------------------------------------------------------------------

    def _stop(self, code: int) -> int:
        """Cameras first, then the writer, drained; each with a deadline."""
        self._stopping = True
        systemd_notify.notify("STOPPING=1")
        self._stop_children(list(self._cameras.values()), _CAMERA_STOP_S)
        self._take_snapshot(time.monotonic())
        self._stop_children([self._writer], _WRITER_STOP_S)
        return code

    def _stop_children(self, children: list[ChildProcess], timeout_s: float) -> None:
        for child in children:
            child.ask_to_stop()
        deadline = time.monotonic() + timeout_s
        for child in children:
            if not child.wait(max(0.0, deadline - time.monotonic())):
                _log.error("%s: did not stop within %.0f s; killed", child.name, timeout_s)
                child.kill()
                child.wait(5.0)
            channel = child.channel
            if channel is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(channel)
            child.reap(time.monotonic())


def _is_hopeless(camera: ChildProcess) -> bool:
    """Whether a camera on a file failed, or has found nothing to read for too long."""
    waiting = camera.state == "running" and camera.stats.get("down_reason") and not camera.stats.get("frames")
    return camera.state == "failed" or bool(waiting and camera.uptime_s(time.monotonic()) >= _FILE_PATIENCE_S)


def main(argv: list[str] | None = None) -> int:
    """The command line; see workers/command_line.py for its words."""
    from workers import command_line

    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    return command_line.main(argv, Supervisor, beside=Path(__file__).resolve().parent)


if __name__ == "__main__":
    sys.exit(main())
