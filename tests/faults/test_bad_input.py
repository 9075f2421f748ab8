"""What bad input gets: a clear error that says what to do, an exit code that means it, and nothing lost."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import FaultList
from shared.settings.file import load_settings
from tests.conftest import SmallDisk
from tests.support.full_disks import fill
from tests.support.paths import SMALL_PACK, VIDEOS, astronaut, needs_data, needs_dlib
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import write_site

_DLIB = '[recognition]\nengine = "dlib"\n'


def site_of(folder: Path, text: str) -> Path:
    (folder / "site.toml").write_text(text, encoding="utf-8")
    return folder


def one_face(path: Path) -> Path:
    """A photo of one face."""
    with Image.open(astronaut()) as photo:
        photo.convert("RGB").save(path)
    return path


def test_every_configuration_fault_at_once(tmp_path: Path) -> None:
    """`check` and `run` list all faults of the file: file, key, got, expected, remedy; exit 78."""
    site_of(
        tmp_path,
        '[site]\nnam = "x"\n[recognition]\nthreshold = 1.5\n[cameras.door]\nsorce = "rtsp://u:secret@h/x"\n'
        '[cameras.Door]\nsource = "a.mp4"\nfps = -1\n[wb]\n',
    )
    for word in ("check", "run"):
        done = command(tmp_path, word)
        said = done.stdout + done.stderr
        assert done.returncode == 78
        for part in (
            "[site] nam",
            "[recognition] threshold",
            "got 1.5",
            "[cameras.door] sorce",
            "source: missing",
            "[wb]",
        ):
            assert part in said
        for part in ("two cameras of one name", "fps", "site.toml", "expected", "remedy"):
            assert part in said
        assert "secret" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[site\n", "is not valid TOML"),
        ('[cameras.door]\nsource = "a"\n[cameras.door]\nsource = "b"\n', "two cameras of one name"),
        ("name = 'caf\xe9'".encode("latin-1").decode("latin-1"), "unknown key"),
        ('[recognition]\nthreshold = "0.5"\n', "threshold"),
        ('[recognition]\nengine = "dlib"\nmodel = "buffalo_l"\n', "one model of its own"),
        ('[sync]\nbackend = "not a url"\n', "http://host:5000/api"),
        ('[web]\nenabled = true\nhost = "0.0.0.0"\n', "make a certificate"),
    ],
)
def test_a_faulty_file_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    """Each kind of fault in site.toml names the file and what to do."""
    site_of(tmp_path, text)
    with pytest.raises(FaultList) as caught:
        load_settings(tmp_path / "site.toml", environ={})
    assert said in str(caught.value)
    assert "site.toml" in str(caught.value)
    assert "remedy" in str(caught.value)


def test_run_without_a_file_says_what_to_type(tmp_path: Path) -> None:
    """`run` with no site.toml: exit 78 and the next command to type."""
    done = command(tmp_path, "run")
    assert done.returncode == 78
    assert "supervisor.py init" in done.stderr
    assert "supervisor.py demo" in done.stderr


def test_usage_errors_exit_2(tmp_path: Path) -> None:
    """An unknown command or option, and --until-ended with nothing that ends, exit 2."""
    assert command(tmp_path, "frobnicate").returncode == 2
    assert command(tmp_path, "run", "--frobnicate").returncode == 2
    site_of(tmp_path, _DLIB)
    done = command(tmp_path, "run", "--until-ended")
    assert done.returncode == 2
    assert "--until-ended" in done.stderr


def test_a_missing_model_says_what_to_put_where(tmp_path: Path) -> None:
    """No pack and no network: one error, exit 78, with the folder, the command and the engine that needs none."""
    site_of(tmp_path, '[recognition]\nmodel = "buffalo_s"\n[cameras.a]\nsource = "a.mp4"\n')
    done = command(tmp_path, "run", timeout_s=170, HTTPS_PROXY="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")
    assert done.returncode == 78
    for part in ("buffalo_s", "models install", "dlib"):
        assert part in done.stderr


@needs_data
def test_a_pack_without_a_recogniser_is_refused(tmp_path: Path) -> None:
    """A pack that only detects: exit 78, and it is said what is missing."""
    pack = tmp_path / "data" / "models" / "half"
    pack.mkdir(parents=True)
    shutil.copyfile(SMALL_PACK / "det_500m.onnx", pack / "det_500m.onnx")
    site_of(tmp_path, '[recognition]\nmodel = "half"\n')
    done = command(tmp_path, "run")
    assert done.returncode == 78
    assert "recogni" in done.stderr
    assert "half" in done.stderr


@needs_data
def test_a_camera_that_is_off_is_one_fault_and_stops_nobody(tmp_path: Path) -> None:
    """`check` names the camera without its password; `run` goes on with the others and exits cleanly."""
    write_site(
        tmp_path,
        {
            "off": 'source = "rtsp://user:hunter2@127.0.0.1:9/none"',
            "clip": f'source = "{VIDEOS / "intel_people-detection_960x540.mp4"}"\nrealtime = false',
        },
    )
    checked = command(tmp_path, "check", timeout_s=60)
    assert checked.returncode == 1
    assert "[cameras.off] source" in checked.stdout
    assert "clip" not in checked.stdout
    with SiteProcess(tmp_path, "--until-ended") as site:
        assert site.wait(90) == 0
    assert [event for event in site.events if event["camera"] == "clip" and event["event"] == "camera_up"]
    down = [event for event in site.events if event["camera"] == "off"]
    assert {event["event"] for event in down} <= {"camera_down"}
    assert "hunter2" not in "\n".join([*site.log, checked.stdout, checked.stderr, str(site.events)])


@needs_dlib
def test_a_file_that_is_not_there_ends_the_run(tmp_path: Path) -> None:
    """`--until-ended` on a file that can't be read: tried a few times, said, and exit 1 instead of waiting for ever."""
    site_of(tmp_path, f'{_DLIB}[cameras.gone]\nsource = "gone.mp4"\n')
    with SiteProcess(tmp_path, "--until-ended") as site:
        assert site.wait(60) == 1
    assert [event["event"] for event in site.events] == ["camera_down"] * len(site.events)
    assert any("gone is down" in line for line in site.log)


@needs_dlib
def test_photos_that_are_none(tmp_path: Path) -> None:
    """No image, 300 megapixels, nobody on it: each refused with its reason, exit 1; the good one is enrolled."""
    site_of(tmp_path, _DLIB)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "text.jpg").write_text("not an image", encoding="utf-8")
    (photos / "empty.jpg").touch()
    Image.fromarray(np.full((300, 300, 3), 90, np.uint8)).save(photos / "nobody.png")
    Image.new("1", (20000, 15000)).save(photos / "huge.png")
    one_face(photos / "Ada.jpg")
    answer = command_json(tmp_path, "enrol", str(photos), expect=1)
    assert [one["person"] for one in answer["enrolled"]] == ["Ada"]
    reasons = {Path(one["photo"]).name: one["reason"] for one in answer["refused"]}
    assert set(reasons) == {"text.jpg", "empty.jpg", "nobody.png", "huge.png"}
    assert "300 megapixels" in reasons["huge.png"]
    assert "no face" in reasons["nobody.png"]
    assert command_json(tmp_path, "identify", str(photos / "text.jpg"), expect=1)["photos"][0]["error"]


@needs_dlib
def test_a_40_megapixel_photo_is_enrolled(tmp_path: Path) -> None:
    """A phone's 40 megapixels are decoded reduced and enrolled."""
    site_of(tmp_path, _DLIB)
    with Image.open(one_face(tmp_path / "one.png")) as photo:
        photo.resize((6400, 6400)).save(tmp_path / "Ada.jpg", quality=80)
    answer = command_json(tmp_path, "enrol", str(tmp_path / "Ada.jpg"))
    assert len(answer["enrolled"]) == 1


@needs_dlib
@pytest.mark.parametrize("damage", ["empty", "text", "torn"])
def test_a_damaged_database_is_set_aside_and_the_site_runs(tmp_path: Path, damage: str) -> None:
    """Zero bytes, not SQLite, pages torn: `check` says so; `run` sets the file aside byte for byte, says loudly that it runs
    from backup, and has everybody; without a backup it runs from photos."""
    site_of(tmp_path, _DLIB)
    command_json(tmp_path, "enrol", str(one_face(tmp_path / "Ada.jpg")))
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        assert site.stop() == 0
    database = tmp_path / "data" / "face_embeddings.db"
    for source in ("backup", "photos"):
        broken = {"empty": b"", "text": b"hello" * 5000, "torn": b"SQLite format 3\0" + b"\xff" * 50000}[damage]
        database.write_bytes(broken)
        if source == "photos":
            (tmp_path / "data" / "face_embeddings.backup.db").unlink()
        checked = command(tmp_path, "check")
        assert checked.returncode == 1
        assert "face_embeddings.db" in checked.stdout
        with SiteProcess(tmp_path) as site:
            site.wait_for_log("DATABASE DAMAGED")
            site.wait_for_log("RUNNING FROM BACKUP" if source == "backup" else "RUNNING WITHOUT THE OLD DATABASE")
            site.wait_until_ready()
            assert site.status()["gallery"]["references"] == 1
            assert site.check() == []
            assert site.stop() == 0
        aside = sorted((tmp_path / "data").glob("face_embeddings.db.damaged-*"))
        assert broken in [path.read_bytes() for path in aside]


@needs_dlib
def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A database of a newer Rollcall: exit 78, and the file is left as it is."""
    import sqlite3

    site_of(tmp_path, _DLIB)
    command_json(tmp_path, "enrol", str(one_face(tmp_path / "Ada.jpg")))
    database = tmp_path / "data" / "face_embeddings.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE store_facts SET value='99' WHERE key='schema_version'")
    connection.close()
    done = command(tmp_path, "run")
    assert done.returncode == 78
    assert "newer Rollcall" in done.stderr
    assert database.exists()
    assert not list((tmp_path / "data").glob("*.damaged-*"))


@needs_dlib
def test_a_full_disk_loses_nothing(tmp_path: Path, small_disk: SmallDisk) -> None:
    """With the disk full while the site runs, an enrolment is refused as temporary (75) and the site goes on; with room again
    it works, and the store is sound."""
    disk = small_disk("disk", 6144)
    site_of(tmp_path, f'[site]\ndata_dir = "{disk / "data"}"\n{_DLIB}')
    command_json(tmp_path, "enrol", str(one_face(tmp_path / "Ada.jpg")))
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        filler = fill(disk)
        done = command(tmp_path, "enrol", str(tmp_path / "Ada.jpg"), "--name", "Bo")
        assert done.returncode == 75, done.stderr
        assert "full" in done.stderr or "No space" in done.stderr
        filler.unlink()
        command_json(tmp_path, "enrol", str(tmp_path / "Ada.jpg"), "--name", "Bo")
        assert site.check() == []
        assert {one["person"] for one in command_json(tmp_path, "people")["people"]} == {"Ada", "Bo"}
        assert site.stop() == 0


@needs_dlib
def test_full_shared_memory(tmp_path: Path, small_disk: SmallDisk) -> None:
    """A full /dev/shm at the start: exit 75 with the bytes it takes; with room again the site starts and has everybody."""
    memory = small_disk("shm", 256)
    site_of(tmp_path, _DLIB)
    command_json(tmp_path, "enrol", str(one_face(tmp_path / "Ada.jpg")))
    done = command(tmp_path, "run", ROLLCALL_SHM_DIR=str(memory))
    assert done.returncode == 75
    assert "no room in shared memory" in done.stderr
    subprocess.run(["mount", "-o", "remount,size=64m", str(memory)], check=True)
    with SiteProcess(tmp_path, ROLLCALL_SHM_DIR=str(memory)) as site:
        site.wait_until_ready()
        assert site.status()["gallery"]["published_rows"] == 1
        assert site.stop() == 0
    assert list(memory.iterdir()) == []
