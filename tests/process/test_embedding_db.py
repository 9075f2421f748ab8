"""The original program's functions, by name and meaning: without a site they open the file, with one they go through it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from shared import embedding_db
from shared.errors import ConfigurationError, RefusedError, TemporaryError
from shared.gallery.reader import GalleryReader
from shared.ipc.client import site_is_running
from shared.service.access import SiteAccess
from shared.settings.schema import Settings
from shared.store.lock import SiteLock
from tests.support.eight_threads import eight_threads
from tests.support.paths import ROOT
from tests.support.stores import files_of, silent, site_settings
from tests.support.vectors import noise

_RNG = np.random.default_rng(5)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A site that does not run, chosen for the functions."""
    found = site_settings(tmp_path)
    embedding_db.use_site(found)
    yield found
    embedding_db.use_site(None)


@pytest.fixture
def running(settings: Settings) -> Iterator[Settings]:
    """The same site with its writer running."""
    words = [sys.executable, "-m", "workers.writer", "--config", str(settings.path)]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 60
            while not site_is_running(settings.run_dir):
                assert process.poll() is None
                assert time.monotonic() < deadline
                threading.Event().wait(0.02)
            yield settings
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()  # else leaving the context would wait for a writer that nobody stops


@pytest.fixture(params=["file", "site"])
def either(request: pytest.FixtureRequest) -> Settings:
    """The site, once as files and once running: the functions mean the same."""
    chosen: Settings = request.getfixturevalue({"file": "settings", "site": "running"}[request.param])
    return chosen


def vectors(count: int, dim: int = 32) -> NDArray[np.float32]:
    return noise(_RNG, count, dim)


def loaded() -> dict[str, list[NDArray[np.float32]]]:
    """What load_embeddings_from_db gives, by name."""
    embeddings, names = embedding_db.load_embeddings_from_db()
    if embeddings is None or names is None:
        return {}
    assert embeddings.dtype == np.float32
    assert embeddings.shape[0] == len(names)
    found: dict[str, list[NDArray[np.float32]]] = {}
    for name, vector in zip(names, embeddings, strict=True):
        found.setdefault(name, []).append(vector)
    return found


def test_an_empty_gallery_loads_as_none(either: Settings) -> None:
    """(None, None), before and after init_database, and again once everybody was deleted."""
    assert embedding_db.load_embeddings_from_db() == (None, None)
    embedding_db.init_database()
    embedding_db.init_database()
    assert either.db_path.exists()
    assert embedding_db.load_embeddings_from_db() == (None, None)
    assert embedding_db.get_embedding_count() == 0
    embedding_db.save_embedding("Ada", vectors(1)[0])
    assert embedding_db.delete_embedding("Ada") == 1
    assert embedding_db.load_embeddings_from_db() == (None, None)


def test_what_is_saved_is_loaded(either: Settings) -> None:
    """Every reference by name, of unit norm; rows without a photo and with one, a person with several; the count of rows."""
    ada, other, bo = vectors(3)
    first = embedding_db.save_embedding("Ada", ada * 5, "a.jpg", "e-17")
    second = embedding_db.save_embedding("Ada", list(other))
    third = embedding_db.save_embedding("Bo", bo.reshape(1, -1).astype(np.float64), image_path="b.jpg")
    assert len({first, second, third}) == 3
    found = loaded()
    assert {name: len(of) for name, of in found.items()} == {"Ada": 2, "Bo": 1}
    assert np.allclose(found["Ada"], [ada, other], atol=1e-6)
    assert np.allclose(found["Bo"], [bo], atol=1e-6)
    assert embedding_db.get_embedding_count() == 3
    assert either.db_path.exists()


def test_saving_again_updates(either: Settings) -> None:
    """The same person and photo: same id, same created_at, the new vector; identical vectors without a photo count once."""
    first, second, loose = vectors(3)
    row_id = embedding_db.save_embedding("Ada", first, "a.jpg")
    created = _created(either)
    assert embedding_db.save_embedding("Ada", second, "a.jpg") == row_id
    assert _created(either) == created
    assert np.allclose(loaded()["Ada"], [second], atol=1e-6)
    assert embedding_db.save_embedding("Ada", loose) == embedding_db.save_embedding("Ada", loose)
    assert embedding_db.get_embedding_count() == 2


def _created(settings: Settings) -> list[tuple[str]]:
    connection = sqlite3.connect(f"{settings.db_path.as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT created_at FROM embeddings ORDER BY id").fetchall()
    finally:
        connection.close()


def test_deleting(either: Settings) -> None:
    """A photo's reference, or all of a person; how many rows went; 0 for what is not there."""
    embedding_db.save_embeddings_batch([("Ada", one, f"{i}.jpg", None) for i, one in enumerate(vectors(3))])
    embedding_db.save_embedding("Bo", vectors(1)[0])
    assert embedding_db.delete_embedding("Ada", "1.jpg") == 1
    assert embedding_db.delete_embedding("Ada", "1.jpg") == 0
    assert embedding_db.delete_embedding("Ada", "none.jpg") == 0
    assert len(loaded()["Ada"]) == 2
    assert embedding_db.delete_embedding("Ada") == 2
    assert set(loaded()) == {"Bo"}
    assert embedding_db.get_embedding_count() == 1
    assert either.db_path.exists()


def test_a_batch_is_all_or_nothing(either: Settings) -> None:
    """One row of it refused: nothing of it saved; ids come back in order, an empty batch is none."""
    assert embedding_db.save_embeddings_batch([]) == []
    good = vectors(3)
    ids = embedding_db.save_embeddings_batch([(f"p{i}", one, None, None) for i, one in enumerate(good)])
    assert ids == sorted(ids)
    bad: list[object] = [np.full(32, np.nan), np.zeros(32), np.ones(31), [], "words", None, ["a"] * 32]
    for vector in bad:
        with pytest.raises(RefusedError):
            embedding_db.save_embeddings_batch([("new", good[0], None, None), ("bad", vector, None, None)])  # type: ignore[list-item]  # on purpose
    for name in ("", "  ", "a\0b", "x" * 2000, None):
        with pytest.raises(RefusedError):
            embedding_db.save_embeddings_batch([("new", good[0], None, None), (name, good[1], None, None)])  # type: ignore[list-item]  # as above
    with pytest.raises(RefusedError):
        embedding_db.delete_embedding(None)  # type: ignore[arg-type]  # as above
    assert set(loaded()) == {"p0", "p1", "p2"}
    assert either.db_path.exists()


def test_ten_thousand_in_one_transaction(either: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them at once, found by name; one bad one among them and none is there. Nothing is printed."""
    rows = [(f"p{i // 10}", one, f"{i}.jpg", None) for i, one in enumerate(vectors(10_000, 128))]
    with pytest.raises(RefusedError):
        embedding_db.save_embeddings_batch([*rows[:9_999], ("bad", np.zeros(128, np.float32), None, None)])
    assert embedding_db.get_embedding_count() == 0
    ids = embedding_db.save_embeddings_batch(rows)
    assert len(set(ids)) == 10_000
    assert embedding_db.save_embeddings_batch(rows) == ids
    found = loaded()
    assert len(found) == 1000
    for at in (0, 4_711, 9_999):
        name, vector, *_ = rows[at]
        assert np.allclose(found[name][at % 10], vector, atol=1e-6)
    assert capsys.readouterr() == ("", "")
    with SiteAccess(either, silent) as site:
        assert site.check() == []
        assert len({one.change_number for one in site.references()}) == 10_000


def test_the_cache(settings: Settings) -> None:
    """{'cached', 'count', 'timestamp'}: nothing at first, the loaded rows afterwards, nothing again after clear_cache or a change;
    a change by somebody else is loaded too."""
    assert embedding_db.get_cache_info() == {"cached": False, "count": 0, "timestamp": None}
    embedding_db.save_embedding("Ada", vectors(1)[0])
    before = datetime.now(UTC).replace(microsecond=0)
    assert set(loaded()) == {"Ada"}
    info = embedding_db.get_cache_info()
    assert (set(info), info["cached"], info["count"]) == ({"cached", "count", "timestamp"}, True, 1)
    assert before <= datetime.fromisoformat(info["timestamp"]) <= datetime.now(UTC)
    embedding_db.clear_cache()
    assert embedding_db.get_cache_info() == {"cached": False, "count": 0, "timestamp": None}
    loaded()
    embedding_db.save_embedding("Bo", vectors(1)[0])
    assert embedding_db.get_cache_info()["cached"] is False
    assert set(loaded()) == {"Ada", "Bo"}
    with files_of(settings) as files:
        assert files.delete("Ada") == 1
    assert set(loaded()) == {"Bo"}


def test_what_is_loaded_is_the_callers(settings: Settings) -> None:
    """Changing the arrays and lists that came back changes nothing for the next caller."""
    embedding_db.save_embedding("Ada", vectors(1)[0])
    assert settings.db_path.exists()
    embeddings, names = embedding_db.load_embeddings_from_db()
    assert embeddings is not None
    assert names is not None
    embeddings[:] = 0
    names.clear()
    assert abs(float(np.linalg.norm(loaded()["Ada"][0])) - 1) < 1e-6


def test_another_file_in_the_same_place_is_not_the_cached_one(settings: Settings) -> None:
    """The database deleted and made anew, with as many changes as the old one: what is loaded is the new one's."""
    embedding_db.save_embedding("Ada", vectors(1)[0])
    assert set(loaded()) == {"Ada"}
    settings.db_path.unlink()
    assert embedding_db.load_embeddings_from_db() == (None, None)
    embedding_db.save_embedding("Bo", vectors(1)[0])
    assert set(loaded()) == {"Bo"}


def test_with_a_site_the_cache_is_the_block(running: Settings) -> None:
    """Always there, with what is live and when it was published; clear_cache does not touch it."""
    embedding_db.save_embedding("Ada", vectors(1)[0])
    embedding_db.clear_cache()
    info = embedding_db.get_cache_info()
    assert (info["cached"], info["count"]) == (True, 1)
    assert abs((datetime.fromisoformat(info["timestamp"]) - datetime.now(UTC)).total_seconds()) < 60
    assert running.db_path.exists()


def test_an_acknowledged_write_is_published(running: Settings) -> None:
    """When save returns, the block has the vector, and when delete returns it has it no more: no reader waits."""
    with GalleryReader(running.run_dir) as reader:
        for i, one in enumerate(vectors(20)):
            embedding_db.save_embedding(f"p{i}", one)
            reader.refresh()
            assert reader.match(one[None], 1)[0][0].person == f"p{i}"
        embedding_db.delete_embedding("p3")
        reader.refresh()
        assert "p3" not in reader.copy_live().names


def test_reading_asks_the_block_and_not_the_writer(running: Settings) -> None:
    """With the writer stopped in its tracks, the gallery still loads."""
    embedding_db.save_embedding("Ada", vectors(1)[0])
    (writer,) = [
        one
        for one in psutil.Process().children()
        if "workers.writer" in " ".join(one.cmdline()) or "writer" in one.name()
    ]
    writer.suspend()
    try:
        assert set(loaded()) == {"Ada"}
        assert embedding_db.get_cache_info()["count"] == 1
    finally:
        writer.resume()
    assert running.db_path.exists()


def test_eight_threads_through_a_site(running: Settings) -> None:
    """Mixed calls from 8 threads: no error, and in the end exactly what was not deleted."""

    def work(thread: int) -> None:
        rng = np.random.default_rng(thread)
        for i in range(10):
            embedding_db.save_embedding(f"t{thread}", noise(rng, 1, 32)[0], f"{i}.jpg")
            embedding_db.load_embeddings_from_db()
            embedding_db.get_embedding_count()
            embedding_db.get_cache_info()
            if i % 2:
                embedding_db.delete_embedding(f"t{thread}", f"{i}.jpg")

    eight_threads(work)
    assert {name: len(of) for name, of in loaded().items()} == {f"t{thread}": 5 for thread in range(8)}
    with SiteAccess(running, silent) as site:
        assert site.check() == []


def test_failure_is_raised_and_not_printed(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """Another process at work, a database of a newer Rollcall, vectors of another length: each function raises, none prints."""
    embedding_db.save_embedding("Ada", vectors(1)[0])
    calls = (
        embedding_db.init_database,
        embedding_db.load_embeddings_from_db,
        embedding_db.get_embedding_count,
        lambda: embedding_db.delete_embedding("Ada"),
        lambda: embedding_db.save_embedding("Bo", vectors(1)[0]),
    )
    with pytest.raises(RefusedError, match="another model"):
        embedding_db.save_embedding("Bo", vectors(1, 33)[0])
    with files_of(settings) as files:
        files.store.set_fact("schema_version", "99")
    for call in calls:
        with pytest.raises(ConfigurationError, match="newer"):
            call()
    assert capfd.readouterr() == ("", "")


def test_another_process_at_work_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else holds the lock and no site answers: TemporaryError, after a wait; free again, it works."""
    embedding_db.save_embedding("Ada", vectors(1)[0])
    monkeypatch.setattr("shared.service.access._LOCK_TIMEOUT_S", 0.2)
    monkeypatch.setattr("shared.service.access._SOCKET_CHECK_INTERVAL_S", 0.1)
    lock = SiteLock(settings.db_path)
    lock.acquire(0)
    for call in (embedding_db.get_embedding_count, embedding_db.load_embeddings_from_db):
        with pytest.raises(TemporaryError, match="another process"):
            call()
    lock.release()
    assert embedding_db.get_embedding_count() == 1


def test_the_site_is_found_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$ROLLCALL_CONFIG, else site.toml in the working folder, else the defaults there."""
    for name in ("here", "chosen", "bare"):
        (tmp_path / name).mkdir()
    site_settings(tmp_path / "here", '[site]\ndata_dir = "gallery"\n')
    site_settings(tmp_path / "chosen")
    monkeypatch.chdir(tmp_path / "here")
    embedding_db.init_database()
    assert (tmp_path / "here" / "gallery" / "face_embeddings.db").exists()
    monkeypatch.setenv("ROLLCALL_CONFIG", str(tmp_path / "chosen" / "site.toml"))
    embedding_db.init_database()
    assert (tmp_path / "chosen" / "data" / "face_embeddings.db").exists()
    monkeypatch.delenv("ROLLCALL_CONFIG")
    monkeypatch.chdir(tmp_path / "bare")
    embedding_db.init_database()
    assert (tmp_path / "bare" / "data" / "face_embeddings.db").exists()
