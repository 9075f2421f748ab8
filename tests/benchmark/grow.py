"""What growth costs: a match in twice the gallery, and how long a reader is held up when a generation is replaced.

`python -m tests.benchmark.grow [--rows 1000000] [--runs 15] [--json]`

- doubling: a match of one probe at half the rows and at all of them; `ratio` of the two medians.
- growth, compaction: one process looks for news and matches all the time while the gallery grows past its room, and while it is
  compacted with a tenth of its rows dead. `stall_ms`: its longest turn less its median one; `median_ms` is the median turn.
  `checking_stall_ms`: the longest turn of a process that only looks, every 1 ms. `build_ms`: how long the writer was busy with it.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shared.gallery_publisher import Batch, GalleryPublisher, remove_left_behind
from shared.gallery_reader import GalleryReader
from tests.benchmark.galleries import DIM, pieces, publish
from tests.benchmark.readers import Readers
from tests.benchmark.report import print_report
from tests.benchmark.timing import one_thread, spread
from tests.vectors import noise


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


def measure_stalls(rows: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        publisher = publish(Path(name), rows)
        try:
            results = []
            for case, change in (("growth", grow), ("compaction", compact)):
                turns = {}
                for kind, every_s in (("matching", 0.0), ("checking", 0.001)):
                    turns[kind] = watched(Path(name), publisher, change, every_s)
                matching, checking = turns["matching"], turns["checking"]
                results.append(
                    {"case": case, "rows": rows, "processes": 1, "candidate": "rollcall",
                     "median_ms": round(matching["median_ms"], 3), "min_ms": None, "p90_ms": None,
                     "stall_ms": round(matching["worst_ms"][-1] - matching["median_ms"], 2),
                     "checking_stall_ms": round(checking["worst_ms"][-1], 2),
                     "build_ms": round(matching["build_ms"])}
                )  # fmt: skip
            return results
        finally:
            publisher.close()
            remove_left_behind(Path(name))


def watched(
    run_dir: Path, publisher: GalleryPublisher, change: Callable[[GalleryPublisher], None], every_s: float
) -> dict[str, Any]:
    """What a reader lived through while `change` replaced the generation."""
    before = publisher.generation
    seconds = 10 + publisher.live_rows / 10_000  # at most: it ends by itself soon after the change
    with Readers(run_dir, 1) as readers:
        readers.ask("match 0.5")
        readers.tell(f"watch {every_s} {seconds}")
        threading.Event().wait(0.5)  # the reader has begun
        began = time.perf_counter()
        change(publisher)
        build_ms = (time.perf_counter() - began) * 1e3
        answer = readers.gather()[0]
    if not answer["generation"] == publisher.generation > before:
        raise SystemExit("the reader did not see the new generation in its time")
    return {**answer, "build_ms": build_ms}


def grow(publisher: GalleryPublisher) -> None:
    """One row more than there is room for."""
    room = publisher.room_rows
    first = 10_000_000 * publisher.generation
    while room:
        count = min(room, 20_000)
        _, references = next(pieces(count, seed=first))
        publisher.append(Batch(range(first, first + count), ["more"] * count, [None] * count, references))
        first, room = first + count, room - count
    publisher.append(Batch([first], ["more"], [None], noise(np.random.default_rng(1), 1, DIM)))


def compact(publisher: GalleryPublisher) -> None:
    publisher.remove(range(publisher.generation, publisher.live_rows, 10))
    publisher.compact()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    one_thread()
    results = []
    for rows in given.rows:
        results += measure_doubling(rows, given.runs) + measure_stalls(rows)
    print_report(results, as_json=given.json)


if __name__ == "__main__":
    main()
