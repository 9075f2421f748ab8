"""What one block costs many matching processes: memory and throughput, beside a private copy of the gallery in each.

`python -m tests.benchmark.share [--rows 100000] [--processes 1 2 4 8] [--seconds 8] [--json]`

- rollcall: all match in one block. `pss_mib`: of all processes together; `of_ideal`: that over one copy of the block's rows plus
  each process's own base (its PSS before it opened the gallery): the target is 1.05.
- private: each has copied the gallery; the same search. `threads`: the most that one process had.
`median_ms` is a process's time a match; `matches_per_s` of all together, the median of rounds in which the two take turns.
Private copies are left out where they would not fit.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from shared.gallery.files import remove_left_behind
from shared.gallery.reader import GalleryReader
from tests.benchmark.galleries import publish
from tests.benchmark.readers import Readers
from tests.benchmark.report import print_report
from tests.benchmark.timing import spread

_ROUNDS = 8
_MAX_MEMORY = 0.6  # of what is available


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
            with Readers(Path(name), processes) as shared:
                groups = {"rollcall": Group(shared)}
                if copy_bytes * processes > _MAX_MEMORY * psutil.virtual_memory().available:
                    done = take_turns(groups, seconds)
                    return [groups["rollcall"].measured("rollcall", rows, copy_bytes, done["rollcall"])]
                with Readers(Path(name), processes) as copying:
                    copying.ask("private")
                    groups["private"] = Group(copying)
                    done = take_turns(groups, seconds)
                return [
                    group.measured(candidate, rows, copy_bytes, done[candidate]) for candidate, group in groups.items()
                ]
        finally:
            remove_left_behind(Path(name))


class Group:
    """Processes that match in one way, and the memory and threads that they have after a first few matches."""

    def __init__(self, readers: Readers) -> None:
        self.readers = readers
        readers.ask("match 0.2")
        readers.ask("touch")
        memory = readers.ask("memory")
        self._pss, self._base = sum(one["pss"] for one in memory), sum(one["base"] for one in memory)
        self._threads = max(psutil.Process(pid).num_threads() for pid in readers.pids)

    def measured(
        self, candidate: str, rows: int, copy_bytes: int, rounds: list[list[dict[str, Any]]]
    ) -> dict[str, Any]:
        """What the processes did in each of the rounds."""
        rates = [sum(one["matches"] / one["seconds"] for one in done) for done in rounds]
        result = {
            "case": "share",
            "rows": rows,
            "processes": len(self.readers.pids),
            "candidate": candidate,
            **spread([one["seconds"] / max(1, one["matches"]) for done in rounds for one in done]),
            "matches_per_s": round(float(np.median(rates)), 1),
            "pss_mib": round(self._pss / 2**20),
            "threads": self._threads,
        }
        if candidate == "rollcall":
            result["of_ideal"] = round(self._pss / (copy_bytes + self._base), 3)
        return result


def take_turns(groups: dict[str, Group], seconds: float) -> dict[str, list[list[dict[str, Any]]]]:
    """What each group's processes did in each round."""
    done: dict[str, list[list[dict[str, Any]]]] = {candidate: [] for candidate in groups}
    for turn in range(_ROUNDS):
        for candidate in list(groups) if turn % 2 else reversed(groups):
            done[candidate].append(groups[candidate].readers.ask(f"match {seconds / _ROUNDS}"))
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=8.0)
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
