"""Deleting and forgetting: rows, photos, marks, remains in the file, the block and the backup."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RefusedError, RollcallError
from shared.gallery import publisher as gallery_publisher
from shared.gallery.files import segment_path
from shared.gallery.publisher import GalleryPublisher
from shared.gallery.reader import GalleryReader
from shared.ipc.requests.base import Answer, Request
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.references import Delete, Save
from shared.records import NewReference
from shared.service.service import StoreService
from shared.store.check import store_faults
from shared.store.copying import copy_to
from shared.store.marks import is_marked
from shared.store.opening import backup_path, open_read_only, open_store
from shared.store.references import (
    count_references,
    delete_references,
    forget_person,
    list_people,
    list_references,
)
from shared.store.staging import stage
from tests.conftest import SmallDisk
from tests.support.blocks import held_bytes
from tests.support.full_disks import fill
from tests.support.stores import (
    DIM,
    FailingConnection,
    bytes_under,
    event,
    failing_store,
    keep,
    record,
    rows,
    save_request,
    service_of,
    service_with,
    silent,
    store_in,
    vectors,
)
from tests.support.vectors import noise


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
        publisher = GalleryPublisher(tmp_path / "data", DIM, "", "")
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
            publisher = GalleryPublisher(store.path.parent, DIM, "", "")
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
        publisher = GalleryPublisher(tmp_path / "data", DIM, "", "")
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
