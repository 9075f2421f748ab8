"""What growth costs: a match in twice the gallery, and how long a reader is held up when a generation is replaced.

`python -m tests.benchmark.grow [--rows 1000000] [--runs 15] [--times 3] [--json]`

- doubling: a match of one probe at half the rows and at all of them; `ratio` of the two medians.
- growth, erasure, compaction, replacement: one process looks for news and matches all the time while the gallery grows past the
  memory it has reserved, while a person is forgotten, while a fifth of its rows, dead, is compacted away, and while a new generation
  takes its place (as with another model). `stall_ms`: the process's longest turn less its median one, the median of `--times`;
  `each_stall_ms`: of each time; `median_ms`: the median turn. `each_steal_ms`: what the machine's host took from all its cores
  meanwhile. `checking_stall_ms`: the longest turn of a process that only looks, every 1 ms. `build_ms`: how long the writer was busy.
- `limit`: the same reader while another process does no more than copy what the block holds into fresh shared memory.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from shared.gallery.files import remove_left_behind, segment_path
from shared.gallery.publisher import Batch, GalleryPublisher
from shared.gallery.reader import GalleryReader
from tests.benchmark.galleries import name_of, pieces, publish
from tests.benchmark.readers import Readers
from tests.benchmark.report import print_report
from tests.benchmark.timing import one_thread, spread
from tests.support.blocks import held_spans
from tests.support.vectors import noise

_FILL_ROWS = 20_000
_COPY_BYTES = 16 << 20
_AFTER_CHANGE_S = 1.5  # how long a reader goes on after the last news
_DEAD_SHARE = 5  # one in so many
_CASES = ("growth", "erasure", "compaction", "replacement")


def measure_doubling(rows: int, runs: int) -> list[dict[str, Any]]:
    times: dict[int, list[float]] = {rows // 2: [], rows: []}
    probes = noise(np.random.default_rng(3), runs + 1)
    with tempfile.TemporaryDirectory() as half, tempfile.TemporaryDirectory() as whole:
        publishers = [publish(Path(half), rows // 2), publish(Path(whole), rows)]
        try:
            with GalleryReader(Path(half)) as small, GalleryReader(Path(whole)) as large:
                for run in range(runs + 1):
                    for reader in (small, large):
                        began = time.perf_counter()
                        reader.match(probes[run][None])
                        if run:
                            times[reader.rows].append(time.perf_counter() - began)
        finally:
            for publisher, name in zip(publishers, (half, whole), strict=True):
                publisher.close()
                remove_left_behind(Path(name))
    ratio = round(float(np.median(times[rows]) / np.median(times[rows // 2])), 3)
    return [
        {"case": "doubling", "rows": count, "probes": 1, "candidate": "rollcall", **spread(seconds),
         "ratio": ratio if count == rows else None}
        for count, seconds in times.items()
    ]  # fmt: skip


def measure_stalls(rows: int, times: int) -> list[dict[str, Any]]:
    lived: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        gallery = Gallery(publish(Path(name), rows), rows)
        publisher = gallery.publisher
        try:
            for _ in range(times):
                for kind, every_s in (("matching", 0.0), ("checking", 0.001)):
                    for case in _CASES:
                        change = gallery.prepare(case)
                        lived.setdefault((case, kind), []).append(watched(Path(name), change, every_s))
                    lasting_s = lived["replacement", kind][-1]["build_ms"] / 1e3
                    lived.setdefault(("plain copy", kind), []).append(copied(Path(name), publisher, every_s, lasting_s))
        finally:
            publisher.close()
            remove_left_behind(Path(name))
    results = [stalls(case, "rollcall", rows, lived[case, "matching"], lived[case, "checking"]) for case in _CASES]
    return [
        *results,
        stalls("replacement", "limit", rows, *(lived["plain copy", of] for of in ("matching", "checking"))),
    ]


def stalls(
    case: str, candidate: str, rows: int, matching: list[dict[str, float]], checking: list[dict[str, float]]
) -> dict[str, Any]:
    """One result of what was lived through several times."""
    turns = [one["median_ms"] for one in matching]
    stalled = [one["worst_ms"] - one["median_ms"] for one in matching]
    looking = [one["worst_ms"] for one in checking]
    return {
        "case": case, "rows": rows, "processes": 1, "candidate": candidate,
        "median_ms": round(float(np.median(turns)), 3), "min_ms": round(min(turns), 3),
        "p90_ms": round(float(np.percentile(turns, 90)), 3),
        "stall_ms": round(float(np.median(stalled)), 1), "each_stall_ms": [round(one) for one in stalled],
        "each_steal_ms": [round(one["steal_ms"]) for one in matching],
        "checking_stall_ms": round(float(np.median(looking)), 1), "each_checking_ms": [round(one) for one in looking],
        "build_ms": round(float(np.median([one["build_ms"] for one in matching]))),
    }  # fmt: skip


def watched(run_dir: Path, change: Callable[[], None], every_s: float) -> dict[str, float]:
    """What a reader lived through while `change` was made."""
    seen, news = beside(run_dir, change, every_s, 120)  # at most: it ends by itself soon after the change
    if not news:
        raise SystemExit("the reader saw nothing of the change in its time")
    return seen


def copied(run_dir: Path, publisher: GalleryPublisher, every_s: float, lasting_s: float) -> dict[str, float]:
    """What a reader lives through while the block's bytes are copied into fresh shared memory, and nothing is published."""
    source = segment_path(run_dir, publisher.generation)
    return beside(run_dir, partial(copy, source), every_s, lasting_s + _AFTER_CHANGE_S)[0]


def beside(run_dir: Path, work: Callable[[], None], every_s: float, seconds: float) -> tuple[dict[str, float], int]:
    """What a reader lived through in `seconds` while this process did `work`, and how many news it saw."""
    with Readers(run_dir, 1) as readers:
        readers.ask("match 0.5")
        stolen_s = _steal_s()
        readers.tell(f"watch {every_s} {seconds} {_AFTER_CHANGE_S}")
        threading.Event().wait(0.5)  # the reader has begun
        began = time.perf_counter()
        work()
        build_ms = (time.perf_counter() - began) * 1e3
        answer = readers.gather()[0]
    seen = {"median_ms": answer["median_ms"], "worst_ms": answer["worst_ms"][-1], "build_ms": build_ms}
    return {**seen, "steal_ms": (_steal_s() - stolen_s) * 1e3}, len(answer["seen"])


def _steal_s() -> float:
    """Seconds so far in which this machine's host ran something else on its cores."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


class Gallery:
    """A published gallery that grows, shrinks, and stays about as large."""

    def __init__(self, publisher: GalleryPublisher, rows: int) -> None:
        self.publisher, self._rows = publisher, rows
        self._ids = np.arange(1, rows + 1)
        self._rng = np.random.default_rng(1)
        _, self._references = next(pieces(_FILL_ROWS, seed=1))

    def prepare(self, case: str) -> Callable[[], None]:
        """Make everything ready for a change of this kind; the change."""
        if case == "growth":
            self._append(self.publisher.room_rows)
            return partial(self._append, 1)
        if case == "erasure":
            return partial(self._remove, self._leaving(1), self.publisher.erase)
        if case == "compaction":
            while len(self._ids) < self._rows:
                self._append(min(_FILL_ROWS, self._rows - len(self._ids)))
            return partial(self._remove, self._leaving(len(self._ids) // _DEAD_SHARE), self.publisher.compact)
        return self._replace

    def _append(self, rows: int) -> None:
        ids = np.arange(rows) + self._ids.max() + 1
        names = [name_of(row) for row in ids.tolist()]
        self.publisher.append(Batch(ids.tolist(), names, [None] * rows, self._references[:rows]))
        self._ids = np.append(self._ids, ids)

    def _leaving(self, count: int) -> list[int]:
        """Ids of rows that are about to go, drawn by chance."""
        ids = self._rng.choice(self._ids, count, replace=False)
        self._ids = np.setdiff1d(self._ids, ids)
        return list(map(int, ids))

    def _remove(self, ids: list[int], then: Callable[[], None]) -> None:
        self.publisher.remove(ids)
        then()

    def _replace(self) -> None:
        nothing = Batch([], [], [], self._references[:0])
        self.publisher._rebuild(nothing)  # as when the addresses run out, which would take sixteen times as many rows


def copy(source: Path) -> None:
    """Every byte that a generation holds into fresh shared memory, and away again."""
    target = source.with_name(source.name + "-copy")
    try:
        with source.open("rb", buffering=0) as old, target.open("xb", buffering=0) as new:
            for start, stop in held_spans(old.fileno()):
                for at in range(start, stop, _COPY_BYTES):
                    os.pwrite(new.fileno(), os.pread(old.fileno(), min(_COPY_BYTES, stop - at), at), at)
    finally:
        target.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    one_thread()
    results = []
    for rows in given.rows:
        results += measure_doubling(rows, given.runs) + measure_stalls(rows, given.times)
    print_report(results, as_json=given.json)


if __name__ == "__main__":
    main()
