"""Reading processes for a benchmark, started and ended with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.benchmark.timing import ONE_THREAD
from tests.support.paths import ROOT


class Readers:
    """`count` processes of tests.benchmark.reading. A context manager."""

    def __init__(self, run_dir: Path, count: int) -> None:
        words = [sys.executable, "-m", "tests.benchmark.reading", str(run_dir)]
        self._processes = [
            subprocess.Popen(
                words,
                cwd=ROOT,
                env={**os.environ, **ONE_THREAD},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        self.gather()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def tell(self, command: str) -> None:
        """Give every process the command; `gather` takes their answers."""
        for process in self._processes:
            assert process.stdin is not None  # a pipe, by how it was started
            process.stdin.write(command + "\n")
            process.stdin.flush()

    def gather(self) -> list[dict[str, Any]]:
        answers = []
        for process in self._processes:
            assert process.stdout is not None  # the same
            answers.append(json.loads(process.stdout.readline()))
        return answers

    def ask(self, command: str) -> list[dict[str, Any]]:
        self.tell(command)
        return self.gather()

    def __enter__(self) -> Readers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
