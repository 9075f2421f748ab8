"""How fast a database becomes a servable block, beside a plain copy of the block's bytes and beside the plain way to load it.

`python -m tests.benchmark.load [--rows 100000 1000000] [--runs 3] [--json]`

- rollcall: what the writer does at its start, with its own second thread;
- naive: SELECT, np.frombuffer for each row, np.array of the list; then the same checks, codes and copy;
- limit: one copy of every byte that the block holds into fresh shared memory.

The database is in the page cache; every run is a process of its own, timed from the open database to the published head.
Candidates take turns. Needs room in the temp folder (2.3 KiB a row) and in shared memory (6.5 KiB a row).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from shared.gallery.files import remove_left_behind, segment_path, shm_folder
from shared.gallery.publisher import Batch, GalleryPublisher
from shared.service.publication import BlockKeeper
from shared.store.references import count_references
from shared.store.store import Store
from tests.benchmark.galleries import DIM, open_written, warm, write_database
from tests.benchmark.report import print_report
from tests.benchmark.timing import in_fresh_process, spread
from tests.support.blocks import held_bytes

CANDIDATES = ("limit", "rollcall", "naive")
_COPY_BYTES = 16 << 20


def load_rollcall(store: Store, publisher: GalleryPublisher) -> None:
    BlockKeeper(store, publisher, lambda _: None).publish_everything()


def load_naive(store: Store, publisher: GalleryPublisher) -> None:
    ids, names, users, vectors = [], [], [], []
    for row in store.connection.execute("SELECT id, person_name, user_id, embedding FROM embeddings ORDER BY id"):
        ids.append(row[0])
        names.append(row[1])
        users.append(row[2])
        vectors.append(np.frombuffer(row[3], np.float32))
    references = np.array(vectors)
    publisher.publish_all(len(ids), [Batch(ids, names, users, references)])


def copy_bytes(run_dir: Path, block: Path) -> float:
    """Seconds to copy what a block holds from private memory into a fresh file of shared memory. The block itself is gone by then."""
    source = memoryview(held_bytes(block))
    remove_left_behind(run_dir)
    target = shm_folder(run_dir) / f"{block.name}-copy"
    began = time.perf_counter()
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for start in range(0, len(source), _COPY_BYTES):
            os.pwrite(descriptor, source[start : start + _COPY_BYTES], start)
        return time.perf_counter() - began
    finally:
        os.close(descriptor)
        target.unlink()


def run_child(candidate: str, database: Path, run_dir: Path) -> float:
    store = open_written(database)
    publisher = GalleryPublisher(run_dir, DIM, "test/none", "f" * 64)
    try:
        began = time.perf_counter()
        (load_naive if candidate == "naive" else load_rollcall)(store, publisher)
        seconds = time.perf_counter() - began
        if publisher.live_rows != count_references(store):
            raise SystemExit("not everything was loaded")
        if candidate == "limit":
            publisher.close()
            seconds = copy_bytes(run_dir, segment_path(run_dir, publisher.generation))
        return seconds
    finally:
        if candidate != "limit":
            publisher.close()
        store.close()
        remove_left_behind(run_dir)


def measure(rows: int, runs: int) -> list[dict[str, Any]]:
    times: dict[str, list[float]] = {candidate: [] for candidate in CANDIDATES}
    with tempfile.TemporaryDirectory() as name:
        database = Path(name) / "face_embeddings.db"
        write_database(database, rows)
        warm(database)
        for _ in range(runs):
            for candidate in CANDIDATES:
                words = ("--child", candidate, "--database", str(database), "--run-dir", name)
                times[candidate].append(in_fresh_process("tests.benchmark.load", *words))
    return [
        {"case": "load", "rows": rows, "processes": 1, "candidate": candidate, **spread(times[candidate])}
        for candidate in CANDIDATES
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=CANDIDATES, help=argparse.SUPPRESS)
    parser.add_argument("--database", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--run-dir", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(run_child(given.child, given.database, given.run_dir)))
        return
    print_report([result for rows in given.rows for result in measure(rows, given.runs)], as_json=given.json)


if __name__ == "__main__":
    main()
