"""What others rely on: the original's table and database, the shapes that commands print, a switch of models while it runs."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from shared import embedding_db
from shared.settings.file import load_settings
from tests.support.paths import FACES, SMALL_PACK, VIDEOS, needs_data
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import enrol, write_site
from tests.support.vectors import noise
from workers.photos.embedding import embed_photo
from workers.recognizer_arcface import ArcFaceEngine

_TABLE = """CREATE TABLE embeddings(id INTEGER PRIMARY KEY AUTOINCREMENT, person_name TEXT NOT NULL, embedding BLOB NOT NULL,
image_path TEXT, user_id TEXT, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
UNIQUE(person_name, image_path))"""
Rows = list[tuple[str, bytes, str | None]]


def original(folder: Path, rows: Rows) -> Path:
    """A face_embeddings.db as the original program wrote it."""
    (folder / "data").mkdir(exist_ok=True)
    path = folder / "data" / "face_embeddings.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA page_size=4096")
    connection.execute(_TABLE)
    connection.executemany("INSERT INTO embeddings(person_name, embedding, image_path) VALUES (?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return path


def columns(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA table_info(embeddings)").fetchall()
    finally:
        connection.close()


def test_the_table_is_the_originals(tmp_path: Path) -> None:
    """Columns, types, defaults and the unique pair are the original's; 16 KiB pages; nobody else may read the file."""
    write_site(tmp_path, {})
    embedding_db.use_site(load_settings(tmp_path / "site.toml"))
    embedding_db.init_database()
    embedding_db.use_site(None)
    ours = tmp_path / "data" / "face_embeddings.db"
    (tmp_path / "other").mkdir()
    assert columns(ours) == columns(original(tmp_path / "other", []))
    connection = sqlite3.connect(ours)
    assert connection.execute("PRAGMA page_size").fetchone()[0] == 16384
    with pytest.raises(sqlite3.IntegrityError):
        connection.executemany(
            "INSERT INTO embeddings(person_name, embedding, image_path) VALUES (?, ?, ?)", [("a", b"", "x")] * 2
        )
    connection.close()
    assert ours.stat().st_mode & 0o777 == 0o600
    assert ours.parent.stat().st_mode & 0o777 == 0o700


def test_an_original_database_is_adopted_as_it_stands(tmp_path: Path) -> None:
    """Normalised; identical vectors under one name without a photo count once, different ones stay; unusable rows are named and
    kept aside; the file as it was lies beside; a second opening changes nothing."""
    rng = np.random.default_rng(0)
    ada, bo, third = (noise(rng, 1)[0] * np.float32(17) for _ in range(3))
    broken = ada.copy()
    broken[3] = np.nan
    rows: Rows = [
        ("Ada", ada.tobytes(), None),
        ("Ada", ada.tobytes(), None),
        ("Ada", bo.tobytes(), None),
        ("Bo", bo.tobytes(), "bo.jpg"),
        ("Short", third[:100].tobytes(), None),
        ("Nan", broken.tobytes(), None),
        ("Zero", np.zeros(512, np.float32).tobytes(), None),
    ]
    path = original(tmp_path, rows)
    write_site(tmp_path, {})
    embedding_db.use_site(load_settings(tmp_path / "site.toml"))
    try:
        embeddings, names = embedding_db.load_embeddings_from_db()
        assert names == ["Ada", "Ada", "Bo"]
        assert embeddings is not None
        assert np.allclose(embeddings, np.stack([ada, bo, bo]) / 17, atol=1e-6)
        embedding_db.init_database()
        assert embedding_db.get_embedding_count() == 3
    finally:
        embedding_db.use_site(None)
    backups = list((tmp_path / "data").glob("face_embeddings.db.before-*"))
    assert len(backups) == 1
    connection = sqlite3.connect(backups[0])
    kept = connection.execute("SELECT person_name, embedding, image_path FROM embeddings ORDER BY id").fetchall()
    connection.close()
    assert kept == rows
    connection = sqlite3.connect(path)
    aside = connection.execute("SELECT person_name, embedding FROM left_out ORDER BY id").fetchall()
    connection.close()
    assert aside == [("Ada", ada.tobytes()), *((name, blob) for name, blob, _ in rows[4:])]


@needs_data
def test_an_unstamped_gallery_has_to_prove_its_model(tmp_path: Path) -> None:
    """Photos that embed alike prove it; vectors of another model, or no photos, need --assume-model; without it exit 78."""
    engine = ArcFaceEngine(SMALL_PACK, det_size=640, threads=1)
    photos = sorted((FACES / "friends_enrol").iterdir())[:3]
    right: list[NDArray[np.float32]] = [embed_photo(engine, photo).embedding * np.float32(9) for photo in photos]
    for case, vectors in (("right", right), ("wrong", right[1:] + right[:1])):
        folder = tmp_path / case
        folder.mkdir()
        write_site(folder, {})
        rows: Rows = []
        for photo, vector in zip(photos, vectors, strict=True):
            target = folder / "data" / "faces" / photo.stem / photo.name
            target.parent.mkdir(parents=True)
            shutil.copyfile(photo, target)
            rows.append((photo.stem, vector.tobytes(), f"faces/{photo.stem}/{photo.name}"))
        original(folder, rows)
        asked = command(folder, "identify", str(photos[0]), "--json")
        if case == "right":
            assert asked.returncode == 0, asked.stderr
            assert f'"person": "{photos[0].stem}"' in asked.stdout
        else:
            assert asked.returncode == 78
            assert "--assume-model" in asked.stderr
            assert command(folder, "identify", str(photos[0]), "--assume-model").returncode == 0


@needs_data
@pytest.mark.timeout(170)
def test_models_use_switches_while_the_site_runs(tmp_path: Path) -> None:
    """Another model, while a camera runs: the stored photos are embedded anew, the file keeps its comments, the camera keeps its
    process and names people by the new model; what has no photo is refused, or set aside with --leave-out."""
    models = tmp_path / "models"
    for name in ("first", "second"):
        shutil.copytree(SMALL_PACK, models / name, copy_function=shutil.copyfile)
        (models / name).chmod(0o700)
    recogniser = models / "second" / "mobilefacenet_512d_dyn.onnx"
    model = onnx.load(str(recogniser))
    model.doc_string = "another fingerprint"
    onnx.save(model, str(recogniser))
    (tmp_path / "site.toml").write_text(
        '# ours\n[recognition]\nmodel = "first" # the small one\nmodels_dir = "models"\n'
        f'[cameras.sofa]\nsource = "{VIDEOS / "friends_in_video.mp4"}"\nloop = true\n',
        encoding="utf-8",
    )
    enrol(tmp_path, FACES / "friends_enrol")
    with SiteProcess(tmp_path) as site:
        site.wait_for_event(60, event="named")
        pid = site.child_pid("sofa")
        embedding_db.use_site(site.settings)
        embedding_db.save_embedding("Nobody", noise(np.random.default_rng(0), 1)[0])
        embedding_db.use_site(None)
        refused = command(tmp_path, "models", "use", "second")
        assert refused.returncode == 1
        assert "Nobody" in refused.stderr
        answer = command_json(tmp_path, "models", "use", "second", "--leave-out")
        assert answer == {"model": "insightface/second", "references": 6, "left_out": 1}
        told = len(site.events)
        site.wait_for_log("the gallery is now insightface/second")
        site.wait_for_event(60, after=told, event="named")
        assert site.child_pid("sofa") == pid
        assert site.status()["gallery"]["model"] == "insightface/second"
        assert site.check() == []
        assert site.stop() == 0
    text = (tmp_path / "site.toml").read_text(encoding="utf-8")
    assert text.startswith("# ours\n")
    assert re.search(r'model = "second".*# the small one', text)
    in_use = [one["name"] for one in command_json(tmp_path, "models")["models"] if one["in_use"]]
    assert in_use == ["second"]


@needs_data
def test_a_long_path_and_a_backup_while_it_runs(tmp_path: Path) -> None:
    """A data folder far beyond what a socket's name may hold works; a backup made meanwhile is complete alone."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    write_site(folder, {})
    enrol(folder, FACES / "friends_enrol")
    with SiteProcess(folder) as site:
        site.wait_until_ready()
        assert len(command_json(folder, "people")["people"]) == 6
        assert command_json(folder, "status")["gallery"]["published_rows"] == 6
        made = command_json(folder, "backup", str(tmp_path / "copy.db"))
        assert made["references"] == 6
        assert command(folder, "backup", str(tmp_path / "copy.db")).returncode == 1
        assert site.stop() == 0
    assert command_json(folder, "status", expect=1) == {"running": False}
    assert [path.name for path in tmp_path.glob("copy.db*")] == ["copy.db"]
    other = tmp_path / "other"
    other.mkdir()
    write_site(other, {})
    assert command_json(other, "restore", str(tmp_path / "copy.db")) == {
        "restored": 6,
        "kept_deleted": 0,
        "set_aside": 0,
    }
    assert len(command_json(other, "people")["people"]) == 6
    (tmp_path / "torn.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 9000)
    assert command(other, "restore", str(tmp_path / "torn.db")).returncode == 1


def test_init_never_overwrites_and_parses(tmp_path: Path) -> None:
    """`init` writes a file that loads, 0600, and refuses to write over one."""
    assert command(tmp_path, "init").returncode == 0
    path = tmp_path / "site.toml"
    assert load_settings(path).cameras == {}
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("[site]\n", encoding="utf-8")
    assert command(tmp_path, "init").returncode == 1
    assert path.read_text(encoding="utf-8") == "[site]\n"
