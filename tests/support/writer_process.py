"""Runs a site's writer without a supervisor, for tests that kill it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from tests.support.paths import ROOT


class WriterProcess:
    """The writer alone, started again at once whenever it is gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._closing = False
        self.starts = 0
        self._process = self._spawn()
        self._thread = threading.Thread(target=self._keep_alive)
        self._thread.start()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        words = [sys.executable, "-m", "workers.writer", "--config", str(self._folder / "site.toml")]
        return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)

    def _keep_alive(self) -> None:
        while not self._closing:
            self._process.wait()
            if not self._closing:
                self._process = self._spawn()

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> int:
        self._closing = True
        self._process.terminate()
        self._thread.join(30)
        return self._process.wait(30)
