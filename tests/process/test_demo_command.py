"""The demo as a newcomer types it: no camera, no configuration, no download."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from tests.support.paths import needs_dlib
from tests.support.site_process import SUPERVISOR, command

_DEADLINE_S = 170


@needs_dlib
def test_the_demo_runs_a_site_and_sums_it_up(tmp_path: Path) -> None:
    """It ends by itself, names people it knows and nobody wrongly, and leaves one picture to look at, for its owner alone."""
    done = command(tmp_path, "demo", "--json", "--sheet", str(tmp_path / "sheet.png"), timeout_s=170)
    assert done.returncode == 0, done.stderr
    *events, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert summary["event"] == "summary"
    assert summary["wrong_names"] == []
    assert any(event["event"] == "named" for event in events)
    assert (tmp_path / "sheet.png").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


@needs_dlib
def test_the_demo_in_a_browser(tmp_path: Path) -> None:
    """`--web` prints an address that signs a browser in; the people, the cameras and the sightings are there; Ctrl-C ends it in order."""
    words = [sys.executable, str(SUPERVISOR), "demo", "--web", "--json", "--sheet", str(tmp_path / "sheet.png")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as demo:
        last_resort = threading.Timer(_DEADLINE_S, demo.kill)
        last_resort.start()
        try:
            assert demo.stdout is not None
            lines = _documents(demo.stdout)
            page, _, code = next(one for one in lines if one["event"] == "web")["url"].partition("/login#")
            with requests.Session() as browser:
                browser.trust_env = False
                browser.headers["Origin"] = page
                assert browser.post(f"{page}/api/v1/session", json={"code": code}, timeout=30).status_code == 200
                people = browser.get(f"{page}/api/v1/people", timeout=30).json()["people"]
                assert len(people) == 5
                named = next(one for one in lines if one["event"] == "named")
                found = browser.get(f"{page}/api/v1/events?event=named&person={named['person']}", timeout=30).json()
                assert [one["id"] for one in found["events"]][-1] == named["id"]
                cameras = browser.get(f"{page}/api/v1/cameras", timeout=30).json()["cameras"]
                assert {one["name"] for one in cameras} == {"lounge", "corridor"}
            demo.send_signal(signal.SIGINT)
            *_, summary = lines
            assert summary["event"] == "summary"
            assert demo.wait() == 0
        finally:
            last_resort.cancel()
            demo.kill()


def _documents(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in lines)
