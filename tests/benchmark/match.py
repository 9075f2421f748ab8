"""How fast the nearest people are found, beside what an engineer would take instead; and that the answers are exact.

`python -m tests.benchmark.match [--rows 100000 1000000] [--probes 1 16] [--runs 15] [--check 10000] [--json]`

Candidates, one thread each, taking turns, on the same references (ten a person, cosine about 0.6 within a person):
- rollcall: GalleryReader.match, the best two people; rollcall-2t: the same probes in two threads (from two probes on);
  rollcall-small-pages: as rollcall, on a system that has no huge pages for the codes;
- faiss-flat: IndexFlatIP.search, the best two rows; numpy: `G @ q` alone, nothing selected; usearch-exact: `search(exact)`.
Half of the probes are of enrolled people, half of strangers.

`--check N`: N probes of clustered data and as many near-ties, against float32 brute force: case "exact", with `wrong` answers and
the largest difference of a score. Needs 10 KiB of memory a row, 5.2 KiB of it shared.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.gallery import segment as gallery_segment
from shared.gallery.files import remove_left_behind
from shared.gallery.publisher import Batch, GalleryPublisher
from shared.gallery.reader import GalleryReader
from tests.benchmark.galleries import DIM, EACH, publish
from tests.benchmark.report import print_report
from tests.benchmark.timing import one_thread, spread
from tests.support.vectors import noise, unit

_CHECK_AT_ONCE = 16
_CHECK_ROWS = 100_000
Vectors = NDArray[np.float32]
Search = Callable[[Vectors], object]


def probes_of(rng: np.random.Generator, references: Vectors, count: int) -> Vectors:
    """(count, dim): every other one of somebody enrolled (cosine about 0.78 to one reference), the rest strangers."""
    own = unit(references[rng.integers(0, len(references), count)] + noise(rng, count) * np.float32(0.8))
    return np.where((np.arange(count) % 2 == 0)[:, None], own, noise(rng, count))


def candidates(
    reader: GalleryReader, reader_2: GalleryReader, small: GalleryReader, pool: ThreadPoolExecutor
) -> dict[str, Search]:
    # By name: neither ships types for the strict checker, and only this command needs them.
    faiss, usearch = importlib.import_module("faiss"), importlib.import_module("usearch.index")
    references = np.array(reader.segment.references[: reader.rows])  # in private memory, as the others would have it
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(references)

    def in_two_threads(probes: Vectors) -> object:
        half = len(probes) // 2
        other = pool.submit(reader_2.match, probes[half:])
        return reader.match(probes[:half]), other.result()

    return {
        "rollcall": reader.match,
        "rollcall-2t": in_two_threads,
        "rollcall-small-pages": small.match,
        "faiss-flat": lambda probes: flat.search(probes, 2),
        "numpy": lambda probes: references @ (probes[0] if len(probes) == 1 else probes.T),
        "usearch-exact": lambda probes: usearch.search(
            references, probes, 2, usearch.MetricKind.IP, exact=True, threads=1
        ),
    }


def measure(rows: int, probe_counts: list[int], runs: int) -> list[dict[str, Any]]:
    results = []
    rng = np.random.default_rng(1)
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory() as other,
        ThreadPoolExecutor(1) as pool,
    ):
        publishers = [publish(Path(name), rows), publish_in_small_pages(Path(other), rows)]
        try:
            with (
                GalleryReader(Path(name)) as reader,
                GalleryReader(Path(name)) as reader_2,
                GalleryReader(Path(other)) as small,
            ):
                searches = candidates(reader, reader_2, small, pool)
                for count in probe_counts:
                    times = take_turns(searches, rng, reader, count, runs)
                    for candidate, seconds in times.items():
                        case = {"case": "match", "rows": rows, "probes": count, "candidate": candidate}
                        results.append({**case, **spread(seconds)})
        finally:
            for publisher, run_dir in zip(publishers, (name, other), strict=True):
                publisher.close()
                remove_left_behind(Path(run_dir))
    return results


def publish_in_small_pages(run_dir: Path, rows: int) -> GalleryPublisher:
    """As `publish`, as if the kernel did not know how to make huge pages."""
    advice, gallery_segment._MADV_COLLAPSE = gallery_segment._MADV_COLLAPSE, -1
    try:
        return publish(run_dir, rows)
    finally:
        gallery_segment._MADV_COLLAPSE = advice


def take_turns(
    searches: dict[str, Search], rng: np.random.Generator, reader: GalleryReader, count: int, runs: int
) -> dict[str, list[float]]:
    chosen = {key: search for key, search in searches.items() if count > 1 or key != "rollcall-2t"}
    times: dict[str, list[float]] = {key: [] for key in chosen}
    references = reader.segment.references[: reader.rows]
    for run in range(runs + 1):
        probes = probes_of(rng, references, max(count, 2))
        probes = np.ascontiguousarray(probes[run % 2 :][:1] if count == 1 else probes)
        order = list(chosen)
        for key in order[run % len(order) :] + order[: run % len(order)]:  # nobody always comes after the same one
            began = time.perf_counter()
            chosen[key](probes)
            if run:  # the first turn warms up
                times[key].append(time.perf_counter() - began)
    return times


def near_ties(rng: np.random.Generator, rows: int) -> Vectors:
    """References that differ by far less than a quantisation step."""
    base = np.repeat(noise(rng, -(-rows // 100), DIM), 100, axis=0)[:rows]
    return unit(base + noise(rng, rows, DIM) * np.float32(2e-4))


def brute_force(references: Vectors, persons: NDArray[np.intp], probes: Vectors) -> list[list[tuple[int, float]]]:
    """The best two people of each probe: float32 scores, the best reference of each. Ten references a person, in order."""
    scores = references @ probes.T
    best = np.maximum.reduceat(scores, np.flatnonzero(np.diff(persons, prepend=-1)), axis=0)
    top = np.argpartition(-best, 2, axis=0)[:2]
    return [
        sorted(((int(i), float(best[i, j])) for i in top[:, j]), key=lambda one: -one[1]) for j in range(len(probes))
    ]


def check(kind: str, count: int, rows: int) -> dict[str, Any]:
    """Answers that differ from brute force: another person, unless tied within 1e-6, or a score off by more than 1e-6."""
    rng = np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as name:
        run_dir = Path(name)
        if kind == "clusters":
            publisher = publish(run_dir, rows)
        else:
            publisher = GalleryPublisher(run_dir, DIM, "test/none", "f" * 64)
            names = [f"person {row // EACH:07d}" for row in range(rows)]
            batch = Batch(range(1, rows + 1), names, [None] * rows, near_ties(rng, rows))
            publisher.publish_all(rows, [batch])
        try:
            with GalleryReader(run_dir) as reader:
                wrong, furthest = compare(reader, rng, count)
        finally:
            publisher.close()
            remove_left_behind(run_dir)
    return {
        "case": f"exact: {kind}", "rows": rows, "probes": count, "candidate": "rollcall", "wrong": wrong, "off_by": furthest
    }  # fmt: skip


def compare(reader: GalleryReader, rng: np.random.Generator, count: int) -> tuple[int, float]:
    references = np.array(reader.segment.references[: reader.rows])
    persons = np.arange(len(references)) // EACH
    wrong, furthest = 0, 0.0
    for start in range(0, count, _CHECK_AT_ONCE):
        probes = np.ascontiguousarray(probes_of(rng, references, min(_CHECK_AT_ONCE, count - start)))
        for found, wanted in zip(reader.match(probes), brute_force(references, persons, probes), strict=True):
            exact = dict(wanted)
            for candidate, (_, score) in zip(found, wanted, strict=True):
                off = abs(candidate.score - score)
                furthest = max(furthest, off)
                # Another person is right only where the two scores are the same to 1e-6: `off` says that they are.
                same = int(candidate.person.removeprefix("person ")) in exact or off <= 1e-6
                wrong += not same or off > 1e-6
    return wrong, furthest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--probes", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--check", type=int, default=10_000, help="probes compared with brute force; 0: none")
    parser.add_argument("--check-rows", type=int, default=_CHECK_ROWS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    one_thread()
    results = [result for rows in given.rows for result in measure(rows, given.probes, given.runs)]
    if given.check:
        results += [check(kind, given.check, given.check_rows) for kind in ("clusters", "near-ties")]
    print_report(results, as_json=given.json)


if __name__ == "__main__":
    main()
