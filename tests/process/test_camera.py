"""A camera's process by itself: how it starts, what it refuses, how it follows the gallery and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.gallery.publisher import GalleryPublisher
from shared.ipc import wire
from shared.ipc.view import View, view_path
from shared.settings.engine_sharing import task_of
from tests.support.channel_process import ChannelProcess
from tests.support.clips import write_clip
from tests.support.paths import ROOT, astronaut
from tests.support.strict_camera import StrictCamera
from tests.support.tiny_pack import DIM, write_pack
from workers.capture.picture_watch import why_empty
from workers.recognizer_arcface import ArcFaceEngine


class CameraProcess(ChannelProcess):
    """`python -m workers.camera`, with its task from a supervisor or, `by_hand`, with the settings file."""

    def __init__(self, folder: Path, camera: str = "door", *, by_hand: bool = False) -> None:
        self._name, self._by_hand = camera, by_hand
        given = ["--config", str(folder / "site.toml")] if by_hand else ["--settings-stdin"]
        super().__init__(folder, "-m", "workers.camera", *given, "--camera", camera)

    def told(self) -> Mapping[str, Any]:
        return {} if self._by_hand else task_of(self.settings, self._name).to_json()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with the tiny pack `first` and one looped camera; no writer runs."""
    write_pack(tmp_path / "data" / "models" / "first")
    write_clip(tmp_path / "clip.avi", 50)
    (tmp_path / "site.toml").write_text(
        '[recognition]\nmodel = "first"\ndet_size = 128\n[cameras.door]\nsource = "clip.avi"\nloop = true\n'
    )
    return tmp_path


@pytest.fixture
def gallery(site: Path) -> Iterator[GalleryPublisher]:
    """An empty gallery of the model `first`."""
    publisher = GalleryPublisher(site / "data" / "run", DIM, "insightface/first", fingerprint_of(site, "first"))
    publisher.publish_all(0, [])
    yield publisher
    publisher.remove_block()
    publisher.close()


def fingerprint_of(site: Path, pack: str) -> str:
    return ArcFaceEngine(site / "data" / "models" / pack, det_size=128, threads=1).fingerprint


def is_running(stats: dict[str, Any]) -> bool:
    return stats.get("state") == "running" and stats.get("up") is True


# What other processes use and a camera does not: the checks of settings and requests; locks, subprocesses and SQLite; what only some addresses
# need, HTTP and TLS; what opens an engine; with pydantic and HTTP come email, zipfile and more.
_NOT_LOADED = {
    "pydantic", "shared.settings.schema", "shared.ipc.requests.table", "shared.supervision.child_kinds", "filelock", "subprocess", "sqlite3",
    "concurrent.futures", "http.client", "ssl", "workers.models", "onnxruntime", "importlib.metadata", "email", "zipfile", "tempfile",
}  # fmt: skip  # in the order of the comment


def test_it_loads_nothing_that_it_does_not_use() -> None:
    """What it imports costs memory in each camera of a site: with all of this it would be 12 MB more."""
    code = "import sys, workers.camera; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert _NOT_LOADED & set(done.stdout.split()) == set()


@pytest.mark.usefixtures("gallery")
@pytest.mark.skipif(sys.platform != "linux", reason="/proc shows what is loaded")
def test_at_work_it_has_no_pydantic(site: Path) -> None:
    """Nothing loads it later on: neither a task, nor sightings, nor somebody who looks at the camera."""
    with CameraProcess(site) as camera:
        camera.wait_for(lambda stats: is_running(stats) and stats["looked_at"] >= 3)
        with socket.socket(socket.AF_UNIX) as reader:
            reader.settimeout(20)
            with wire.address(view_path(site / "data" / "run", "door")) as where:
                reader.connect(where)
            reader.sendall(wire.encode({"op": View.op, "arguments": View().to_wire()[0]}))
            assert wire.receive(reader, wire.MessageBuffer())[0]["number"] > 0
        assert "pydantic" not in Path(f"/proc/{camera.process.pid}/maps").read_text()


@pytest.mark.alone
@pytest.mark.usefixtures("gallery")
def test_stop_ends_it_even_when_no_writer_answers(site: Path) -> None:
    """It runs, shows what it does, and on SIGTERM is gone with exit code 0 within the time that sightings may take."""
    with CameraProcess(site) as camera:
        stats = camera.wait_for(lambda stats: is_running(stats) and stats["looked_at"] >= 3)
        assert stats["model"] == "insightface/first"
        assert stats["source"] == str(site / "clip.avi"), "a relative file is relative to site.toml"
        assert stats["age_p95_ms"] < 1000
        assert (stats["losses"], stats["down_reason"]) == (0, None)
        camera.process.send_signal(signal.SIGTERM)
        assert camera.process.wait(8) == 0


def test_it_follows_the_gallery_to_another_model(site: Path, gallery: GalleryPublisher) -> None:
    """`models use` while it runs: the same process goes on with the other model."""
    write_pack(site / "data" / "models" / "second", seed=1)
    with CameraProcess(site) as camera:
        camera.wait_for(is_running)
        gallery.describe(DIM, "insightface/second", fingerprint_of(site, "second"))
        gallery.publish_all(0, [])
        stats = camera.wait_for(lambda stats: is_running(stats) and stats["model"] == "insightface/second")
        looked_at = stats["looked_at"]
        camera.wait_for(lambda stats: stats["looked_at"] > looked_at)


def test_it_goes_by_the_gallerys_model_and_not_the_files(site: Path, gallery: GalleryPublisher) -> None:
    """After `models use` the settings it was started with may be older than the gallery."""
    write_pack(site / "data" / "models" / "second", seed=1)
    gallery.describe(DIM, "insightface/second", fingerprint_of(site, "second"))
    gallery.publish_all(0, [])
    with CameraProcess(site) as camera:
        assert camera.wait_for(is_running)["model"] == "insightface/second"


def test_gallery_made_with_another_pack_of_the_same_name_is_refused(site: Path, gallery: GalleryPublisher) -> None:
    """Exit code 78, and both fingerprints are named."""
    gallery.describe(DIM, "insightface/first", "e" * 64)
    gallery.publish_all(0, [])
    with CameraProcess(site) as camera:
        assert camera.process.wait(30) == 78
        output = camera.output()
    assert fingerprint_of(site, "first")[:12] in output
    assert "eeeeeeeeeeee" in output


def test_camera_that_is_not_in_the_settings_is_refused(site: Path) -> None:
    """Exit code 78, and the cameras there are are named."""
    with CameraProcess(site, camera="dor", by_hand=True) as camera:
        assert camera.process.wait(30) == 78
        assert "dor" in (output := camera.output())
        assert "door" in output


@pytest.mark.parametrize("by_hand", [False, True])
def test_it_waits_for_the_gallery_and_can_be_stopped_meanwhile(site: Path, *, by_hand: bool) -> None:
    """No block yet: it says that it is loading, and a stop is no failure."""
    with CameraProcess(site, by_hand=by_hand) as camera:
        camera.wait_for(lambda stats: stats.get("state") == "loading")
        camera.process.send_signal(signal.SIGTERM)
        assert camera.process.wait(20) == 0


@pytest.mark.usefixtures("gallery")
def test_source_that_is_missing_is_shown_and_tried_on(site: Path) -> None:
    """Down with a reason, heartbeats going on; up once the file is there."""
    (site / "clip.avi").rename(site / "away.avi")
    with CameraProcess(site) as camera:
        stats = camera.wait_for(lambda stats: bool(stats.get("down_reason")))
        assert (stats["up"], stats["state"]) == (False, "running")
        assert stats["down_reason"].endswith("clip.avi: no such file or directory")
        (site / "away.avi").rename(site / "clip.avi")
        camera.wait_for(is_running)


@pytest.mark.usefixtures("gallery")
def test_file_that_has_ended_ends_the_process(site: Path) -> None:
    """Exit code 0, and the last heartbeat says `ended`, so that nobody takes it for a stop."""
    text = (site / "site.toml").read_text().replace("loop = true", "realtime = false")
    (site / "site.toml").write_text(text)
    with CameraProcess(site) as camera:
        stats = camera.wait_for(lambda stats: stats.get("state") == "ended")
        assert camera.process.wait(30) == 0
    assert stats["looked_at"] == 10
    assert stats["frames"] == 50


@pytest.mark.usefixtures("gallery")
def test_a_cameras_status_and_log_say_it(site: Path) -> None:
    """A real camera process on a real server: black, said in its heartbeat and its log; then a picture, and it is well."""
    photo = cv2.imread(str(astronaut()))
    assert photo is not None
    room = np.asarray(cv2.resize(photo, (640, 480)), np.uint8)
    with StrictCamera(site, "http", picture=lambda _: np.full((120, 160, 3), 3, np.uint8)) as server:
        (site / "site.toml").write_text(
            f'[recognition]\nmodel = "first"\ndet_size = 128\n[cameras.door]\nsource = "{server.url()}"\n'
        )
        with CameraProcess(site) as camera:
            assert camera.wait_for(is_running)["picture_fault"] is None
            stats = camera.wait_for(lambda stats: bool(stats.get("picture_fault")), 100.0)
            assert "black" in stats["picture_fault"]
            server.picture = lambda _: room
            camera.wait_for(lambda stats: stats.get("picture_fault") is None)
            camera.process.terminate()
            output = camera.output()
    assert "the picture is black" in output
    assert "the picture is well again" in output
    assert why_empty(room) is None
