"""Calibration as a job of the web process: started, watched, cancelled, one at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from shared.ipc.client import SiteClient
from shared.ipc.requests.references import Save
from shared.records import NewReference, Role
from tests.support.paths import needs_dlib
from tests.support.site_process import command_json
from tests.support.vectors import noise
from tests.support.web_site import WebSite, web_site

pytestmark = needs_dlib
API = "/api/v1"
_PEOPLE = 2000  # comparing them takes some seconds


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    with web_site(tmp_path_factory.mktemp("jobs")) as running:
        random = np.random.default_rng(0)
        people = noise(random, _PEOPLE, 128)
        rows = [NewReference(f"person {n % _PEOPLE}") for n in range(2 * _PEOPLE)]
        client = SiteClient(running.site.settings.run_dir, patience_s=30)
        again = people + 0.2 * noise(random, _PEOPLE, 128)
        client.ask(Save(rows, vectors=np.concatenate([people, again]).astype(np.float32)))
        client.close()
        yield running


def children(web: WebSite) -> list[psutil.Process]:
    return psutil.Process(web.site.child_pid("web")).children(recursive=True)


def ended(web: WebSite, job: dict[str, Any]) -> dict[str, Any]:
    """The job once it runs no more."""
    operator = web.visitor(Role.OPERATOR)
    found: dict[str, Any] = {}

    def is_over() -> bool:
        found.update(operator.get(f"{API}/jobs/{job['id']}"))
        return bool(found["state"] != "running")

    web.site.wait_for(is_over, "end of the job")
    return found


def test_a_job_gives_what_the_command_prints(web: WebSite) -> None:
    """202 with its place; the progress rises to the end; then the report with its curve. Another process does it, and ends."""
    operator = web.visitor(Role.OPERATOR)
    before = psutil.Process(web.site.child_pid("web")).memory_info().rss
    answer = operator.ask("POST", f"{API}/calibrate", json={"strangers_named": 0.01})
    assert answer.status_code == 202
    job = answer.json()
    assert (job["state"], job["result"], answer.headers["Location"]) == ("running", None, f"{API}/jobs/{job['id']}")
    web.site.wait_for(lambda: bool(children(web)), "the process that measures")
    found = ended(web, job)
    assert (found["state"], found["fault"]) == ("done", None)
    assert found["done"] == found["of"] == 2 * _PEOPLE
    web.site.wait_for(lambda: not children(web), "its end")
    assert psutil.Process(web.site.child_pid("web")).memory_info().rss < before + (12 << 20)
    report = found["result"]
    assert report == command_json(web.site.folder, "calibrate", "--fmr", "0.01")
    curve = report["curve"]
    thresholds = [one["threshold"] for one in curve]
    assert thresholds == sorted(set(thresholds))
    assert thresholds[0] < report["now"]["threshold"] < thresholds[-1]
    for name in ("named_right", "strangers_named", "strangers_estimated"):
        values = [one[name] for one in curve]
        assert values == sorted(values, reverse=True), f"{name}: a higher threshold never names more"
    (newest, *_) = operator.get(f"{API}/jobs")["jobs"]
    assert (newest["id"], newest["result"]) == (job["id"], None)


def test_one_job_at_a_time_and_it_can_be_cancelled(web: WebSite) -> None:
    """A second one is refused, and told so; cancelling ends the process at once; a job that has ended stays as it is."""
    operator = web.visitor(Role.OPERATOR)
    began = time.monotonic()
    ended(web, operator.ask("POST", f"{API}/calibrate", json={}).json())
    whole_s = time.monotonic() - began
    began = time.monotonic()
    job = operator.ask("POST", f"{API}/calibrate", json={}).json()
    second = operator.ask("POST", f"{API}/calibrate", json={})
    assert (second.status_code, second.json()["type"]) == (409, "urn:rollcall:problem:busy")
    assert operator.ask("DELETE", f"{API}/jobs/{job['id']}").json()["state"] == "cancelled"
    assert children(web) == []
    assert time.monotonic() - began < whole_s / 2, "it is not waited for"
    assert operator.ask("DELETE", f"{API}/jobs/{job['id']}").json()["state"] == "cancelled"
    third = operator.ask("POST", f"{API}/calibrate", json={})
    assert third.status_code == 202, "its place is free"
    operator.ask("DELETE", f"{API}/jobs/{third.json()['id']}")
    assert operator.ask("GET", f"{API}/jobs/none").status_code == 404
    assert operator.ask("POST", f"{API}/calibrate", json={"strangers_named": 2}).status_code == 422


def test_only_the_last_jobs_are_kept(web: WebSite) -> None:
    operator = web.visitor(Role.OPERATOR)
    made = []
    for _ in range(10):
        made.append(operator.ask("POST", f"{API}/calibrate", json={}).json()["id"])
        operator.ask("DELETE", f"{API}/jobs/{made[-1]}")
    assert [one["id"] for one in operator.get(f"{API}/jobs")["jobs"]] == made[:-9:-1]


def test_the_site_stops_with_a_job(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In time and in order; what measured ends with the process. Without anybody enrolled a job fails, and says why."""
    with web_site(tmp_path_factory.mktemp("stop")) as web:
        operator = web.visitor(Role.OPERATOR)
        job = operator.ask("POST", f"{API}/calibrate", json={}).json()
        found = ended(web, job)
        assert (found["state"], found["result"]) == ("failed", None)
        assert "nobody is enrolled" in found["fault"]
        operator.ask("POST", f"{API}/calibrate", json={})
        web.site.wait_for(lambda: bool(children(web)), "the process that measures")
        (measuring,) = children(web)
        assert web.site.stop() == 0
        assert not measuring.is_running()
        assert not [line for line in web.site.log if "killed" in line]
