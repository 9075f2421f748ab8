"""What is saved: a row each, or an update of the row that is there; what is no embedding is refused, a full disk loses nothing."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RefusedError, RollcallError, TemporaryError
from shared.gallery.publisher import GalleryPublisher
from shared.gallery.reader import GalleryReader
from shared.ipc.requests.model import Stamp
from shared.ipc.requests.references import Save
from shared.model_id import ModelId
from shared.records import NewReference
from shared.store.check import store_faults
from shared.store.opening import open_store
from shared.store.references import (
    count_references,
    delete_references,
    forget_person,
    list_people,
    list_references,
    vector_of,
)
from shared.uuid7 import new_uuids
from tests.conftest import SmallDisk
from tests.support.stores import (
    DIM,
    event,
    everything,
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
        np.full(DIM, np.nan, np.float32),
        np.full(DIM, np.inf, np.float32),
        np.zeros(DIM, np.float32),
        np.ones(DIM + 1, np.float32),
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
            assert vector.shape == (DIM,)
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
        service.ask(Stamp(ModelId.parse("insightface/other", "b" * 64, DIM)))
        with pytest.raises(RefusedError, match="insightface/other"):
            service.ask(Save([NewReference("Ada")], "a" * 64, vectors=vectors(1)))


def test_the_user_id_given_last_is_the_persons(tmp_path: Path) -> None:
    """The block has it too: live, and loaded anew, when an older row got the newer id."""
    with store_in(tmp_path / "data") as store:
        publisher = GalleryPublisher(tmp_path / "data", DIM, "", "")
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


def test_a_full_disk_takes_nothing_and_loses_nothing(small_disk: SmallDisk) -> None:
    """A save that finds no room is refused as temporary; what was there is there; with room again it works."""
    disk = small_disk("disk", 2304)
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
