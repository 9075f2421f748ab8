"""Cases of `python -m tests.benchmark.web` on a site without cameras: nobody connected, readers of the stream, a page of the list of people."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.ipc.client import SiteClient
from shared.ipc.requests.sightings import Record
from shared.records import Role
from tests.benchmark.web_figures import Figures, cores_over, cpu_s, median, percentiles, pss_mb
from tests.support.paths import ROOT
from tests.support.sites import save_references
from tests.support.stalled_readers import FILLING, fill, stalled_readers
from tests.support.stores import event
from tests.support.web_site import WebSite, web_site

CASES = ("idle", "stream", "readers", "stalled", "people")
_IDLE_S = 10.0
_PER_SECOND = 5.0  # sightings; a busy site has one in some seconds
_PATIENCE_S = 30.0
_AT_ONCE = 1000  # people that are saved with one request
_PAGES = 9
# Clients that read nothing. The site ends such a connection after 20 s: a round is shorter.
_STALLED, _ROUNDS, _ROUND_S = 20, 3, 6.0
_TRACKS = itertools.count()


class Readers:
    """`count` readers of the stream, in a process of their own."""

    def __init__(self, web: WebSite, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmark.web_readers", web.address.rpartition(":")[2], str(count)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip  # options by kind
        self._lines: Iterator[str] = iter(())
        assert self._process.stdin is not None
        self._process.stdin.write(f"{web.token(Role.VIEWER)}\n")
        self._process.stdin.flush()
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout is not None
        watchdog = threading.Timer(_PATIENCE_S, self._process.kill)  # then there is no line, and whoever waits is told
        watchdog.start()
        try:
            return self._process.stdout.readline().strip()
        finally:
            watchdog.cancel()

    def read(self, track: int) -> list[float]:
        """When each reader had read the sighting of this track. The sightings have to be asked for in their order."""
        found = json.loads(self._line())
        assert found["track"] == track, found
        return list(found["read"])

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(timeout=_PATIENCE_S)


@contextmanager
def _reading(web: WebSite, count: int) -> Iterator[Readers]:
    readers = Readers(web, count)
    try:
        yield readers
    finally:
        readers.close()


def delays_s(web: WebSite, readers: Readers, events: int) -> list[float]:
    """How long after its sending each sighting was read, by each reader; so many a second are sent."""
    client, delays = SiteClient(web.site.settings.run_dir), list[float]()
    pause, due = threading.Event(), time.monotonic()
    for _ in range(events):
        pause.wait(max(0.0, due - time.monotonic()))
        due = max(due + 1 / _PER_SECOND, time.monotonic())
        track = next(_TRACKS)
        sent = time.monotonic()
        client.ask(Record([event(f"bench-{track}", kind="unknown", track=track)]))
        delays += [read - sent for read in readers.read(track)]
    client.close()
    return delays


def measure(folder: Path, cases: set[str], readers: int, events: int, people: int) -> list[Figures]:
    results: list[Figures] = []
    with web_site(folder) as web:
        pid = web.site.child_pid("web")
        web.visitor(Role.VIEWER).get("/api/v1/me")
        if "idle" in cases:
            (cores,) = cores_over(_IDLE_S, [pid])
            results.append({"case": "idle", "cores": round(cores, 4), "pss_mb": pss_mb(pid)})
        for case, count in (("stream", 1), ("readers", readers)):
            if case in cases:
                results.append({"case": case, **_followed(web, pid, count, events)})
        if "stalled" in cases:
            results.append({"case": "stalled", **_stalled(web, pid)})
        if "people" in cases:
            results.append({"case": "people", **_people(web, people)})
    return results


def _followed(web: WebSite, pid: int, count: int, events: int) -> Figures:
    with _reading(web, count) as readers:
        delays_s(web, readers, 5)
        used, began = cpu_s([pid]), time.monotonic()
        delays = delays_s(web, readers, events)
        cores = (cpu_s([pid]) - used) / (time.monotonic() - began)
        return {
            "readers": count,
            "events": events,
            **percentiles(delays),
            "cores": round(cores, 3),
            "pss_mb": pss_mb(pid),
        }


def _stalled(web: WebSite, pid: int) -> Figures:
    """One reader, alone and beside clients that read nothing, in turn."""
    found: dict[str, list[float]] = {"alone": [], "beside": []}
    before = pss_mb(pid)
    most = before
    with _reading(web, 1) as readers:
        for _ in range(_ROUNDS):
            found["alone"] += delays_s(web, readers, round(_ROUND_S * _PER_SECOND))
            with stalled_readers(web, _STALLED):
                tracks = [next(_TRACKS) for _ in range(FILLING)]
                fill(web, tracks)
                for track in tracks:
                    readers.read(track)
                found["beside"] += delays_s(web, readers, round(_ROUND_S * _PER_SECOND))
                most = max(most, pss_mb(pid))
    alone, beside = percentiles(found["alone"]), percentiles(found["beside"])
    return {"clients": _STALLED, **beside, "alone_p95_ms": alone["p95_ms"], "pss_mb": most, "alone_pss_mb": before}


def _people(web: WebSite, people: int) -> Figures:
    enrol_many(web, people)
    operator, took = web.visitor(Role.OPERATOR), []
    for _ in range(_PAGES):
        began = time.monotonic()
        page = operator.get("/api/v1/people?limit=60")
        took.append(time.monotonic() - began)
    middle = operator.get("/api/v1/people?limit=1000")["next"] or ""
    deep = []
    for _ in range(_PAGES):
        began = time.monotonic()
        operator.get("/api/v1/people", params={"limit": 60, "after": middle})
        deep.append(time.monotonic() - began)
    assert len(page["people"]) == min(60, people)
    return {
        "people": people,
        "page_ms": median([1e3 * one for one in took]),
        "later_page_ms": median([1e3 * one for one in deep]),
    }


def enrol_many(web: WebSite, people: int) -> None:
    """So many people with one reference each, of noise and without a photo."""
    for start in range(0, people, _AT_ONCE):
        names = [f"person {number:06}" for number in range(start, min(start + _AT_ONCE, people))]
        save_references(web.site, *names, seed=start)
