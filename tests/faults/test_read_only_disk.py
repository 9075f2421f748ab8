"""A site on a read-only disk: who is enrolled is served and nothing is stored, and said to be so, until it can be written again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from shared.errors import ConfigurationError
from shared.files.mark_key import new_key, write_key
from shared.files.run_folder import is_in_memory, run_folder
from shared.gallery.reader import GalleryReader
from shared.settings.file import load_settings
from tests.conftest import SmallDisk
from tests.faults.test_bad_input import one_face
from tests.support.clips import write_clip
from tests.support.paths import needs_dlib
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.stores import DLIB, site_settings
from tests.support.tiny_pack import write_pack

pytestmark = needs_dlib


@pytest.fixture
def disk(tmp_path: Path, small_disk: SmallDisk) -> Iterator[Path]:
    """A disk of its own with a gallery of one person, and a site.toml beside it."""
    folder = small_disk("disk", 8192)
    clip = write_clip(tmp_path / "clip.avi")
    camera = f'[cameras.door]\nsource = "{clip}"\nloop = true\n'
    site_settings(tmp_path, f'[site]\ndata_dir = "{folder / "data"}"\n{DLIB}{camera}')
    command_json(tmp_path, "enrol", str(one_face(tmp_path / "Ada.jpg")))
    yield folder
    assert not run_folder(folder / "data").exists() or not is_in_memory(run_folder(folder / "data"))


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def names(folder: Path) -> set[str]:
    return {one["person"] for one in command_json(folder, "people")["people"]}


def recognized(folder: Path) -> list[str | None]:
    faces = command_json(folder, "identify", str(folder / "Ada.jpg"))["photos"][0]["faces"]
    return [face["person"] for face in faces]


def test_a_site_starts_and_serves_on_a_read_only_disk(tmp_path: Path, disk: Path) -> None:
    """Cameras and commands know who is enrolled; what would be stored is refused (75) or waits; status, check and log say why.
    Once the disk is writable what waited is stored, with no restart of the site; another site is refused throughout."""
    before = (disk / "data" / "face_embeddings.db").read_bytes()
    remount(disk, "ro")
    with SiteProcess(tmp_path) as site:
        site.wait_for_log("NOTHING CAN BE STORED")
        site.wait_until_ready()
        with GalleryReader(site.settings.run_dir) as gallery:
            assert gallery.count_live() == 1
        assert recognized(tmp_path) == ["Ada"]
        assert names(tmp_path) == {"Ada"}
        refused = command(tmp_path, "enrol", str(tmp_path / "Ada.jpg"), "--name", "Bo")
        assert refused.returncode == 75, refused.stderr
        assert "read-only" in refused.stderr
        told = command(tmp_path, "status").stdout
        assert "NOTHING CAN BE STORED" in told
        assert "read-only" in told
        assert "read-only" in command_json(tmp_path, "status")["gallery"]["nothing_stored"]
        assert [fault for fault in command_json(tmp_path, "check", expect=1)["faults"] if "read-only" in fault]
        site.wait_for(lambda: site.status()["cameras"]["door"].get("unsent"), "a sighting that waits")
        assert command_json(tmp_path, "backup", str(tmp_path / "beside.db"))["references"] == 1
        assert command(tmp_path, "run").returncode == 75
        assert site.events == []
        assert (disk / "data" / "face_embeddings.db").read_bytes() == before
        remount(disk, "rw")
        site.wait_for_log("the disk can be written again")
        site.wait_for_event(event="camera_up", camera="door")
        command_json(tmp_path, "enrol", str(tmp_path / "Ada.jpg"), "--name", "Bo")
        assert site.status()["cameras"]["door"]["restarts"] == 0
        assert site.check() == []
        assert command(tmp_path, "run").returncode == 75
        site.sighup()
        site.wait_for_log("reloaded")
        assert site.stop() == 0
    assert names(tmp_path) == {"Ada", "Bo"}
    assert "camera_up" in command(tmp_path, "events", "--json").stdout


def test_a_stop_on_a_read_only_disk_is_clean(tmp_path: Path, disk: Path) -> None:
    """Started and stopped: exit 0, the disk as it was, nothing left in memory. Without a site who is enrolled can still be asked."""
    remount(disk, "ro")
    before = sorted(path.name for path in (disk / "data").rglob("*"))
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        in_memory = site.settings.run_dir
        assert in_memory.stat().st_mode & 0o777 == 0o700
        assert len(site.segments()) == 2
        assert site.stop() == 0
        assert site.segments() == []
    assert not in_memory.exists()
    assert sorted(path.name for path in (disk / "data").rglob("*")) == before
    assert recognized(tmp_path) == ["Ada"]
    assert names(tmp_path) == {"Ada"}
    assert command_json(tmp_path, "backup", str(tmp_path / "without.db"))["references"] == 1
    for words in (("enrol", str(tmp_path / "Ada.jpg")), ("forget", "Ada")):
        assert command(tmp_path, *words).returncode == 75
    assert [fault for fault in command_json(tmp_path, "check", expect=1)["faults"] if "read-only" in fault]


def test_what_a_killed_site_left_in_its_wal_is_served(tmp_path: Path, disk: Path) -> None:
    """The disk became read-only after a kill: the last enrolment, which lies in the WAL alone, is there. So is it after another
    kill, of a site that ran on the read-only disk, and once the disk is writable."""
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        command_json(tmp_path, "enrol", str(tmp_path / "Ada.jpg"), "--name", "Bo")
        kill_whole(site)
    assert (disk / "data" / "face_embeddings.db-wal").stat().st_size
    remount(disk, "ro")
    assert names(tmp_path) == {"Ada", "Bo"}
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        assert names(tmp_path) == {"Ada", "Bo"}
        assert [fault for fault in site.check() if "read-only" not in fault] == []
        kill_whole(site)
    assert names(tmp_path) == {"Ada", "Bo"}
    remount(disk, "rw")
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        assert site.settings.run_dir == disk / "data" / "run"
        assert len(site.segments()) == 2  # and none of those that were killed
        assert site.check() == []
        assert site.stop() == 0
    assert names(tmp_path) == {"Ada", "Bo"}


def kill_whole(site: SiteProcess) -> None:
    """The supervisor is killed; its children go with it."""
    children = site.children()
    site.kill()
    assert psutil.wait_procs(children, timeout=20)[1] == []


def test_a_disk_that_becomes_read_only_under_a_running_site(tmp_path: Path, disk: Path) -> None:
    """It goes on and says so; commands still find it. When its writer falls, too, the site ends with 75, and serves once it is
    started again; its sightings are stored again when the disk is writable."""
    data = disk / "data"
    with SiteProcess(tmp_path) as site:
        site.wait_for_event(event="camera_up", camera="door")
        subprocess.run(["mount", "--bind", str(data), str(data)], check=True)
        remount(data, "bind,ro")
        site.wait_for_log("NOTHING CAN BE STORED")
        assert site.settings.run_dir == data / "run"
        assert command(tmp_path, "enrol", str(tmp_path / "Ada.jpg"), "--name", "Bo").returncode == 75
        assert "NOTHING CAN BE STORED" in command(tmp_path, "status").stdout
        assert recognized(tmp_path) == ["Ada"]
        assert command(tmp_path, "run").returncode == 75
        os.kill(site.child_pid("writer"), signal.SIGKILL)
        assert site.wait() == 75
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        assert is_in_memory(site.settings.run_dir)
        assert recognized(tmp_path) == ["Ada"]
        remount(data, "bind,rw")
        site.wait_for_event(event="camera_up", camera="door")
        command_json(tmp_path, "enrol", str(tmp_path / "Ada.jpg"), "--name", "Bo")
        assert site.stop() == 0
    assert names(tmp_path) == {"Ada", "Bo"}


def test_the_shared_engine_falls_on_a_disk_that_became_read_only(tmp_path: Path, disk: Path) -> None:
    """The inference process can't make its socket any more: the site ends with 75, and runs with one in memory once it is started again."""
    data = disk / "data"
    write_pack(data / "models" / "tiny")
    (data / "face_embeddings.db").unlink()
    shutil.rmtree(data / "faces")
    text = (tmp_path / "site.toml").read_text()
    tiny = '[recognition]\nmodel = "tiny"\ndet_size = 128\nshared_engine = true\n'
    (tmp_path / "site.toml").write_text(text.replace(DLIB, tiny))
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        subprocess.run(["mount", "--bind", str(data), str(data)], check=True)
        remount(data, "bind,ro")
        site.wait_for_log("NOTHING CAN BE STORED")
        os.kill(site.child_pid("inference"), signal.SIGKILL)
        assert site.wait() == 75
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        assert is_in_memory(site.settings.run_dir)
        site.wait_for(lambda: site.status()["processes"]["inference"]["cameras"] == 1, "a camera that has joined")
        assert site.stop() == 0


def _of_another(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 4242, 4242)


def _open_to_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


def _a_link(folder: Path) -> None:
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize("put", [_of_another, _open_to_others, _a_link, Path.touch])
def test_a_stranger_in_the_run_folders_place(tmp_path: Path, disk: Path, put: Callable[[Path], None]) -> None:
    """On a read-only disk the site takes another place, with nothing put into that one; commands find it, another site is refused."""
    (memory := tmp_path / "memory").mkdir()
    remount(disk, "ro")
    place = _place_in(memory, tmp_path)
    assert place is not None
    put(place)
    with SiteProcess(tmp_path, ROLLCALL_SHM_DIR=str(memory)) as site:
        site.wait_for_log("the site runs", 60.0)
        found = command(tmp_path, "status", ROLLCALL_SHM_DIR=str(memory))
        assert found.returncode == 0, found.stderr
        assert command(tmp_path, "run", ROLLCALL_SHM_DIR=str(memory)).returncode == 75
        assert not place.is_dir() or list(place.iterdir()) == []
        assert site.stop() == 0
    assert _place_in(memory, tmp_path) != place


def test_strangers_in_every_place(tmp_path: Path, disk: Path) -> None:
    """Somebody who can read the key and takes all names: refused (78) with what lies where; on a writable disk it means nothing."""
    (memory := tmp_path / "memory").mkdir()
    remount(disk, "ro")
    taken = 0
    while (place := _place_in(memory, tmp_path)) is not None:
        place.touch()
        taken += 1
        assert taken < 100
    done = command(tmp_path, "run", ROLLCALL_SHM_DIR=str(memory))
    assert done.returncode == 78
    assert str(memory) in done.stderr
    assert "read-only" in done.stderr
    remount(disk, "rw")
    assert command(tmp_path, "people", ROLLCALL_SHM_DIR=str(memory)).returncode == 0


def test_the_run_folders_name_is_not_foreseeable(tmp_path: Path, disk: Path) -> None:
    """Who knows the path alone, and not the key of the site's marks, does not know the name."""
    (memory := tmp_path / "memory").mkdir()
    remount(disk, "ro")
    before = _place_in(memory, tmp_path)
    remount(disk, "rw")
    write_key(disk / "data" / "face_embeddings.db", new_key())
    remount(disk, "ro")
    after = _place_in(memory, tmp_path)
    assert before is not None
    assert after is not None
    assert before != after
    assert before.name.split("-")[:3] == after.name.split("-")[:3]


def _place_in(memory: Path, folder: Path) -> Path | None:
    """Where the next site would make its run folder; None: nowhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROLLCALL_SHM_DIR", str(memory))
        try:
            place = load_settings(folder / "site.toml").run_dir
        except ConfigurationError:
            return None
        assert place.parent == memory
        assert is_in_memory(place)
        return place
