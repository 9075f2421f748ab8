"""One real site for a test: starts, stops and signals it, and waits for its output, always with a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from shared.files.run_folder import site_prefix
from shared.gallery.files import shm_folder
from shared.ipc.client import SiteClient
from shared.ipc.requests.site import Status
from shared.service.access import RunningSite
from shared.settings.file import load_settings
from shared.settings.schema import Settings
from tests.support.live_folders import files_under
from tests.support.paths import ROOT

SUPERVISOR = ROOT / "supervisor.py"
_WITH_LIMITS = f"""
import functools, importlib, json, sys
sys.path.insert(0, {str(ROOT)!r})
for name, value in json.loads(sys.argv.pop(1)).items():
    module, _, path = name.partition(":")
    if not path:
        module, _, path = name.rpartition(".")
    *way, constant = path.split(".")
    target = functools.reduce(getattr, way, importlib.import_module(module))
    assert hasattr(target, constant), name
    object.__setattr__(target, constant, value) if way else setattr(target, constant, value)
import supervisor
sys.exit(supervisor.main())
"""


def command(
    folder: Path, *words: str, timeout_s: float = 120.0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`supervisor.py WORDS` in `folder`, to its end."""
    return subprocess.run(
        [sys.executable, str(SUPERVISOR), *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def command_json(folder: Path, *words: str, expect: int = 0, timeout_s: float = 120.0, **environment: str) -> Any:
    """The JSON document that a command prints; it must end with `expect`."""
    done = command(folder, *words, "--json", timeout_s=timeout_s, **environment)
    assert done.returncode == expect, done.stderr + done.stdout
    return json.loads(done.stdout)


class SiteProcess:
    """`run --json` on `folder`/site.toml. `events` and `log` grow as the site speaks."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.folder, self._options = folder, options
        self._program = [str(SUPERVISOR)]
        self._environment = {**os.environ, **environment}
        self.events: list[dict[str, Any]] = []
        self.log: list[str] = []
        self._news = threading.Condition()
        self.process: subprocess.Popen[str]

    def with_limits(self, limits: Mapping[str, float]) -> SiteProcess:
        """With times of the supervisor shortened, as {"module.NAME": seconds} or {"module:OBJECT.name": seconds}.

        All else is the program as it is.
        """
        self._program = ["-c", _WITH_LIMITS, json.dumps(limits)]
        return self

    @property
    def settings(self) -> Settings:
        return load_settings(self.folder / "site.toml")

    def start(self) -> SiteProcess:
        self.process = subprocess.Popen(
            [sys.executable, *self._program, "run", "--json", *self._options],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for stream, take in ((self.process.stdout, self._take_event), (self.process.stderr, self.log.append)):
            threading.Thread(target=self._read, args=(stream, take), daemon=True).start()
        return self

    def _read(self, stream: Any, take: Callable[[str], None]) -> None:
        for line in stream:
            with self._news:
                take(line.rstrip("\n"))
                self._news.notify_all()

    def _take_event(self, line: str) -> None:
        self.events.append(json.loads(line))

    def wait_for(self, ready: Callable[[], Any], what: str, deadline_s: float = 60.0) -> Any:
        """What `ready` returns once it is true; it is asked whenever the site says something, and twice a second."""
        end = time.monotonic() + deadline_s
        with self._news:
            while not (found := ready()):
                left = end - time.monotonic()
                assert left > 0, f"no {what} within {deadline_s} s; log:\n" + "\n".join(self.log[-40:])
                self._news.wait(min(left, 0.5))
        return found

    def wait_for_event(self, deadline_s: float = 60.0, after: int = 0, **wanted: Any) -> dict[str, Any]:
        """The first event, from the `after`-th on, that has all the `wanted` fields."""

        def find() -> dict[str, Any] | None:
            matching = (e for e in self.events[after:] if all(e.get(key) == value for key, value in wanted.items()))
            return next(matching, None)

        found: dict[str, Any] = self.wait_for(find, f"event {wanted}", deadline_s)
        return found

    def wait_for_log(self, text: str, deadline_s: float = 60.0) -> str:
        """The first log line that contains `text`."""
        line: str = self.wait_for(
            lambda: next((one for one in self.log if text in one), None), f"log {text!r}", deadline_s
        )
        return line

    def wait_until_ready(self, deadline_s: float = 120.0) -> SiteProcess:
        self.wait_for_log("the site runs", deadline_s)
        return self

    def status(self) -> dict[str, Any]:
        client = SiteClient(self.settings.run_dir)
        try:
            status = client.ask(Status())
        finally:
            client.close()
        return {**(status.site.to_json() if status.site else {}), "gallery": status.gallery.to_json()}

    def child_pid(self, name: str) -> int:
        """Pid of a child, as `status` has it."""

        def find() -> int | None:
            status = self.status()
            children = {"writer": status.get("writer"), **status.get("cameras", {}), **status.get("processes", {})}
            child = children.get(name)
            return child.get("pid") if child else None

        pid: int = self.wait_for(find, f"pid of {name}")
        return pid

    def wait_for_child(self, kind: str, deadline_s: float = 30.0) -> psutil.Process:
        """The writer's, a camera's or `prepare`'s process as soon as there is one, in its first moments."""
        end, pause = time.monotonic() + deadline_s, threading.Event()
        while time.monotonic() < end:
            for process in psutil.Process(self.process.pid).children():
                with contextlib.suppress(psutil.Error):
                    if ["-m", "workers", kind] == process.cmdline()[1:4]:
                        return process
            pause.wait(0.005)
        raise AssertionError(f"no {kind} within {deadline_s} s; log:\n" + "\n".join(self.log[-40:]))

    def wait_for_new_pid(self, name: str, old: int) -> int:
        """The pid of the process that took `old`'s place; status is at most a second behind."""

        def find() -> int | None:
            pid = self.child_pid(name)
            return pid if pid != old else None

        pid: int = self.wait_for(find, f"new process for {name}")
        return pid

    def check(self) -> list[str]:
        """The product's own proof of soundness, as `check` makes it of a running site."""
        site = RunningSite(self.settings)
        try:
            return site.check()
        finally:
            site.close()

    def segments(self) -> list[str]:
        """The site's files in shared memory."""
        run_dir = self.settings.run_dir
        folders = shm_folder(run_dir).glob(site_prefix(run_dir) + "*")
        return sorted(path.name for folder in folders for path in files_under(folder))

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def sighup(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def wait(self, deadline_s: float = 60.0) -> int:
        return self.process.wait(deadline_s)

    def stop(self, deadline_s: float = 30.0) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(deadline_s)

    def __enter__(self) -> SiteProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
