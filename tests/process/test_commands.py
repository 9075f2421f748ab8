"""The real command line, with and without a running site: what it prints, what it exits with, what it changes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from shared.model_id import ModelId
from shared.records import NewReference
from shared.service.access import RunningSite, SiteAccess
from shared.settings.file import load_settings
from shared.store.check import store_faults
from shared.store.opening import open_read_only
from shared.store.references import count_references, list_people
from tests.support.paths import FACES, SMALL_PACK, VIDEOS, astronaut, needs_data, needs_dlib, no_faces
from tests.support.site_process import SUPERVISOR, SiteProcess, command, command_json
from tests.support.sites import enrol, write_site
from tests.support.stores import DLIB, files_of, silent, site_settings
from tests.support.tiny_pack import write_pack
from tests.support.vectors import noise, unit
from workers.recognizer_dlib import dlib_fingerprint

_RNG = np.random.default_rng(2)
_EVENT_KEYS = {
    *[
        "id",
        "event",
        "time",
        "site",
        "camera",
        "user_id",
        "media_time_s",
        "track",
        "person",
        "score",
        "margin",
        "confidence",
        "frames",
        "box",
    ]
}


def site_of(folder: Path, text: str = DLIB) -> Path:
    (folder / "site.toml").write_text(text, encoding="utf-8")
    return folder


def photo_of_one(path: Path, *, mirrored: bool = False) -> Path:
    """A picture of one face that every installation has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(astronaut()) as photo:
        upright = photo.convert("RGB")
        (upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else upright).save(path)
    return path


def save(folder: Path, *names: str, dim: int = 128) -> None:
    """Invented references, through the site when it runs."""
    with SiteAccess(load_settings(folder / "site.toml"), silent, create=True) as site:
        site.save([NewReference(name) for name in names], noise(_RNG, len(names), dim))


def record(folder: Path, *events: dict[str, Any]) -> None:
    with SiteAccess(load_settings(folder / "site.toml"), silent, create=True) as site:
        site.record(events)


def ago(minutes: float) -> str:
    """That long ago, as a camera writes it."""
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sighting(key: str, when: str | None = None, **fields: Any) -> dict[str, Any]:
    """What a camera sends; its `key` is the site's own and never shown."""
    when = when or ago(1)
    empty = dict.fromkeys(("user_id", "media_time_s", "person", "score", "margin", "confidence"))
    place = {"camera": "door", "track": 3, "frames": 6, "box": [1, 2, 3, 4]}
    return {"key": key, "event": "unknown", "time": when, **empty, **place, **fields}


@pytest.fixture(scope="module", params=["files", "site"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A site with Ada enrolled, once as files and once running: commands answer the same."""
    folder = site_of(tmp_path_factory.mktemp("site"))
    answer = command_json(folder, "enrol", str(photo_of_one(folder / "photos" / "Ada.png")), "--user-id", "e-17")
    assert [one["person"] for one in answer["enrolled"]] == ["Ada"]
    if request.param == "files":
        yield folder
        return
    with SiteProcess(folder) as site:
        site.wait_until_ready()
        yield folder
        assert site.check() == []
        assert site.stop() == 0


# --- the same answers with and without a site -----------------------------------------------------------------------


@needs_dlib
def test_people(either: Path) -> None:
    """Name, user id, references, first and last change; a line each for people."""
    (ada,) = command_json(either, "people")["people"]
    assert set(ada) == {"person", "user_id", "references", "enrolled_at", "updated_at", "set_aside", "id"}
    assert (ada["person"], ada["user_id"], ada["references"]) == ("Ada", "e-17", 1)
    for key in ("enrolled_at", "updated_at"):
        assert datetime.fromisoformat(ada[key]).tzinfo is not None
    assert re.match(r"Ada  \(e-17\)  1 reference, since 20", command(either, "people").stdout)


@needs_dlib
def test_enrol(either: Path, tmp_path: Path) -> None:
    """What was enrolled, what was refused and why, what was there already; exit 1 when anything was refused."""
    photos = tmp_path / "photos"
    photo_of_one(photos / "Bo.png", mirrored=True)
    shutil.copyfile(no_faces(), photos / "Cup.png")
    answer = command_json(either, "enrol", str(photos), str(either / "photos" / "Ada.png"), expect=1)
    assert set(answer) == {"enrolled", "refused", "unchanged", "set_aside", "skipped", "look_alikes", "disagrees"}
    assert answer["enrolled"] == [{"person": "Bo", "photo": str(photos / "Bo.png")}]
    (alike,) = answer["look_alikes"]
    assert (alike["person"], alike["photo"], alike["looks_like"]) == ("Bo", str(photos / "Bo.png"), "Ada")
    assert 0.945 <= alike["score"] <= 1
    assert answer["disagrees"] == []
    (refused,) = answer["refused"]
    assert set(refused) == {"photo", "reason"}
    assert refused["photo"] == str(photos / "Cup.png")
    assert "no face" in refused["reason"]
    assert answer["unchanged"] == 1
    kept = either / "data" / "faces" / "Bo" / "Bo.png"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    forgotten = command_json(either, "forget", "Bo")
    assert forgotten.pop("out_of_reach")
    assert forgotten == {
        "person": "Bo",
        "references": 1,
        "photos": 1,
        "sightings": 0,
        "corrections": 0,
        "probes": 0,
        "already": False,
        "spelt_otherwise": [],
        "not_removed": [],
        "other_copies": [],
    }
    assert not kept.parent.exists()
    assert command(either, "forget", "Bo").returncode == 0  # it is done already
    assert command(either, "forget", "Nobody").returncode == 1


@needs_dlib
def test_identify(either: Path, tmp_path: Path) -> None:
    """Each photo with its faces, each face with its verdict and candidates; a file that is no photo is refused by name, exit 1."""
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    words = [str(photo_of_one(tmp_path / "who.png")), str(no_faces()), str(tmp_path / "broken.jpg")]
    answer = command_json(either, "identify", *words, expect=1)
    assert set(answer) == {"photos"}
    one, none, broken = answer["photos"]
    assert [set(photo) for photo in answer["photos"]] == [{"path", "error", "faces"}] * 3
    assert (none["error"], none["faces"]) == (None, [])
    assert broken["path"] == words[2]
    assert broken["error"]
    (face,) = one["faces"]
    assert set(face) == {"box", "det_score", "person", "verdict", "score", "margin", "confidence", "candidates"}
    assert (face["person"], face["verdict"], face["margin"]) == ("Ada", "named", None)
    assert face["score"] > 0.99
    assert face["candidates"] == [{"person": "Ada", "score": face["score"]}]
    assert len(face["box"]) == 4
    assert "Ada at " in command(either, "identify", words[0]).stdout


@needs_dlib
def test_events(either: Path) -> None:
    """One object a line, every field of a sighting, the key never; --since takes a time, with a zone or without, or an age."""
    left = {
        "event": "left",
        "started": ago(2),
        "ended": ago(1),
        "duration_s": 1.5,
        "verdict": "named",
        "person": "Ada",
        "score": 0.7,
    }
    times = [ago(3 * 1440), ago(1440), ago(5)]
    record(either, sighting("a", times[0]), sighting("b", times[1], **left), sighting("c", times[2]))

    def events(*words: str) -> list[dict[str, Any]]:
        done = command(either, "events", "--json", *words)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    found = events()
    assert [set(one) for one in found] == [
        _EVENT_KEYS,
        _EVENT_KEYS | {"started", "ended", "duration_s", "verdict"},
        _EVENT_KEYS,
    ]
    assert [one["id"] for one in found] == sorted(one["id"] for one in found)
    assert {one["site"] for one in found} == {"site"}
    at = datetime.fromisoformat(times[1])
    assert events("--since", times[1]) == found[1:]
    assert events("--since", at.astimezone(timezone(timedelta(hours=5))).isoformat()) == found[1:]
    assert events("--since", str((at + timedelta(milliseconds=1)).replace(tzinfo=None))) == found[2:]
    assert events("--since", "1h") == found[2:]
    assert events("--since", "2m") == []
    assert len(command(either, "events").stdout.splitlines()) == 3
    for wrong in ("yesterday", "10", "99999999999d", "2026-13-01"):
        done = command(either, "events", "--since", wrong)
        assert done.returncode == 2
        assert wrong in done.stderr


@needs_dlib
def test_backup_and_restore(either: Path, tmp_path: Path) -> None:
    """A file complete alone, 0600, that another site restores, people, ids and dates and all; an existing file, a folder that is
    not there, a file that is no backup: refused (1), and left as they are."""
    target = tmp_path / "copy.db"
    made = command_json(either, "backup", str(target))
    assert made == {"backup": str(target), "references": 1, "size_bytes": target.stat().st_size}
    assert target.stat().st_mode & 0o777 == 0o600
    before = target.read_bytes()
    for words, said in (
        (["backup", str(target)], "exists"),
        (["backup", str(tmp_path / "nowhere" / "copy.db")], "no such folder"),
        (["restore", str(tmp_path / "nothing.db")], "no such file"),
        (["restore", str(astronaut())], "not a SQLite database"),
    ):
        done = command(either, *words)
        assert done.returncode == 1, done.stderr
        assert said in done.stderr
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]
    people = command_json(either, "people")
    save(either, "Somebody new")
    assert command_json(either, "restore", str(target)) == {"restored": 1, "kept_deleted": 0, "set_aside": 0}
    assert command_json(either, "people") == people
    other = tmp_path / "other"
    other.mkdir()
    assert command_json(site_of(other), "restore", str(target)) == {"restored": 1, "kept_deleted": 0, "set_aside": 0}
    assert command_json(other, "people") == people
    assert [path.name for path in (either / "data" / "run").glob("restore*")] == []
    assert {path.name for path in (other / "data").glob("*.db*")} == {"face_embeddings.db", "face_embeddings.db.lock"}


@needs_dlib
def test_models(either: Path) -> None:
    """What is installed, its fingerprint and licence, and which is in use."""
    (dlib,) = [one for one in command_json(either, "models")["models"] if one["engine"] == "dlib"]
    keys = {
        "name",
        "engine",
        "fingerprint",
        "dim",
        "licence",
        "commercial_use",
        "measured",
        "size_bytes",
        "path",
        "fault",
        "in_use",
    }
    assert set(dlib) == keys
    assert dlib["commercial_use"] is True
    assert (dlib["name"], dlib["dim"], dlib["in_use"], dlib["fault"]) == ("dlib", 128, True, "")
    assert re.fullmatch(r"[0-9a-f]{64}", dlib["fingerprint"])
    assert "* dlib/dlib" in command(either, "models").stdout


@needs_dlib
def test_status(either: Path, request: pytest.FixtureRequest) -> None:
    """How the site does: its gallery, writer and cameras, exit 0; without one {"running": false}, exit 1."""
    if "files" in request.node.name:
        assert command_json(either, "status", expect=1) == {"running": False}
        assert "no site runs" in command(either, "status").stdout
        return
    status = command_json(either, "status")
    assert status["running"] is True
    assert status["site"] == "site"
    assert set(status["gallery"]) >= {
        "model",
        "fingerprint",
        "dim",
        "references",
        "people",
        "generation",
        "published_rows",
    }
    assert status["gallery"]["model"] == "dlib/dlib"
    assert status["writer"]["state"] == "running"
    assert status["cameras"] == {}
    assert "model dlib/dlib" in command(either, "status").stdout


# --- words and options ----------------------------------------------------------------------------------------------


def test_options_before_and_after_the_command(tmp_path: Path) -> None:
    """--config and --json are the same wherever they stand: before the word, after it, between `models` and its action."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        site_of(tmp_path / name)
        save(tmp_path / name, name)
    there = str(tmp_path / "there" / "site.toml")
    for words in (
        ("--config", there, "--json", "people"),
        ("people", "--json", "--config", there),
        ("--json", "people", "--config", there),
    ):
        done = command(tmp_path / "here", *words)
        assert [one["person"] for one in json.loads(done.stdout)["people"]] == ["there"]
    pack = write_pack(tmp_path / "tiny")
    for at, install in enumerate(
        (
            ("--json", "--config", there, "models", "install", str(pack)),
            ("models", "--json", "--config", there, "install", str(pack)),
            ("models", "install", str(pack), "--json", "--config", there),
        )
    ):
        done = command(tmp_path / "here", *install)
        assert json.loads(done.stdout)["installed"]["path"] == str(tmp_path / "there" / "data" / "models" / "tiny"), at
    assert not (tmp_path / "here" / "data" / "models").exists()


def test_the_configuration_is_found(tmp_path: Path) -> None:
    """--config, then $ROLLCALL_CONFIG, then site.toml in the working folder; one asked for and missing is a fault (78)."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        site_of(tmp_path / name)
        save(tmp_path / name, name)

    def people(*words: str, **environment: Any) -> list[str]:
        found = command_json(tmp_path / "c", "people", *words, **environment)["people"]
        return [one["person"] for one in found]

    chosen = str(tmp_path / "b" / "site.toml")
    assert people() == ["c"]
    assert people(ROLLCALL_CONFIG=chosen) == ["b"]
    assert people("--config", str(tmp_path / "a" / "site.toml"), ROLLCALL_CONFIG=chosen) == ["a"]
    assert command(tmp_path / "c", "people", "--config", "none.toml").returncode == 78


def test_a_site_without_anybody(tmp_path: Path) -> None:
    """Commands that only ask say so and make nothing: no people, no events, nothing to back up or forget."""
    site_of(tmp_path)
    assert command_json(tmp_path, "people") == {"people": []}
    assert "nobody is enrolled" in command(tmp_path, "people").stdout
    assert command(tmp_path, "events", "--json").stdout == ""
    for words, code in ((["backup", "x.db"], 1), (["forget", "Ada"], 1), (["status"], 1), (["events", "--follow"], 75)):
        done = command(tmp_path, *words)
        assert done.returncode == code, done.stderr
    assert not (tmp_path / "data").exists()


def test_init(tmp_path: Path) -> None:
    """A file that parses, with every default told; where --config or $ROLLCALL_CONFIG says; over no file, whatever is in it."""
    path = tmp_path / "other.toml"
    cases: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (("--config", str(path)), {}),
        ((), {"ROLLCALL_CONFIG": str(tmp_path / "third.toml")}),
        ((), {}),
    ]
    for words, environment in cases:
        written = Path(command_json(tmp_path, "init", *words, **environment)["written"])
        assert load_settings(written).recognition == load_settings(None).recognition
        assert written.stat().st_mode & 0o777 == 0o600
        written.write_text("mine", encoding="utf-8")
        done = command(tmp_path, "init", *words, **environment)
        assert done.returncode == 1
        assert "left as it is" in done.stderr
        assert written.read_text(encoding="utf-8") == "mine"
    assert command(tmp_path, "init", "--config", str(tmp_path / "no" / "site.toml")).returncode == 78


def test_faults_as_json(tmp_path: Path) -> None:
    """A command that fails under --json prints one document: the faults, and the code it exits with."""
    site_of(tmp_path, "[recognition]\nthreshold = 2\nfps = 0\n")
    document = command_json(tmp_path, "people", expect=78)
    assert set(document) == {"error", "exit_code"}
    assert document["exit_code"] == 78
    assert len(document["error"]) == 2


def test_a_name_that_nobody_could_be_given_today_can_be_forgotten(tmp_path: Path) -> None:
    """A database may hold `a/b`."""
    site_of(tmp_path)
    save(tmp_path, "a/b", "Zoë")
    assert command_json(tmp_path, "forget", "a/b")["references"] == 1
    assert [one["person"] for one in command_json(tmp_path, "people")["people"]] == ["Zoë"]
    assert command_json(tmp_path, "forget", " Zoe\u0308")["references"] == 1
    assert command(tmp_path, "forget", "../..").returncode == 1


# --- a running site -------------------------------------------------------------------------------------------------


class Follower:
    """`events --follow --json`, and what it has printed."""

    def __init__(self, folder: Path, *words: str) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        given = [sys.executable, str(SUPERVISOR), "events", "--follow", "--json", *words]
        self.process = subprocess.Popen(
            given, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.cameras: list[str] = []
        self.ids: list[int] = []
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None  # a pipe was asked for
        for line in self.process.stdout:
            with self._news:
                event = json.loads(line)
                self.cameras.append(event["camera"])
                self.ids.append(event["id"])
                self._news.notify_all()

    def wait_for(self, camera: str, deadline_s: float = 20.0) -> None:
        with self._news:
            assert self._news.wait_for(lambda: camera in self.cameras, deadline_s), (camera, self.cameras)

    def end(self) -> tuple[int, str]:
        """Its exit code and what it said, once it has ended by itself."""
        code = self.process.wait(20)
        assert self.process.stderr is not None  # as above
        return code, self.process.stderr.read()


@needs_dlib
def test_following_the_events(tmp_path: Path) -> None:
    """What comes is printed as it comes, with --since what was before it; a writer that is killed and replaced loses and doubles
    nothing; when the site stops, following ends by itself, exit 0."""
    site_of(tmp_path)
    record(tmp_path, sighting("k0", camera="before"))
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        follower = Follower(tmp_path, "--since", "2h")
        follower.wait_for("before")
        late = Follower(tmp_path)
        record(tmp_path, *(sighting(f"warm{i}", camera="warm") for i in range(3)))
        follower.wait_for("warm")
        _record_until(tmp_path, late)
        writer = site.child_pid("writer")
        psutil.Process(writer).kill()
        site.wait_for(lambda: site.child_pid("writer") != writer, "a new writer")
        record(tmp_path, sighting("k1", camera="after"))
        for one in (follower, late):
            one.wait_for("after")
        assert site.stop() == 0
    for one in (follower, late):
        code, said = one.end()
        assert code == 0
        assert "the site has stopped" in said
        assert one.ids == sorted(set(one.ids))
        assert one.cameras.count("after") == 1
    assert "before" not in late.cameras
    assert [event["camera"] for event in site.events if event["camera"] == "after"] == ["after"]


def _record_until(folder: Path, follower: Follower) -> None:
    """Record sightings until the follower, which begins where it began, shows one."""
    for i in range(100):
        record(folder, sighting(f"until{i}", camera="until"))
        if follower._news.acquire(timeout=1):
            shown = follower._news.wait_for(lambda: "until" in follower.cameras, 0.2)
            follower._news.release()
            if shown:
                return
    raise AssertionError("the follower shows nothing")


@needs_dlib
def test_a_very_long_data_folder(tmp_path: Path) -> None:
    """Beyond the 108 bytes of a socket's name everything works, also through the running site."""
    folder = tmp_path / ("a-long-name-" * 12)
    folder.mkdir()
    site_of(folder)
    with SiteProcess(folder) as site:
        site.wait_until_ready()
        assert len(os.fsencode(site.settings.run_dir)) > 108
        save(folder, "Ada")
        assert [one["person"] for one in command_json(folder, "people")["people"]] == ["Ada"]
        assert command_json(folder, "status")["running"] is True
        assert site.stop() == 0
    assert [path.name for path in (folder / "data").glob("face_embeddings.db-*")] == []


@needs_dlib
def test_a_backup_while_everybody_writes(tmp_path: Path) -> None:
    """Made in the middle of writes, it is of one moment, sound and complete alone."""
    site_of(tmp_path)
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        save(tmp_path, "first", "second")
        stop = threading.Event()

        def write() -> None:
            running = RunningSite(site.settings)
            i = 0
            while not stop.is_set():
                running.save([NewReference(f"p{i}")], noise(np.random.default_rng(i), 1, 128))
                i += 1
            running.close()

        thread = threading.Thread(target=write)
        thread.start()
        made = [command_json(tmp_path, "backup", str(tmp_path / f"{i}.db")) for i in range(2)]
        stop.set()
        thread.join(30)
        assert site.check() == []
        assert site.stop() == 0
    for i, one in enumerate(made):
        backup = open_read_only(tmp_path / f"{i}.db")
        assert store_faults(backup) == []
        assert count_references(backup) == one["references"] > 1
        backup.close()
    assert made[0]["references"] < made[1]["references"]


@needs_dlib
def test_restore_into_a_running_site(tmp_path: Path) -> None:
    """The block follows at once; who was deleted since stays deleted, with their sightings; a backup of another model is refused
    and names the remedy."""
    site_of(tmp_path)
    save(tmp_path, "Ada", "Bo", "Cy")
    record(tmp_path, sighting("k", event="left", verdict="named", person="Bo"), sighting("l"))
    with SiteProcess(tmp_path, "--assume-model") as site:
        site.wait_until_ready()
        command_json(tmp_path, "backup", str(tmp_path / "old.db"))
        command_json(tmp_path, "forget", "Bo")
        save(tmp_path, "Dee")
        assert command_json(tmp_path, "restore", str(tmp_path / "old.db")) == {
            "restored": 2,
            "kept_deleted": 1,
            "set_aside": 0,
        }
        assert [one["person"] for one in command_json(tmp_path, "people")["people"]] == ["Ada", "Cy"]
        assert site.status()["gallery"]["published_rows"] == 2
        assert site.check() == []
        assert "Bo" not in command(tmp_path, "events", "--json").stdout
        assert site.stop() == 0
    other = tmp_path / "other"
    other.mkdir()
    site_of(other)
    with SiteAccess(load_settings(other / "site.toml"), silent, create=True) as fresh:
        fresh.stamp(ModelId.parse("insightface/buffalo_l", "f" * 64, 512))
    command_json(other, "backup", str(tmp_path / "another.db"))
    for words in ([], ["--assume-model"]):
        done = command(tmp_path, "restore", str(tmp_path / "another.db"), *words)
        assert done.returncode == 1
        assert "models use buffalo_l" in done.stderr
    assert command_json(other, "restore", str(tmp_path / "old.db"), expect=1)["exit_code"] == 1
    fresh_site = tmp_path / "fresh"
    fresh_site.mkdir()
    command_json(site_of(fresh_site), "restore", str(tmp_path / "old.db"))
    assert '"person": "Bo"' in command(fresh_site, "events", "--json").stdout


@pytest.fixture(scope="module")
def after_a_forget(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site that has forgotten Ada and has Bo, and its backup copy.db."""
    folder = site_of(tmp_path_factory.mktemp("first"))
    command_json(folder, "enrol", str(photo_of_one(folder / "photos" / "Ada.png")))
    save(folder, "Bo")
    command_json(folder, "forget", "Ada")
    command_json(folder, "backup", str(folder / "copy.db"))
    return folder


@needs_dlib
@pytest.mark.parametrize("with_key", [True, False], ids=["with its key", "without"])
def test_marks_travel_with_a_backup_and_its_key(tmp_path: Path, after_a_forget: Path, *, with_key: bool) -> None:
    """Who was forgotten before the backup was made is not brought back on another machine either, by an old folder of photos, when
    marks.key came along; without it the restore says that these deletions are not known there."""
    second = site_of(tmp_path)
    if with_key:
        (second / "data").mkdir(mode=0o700)
        shutil.copy2(after_a_forget / "data" / "marks.key", second / "data" / "marks.key")
    restored = command(second, "restore", str(after_a_forget / "copy.db"))
    assert restored.returncode == 0
    assert ("deletions that the backup remembers were not taken over" in restored.stderr) is not with_key
    command_json(second, "forget", "Bo")
    photo_of_one(second / "data" / "faces" / "Ada" / "Ada.png")
    with SiteProcess(second) as site:
        site.wait_until_ready()
        assert site.status()["gallery"]["references"] == (0 if with_key else 1)
        assert any("deleted here" in line for line in site.log) is with_key
        assert site.stop() == 0


# --- models ---------------------------------------------------------------------------------------------------------


def test_models_install_from_disk(tmp_path: Path) -> None:
    """From a folder or a ZIP, with no network: named after it, listed, faulty ones too; another one of the same name is refused."""
    site_of(tmp_path)
    folder = write_pack(tmp_path / "from-folder", seed=1)
    with zipfile.ZipFile(tmp_path / "from-zip.zip", "w") as archive:
        for file in write_pack(tmp_path / "packed", seed=2).iterdir():
            archive.write(file, f"packed/{file.name}")
    offline: dict[str, Any] = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    for source in (folder, tmp_path / "from-zip.zip"):
        installed = command_json(tmp_path, "models", "install", str(source), **offline)["installed"]
        assert installed["name"] == source.stem
        assert installed["path"] == str(tmp_path / "data" / "models" / source.stem)
    (tmp_path / "data" / "models" / "half").mkdir()
    listed = {one["name"]: one for one in command_json(tmp_path, "models")["models"]}
    assert set(listed) >= {"from-folder", "from-zip", "half"}
    assert listed["half"]["fault"]
    assert listed["from-folder"]["fingerprint"] != listed["from-zip"]["fingerprint"]
    other = write_pack(tmp_path / "elsewhere" / "from-folder", seed=3)
    done = command(tmp_path, "models", "install", str(other))
    assert done.returncode == 1
    assert "another model pack of this name" in done.stderr


@needs_dlib
def test_models_use_needs_a_photo_of_everybody(tmp_path: Path) -> None:
    """A reference without a photo: refused by name, nothing switched, staged or written; --leave-out sets it aside, whole."""
    site_of(tmp_path, '[recognition]\nengine = "insightface"\nmodel = "tiny"\n')
    command_json(tmp_path, "models", "install", str(write_pack(tmp_path / "tiny")))
    photo_of_one(tmp_path / "data" / "faces" / "Ada" / "1.png")
    with SiteAccess(load_settings(tmp_path / "site.toml"), silent, create=True) as site:
        site.save([NewReference("Ada", "faces/Ada/1.png", "e-1"), NewReference("Bo")], noise(_RNG, 2, 16))
        site.stamp(ModelId.parse("insightface/tiny", "f" * 64, 16))
        before = site.info()
    text = (tmp_path / "site.toml").read_text(encoding="utf-8")
    done = command(tmp_path, "models", "use", "dlib")
    assert done.returncode == 1
    assert "Bo" in done.stderr
    assert "--leave-out" in done.stderr
    assert (tmp_path / "site.toml").read_text(encoding="utf-8") == text
    database = tmp_path / "data" / "face_embeddings.db"
    with SiteAccess(load_settings(tmp_path / "site.toml"), silent) as site:
        assert replace(site.info(), change_number=0) == replace(before, change_number=0)
    store = open_read_only(database)
    assert store.connection.execute("SELECT COUNT(*) FROM staged_embeddings").fetchone() == (0,)
    store.close()
    answer = command_json(tmp_path, "models", "use", "dlib", "--leave-out")
    assert answer == {"model": "dlib/dlib", "references": 1, "left_out": 1}
    store = open_read_only(database)
    assert store.connection.execute("SELECT person_name, LENGTH(embedding), reason FROM left_out").fetchall() == [
        ("Bo", 64, "no photo to embed with dlib/dlib")
    ]
    assert store.connection.execute("SELECT turn IS NOT NULL FROM reference_facts").fetchall() == [(1,)], "measured now"
    assert (store.dim, store.model, [one.user_id for one in list_people(store)]) == (128, "dlib/dlib", ["e-1"])
    store.close()
    assert load_settings(tmp_path / "site.toml").model == "dlib"
    (face,) = command_json(tmp_path, "identify", str(tmp_path / "data/faces/Ada/1.png"))["photos"][0]["faces"]
    assert face["person"] == "Ada"


@needs_dlib
def test_models_use_keeps_the_file(tmp_path: Path) -> None:
    """site.toml keeps its comments, order, mode and being a link; a model that it names already changes nothing."""
    real = tmp_path / "etc" / "site.toml"
    real.parent.mkdir()
    written = (
        '# our site\n[site]\nname = "x" # the name\n\n[recognition] # how\nengine = "insightface" # the default\n'
        'model = "buffalo_l"\nvotes = 4 # more\n\n[cameras.door]\nsource = "a.mp4" # not there yet\n'
    )
    real.write_text(written, encoding="utf-8")
    real.chmod(0o640)
    (tmp_path / "site.toml").symlink_to(real)
    for _ in range(2):
        assert command_json(tmp_path, "models", "use", "dlib") == {"model": "dlib/dlib", "references": 0, "left_out": 0}
        text = real.read_text(encoding="utf-8")
        assert text == written.replace('"insightface"', '"dlib"').replace('model = "buffalo_l"\n', "")
    assert (tmp_path / "site.toml").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in real.parent.iterdir()) == ["site.toml"]


@needs_dlib
def test_models_use_does_not_carry_a_threshold_to_another_engine(tmp_path: Path) -> None:
    """0.45 names everybody with dlib: with a threshold or margin set, the other engine is refused, and each place is named."""
    text = '[recognition]\nmodel = "buffalo_l"\nthreshold = 0.45\n[cameras.door]\nsource = "a.mp4"\nmargin = 0.1\n'
    site_of(tmp_path, text)
    done = command(tmp_path, "models", "use", "dlib")
    assert done.returncode == 1
    assert "[recognition] threshold" in done.stderr
    assert "[cameras.door] margin" in done.stderr
    assert (tmp_path / "site.toml").read_text(encoding="utf-8") == text


def test_models_use_needs_a_file_to_write_to(tmp_path: Path) -> None:
    """Without a site.toml the switch would be forgotten at the next start: refused (78) before anything is done."""
    done = command(tmp_path, "models", "use", "dlib")
    assert done.returncode == 78
    assert "supervisor.py init" in done.stderr
    assert not (tmp_path / "data").exists()


@needs_data
@needs_dlib
def test_models_use_changes_the_engine_under_a_running_camera(tmp_path: Path) -> None:
    """From 512 numbers to 128 and back while a camera works: one step each, the same processes, nobody lost."""
    write_site(tmp_path, {"sofa": f'source = "{VIDEOS / "friends_in_video.mp4"}"\nloop = true'})
    enrol(tmp_path, FACES / "friends_enrol")
    with SiteProcess(tmp_path) as site:
        site.wait_for_event(60, event="named")
        pids = site.child_pid("sofa"), site.child_pid("writer")
        for name, dim in (("dlib", 128), (SMALL_PACK.name, 512)):
            told, generation = len(site.events), site.status()["gallery"]["generation"]
            answer = command_json(tmp_path, "models", "use", name)
            assert (answer["references"], answer["left_out"]) == (6, 0)
            gallery = site.status()["gallery"]
            assert (gallery["model"], gallery["dim"], gallery["generation"]) == (answer["model"], dim, generation + 1)
            site.wait_for_log(f"the gallery is now {answer['model']}")
            site.wait_for_event(90, after=told, event="left")
            assert (site.child_pid("sofa"), site.child_pid("writer")) == pids
            assert site.check() == []
        site.wait_for_event(60, after=told, event="named")
        names = {event["person"] for event in site.events if event["event"] == "named"}
        assert names <= {path.stem for path in (FACES / "friends_enrol").iterdir()}
        assert site.stop() == 0


def test_settings_that_name_strangers_are_said(tmp_path: Path) -> None:
    """A threshold far below the model's own, no margin, a single vote: `check` warns of each, also where a camera sets it."""
    (tmp_path / "site.toml").write_text(
        '[recognition]\nengine = "dlib"\nthreshold = 0.5\nvotes = 1\n'
        '[cameras.door]\nsource = "none.avi"\nmargin = 0.0\n[cameras.yard]\nsource = "none.avi"\nthreshold = 0.94\nvotes = 3\n',
        encoding="utf-8",
    )
    said = command(tmp_path, "check").stderr
    for text in ("camera door: threshold 0.5 lies", "camera door: margin 0", "camera door: votes 1"):
        assert text in said
    assert "camera yard" not in said


@needs_dlib
def test_settings_are_judged_with_the_gallery_as_it_is(tmp_path: Path) -> None:
    """2,500 people who look alike to dlib: a threshold by hand names nearly every stranger, and one in a million takes a threshold of 1.
    `check` warns of both. Of a gallery of another model, or with nobody in it, it knows no limits."""
    settings = site_settings(
        tmp_path,
        '[recognition]\nengine = "dlib"\nstrangers_named = 0.000001\n'
        '[cameras.door]\nsource = "none.avi"\nthreshold = 0.9\n[cameras.yard]\nsource = "none.avi"\n',
    )
    assert "camera" not in command(tmp_path, "check").stderr
    alike = unit(0.96 * np.eye(1, 128, dtype=np.float32) + 0.28 * noise(np.random.default_rng(1), 2500, 128))
    with files_of(settings) as files:
        files.stamp(ModelId("dlib", "dlib", dlib_fingerprint(), 128))
    assert "camera" not in command(tmp_path, "check").stderr
    with files_of(settings) as files:
        files.save([NewReference(f"P{i}") for i in range(2500)], alike)
    said = command(tmp_path, "check").stderr
    assert "camera door: with this gallery, threshold 0.9 names an estimated share of 1 of strangers" in said
    assert "camera yard: with this gallery, strangers_named 1e-06 takes a threshold of 1, which names nobody" in said
