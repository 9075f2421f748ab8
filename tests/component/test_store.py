"""The store: its table, what it keeps and refuses, and that whatever fails leaves all of a change or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import ConfigurationError, RefusedError, RollcallError, TemporaryError, UsageError
from shared.gallery import publisher as gallery_publisher
from shared.gallery.files import segment_path
from shared.gallery.publisher import GalleryPublisher
from shared.gallery.reader import GalleryReader
from shared.ipc.requests import (
    Answer,
    Delete,
    Forget,
    Record,
    Request,
    Save,
    Stage,
    Staged,
    Stamp,
    Switched,
    SwitchModel,
    request_of,
)
from shared.model_id import ModelId
from shared.records import NewReference, Reference
from shared.service.service import StoreService
from shared.settings.schema import SiteSettings
from shared.store import schema
from shared.store.backup import BackupKeeper
from shared.store.check import store_faults
from shared.store.copying import copy_to
from shared.store.lock import GalleryInUseError, SiteLock
from shared.store.marks import is_marked
from shared.store.opening import backup_path, open_read_only, open_store
from shared.store.references import (
    count_references,
    delete_references,
    forget_person,
    list_people,
    list_references,
    vector_of,
)
from shared.store.saving import save
from shared.store.staging import stage
from shared.store.store import Store
from shared.uuid7 import new_uuids
from tests.conftest import SmallDisk
from tests.support.blocks import held_bytes
from tests.support.full_disks import fill
from tests.support.paths import ROOT
from tests.support.stores import (
    Failing,
    FailingConnection,
    InterruptedConnection,
    bytes_under,
    everything,
    fail_everywhere,
    failing_store,
    keep,
    record,
    rows,
    service_of,
    sightings,
    silent,
    store_in,
)
from tests.support.vectors import noise

_THE_TABLE = (
    "embeddings(id INTEGER PRIMARY KEY AUTOINCREMENT, person_name TEXT NOT NULL, embedding BLOB NOT NULL, image_path TEXT, "
    "user_id TEXT, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, "
    "UNIQUE(person_name, image_path))"
)
_DIM = 64
_RNG = np.random.default_rng(7)


def vectors(count: int, dim: int = _DIM) -> np.ndarray[Any, np.dtype[np.float32]]:
    return noise(_RNG, count, dim)


def request(op: str, blob: bytes = b"", **arguments: Any) -> Request[Any]:
    """A request as a socket brings it. Raises UsageError for what is none."""
    return request_of({"op": op, "arguments": arguments}, blob)


def save_request(count: int, *names: str, dim: int = _DIM, **fields: str | None) -> Save:
    """A save of `count` invented vectors."""
    return Save([NewReference(name, **fields) for name in names], vectors=vectors(count, dim))


def service_with(store: Store, publisher: GalleryPublisher, data_dir: Path) -> StoreService:
    """That publishes, with everything live."""
    site = SiteSettings(name="s", keep_sightings_days=1)
    service = StoreService(store, publisher, site=site, data_dir=data_dir, say=silent)
    service.publish_everything()
    return service


def event(key: str, person: str | None = None, kind: str = "named", **fields: Any) -> dict[str, Any]:
    when = {"time": "2026-01-31T08:00:00.000Z", "camera": "door", "track": 1}
    return {"key": key, "event": kind, "person": person, "user_id": None, "score": 0.7, "margin": 0.3, **when, **fields}


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_table_is_the_originals_to_the_letter(tmp_path: Path) -> None:
    """`embeddings` as the original design has it: columns, types, defaults, AUTOINCREMENT, the unique pair and no more indexes."""
    with store_in(tmp_path) as store:
        ((sql,),) = rows(store, "SELECT sql FROM sqlite_master WHERE name='embeddings'")
        original = sqlite3.connect(":memory:")
        original.execute(f"CREATE TABLE {_THE_TABLE}")
        for pragma in ("table_info(embeddings)", "index_list(embeddings)", "index_info(sqlite_autoindex_embeddings_1)"):
            assert rows(store, f"PRAGMA {pragma}") == original.execute(f"PRAGMA {pragma}").fetchall()
        original.close()
        assert rows(store, "SELECT * FROM sqlite_master WHERE type IN ('trigger', 'view')") == []
    assert re.sub(r"\s+", "", sql) == "CREATETABLE" + _THE_TABLE.replace(" ", "")


def test_how_the_file_is_kept(tmp_path: Path) -> None:
    """16 KiB pages, WAL, synchronous FULL, secure_delete, foreign keys, a busy timeout; 0600 in a folder of 0700, the WAL too."""
    folder = tmp_path / "data"
    with store_in(folder) as store:
        keep(store, vectors(1), NewReference("Ada"))
        wanted = {"page_size": 16384, "journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1}
        for name, value in wanted.items():
            assert rows(store, f"PRAGMA {name}") == [(value,)]
        assert rows(store, "PRAGMA busy_timeout")[0][0] >= 1000
        assert {path.name for path in folder.iterdir()} >= {"face_embeddings.db", "face_embeddings.db-wal"}
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        assert folder.stat().st_mode & 0o777 == 0o700


def test_an_open_folder_and_file_are_closed_to_others(tmp_path: Path) -> None:
    """A data folder and a file that others may read are tightened when the store opens."""
    with store_in(tmp_path):
        pass
    tmp_path.chmod(0o755)
    (tmp_path / "face_embeddings.db").chmod(0o644)
    with store_in(tmp_path):
        assert tmp_path.stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "face_embeddings.db").stat().st_mode & 0o777 == 0o600


def test_after_a_clean_stop_the_file_is_complete_alone(tmp_path: Path) -> None:
    """No -wal and no -shm is left beside it; copied to another folder it holds everything."""
    with store_in(tmp_path / "here") as store:
        keep(store, vectors(3), NewReference("Ada"), NewReference("Bo"), NewReference("Cy", "cy.jpg"))
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["face_embeddings.db", "marks.key"]
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "face_embeddings.db").write_bytes((tmp_path / "here" / "face_embeddings.db").read_bytes())
    with store_in(tmp_path / "there") as store:
        assert [one.person for one in list_people(store)] == ["Ada", "Bo", "Cy"]
        assert store_faults(store) == []


def test_an_acknowledged_write_survives_a_kill(tmp_path: Path) -> None:
    """A process that is killed right after a save has lost nothing of it."""
    program = (
        "import os, sys; from pathlib import Path; from tests.support.stores import keep, silent; from tests.support.vectors import noise\n"
        "import numpy as np; from shared.store.opening import open_store; from shared.store.saving import NewReference\n"
        "store = open_store(Path(sys.argv[1]) / 'face_embeddings.db', silent)\n"
        "keep(store, noise(np.random.default_rng(0), 1, 8), NewReference('Ada')); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=False, timeout=60)
    assert (tmp_path / "face_embeddings.db-wal").exists()
    with store_in(tmp_path) as store:
        assert [one.person for one in list_people(store)] == ["Ada"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """The lock is held by one; a second is told whose turn it is, and gets it once the first lets go. Readers can't write."""
    with store_in(tmp_path):
        reader = open_read_only(tmp_path / "face_embeddings.db")
        with pytest.raises(sqlite3.OperationalError):
            reader.connection.execute("DELETE FROM embeddings")
        reader.close()
    first, second = (SiteLock(tmp_path / "face_embeddings.db") for _ in range(2))
    first.acquire(0)
    with pytest.raises(GalleryInUseError, match="another process is writing"):
        second.acquire(0.05)
    first.release()
    second.acquire(1)
    second.release()


# --- saving ---------------------------------------------------------------------------------------------------------


def test_the_same_person_and_photo_is_updated(tmp_path: Path) -> None:
    """Same id, same created_at; the vector and updated_at move, a user id stays where none is given."""
    with store_in(tmp_path) as store:
        first, second = vectors(2)
        saved = keep(store, first[None], NewReference("Ada", "a.jpg", "e-17"))
        store.connection.execute(
            "UPDATE embeddings SET created_at='2020-01-01 00:00:00', updated_at='2020-01-01 00:00:00'"
        )
        again = keep(store, second[None], NewReference("Ada", "a.jpg"))
        assert (again.row_ids, again.replaced) == (saved.row_ids, [True])
        ((blob, user_id, created, updated),) = rows(
            store, "SELECT embedding, user_id, created_at, updated_at FROM embeddings"
        )
        assert (blob, user_id, created) == (second.astype("<f4").tobytes(), "e-17", "2020-01-01 00:00:00")
        assert updated > "2025"
        other = keep(store, vectors(2), NewReference("Ada", "b.jpg"), NewReference("Bo", "a.jpg"))
        assert other.replaced == [False, False]
        assert count_references(store) == 3


def test_without_a_photo_the_vector_tells(tmp_path: Path) -> None:
    """Identical vectors of one person and no photo count once, in one batch and over several; different ones, and another
    person's, are rows of their own."""
    with store_in(tmp_path) as store:
        one, two = vectors(2)
        batch = keep(store, np.stack([one, one, two]), *[NewReference("Ada")] * 3)
        assert batch.row_ids[0] == batch.row_ids[1] != batch.row_ids[2]
        assert batch.replaced == [False, True, False]
        assert keep(store, one[None], NewReference("Ada")).row_ids == batch.row_ids[:1]
        assert keep(store, np.stack([two, one]), *[NewReference("Ada")] * 2).row_ids == [
            batch.row_ids[2],
            batch.row_ids[0],
        ]
        assert keep(store, np.stack([one]), NewReference("Bo")).replaced == [False]
        assert count_references(store) == 3
        assert store_faults(store) == []


def test_a_photo_saved_twice_in_one_batch(tmp_path: Path) -> None:
    """The last one counts, in one row."""
    with store_in(tmp_path) as store:
        first, second = vectors(2)
        saved = keep(store, np.stack([first, second]), *[NewReference("Ada", "a.jpg")] * 2)
        assert saved.row_ids[0] == saved.row_ids[1]
        assert np.array_equal(vector_of(store, saved.row_ids[0]), second)
        assert store_faults(store) == []


def test_a_repeated_uuid_is_harmless(tmp_path: Path) -> None:
    """A save that is sent twice is kept once, also without a photo; under another person's name it is refused."""
    with store_in(tmp_path) as store:
        one, two = vectors(2)
        (uuid,) = new_uuids(1)
        for vector in (one, one, two):
            keep(store, vector[None], NewReference("Ada", None, None, uuid))
        assert rows(store, "SELECT uuid FROM reference_facts") == [(uuid,)]
        assert np.array_equal(vector_of(store, 1), two)
        with pytest.raises(RefusedError, match="another person"):
            keep(store, one[None], NewReference("Bo", None, None, uuid))
        assert [row.person for row in list_references(store)] == ["Ada"]


def test_every_reference_has_a_uuid_and_a_rising_change_number(tmp_path: Path) -> None:
    """UUIDs are made where none is given, all different; every save, update and deletion takes a higher number, also after
    reopening."""
    with store_in(tmp_path) as store:
        keep(store, vectors(200), *(NewReference(f"p{i}") for i in range(200)))
        facts = rows(store, "SELECT uuid, change_number FROM reference_facts ORDER BY embedding_id")
        assert len({uuid for uuid, _ in facts}) == 200
        assert [number for _, number in facts] == list(range(1, 201))
        assert store.change_number == 200
        keep(store, vectors(1), NewReference("p3", "x.jpg"))
    with store_in(tmp_path) as store:
        assert store.change_number == 201
        keep(store, vectors(1), NewReference("p3", "x.jpg"))
        assert rows(store, "SELECT MAX(change_number) FROM reference_facts") == [(202,)]
        with store.transaction():
            delete_references(store, "p3")
        assert store.change_number == rows(store, "SELECT MAX(change_number) FROM deletion_marks")[0][0] > 202


def test_ids_are_never_used_again(tmp_path: Path) -> None:
    """The id of a deleted newest row, reference or sighting, is not given out a second time, also after a restart."""
    with store_in(tmp_path) as store:
        newest = keep(store, vectors(2), NewReference("Ada"), NewReference("Bo")).row_ids[-1]
        with store.transaction():
            seen = [one["id"] for one in record(store, [event("k1", "Ada"), event("k2", "Bo")], "s")]
            forget_person(store, "Bo")
    with store_in(tmp_path) as store:
        assert keep(store, vectors(1), NewReference("Cy")).row_ids[0] > newest
        assert store.sightings.last_id() == seen[-1]
        with store.transaction():
            assert record(store, [event("k3", "Ada")], "s")[0]["id"] > seen[-1]


@pytest.mark.parametrize(
    "bad",
    [
        np.full(_DIM, np.nan, np.float32),
        np.full(_DIM, np.inf, np.float32),
        np.zeros(_DIM, np.float32),
        np.ones(_DIM + 1, np.float32),
    ],
    ids=["nan", "infinite", "zero", "too-long"],
)
def test_what_is_no_embedding_is_refused(tmp_path: Path, bad: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    """NaN, infinity, zeros and another dimension: refused with the person's name and without the vector, nothing written."""
    with store_in(tmp_path) as store:
        keep(store, vectors(1), NewReference("Ada"))
        before = everything(store.path)
        service = service_of(store, tmp_path)
        with pytest.raises(RefusedError) as refused:
            service.ask(Save([NewReference("Bo")], vectors=bad[None]))
        assert "Bo" in refused.value.line()
        assert len(refused.value.line()) < 250
        assert everything(store.path) == before


def test_vectors_are_kept_with_unit_norm(tmp_path: Path) -> None:
    """Any length is normalised, `dim` little-endian float32 to a row; what is of unit norm is kept bit for bit."""
    with store_in(tmp_path) as store:
        unit = vectors(1)[0]
        for length in (1.0, 17.0, 1e-3, 3e18):
            keep(store, (unit * np.float32(length))[None], NewReference("Ada", f"{length}.jpg"))
        found = [np.frombuffer(blob, "<f4") for (blob,) in rows(store, "SELECT embedding FROM embeddings ORDER BY id")]
        assert np.array_equal(found[0], unit)
        for vector in found:
            assert vector.shape == (_DIM,)
            assert abs(float(np.linalg.norm(vector)) - 1) < 1e-6
            assert np.allclose(vector, unit, atol=1e-6)


def test_the_dimension_is_the_first_references_or_the_models(tmp_path: Path) -> None:
    """The first save decides; emptied, an unstamped gallery takes another; a stamped one never does."""
    with store_in(tmp_path) as store:
        keep(store, vectors(1, 8), NewReference("Ada"))
        with pytest.raises(RefusedError, match="another model"):
            keep(store, vectors(1, 9), NewReference("Bo"))
        with store.transaction():
            delete_references(store, "Ada")
        keep(store, vectors(1, 9), NewReference("Bo"))
        with store.transaction():
            delete_references(store, "Bo")
            store.stamp(ModelId.parse("dlib/dlib", "f" * 64, 8))
        with pytest.raises(RefusedError, match="another model"):
            keep(store, vectors(1, 9), NewReference("Cy"))
        assert store.dim == 8


def test_embeddings_of_another_model_are_refused(tmp_path: Path) -> None:
    """A save that says whose model its vectors are of is refused once the gallery is of another, though the length fits."""
    with store_in(tmp_path) as store:
        service = service_of(store, tmp_path)
        service.ask(Save([NewReference("Ada")], "a" * 64, vectors=vectors(1)))
        service.ask(Stamp(ModelId.parse("insightface/other", "b" * 64, _DIM)))
        with pytest.raises(RefusedError, match="insightface/other"):
            service.ask(Save([NewReference("Ada")], "a" * 64, vectors=vectors(1)))


def test_the_user_id_given_last_is_the_persons(tmp_path: Path) -> None:
    """The block has it too: live, and loaded anew, when an older row got the newer id."""
    with store_in(tmp_path / "data") as store:
        publisher = GalleryPublisher(tmp_path / "data", _DIM, "", "")
        service = service_with(store, publisher, tmp_path)
        for path, user_id in (("a.jpg", "old"), ("b.jpg", "middle"), ("a.jpg", "new")):
            service.write([save_request(1, "Ada", image_path=path, user_id=user_id)])
        assert [one.user_id for one in list_people(store)] == ["new"]
        for _ in range(2):
            with GalleryReader(tmp_path / "data") as reader:
                assert reader.user_id(0) == "new"
            service.publish_everything()
        publisher.remove_block()
        publisher.close()


# --- deleting -------------------------------------------------------------------------------------------------------


def test_marks_know_and_do_not_tell(tmp_path: Path) -> None:
    """A deletion leaves marks: the person and the photo are known again, in either Unicode form, and named nowhere."""
    with store_in(tmp_path) as store:
        keep(store, vectors(2), NewReference("Zoë", "z.jpg", "employee 1", None, "d" * 64), NewReference("Bo", "b.jpg"))
        with store.transaction():
            assert delete_references(store, "Zoë").row_ids == [1]
        assert is_marked(store, "Zoë")
        assert is_marked(store, "Zoe\u0308")
        assert is_marked(store, "Zoë", "any photo")
        assert not is_marked(store, "Bo")
        told = json.dumps(rows(store, "SELECT * FROM deletion_marks"), ensure_ascii=False)
        for secret in ("Zo", "z.jpg", "d" * 64, "employee 1"):
            assert secret not in told


def test_a_photos_mark_is_of_that_photo(tmp_path: Path) -> None:
    """One photo deleted: it stays away, the person's other photos do not."""
    with store_in(tmp_path) as store:
        keep(
            store,
            vectors(2),
            NewReference("Ada", "a.jpg", None, None, "a" * 64),
            NewReference("Ada", "b.jpg", None, None, "b" * 64),
        )
        with store.transaction():
            delete_references(store, "Ada", "a.jpg")
        assert is_marked(store, "Ada", "a" * 64)
        assert not is_marked(store, "Ada", "b" * 64)
        assert not is_marked(store, "Ada")


def test_saving_on_purpose_lifts_the_marks(tmp_path: Path) -> None:
    """Enrolled again, a person is no longer kept out, nor is that photo; a photo that was not enrolled again is."""
    with store_in(tmp_path) as store:
        photos = [NewReference("Ada", f"{one}.jpg", None, None, one * 64) for one in "ab"]
        keep(store, vectors(2), *photos)
        with store.transaction():
            delete_references(store, "Ada")
        keep(store, vectors(1), photos[0])
        assert not is_marked(store, "Ada")
        assert not is_marked(store, "Ada", "a" * 64)
        assert is_marked(store, "Ada", "b" * 64)


def test_forget_leaves_nothing_of_a_person(tmp_path: Path) -> None:
    """References, sightings, what was left out, staged vectors, photos (their folder, photos right in faces/, photos that rows
    named) and the backup's rows: no name and no vector is left in any byte of the folder, WAL included."""
    data = tmp_path / "data"
    service, ada, bo = _site_with_ada_and_bo(data)
    store = service.store
    assert any(b"Ada Lovelace" in content for content in bytes_under(data, tmp_path / "copy").values())
    answer = service.ask(Forget("Ada Lovelace"))
    assert (answer.references, answer.photos, answer.sightings) == (40, 4, 30)
    assert answer.warning is None
    for name, content in bytes_under(data, tmp_path / "copy").items():
        assert b"Lovelace" not in content, name
        assert not [
            vector for vector in ada if vector.tobytes()[:64] in content or vector.tobytes()[-64:] in content
        ], name
    for table in ("embeddings", "reference_facts", "sightings", "left_out", "staged_embeddings"):
        left = {"left_out": 0, "sightings": 30}.get(table, len(bo))
        assert rows(store, f"SELECT COUNT(*) FROM {table}") == [(left,)]  # noqa: S608  # our own tables
    assert [path.name for path in data.joinpath("faces").rglob("*.jpg")] == ["bo.jpg"]
    assert store_faults(store) == []
    backup = open_read_only(backup_path(store.path))
    assert ([one.person for one in list_people(backup)], store_faults(backup)) == (["Bo"], [])
    backup.close()
    store.close()
    for name, content in bytes_under(data, tmp_path / "copy").items():
        assert b"Lovelace" not in content, name


def _site_with_ada_and_bo(data: Path) -> tuple[StoreService, Any, Any]:
    """Two people in every table and folder, interleaved, and changed since: SQLite has moved rows from page to page."""
    store = open_store(data / "face_embeddings.db", silent)
    service = service_of(store, data)
    rng = np.random.default_rng(3)
    ada, bo = noise(rng, 80, 256), noise(rng, 40, 256)
    for round_ in (0, 1):
        for i in range(40):
            both = np.stack([ada[40 * round_ + i], bo[i]])
            people = [("Ada Lovelace", f"faces/Ada Lovelace/{i}.jpg", "u-ada"), ("Bo", f"faces/Bo/{i}.jpg", None)]
            keep(store, both, *(NewReference(name, path, user) for name, path, user in people))
    with store.transaction():
        events = [event(f"{who}{i}", who) for i in range(30) for who in ("Ada Lovelace", "Bo")]
        record(store, events, "s")
        store.connection.execute(
            "INSERT INTO left_out SELECT *, 'x' FROM embeddings WHERE person_name='Ada Lovelace' LIMIT 1"
        )
        references = list_references(store)
        changes = [one.change_number or 0 for one in references]
        stage(store, [one.id for one in references], changes, noise(rng, 80, 16), "f" * 64)
        store.connection.execute(
            "UPDATE embeddings SET image_path='old/ada.jpg' WHERE image_path='faces/Ada Lovelace/7.jpg'"
        )
    for path in (
        "faces/Ada Lovelace/1.jpg",
        "faces/Ada Lovelace/deep/2.jpg",
        "faces/Ada Lovelace.jpg",
        "old/ada.jpg",
        "faces/Bo/bo.jpg",
    ):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(b"pixels of " + path.partition("/")[2].encode())
    copy_to(store, backup_path(store.path))
    return service, ada, bo


@pytest.mark.parametrize("seed", range(4))
def test_no_byte_of_the_forgotten_is_left_after_much_change(tmp_path: Path, seed: int) -> None:
    """Rows that came and went by the hundred leave copies in the pages' free space, which secure_delete does not reach: a
    `forget` finds those too."""
    rng = np.random.default_rng(seed)
    names = [f"P{i:03d}" + "x" * int(rng.integers(0, 40)) for i in range(120)]
    ever: dict[str, list[bytes]] = {name: [] for name in names}
    with store_in(tmp_path) as store:
        store.connection.execute("PRAGMA synchronous=OFF")
        for step in range(60):
            chosen = [names[i] for i in rng.integers(0, len(names), int(rng.integers(1, 40)))]
            batch = noise(rng, len(chosen), 512)
            paths = [None if rng.random() < 0.3 else f"faces/{name}/{rng.integers(0, 5)}.jpg" for name in chosen]
            keep(store, batch, *(NewReference(name, path) for name, path in zip(chosen, paths, strict=True)))
            for name, vector in zip(chosen, batch, strict=True):
                ever[name].append(vector.tobytes())
            with store.transaction():
                record(store, [event(f"{step}-{i}", name) for i, name in enumerate(chosen)], "s")
                for i in rng.integers(0, len(names), 10):
                    delete_references(store, names[i])
        service = service_of(store, tmp_path)
        gone = [name for name in names[::3] if ever[name]]
        service.write([Forget(name) for name in gone])
        left = b"".join(bytes_under(tmp_path, tmp_path.parent / f"copy-{seed}").values())
        assert [name for name in gone if f"faces/{name}/".encode() in left or f'"{name}"'.encode() in left] == []
        assert [name for name in gone if any(vector[:48] in left for vector in ever[name])] == []
        assert store_faults(store) == []


def test_a_forget_that_was_cut_short_is_finished_at_the_next_opening(tmp_path: Path) -> None:
    """Killed between the commit and what comes after it: the next process writes the file anew before anything else."""
    with store_in(tmp_path) as store:
        keep(store, vectors(2), NewReference("Ada"), NewReference("Bo"))
        with store.transaction():
            forget_person(store, "Ada")
            store.want_remains_erased()
        assert store.remains_are_due()
    with store_in(tmp_path) as store:
        assert not store.remains_are_due()
        assert [one.person for one in list_people(store)] == ["Bo"]


def test_forget_says_when_there_is_nobody(tmp_path: Path) -> None:
    """An unknown name is refused and leaves no mark; a person of whom only photos are left is forgotten."""
    with store_in(tmp_path) as store:
        service = service_of(store, tmp_path)
        with pytest.raises(RefusedError):
            service.ask(Forget("Nobody"))
        assert not is_marked(store, "Nobody")
        (tmp_path / "faces" / "Nobody").mkdir(parents=True)
        (tmp_path / "faces" / "Nobody" / "1.jpg").write_bytes(b"x")
        answer = service.ask(Forget("Nobody"))
        assert answer.photos == 1
        assert not (tmp_path / "faces" / "Nobody").exists()
        assert is_marked(store, "Nobody")


def test_forget_one_photo(tmp_path: Path) -> None:
    """Named by stored path, by absolute path or by file name: its row and file go, the others stay; its mark knows the photo
    again by its bytes, though nobody had noted them."""
    with store_in(tmp_path) as store:
        service = service_of(store, tmp_path)
        paths = [f"faces/Ada/{i}.jpg" for i in range(4)]
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(path.encode())
        keep(store, vectors(4), *(NewReference("Ada", path) for path in paths))
        for i, named in enumerate((paths[0], str(tmp_path / paths[1]), "2.jpg")):
            answer = service.ask(Forget("Ada", named))
            assert (answer.references, answer.photos) == (1, 1)
            assert not (tmp_path / paths[i]).exists()
        assert [row.image_path for row in list_references(store, "Ada")] == paths[3:]
        assert is_marked(store, "Ada", hashlib.sha256(paths[0].encode()).hexdigest())
        assert not is_marked(store, "Ada")
        with pytest.raises(RefusedError, match=re.escape(paths[3])):
            service.ask(Forget("Ada", "9.jpg"))


@pytest.mark.parametrize("path", ["face_embeddings.db", "../outside.jpg", "/etc/hostname", "a\0b.jpg", "x" * 5000])
def test_no_other_file_is_removed_at_a_databases_word(tmp_path: Path, path: str) -> None:
    """A row may name any path: only photos under the data folder are ever removed."""
    data = tmp_path / "data"
    (tmp_path / "outside.jpg").write_bytes(b"somebody's own")
    with store_in(data) as store:
        keep(store, vectors(1), NewReference("Ada", "a.jpg"))
        store.connection.execute("UPDATE embeddings SET image_path=?", (path,))
        answer = service_of(store, data).ask(Forget("Ada"))
        assert (answer.references, answer.photos) == (1, 0)
        assert store_faults(store) == []
    assert (tmp_path / "outside.jpg").exists()


def test_photos_go_only_once_the_rows_are_gone(tmp_path: Path) -> None:
    """When the commit fails, the photos are still there: nothing is half forgotten."""
    path = tmp_path / "face_embeddings.db"
    with store_in(tmp_path) as store:
        keep(store, vectors(1), NewReference("Ada", "faces/Ada/1.jpg"))
    photo = tmp_path / "faces" / "Ada" / "1.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"x")
    for fails_at in range(1, 100):
        store, connection = failing_store(path, FailingConnection, fails_at)
        (answer,) = service_of(store, tmp_path).write([Forget("Ada")])
        connection.disarm()
        assert photo.exists() == (count_references(store) == 1)
        assert store_faults(store) == []
        store.close()
        if not photo.exists():
            break
    assert fails_at > 10
    assert not isinstance(answer, RollcallError)


@pytest.mark.alone
def test_a_reader_of_the_wal_delays_its_emptying_and_no_more(tmp_path: Path) -> None:
    """While a reader holds on to the old rows, forget answers within two seconds and says so; afterwards the WAL is emptied."""
    with store_in(tmp_path) as store:
        service = service_of(store, tmp_path)
        keep(store, vectors(1), NewReference("Ada Lovelace"))
        reader = open_read_only(store.path)
        reader.connection.execute("BEGIN")
        assert count_references(reader) == 1
        began = time.monotonic()
        answer = service.ask(Forget("Ada Lovelace"))
        assert time.monotonic() - began < 3
        assert "WAL" in (answer.warning or "")
        service.tick(time.monotonic())
        assert any(b"Lovelace" in one for one in bytes_under(tmp_path, tmp_path.parent / "copy").values())
        reader.connection.execute("COMMIT")
        reader.close()
        service.tick(time.monotonic() + 5)
        assert not any(b"Lovelace" in one for one in bytes_under(tmp_path, tmp_path.parent / "copy").values())


def test_the_forgotten_stop_answering_also_without_room(
    tmp_path: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared memory full: what is enrolled waits, and says so, but who is forgotten in the same moment answers no more and their
    vector is gone from memory; with room again everybody is live."""
    memory = small_disk("shm", 1024)
    monkeypatch.setenv("ROLLCALL_SHM_DIR", str(memory))
    with store_in(tmp_path / "data") as store:
        (ada,) = vectors(1)
        keep(store, ada[None], NewReference("Ada"))
        publisher = GalleryPublisher(tmp_path / "data", _DIM, "", "")
        service = service_with(store, publisher, tmp_path)
        filler = fill(memory, spare_bytes=100 << 10)
        many = save_request(2000, *(f"p{i}" for i in range(2000)))
        saved, forgotten = service.write([many, Forget("Ada")])
        assert isinstance(saved, Answer)
        assert isinstance(forgotten, Answer)
        assert "not live yet" in (saved.warning or "")
        assert service.info().behind
        with GalleryReader(tmp_path / "data") as reader:
            assert reader.match(ada[None]) == [[]]
            assert ada.tobytes() not in held_bytes(segment_path(tmp_path / "data", reader.generation))
        assert count_references(store) == 2000
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=16m", str(memory)], check=True)
        service.tick(time.monotonic() + 5)
        assert not service.info().behind
        assert service.info().published_rows == 2000
        assert service.check() == []
        publisher.remove_block()
        publisher.close()


def test_whoever_is_forgotten_is_gone_from_a_generation_that_is_replaced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one group with what has a new generation built: who still maps the old one finds neither vector nor name there."""
    monkeypatch.setattr(gallery_publisher, "_MIN_ADDRESSES", 100)
    monkeypatch.setattr(gallery_publisher, "_ADDRESSES", 1)
    ada = vectors(1)[0]
    for many_first in (False, True):
        with store_in(tmp_path / f"data-{many_first}") as store:
            keep(store, ada[None], NewReference("Ada"))
            keep(store, vectors(2)[1:], NewReference("Bo"))
            publisher = GalleryPublisher(store.path.parent, _DIM, "", "")
            service = service_with(store, publisher, tmp_path)
            with GalleryReader(store.path.parent) as reader:
                held = reader.segment
                assert ada.tobytes() in held.references[: reader.rows].tobytes()
                both: list[Request[Any]] = [Forget("Ada"), save_request(120, *(f"p{i}" for i in range(120)))]
                service.write(both[::-1] if many_first else both)
                assert publisher.generation > reader.generation
                assert ada.tobytes() not in held.references[: reader.rows].tobytes()
                assert b"Ada" not in held.heap[:64].tobytes()
            assert service.check() == []
            publisher.remove_block()
            publisher.close()


def test_a_user_id_goes_with_the_person(tmp_path: Path) -> None:
    """Deleted and enrolled anew, forgotten and enrolled in one group, only the photo with the id deleted: the block says what the
    store says, and keeps nothing of what was forgotten."""
    with store_in(tmp_path / "data") as store:
        publisher = GalleryPublisher(tmp_path / "data", _DIM, "", "")
        service = service_with(store, publisher, tmp_path)
        service.write([save_request(1, "Ada", user_id="badge-1"), save_request(1, "Bo", user_id="badge-2")])
        service.write([Delete("Bo")])
        service.write([save_request(1, "Bo")])
        assert service.check() == []
        service.write([Forget("Ada"), save_request(1, "Ada")])
        assert service.check() == []
        block = held_bytes(segment_path(tmp_path / "data", publisher.generation))
        assert (b"badge-1" in block, b"badge-2" in block) == (False, False)
        service.write([save_request(1, "Cy", image_path="a.jpg", user_id="old")])
        service.write([save_request(1, "Cy", image_path="b.jpg", user_id="new")])
        service.write([Delete("Cy", "b.jpg")])
        service.write([save_request(1, "Dee", user_id="")])
        for person in ("Eve", "Dee"):  # a new person, and a known one; of a photo that comes twice the second has no id
            photos = [NewReference(person, "e.jpg", user) for user in ("badge-3", None)]
            service.write([Save(photos, vectors=vectors(2))])
        assert service.check() == []
        with GalleryReader(tmp_path / "data") as reader:
            found = {one.person: one.user_id for one in reader.match(vectors(1), 9)[0]}
        assert found == {"Ada": None, "Bo": None, "Cy": "new", "Dee": "badge-3", "Eve": "badge-3"}
        assert service.check() == []
        publisher.set_user_id("Cy", "another")
        assert service.check() == ["block: Cy has another user id than in the database"]
        publisher.remove_block()
        publisher.close()


# --- sightings ------------------------------------------------------------------------------------------------------


def test_a_sighting_is_kept_once(tmp_path: Path) -> None:
    """The same key, in one batch or in another, is one sighting; ids rise; `id` and `site` are added."""
    with store_in(tmp_path) as store:
        keep(store, vectors(1), NewReference("Ada"))
        with store.transaction():
            first = record(store, [event("k1", "Ada"), event("k1", "Ada"), event("k2", kind="unknown")], "head office")
            second = record(store, [event("k2", kind="unknown"), event("k3", kind="unknown")], "head office")
        assert [one["site"] for one in first] == ["head office"] * 2
        assert [one["event"] for one in second] == ["unknown"]
        assert first[0]["id"] < first[1]["id"] < second[0]["id"]
        assert sightings(store) == first + second
        assert "key" not in first[0]


def test_a_person_who_is_not_enrolled_is_not_written_down(tmp_path: Path) -> None:
    """A sighting of somebody deleted meanwhile: `named` is dropped, `left` is kept as of nobody known."""
    with store_in(tmp_path) as store:
        with store.transaction():
            left = event("k2", "Ada", "left", verdict="named", user_id="e-1")
            kept = record(store, [event("k1", "Ada"), left], "s")
        assert [one["event"] for one in kept] == ["left"]
        fields = ("person", "user_id", "score", "margin", "verdict")
        assert [kept[0][key] for key in fields] == [None, None, None, None, "unknown"]
        assert b"Ada" not in json.dumps(rows(store, "SELECT * FROM sightings")).encode()


def test_sightings_since_a_time_and_past_their_time(tmp_path: Path) -> None:
    """`since` gives what is not older, in the ids' order also where times are not; purge deletes what is older."""
    with store_in(tmp_path) as store:
        times = [
            "2026-01-01T00:00:00.000Z",
            "2026-01-03T00:00:00.500Z",
            "2026-01-02T00:00:00.000Z",
            "2026-01-04T00:00:00.000Z",
        ]
        with store.transaction():
            record(store, [event(f"k{i}", kind="unknown", time=when) for i, when in enumerate(times)], "s")

        def ids(**given: Any) -> list[int]:
            return [one["id"] for one in sightings(store, **given)]

        assert ids(since="2026-01-02T00:00:00.000000Z") == [2, 3, 4]
        assert ids(since="2026-01-03T00:00:00.500000Z") == [2, 4]
        assert ids(since="2027-01-01T00:00:00.000000Z") == []
        assert ids(after_id=2, since="2026-01-02T00:00:00.000000Z") == [3, 4]
        assert ids(limit=2) == [1, 2]
        assert ids(limit=0) == ids(limit=-1) == []
        with store.transaction():
            assert store.sightings.purge(2, datetime(2026, 1, 4, 12, tzinfo=UTC)) == 2
        assert ids() == [2, 4]


# --- groups of requests ---------------------------------------------------------------------------------------------

_Sent = tuple[str, bytes, dict[str, Any]]
_BAD_REQUESTS: list[_Sent] = [
    ("save", np.full(_DIM, np.nan, np.float32).tobytes(), {"rows": [{"person_name": "Bad"}]}),
    ("save", vectors(1, 3).tobytes(), {"rows": [{"person_name": "Bad"}]}),
    ("save", b"odd", {"rows": [{"person_name": "Bad"}]}),
    ("save", vectors(1).tobytes(), {"rows": [{"person_name": " "}]}),
    ("save", vectors(1).tobytes(), {"rows": [{"person_name": "Bad\0"}]}),
    ("save", vectors(1).tobytes(), {"rows": [{"person_name": "\ud800"}]}),
    ("save", vectors(1).tobytes(), {"rows": [{"person_name": "Bad", "image_path": {"a": 1}}]}),
    ("save", vectors(1).tobytes(), {"rows": [{"person_name": "Bad", "user_id": 5}]}),
    ("save", vectors(1).tobytes(), {"rows": ["Bad"]}),
    ("save", vectors(1).tobytes(), {"rows": 5}),
    (
        "save",
        vectors(2).tobytes(),
        {"rows": [{"person_name": "Bad", "uuid": "u"}, {"person_name": "Worse", "uuid": "u"}]},
    ),
    ("save", b"", {}),
    ("delete", b"", {"person_name": None}),
    ("forget", b"", {"person": ["Bad"]}),
    ("forget", b"", {"person": "Bad"}),
    ("record", b"", {"events": [{"key": "k2"}]}),
    ("record", b"", {"events": [event("k3", kind="unknown", time=None)]}),
    ("record", b"", {"events": [event("k4", kind="unknown", camera={"a": 1})]}),
    ("record", b"", {"events": [event("k5", kind="unknown", track=float("nan")), 7]}),
    ("record", b"", {"events": "none"}),
    ("stage", vectors(1).tobytes(), {"ids": [1 << 70], "changes": [1], "fingerprint": "f"}),
    ("switch_model", b"", {"model": "m"}),
    ("stamp", b"", {"model": None, "fingerprint": "f", "dim": _DIM}),
]


def _as_it_comes(bad: _Sent) -> Request[Any] | UsageError:
    """What is no request is answered by who reads the socket; the rest of its group is carried out."""
    op, blob, arguments = bad
    try:
        return request(op, blob, **arguments)
    except UsageError as error:
        return error


def test_a_bad_request_in_a_group_fails_alone(tmp_path: Path) -> None:
    """Among good ones, in any place: every bad request gets its own refusal, every good one is committed, once."""
    with store_in(tmp_path) as store:
        service = service_of(store, tmp_path)
        asked: list[Request[Any] | UsageError] = []
        for i, bad in enumerate(_BAD_REQUESTS):
            good = save_request(1, f"good{i}")
            asked += [good, _as_it_comes(bad), Record([event(f"good{i}", kind="unknown")])]
        carried_out = iter(service.write([one for one in asked if isinstance(one, Request)]))
        answers = [next(carried_out) if isinstance(one, Request) else one for one in asked]
        assert not [a for a in answers[0::3] + answers[2::3] if isinstance(a, RollcallError)]
        unrefused = [
            r
            for r, a in zip(_BAD_REQUESTS, answers[1::3], strict=True)
            if not isinstance(a, (RefusedError, UsageError))
        ]
        assert unrefused == []
        assert count_references(store) == len(_BAD_REQUESTS)
        assert len(sightings(store)) == len(_BAD_REQUESTS) == len(service.new_sightings)
        assert store_faults(store) == []


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("events", {"limit": "many"}),
        ("events", {"after_id": None}),
        ("events", {"since": ["x"]}),
        ("is_marked", {}),
        ("is_marked", {"person": 7}),
        ("cosine", {"id": {}}),
        ("references", {"person": {}}),
        ("people", {"limit": "x"}),
        ("no_such_operation", {}),
    ],
)
def test_a_bad_question_gets_an_answer(tmp_path: Path, op: str, arguments: dict[str, Any]) -> None:
    """Arguments of the wrong kind are the asker's fault, and never the writer's end."""
    with store_in(tmp_path) as store, pytest.raises((UsageError, RefusedError)):
        service_of(store, tmp_path).read(request(op, **arguments))


def test_what_is_no_request_is_refused() -> None:
    """An operation that is no text, arguments that are no object."""
    for op, arguments in (([], {}), ("save", [])):
        with pytest.raises(UsageError):
            request_of({"op": op, "arguments": arguments}, b"")


def test_a_fault_of_the_disk_is_everybodys_answer(tmp_path: Path) -> None:
    """A commit that fails: every request of the group is told so, and nothing is written or told to followers."""
    with store_in(tmp_path) as store:
        keep(store, vectors(1), NewReference("Ada"))
    path = tmp_path / "face_embeddings.db"

    def group(store: Any) -> None:
        service = service_of(store, tmp_path)
        answers = service.write(
            [
                save_request(1, "Bo"),
                save_request(1, "Ada"),
                request("stage", vectors(1).tobytes(), ids=[1 << 70], changes=[1], fingerprint="f"),
                Record([event("k1", "Ada")]),
            ]
        )
        faults = [
            answer for answer in answers if isinstance(answer, RollcallError) and not isinstance(answer, UsageError)
        ]
        if faults:
            assert len(faults) == len(answers)
            assert service.new_sightings == []
            raise faults[0]

    failures, after = fail_everywhere(path, FailingConnection, group)
    assert failures > 15
    assert len(after["embeddings"]) == 3
    assert len(after["sightings"]) == 1


def test_a_switch_waits_for_who_was_enrolled_meanwhile(tmp_path: Path) -> None:
    """References enrolled, changed or deleted since their photos were read: what was staged of the old ones does not count, the
    switch names who is missing and changes nothing; with everybody staged it is one step, each reference under a new change number."""
    with store_in(tmp_path) as store:
        service = service_of(store, tmp_path)
        service.write([save_request(1, f"p{i}", image_path=f"{i}.jpg") for i in range(4)])
        read = list_references(store)
        (changed, gone, added) = service.write(
            [
                save_request(1, "p1", image_path="1.jpg"),
                Forget("p2"),
                save_request(1, "p9", image_path="9.jpg"),
            ]
        )
        assert not [one for one in (changed, gone, added) if isinstance(one, RollcallError)]
        switch = SwitchModel(ModelId.parse("dlib/dlib", "f" * 64, 8), [])

        def staged(references: list[Reference]) -> Staged:
            ids, changes = [one.id for one in references], [one.change_number or 0 for one in references]
            return service.ask(Stage(ids, changes, "f" * 64, vectors=vectors(len(ids), 8)))

        assert staged(read) == Staged(staged=2)
        before, number = everything(store.path), store.change_number
        assert service.ask(switch) == Switched(switched=False, not_staged=[2, 5])
        assert everything(store.path) == before
        assert staged([one for one in list_references(store) if one.id in (2, 5)]) == Staged(staged=2)
        assert service.ask(switch) == Switched(switched=True, references=4, left_out=0)
        assert (store.dim, store.model, store.fingerprint) == (8, "dlib/dlib", "f" * 64)
        assert {one.change_number for one in list_references(store)} == {store.change_number}
        assert store.change_number > number
        assert store_faults(store) == []


# --- failures at every step -----------------------------------------------------------------------------------------


def _save_batch(store: Any) -> None:
    """New ones, updates of both kinds, a mark lifted."""
    with store.transaction():
        named = [("p0", "0.jpg"), ("p1", None), ("p9", "9.jpg"), ("p9", None), ("marked", "m.jpg"), ("p2", "2.jpg")]
        save(store, [NewReference(name, path, "u") for name, path in named], vectors(len(named)))


def _forget_many(store: Any) -> None:
    with store.transaction():
        for name in ("p1", "p2", "p3"):
            forget_person(store, name)


def _switch(store: Any) -> None:
    from shared.store.staging import switch_model

    with store.transaction():
        switch_model(store, ModelId.parse("insightface/other", "f" * 64, 8))


def _restore(store: Any) -> None:
    from shared.store.restoring import replace_from

    replace_from(store, store.path.with_name("old.db"))


@pytest.mark.parametrize("kind", [FailingConnection, InterruptedConnection], ids=["statement", "instruction"])
@pytest.mark.parametrize("attempt", [_save_batch, _forget_many, _switch, _restore])
def test_whatever_fails_leaves_all_or_nothing(tmp_path: Path, kind: Failing, attempt: Any) -> None:
    """The 1st, 2nd, 3rd … statement fails, then each score of SQLite's own instructions: each time the store is sound and
    as it was; at last it passes, and all of it is there."""
    path = tmp_path / "face_embeddings.db"
    with store_in(tmp_path) as store:
        keep(store, vectors(6), *(NewReference(f"p{i}", f"{i}.jpg" if i % 2 == 0 else None) for i in range(6)))
        keep(store, vectors(1), NewReference("marked", "m.jpg", None, None, "d" * 64))
        copy_to(store, tmp_path / "old.db")
        with store.transaction():
            delete_references(store, "marked")
            record(store, [event(f"k{i}", f"p{i % 6}") for i in range(12)], "s")
            staged = list_references(store)[:5]
            changes = [one.change_number or 0 for one in staged]
            stage(store, [one.id for one in staged], changes, vectors(5, 8), "f" * 64)
    failures, after = fail_everywhere(path, kind, attempt)
    assert failures >= 4
    assert after != {}
    people = {row[1] for row in after["embeddings"]}
    assert (
        people
        == {
            _save_batch: {*(f"p{i}" for i in range(6)), "p9", "marked"},
            _forget_many: {"p0", "p4", "p5"},
            _switch: {f"p{i}" for i in range(5)},
            _restore: {f"p{i}" for i in range(6)},
        }[attempt]
    )
    with store_in(tmp_path) as store:
        assert store_faults(store) == []


def test_a_new_database_is_whole_or_not_there(tmp_path: Path) -> None:
    """A process killed while it makes the database leaves nothing that the next start takes for a damaged one."""
    said: list[str] = []
    half = tmp_path / ".face_embeddings.db.new"
    half.write_bytes(b"")
    half.with_name(half.name + "-journal").write_bytes(b"rest")
    (tmp_path / "face_embeddings.db-wal").write_bytes(b"of one that somebody deleted")
    with store_in(tmp_path, said) as store:
        assert store_faults(store) == []
    assert said == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face_embeddings.db", "marks.key"]


def test_a_full_disk_takes_nothing_and_loses_nothing(small_disk: SmallDisk) -> None:
    """A save that finds no room is refused as temporary; what was there is there; with room again it works."""
    disk = small_disk("disk", 2048)
    store = open_store(disk / "data" / "face_embeddings.db", silent)
    service = service_of(store, disk / "data")
    kept, refused = 0, None
    while refused is None:
        (answer,) = service.write([save_request(8, *[f"p{kept}"] * 8, dim=512)])
        if isinstance(answer, RollcallError):
            refused = answer
        else:
            kept += 8
    assert isinstance(refused, TemporaryError)
    assert "full" in refused.line()
    assert count_references(store) == kept > 0
    service.purge()
    with contextlib.suppress(TemporaryError):  # the WAL may find no room in the file; it stays beside it then
        store.close()
    subprocess.run(["mount", "-o", "remount,size=4096k", str(disk)], check=True)
    with store_in(disk / "data") as store:
        assert store_faults(store) == []
        assert count_references(store) == kept
        assert not isinstance(service_of(store, disk / "data").write([save_request(1, "x", dim=512)])[0], RollcallError)


# --- damage, backup -------------------------------------------------------------------------------------------------


def test_a_damaged_file_is_set_aside_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    """Also its journal, which SQLite would otherwise roll back into the new file; sightings' ids go on above the old ones."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    with store_in(tmp_path) as store:
        keep(store, vectors(1), NewReference("Ada"))
        copy_to(store, backup_path(path))
        with store.transaction():
            record(store, [event(f"k{i}", "Ada") for i in range(9)], "s")
            last_id = store.sightings.last_id()
    for source in ("BACKUP", "WITHOUT THE OLD DATABASE"):
        path.write_bytes(b"")
        path.with_name(path.name + "-journal").write_bytes(b"its journal")
        with store_in(tmp_path, said) as store:
            assert count_references(store) == (source == "BACKUP")
            with store.transaction():
                found = record(store, [event(f"new {source}", kind="unknown")], "s")[0]["id"]
        assert found > last_id
        last_id = found
        assert any(source in line for line in said)
        backup_path(path).unlink(missing_ok=True)
    aside = sorted(one.name for one in tmp_path.glob("face_embeddings.db.damaged-*"))
    assert len(aside) == 4
    assert {one.read_bytes() for one in tmp_path.glob("*-journal")} == {b"its journal"}


def test_a_program_that_died_while_it_wrote_is_no_damage(tmp_path: Path) -> None:
    """A hot journal beside the file: the half-written change is rolled back, the rest is there."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    program = (  # the statements are the test's own
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"  # noqa: S608  # see above
        f"c.execute('CREATE TABLE {_THE_TABLE}'); c.execute('PRAGMA cache_size=5'); vector = bytes(range(256)) * 8\n"
        "c.execute('INSERT INTO embeddings(person_name, embedding) VALUES (?, ?)', ('Ada', b'\\0\\0\\x80?' * 512))\n"
        "c.execute('BEGIN')\n"
        "for i in range(500): c.execute('INSERT INTO embeddings(person_name, embedding) VALUES (?, ?)', (f'p{i}', vector))\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
    assert path.with_name(path.name + "-journal").exists()
    with store_in(tmp_path, said) as store:
        assert [one.person for one in list_people(store)] == ["Ada"]
    assert not any("DAMAGED" in line for line in said)


def test_rows_that_somebody_else_spoilt_are_found(tmp_path: Path) -> None:
    """check() names a vector of the wrong length or norm, a row without its facts, and facts without their row."""
    for spoil, told in (
        ("UPDATE embeddings SET embedding=x'00' WHERE id=1", "bytes"),
        ("UPDATE embeddings SET embedding=zeroblob(256) WHERE id=1", "norm"),
        ("DELETE FROM reference_facts WHERE embedding_id=1", "no uuid"),
        ("DELETE FROM embeddings WHERE id=1", "refers to nothing"),
    ):
        folder = tmp_path / told.replace(" ", "-")
        with store_in(folder) as store:
            keep(store, vectors(2), NewReference("Ada"), NewReference("Bo"))
            assert store_faults(store) == []
            store.connection.execute("PRAGMA foreign_keys=OFF")
            store.connection.execute(spoil)
            assert told in "\n".join(store_faults(store))


def test_the_backup_is_made_beside_a_working_writer(tmp_path: Path) -> None:
    """The daily copy is of one moment while writes go on; it is put in place whole, 0600 and complete alone."""
    with store_in(tmp_path) as store:
        keep(store, vectors(50), *(NewReference(f"p{i}") for i in range(50)))
        keeper = BackupKeeper(store.path)
        keeper.turn(0.0, store, 0)
        keeper.turn(61.0, store, 0)
        _until(lambda: keeper.turn(62.0, store, 0), lambda: backup_path(store.path).exists(), store)
        backup = open_read_only(backup_path(store.path))
        assert store_faults(backup) == []
        assert count_references(backup) >= 50
        backup.close()
        assert backup_path(store.path).stat().st_mode & 0o777 == 0o600
        keeper.finish(store)
        backup = open_read_only(backup_path(store.path))
        assert count_references(backup) == count_references(store)
        backup.close()
    names = ["face_embeddings.backup.db", "face_embeddings.db", "marks.key"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def _until(turn: Any, done: Any, store: Any) -> None:
    """Turn the loop, with a write in each, until `done`."""
    deadline = time.monotonic() + 20
    waiting = threading.Event()
    while not done():
        assert time.monotonic() < deadline
        keep(store, vectors(1), NewReference("more"))
        turn()
        waiting.wait(0.01)


def test_a_backup_begun_before_a_forget_is_thrown_away(tmp_path: Path) -> None:
    """Whoever is forgotten while it is copied does not come back with it, and no half of a copy stays behind, also of a writer
    that was killed."""
    fresh = backup_path(tmp_path / "face_embeddings.db").with_name("face_embeddings.backup.db.new")
    fresh.write_bytes(b"of a writer that was killed: Ada Lovelace")
    with store_in(tmp_path) as store:
        keeper = BackupKeeper(store.path)
        assert not fresh.exists()
        keep(store, vectors(2), NewReference("Ada Lovelace"), NewReference("Bo"))
        keeper.turn(0.0, store, 0)
        keeper.turn(61.0, store, 0)
        with store.transaction():
            forget_person(store, "Ada Lovelace")
        _until(lambda: keeper.turn(62.0, store, 1), lambda: keeper._thread is None, store)
        assert not backup_path(store.path).exists()
        keeper.finish(store)
        assert not any(
            b"Lovelace" in one
            for name, one in bytes_under(tmp_path, tmp_path.parent / "copy").items()
            if "backup" in name
        )


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """For reading and for writing, and the file is left as it is."""
    with store_in(tmp_path) as store:
        store.set_fact("schema_version", str(schema.SCHEMA_VERSION + 1))
    path = tmp_path / "face_embeddings.db"
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="newer Rollcall"):
        open_store(path, silent)
    with pytest.raises(ConfigurationError, match="newer Rollcall"):
        open_read_only(path)
    assert path.read_bytes() == before


def test_a_database_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Somebody else's tables, or an `embeddings` with other columns, are not taken for a gallery, and not touched."""
    path = tmp_path / "face_embeddings.db"
    for table in ("songs(title)", "embeddings(id INTEGER PRIMARY KEY, vector BLOB)"):
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        connection.execute(f"CREATE TABLE {table}")
        connection.close()
        before = path.read_bytes()
        with pytest.raises(ConfigurationError, match="not a gallery"):
            open_store(path, silent)
        assert path.read_bytes() == before
