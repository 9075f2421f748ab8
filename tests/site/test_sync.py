"""Two sites and two backends in front of one database, all of them real processes: who is enrolled at one is named at the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clips import wait_until
from tests.support.hub import Backend
from tests.support.mongodb import mongodb, needs_mongodb
from tests.support.paths import FACES, VIDEOS, needs_data
from tests.support.plain_server import PlainServer
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import enrol, people_of, write_site

pytestmark = needs_data
_SOFA = f'source = "{VIDEOS / "friends_in_video.mp4"}"\nloop = true'
_KEY = "5a" * 32


def _site(folder: Path, address: str, cameras: dict[str, str]) -> Path:
    folder.mkdir()
    write_site(folder, cameras)
    with (folder / "site.toml").open("a", encoding="utf-8") as file:
        file.write(f'[sync]\nenabled = true\nbackend = "{address}/api"\nkey_file = "sync.key"\n')
    (folder / "sync.key").write_text(_KEY, encoding="utf-8")
    (folder / "sync.key").chmod(0o600)
    return folder


@pytest.fixture
def backends(tmp_path: Path) -> Iterator[tuple[Backend, Backend]]:
    with (
        mongodb(tmp_path / "db") as uri,
        Backend(tmp_path / "hub1", uri) as one,
        Backend(tmp_path / "hub2", uri) as two,
    ):
        yield one, two


@needs_mongodb
@pytest.mark.alone
def test_enrolled_here_and_named_there_forgotten_there_and_unknown_here(
    tmp_path: Path, backends: tuple[Backend, Backend]
) -> None:
    """Somebody who is enrolled at one site is named by the other's camera within seconds; a rename travels; forgotten at one, the person is
    unknown at both, and sightings went up."""
    gate = _site(tmp_path / "gate", backends[0].address, {})
    hall = _site(tmp_path / "hall", backends[1].address, {"sofa": _SOFA})
    enrol(hall, FACES / "friends_enrol" / "Joey.png")
    with SiteProcess(hall) as there, SiteProcess(gate) as here:
        here.wait_until_ready()
        there.wait_until_ready()
        wait_until(lambda: "Joey" in people_of(gate), "Joey at the gate", 60)
        began = time.monotonic()
        enrol(gate, FACES / "friends_enrol" / "Chandler.png")
        enrolled = time.monotonic()
        wait_until(lambda: "Chandler" in people_of(hall), "Chandler in the hall", 60)
        seconds = time.monotonic() - enrolled
        print(f"enrolled in {enrolled - began:.1f} s, at the other site {seconds:.2f} s after that")
        assert seconds < 10  # docs/measurements.md has what it takes on a quiet machine
        there.wait_for_event(90, event="named", person="Chandler")
        sightings = backends[0].client()
        wait_until(
            lambda: any(one["person"] == "Chandler" for one in sightings.ask("GET", "/sightings").json()["sightings"]),
            "a sighting at the hub",
            60,
        )
        assert command(hall, "people", "Chandler", "--rename", "Bing").returncode == 0
        wait_until(lambda: "Bing" in people_of(gate), "the new name at the gate", 60)
        forgotten = command_json(gate, "forget", "Bing")
        assert forgotten["references"] == 1
        wait_until(lambda: "Bing" not in people_of(hall), "the forgetting in the hall", 60)
        wait_until(
            lambda: (
                not any(
                    one["person"] in ("Chandler", "Bing")
                    for one in sightings.ask("GET", "/sightings").json()["sightings"]
                )
            ),
            "the sightings erased at the hub",
            60,
        )
        told = len(there.events)
        there.wait_for_event(90, after=told, event="named", person="Joey")
        assert not [
            one for one in there.events[told:] if one["event"] == "named" and one["person"] in ("Chandler", "Bing")
        ]
        assert here.check() == []
        assert there.check() == []
        status = there.status()["processes"]["sync"]
        assert status["up"] and status["wire"] == "rollcall" and status["quarantined"] == 0


@needs_mongodb
def test_a_backend_that_goes_away_disturbs_nobody(tmp_path: Path, backends: tuple[Backend, Backend]) -> None:
    """While the backend is dead the site says so and goes on; all is caught up when it is back."""
    gate = _site(tmp_path / "gate", backends[0].address, {})
    hall = _site(tmp_path / "hall", backends[1].address, {})
    with SiteProcess(gate) as here, SiteProcess(hall) as there:
        here.wait_until_ready()
        there.wait_until_ready()
        wait_until(lambda: here.status()["processes"]["sync"]["up"], "an exchange", 60)
        backends[0].kill()
        wait_until(lambda: here.status()["processes"]["sync"]["down_reason"], "word of it", 60)
        enrol(gate, FACES / "friends_enrol" / "Ross.png")
        assert "Ross" in people_of(gate)
        assert "DOWN since" in command(gate, "status").stdout
        backends[0].start()
        wait_until(lambda: "Ross" in people_of(hall), "Ross in the hall", 90)
        wait_until(lambda: here.status()["processes"]["sync"]["up"], "an exchange", 60)
        assert here.wait_for_log("the backend answers again")


def test_status_tells_what_went_to_a_plain_server_and_what_it_sent_that_is_unfit(tmp_path: Path) -> None:
    """References are counted as sent; an item of another dimension is in quarantine, with its reason in the line."""
    with PlainServer() as server:
        server.keep({"person_name": "Short", "embedding": [0.6, 0.8], "image_path": None, "user_id": None})
        gate = _site(tmp_path / "gate", server.address, {})
        enrol(gate, FACES / "friends_enrol" / "Ross.png")
        with SiteProcess(gate) as here:
            here.wait_until_ready()
            wait_until(lambda: here.status()["processes"]["sync"]["sent"] == 1, "a reference sent", 60)
            status = here.status()["processes"]["sync"]
            assert (status["wire"], status["quarantined"]) == ("plain", 1)
            assert status["quarantine"].startswith("of another model")
            assert f"1 in quarantine: {status['quarantine']}" in command(gate, "status").stdout
