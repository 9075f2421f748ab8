"""A site on a full disk: what is enrolled is served and said to be all that is; with room again nothing is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.events import Event
from shared.ipc.client import SiteClient
from shared.ipc.event_sender import EventSender
from shared.ipc.requests.gallery import Info
from tests.conftest import SmallDisk
from tests.faults.test_bad_input import one_face
from tests.support.clips import write_clip
from tests.support.full_disks import fill
from tests.support.paths import needs_dlib
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.stores import DLIB, site_settings

pytestmark = needs_dlib


@pytest.fixture
def disk(tmp_path: Path, small_disk: SmallDisk) -> Iterator[Path]:
    folder = small_disk("disk", 6144)
    site_settings(tmp_path, f'[site]\ndata_dir = "{folder / "data"}"\n{DLIB}')
    command_json(tmp_path, "enrol", str(one_face(tmp_path / "Ada.jpg")))
    yield folder


def event(key: str) -> dict[str, Any]:
    return {
        "key": key, "event": "unknown", "time": "2126-01-31T08:00:00.000Z", "camera": "door", "person": None, "track": 1,
    }  # fmt: skip


def test_a_site_starts_and_serves_on_a_full_disk(tmp_path: Path, disk: Path) -> None:
    """It starts, says that nothing can be stored, knows who is enrolled, refuses to enrol with 75, and keeps a camera's sightings
    waiting; with room again all that waited is stored, by itself."""
    filler = fill(disk)
    with SiteProcess(tmp_path) as site:
        site.wait_for_log("NOTHING CAN BE STORED")
        site.wait_until_ready()
        found = command_json(tmp_path, "identify", str(tmp_path / "Ada.jpg"))["photos"][0]["faces"]
        assert [face["person"] for face in found] == ["Ada"]
        assert [one["person"] for one in command_json(tmp_path, "people")["people"]] == ["Ada"]
        refused = command(tmp_path, "enrol", str(tmp_path / "Ada.jpg"), "--name", "Bo")
        assert refused.returncode == 75, refused.stderr
        client = SiteClient(site.settings.run_dir)
        assert client.ask(Info()).nothing_stored
        client.close()
        assert any("full" in fault or "disk" in fault for fault in site.check())
        camera = EventSender(site.settings.run_dir)
        camera.record([Event.from_json(event("k1")), Event.from_json(event("k2"))])
        assert not camera.flush(1)
        assert camera.backlog == 2
        assert site.status()["writer"]["restarts"] == 0
        filler.unlink()
        site.wait_for_log("the disk can be written again")
        assert camera.flush(60)
        camera.close()
        assert command(tmp_path, "events", "--json").stdout.count("unknown") == 2
        command_json(tmp_path, "enrol", str(tmp_path / "Ada.jpg"), "--name", "Bo")
        assert site.check() == []
        assert site.stop() == 0
    assert {one["person"] for one in command_json(tmp_path, "people")["people"]} == {"Ada", "Bo"}


def test_a_stop_on_a_full_disk_is_clean(tmp_path: Path, disk: Path) -> None:
    """Started and stopped without room: exit 0, and the database is as it was."""
    database = disk / "data" / "face_embeddings.db"
    before = database.read_bytes()
    filler = fill(disk)
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        assert site.stop() == 0
    assert database.read_bytes() == before
    filler.unlink()
    assert [one["person"] for one in command_json(tmp_path, "people")["people"]] == ["Ada"]


def test_a_run_whose_sightings_cannot_be_stored_is_not_done(tmp_path: Path, disk: Path) -> None:
    """`run --until-ended` without room for a single sighting ends with 75, and says so; with room it ends with 0."""
    clip = write_clip(tmp_path / "clip.avi")
    camera = f'[cameras.door]\nsource = "{clip}"\nrealtime = false\n'
    site_settings(tmp_path, f'[site]\ndata_dir = "{disk / "data"}"\n{DLIB}{camera}')
    filler = fill(disk)
    with SiteProcess(tmp_path, "--until-ended") as site:
        assert site.wait(90) == 75
        assert any("could be stored" in line for line in site.log)
    filler.unlink()
    with SiteProcess(tmp_path, "--until-ended") as site:
        assert site.wait(90) == 0
    assert "camera_up" in command(tmp_path, "events", "--json").stdout
