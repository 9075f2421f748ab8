"""The web part: what it costs when nobody asks, and how soon a sighting is in a browser.

    python -m tests.benchmark.web [--readers 200] [--events 200] [--people 10000] [--json]

A site without cameras, on the dlib engine, with the web part.
- idle: PSS and share of one core of the web process, nobody connected, over ten seconds;
- stream: a reader of the stream; from the moment before a sighting is sent to the writer until its line is read;
- readers: the same while so many readers follow, and what the web process takes of a core meanwhile;
- people: the first page of /people with so many people enrolled.
"""

from __future__ import annotations

import argparse
import itertools
import queue
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests

from shared.ipc.client import SiteClient
from shared.ipc.requests import Record
from shared.records import Role
from tests.benchmark.report import print_report
from tests.support.sites import save_references
from tests.support.stores import event
from tests.support.web_site import Visitor, WebSite, read_stream, web_site

_IDLE_S = 10.0
_PATIENCE_S = 30.0
_KEYS = itertools.count()
_AT_ONCE = 1000


class Reader:
    """Follows the stream on a thread. `seen`: (key, when its line was read)."""

    def __init__(self, visitor: Visitor) -> None:
        self.seen: queue.Queue[tuple[int, float]] = queue.Queue()
        self._answer = visitor.ask("GET", "/api/v1/events/stream", stream=True)
        self._answer.raise_for_status()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for kind, _, document in read_stream(self._answer):
                if kind == "unknown":
                    self.seen.put((document["track"], time.monotonic()))
        except (requests.RequestException, ValueError, AttributeError):  # it was closed
            return

    def close(self) -> None:
        self._answer.close()


def delays_ms(site: WebSite, readers: list[Reader], events: int) -> list[float]:
    """How long after its sending each sighting was read, by each reader."""
    client, delays = SiteClient(site.site.settings.run_dir), []
    for _ in range(events):
        track = next(_KEYS)
        sent = time.monotonic()
        client.ask(Record([event(f"bench-{track}", kind="unknown", track=track)]))
        for reader in readers:
            number, read = reader.seen.get(timeout=_PATIENCE_S)
            assert number == track
            delays.append((read - sent) * 1e3)
    client.close()
    return delays


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def measure(folder: Path, readers: int, events: int, people: int) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    with web_site(folder) as web:
        process = psutil.Process(web.site.child_pid("web"))
        viewer = web.visitor(Role.VIEWER)
        viewer.get("/api/v1/me")
        before, began = _used(process), time.monotonic()
        threading.Event().wait(_IDLE_S)
        share = (_used(process) - before) / (time.monotonic() - began)
        results.append({"case": "idle", "pss_mb": _pss_mb(process.pid), "cores": round(share, 4)})
        for count in (1, readers):
            following = [Reader(viewer) for _ in range(count)]
            before, began = _used(process), time.monotonic()
            delays = delays_ms(web, following, events)
            share = (_used(process) - before) / (time.monotonic() - began)
            p50, p95 = np.percentile(delays, (50, 95))
            results.append(
                {
                    "case": "stream", "readers": count, "events": events, "p50_ms": round(p50, 1), "p95_ms": round(p95, 1),
                    "cores": round(share, 2), "pss_mb": _pss_mb(process.pid),
                }
            )  # fmt: skip
            for one in following:
                one.close()
        operator = web.visitor(Role.OPERATOR)
        for start in range(0, people, _AT_ONCE):
            names = [f"person {number:06}" for number in range(start, min(start + _AT_ONCE, people))]
            save_references(web.site, *names, seed=start)
        took = []
        for _ in range(5):
            began = time.monotonic()
            operator.get("/api/v1/people?limit=100")
            took.append((time.monotonic() - began) * 1e3)
        results.append({"case": "people", "people": people, "page_ms": round(float(np.median(took)), 1)})
    return results


def _pss_mb(pid: int) -> float:
    """PSS if it can be read, else resident memory: a process that keeps its memory private shows the latter only."""
    try:
        return round(psutil.Process(pid).memory_full_info().pss / 1e6, 1)
    except psutil.AccessDenied:
        return round(psutil.Process(pid).memory_info().rss / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), arguments.readers, arguments.events, arguments.people)
    print_report(results, as_json=arguments.json)


if __name__ == "__main__":
    main()
