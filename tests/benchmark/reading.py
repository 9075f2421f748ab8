"""A process that reads a block for the benchmarks: it answers commands on standard input with JSON lines.

`python -m tests.benchmark.reading RUN_DIR`; commands: `match SECONDS` (match all the time), `private` (copy the gallery first),
`watch EVERY_S SECONDS AFTER_S` (look for news, at most so long after some), `touch`, `memory`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from shared.gallery.match import Rows, search
from shared.gallery.reader import GalleryReader
from tests.support.vectors import noise


class Reading:
    """The reader's state between commands."""

    def __init__(self, run_dir: Path) -> None:
        self.base_bytes = psutil.Process().memory_full_info().pss
        self.reader = GalleryReader(run_dir)
        self.rows: Rows | None = None
        self.probes = noise(np.random.default_rng(5), 64, self.reader.dim)

    def one_match(self, number: int) -> None:
        probe = self.probes[number % 64][None]
        if self.rows is None:
            self.reader.match(probe)
        else:
            search(self.rows, probe, 2)

    def match(self, seconds: float) -> dict[str, Any]:
        """Matches a second, in this process's own time."""
        end, count = time.monotonic() + seconds, 0
        began = time.monotonic()
        while time.monotonic() < end:
            self.one_match(count)
            count += 1
        return {"matches": count, "seconds": time.monotonic() - began}

    def private(self) -> dict[str, Any]:
        """From now on match in a copy of its own."""
        segment, n = self.reader.segment, self.reader.rows
        self.rows = Rows(
            segment.codes[:n].copy(),
            segment.scales[:n].copy(),
            segment.errors[:n].copy(),
            segment.references[:n].copy(),
            segment.persons[:n].copy(),
        )
        return {}

    def watch(self, every_s: float, seconds: float, after_s: float) -> dict[str, Any]:
        """Look every `every_s` seconds, 0: match in between; when each new row count was seen (CLOCK_MONOTONIC, ns), and gaps.

        For `seconds`, or until nothing new was seen for `after_s` after something was.
        """
        seen: list[tuple[int, int]] = []
        gaps: list[float] = []
        latest, number, last = time.monotonic() + seconds, 0, time.perf_counter()
        end = latest
        while time.monotonic() < end:
            if self.reader.refresh():
                seen.append((self.reader.rows, time.monotonic_ns()))
                end = min(latest, time.monotonic() + after_s)
            if every_s:
                time.sleep(every_s)
            else:
                self.one_match(number)
                number += 1
            now = time.perf_counter()
            gaps.append(now - last)
            last = now
        worst = sorted(gaps)[-3:]
        return {"seen": seen, "worst_ms": [gap * 1e3 for gap in worst],
                "median_ms": float(np.median(gaps)) * 1e3}  # fmt: skip

    def touch(self) -> dict[str, Any]:
        """Every page of codes and references."""
        if self.rows is None:
            for section in (self.reader.segment.codes, self.reader.segment.references):
                section[: self.reader.rows].reshape(-1)[::1024].max(initial=0)
        return {}

    def memory(self) -> dict[str, Any]:
        """PSS of this process, and what it was before it had a gallery; bytes. It counts once every process has touched all."""
        return {"pss": psutil.Process().memory_full_info().pss, "base": self.base_bytes}


def main() -> None:
    reading = Reading(Path(sys.argv[1]))
    commands = {
        "match": reading.match,
        "private": reading.private,
        "watch": reading.watch,
        "touch": reading.touch,
        "memory": reading.memory,
    }
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        name, *numbers = line.split()
        answer = commands[name](*(float(number) for number in numbers))  # type: ignore[operator]  # by its own arity
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
