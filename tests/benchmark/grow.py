"""What growth costs: a match in twice the gallery, and how long a reader is held up when a generation is replaced.

`python -m tests.benchmark.grow [--rows 1000000] [--runs 15] [--times 3] [--json]`

- doubling: a match of one probe at half the rows and at all of them; `ratio` of the two medians.
- growth, compaction: one process looks for news and matches all the time while the gallery grows past its room, and while it is
  compacted with a fifth of its rows dead. `stall_ms`: its longest turn less its median one, the median of `--times`;
  `each_stall_ms`: of each time; `median_ms`: the median turn. `each_steal_ms`: what the machine's host took from all its cores
  meanwhile. `checking_stall_ms`: the longest turn of a process that only looks, every 1 ms. `build_ms`: how long the writer was busy.
- `limit`: the same reader while another process does no more than copy the block's bytes into fresh shared memory.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from shared.gallery_block import segment_path
from shared.gallery_publisher import Batch, GalleryPublisher, remove_left_behind
from shared.gallery_reader import GalleryReader
from tests.benchmark.galleries import DIM, pieces, publish
from tests.benchmark.readers import Readers
from tests.benchmark.report import print_report
from tests.benchmark.timing import one_thread, spread
from tests.vectors import noise

_FILL_ROWS = 20_000
_COPY_BYTES = 16 << 20
_AFTER_CHANGE_S = 1.5  # how long a reader of `copied` goes on about, as one that has seen a new generation does


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
        publisher = publish(Path(name), rows)
        try:
            for _ in range(times):
                for kind, every_s in (("matching", 0.0), ("checking", 0.001)):
                    more = fill(publisher)
                    for case, change in (("growth", grow), ("compaction", partial(compact, dead=more))):
                        seen = watched(Path(name), publisher, change, every_s)
                        lived.setdefault((case, kind), []).append(seen)
                    lasting_s = seen["build_ms"] / 1e3
                    lived.setdefault(("plain copy", kind), []).append(copied(Path(name), publisher, every_s, lasting_s))
        finally:
            publisher.close()
            remove_left_behind(Path(name))
    return [
        stalls(case, candidate, rows, *(lived[of, kind] for kind in ("matching", "checking")))
        for case, candidate, of in (
            ("growth", "rollcall", "growth"),
            ("compaction", "rollcall", "compaction"),
            ("compaction", "limit", "plain copy"),
        )
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


def watched(
    run_dir: Path, publisher: GalleryPublisher, change: Callable[[GalleryPublisher], None], every_s: float
) -> dict[str, float]:
    """What a reader lived through while `change` replaced the generation."""
    before = publisher.generation
    seconds = 10 + publisher.live_rows / 10_000  # at most: it ends by itself soon after the change
    seen, generation = beside(run_dir, partial(change, publisher), every_s, seconds)
    if not generation == publisher.generation > before:
        raise SystemExit("the reader did not see the new generation in its time")
    return seen


def copied(run_dir: Path, publisher: GalleryPublisher, every_s: float, lasting_s: float) -> dict[str, float]:
    """What a reader lives through while the block's bytes are copied into fresh shared memory, and nothing is published."""
    source = segment_path(run_dir, publisher.generation)
    return beside(run_dir, partial(copy, source), every_s, lasting_s + _AFTER_CHANGE_S)[0]


def beside(run_dir: Path, work: Callable[[], None], every_s: float, seconds: float) -> tuple[dict[str, float], int]:
    """What a reader lived through in `seconds` while this process did `work`, and the generation that it ended with."""
    with Readers(run_dir, 1) as readers:
        readers.ask("match 0.5")
        stolen_s = _steal_s()
        readers.tell(f"watch {every_s} {seconds}")
        threading.Event().wait(0.5)  # the reader has begun
        began = time.perf_counter()
        work()
        build_ms = (time.perf_counter() - began) * 1e3
        answer = readers.gather()[0]
    seen = {"median_ms": answer["median_ms"], "worst_ms": answer["worst_ms"][-1], "build_ms": build_ms}
    return {**seen, "steal_ms": (_steal_s() - stolen_s) * 1e3}, answer["generation"]


def _steal_s() -> float:
    """Seconds so far in which this machine's host ran something else on its cores."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def fill(publisher: GalleryPublisher) -> list[int]:
    """Rows until there is no room left, people of their own; their ids."""
    ids: list[int] = []
    _, references = next(pieces(_FILL_ROWS, seed=1))
    first = 10_000_000 * publisher.generation
    while publisher.room_rows:
        count = min(publisher.room_rows, _FILL_ROWS)
        batch = range(first + len(ids), first + len(ids) + count)
        publisher.append(Batch(batch, ["more"] * count, [None] * count, references[:count]))
        ids += batch
    return ids


def grow(publisher: GalleryPublisher) -> None:
    """One row more than there is room for."""
    publisher.append(Batch([0], ["more"], [None], noise(np.random.default_rng(1), 1, DIM)))


def compact(publisher: GalleryPublisher, dead: list[int]) -> None:
    publisher.remove([0, *dead])
    publisher.compact()


def copy(source: Path) -> None:
    """Every byte of a generation into fresh shared memory, and away again."""
    target = source.with_name(source.name + "-copy")
    try:
        with source.open("rb") as old, target.open("xb", buffering=0) as new:
            while piece := old.read(_COPY_BYTES):
                new.write(piece)
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
