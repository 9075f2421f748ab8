"""What happens to boxes in cupboards: processes are killed and stopped at random, and the site goes on."""

from __future__ import annotations

import random
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from shared import embedding_db
from shared.gallery.files import remove_left_behind
from shared.ipc.client import SiteClient
from shared.ipc.requests.references import Save
from shared.records import NewReference
from shared.service.access import FilesOfSite, RunningSite
from shared.settings.file import load_settings
from shared.uuid7 import new_uuids
from tests.support.eight_threads import eight_threads
from tests.support.paths import FACES, VIDEOS, needs_data
from tests.support.site_process import SiteProcess, command
from tests.support.sites import enrol, write_site
from tests.support.vectors import noise
from tests.support.writer_process import WriterProcess

_SOFA = f'source = "{VIDEOS / "friends_in_video.mp4"}"\nloop = true'


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[WriterProcess]:
    write_site(tmp_path, {})
    process = WriterProcess(tmp_path)
    yield process
    process.close()
    embedding_db.use_site(None)


@pytest.mark.timeout(170)
def test_sigkill_of_the_writer_loses_and_doubles_nothing(tmp_path: Path, writer: WriterProcess) -> None:
    """200 writes with the writer killed at random points: every acknowledged row is there once, the rest at most once."""
    rng, chance = np.random.default_rng(0), random.Random(1)
    client = SiteClient(load_settings(tmp_path / "site.toml").run_dir, patience_s=30)
    vectors = noise(rng, 200)
    kills = 0
    for i in range(200):
        if chance.random() < 0.06:
            # At a random moment of the writes that follow, not between two of them.
            threading.Timer(chance.uniform(0, 0.02), writer.kill).start()
            kills += 1
        client.ask(Save([NewReference(f"p{i}", uuid=new_uuids(1)[0])], vectors=vectors[i : i + 1]))
    client.close()
    assert kills >= 8
    assert writer.starts > kills // 2
    fresh = RunningSite(load_settings(tmp_path / "site.toml"))
    assert fresh.count() == 200
    assert fresh.check() == []
    fresh.close()
    assert writer.close() == 0
    embedding_db.use_site(load_settings(tmp_path / "site.toml"))
    embeddings, names = embedding_db.load_embeddings_from_db()
    assert embeddings is not None
    assert names is not None
    assert Counter(names) == Counter(f"p{i}" for i in range(200))
    order = [int(name[1:]) for name in names]
    assert np.allclose(embeddings, vectors[order], atol=1e-6)


@needs_data
def test_a_killed_camera_is_replaced_and_others_go_on(tmp_path: Path) -> None:
    """SIGKILL, then SIGSTOP, of one camera: it is replaced each time; the other keeps its process and its sightings."""
    write_site(tmp_path, {"one": _SOFA, "two": _SOFA})
    enrol(tmp_path, FACES / "friends_enrol")
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        for name in ("one", "two"):  # their events may come after the site says that it runs
            site.wait_for_event(event="camera_up", camera=name)
        other = site.child_pid("two")
        for number in (signal.SIGKILL, signal.SIGSTOP):
            victim = site.child_pid("one")
            told = len(site.events)
            psutil.Process(victim).send_signal(number)
            site.wait_for_event(40, after=told, event="camera_up", camera="one")
            site.wait_for_new_pid("one", victim)
            assert not psutil.pid_exists(victim)
            assert [event for event in site.events[told:] if event["camera"] == "two"], "the other went on meanwhile"
        assert site.child_pid("two") == other
        assert site.status()["cameras"]["two"]["restarts"] == 0
        assert site.check() == []


@needs_data
def test_a_killed_writer_is_replaced_and_cameras_go_on(tmp_path: Path) -> None:
    """SIGKILL of the writer: cameras keep their processes, and what they saw meanwhile arrives, each sighting once."""
    write_site(tmp_path, {"sofa": _SOFA})
    enrol(tmp_path, FACES / "friends_enrol")
    with SiteProcess(tmp_path) as site:
        site.wait_for_event(60, event="named")
        camera, before = site.child_pid("sofa"), site.child_pid("writer")
        told = len(site.events)
        psutil.Process(before).kill()
        site.wait_for_event(40, after=told, event="left")
        site.wait_for_new_pid("writer", before)
        assert site.child_pid("sofa") == camera
        assert site.check() == []
        assert site.stop() == 0
    ids = [event["id"] for event in site.events]
    assert ids == sorted(set(ids))
    tracks = Counter(event["track"] for event in site.events if event["event"] == "left")
    assert set(tracks.values()) == {1}
    assert site.segments() == []


@pytest.mark.alone
@needs_data
def test_sigkill_of_the_supervisor_leaves_nothing_behind(tmp_path: Path) -> None:
    """No process of the site lives 2 s after; after the next start and stop no segment is left, and the store is sound."""
    write_site(tmp_path, {"one": _SOFA, "two": _SOFA})
    enrol(tmp_path, FACES / "friends_enrol")
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        children = site.children()
        assert len(children) >= 3
        site.kill()
        _, alive = psutil.wait_procs(children, timeout=2)
        assert alive == []
    with SiteProcess(tmp_path) as again:
        again.wait_until_ready()
        assert len(again.segments()) == 2, "one head and one generation"
        assert again.check() == []
        assert again.stop() == 0
    assert again.segments() == []


def test_a_second_run_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    """A second `run` on the same data_dir: exit 75, one clear line, and the first one undisturbed."""
    write_site(tmp_path, {})
    (tmp_path / "site.toml").write_text('[recognition]\nengine = "dlib"\n', encoding="utf-8")
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        second = command(tmp_path, "run")
        assert second.returncode == 75
        assert "already running" in second.stderr
        assert site.check() == []
        assert site.stop() == 0


def test_a_reload_restarts_only_what_changed(tmp_path: Path) -> None:
    """SIGHUP: a changed camera gets a new process, an unchanged one keeps its own; a faulty file is refused whole."""
    if not VIDEOS.is_dir():
        pytest.skip(f"the test data is not at {VIDEOS}")
    write_site(tmp_path, {"one": _SOFA, "two": _SOFA})
    enrol(tmp_path, FACES / "friends_enrol" / "Joey.png")
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        one, two = site.child_pid("one"), site.child_pid("two")
        write_site(tmp_path, {"one": _SOFA, "two": _SOFA + "\nthreshold = 1.5"})
        site.sighup()
        site.wait_for_log("reload refused: the site goes on")
        assert any("threshold" in line and "1.5" in line for line in site.log)
        whole = (tmp_path / "site.toml").read_text(encoding="utf-8")
        other = re.sub(r'model = "[^"]+"', 'model = "other"', whole).replace("threshold = 1.5", "")
        (tmp_path / "site.toml").write_text(other, encoding="utf-8")
        site.sighup()
        site.wait_for_log("the gallery is of another model")
        write_site(tmp_path, {"one": _SOFA, "two": _SOFA + "\nthreshold = 0.5", "three": _SOFA})
        site.sighup()
        site.wait_for_log("reloaded")
        site.wait_for_new_pid("two", two)
        assert site.child_pid("three")
        assert site.child_pid("one") == one
        write_site(tmp_path, {"one": _SOFA})
        site.sighup()
        site.wait_for(lambda: set(site.status()["cameras"]) == {"one"}, "the removed cameras gone")
        assert site.child_pid("one") == one


def test_eight_threads_of_mixed_calls(tmp_path: Path) -> None:
    """embedding_db from 8 threads at once: no error, and in the end exactly what was not deleted."""
    write_site(tmp_path, {})
    settings = load_settings(tmp_path / "site.toml")
    embedding_db.use_site(settings)

    def work(thread: int) -> None:
        rng = np.random.default_rng(thread)
        for i in range(12):
            embedding_db.save_embedding(f"t{thread}", noise(rng, 1)[0], f"{i}.jpg")
            embedding_db.load_embeddings_from_db()
            embedding_db.get_embedding_count()
            if i % 3 == 0:
                embedding_db.clear_cache()
                embedding_db.delete_embedding(f"t{thread}", f"{i}.jpg")

    eight_threads(work)
    _, names = embedding_db.load_embeddings_from_db()
    assert names is not None
    assert Counter(names) == {f"t{thread}": 8 for thread in range(8)}
    embedding_db.use_site(None)
    files = FilesOfSite(settings, print)
    assert files.check() == []
    files.close()
    remove_left_behind(settings.run_dir)
