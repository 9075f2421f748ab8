"""Who is forgotten is in the memory of no process of the site a minute later."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.ipc.client import SiteClient
from shared.ipc.requests.references import Save
from shared.process.freed_arrays import overwrite_small_arrays
from shared.process.freed_memory import overwriting
from shared.records import NewReference
from shared.store.opening import open_read_only
from shared.store.references import list_references, vector_of
from shared.store.sighting_probes import probe_of
from tests.support.paths import FACES, ROOT, needs_data
from tests.support.process_memory import needs_others_memory, pieces, remains, texts
from tests.support.site_process import SiteProcess, command
from tests.support.sites import enrol, write_site
from tests.support.vectors import noise

_NAME, _USER_ID = "Quillon Wexelbaum", "canary-user-7731905"
_FPS, _IN_VIEW_S, _OUT_OF_VIEW_S = 10, 6, 4
_WITHIN_S = 60.0


def _clip(path: Path, photo: Path) -> Path:
    """Somebody is there for a while, and then is not; nearly still, as a person at a door is."""
    picture = cv2.imread(str(photo))
    assert picture is not None
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), _FPS, (width, height))
    assert writer.isOpened()
    for number in range(_FPS * _IN_VIEW_S):
        writer.write(np.roll(picture[:height, :width], number % 4, axis=1))
    for _ in range(_FPS * _OUT_OF_VIEW_S):
        writer.write(np.full((height, width, 3), 60, np.uint8))
    writer.release()
    return path


def _give_user_id(site: SiteProcess) -> bytes:
    """Have the one reference carry a user id; its embedding."""
    store = open_read_only(site.settings.db_path)
    (row,) = list_references(store, _NAME)
    vector = vector_of(store, row.id)
    store.close()
    client = SiteClient(site.settings.run_dir)
    try:
        reference = NewReference(_NAME, row.image_path, _USER_ID)
        assert client.ask(Save([reference], vectors=vector.reshape(1, -1))).updated == 1
    finally:
        client.close()
    return vector.tobytes()


def _enrol_crowd(site: SiteProcess, count: int) -> None:
    """Enrol so many others, with two references each, in several batches."""
    rng, client = np.random.default_rng(4), SiteClient(site.settings.run_dir)
    try:
        for start in range(0, count, 50):
            names = [f"P{start + number // 2}" for number in range(100)]
            client.ask(Save([NewReference(name) for name in names], vectors=noise(rng, 100, 512)))
    finally:
        client.close()


def _judge_wrong(site: SiteProcess, folder: Path, event: int) -> bytes:
    """Judge an event wrong; the face that is kept of it."""
    store = open_read_only(site.settings.db_path)
    probe = probe_of(store, event)
    store.close()
    assert probe is not None
    assert command(folder, "wrong", str(event)).returncode == 0
    return probe.vector.tobytes()


@needs_data
@needs_others_memory
@pytest.mark.parametrize(
    ("in_view", "others"), [(True, 0), (False, 0), (False, 300)], ids=["in view", "out of view", "one of many"]
)
def test_a_forgotten_person_leaves_every_process(tmp_path: Path, in_view: bool, others: int) -> None:
    """Supervisor, writer and the camera that named the person hold neither name nor user id nor a piece of the embedding within a
    minute, and none was restarted for it. The camera, while the person is before it, goes on saying so for a moment. With 300 others
    enrolled, the writer has compared everybody with everybody, and searched the face of an event that was judged wrong."""
    photos = sorted((FACES / "lfw_mini" / "Michelle_Kwan").iterdir())
    (tmp_path / "photos" / _NAME).mkdir(parents=True)
    (tmp_path / "photos" / _NAME / "1.jpg").write_bytes(photos[0].read_bytes())
    clip = _clip(tmp_path / "door.avi", photos[0])
    write_site(tmp_path, {"door": f'source = "{clip}"\nloop = true\nfps = 5'})
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        enrol(tmp_path, tmp_path / "photos")
        _enrol_crowd(site, others)
        wanted = {**texts(_NAME), **texts(_USER_ID), **pieces("vector", _give_user_id(site))}
        pids = {"supervisor": site.process.pid, "writer": site.child_pid("writer"), "camera": site.child_pid("door")}
        named = site.wait_for_event(event="named", person=_NAME, user_id=_USER_ID)
        assert _NAME in command(tmp_path, "events").stdout
        assert _NAME in command(tmp_path, "people").stdout
        if not in_view:
            site.wait_for_event(event="left", track=named["track"], person=_NAME)
        # The camera computes the same face again whenever the film begins anew.
        face = pieces("face", _judge_wrong(site, tmp_path, named["id"])) if others else {}
        assert command(tmp_path, "forget", _NAME).returncode == 0
        left, end, pause = {"not": {"looked": 1}}, time.monotonic() + _WITHIN_S, threading.Event()
        while left and time.monotonic() < end:
            pause.wait(1.5)
            left = {
                name: found
                for name, pid in pids.items()
                if (found := remains(pid, wanted if name == "camera" else {**wanted, **face}))
            }
        assert left == {}
        assert (pids["writer"], pids["camera"]) == (site.child_pid("writer"), site.child_pid("door"))
        assert site.stop() == 0


_COMPARE = """
import mmap, sys
import numpy as np
from shared.gallery.tail import CrossScores
references = np.frombuffer(mmap.mmap(-1, 210 * 2048), np.float32).reshape(210, 512)  # shared memory, as the block's
for row in range(210):
    rng = np.random.default_rng(row)
    references[row] = rng.random(512, np.float32)
persons, ids = np.arange(210, dtype=np.int32) // 3, np.arange(1, 211)
scores = CrossScores()
scores.rebuild(references[:207], persons[:207], ids[:207])
scores.add(references, persons, ids, 207)
persons[207:] = -1
scores.remove(references, persons, ids, np.arange(207, 210))
references[207:] = 0
print("removed", flush=True)
sys.stdin.read()
"""


@needs_others_memory
def test_what_the_tail_compared_is_nowhere_once_it_is_wiped() -> None:
    """The writer compares a new person's three references with 207 others, and again when they go: no library keeps a piece of them."""
    environment = overwriting({**os.environ, "PYTHONPATH": str(ROOT)})
    vectors = [np.random.default_rng(row).random(512, np.float32) for row in (207, 208, 209)]
    wanted = {
        what: raw for row, one in enumerate(vectors) for what, raw in pieces(f"vector {row}", one.tobytes()).items()
    }
    with subprocess.Popen(
        [sys.executable, "-c", _COMPARE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        try:
            assert writer.stdout.readline() == "removed\n"
            assert remains(writer.pid, wanted) == {}
        finally:
            writer.stdin.close()


def test_what_numpy_keeps_of_small_arrays_is_overwritten() -> None:
    """An embedding of dlib's, 512 bytes, stays readable where it was once it is gone, and not after that."""
    embedding = np.arange(128, dtype=np.float32)
    where, raw = embedding.ctypes.data, embedding.tobytes()
    del embedding
    assert ctypes.string_at(where, len(raw))[64:] == raw[64:]  # numpy has it still: the memory is mapped
    overwrite_small_arrays()
    assert raw[64:128] not in ctypes.string_at(where, len(raw))


def test_other_settings_of_glibc_are_kept() -> None:
    """What somebody has set for the site's processes stays in force; ours come in once, however often they are asked for."""
    once = overwriting({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "PATH": "/bin"})
    if "PYTHONMALLOC" not in once:
        pytest.skip("nothing to set: this is not glibc")
    assert once["PATH"] == "/bin"
    assert once["GLIBC_TUNABLES"].startswith("glibc.malloc.hugetlb=1:")
    assert overwriting(once) == once
