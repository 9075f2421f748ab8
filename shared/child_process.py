"""The supervisor's side of one child: start it, hear its heartbeat, stop it, say how it ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.restart_policy import RestartPolicy

CHANNEL_VARIABLE = "ROLLCALL_SUPERVISOR_FD"
PARENT_VARIABLE = "ROLLCALL_SUPERVISOR_PID"
HEARTBEAT_TIMEOUT_S = 10.0
LOADING_TIMEOUT_S = 180.0  # a large model or a million references on a slow disk
_MAX_LINE = 64 << 10
_SYSTEMD_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # only the supervisor speaks to systemd
ROOT = Path(__file__).resolve().parent.parent


def child_environment() -> dict[str, str]:
    """What every child gets: ours, without what speaks to systemd, and with the way to our modules."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    kept = {key: value for key, value in os.environ.items() if key not in _SYSTEMD_VARIABLES}
    return {**kept, PARENT_VARIABLE: str(os.getpid()), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


class ChildProcess:
    """One child by name: at most one process at a time, started again as `policy` says."""

    def __init__(
        self, name: str, module: str, arguments: Sequence[str], settings: Mapping[str, Any], output: int | None = None
    ) -> None:
        """`output`: a descriptor for what the child prints; default: our standard error."""
        self.name, self.settings = name, settings
        self._module, self._arguments = module, list(arguments)
        self._output = output
        self.policy = RestartPolicy()
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self.stats: dict[str, Any] = {}
        self.exit_code: int | None = None
        self.restart_at: float | None = None
        self.restarts = 0
        self.stop_asked = False
        self._started_at = self._heard_at = 0.0
        self._partial = b""

    @property
    def running(self) -> bool:
        return self.process is not None

    @property
    def state(self) -> str:
        """starting, loading, running, ended, waiting (for its restart), stopped or failed."""
        if self.running:
            return str(self.stats.get("state", "starting"))
        if self.restart_at is not None:
            return "waiting"
        if self.exit_code == 0:
            return "ended" if self.stats.get("state") == "ended" else "stopped"
        return "stopped" if self.exit_code is None else "failed"

    def start(self) -> None:
        """Spawn the process. Its settings go through standard input: neither argv nor a second reading of the file."""
        ours, theirs = socket.socketpair()
        environment = {**child_environment(), CHANNEL_VARIABLE: str(theirs.fileno())}
        # A session of its own would outlive a terminal; a group of its own keeps Ctrl-C with the supervisor, which stops in order.
        process = subprocess.Popen(
            [sys.executable, "-m", self._module, *self._arguments, "--settings-stdin"],
            stdin=subprocess.PIPE,
            stdout=self._output or sys.stderr.fileno(),
            stderr=self._output,
            env=environment,
            pass_fds=[theirs.fileno()],
            process_group=0,
        )
        theirs.close()
        assert process.stdin is not None  # a pipe was asked for
        try:
            process.stdin.write(json.dumps(self.settings).encode() + b"\n")
            process.stdin.close()
        except BrokenPipeError:
            pass  # it died at once; the reaping says how
        ours.setblocking(False)
        self.process, self.channel = process, ours
        self.stats, self.exit_code, self.restart_at, self.stop_asked = {}, None, None, False
        self._started_at = self._heard_at = time.monotonic()
        self._partial = b""

    def hear(self) -> None:
        """Take in what the child wrote to its channel."""
        if self.channel is None:
            return
        try:
            data = self.channel.recv(_MAX_LINE)
        except (BlockingIOError, ConnectionResetError):
            return
        if not data:
            return
        self._heard_at = time.monotonic()
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._partial = self._partial[-_MAX_LINE:]
        for line in lines:
            self.stats.update(json.loads(line))

    def is_stuck(self, now: float) -> bool:
        """Whether the child's work loop has not proved progress for too long."""
        limit = HEARTBEAT_TIMEOUT_S if self.stats.get("state") == "running" else LOADING_TIMEOUT_S
        return self.running and now - self._heard_at > limit

    def heartbeat_age_s(self, now: float) -> float:
        return now - self._heard_at

    def uptime_s(self, now: float) -> float:
        return now - self._started_at

    def reap(self, now: float) -> int | None:
        """The exit code when the process has ended since the last call, its restart then planned; None otherwise."""
        if self.process is None:
            return None
        code = self.process.poll()
        if code is None:
            return None
        self.hear()
        if self.channel is not None:
            self.channel.close()
        self.process, self.channel, self.exit_code = None, None, code
        delay = None if self.stop_asked else self.policy.delay_s(code, now - self._started_at)
        self.restart_at = None if delay is None else now + delay
        return code

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def ask_to_stop(self) -> None:
        self.stop_asked = True
        self.restart_at = None
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; False when `timeout_s` passed first."""
        if self.process is None:
            return True
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def describe(self, now: float) -> dict[str, Any]:
        """For `status`: state, pid, restarts, uptime, and what the child says of itself."""
        return {
            "state": self.state,
            "pid": self.process.pid if self.process else None,
            "restarts": self.restarts,
            "exit_code": self.exit_code,
            "uptime_s": round(self.uptime_s(now), 1) if self.running else None,
            "heartbeat_age_s": round(self.heartbeat_age_s(now), 1) if self.running else None,
            **{key: value for key, value in self.stats.items() if key != "state"},
        }
