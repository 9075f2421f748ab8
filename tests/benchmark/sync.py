"""The exchange with a hub: a first push and pull, a cycle with nothing new, one change; beside one GET of the whole list as JSON.

    python -m tests.benchmark.sync [--references 10000] [--dim 512] [--already 0] [--json]

Two galleries on disk, one backend, one database: that of $MONGODB_TEST_URI, or FerretDB ($ROLLCALL_FERRETDB). For each step: seconds, requests
and bytes of bodies both ways, and once more packed as they travel between our own ends.
- push: the first gallery sends all it has; pull: the second takes it in;
- whole list: one plain GET, read as JSON and made into float32, as every client had to;
- nothing new: one exchange of either;
- one change: one reference more, at both;
- enrolment beside a pull: a third gallery, of a running site, takes everything in; meanwhile somebody is enrolled there again and again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import requests as http

from shared.ipc.client import SiteClient
from shared.ipc.requests.references import Count, Save
from shared.model_id import ModelId
from shared.records import NewReference
from shared.service.access import FilesOfSite
from shared.settings.file import load_settings
from shared.uuid7 import new_uuids
from tests.benchmark.report import print_report
from tests.support.hub import Backend
from tests.support.mongodb import mongodb
from tests.support.stores import silent
from tests.support.sync_site import MODEL
from tests.support.writer_process import WriterProcess
from workers.sync.backend_client import BackendClient, target_of
from workers.sync.exchange import Exchange

_AT_ONCE = 1000
_PER_PERSON = 3


class Site:
    """One gallery and its exchange; `gallery` may be a running writer's."""

    def __init__(self, folder: Path, address: str, dim: int) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "site.toml").write_text(f'[sync]\nbackend = "{address}/api"\n', encoding="utf-8")
        self.settings = load_settings(folder / "site.toml")
        self.files = FilesOfSite(self.settings, silent)
        with self.files.store.transaction():
            self.files.store.stamp(ModelId.parse("insightface/bench", MODEL.fingerprint, dim))
        self.backend = BackendClient(target_of(self.settings))
        self.exchange = Exchange(self.files, self.backend)

    def close(self) -> None:
        self.backend.close()
        self.files.close()


def fill(site: Site, count: int, dim: int, people: str = "Person", seed: int = 1) -> None:
    """Enrol invented people with three references each."""
    rng = np.random.default_rng(seed)
    for at in range(0, count, _AT_ONCE):
        many = min(_AT_ONCE, count - at)
        rows = [
            NewReference(f"{people} {(at + i) // _PER_PERSON}", f"faces/{at + i}.jpg", uuid=uuid)
            for i, uuid in enumerate(new_uuids(many))
        ]
        site.files.save(rows, rng.normal(size=(many, dim)).astype(np.float32))


def measured(name: str, site: Site, work: Callable[[], object]) -> dict[str, Any]:
    """Seconds, requests and bytes of one step."""
    before = site.backend.requests, site.backend.sent_bytes, site.backend.received_bytes
    began = time.perf_counter()
    work()
    return {
        "step": name,
        "seconds": round(time.perf_counter() - began, 3),
        "requests": site.backend.requests - before[0],
        "bytes": site.backend.sent_bytes - before[1] + site.backend.received_bytes - before[2],
    }


def whole_list(address: str) -> dict[str, Any]:
    """One GET of the plain list, as JSON floats."""
    began = time.perf_counter()
    answer = http.get(f"{address}/api/face/all-embeddings", headers={"Accept-Encoding": "identity"}, timeout=3600)
    items = json.loads(answer.content)["embeddings"]
    vectors = np.array([one["embedding"] for one in items], np.float32)
    seconds = time.perf_counter() - began
    return {
        "step": "whole list",
        "seconds": round(seconds, 3),
        "requests": 1,
        "bytes": len(answer.content),
        "items": len(vectors),
    }


def enrolments_beside_a_pull(folder: Path, address: str, dim: int, already: int) -> dict[str, Any]:
    """How long an enrolment takes while the running site takes everything in. `already`: references of its own that it has."""
    site = Site(folder, address, dim)
    fill(site, already, dim, "Here", 4)
    site.files.close()
    waits: list[float] = []
    writer, client = WriterProcess(folder), SiteClient(site.settings.run_dir, patience_s=60.0)
    try:
        exchange = Exchange(client, site.backend)
        done = threading.Event()
        client.ask(Count())

        def enrol() -> None:
            own, rng = SiteClient(site.settings.run_dir), np.random.default_rng(2)
            while not done.wait(0.05):
                row = [NewReference("Beside", uuid=new_uuids(1)[0])]
                began = time.perf_counter()
                own.ask(Save(row, vectors=rng.normal(size=(1, dim)).astype(np.float32)))
                waits.append(time.perf_counter() - began)
            own.close()

        thread = threading.Thread(target=enrol)
        thread.start()
        began = time.perf_counter()
        while exchange.pull(0.0):
            pass
        seconds = time.perf_counter() - began
        done.set()
        thread.join()
    finally:
        client.close()
        writer.close()
    site.backend.close()
    milliseconds = np.array(waits) * 1000
    return {
        "step": "enrolment beside a pull",
        "seconds": round(seconds, 3),
        "p50_ms": round(float(np.median(milliseconds)), 1),
        "p95_ms": round(float(np.percentile(milliseconds, 95)), 1),
        "max_ms": round(float(milliseconds.max()), 1),
        "enrolments": len(waits),
    }


def run(references: int, dim: int, already: int) -> list[dict[str, Any]]:
    """All steps."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with mongodb(folder / "db") as uri, Backend(folder / "hub", uri) as hub:
            one, two = Site(folder / "a", hub.address, dim), Site(folder / "b", hub.address, dim)
            fill(one, references, dim)
            rows.append(measured("push", one, one.exchange.push))
            rows.append(measured("pull", two, lambda: [None for _ in iter(lambda: two.exchange.pull(0.0), False)]))
            rows.append(whole_list(hub.address))
            two.exchange.run()
            rows.append(measured("nothing new", two, two.exchange.run))
            one.files.save(
                [NewReference("One More", uuid=new_uuids(1)[0])],
                np.random.default_rng(3).normal(size=(1, dim)).astype(np.float32),
            )
            rows.append(measured("one change, sent", one, one.exchange.push))
            rows.append(measured("one change, taken", two, lambda: two.exchange.pull(0.0)))
            rows.append(enrolments_beside_a_pull(folder / "c", hub.address, dim, already))
            one.close()
            two.close()
    pull, whole = rows[1], rows[2]
    pull["bytes_to_whole_list"] = round(pull["bytes"] / whole["bytes"], 3)
    pull["seconds_to_whole_list"] = round(pull["seconds"] / whole["seconds"], 3)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--already", type=int, default=0, help="references that the third gallery has of its own")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = run(arguments.references, arguments.dim, arguments.already)
    print_report(rows, as_json=arguments.json)


if __name__ == "__main__":
    main()
