"""Cameras that share one engine: the answers are the local engine's, bit by bit, and nobody gets another's."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from shared.errors import ConfigurationError, RefusedError
from shared.inference import link
from shared.inference.memory import attached_memory, new_memory
from shared.inference.slot import Kind, Picture, Request, Room, Slot, SlotFault, room_for
from shared.ipc import wire
from shared.settings.file import load_settings
from tests.support.inference_process import InferenceProcess, Patience, joined
from tests.support.liveness_graph import write_any, write_graph
from tests.support.paths import FACES, SMALL_PACK, VIDEOS, needs_data
from tests.support.tiny_pack import DIM, recogniser, write_pack
from workers.recognition.engine import Face
from workers.recognition.liveness import LivenessModel
from workers.recognition.remote_engine import EngineAway, RemoteLiveness
from workers.recognizer_arcface import ArcFaceEngine
from workers.sharing.models import SharedModel

Crops = list[NDArray[np.uint8]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with the tiny pack `first` in use."""
    write_pack(tmp_path / "data" / "models" / "first")
    (tmp_path / "data" / "run").mkdir(mode=0o700)
    (tmp_path / "site.toml").write_text('[recognition]\nmodel = "first"\ndet_size = 128\nshared_engine = true\n')
    return tmp_path


@pytest.fixture
def inference(site: Path) -> Iterator[InferenceProcess]:
    with InferenceProcess(site) as process:
        yield process.wait_until_ready()


def _crops(seed: int, count: int = 3) -> Crops:
    return list(np.random.default_rng(seed).integers(0, 255, (count, 112, 112, 3)).astype(np.uint8))


def _local(site: Path) -> ArcFaceEngine:
    return ArcFaceEngine(site / "data" / "models" / "first", det_size=128, threads=1)


def test_it_describes_the_same_model(site: Path, inference: InferenceProcess) -> None:
    """All that a camera's decisions follow from is the local engine's."""
    local, remote = _local(site), joined(inference.settings)
    for what in (
        "name",
        "model",
        "model_id",
        "fingerprint",
        "dim",
        "threshold",
        "margin",
        "law",
        "points",
        "appearance",
    ):
        assert getattr(remote, what) == getattr(local, what), what
    assert remote.device == "cpu"
    remote.close()


def test_embeddings_of_many_cameras_are_each_ones_own(site: Path, inference: InferenceProcess) -> None:
    """Six cameras ask at once, over and over, each with crops of its own: every answer is that of its crops."""
    local = _local(site)

    def camera(seed: int) -> int:
        remote = joined(inference.settings)
        wrong = 0
        for turn in range(40):
            crops = _crops(100 * seed + turn, 1 + (seed + turn) % 8)
            wrong += not np.array_equal(remote.embed(crops), local.embed(crops))
        remote.close()
        return wrong

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(camera, range(6))) == 0


@needs_data
def test_faces_are_those_of_the_local_engine(tmp_path: Path) -> None:
    """A film, a photo that a face fills, a tall picture, and one of a few pixels: boxes, points and scores are equal, not only near."""
    (tmp_path / "data" / "run").mkdir(parents=True, mode=0o700)
    (tmp_path / "site.toml").write_text(
        f'[recognition]\nmodel = "{SMALL_PACK.name}"\nmodels_dir = "{SMALL_PACK.parent}"\nshared_engine = true\n'
    )
    film = cv2.VideoCapture(str(VIDEOS / "friends_in_video.mp4"))
    frames: list[Any] = [film.read()[1] for _ in range(12)][::4]
    photo = cv2.imread(str(next((FACES / "friends_enrol").rglob("*.*"))))
    assert photo is not None
    frames += [photo, np.rot90(frames[0]), frames[0][:300, :303], frames[0][:2, :900], np.zeros((1, 1, 3), np.uint8)]
    with InferenceProcess(tmp_path) as inference:
        inference.wait_until_ready()
        for least in (None, 40):
            remote = joined(inference.settings, least_face_px=least)
            local = ArcFaceEngine(SMALL_PACK, det_size=640, threads=1, least_face_px=least)
            found = 0
            for frame in frames:
                expected, got = local.detect(frame), remote.detect(frame)
                assert [(face.box, face.det_score) for face in got] == [(face.box, face.det_score) for face in expected]
                for one, other in zip(got, expected, strict=True):
                    assert np.array_equal(one.points, other.points)
                crops = [remote.crop(frame, face) for face in got]
                assert np.array_equal(remote.embed(crops), local.embed(crops))
                found += len(got)
            assert found >= 5
            remote.close()


def test_a_crop_without_an_embedding_is_refused_to_its_own_camera(site: Path) -> None:
    """One camera's crop that gives nothing takes nobody else's embedding away, though both go as one batch."""
    pack = site / "data" / "models" / "first"
    recogniser(pack / "rec_tiny.onnx", dark_gives_nothing=True)
    local = _local(site)
    dark: Crops = [np.zeros((112, 112, 3), np.uint8)]
    with pytest.raises(RefusedError):
        local.embed(dark)
    good, bad, also_good = SharedModel(local).embed([_crops(1), dark, _crops(2, 1)])
    assert bad is None
    assert good is not None
    assert np.array_equal(good, local.embed(_crops(1)))
    assert also_good is not None
    assert np.array_equal(also_good, local.embed(_crops(2, 1)))
    with InferenceProcess(site) as inference:
        inference.wait_until_ready()

        def camera(number: int) -> int:
            remote, wrong = joined(inference.settings), 0
            for turn in range(30):
                if number % 3:
                    crops = _crops(100 * number + turn, 2)
                    wrong += not np.array_equal(remote.embed(crops), local.embed(crops))
                else:
                    with pytest.raises(RefusedError):
                        remote.embed(dark)
            remote.close()
            return wrong

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(camera, range(6))) == 0


def _frame_of_faces() -> tuple[NDArray[np.uint8], list[Face]]:
    """A frame of noise, and faces in it: in its middle, and one whose surroundings lie beyond its edge."""
    frame = np.random.default_rng(3).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    points = np.array([[270, 200], [320, 200], [295, 230], [275, 260], [315, 260]], np.float32)
    faces = [Face((250, 150, 340, 290), points + shift, 0.9) for shift in (0, 40, -60)]
    return frame, [*faces, Face((0, 0, 60, 60), points - np.float32(250), 0.9)]


def test_liveness_is_judged_for_the_cameras_that_ask(site: Path) -> None:
    """The same probabilities as those of a camera's own model, None for the same faces; beside a camera that asks for embeddings only."""
    write_any(site / "data" / "models" / "liveness.onnx")
    frame, faces = _frame_of_faces()
    expected = LivenessModel(site / "data" / "models" / "liveness.onnx", threads=1).score(frame, faces)
    assert [one is None for one in expected] == [False, False, False, True]
    with InferenceProcess(site) as inference:
        inference.wait_until_ready()
        asks, other = joined(inference.settings, liveness=True), joined(inference.settings)
        for _ in range(5):
            assert RemoteLiveness(asks).score(frame, faces) == expected
            assert np.array_equal(other.embed(_crops(1)), _local(site).embed(_crops(1)))
        assert RemoteLiveness(asks).score(frame, faces[3:]) == [None]
        with pytest.raises(EngineAway):  # it is cut off each time, until it is asked to stop
            stopping = Patience()
            stopping.stopping.set()
            joined(inference.settings, stopping).liveness_of([np.zeros((80, 80, 3), np.uint8)])
        asks.close()
        other.close()


def test_a_liveness_model_that_is_none_is_the_askers_fault(site: Path) -> None:
    """Missing, it refuses the camera that asks for it, with the remedy; if it gives no probability, that camera ends. The others go on."""
    frame, faces = _frame_of_faces()
    path = site / "data" / "models" / "liveness.onnx"
    with InferenceProcess(site) as inference:
        inference.wait_until_ready()
        other = joined(inference.settings)
        with pytest.raises(ConfigurationError, match="its model is not installed"):
            joined(inference.settings, liveness=True)
        write_graph(path, np.ones((1, 3, 80, 80), np.float32), 5.0, probability=False)
        asks = joined(inference.settings, liveness=True)
        with pytest.raises(ConfigurationError, match="no probability"):
            RemoteLiveness(asks).score(frame, faces)
        assert np.array_equal(other.embed(_crops(1)), _local(site).embed(_crops(1)))
        asks.close()
        other.close()


def test_another_model_is_loaded_when_a_camera_asks_for_it(site: Path, inference: InferenceProcess) -> None:
    """`models use`: cameras come back one by one and ask for the new model; the first one's answers stay those of the old."""
    write_pack(site / "data" / "models" / "second", seed=1)
    old = joined(inference.settings)
    fresh = inference.settings.recognition.model_copy(update={"model": "second"})
    new = joined(replace(inference.settings, recognition=fresh))
    crops = _crops(4)
    assert np.array_equal(old.embed(crops), _local(site).embed(crops))
    second = ArcFaceEngine(site / "data" / "models" / "second", det_size=128, threads=1)
    assert np.array_equal(new.embed(crops), second.embed(crops))
    old.close()
    new.close()


def test_a_model_that_is_not_there_is_refused_with_its_remedy(inference: InferenceProcess) -> None:
    """The camera gets the error that it would have met itself; the inference process goes on."""
    fresh = inference.settings.recognition.model_copy(update={"model": "absent"})
    with pytest.raises(ConfigurationError, match="'absent' is not installed"):
        joined(replace(inference.settings, recognition=fresh))
    joined(inference.settings).close()


def test_a_camera_that_dies_leaves_nothing(site: Path, inference: InferenceProcess) -> None:
    """Its slot is unmapped, its connection closed, and others are served as before."""
    process = psutil.Process(inference.process.pid)
    stays = joined(inference.settings)

    def slots() -> int:
        return Path(f"/proc/{process.pid}/maps").read_text().count("rollcall-slot")

    before = process.num_fds()
    for _ in range(20):
        joined(inference.settings).close()
    inference.wait_for(lambda status: status["cameras"] == 1)
    crops = _crops(1)
    assert np.array_equal(stays.embed(crops), _local(site).embed(crops))
    assert process.num_fds() <= before
    assert slots() == 1
    stays.close()


def _raw(
    inference: InferenceProcess, memory: int | None, *, rings: bytes = b"!", write: bytes = b"", waits_s: float = 10.0
) -> bytes:
    """Join by hand, share this memory, ring; what came back after the welcome until the other side hung up."""
    connection = link.connect(inference.settings.run_dir, 5.0)
    connection.setblocking(True)
    connection.settimeout(10.0)
    buffer = wire.MessageBuffer()
    with connection:
        connection.sendall(wire.encode({"op": "join", "model": inference.settings.model_label}))
        wire.receive(connection, buffer)
        if memory is not None:
            link.send_descriptor(connection, {"op": "share"}, memory)
            with contextlib.suppress(ConnectionError):
                wire.receive(connection, buffer)
        with contextlib.suppress(OSError):
            connection.sendall(write + rings)
        answer = b""
        connection.settimeout(waits_s)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while data := connection.recv(4096):
                answer += data
        return answer


@pytest.mark.parametrize("fault", ["short", "unsealed", "no slot", "two bells", "no request", "text"])
def test_a_camera_in_other_hands_harms_nobody(site: Path, inference: InferenceProcess, fault: str) -> None:
    """A camera reads streams from anywhere. Whatever it does at its end, it is cut off, and the others' answers go on."""
    stays = joined(inference.settings)
    room = room_for(4096, 8, 112, DIM)
    descriptor, memory = new_memory(room.slot, site)
    Slot.begin(memory, room, 7)
    rings, write, given = b"!", b"", descriptor
    if fault == "short":
        os.close(descriptor)
        given, memory = new_memory(100, site)
    elif fault == "unsealed":
        os.close(descriptor)
        given = os.memfd_create("rollcall-slot")
        os.ftruncate(given, room.slot)
        os.pwrite(given, memory[:64], 0)
    elif fault == "no slot":
        memory[:8] = b"\0" * 8
    elif fault == "two bells":
        rings = b"!!"
    elif fault == "text":
        write = b"GET / HTTP/1.1\r\n\r\n"
    _raw(inference, given, rings=rings, write=write)
    os.close(given)
    inference.wait_for(lambda status: status["cameras"] == 1)
    crops = _crops(2)
    assert np.array_equal(stays.embed(crops), _local(site).embed(crops))
    stays.close()


@pytest.mark.parametrize(("results", "answered"), [(4096, b""), (None, b"!")], ids=["too little", "enough"])
def test_a_slot_without_room_for_an_answer_is_refused(
    site: Path, inference: InferenceProcess, results: int | None, answered: bytes
) -> None:
    """However many faces there may be, the answer fits: a search is refused before it is made if it might not."""
    whole = room_for(4096, 8, 112, DIM)
    room = whole if results is None else Room(whole.pixels, results)
    descriptor, memory = new_memory(room.slot, site)
    Slot.begin(memory, room, 9).ask(Request(9, 1, Kind.SEARCH, (Picture((64, 36), (64, 36), 1.0),)))
    assert _raw(inference, descriptor, waits_s=3.0) == answered
    os.close(descriptor)
    joined(inference.settings).close()


def test_memory_of_a_slot_can_not_be_made_shorter(tmp_path: Path) -> None:
    """Else whoever holds the other end could have the reader killed by SIGBUS."""
    descriptor, memory = new_memory(8192, tmp_path)
    assert isinstance(memory, mmap.mmap)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 4096)
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_GROW
    assert len(attached_memory(descriptor)) == 8192
    os.close(descriptor)
    plain = os.memfd_create("plain")
    os.ftruncate(plain, 8192)
    with pytest.raises(SlotFault, match="shorter"):
        attached_memory(plain)
    os.close(plain)


def test_a_camera_waits_for_the_inference_process(site: Path) -> None:
    """There is none at first: the camera gives signs of life, and is served as soon as there is one."""
    patience = Patience()
    with ThreadPoolExecutor(1) as pool:
        joining = pool.submit(joined, load_settings(site / "site.toml"), patience)
        while patience.waits < 3:
            assert not joining.done()
        with InferenceProcess(site):
            remote = joining.result(30)
            assert remote.embed(_crops(1)).shape == (3, DIM)
            remote.close()


def test_a_camera_without_one_gives_up_in_the_end(site: Path) -> None:
    """Temporary, and it says what to look at."""
    with pytest.raises(EngineAway, match=r"does not answer.*shared_engine"):
        joined(load_settings(site / "site.toml"), first_patience_s=0.2)


def test_a_stop_ends_the_wait_for_an_answer(inference: InferenceProcess) -> None:
    """The inference process stands still; the camera is asked to stop, and does."""
    patience = Patience()
    remote = joined(inference.settings, patience)
    inference.process.send_signal(signal.SIGSTOP)
    patience.stopping.set()
    began = time.monotonic()
    with pytest.raises(EngineAway, match="asked to stop"):
        remote.embed(_crops(1))
    assert time.monotonic() - began < 5
    inference.process.send_signal(signal.SIGCONT)


def test_a_device_without_memory_is_temporary(site: Path) -> None:
    """The process ends with 75, which is tried again, and its last word is why. The camera asks the next one, and gets its own answer."""
    first = InferenceProcess(site, runs_out_at=4)
    patience = Patience()
    crops = _crops(6, 2)
    with first, ThreadPoolExecutor(1) as pool:
        first.wait_until_ready()
        remote = joined(first.settings, patience)
        answers = pool.submit(lambda: [remote.embed(crops) for _ in range(3)])
        said = first.wait_for(lambda status: bool(status.get("fault")))
        assert "Failed to allocate memory" in said["fault"]
        assert first.process.wait(20) == 75
        with InferenceProcess(site):
            expected = _local(site).embed(crops)
            assert all(np.array_equal(one, expected) for one in answers.result(30))
    assert remote.take_away_s() > 0
    remote.close()


def test_the_socket_is_the_owners_alone(site: Path, inference: InferenceProcess) -> None:
    """Mode 0600; removed at a stop, and nothing is left in the run folder or in shared memory."""
    path = link.socket_path(inference.settings.run_dir)
    assert path.stat().st_mode & 0o777 == 0o600
    inference.process.terminate()
    assert inference.process.wait(20) == 0
    assert not path.exists()
    assert list((site / "data" / "run").iterdir()) == []


def test_a_socket_that_somebody_removed_is_made_anew(inference: InferenceProcess) -> None:
    path = link.socket_path(inference.settings.run_dir)
    path.unlink()
    remote = joined(inference.settings)
    assert remote.embed(_crops(1)).shape == (3, DIM)
    remote.close()


def test_a_second_request_before_the_answer_ends_the_connection(site: Path, inference: InferenceProcess) -> None:
    """A camera has one request at a time: that is what makes turns fair."""
    room = room_for(4096, 8, 112, DIM)
    descriptor, memory = new_memory(room.slot, site)
    slot = Slot.begin(memory, room, 9)
    slot.ask(Request(9, 1, Kind.EMBED, (), 8, 112))
    answer = _raw(inference, descriptor, rings=b"!!")
    os.close(descriptor)
    assert answer == b""
