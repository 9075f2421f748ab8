"""A child as the supervisor starts it: settings on standard input, heartbeats on a channel."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shared.settings.file import load_settings
from shared.settings.schema import Settings
from shared.supervision.variables import CHANNEL_VARIABLE
from tests.support.paths import ROOT


class ChannelProcess:
    """`words`: what Python is to run. `status`: the latest heartbeat. `process`: with all output in one pipe."""

    def __init__(self, folder: Path, *words: str) -> None:
        ours, theirs = socket.socketpair()
        self._channel, self._unread = ours, b""
        self.status: dict[str, Any] = {}
        self.settings: Settings = load_settings(folder / "site.toml")
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, CHANNEL_VARIABLE: str(theirs.fileno()), "PYTHONPATH": str(ROOT)},
            pass_fds=[theirs.fileno()], cwd=folder,
        )  # fmt: skip  # options by kind
        theirs.close()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(self.told()) + "\n")
        self.process.stdin.close()
        self.process.stdin = None

    def told(self) -> Mapping[str, Any]:
        """What the process gets on standard input: the settings. A camera gets less."""
        return self.settings.to_json()

    def wait_for(self, ready: Callable[[dict[str, Any]], bool], deadline_s: float = 30.0) -> dict[str, Any]:
        """The first heartbeat that is `ready`."""
        end = time.monotonic() + deadline_s
        while not ready(self.status):
            left = end - time.monotonic()
            assert left > 0, f"the last heartbeat was {self.status}"
            self._channel.settimeout(left)
            chunk = self._channel.recv(65536)
            assert chunk, f"it ended: {self.output()}"
            *lines, self._unread = (self._unread + chunk).split(b"\n")
            for line in lines:
                self.status = json.loads(line)
        return self.status

    def output(self) -> str:
        return self.process.communicate(timeout=30)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=30)
        self._channel.close()
