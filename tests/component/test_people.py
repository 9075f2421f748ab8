"""People as rows: in step with the references, renamed, made one, taken back, forgotten; the files, the block and the backup follow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RefusedError
from shared.gallery.publisher import GalleryPublisher
from shared.gallery.reader import GalleryReader
from shared.ipc.requests.base import Answer, Request
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.model import Stage, SwitchModel
from shared.ipc.requests.people import Merge, People, Rename, Renamed, UndoPeople
from shared.ipc.requests.references import Save
from shared.ipc.requests.sightings import Record
from shared.model_id import ModelId
from shared.records import NewReference
from shared.service.service import StoreService
from shared.settings.schema import SiteSettings
from shared.store import people
from shared.store.check import store_faults
from shared.store.copying import copy_to
from shared.store.opening import backup_path, open_read_only
from shared.store.references import delete_references, list_people, list_references
from shared.store.saving import save
from shared.store.store import Store
from tests.support.stores import rows, sightings, silent, store_in
from tests.support.vectors import noise

_DIM = 16
_RNG = np.random.default_rng(5)
_PHOTOS = {"Ada": ("a.jpg", "b.jpg"), "Bo": ("a.jpg", "c.jpg")}


class Gallery:
    """A store with a block, and photos in data/faces: Ada and Bo have one photo in common, Cy has none."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store
        self.run_dir = folder / "run"
        self.run_dir.mkdir(mode=0o700)
        self.publisher = GalleryPublisher(self.run_dir, _DIM, "test/none", "f" * 64)
        self.service = StoreService(store, self.publisher, site=SiteSettings(name="s"), data_dir=folder, say=silent)
        self.service.publish_everything()
        new = [
            NewReference("Ada", "faces/Ada/a.jpg", "e-1", photo_digest="same"),
            NewReference("Ada", "faces/Ada/b.jpg", photo_digest="b"),
            NewReference("Bo", "faces/Bo/a.jpg", photo_digest="same"),
            NewReference("Bo", "faces/Bo/c.jpg", photo_digest="c"),
            NewReference("Cy"),
        ]
        for name, photos in _PHOTOS.items():
            for photo in photos:
                path = folder / "faces" / name / photo
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"{name}'s {photo}".encode())
        self.ask(Save(new, vectors=noise(_RNG, len(new), _DIM)))
        self.ask(Record([self.seen("Ada", 1), self.seen("Bo", 2)]))

    @staticmethod
    def seen(person: str, track: int) -> dict[str, Any]:
        time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        return {
            "key": f"{person}{track}",
            "event": "named",
            "time": time,
            "camera": "door",
            "track": track,
            "person": person,
        }

    def ask(self, request: Request[Any]) -> Answer:
        answer: Answer = self.service.ask(request)
        assert answer.warning is None
        assert self.service.check() == []
        return answer

    def references(self) -> list[tuple[int, str, str | None]]:
        return [(one.id, one.person, one.image_path) for one in list_references(self.store)]

    def files(self) -> dict[str, str]:
        faces = self.folder / "faces"
        return {path.relative_to(faces).as_posix(): path.read_text() for path in faces.rglob("*.jpg")}

    def in_block(self) -> dict[str, tuple[int, str | None]]:
        """Everybody in the block: how many rows, and the user id."""
        with GalleryReader(self.run_dir) as reader:
            names = [name for piece in reader.live_pieces() for name in piece.names]
            users = reader.user_ids()
        return {name: (names.count(name), users[name]) for name in set(names)}

    def state(self) -> tuple[object, ...]:
        known = [(one.person, one.user_id, one.references) for one in list_people(self.store)]
        people_seen = [(one["person"], one["track"]) for one in sightings(self.store)]
        return self.references(), self.files(), self.in_block(), known, people_seen


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with store_in(tmp_path) as store:
        one = Gallery(tmp_path, store)
        yield one
        one.publisher.remove_block()
        one.publisher.close()


def test_everybody_with_a_reference_has_a_row_and_nobody_else(gallery: Gallery) -> None:
    """Saved, deleted one by one: a person goes with the last reference. The id stays as long as the person does."""
    before = dict(rows(gallery.store, "SELECT name, uuid FROM people"))
    assert set(before) == {"Ada", "Bo", "Cy"}
    with gallery.store.transaction():
        delete_references(gallery.store, "Ada", "faces/Ada/a.jpg")
        delete_references(gallery.store, "Cy")
    assert dict(rows(gallery.store, "SELECT name, uuid FROM people")) == {name: before[name] for name in ("Ada", "Bo")}
    assert store_faults(gallery.store) == []


def test_a_user_id_is_the_persons(gallery: Gallery) -> None:
    """The one given last is that of all of a person's references, in the table and in the block."""
    assert gallery.in_block()["Ada"] == (2, "e-1")
    assert rows(gallery.store, "SELECT DISTINCT user_id FROM embeddings WHERE person_name='Ada'") == [("e-1",)]
    gallery.ask(Save([NewReference("Ada", "faces/Ada/d.jpg", "e-2")], vectors=noise(_RNG, 1, _DIM)))
    gallery.ask(Save([NewReference("Ada", "faces/Ada/e.jpg")], vectors=noise(_RNG, 1, _DIM)))
    assert rows(gallery.store, "SELECT DISTINCT user_id FROM embeddings WHERE person_name='Ada'") == [("e-2",)]
    assert gallery.in_block()["Ada"] == (4, "e-2")
    gallery.service.publish_everything()
    assert gallery.in_block()["Ada"] == (4, "e-2")


def test_a_rename_is_everywhere_and_is_undone(gallery: Gallery) -> None:
    """Rows, block, sightings and photos have the new name; undone, everything is as it was, but the numbers of changes."""
    before = gallery.state()
    answer = gallery.ask(Rename("Ada", "Ada Lovelace"))
    assert answer == Renamed(person="Ada Lovelace", before="Ada", references=2, kept_once=0, sightings=1)
    assert gallery.in_block() == {"Ada Lovelace": (2, "e-1"), "Bo": (2, None), "Cy": (1, None)}
    assert gallery.files() == {
        "Ada Lovelace/a.jpg": "Ada's a.jpg", "Ada Lovelace/b.jpg": "Ada's b.jpg", "Bo/a.jpg": "Bo's a.jpg", "Bo/c.jpg": "Bo's c.jpg",
    }  # fmt: skip  # a person a line
    assert not (gallery.folder / "faces" / "Ada").exists()
    assert [one["person"] for one in sightings(gallery.store)] == ["Ada Lovelace", "Bo"]
    assert gallery.ask(UndoPeople()) == Renamed(
        person="Ada", before="Ada Lovelace", references=2, kept_once=0, sightings=1
    )
    assert gallery.state() == before


def test_two_people_become_one_and_two_again(gallery: Gallery) -> None:
    """The photo that both have counts once; undone, each has their own again, what was enrolled meanwhile stays where it is."""
    before = gallery.state()
    answer = gallery.ask(Merge("Ada", "Bo"))
    assert answer == Renamed(person="Bo", before="Ada", references=1, kept_once=1, sightings=1)
    assert gallery.in_block() == {"Bo": (3, "e-1"), "Cy": (1, None)}
    assert set(gallery.files().values()) == {"Ada's a.jpg", "Ada's b.jpg", "Bo's a.jpg", "Bo's c.jpg"}
    assert all(name.startswith("Bo/") for name in gallery.files())
    gallery.ask(UndoPeople())
    assert gallery.state() == before
    gallery.ask(Merge("Ada", "Bo"))
    gallery.ask(Save([NewReference("Bo", "faces/Bo/new.jpg")], vectors=noise(_RNG, 1, _DIM)))
    gallery.ask(UndoPeople())
    assert gallery.in_block() == {"Ada": (2, "e-1"), "Bo": (3, None), "Cy": (1, None)}


@pytest.mark.parametrize("way", [Rename("Ada", "Zed"), Merge("Ada", "Bo")], ids=["rename", "merge"])
def test_forgetting_reaches_what_an_undoing_would_need(gallery: Gallery, way: Request[Any]) -> None:
    """Forgotten under the name of now: no row, no embedding set aside, no photo, no sighting, and nothing to undo."""
    gallery.ask(way)
    name = "Zed" if isinstance(way, Rename) else "Bo"
    gallery.ask(Forget(name))
    assert rows(
        gallery.store, "SELECT COUNT(*) FROM people_changes UNION ALL SELECT COUNT(*) FROM merged_references"
    ) == [(0,), (0,)]
    assert not any("Ada" in text for text in gallery.files().values())
    assert all(one["person"] not in ("Ada", name) for one in sightings(gallery.store))
    with pytest.raises(RefusedError, match="nothing to undo"):
        gallery.service.ask(UndoPeople())


def test_the_last_change_of_each_is_what_can_be_undone(gallery: Gallery) -> None:
    """A person who was renamed again can be called as before the last time, and not as before that."""
    gallery.ask(Rename("Ada", "Ada B"))
    gallery.ask(Rename("Ada B", "Ada C"))
    gallery.ask(Rename("Cy", "Cyrus"))
    assert [gallery.ask(UndoPeople()).person for _ in range(2)] == ["Cy", "Ada B"]  # type: ignore[attr-defined]  # all are Renamed
    with pytest.raises(RefusedError, match="nothing to undo"):
        gallery.service.ask(UndoPeople())


def test_a_change_is_undone_by_its_names_whatever_came_after(gallery: Gallery) -> None:
    """So whoever sees a change undoes that one, and nobody else's. The last one is told with the list of people."""
    assert gallery.service.ask(People(limit=0)).last_change is None
    gallery.ask(Rename("Ada", "Zed"))
    gallery.ask(Merge("Bo", "Cy"))
    last = gallery.service.ask(People(limit=0)).last_change
    assert last is not None
    assert (last.before, last.person, last.merged) == ("Bo", "Cy", True)
    with pytest.raises(RefusedError, match="nothing to undo"):
        gallery.service.ask(UndoPeople("Ada", "Cy"))
    assert gallery.service.ask(UndoPeople("Ada", "Zed")).person == "Ada"
    assert gallery.service.ask(People(limit=0)).last_change == last
    assert gallery.service.ask(UndoPeople("Bo", "Cy")).person == "Bo"
    assert gallery.service.ask(People(limit=0)).last_change is None
    assert gallery.service.check() == []


def test_a_merge_is_final_once_the_model_has_changed(gallery: Gallery) -> None:
    """Undoing it would bring a reference of the old model into the gallery of the new one. A rename can still be undone."""
    gallery.ask(Rename("Cy", "Cyrus"))
    gallery.ask(Merge("Ada", "Bo"))
    references = list_references(gallery.store)
    numbers = [one.change_number or 0 for one in references]
    staged = Stage([one.id for one in references], numbers, "e" * 64, vectors=noise(_RNG, len(references), 8))
    gallery.service.ask(staged)
    answer = gallery.service.ask(SwitchModel(ModelId.parse("test/other", "e" * 64, 8), []))
    assert "1 merges can't be undone any more" in str(answer.warning)
    assert rows(gallery.store, "SELECT COUNT(*) FROM merged_references") == [(0,)]
    assert gallery.service.ask(UndoPeople()).person == "Cy"
    with pytest.raises(RefusedError, match="nothing to undo"):
        gallery.service.ask(UndoPeople())
    assert gallery.service.check() == []


def test_after_thirty_days_nothing_can_be_undone(gallery: Gallery) -> None:
    """And what it would have taken is deleted with what is past its time."""
    gallery.ask(Merge("Ada", "Bo"))
    old = f"{datetime.now(UTC) - timedelta(days=people.UNDO_DAYS, minutes=1):%Y-%m-%dT%H:%M:%S.%fZ}"
    with gallery.store.transaction():
        gallery.store.connection.execute("UPDATE people_changes SET at=?", (old,))
    with pytest.raises(RefusedError, match="nothing to undo"):
        gallery.service.ask(UndoPeople())
    gallery.service.purge()
    assert rows(
        gallery.store, "SELECT COUNT(*) FROM people_changes UNION ALL SELECT COUNT(*) FROM merged_references"
    ) == [(0,), (0,)]


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Rename("Nobody", "X"), "nobody of that name"),
        (Rename("Ada", "Bo"), "another person has that name"),
        (Rename("Ada", "Ada"), "the person already has that name"),
        (Rename("Ada", ""), "not a name"),
        (Rename("Ada", "A\u200bda"), "invisible"),
        (Rename("Ada", "Ada/Bo"), "contains a slash"),
        (Rename("Ada", "../Bo"), "starts with a dot"),
        (Merge("Ada", "Nobody"), "nobody of that name"),
        (Merge("Ada", "Ada"), "the same person"),
    ],
)
def test_what_can_not_be_is_refused_and_changes_nothing(gallery: Gallery, request_: Request[Any], what: str) -> None:
    """Each with its reason."""
    before = gallery.state()
    with pytest.raises(RefusedError, match=what):
        gallery.service.ask(request_)
    assert gallery.state() == before


def test_nobody_is_merged_into_a_name_that_is_no_folder(gallery: Gallery) -> None:
    """Others than `enrol` can save such a name: kept photos could not be moved there. That person renamed, the merge works."""
    gallery.ask(Save([NewReference("../x")], vectors=noise(_RNG, 1, _DIM)))
    before = gallery.state()
    with pytest.raises(RefusedError, match="starts with a dot"):
        gallery.service.ask(Merge("Ada", "../x"))
    assert gallery.state() == before
    gallery.ask(Rename("../x", "Xu"))
    gallery.ask(Merge("Ada", "Xu"))
    assert {path.split("/")[0] for path in gallery.files()} == {"Xu", "Bo"}


def test_a_name_that_was_taken_meanwhile_is_not_given_twice(gallery: Gallery) -> None:
    """Ada was renamed, somebody else was enrolled as Ada: the rename can't be undone until that one is called otherwise."""
    gallery.ask(Rename("Ada", "Zed"))
    gallery.ask(Save([NewReference("Ada")], vectors=noise(_RNG, 1, _DIM)))
    with pytest.raises(RefusedError, match="another person has that name"):
        gallery.service.ask(UndoPeople())


def test_the_backup_follows(gallery: Gallery) -> None:
    """A backup made before a rename or a merge has the new names after it; one that can't follow is removed."""
    copy_to(gallery.store, backup_path(gallery.store.path))

    def names() -> list[str]:
        backup = open_read_only(backup_path(gallery.store.path))
        try:
            return [one.person for one in list_people(backup)]
        finally:
            backup.close()

    gallery.ask(Rename("Ada", "Zed"))
    assert names() == ["Bo", "Cy", "Zed"]
    gallery.ask(UndoPeople())
    assert names() == ["Ada", "Bo", "Cy"]
    gallery.ask(Merge("Ada", "Bo"))
    assert names() == ["Bo", "Cy"]
    gallery.ask(UndoPeople())
    assert not backup_path(gallery.store.path).exists()


def test_a_copy_has_nothing_to_undo(gallery: Gallery) -> None:
    """What was set aside for an undoing would outlive it in a backup."""
    gallery.ask(Merge("Ada", "Bo"))
    copy_to(gallery.store, gallery.folder / "copy.db")
    copy = open_read_only(gallery.folder / "copy.db")
    assert rows(copy, "SELECT COUNT(*) FROM people_changes UNION ALL SELECT COUNT(*) FROM merged_references") == [
        (0,),
        (0,),
    ]
    copy.close()


def test_photos_that_were_not_moved_yet_are_moved_at_the_start(gallery: Gallery) -> None:
    """A process that is killed between the commit and the move: the next one moves them."""
    with gallery.store.transaction():
        moved = people.rename(gallery.store, "Ada", "Zed")
        gallery.store.connection.executemany(
            "INSERT INTO pending_moves(place, path) VALUES (?, ?)", [(place, path) for path, place in moved.files]
        )
    assert "Ada/a.jpg" in gallery.files()
    gallery.service.begin()
    assert {name for name in gallery.files() if not name.startswith("Bo")} == {"Zed/a.jpg", "Zed/b.jpg"}
    assert rows(gallery.store, "SELECT COUNT(*) FROM pending_moves") == [(0,)]


def test_a_file_in_a_photos_new_place_stays_what_it_is(gallery: Gallery) -> None:
    """The photo gets another name beside it, in the backup too, and goes when its person is forgotten."""
    copy_to(gallery.store, backup_path(gallery.store.path))
    stray = gallery.folder / "faces" / "Zed" / "a.jpg"
    stray.parent.mkdir()
    stray.write_bytes(b"somebody's")
    gallery.ask(Rename("Ada", "Zed"))
    assert stray.read_bytes() == b"somebody's"
    assert (gallery.folder / "faces/Zed/a-2.jpg").read_bytes() == b"Ada's a.jpg"
    paths = [("faces/Zed/a-2.jpg",), ("faces/Zed/b.jpg",)]
    query = "SELECT image_path FROM embeddings WHERE person_name='Zed' ORDER BY 1"
    assert rows(gallery.store, query) == paths
    backup = open_read_only(backup_path(gallery.store.path))
    assert rows(backup, query) == paths
    backup.close()
    gallery.ask(Forget("Zed"))
    assert not [file for file in gallery.folder.rglob("faces/**/*") if file.is_file() and b"Ada's" in file.read_bytes()]


def test_a_photo_that_could_not_be_moved_is_forgotten_where_it_is(gallery: Gallery) -> None:
    """A file lies where the new name's folder would be: a warning, and whoever is forgotten leaves nothing in the old folder."""
    (gallery.folder / "faces" / "Zed").write_bytes(b"")
    assert "could not be moved" in (gallery.service.ask(Rename("Ada", "Zed")).warning or "")
    assert "Ada/a.jpg" in gallery.files()
    gallery.ask(Forget("Zed", "faces/Zed/a.jpg"))
    assert "Ada/a.jpg" not in gallery.files()
    gallery.ask(Forget("Zed"))
    assert not [name for name in gallery.files() if name.startswith("Ada")]
    assert rows(gallery.store, "SELECT COUNT(*) FROM pending_moves") == [(0,)]


def test_a_camera_that_does_not_know_the_new_name_yet_names_the_person(gallery: Gallery) -> None:
    """The track began before the rename and ends after it: its events are kept under the new name, and nobody else's are."""
    gallery.ask(Rename("Ada", "Zed"))
    gallery.ask(Record([gallery.seen("Ada", 3), gallery.seen("Nobody", 4)]))
    assert [(one["person"], one["track"]) for one in sightings(gallery.store)] == [("Zed", 1), ("Bo", 2), ("Zed", 3)]
    gallery.ask(Save([NewReference("Ada")], vectors=noise(_RNG, 1, _DIM)))
    gallery.ask(Record([gallery.seen("Ada", 5)]))
    assert sightings(gallery.store)[-1]["person"] == "Ada", "somebody else is called so now"


def test_what_came_after_a_rename_goes_back_with_it(gallery: Gallery) -> None:
    """A photo that was enrolled under the new name is the same person's: nobody is left under that name."""
    gallery.ask(Rename("Ada", "Zed"))
    gallery.ask(Save([NewReference("Zed", "faces/Zed/z.jpg")], vectors=noise(_RNG, 1, _DIM)))
    (gallery.folder / "faces" / "Zed" / "z.jpg").write_bytes(b"Ada's z.jpg")
    gallery.ask(UndoPeople())
    assert [(one.person, one.references) for one in list_people(gallery.store)] == [("Ada", 3), ("Bo", 2), ("Cy", 1)]
    assert {name for name in gallery.files() if not name.startswith("Bo")} == {"Ada/a.jpg", "Ada/b.jpg", "Ada/z.jpg"}
    assert store_faults(gallery.store) == []


def test_a_table_that_does_not_fit_is_seen(gallery: Gallery) -> None:
    """`check` says where people and references do not agree."""
    with gallery.store.transaction():
        gallery.store.connection.execute("DELETE FROM people WHERE name='Cy'")
        gallery.store.connection.execute(
            "INSERT INTO people(uuid, name, created_at) VALUES ('u', 'Nobody', '2026-01-01T00:00:00Z')"
        )
        gallery.store.connection.execute("UPDATE people SET user_id='other' WHERE name='Bo'")
    text = "\n".join(store_faults(gallery.store))
    assert "a reference whose person is not in people" in text
    assert "a person without a reference" in text
    assert "another user id than the person has" in text
    with gallery.store.transaction():
        people.complete(gallery.store.connection)
        people.settle_user_ids(gallery.store.connection)
    assert store_faults(gallery.store) == []


def test_many_at_once_are_quick_enough(tmp_path: Path) -> None:
    """A batch of new people costs two statements, not two a person: 3,000 at once, and again."""
    with store_in(tmp_path) as store:
        new = [NewReference(f"p{number}", None, f"u{number}") for number in range(3000)]
        vectors = noise(_RNG, len(new), _DIM)
        for _ in range(2):
            with store.transaction():
                save(store, new, vectors)
        assert store_faults(store) == []
        assert rows(store, "SELECT COUNT(*) FROM people WHERE user_id='u'||SUBSTR(name, 2)") == [(3000,)]
