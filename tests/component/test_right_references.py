"""References that somebody said are right: the mark follows the row, and goes when the row is another photo or another person's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RefusedError
from shared.ipc.requests.base import Request
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.model import Stage, SwitchModel
from shared.ipc.requests.people import Merge, Rename, UndoPeople
from shared.ipc.requests.references import BringBack, MarkReference, ReferenceState, RightReferences, Save
from shared.model_id import ModelId
from shared.records import NewReference
from shared.store import people
from shared.store.check import store_faults
from shared.store.copying import copy_to
from shared.store.migration import copy_of_backup
from shared.store.opening import backup_path, open_read_only
from shared.store.references import list_references
from tests.component.test_set_aside import Gallery
from tests.support.old_stores import write_version_8
from tests.support.stores import DIM, bytes_under, everything, rows, store_in
from tests.support.vectors import noise

_WRONG = "faces/Ada/wrong.jpg"
_RNG = np.random.default_rng(4)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    data = tmp_path / "data"
    data.mkdir()
    with store_in(data) as store:
        one = Gallery(data, store)
        one.enrol()
        yield one
        one.close()


def mark(gallery: Gallery, photo: str = _WRONG, *, right: bool = True, person: str = "Ada") -> ReferenceState:
    answer: ReferenceState = gallery.ask(MarkReference(person, photo, right))
    return answer


def right(gallery: Gallery) -> list[int]:
    """The ids of what is marked, as requests and lists tell them."""
    ids: list[int] = gallery.ask(RightReferences()).ids
    assert [one.id for one in list_references(gallery.store) if one.right_since is not None] == ids
    return ids


def test_it_is_remembered_until_it_is_taken_back(gallery: Gallery) -> None:
    """Said again it is answered as done, with the first time. Faces are matched with the reference as before, and no change is counted: there
    is nothing to send to other sites."""
    before = (
        gallery.in_block(),
        [one.change_number for one in list_references(gallery.store)],
        gallery.store.change_number,
    )
    first = mark(gallery)
    assert (first.person, first.id, first.photo, first.already, first.in_use, first.reason) == (
        "Ada",
        3,
        _WRONG,
        False,
        3,
        None,
    )
    assert first.right_since is not None
    again = mark(gallery, "3")
    assert (again.already, again.right_since) == (True, first.right_since)
    assert right(gallery) == [3]
    assert gallery.matched() == ("Ada", 1.0)
    mark(gallery, "a.jpg")
    assert gallery.ask(RightReferences(limit=1)).ids == [1]
    assert gallery.ask(RightReferences(1, 1)).ids == [3]
    assert gallery.ask(RightReferences(3)).ids == []
    back = mark(gallery, "wrong.jpg", right=False)
    assert (back.already, back.right_since) == (False, None)
    assert mark(gallery, right=False).already
    assert right(gallery) == [1]
    after = (
        gallery.in_block(),
        [one.change_number for one in list_references(gallery.store)],
        gallery.store.change_number,
    )
    assert after == before


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (MarkReference("Nobody", _WRONG, right=True), "nobody of that name"),
        (MarkReference("Ada", "4", right=True), "no such reference of that person"),
        (MarkReference("Ada", "", right=False), "no such reference of that person"),
    ],
)
def test_what_there_is_not_is_refused(gallery: Gallery, request_: Request[Any], what: str) -> None:
    with pytest.raises(RefusedError, match=what):
        gallery.service.ask(request_)
    assert right(gallery) == []


# --- what its row goes through --------------------------------------------------------------------------------------


def test_another_photo_at_the_same_path_is_not_right_by_itself(gallery: Gallery) -> None:
    """Saved again with the same content the mark stays; with another one it goes, and that of the other reference stays."""
    mark(gallery)
    mark(gallery, "a.jpg")
    for vector, left in ((gallery.wrong[None], [1, 3]), (noise(_RNG, 1, DIM), [1])):
        gallery.ask(Save([NewReference("Ada", _WRONG, photo_digest="other")], vectors=vector))
        assert right(gallery) == left


def test_it_stays_right_when_renamed_set_aside_or_embedded_anew(gallery: Gallery) -> None:
    """Renamed and taken back; set aside and back in use; of another model."""
    mark(gallery)
    for request in (Rename("Ada", "Zed"), UndoPeople()):
        gallery.ask(request)
        assert right(gallery) == [3]
    assert gallery.set_aside().right_since is not None
    assert right(gallery) == [3]
    assert gallery.ask(BringBack("Ada", _WRONG)).right_since is not None
    found = list_references(gallery.store)
    model = ModelId("test", "other", "e" * 64, DIM)
    changes = [one.change_number or 0 for one in found]
    gallery.ask(Stage([one.id for one in found], changes, model.fingerprint, vectors=noise(_RNG, len(found), DIM)))
    gallery.ask(SwitchModel(model, []))
    assert right(gallery) == [3]


def test_merged_it_stays_right(gallery: Gallery) -> None:
    """Also when both people have the photo, so that one of the two is kept for undoing."""
    gallery.ask(Save([NewReference("Bo", "faces/Bo/same.jpg", photo_digest=_WRONG)], vectors=gallery.wrong[None]))
    mark(gallery)
    mark(gallery, "a.jpg")
    gallery.ask(Merge("Ada", "Bo"))
    assert right(gallery) == [1]
    gallery.ask(UndoPeople())
    assert right(gallery) == [1, 3]
    gallery.ask(Merge("Bo", "Ada"))
    assert right(gallery) == [1, 3]
    gallery.ask(UndoPeople())
    assert right(gallery) == [1, 3]


def test_given_to_somebody_else_it_is_not_right_by_itself(gallery: Gallery) -> None:
    """Another site says whose the reference is: that it is right was said of the person before."""
    mark(gallery)
    mark(gallery, "a.jpg")
    with gallery.store.transaction():
        people.give_rows(gallery.store, "Ada", [3], "Bo")
    assert [row for (row,) in rows(gallery.store, "SELECT embedding_id FROM right_references")] == [1]


def test_of_whoever_is_forgotten_nothing_is_left(gallery: Gallery, tmp_path: Path) -> None:
    """The marks go with the rows, from the table and from the file; of one photo, too."""
    mark(gallery)
    mark(gallery, "a.jpg")
    with gallery.store.transaction():
        gallery.store.connection.execute("UPDATE right_references SET since='canary-right'")
    gallery.ask(Forget("Ada", "faces/Ada/a.jpg"))
    assert right(gallery) == [3]
    gallery.ask(Forget("Ada"))
    assert right(gallery) == []
    found = bytes_under(gallery.folder, tmp_path / "scratch")
    assert not [name for name, content in found.items() if b"canary-right" in content]


# --- copies ---------------------------------------------------------------------------------------------------------


def _right_in(path: Path) -> list[int]:
    copy = open_read_only(path)
    try:
        assert store_faults(copy) == []
        return [row_id for (row_id,) in rows(copy, "SELECT embedding_id FROM right_references ORDER BY 1")]
    finally:
        copy.close()


def test_the_sites_own_backup_follows(gallery: Gallery) -> None:
    """A backup of the version before can't note it, which is no reason to remove it."""
    backup = backup_path(gallery.store.path)
    copy_to(gallery.store, backup)
    mark(gallery)
    assert _right_in(backup) == [3]
    mark(gallery, right=False)
    assert _right_in(backup) == []
    connection = sqlite3.connect(backup)
    connection.execute("DROP TABLE right_references")
    connection.execute("UPDATE store_facts SET value='8' WHERE key='schema_version'")
    connection.commit()
    mark(gallery)
    assert backup.exists()
    assert connection.execute("SELECT COUNT(*) FROM embeddings").fetchone() == (6,)
    connection.close()


def test_a_restore_takes_what_the_backup_has_and_keeps_what_was_said_since(gallery: Gallery, tmp_path: Path) -> None:
    """A mark that was made since is kept only if the backup has the same content: another photo was meant."""
    mark(gallery, "a.jpg")
    copy_to(gallery.store, tmp_path / "old.db")
    copy_of_backup(tmp_path / "old.db", tmp_path / "staged.db")
    assert _right_in(tmp_path / "staged.db") == [1]
    mark(gallery, "a.jpg", right=False)
    gallery.ask(Save([NewReference("Ada", "faces/Ada/b.jpg")], vectors=noise(_RNG, 1, DIM)))
    mark(gallery, "b.jpg")
    mark(gallery)
    gallery.service.restore(tmp_path / "staged.db")
    assert right(gallery) == [1, 3]
    assert gallery.service.check() == []


def test_of_a_foreign_backup_only_what_makes_sense_is_taken(gallery: Gallery, tmp_path: Path) -> None:
    """A time that is none, a reference that isn't there: these stay behind, and are counted."""
    mark(gallery, "a.jpg")
    copy_to(gallery.store, tmp_path / "odd.db")
    connection = sqlite3.connect(tmp_path / "odd.db")
    connection.executemany("INSERT INTO right_references VALUES (?, ?)", [(2, "soon"), (77, "2026-01-31T08:00:00Z")])
    connection.commit()
    connection.close()
    notes = copy_of_backup(tmp_path / "odd.db", tmp_path / "staged.db")
    assert "2 rows of right_references can't be read and stay behind" in notes
    assert _right_in(tmp_path / "staged.db") == [1]


def test_of_the_schema_before_everything_comes_along(tmp_path: Path) -> None:
    """Nothing is marked in it. What was set aside and what is kept for undoing a merge stay so; the merge is undone after it."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    write_version_8(path)
    before = everything(path)
    with store_in(tmp_path, said) as store:
        assert "schema 8 -> 9" in said[0]
        assert store_faults(store) == []
        after = everything(path)
        assert after.pop("right_references") == []
        assert after.pop("merged_references") == [(*row, None, None) for row in before.pop("merged_references")]
        assert after.pop("reference_facts") == [(*row, None) for row in before.pop("reference_facts")]
        assert dict(after.pop("store_facts")) == {**dict(before.pop("store_facts")), "schema_version": "9"}
        assert after == before
        assert len(before["set_aside"]) == 1
        with store.transaction():
            assert people.undo(store).restored == [1]
