"""Rollcall's entry point and its supervisor. `python supervisor.py` runs a site; `python supervisor.py COMMAND` runs a command.

The supervisor starts the site's processes, watches them, and restarts those that crash or hang. It never touches a
picture or a database row. Signal handlers only put the signal in a queue; everything else happens in one loop.
"""

from __future__ import annotations

import sys

from shared.process import early_signals, freed_memory

if __name__ == "__main__":
    if sys.argv[1:2] in ([], ["run"]) or sys.argv[1].startswith("-"):  # only for a site: the other commands are short
        freed_memory.start_over()
    # Before the slow imports: a signal to reload or stop that arrives during them must not kill us.
    early_signals.hold()
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
from typing import cast

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
        from shared.events import Sighting
        from shared.files.folder_lock import LockedError
        from shared.files.private_folder import make_private_folder
        from shared.files.run_folder import is_in_memory, is_read_only
        from shared.files.run_folder_lock import hold_run_folder
        from shared.ipc.client import site_is_running
        from shared.ipc.following import EventStream
        from shared.printing import start_logging
        from shared.process.private_memory import keep_memory_private
        from shared.settings.file import load_settings
        from shared.settings.schema import Settings
        from shared.status import CameraStatus, ChildState, SiteSnapshot, WriterStatus
        from shared.store.lock import SiteLock
        from shared.supervision import systemd_notify
        from shared.supervision.child_kinds import (
            CAMERA,
            INFERENCE,
            KINDS,
            PREPARE,
            WRITER,
            ChildKind,
            RunOptions,
            is_needed,
        )
        from shared.supervision.child_process import LOADING_TIMEOUT_S, ChildProcess
        from shared.supervision.reload import ChildId, plan_reload
        from shared.supervision.status_reporter import StatusReporter
except ConfigurationError as fault:  # printed here, since every command needs the same libraries
    sys.stderr.write(f"{fault.line()}\n")
    sys.exit(fault.exit_code)

_log = logging.getLogger("rollcall")

_TURN_S = 0.2
_LATE_S = 5.0  # our own work never takes this long: after such a turn, the whole machine stood still
_UNKILLABLE_S = 5.0  # a killed process that still exists after this time hangs in a disk or a driver
_FILE_PATIENCE_S = 10.0  # a camera that has read no frame of its file by then will not read one
_EXTEND_EVERY_S = 5.0
# How much time we ask systemd for at each sign of progress. It is longer than the time after which we kill a child that hangs.
_EXTEND_US = int((LOADING_TIMEOUT_S + 30.0) * 1e6)
# Environment variables that a child gets only if its own settings name them: where the backend is, and how to log in to its database.
_SECRETS = frozenset({"BACKEND_API", "MONGODB_URI"})
# Never hidden from a child, even if a camera's source names one of them: without them a process may not start.
_ORDINARY = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"})
_CREDENTIALS = "CREDENTIALS_DIRECTORY"  # systemd's folder of secrets; only cameras whose source names a variable get it
_SETTLED = (ChildState.RUNNING, ChildState.ENDED, ChildState.WAITING, ChildState.STOPPED, ChildState.FAILED)
_WRITER_CHECKS = 10
_OVER = (ChildState.ENDED, ChildState.STOPPED, ChildState.FAILED)


class Supervisor:
    """One site and its child processes. child_kinds.py lists the kinds, and the order in which they start and stop.

    The loop repeats `_turn`. A turn starts a process, asks it to stop or kills it, and goes on: it never waits for what the
    process does then. Later turns see that, and act on it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_event: Callable[[Sighting], None],
        until_ended: bool = False,
        assume_model: bool = False,
        child_output: int | None = None,
    ) -> None:
        """`on_event`: called with each sighting, on a thread of its own. `until_ended`: stop once every camera's file has ended.

        `assume_model`: the option --assume-model, for the process `prepare`. `child_output`: a descriptor for the
        children's log; default: our standard error.
        """
        self.settings = settings
        self._child_output = child_output
        self._on_event, self._until_ended = on_event, until_ended
        self._options = RunOptions(assume_model)
        self._children: dict[ChildId, ChildProcess] = {}
        self._writer = self._add(WRITER, WRITER.name)
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._wake_reader, self._wake_writer = os.pipe()
        for descriptor in (self._wake_reader, self._wake_writer):
            os.set_blocking(descriptor, False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._stopping = False
        self._reload_asked = False
        self._reloads = 0
        self._reload_faults: tuple[str, ...] = ()  # of the last reload
        self._awaits_restart: tuple[str, ...] = ()
        self._awaited: ChildKind | None = None  # if a child of this kind ends, the site ends
        self._runs = False  # once True, a reload can be carried out
        self._ready = False
        self._turned_at = time.monotonic()
        self._extended_at = self._progress_at = 0.0
        self._watchdog_s = systemd_notify.watchdog_interval_s()
        self._watchdog_at = 0.0
        self._snapshot_lock = threading.Lock()
        self._snapshot: SiteSnapshot | None = None
        self._told_status = ""  # the status line that systemd has
        self._down_since: dict[str, str] = {}  # camera → when it was first found down; wall time
        # The last snapshot's key facts: when they change, we report at once.
        self._outline: list[tuple[object, ...]] = []
        self._reporter: StatusReporter | None = None
        self._started_at = time.monotonic()

    def run(self) -> int:
        """Run the site until it is asked to stop, or its files have ended. Returns the exit code.

        Raises TemporaryError when another site runs on the same data_dir.
        """
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
            self._install_signals()
            self._take_signals()
            if self._stopping:
                return EXIT_DONE  # asked to stop before any child was started
            self._turned_at = time.monotonic()
            return self._run_held()

    def ask_to_stop(self) -> None:
        """Stop in order, as SIGTERM does. Safe from any thread."""
        self._queue_signal(signal.SIGTERM, None)

    def snapshot(self) -> SiteSnapshot | None:
        """The state of every child, as the command `status` shows it. None until the first one is there. Safe from any thread."""
        with self._snapshot_lock:
            return self._snapshot

    # --- start -------------------------------------------------------------------------------------------------

    def _add(self, kind: ChildKind, name: str) -> ChildProcess:
        """Make a child of the site; it is not started yet."""
        child = ChildProcess(name, kind, kind.arguments(name, self._options), {}, output=self._child_output)
        self._children[kind.name, name] = child
        return child

    def _equip(self, child: ChildProcess) -> None:
        """Give a child its settings. Of the secrets it gets only those that its own settings name."""
        needed = set(child.kind.variables(self.settings, child.name))
        child.settings = child.kind.told(self.settings, child.name)
        all_variables = self.settings.variables() | self.settings.backend_variables()
        child.hidden = (all_variables | _SECRETS) - needed - _ORDINARY
        if not needed:
            child.hidden |= {_CREDENTIALS}

    def _run_held(self) -> int:
        """Start every child, run the loop, stop every child. Returns the exit code."""
        for kind in filter(is_needed, KINDS):
            code = self._start_needed(kind)
            if code is not None or self._stopping:
                return self._stop(code or EXIT_DONE)
        events = EventStream(self.settings.run_dir, self._on_event)
        self._take_snapshot(time.monotonic())
        with events, StatusReporter(self.settings.run_dir, self.snapshot) as self._reporter:
            while not events.following and not self._stopping:
                self._turn()  # cameras start only once we follow the sightings, so that their first is not missed
            for kind in KINDS:
                if not is_needed(kind):
                    self._start_all(kind)
            self._runs = True
            while not self._stopping:
                self._turn()
                if self._until_ended and self._files_have_ended():
                    return self._stop(self._code_of_ended())
                if self._has_lost_run_folder():
                    _log.error("the disk with the run folder became read-only: the site ends, to start anew without it")
                    return self._stop(EXIT_TEMPORARY)
            return self._stop(EXIT_DONE)

    def _start_needed(self, kind: ChildKind) -> int | None:
        """Start the children that the site can't begin without, and wait until they are ready.

        Returns None once they are ready or a stop was asked for. If one of them ends before, returns the site's exit code.
        There is no time limit while they make progress: the first start of a site may embed thousands of photos.
        """
        systemd_notify.notify(f"STATUS=starting: {kind.name}")
        self._awaited = kind
        children = self._start_all(kind)
        while not (self._stopping or all(map(_is_ready, children))):
            self._turn()
            for child in children:
                if child.exit_code is not None and not (child.start_refused or _is_ready(child)):
                    child.restart_at = None
                    return _site_code(child)
        self._awaited = None
        return None

    def _start_all(self, kind: ChildKind) -> list[ChildProcess]:
        children = [
            self._children.get((kind.name, name)) or self._add(kind, name) for name in kind.names(self.settings)
        ]
        for child in children:
            if not self._stopping:
                self._spawn(child, time.monotonic())
        return children

    def _spawn(self, child: ChildProcess, now: float) -> None:
        """Start a child's process. If the system refuses it (no descriptors, processes or memory left), try again later, as after a crash."""
        self._equip(child)
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

    # --- the loop ----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._wait(_TURN_S)
        self._allow_for_pause(time.monotonic())
        self._take_signals()
        now = time.monotonic()
        for child in self._children.values():
            self._kill_stuck(child, now)
            self._reap(child, now)
            self._restart_due(child, now)
        self._drop_ended()
        self._tell_systemd(now)
        self._take_snapshot(now)

    def _wait(self, timeout_s: float) -> None:
        """Wait for a signal or a heartbeat, at most `timeout_s`, and read the heartbeats that came."""
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_reader, 4096)
            elif not key.data.read_heartbeats():
                self._selector.unregister(key.fileobj)  # the child closed it; `_reap` finds out how the process ended

    def _allow_for_pause(self, now: float) -> None:
        """After the whole machine stood still, no child could have sent a heartbeat: give each its full time again."""
        late_s = now - self._turned_at - _TURN_S
        self._turned_at = now
        if late_s < _LATE_S:
            return
        _log.warning("the machine stood still for %.0f s; nothing is restarted for that", late_s)
        for child in self._children.values():
            child.allow_for_pause(now, late_s)

    def _kill_stuck(self, child: ChildProcess, now: float) -> None:
        if child.is_overdue(now):
            _log.error("%s: did not stop within its grace; killed", child.name)
            child.kill(now)
        elif child.is_stuck(now):
            _log.error("%s: no progress for %.0f s; killed", child.name, child.heartbeat_age_s(now))
            child.kill(now)

    def _reap(self, child: ChildProcess, now: float) -> None:
        channel = child.channel
        code = child.reap(now)
        if code is None:
            return
        if channel is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(channel)
        self._log_end(child, code, now)

    def _restart_due(self, child: ChildProcess, now: float) -> None:
        if child.restart_at is not None and now >= child.restart_at and not self._stopping:
            self._spawn(child, now)

    def _log_end(self, child: ChildProcess, code: int, now: float) -> None:
        if child.stop_asked or child.state is ChildState.ENDED or (child.kind.ends and code == EXIT_DONE):
            return
        how = _how_ended(child)
        if child.kind is self._awaited:
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
        """Whether a child that makes its socket in the run folder has ended and can't be restarted, because no file can be made there any more."""
        run_dir = self.settings.run_dir
        listening = [self._writer, *(one for one in self._children.values() if one.kind is INFERENCE)]
        is_lost = any(not one.running for one in listening) and not is_in_memory(run_dir)
        return is_lost and is_read_only(run_dir)

    def _files_have_ended(self) -> bool:
        """Whether every camera that reads a file with an end is finished: ended, stopped, failed, or never able to read it."""
        unread = self._unread_files()
        return all(name in unread or camera.state in _OVER for name, camera in self._cameras_on_files())

    def _code_of_ended(self) -> int:
        """The exit code once every file has ended: EXIT_DONE only if every file was read and every sighting is stored."""
        if any(_said(camera).unsent for _, camera in self._cameras_on_files()):
            _log.error("not everything that was seen could be stored")
            return EXIT_TEMPORARY
        return EXIT_REFUSED if self._unread_files() else EXIT_DONE

    def _unread_files(self) -> set[str]:
        """Names of the cameras that failed, or got no frame from their file in far more time than a good file needs to open."""
        return {name for name, camera in self._cameras_on_files() if _is_hopeless(camera)}

    def _cameras_on_files(self) -> list[tuple[str, ChildProcess]]:
        """Cameras that read a file with an end. Cameras that a reload removed, and that are still stopping, do not count."""
        known = self.settings.cameras
        return [(name, one) for name, one in self._cameras().items() if name in known and self.settings.ends(name)]

    def _cameras(self) -> dict[str, ChildProcess]:
        return {child.name: child for child in self._children.values() if child.kind is CAMERA}

    # --- signals and reload ------------------------------------------------------------------------------------

    def _install_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # a demo or a test that runs the site on a thread calls `ask_to_stop` instead
        self._signals += early_signals.hand_over(self._queue_signal)

    def _queue_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the handler's signature
        self._signals.append(number)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"x")

    def _take_signals(self) -> None:
        """Act on the queued signals. A reload that is asked for while the site starts waits until the site runs."""
        while self._signals:
            if self._signals.pop(0) == signal.SIGHUP:
                self._reload_asked = True
            else:
                self._stopping = True
        if self._reload_asked and self._runs and not self._stopping:
            self._reload_asked = False
            self._reload()

    def _reload(self) -> None:
        """Read the settings file again. Only children whose settings changed restart. A file with any fault changes nothing."""
        systemd_notify.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            fresh = replace(load_settings(self.settings.path), held_run_dir=self.settings.held_run_dir)
            if fresh.data_dir != self.settings.data_dir:
                raise ConfigurationError(
                    "the data folder can't change while the site runs",
                    where=f"{fresh.path}: [site] data_dir",
                    remedy="undo it, or restart the site",
                )
            self._require_model_of_gallery(fresh)
        except (RollcallError, OSError, ImportError) as error:
            fault = _fault(error)
            faults = fault.faults if isinstance(fault, FaultList) else [fault]
            self._reload_faults = tuple(one.line() for one in faults)
            for line in self._reload_faults:
                _log.error("reload refused: %s", line)
            _log.error("reload refused: the site goes on with the settings it has")
        else:
            self._reload_faults = ()
            self._keep_site(fresh)
            self._apply(replace(fresh, site=self.settings.site), time.monotonic())
        self._reloads += 1
        systemd_notify.notify("READY=1")

    def _keep_site(self, fresh: Settings) -> None:
        """Note which settings of [site] are in force only after a restart: the writer and the cameras go on with those that they began with."""
        own = dict(self.settings.site)
        changed = (key for key, value in dict(fresh.site).items() if value != own[key])
        self._awaits_restart = tuple(f"[site] {key}" for key in changed)
        for key in self._awaits_restart:
            _log.warning("%s is in force after a restart of the site", key)

    def _require_model_of_gallery(self, fresh: Settings) -> None:
        """Raise ConfigurationError when the file names another model than the gallery's.

        `models use` switches the gallery first, and cameras follow the gallery; the file comes after.
        """
        from shared.gallery.reader import GalleryReader  # imports numpy, which the supervisor otherwise does not load

        with GalleryReader(fresh.run_dir) as gallery:
            wanted = fresh.model_label
            if gallery.model not in ("", wanted):
                raise ConfigurationError(
                    "the gallery is of another model",
                    where=f"{fresh.path}: [recognition] model",
                    got=wanted,
                    expected=gallery.model,
                    remedy=f"undo it, or switch with: supervisor.py models use {fresh.model}",
                )

    def _apply(self, fresh: Settings, now: float) -> None:
        """Ask every changed child at once to stop, restart or start; the loop carries it out."""
        plan, self.settings = plan_reload(self.settings, fresh), fresh
        for one in plan.stop:
            self._children[one].ask_to_stop(now)
            _log.info("%s: stopped: no longer configured", one[1])
        for one in plan.restart:
            self._children[one].restart(now)
            _log.info("%s: restarted with its new settings", one[1])
        for kind in KINDS:
            for name in kind.names(fresh):
                if (kind.name, name) in plan.start:
                    self._start_or_restart(kind, name, now)
        _log.info("reloaded %s", fresh.path)

    def _start_or_restart(self, kind: ChildKind, name: str, now: float) -> None:
        """Start a child. If its former process is still stopping, it starts again as soon as that has ended."""
        child = self._children.get((kind.name, name))
        if child is None:
            self._spawn(self._add(kind, name), now)
        else:
            child.restart(now)
            _log.info("%s: restarted with its new settings", name)

    def _drop_ended(self) -> None:
        """Once its process has ended, remove a child that has done its work or is no longer configured."""
        if self._stopping:
            return  # while the site stops, `status` shows every child to the end
        for one, child in list(self._children.items()):
            is_done = child.kind.ends and child.exit_code == EXIT_DONE
            if not child.running and (is_done or child.name not in child.kind.names(self.settings)):
                del self._children[one]
                self._down_since.pop(child.name, None)

    # --- reports to systemd and to `status` --------------------------------------------------------------------

    def _tell_systemd(self, now: float) -> None:
        if not self._runs:
            self._extend_start(now)
            return
        cameras = self._cameras()
        up = sum(one.state is ChildState.RUNNING and _said(one).up for one in cameras.values())
        status = f"STATUS={up} of {len(cameras)} cameras up"
        if not self._ready and all(child.state in _SETTLED for child in self._children.values()):
            self._ready = True
            self._told_status = status
            systemd_notify.notify("READY=1", status)
            _log.info("the site runs: %d cameras", len(cameras))
        if not self._ready:
            self._extend_start(now)
        if self._ready and status != self._told_status:
            self._told_status = status
            systemd_notify.notify(status)
        if self._watchdog_s and now >= self._watchdog_at:
            # This proves only that our loop runs. If a writer or camera hangs, the loop itself kills and restarts it.
            self._watchdog_at = now + self._watchdog_s
            systemd_notify.notify("WATCHDOG=1")

    def _extend_start(self, now: float) -> None:
        """While the site starts, ask systemd for more time, but only after a child has made progress."""
        heard_at = max(child.heard_at for child in self._children.values())
        if heard_at > self._progress_at and now >= self._extended_at + _EXTEND_EVERY_S and not self._stopping:
            self._extended_at, self._progress_at = now, heard_at
            systemd_notify.notify(f"EXTEND_TIMEOUT_USEC={_EXTEND_US}")

    def _camera_status(self, camera: ChildProcess, now: float) -> CameraStatus:
        """The camera's last report; not `up` unless its state is RUNNING. `down_since`: since when it has not been up."""
        status = cast(CameraStatus, camera.status(now))
        if camera.state is not ChildState.RUNNING:
            status = replace(status, up=False, down_reason=self._why_without_process(camera, now))
        if status.up or camera.state is ChildState.ENDED:
            self._down_since.pop(camera.name, None)
            return status
        since = self._down_since.setdefault(camera.name, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
        return replace(status, down_since=since)

    @staticmethod
    def _why_without_process(camera: ChildProcess, now: float) -> str | None:
        if camera.state is ChildState.WAITING and camera.restart_at is not None:
            return f"its process {_how_ended(camera)}; started again in {max(0.0, camera.restart_at - now):.0f} s"
        if camera.state is ChildState.FAILED:
            return f"its process {_how_ended(camera)}; not started again until its settings are mended"
        return None

    def _take_snapshot(self, now: float) -> None:
        snapshot = SiteSnapshot(
            self.settings.site.name,
            os.getpid(),
            self._ready,
            round(now - self._started_at, 1),
            cast(WriterStatus, self._writer.status(now)),
            {name: self._camera_status(one, now) for name, one in self._cameras().items()},
            {one.name: one.status(now) for one in self._children.values() if one.kind not in (PREPARE, WRITER, CAMERA)},
            self._reloads,
            self._reload_faults,
            self._awaits_restart,
        )
        with self._snapshot_lock:
            self._snapshot = snapshot
        if (outline := snapshot.outline) != self._outline:
            self._outline = outline
            if self._reporter is not None:
                self._reporter.changed()

    # --- stop --------------------------------------------------------------------------------------------------

    def _stop(self, code: int) -> int:
        """Stop the kinds of children in their order, each child with a deadline. Returns the site's exit code."""
        self._stopping = True
        systemd_notify.notify("STOPPING=1")
        undrained = EXIT_DONE
        for turn in sorted({kind.stop_turn for kind in KINDS}):
            if turn == WRITER.stop_turn and self._writer.was_started and not self._writer.running and code == EXIT_DONE:
                _log.error("the writer did not run when the site stopped; the last sightings are not kept")
                code = EXIT_TEMPORARY
            children = [child for child in self._children.values() if child.kind.stop_turn == turn]
            undrained = self._stop_children(children) or undrained
        if self._writer.was_started and self._writer.exit_code != EXIT_DONE:
            self._remove_block()
            # A writer that loads has received nothing yet.
            served = self._writer.said.state is ChildState.RUNNING
            if served and code == undrained == EXIT_DONE:
                _log.error(
                    "writer: %s while it stopped; not everything that was seen may be stored", _how_ended(self._writer)
                )
                code = EXIT_TEMPORARY
        return code or undrained

    def _remove_block(self) -> None:
        """Remove the gallery from shared memory after a crash of the writer; a writer that ends in order does so itself."""
        lock = SiteLock(self.settings.db_path)  # under the lock: a writer that somebody started by hand keeps its block
        try:
            # Imports numpy, which the supervisor otherwise does not load.
            from shared.gallery.files import remove_left_behind

            lock.acquire(0.0)
            try:
                remove_left_behind(self.settings.run_dir)
            finally:
                lock.release()
        except (OSError, RollcallError, ImportError) as error:
            _log.error("the gallery in shared memory is not removed: %s", _fault(error).line())

    def _stop_children(self, children: list[ChildProcess]) -> int:
        """Ask all of them to stop, and run the loop until they have ended. Returns EXIT_TEMPORARY if one had to be killed."""
        now = time.monotonic()
        for child in children:
            child.ask_to_stop(now)
        while any(child.running and not _is_unkillable(child) for child in children):
            self._turn()
        return EXIT_TEMPORARY if any(child.was_killed for child in children) else EXIT_DONE


def _fault(error: OSError | ImportError | RollcallError) -> RollcallError:
    if isinstance(error, RollcallError):
        return error
    return disk_fault(error) if isinstance(error, OSError) else library_fault(error)


def _is_ready(child: ChildProcess) -> bool:
    """Whether the children that need this one can start."""
    return child.exit_code == EXIT_DONE if child.kind.ends else child.state is ChildState.RUNNING


def _is_unkillable(child: ChildProcess) -> bool:
    return child.killed_at is not None and time.monotonic() > child.killed_at + _UNKILLABLE_S


def _how_ended(child: ChildProcess) -> str:
    """How a child's process ended, in words for the log and for `status`."""
    code = child.exit_code or 0
    if child.start_refused:
        return "could not be started"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _site_code(child: ChildProcess) -> int:
    """The exit code of a site that can't begin because this child has ended. It is never 0: the site did not do its work."""
    if child.was_killed:
        return EXIT_TEMPORARY
    return EXIT_BUG if child.exit_code is None or child.exit_code < 0 else child.exit_code or EXIT_BUG


def _is_hopeless(camera: ChildProcess) -> bool:
    """Whether a camera that reads a file has failed, or is down and has read no frame `_FILE_PATIENCE_S` after its start."""
    said = _said(camera)
    waiting = camera.state is ChildState.RUNNING and said.down_reason and not said.frames
    return camera.state is ChildState.FAILED or bool(waiting and camera.uptime_s(time.monotonic()) >= _FILE_PATIENCE_S)


def _said(camera: ChildProcess) -> CameraStatus:
    return cast(CameraStatus, camera.said)


def _is_silent(run_dir: Path) -> bool:
    """Whether no writer answers. The writer of a supervisor that was killed a moment ago gets two seconds to end."""
    for _ in range(_WRITER_CHECKS):
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
    """Run the command line, which workers/commands/command_line.py defines. Returns the exit code."""
    from workers.commands import command_line

    keep_memory_private()
    start_logging()
    return command_line.main(argv, Supervisor, beside=Path(__file__).resolve().parent)


if __name__ == "__main__":
    sys.exit(main())
