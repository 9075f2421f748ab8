"""What one block costs many matching processes: memory and throughput, beside a private copy of the gallery in each.

`python -m tests.benchmark.share [--rows 100000] [--processes 1 2 4 8] [--seconds 2] [--json]`

- rollcall: all match in one block. `pss_mib`: of all processes together; `of_ideal`: that over one copy of the block's rows plus
  each process's own base (its PSS before it opened the gallery): the target is 1.05.
- private: each has copied the gallery; the same search. `threads`: the most that one process had.
`median_ms` is a process's time a match; `matches_per_s` of all together. Private copies are left out where they would not fit.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import psutil

from shared.gallery_publisher import remove_left_behind
from shared.gallery_reader import GalleryReader
from tests.benchmark.galleries import publish
from tests.benchmark.readers import Readers
from tests.benchmark.report import print_report
from tests.benchmark.timing import spread

_MOST_MEMORY = 0.6  # of what is available


def measure(rows: int, processes: int, seconds: float) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        publisher = publish(Path(name), rows)
        publisher.close()  # its mapping would take its share of the pages
        try:
            with GalleryReader(Path(name)) as reader:
                segment, n = reader.segment, reader.rows
                copy_bytes = sum(
                    getattr(segment, section)[:n].nbytes
                    for section in ("codes", "scales", "errors", "references", "persons")
                )
            results = [measure_candidate("rollcall", Path(name), rows, processes, seconds, copy_bytes)]
            if copy_bytes * processes < _MOST_MEMORY * psutil.virtual_memory().available:
                results.append(measure_candidate("private", Path(name), rows, processes, seconds, copy_bytes))
            return results
        finally:
            remove_left_behind(Path(name))


def measure_candidate(
    candidate: str, run_dir: Path, rows: int, processes: int, seconds: float, copy_bytes: int
) -> dict[str, Any]:
    with Readers(run_dir, processes) as readers:
        if candidate == "private":
            readers.ask("private")
        readers.ask("match 0.2")
        done = readers.ask(f"match {seconds}")
        memory = readers.ask("memory")
        threads = max(process.num_threads() for process in psutil.Process().children())
    total, base = sum(one["pss"] for one in memory), sum(one["base"] for one in memory)
    result = {
        "case": "share",
        "rows": rows,
        "processes": processes,
        "candidate": candidate,
        **spread([one["seconds"] / max(1, one["matches"]) for one in done]),
        "matches_per_s": round(sum(one["matches"] / one["seconds"] for one in done), 1),
        "pss_mib": round(total / 2**20),
        "threads": threads,
    }
    if candidate == "rollcall":
        result["of_ideal"] = round(total / (copy_bytes + base), 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = [
        result
        for rows in given.rows
        for processes in given.processes
        for result in measure(rows, processes, given.seconds)
    ]
    print_report(results, as_json=given.json)


if __name__ == "__main__":
    main()
