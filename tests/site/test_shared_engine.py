"""Whole sites whose cameras share one engine: the same answers as with their own, also when the inference process dies or hangs."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest

from tests.support.liveness_graph import write_any
from tests.support.paths import FACES, SMALL_PACK, VIDEOS, astronaut, needs_data
from tests.support.site_process import SiteProcess, command
from tests.support.sites import enrol, write_site

pytestmark = needs_data
_SHARED = "shared_engine = true"
_TOLD = ("event", "track", "person", "score", "margin", "confidence", "frames", "box", "media_time_s", "verdict")
_FILM = f'source = "{VIDEOS / "friends_in_video.mp4"}"\nrealtime = false'


def _stories(folder: Path) -> dict[str, list[list[Any]]]:
    """What each camera told and the site kept, without what differs from run to run."""
    found: dict[str, list[list[Any]]] = {}
    for event in map(json.loads, command(folder, "events", "--json").stdout.splitlines()):
        found.setdefault(event["camera"], []).append([event.get(key) for key in _TOLD])
    return found


def _title(process: psutil.Process) -> str:
    """How `ps` shows it; "" if it has ended."""
    try:
        return next(iter(process.cmdline()), "")
    except psutil.Error:
        return ""


def _inference(site: SiteProcess) -> psutil.Process:
    """The inference process, as soon as there is one that works."""

    def find() -> psutil.Process | None:
        working = sum("runs on cpu for all" in line for line in site.log)
        found = [child for child in site.children() if _title(child) == "rollcall: inference"]
        return found[0] if found and working > site.status()["processes"]["inference"]["restarts"] else None

    process: psutil.Process = site.wait_for(find, "inference process that works")
    return process


def _story(folder: Path, recognition: str, *, killed: int = 0) -> dict[str, list[list[Any]]]:
    """Two cameras read one film as fast as they can. `killed`: how often the inference process is killed meanwhile."""
    write_site(folder, {"one": _FILM, "two": f"{_FILM}\nmin_face_px = 60"}, recognition)
    enrol(folder, FACES / "friends_enrol")
    with SiteProcess(folder, "--until-ended") as site:
        for kill in range(killed):
            site.wait_for_event(event="named", after=3 * kill)
            _inference(site).kill()
        assert site.wait(240) == 0
    return _stories(folder)


def test_a_file_gets_the_same_answers_with_and_without(tmp_path: Path) -> None:
    """Every event of two cameras with settings of their own: tracks, names, scores to the last digit, boxes, times. Also when the inference
    process is killed twice on the way: the frame that it had is asked again."""
    folders = [tmp_path / name for name in ("own", "shared", "killed")]
    for folder in folders:
        folder.mkdir()
    own = _story(folders[0], "shared_engine = false")
    assert len(own["one"]) > 10
    assert own["one"] != own["two"]
    assert _story(folders[1], _SHARED) == own
    assert _story(folders[2], _SHARED, killed=2) == own


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """A site with one enrolled person, who sits before two cameras for two minutes and does not move. One of them observes liveness."""
    shutil.copyfile(astronaut(), tmp_path / "Eileen.png")
    photo = cv2.imread(str(astronaut()))
    assert photo is not None
    writer = cv2.VideoWriter(
        str(tmp_path / "still.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 5, (512, 512)
    )
    for _ in range(600):
        writer.write(photo)
    writer.release()
    shutil.copytree(SMALL_PACK, tmp_path / "models" / SMALL_PACK.name)
    (tmp_path / "models").chmod(0o755)
    (tmp_path / "models" / SMALL_PACK.name).chmod(0o755)
    write_any(tmp_path / "models" / "liveness.onnx")
    observes = 'source = "still.avi"\nliveness = "observe"'
    write_site(tmp_path, {"door": observes, "yard": 'source = "still.avi"'}, _SHARED)
    path = tmp_path / "site.toml"
    path.write_text(path.read_text().replace(str(SMALL_PACK.parent), str(tmp_path / "models")))
    enrol(tmp_path, tmp_path / "Eileen.png")
    return tmp_path


def _wait_for_names(site: SiteProcess) -> None:
    for camera in ("door", "yard"):
        site.wait_for_event(event="named", camera=camera, person="Eileen", deadline_s=90)


def _goes_on(site: SiteProcess, cameras: dict[str, int]) -> None:
    """Both cameras are the same processes as before, search again, and have lost nobody."""
    seen = {name: one["looked_at"] for name, one in site.status()["cameras"].items()}
    site.wait_for(
        lambda: all(one["looked_at"] >= seen[name] + 4 for name, one in site.status()["cameras"].items()),
        "cameras that go on",
    )
    assert {name: site.child_pid(name) for name in cameras} == cameras
    assert [event for event in site.events if event["event"] in ("left", "camera_down")] == []
    assert {event["track"] for event in site.events if event["event"] == "named"} == {1}


def test_it_dies_and_cameras_keep_their_streams_and_tracks(still: Path) -> None:
    """`kill -9`: another one takes its place, and the person in view is the same track, with the same name, before both cameras."""
    with SiteProcess(still) as site:
        _wait_for_names(site)
        cameras = {name: site.child_pid(name) for name in ("door", "yard")}
        old = site.child_pid("inference")
        os.kill(old, signal.SIGKILL)
        site.wait_for_new_pid("inference", old)
        _goes_on(site, cameras)
        status = site.status()
        assert status["processes"]["inference"]["restarts"] == 1
        assert status["processes"]["inference"]["cameras"] == 2
        assert {one["runs_on"] for one in status["cameras"].values()} == {"shared: cpu"}
        assert site.stop() == 0
    left = [event for event in site.events if event["event"] == "left"]
    assert {event["camera"]: event.get("liveness") is not None for event in left} == {"door": True, "yard": False}
    assert sorted(event["camera"] for event in left) == ["door", "yard"]
    assert {event["verdict"] for event in left} == {"named"}


def test_it_hangs_and_is_replaced(still: Path) -> None:
    """It stands still: no heartbeat comes, the supervisor kills it, and cameras go on with the next one. Meanwhile they say what they wait for."""
    with SiteProcess(still).with_limits({"shared.supervision.child_process.HEARTBEAT_TIMEOUT_S": 4.0}) as site:
        _wait_for_names(site)
        cameras = {name: site.child_pid(name) for name in ("door", "yard")}
        old = site.child_pid("inference")
        os.kill(old, signal.SIGSTOP)
        site.wait_for_log("inference: no progress", 30)
        site.wait_for(
            lambda: site.status()["cameras"]["door"]["runs_on"] == "waits for the inference process",
            "a camera that waits",
        )
        site.wait_for_new_pid("inference", old)
        _goes_on(site, cameras)


def test_a_camera_loads_no_model_and_frees_its_slot(still: Path) -> None:
    """A camera's process has mapped no onnxruntime; killed, it is started again, joins again, and the other one goes on meanwhile."""
    with SiteProcess(still) as site:
        _wait_for_names(site)
        for name in ("door", "yard"):
            maps = Path(f"/proc/{site.child_pid(name)}/maps").read_text()
            assert "onnxruntime" not in maps
            assert "rollcall-slot" in maps
        inference = site.child_pid("inference")
        assert "onnxruntime" in Path(f"/proc/{inference}/maps").read_text()
        old = site.child_pid("door")
        os.kill(old, signal.SIGKILL)
        new = site.wait_for_new_pid("door", old)
        site.wait_for(lambda: "rollcall-slot" in Path(f"/proc/{new}/maps").read_text(), "slot of the new process")
        site.wait_for(
            lambda: Path(f"/proc/{inference}/maps").read_text().count("rollcall-slot") == 2, "two slots, not three"
        )
        assert site.child_pid("inference") == inference
        assert site.status()["cameras"]["yard"]["restarts"] == 0
        assert site.stop() == 0
    assert not psutil.pid_exists(inference)
    assert list((still / "data" / "run").glob("inference*")) == []


def test_a_reload_turns_it_off_and_on(still: Path) -> None:
    """`shared_engine = false` and SIGHUP: the inference process ends, and each camera runs its own engine; and back."""
    text = (still / "site.toml").read_text()
    with SiteProcess(still) as site:
        _wait_for_names(site)
        for setting, runs_on in (("false", "cpu"), ("true", "shared: cpu")):
            (still / "site.toml").write_text(text.replace(_SHARED, f"shared_engine = {setting}"))
            site.sighup()
            _wait_until_all_run(site, runs_on)
            assert ("inference" in site.status()["processes"]) == (setting == "true")


def _wait_until_all_run(site: SiteProcess, on: str) -> None:
    site.wait_for(lambda: {one["runs_on"] for one in site.status()["cameras"].values()} == {on}, f"cameras on {on}")
