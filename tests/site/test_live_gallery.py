"""The gallery changes while the site runs: every camera uses it within a second, and nothing pauses."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from shared.gallery.files import segment_path
from shared.gallery.reader import GalleryReader
from tests.support.blocks import held_bytes
from tests.support.paths import FACES, VIDEOS, needs_data
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import enrol, write_site

pytestmark = needs_data
_SOFA = f'source = "{VIDEOS / "friends_in_video.mp4"}"\nloop = true'


def test_enrol_and_forget_while_it_runs(tmp_path: Path) -> None:
    """Somebody enrolled while in view is named; forgotten, no row, photo, sighting or WAL page of theirs is left."""
    write_site(tmp_path, {"sofa": _SOFA})
    enrol(tmp_path, FACES / "friends_enrol" / "Joey.png")
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        pid = site.child_pid("sofa")
        answer = command_json(tmp_path, "enrol", str(FACES / "friends_enrol"))
        assert answer["unchanged"] == 1
        assert len(answer["enrolled"]) == 5
        site.wait_for_event(60, event="named", person="Chandler")
        run_dir = tmp_path / "data" / "run"
        with GalleryReader(run_dir) as reader:
            live, block = reader.copy_live(), segment_path(run_dir, reader.generation)
        vector = live.references[live.names.index("Chandler")].tobytes()
        assert vector in held_bytes(block)
        assert b"Chandler" in held_bytes(block)
        forgotten = command_json(tmp_path, "forget", "Chandler")
        assert (forgotten["references"], forgotten["photos"]) == (1, 1)
        assert forgotten["sightings"] >= 1
        assert vector not in held_bytes(block), "the vector has left memory"
        assert b"Chandler" not in held_bytes(block)
        told = len(site.events)
        site.wait_for_event(60, after=told, event="named", person="Monica")
        assert not [
            event for event in site.events[told:] if event["person"] == "Chandler" and event["event"] == "named"
        ]
        assert site.check() == []
        assert site.child_pid("sofa") == pid, "nothing was restarted"
        assert "Chandler" not in command(tmp_path, "events", "--json").stdout
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            assert b"Chandler" not in path.read_bytes(), path
    assert not (tmp_path / "data" / "faces" / "Chandler").exists()


def test_a_forgotten_person_does_not_come_back_unasked(tmp_path: Path) -> None:
    """Neither an old folder (the database deleted, so filled anew is another thing: here the marks live) nor an old backup
    brings a forgotten person back; enrolling on purpose does."""
    write_site(tmp_path, {})
    enrol(tmp_path, FACES / "friends_enrol")
    command_json(tmp_path, "backup", str(tmp_path / "old.db"))
    command_json(tmp_path, "forget", "Ross")
    restored = command_json(tmp_path, "restore", str(tmp_path / "old.db"))
    assert restored == {"restored": 5, "kept_deleted": 1, "set_aside": 0}
    assert "Ross" not in {one["person"] for one in command_json(tmp_path, "people")["people"]}
    enrol(tmp_path, FACES / "friends_enrol" / "Ross.png")
    assert "Ross" in {one["person"] for one in command_json(tmp_path, "people")["people"]}


def test_the_empty_database_is_filled_from_photos_and_then_found(tmp_path: Path) -> None:
    """First start: from data/faces, what is no photo named and skipped. Second start: from SQLite, with no enrolling."""
    write_site(tmp_path, {"sofa": f'source = "{VIDEOS / "friends_in_video.mp4"}"\nrealtime = false'})
    for photo in sorted((FACES / "friends_enrol").iterdir()):
        folder = tmp_path / "data" / "faces" / photo.stem
        folder.mkdir(parents=True)
        (folder / photo.name).write_bytes(photo.read_bytes())
    (tmp_path / "data" / "faces" / "Joey" / "broken.jpg").write_bytes(b"not a photo")
    for start in (1, 2):
        with SiteProcess(tmp_path, "--until-ended") as site:
            assert site.wait(120) == 0
        assert {event["person"] for event in site.events if event["event"] == "named"} >= {"Joey", "Ross"}
        assert any("enrolled 6 photos" in line for line in site.log) == (start == 1)
        assert any("broken.jpg" in line and "skipped" in line for line in site.log) == (start == 1)
    (tmp_path / "data" / "face_embeddings.db").unlink()
    with SiteProcess(tmp_path, "--until-ended") as site:
        assert site.wait(120) == 0
    assert any("enrolled 6 photos" in line for line in site.log), "deleting the file regenerates it"


@pytest.mark.alone
def test_a_stop_in_the_middle_is_prompt_and_clean(tmp_path: Path) -> None:
    """SIGTERM while tracks are open: exit 0 within seconds, `left` told and kept, the database complete alone."""
    write_site(tmp_path, {"sofa": _SOFA})
    enrol(tmp_path, FACES / "friends_enrol")
    with SiteProcess(tmp_path) as site:
        site.wait_for_event(60, event="named")
        began = time.monotonic()
        assert site.stop() == 0
        assert time.monotonic() - began < 10
    named = {event["track"] for event in site.events if event["event"] == "named"}
    left = {event["track"] for event in site.events if event["event"] == "left"}
    assert named <= left
    assert sorted(path.name for path in (tmp_path / "data").glob("face_embeddings.db*")) == [
        "face_embeddings.db",
        "face_embeddings.db.lock",
    ]
    assert site.segments() == []
