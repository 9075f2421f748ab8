"""How long a commit takes to be in use in other processes, what it costs a reader to look, and how fast many rows are saved.

`python -m tests.benchmark.publish [--rows 1000000] [--processes 8] [--commits 200] [--json]`

- rollcall: from the end of the commit to the moment a reader that looks every 1 ms has the new row; `commit_ms`: the commit
  itself, with its fsync, apart. One figure a commit and reader. rollcall-matching: the readers match all the time instead.
- check: a reader's look when there is no news, per look.
- bulk: 10,000 rows by save_embeddings_batch, beside `executemany`, the same rows and table in one transaction.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from shared import embedding_db
from shared.gallery.files import remove_left_behind
from shared.gallery.publisher import GalleryPublisher
from shared.gallery.reader import GalleryReader
from shared.model_id import ModelId
from shared.records import NewReference
from shared.service.changes import Changes
from shared.service.publication import BlockKeeper
from shared.settings.file import load_settings
from shared.store.opening import open_store
from shared.store.saving import save
from shared.store.schema import EMBEDDINGS, PAGE_SIZE
from shared.store.store import Store
from tests.benchmark.galleries import DIM, publish
from tests.benchmark.readers import Readers
from tests.benchmark.report import print_report
from tests.benchmark.timing import one_thread, spread
from tests.support.vectors import noise

_GAP_S = 0.01  # between two commits
_BULK_RUNS = 5


def measure(rows: int, processes: int, commits: int) -> list[dict[str, Any]]:
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publisher = publish(folder, rows)
        store = open_store(folder / "face_embeddings.db", lambda _: None)
        try:
            with store.transaction():
                store.stamp(ModelId.parse("test/none", "f" * 64, DIM))
            results.append(measure_check(folder, rows))
            with Readers(folder, processes) as readers:
                readers.ask("match 0.1")
                for candidate, every_s in (("rollcall", 0.001), ("rollcall-matching", 0.0)):
                    found = measure_publish(store, publisher, readers, commits, every_s)
                    case = {"case": "publish", "rows": rows, "processes": processes, "candidate": candidate}
                    results.append({**case, **found})
        finally:
            store.close()
            publisher.close()
            remove_left_behind(folder)
    return results


def measure_publish(
    store: Store, publisher: GalleryPublisher, readers: Readers, commits: int, every_s: float
) -> dict[str, Any]:
    keeper, rng = BlockKeeper(store, publisher, lambda _: None), np.random.default_rng(7)
    first, generation = publisher.live_rows, publisher.generation
    seconds = commits * (_GAP_S + 0.02) + 1
    readers.tell(f"watch {every_s} {seconds} {seconds}")
    pause = threading.Event()
    pause.wait(0.3)  # the readers have begun
    committed, took, publishing = [], [], []
    for number in range(commits):
        began = time.monotonic_ns()
        with store.transaction():
            references = [NewReference(f"new {number}")]
            saved = save(store, references, noise(rng, 1, DIM))
        committed.append(time.monotonic_ns())
        keeper.publish(Changes(steps=[(saved, references)]))
        publishing.append((time.monotonic_ns() - committed[-1]) / 1e9)
        took.append((committed[-1] - began) / 1e9)
        pause.wait(_GAP_S)
    if publisher.generation != generation:
        raise SystemExit("the gallery grew into another generation: more rows are needed")
    delays = []
    for answer in readers.gather():
        counts, times = np.array(answer["seen"], np.int64).reshape(-1, 2).T
        places = np.searchsorted(counts, first + 1 + np.arange(commits))
        delays += [
            (times[place] - committed[number]) / 1e9 for number, place in enumerate(places) if place < len(times)
        ]
    return {
        **spread(delays),
        "p99_ms": round(float(np.percentile(delays, 99)) * 1e3, 3),
        "seen": len(delays),
        "commit_p50_ms": spread(took)["median_ms"],
        "commit_p99_ms": round(float(np.percentile(took, 99)) * 1e3, 3),
        "publish_p50_ms": spread(publishing)["median_ms"],
    }


def measure_check(run_dir: Path, rows: int) -> dict[str, Any]:
    times = []
    with GalleryReader(run_dir) as reader:
        for _ in range(50):
            began = time.perf_counter()
            for _ in range(1000):
                reader.refresh()
            times.append((time.perf_counter() - began) / 1000)
    return {"case": "check", "rows": rows, "processes": 1, "candidate": "rollcall", **spread(times)}


def measure_bulk(rows: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(8)
    ours, raw = [], []
    for _ in range(_BULK_RUNS):
        vectors = noise(rng, rows, DIM)
        given = [(f"person {i // 10}", vector, f"faces/{i}.jpg", None) for i, vector in enumerate(vectors)]
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "site.toml").write_text("[site]\n", encoding="utf-8")
            embedding_db.use_site(load_settings(Path(name) / "site.toml"))
            embedding_db.init_database()
            began = time.perf_counter()
            embedding_db.save_embeddings_batch(given)
            ours.append(time.perf_counter() - began)
            embedding_db.use_site(None)
            raw.append(save_raw(Path(name) / "raw.db", given))
    case = {"case": "bulk", "rows": rows, "processes": 1}
    return [{**case, "candidate": "rollcall", **spread(ours)}, {**case, "candidate": "executemany", **spread(raw)}]


def save_raw(path: Path, given: list[tuple[str, Any, str, None]]) -> float:
    """Seconds of one transaction of `executemany`."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(EMBEDDINGS)
    began = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT INTO embeddings(person_name, embedding, image_path, user_id) VALUES (?, ?, ?, ?)",
        [(name, vector.tobytes(), path, user) for name, vector, path, user in given],
    )
    connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    connection.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--commits", type=int, default=200)
    parser.add_argument("--bulk", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    one_thread()
    results = [result for rows in given.rows for result in measure(rows, given.processes, given.commits)]
    print_report(results + measure_bulk(given.bulk), as_json=given.json)


if __name__ == "__main__":
    main()
