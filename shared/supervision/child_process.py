"""The supervisor's end of one child: start it, read its heartbeat, stop it, get its exit code. No call here waits for the child."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

from shared.errors import EXIT_TEMPORARY
from shared.process.freed_memory import overwriting
from shared.process.program import PROGRAM_DIR
from shared.status import ChildState, ChildStatus
from shared.supervision.child_kinds import ChildKind
from shared.supervision.restart_policy import RestartPolicy
from shared.supervision.variables import CHANNEL_VARIABLE, PARENT_VARIABLE

HEARTBEAT_TIMEOUT_S = 10.0
# The time between two heartbeats may be longer while a child prepares or loads: a single step can be a model's first run, or a download
# that stalls.
LOADING_TIMEOUT_S = 180.0
_MAX_LINE = 64 << 10
_MAX_FIGURES = 64  # in a heartbeat; a line with more is ignored
_SYSTEMD_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # only the supervisor speaks to systemd


_OWN_STATES = (ChildState.STARTING, ChildState.LOADING, ChildState.RUNNING, ChildState.ENDED)


def child_environment(hidden: Collection[str] = ()) -> dict[str, str]:
    """The environment of a child: ours, with the path of our modules, and without two kinds of variables.

    These are systemd's, and those named in `hidden`, which may hold secrets that this child does not need.
    """
    path = os.pathsep.join(filter(None, [str(PROGRAM_DIR), os.environ.get("PYTHONPATH")]))
    kept = {key: value for key, value in os.environ.items() if key not in {*_SYSTEMD_VARIABLES, *hidden}}
    return {**kept, PARENT_VARIABLE: str(os.getpid()), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


# The variables that a process needs if it only computes: paths of programs, libraries and folders, the language, and how many threads
# libraries start.
_BARE = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "VIRTUAL_ENV", "LD_LIBRARY_PATH", PARENT_VARIABLE)
_BARE_FAMILIES = ("LC_", "PYTHON", "ORT_", "OMP_", "OPENBLAS_", "MKL_", "OPENCV_", "CUDA_", "NVIDIA_")


def bare_environment() -> dict[str, str]:
    """The environment of a child that reads untrusted files. It has nothing that could be a secret."""
    return {key: value for key, value in child_environment().items() if key in _BARE or key.startswith(_BARE_FAMILIES)}


class ChildProcess:
    """One child: at most one process at a time, restarted according to `policy`."""

    def __init__(
        self,
        name: str,
        kind: ChildKind,
        arguments: Sequence[str],
        settings: Mapping[str, Any],
        *,
        hidden: Collection[str] = (),
        output: int | None = None,
    ) -> None:
        """`settings`: what the child gets on standard input. `hidden`: variables of our environment that it does not get.
        `output`: a descriptor for what the child prints; default: our standard error."""
        self.name, self.settings, self.hidden = name, settings, hidden
        self.kind, self._arguments = kind, list(arguments)
        self._output = output
        self.policy = RestartPolicy(gives_up=kind.gives_up)
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self.said = kind.status()  # what it says of itself
        self.exit_code: int | None = None
        self.restart_at: float | None = None
        self.stop_asked = False
        self.start_refused = False
        self.killed_at: float | None = None
        self._started_at = self._heard_at = 0.0
        self._kill_at: float | None = None
        self._starts = 0  # with its current settings
        self._starts_again = False
        self._partial = b""

    @property
    def restarts(self) -> int:
        """How many times it was restarted with its current settings."""
        return max(0, self._starts - 1)

    @property
    def was_started(self) -> bool:
        """Whether it was started with its current settings."""
        return self._starts > 0

    @property
    def running(self) -> bool:
        """Whether there is a process that has not been reaped."""
        return self.process is not None

    @property
    def state(self) -> ChildState:
        """The state as `status` shows it."""
        if self.running:
            return ChildState.STOPPING if self.stop_asked else self.said.state
        if self.restart_at is not None:
            return ChildState.WAITING
        if self.exit_code == 0:
            return ChildState.ENDED if self.said.state is ChildState.ENDED else ChildState.STOPPED
        return ChildState.STOPPED if self.exit_code is None else ChildState.FAILED

    # --- start -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process. It gets its settings on standard input, so that they are not in argv and the file is not read again.

        Raises OSError if the system has no descriptor, process or memory left. Then nothing of the attempt remains.
        """
        self.said, self.exit_code, self.restart_at, self.stop_asked = self.kind.status(), None, None, False
        self.start_refused, self.killed_at, self._kill_at, self._starts_again = False, None, None, False
        self._partial = b""
        self._starts += 1
        ours, theirs = socket.socketpair()
        try:
            with theirs, _settings_file(self.settings) as settings:
                self.process = self._spawn(theirs.fileno(), settings)
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        self.channel = ours
        self._started_at = self._heard_at = time.monotonic()

    def _spawn(self, channel: int, settings: IO[bytes]) -> subprocess.Popen[bytes]:
        environment = {**child_environment(self.hidden), CHANNEL_VARIABLE: str(channel)}
        if self.kind.overwrites:
            environment = overwriting(environment)
        # The child gets a process group of its own, so that Ctrl-C reaches only the supervisor, which stops everything in order. It gets
        # no session of its own, with which it would outlive its terminal.
        with _hang_up_held_back():
            return subprocess.Popen(
                [sys.executable, "-m", "workers", self.kind.name, *self._arguments, "--settings-stdin"],
                stdin=settings,
                stdout=self._output or sys.stderr.fileno(),
                stderr=self._output,
                env=environment,
                pass_fds=[channel],
                process_group=0,
            )

    def start_failed(self, now: float) -> float:
        """Count a start that the system refused as a temporary failure. Returns when it is tried again (monotonic seconds)."""
        self.start_refused, self.exit_code = True, EXIT_TEMPORARY
        self.restart_at = now + (self.policy.delay_s(EXIT_TEMPORARY, 0.0) or 0.0)
        return self.restart_at

    # --- the heartbeat -----------------------------------------------------------------------------------------

    def read_heartbeats(self) -> bool:
        """Read what the child wrote to its channel. Returns False once the child has closed it."""
        if self.channel is None:
            return False
        try:
            data = self.channel.recv(_MAX_LINE)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:  # a reset: the child died before it read everything
            return False
        if not data:
            return False
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._partial = self._partial[-_MAX_LINE:]
        for line in lines:
            self._take_heartbeat(line)
        return True

    def _take_heartbeat(self, line: bytes) -> None:
        """Take one heartbeat. A line that is none is ignored: an attacker may control the child."""
        try:
            told = json.loads(line)
            if len(told) > _MAX_FIGURES or any(isinstance(value, list | dict) for value in told.values()):
                return
            said = self.said.updated(told)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return
        if said.state in _OWN_STATES:
            self.said, self._heard_at = said, time.monotonic()

    def is_stuck(self, now: float) -> bool:
        """Whether the child has sent no heartbeat for too long. A child that was asked to stop is judged by `is_overdue` instead."""
        if not self.running or self.stop_asked or self.was_killed:
            return False
        limit = HEARTBEAT_TIMEOUT_S if self.said.state is ChildState.RUNNING else LOADING_TIMEOUT_S
        return now - self._heard_at > limit

    def heartbeat_age_s(self, now: float) -> float:
        """How many seconds ago the last heartbeat came, or the start was."""
        return now - self._heard_at

    @property
    def heard_at(self) -> float:
        """When the last heartbeat came, or else when the child was started, in seconds of the monotonic clock."""
        return self._heard_at

    def uptime_s(self, now: float) -> float:
        """How many seconds ago the process was started."""
        return now - self._started_at

    def allow_for_pause(self, now: float, pause_s: float) -> None:
        """The machine was suspended for `pause_s`, so the child could send no heartbeat. Start its time limits anew."""
        self._heard_at = now
        if self._kill_at is not None:
            self._kill_at += pause_s

    # --- stop --------------------------------------------------------------------------------------------------

    def ask_to_stop(self, now: float) -> None:
        """Send SIGTERM. If the child has not ended within the grace of its kind, `is_overdue` becomes true."""
        self._starts_again = False
        self.restart_at = None
        if not self.stop_asked:
            self.stop_asked = True
            self._kill_at = now + self.kind.stop_grace_s
            self.signal(signal.SIGTERM)

    def restart(self, now: float) -> None:
        """Stop the child, and start it again once it has ended, with the settings that it has by then."""
        self.ask_to_stop(now)
        self._starts_again = True
        if not self.running:
            self._start_over(now)

    def _start_over(self, now: float) -> None:
        """Plan a start at once. Failures under the old settings do not count for the new ones."""
        self.policy.failures = self._starts = 0
        self.restart_at = now

    def is_overdue(self, now: float) -> bool:
        """Whether the child was asked to stop, its grace is over, and it was not killed yet."""
        return self.running and not self.was_killed and self._kill_at is not None and now >= self._kill_at

    @property
    def was_killed(self) -> bool:
        """Whether we killed the process because it hung."""
        return self.killed_at is not None

    def kill(self, now: float) -> None:
        """Send SIGKILL."""
        self.killed_at = now
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send the process a signal, if there is a process."""
        if self.process is not None:
            self.process.send_signal(number)

    def reap(self, now: float) -> int | None:
        """If the process has ended since the last call, plan its restart and return its exit code; else return None."""
        if self.process is None:
            return None
        code = self.process.poll()
        if code is None:
            return None
        self.read_heartbeats()
        if self.channel is not None:
            self.channel.close()
        self.process, self.channel, self.exit_code = None, None, code
        if self._starts_again:
            self._start_over(now)
        elif not self.stop_asked:
            delay = self.policy.delay_s(code, now - self._started_at)
            self.restart_at = None if delay is None else now + delay
        return code

    def status(self, now: float) -> ChildStatus:
        """What the child reports of itself, and what we know of it. It has its kind's type of status."""
        return replace(
            self.said,
            state=self.state,
            pid=self.process.pid if self.process else None,
            restarts=self.restarts,
            exit_code=self.exit_code,
            uptime_s=round(self.uptime_s(now), 1) if self.running else None,
            heartbeat_age_s=round(self.heartbeat_age_s(now), 1) if self.running else None,
        )


@contextlib.contextmanager
def _settings_file(settings: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    """The settings as a file in memory, for a child's standard input. A pipe would block if nobody read long settings from it."""
    descriptor = os.memfd_create("rollcall-settings") if sys.platform == "linux" else None
    with tempfile.TemporaryFile() if descriptor is None else os.fdopen(descriptor, "w+b") as file:
        file.write(json.dumps(settings).encode() + b"\n")
        file.seek(0)
        yield file


@contextlib.contextmanager
def _hang_up_held_back() -> Iterator[None]:
    """Let a child start with SIGHUP blocked, until it ignores the signal itself. So `kill -HUP` to a whole unit kills no child."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
