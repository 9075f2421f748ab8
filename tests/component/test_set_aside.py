"""References that are set aside: their rows stay and follow everything that rows follow, and only what faces are matched against leaves
them out, until somebody brings them back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ConfigurationError, RefusedError
from shared.gallery.memory import MemoryGallery
from shared.gallery.publisher import GalleryPublisher
from shared.gallery.reader import GalleryReader
from shared.ipc.requests.base import Answer, Request
from shared.ipc.requests.forgetting import Forget, Forgotten
from shared.ipc.requests.model import Stage, SwitchModel
from shared.ipc.requests.people import Merge, Rename, UndoPeople
from shared.ipc.requests.references import BringBack, ReferenceState, Save, SetAside
from shared.model_id import ModelId
from shared.records import NewReference
from shared.service.scored_references import BY_HAND, scored_references
from shared.store.check import store_faults
from shared.store.copying import copy_to
from shared.store.loading import sound_batches, vectors_of_person
from shared.store.migration import copy_of_backup
from shared.store.opening import backup_path, open_read_only
from shared.store.references import find_cover, list_people, list_references, user_id_of
from shared.store.store import Store
from tests.conftest import SmallDisk
from tests.support.full_disks import fill
from tests.support.stores import DIM, rows, service_with, store_in
from tests.support.vectors import noise, unit

_RNG = np.random.default_rng(12)
_MODEL = ModelId("test", "other", "e" * 64, DIM)
_WRONG = "faces/Ada/wrong.jpg"


class Gallery:
    """A store with a block: Ada has three photos, of which one shows Bo; Bo has two, Cy one reference without a photo."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store, self.run_dir = folder, store, folder / "run"
        self.run_dir.mkdir(mode=0o700, exist_ok=True)
        self.publisher = GalleryPublisher(self.run_dir, DIM, "test/none", "f" * 64)
        self.service = service_with(store, self.publisher, folder)

    def enrol(self) -> None:
        ada, bo, cy = noise(_RNG, 3, DIM)
        photos = ["faces/Ada/a.jpg", "faces/Ada/b.jpg", _WRONG, "faces/Bo/a.jpg", "faces/Bo/b.jpg", None]
        names = [path.split("/")[1] if path else "Cy" for path in photos]
        users = {"Ada": "e-1"}
        new = [
            NewReference(name, path, users.get(name), photo_digest=path)
            for name, path in zip(names, photos, strict=True)
        ]
        self.vectors: NDArray[np.float32] = unit(
            np.stack([ada, ada, bo, bo, bo, cy]) + noise(_RNG, 6, DIM) * np.float32(0.3)
        )
        self.ask(Save(new, vectors=self.vectors))

    @property
    def wrong(self) -> NDArray[np.float32]:
        """What the wrong photo shows."""
        return self.vectors[2, :]

    def ask(self, request: Request[Any]) -> Any:
        answer: Answer = self.service.ask(request)
        assert self.service.check() == []
        return answer

    def set_aside(self, photo: str = _WRONG, reason: str = "it shows somebody else") -> ReferenceState:
        return self.ask(SetAside("Ada", photo, reason))  # type: ignore[no-any-return]  # as it is answered

    def matched(self, vector: NDArray[np.float32] | None = None) -> tuple[str, float]:
        """Who the wrong photo is taken for by the block; it must be the same without a block."""
        probe = self.wrong if vector is None else vector
        with GalleryReader(self.run_dir) as reader:
            (found,) = reader.match(probe[None], 1)
        memory = MemoryGallery(sound_batches(self.store, print), partial(user_id_of, self.store))
        assert [one[:2] for one in memory.match(probe[None], 1)[0]] == [one[:2] for one in found]
        return found[0].person, round(found[0].score, 3)

    def in_block(self) -> dict[str, list[int]]:
        """The row ids of everybody in the block."""
        found: dict[str, list[int]] = {}
        with GalleryReader(self.run_dir) as reader:
            for piece in reader.live_pieces():
                for name, row_id in zip(piece.names, piece.row_ids.tolist(), strict=True):
                    found.setdefault(name, []).append(row_id)
        return {name: sorted(ids) for name, ids in sorted(found.items())}

    def aside(self) -> dict[int, str | None]:
        """The ids of what is set aside, with the reasons."""
        return {one.id: one.set_aside_reason for one in list_references(self.store) if one.set_aside_since}

    def close(self) -> None:
        self.publisher.remove_block()
        self.publisher.close()


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with store_in(tmp_path) as store:
        one = Gallery(tmp_path, store)
        one.enrol()
        yield one
        one.close()


# --- what it does ---------------------------------------------------------------------------------------------------


def test_what_is_set_aside_is_not_matched_and_comes_back(gallery: Gallery) -> None:
    """The face is somebody else's at once, in the block and without one; the row stays, with its reason; brought back, it is matched."""
    assert gallery.matched() == ("Ada", 1.0)
    answer = gallery.set_aside()
    assert (answer.person, answer.id, answer.photo, answer.already, answer.in_use) == ("Ada", 3, _WRONG, False, 2)
    assert answer.reason == "it shows somebody else"
    assert gallery.matched()[0] == "Bo"
    assert gallery.in_block() == {"Ada": [1, 2], "Bo": [4, 5], "Cy": [6]}
    assert gallery.aside() == {3: "it shows somebody else"}
    assert [(one.person, one.references, one.set_aside) for one in list_people(gallery.store)] == [
        ("Ada", 3, 1),
        ("Bo", 2, 0),
        ("Cy", 1, 0),
    ]
    info = gallery.service.info()
    assert (info.references, info.set_aside, info.published_rows) == (6, 1, 5)
    back = gallery.ask(BringBack("Ada", "wrong.jpg"))
    assert (back.id, back.reason, back.since, back.already, back.in_use) == (3, answer.reason, answer.since, False, 3)
    assert gallery.matched() == ("Ada", 1.0)
    assert gallery.aside() == {}
    assert gallery.in_block()["Ada"] == [1, 2, 3]


def test_a_block_that_is_made_anew_leaves_it_out(gallery: Gallery) -> None:
    """Published as a whole, by the writer that runs and by the next one."""
    gallery.set_aside()
    told: list[tuple[int, int]] = []
    gallery.service.publish_everything(lambda *counts: told.append(counts))
    assert told[-1] == (5, 5)
    assert gallery.matched()[0] == "Bo"
    gallery.publisher.close()
    later = Gallery(gallery.folder, gallery.store)
    later.vectors = gallery.vectors
    assert later.matched()[0] == "Bo"
    assert later.service.check() == []
    later.ask(BringBack("Ada", _WRONG))
    assert later.matched() == ("Ada", 1.0)
    later.publisher.close()
    gallery.publisher = GalleryPublisher(gallery.run_dir, DIM, "test/none", "f" * 64)


def test_asked_again_it_is_answered_as_done(gallery: Gallery) -> None:
    """The reason and the time are the first ones, and nothing changes; the same for what is in use already."""
    first = gallery.set_aside()
    change = gallery.store.change_number
    again = gallery.set_aside(reason="another reason")
    assert (again.already, again.reason, again.since, again.in_use) == (True, first.reason, first.since, 2)
    assert gallery.store.change_number == change
    gallery.ask(BringBack("Ada", _WRONG))
    back = gallery.ask(BringBack("Ada", _WRONG))
    assert (back.already, back.reason, back.since, back.in_use) == (True, None, None, 3)


@pytest.mark.parametrize("photo", [_WRONG, "wrong.jpg", "3", "absolute"])
def test_a_reference_is_named_by_path_file_name_or_number(gallery: Gallery, photo: str) -> None:
    """As `forget --photo` takes it, or by the number that a list of them shows."""
    named = str(gallery.folder / _WRONG) if photo == "absolute" else photo
    assert gallery.set_aside(named).id == 3


def test_a_photo_called_like_a_number_is_the_photo(gallery: Gallery) -> None:
    """The number 3 is another reference's; the photo called 3 comes first."""
    gallery.ask(Save([NewReference("Ada", "3")], vectors=noise(_RNG, 1, DIM)))
    assert gallery.set_aside("3").id == 7


def test_in_one_group_the_last_word_counts(gallery: Gallery) -> None:
    """Saved, set aside and brought back within one transaction: the block holds what the store holds."""
    group = [SetAside("Ada", _WRONG, "x"), BringBack("Ada", _WRONG)]
    again = Save([NewReference("Ada", _WRONG)], vectors=gallery.wrong[None])
    for requests, is_used in (
        ([*group], True),
        ([*group, group[0]], False),
        ([group[1], again, group[0]], False),
        ([again, group[1], again], True),
        ([again, group[0], again], False),
    ):
        answers = gallery.service.write(requests)
        assert not [one for one in answers if isinstance(one, Exception)]
        assert gallery.service.check() == []
        assert (3 in gallery.in_block()["Ada"]) is is_used


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (SetAside("Nobody", _WRONG, "x"), "nobody of that name"),
        (SetAside("Ada", "other.jpg", "x"), "no such reference of that person"),
        (SetAside("Ada", "4", "x"), "no such reference of that person"),
        (SetAside("Ada", "", "x"), "no such reference of that person"),
        (SetAside("Cy", "6", "x"), "the last reference of that person"),
        (SetAside("Ada", _WRONG, " "), "not a reason"),
        (SetAside("Ada", _WRONG, "x" * 201), "not a reason"),
        (SetAside("Ada", _WRONG, "two\nlines"), "not a reason"),
        (SetAside("Ada", _WRONG, "\x1b[31m"), "not a reason"),
        (BringBack("Nobody", _WRONG), "nobody of that name"),
        (BringBack("Ada", "4"), "no such reference of that person"),
    ],
)
def test_what_can_not_be_is_refused_and_changes_nothing(gallery: Gallery, request_: Request[Any], what: str) -> None:
    """Each with its reason; a reason is 1 to 200 characters on one line."""
    before = gallery.aside(), gallery.in_block(), gallery.store.change_number
    with pytest.raises(RefusedError, match=what):
        gallery.service.ask(request_)
    assert (gallery.aside(), gallery.in_block(), gallery.store.change_number) == before
    assert gallery.set_aside(reason="x" * 200).reason == "x" * 200


def test_the_last_one_in_use_stays(gallery: Gallery) -> None:
    """Two of three are set aside; the third is refused with what to do instead, until one of the others is back."""
    for photo in ("a.jpg", "b.jpg"):
        gallery.set_aside(photo)
    with pytest.raises(RefusedError, match=r"forget the person instead .* or enrol another photo first"):
        gallery.set_aside()
    assert gallery.set_aside("a.jpg").already
    gallery.ask(BringBack("Ada", "a.jpg"))
    assert gallery.set_aside().in_use == 1


def test_a_row_that_was_damaged_meanwhile_does_not_come_back(gallery: Gallery) -> None:
    """It was not looked at since it was set aside: its checksum is compared before it is used."""
    gallery.set_aside()
    with gallery.store.transaction():
        gallery.store.connection.execute(
            "UPDATE embeddings SET embedding=? WHERE id=3", (noise(_RNG, 1, DIM).tobytes(),)
        )
    with pytest.raises(ConfigurationError, match="unsound"):
        gallery.service.ask(BringBack("Ada", _WRONG))
    assert 3 in gallery.aside()
    assert gallery.in_block()["Ada"] == [1, 2]


# --- what its row goes through --------------------------------------------------------------------------------------


def test_enrolled_again_it_stays_set_aside(gallery: Gallery) -> None:
    """The same photo, with the same vector or another; its person's new user id is in the block all the same."""
    gallery.set_aside()
    for vector in (gallery.wrong[None], noise(_RNG, 1, DIM)):
        gallery.ask(Save([NewReference("Ada", _WRONG, "e-2")], vectors=vector))
        assert gallery.in_block()["Ada"] == [1, 2]
        assert 3 in gallery.aside()
    with GalleryReader(gallery.run_dir) as reader:
        assert reader.user_ids()["Ada"] == "e-2"


def test_renamed_it_stays_set_aside(gallery: Gallery) -> None:
    """Under the new name, and undone."""
    gallery.set_aside()
    for request, name in ((Rename("Ada", "Zed"), "Zed"), (UndoPeople(), "Ada")):
        gallery.ask(request)
        assert gallery.in_block() == dict(sorted({name: [1, 2], "Bo": [4, 5], "Cy": [6]}.items()))
        assert list(gallery.aside()) == [3]


def test_merged_it_stays_set_aside(gallery: Gallery) -> None:
    """Of both people of a merge; also of a reference that both have, of which one is kept, when the merge is undone."""
    gallery.ask(Save([NewReference("Bo", "faces/Bo/same.jpg", photo_digest=_WRONG)], vectors=gallery.wrong[None]))
    gallery.set_aside()
    before = gallery.in_block(), gallery.aside()
    gallery.ask(Merge("Ada", "Bo"))
    assert (gallery.in_block(), gallery.aside()) == ({"Bo": [1, 2, 4, 5, 7], "Cy": [6]}, {})
    gallery.ask(UndoPeople())
    assert (gallery.in_block(), gallery.aside()) == before
    gallery.ask(Merge("Bo", "Ada"))
    assert (gallery.in_block(), list(gallery.aside())) == ({"Ada": [1, 2, 4, 5], "Cy": [6]}, [3])
    gallery.ask(UndoPeople())
    assert (gallery.in_block(), gallery.aside()) == before


def test_of_whoever_is_forgotten_nothing_is_left(gallery: Gallery) -> None:
    """The row that was set aside goes with the others, from the tables and from the file; of one photo, too."""
    gallery.set_aside(reason="a reason to look for")
    gallery.set_aside("a.jpg")
    gallery.ask(Forget("Ada", "faces/Ada/a.jpg"))
    assert list(gallery.aside()) == [3]
    answer = gallery.ask(Forget("Ada"))
    assert (answer.references, gallery.aside()) == (2, {})
    assert gallery.in_block() == {"Bo": [4, 5], "Cy": [6]}
    held = gallery.store.path.read_bytes()
    for trace in (b"a reason to look for", gallery.wrong.tobytes()[:48]):
        assert trace not in held


def test_a_forgotten_photo_can_leave_nobody_in_use(gallery: Gallery) -> None:
    """Nothing is brought back by itself: the answer warns that the person is not recognised any more, and the gallery is sound."""
    gallery.set_aside()
    gallery.set_aside("a.jpg")
    answer = gallery.ask(Forget("Ada", "b.jpg"))
    assert isinstance(answer, Forgotten)
    assert "Ada is not recognised any more" in (answer.warning or "")
    assert list(gallery.in_block()) == ["Bo", "Cy"]
    assert [(one.references, one.set_aside) for one in list_people(gallery.store)] == [(2, 2), (2, 0), (1, 0)]
    gallery.ask(BringBack("Ada", "a.jpg"))
    assert gallery.in_block()["Ada"] == [1]


@pytest.mark.parametrize(
    ("name", "reason", "stays"),
    [
        ("Bo", "it shows Bo", False),
        ("Bo", "it's BO's twin", False),
        ("Bo", "nearer to somebody else (0.520) than to its own (0.410)", True),
        ("Zo\u00eb", "like Zoe\u0308", False),
        ("\u7530\u4e2d", "\u3053\u308c\u306f\u7530\u4e2d\u3055\u3093", False),
    ],
)
def test_a_reason_does_not_keep_the_name_of_somebody_forgotten(
    gallery: Gallery, name: str, reason: str, stays: bool
) -> None:
    """The other person's name goes out of the reasons, in every spelling, also from a reference that is kept for undoing a merge. A word
    that only contains the name is another word."""
    gallery.ask(Rename("Bo", name)) if name != "Bo" else None
    gallery.ask(Save([NewReference("Cy", "faces/Cy/x.jpg", photo_digest=_WRONG)], vectors=gallery.wrong[None]))
    gallery.set_aside("a.jpg", reason)
    gallery.set_aside(_WRONG, reason)
    gallery.ask(Merge("Ada", "Cy"))
    gallery.ask(Forget(name))
    kept = [*gallery.aside().values(), rows(gallery.store, "SELECT set_aside_reason FROM merged_references")[0][0]]
    assert kept == [reason if stays else "the reason named somebody who was forgotten"] * 2


def test_another_model_changes_nothing_about_it(gallery: Gallery) -> None:
    """The reference is embedded anew like the others, and stays out; back in use, its new vector is matched."""
    gallery.set_aside()
    found = list_references(gallery.store)
    fresh = noise(_RNG, len(found), DIM)
    changes = [one.change_number or 0 for one in found]
    gallery.ask(Stage([one.id for one in found], changes, _MODEL.fingerprint, vectors=fresh))
    assert gallery.ask(SwitchModel(_MODEL, [])).references == 6
    assert gallery.in_block()["Ada"] == [1, 2]
    assert list(gallery.aside()) == [3]
    gallery.ask(BringBack("Ada", _WRONG))
    assert gallery.matched(fresh[2]) == ("Ada", 1.0)


def test_without_room_it_is_out_at_once_and_comes_back_later(
    tmp_path: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full shared memory: setting aside needs none, and what waits for room is brought in as it is stored then."""
    memory = small_disk("shm", 1024)
    monkeypatch.setenv("ROLLCALL_SHM_DIR", str(memory))
    with store_in(tmp_path) as store:
        one = Gallery(tmp_path, store)
        one.enrol()
        filler = fill(memory)
        many = [NewReference("Di", f"faces/Di/{number}.jpg", "e-2") for number in range(2000)]
        assert "not live yet" in (one.service.ask(Save(many, vectors=noise(_RNG, 2000, DIM))).warning or "")
        one.service.ask(SetAside("Ada", _WRONG, "x"))
        one.service.ask(SetAside("Di", "7.jpg", "x"))
        one.service.ask(Save([NewReference("Ada", _WRONG, "e-2")], vectors=one.wrong[None]))
        assert one.service.info().behind
        assert one.in_block()["Ada"] == [1, 2]
        filler.unlink()
        one.service.tick(float("inf"))
        assert not one.service.info().behind
        assert one.service.check() == []
        assert (len(one.in_block()["Di"]), one.in_block()["Ada"]) == (1999, [1, 2])
        with GalleryReader(one.run_dir) as reader:
            assert reader.user_ids()["Ada"] == "e-2"
        one.close()


# --- copies ---------------------------------------------------------------------------------------------------------


def _aside_in(path: Path) -> list[int]:
    copy = open_read_only(path)
    try:
        assert store_faults(copy) == []
        return [row_id for (row_id,) in rows(copy, "SELECT embedding_id FROM set_aside ORDER BY 1")]
    finally:
        copy.close()


def test_the_sites_own_backup_follows(gallery: Gallery) -> None:
    """A site that has to go on with its backup does not use the reference again by itself, nor leaves out one that was brought back."""
    backup = backup_path(gallery.store.path)
    copy_to(gallery.store, backup)
    gallery.set_aside()
    assert _aside_in(backup) == [3]
    gallery.ask(BringBack("Ada", _WRONG))
    assert _aside_in(backup) == []


def test_a_backup_of_the_version_before_stays(gallery: Gallery) -> None:
    """It can't note what is set aside, which is no reason to remove it: it is made anew soon. Whoever is forgotten goes from it."""
    backup = backup_path(gallery.store.path)
    copy_to(gallery.store, backup)
    connection = sqlite3.connect(backup)
    connection.execute("DROP TABLE set_aside")
    connection.execute("UPDATE store_facts SET value='4' WHERE key='schema_version'")
    connection.commit()
    gallery.set_aside()
    gallery.ask(Forget("Bo"))
    assert backup.exists()
    assert connection.execute("SELECT DISTINCT person_name FROM embeddings").fetchall() == [("Ada",), ("Cy",)]
    connection.close()


def test_a_restore_takes_what_the_backup_has_and_keeps_what_was_decided_since(gallery: Gallery, tmp_path: Path) -> None:
    """A reference that was set aside after the backup stays so, one that the backup has set aside is so again; both are counted."""
    gallery.set_aside("a.jpg", "before")
    copy_to(gallery.store, tmp_path / "old.db")
    copy_of_backup(tmp_path / "old.db", tmp_path / "staged.db")
    assert _aside_in(tmp_path / "staged.db") == [1]
    gallery.ask(BringBack("Ada", "a.jpg"))
    gallery.set_aside(reason="since")
    answer = gallery.service.restore(tmp_path / "staged.db")
    assert (answer.restored, answer.set_aside, answer.warning) == (6, 2, None)
    assert gallery.aside() == {1: "before", 3: "since"}
    assert gallery.in_block()["Ada"] == [2]
    assert gallery.service.check() == []


def test_of_a_foreign_backup_only_what_makes_sense_is_taken(gallery: Gallery, tmp_path: Path) -> None:
    """A reason that is too long, a time that is none, a reference that isn't there: these stay behind, and are counted."""
    gallery.set_aside("a.jpg", "sound")
    copy_to(gallery.store, tmp_path / "odd.db")
    connection = sqlite3.connect(tmp_path / "odd.db")
    day = "2026-01-31T08:00:00Z"
    odd = [(2, "x" * 201, day), (3, "x", "soon"), (4, "", day), (77, "x", day)]
    connection.executemany("INSERT INTO set_aside VALUES (?, ?, ?)", odd)
    connection.commit()
    connection.close()
    notes = copy_of_backup(tmp_path / "odd.db", tmp_path / "staged.db")
    assert "4 rows of set_aside can't be read and stay behind" in notes
    assert _aside_in(tmp_path / "staged.db") == [1]


# --- how a reference fits -------------------------------------------------------------------------------------------


def _scored(gallery: Gallery, person: str) -> list[tuple[int, float | None, str | None, float | None]]:
    references = list_references(gallery.store, person)
    with GalleryReader(gallery.run_dir) as reader:
        found = scored_references(references, vectors_of_person(gallery.store, person), reader, {})
    return [(one.reference.id, one.own, one.other_person, one.other) for one in found]


def _wanted(gallery: Gallery, number: int, own: list[int], others: dict[str, list[int]]) -> tuple[Any, ...]:
    """The same by brute force; the references by their numbers, from 1."""
    scores = gallery.vectors @ gallery.vectors[number - 1]
    best = {name: max(scores[one - 1] for one in numbers) for name, numbers in others.items()}
    person = max(best, key=lambda name: best[name])
    mine = pytest.approx(max(scores[one - 1] for one in own), abs=1e-5) if own else None
    return number, mine, person, pytest.approx(best[person], abs=1e-5)


def test_each_reference_is_compared_with_its_persons_others_and_with_everybody_else(gallery: Gallery) -> None:
    """Exact scores; what is set aside is scored like the others, and nothing is scored with it."""
    others = {"Bo": [4, 5], "Cy": [6]}
    assert _scored(gallery, "Ada") == [
        _wanted(gallery, 1, [2, 3], others),
        _wanted(gallery, 2, [1, 3], others),
        _wanted(gallery, 3, [1, 2], others),
    ]
    gallery.set_aside()
    gallery.set_aside("a.jpg")
    assert _scored(gallery, "Ada") == [
        _wanted(gallery, 1, [2], others),
        _wanted(gallery, 2, [], others),
        _wanted(gallery, 3, [2], others),
    ]
    assert _scored(gallery, "Cy") == [_wanted(gallery, 6, [], {"Ada": [2], "Bo": [4, 5]})]


def test_many_references_are_scored_in_pieces(gallery: Gallery) -> None:
    """More than are compared at once: each is still not compared with itself."""
    fresh = noise(_RNG, 150, DIM)
    new = [NewReference("Di", f"faces/Di/{number}.jpg") for number in range(len(fresh))]
    gallery.ask(Save(new, vectors=fresh))
    scores = fresh @ fresh.T
    np.fill_diagonal(scores, -1)
    assert [own for _, own, _, _ in _scored(gallery, "Di")] == pytest.approx(scores.max(axis=1).tolist(), abs=1e-5)


def test_the_remark_says_whom_it_is_nearer_to_and_the_reason_does_not(gallery: Gallery) -> None:
    """Only the photo that shows Bo stands out. The reason is kept with Ada, and so it must not have Bo's name."""
    references, vectors = list_references(gallery.store, "Ada"), vectors_of_person(gallery.store, "Ada")
    with GalleryReader(gallery.run_dir) as reader:
        first, second, wrong = scored_references(references, vectors, reader, {})
    assert (first.remark, first.reason, second.remark, second.reason) == (None, BY_HAND, None, BY_HAND)
    scores = f"({wrong.other:.3f}) than to its own ({wrong.own:.3f})"
    assert (wrong.remark, wrong.reason) == (f"nearer to Bo {scores}", f"nearer to somebody else {scores}")


def test_a_reference_that_names_somebody_wrongly_again_and_again_stands_out(gallery: Gallery) -> None:
    """Once is chance; from the second time on it is remarked on, beside what else is wrong with it."""
    references, vectors = list_references(gallery.store, "Ada"), vectors_of_person(gallery.store, "Ada")
    first, second, wrong = (one.id for one in references)
    with GalleryReader(gallery.run_dir) as reader:
        scored = scored_references(references, vectors, reader, {first: 1, second: 2, wrong: 3})
    assert [one.named_wrongly for one in scored] == [1, 2, 3]
    assert scored[0].remark is None
    assert scored[1].remark == scored[1].reason == "named somebody wrongly 2 times"
    assert str(scored[2].remark).endswith(f"than to its own ({scored[2].own:.3f}), named somebody wrongly 3 times")


def test_a_person_alone_has_no_scores(tmp_path: Path) -> None:
    """No other reference of the person's, and nobody else: nothing stands out."""
    with store_in(tmp_path) as store:
        one = Gallery(tmp_path, store)
        one.ask(Save([NewReference("Ada", "a.jpg")], vectors=noise(_RNG, 1, DIM)))
        assert _scored(one, "Ada") == [(1, None, None, None)]
        one.close()


def test_the_cover_is_a_photo_in_use_if_there_is_one(gallery: Gallery) -> None:
    """The first; one that is set aside only if no other has a photo; none of somebody without a photo; nobody of an unknown id."""
    ids = {one.person: one.id or "" for one in list_people(gallery.store)}

    def cover(person: str) -> tuple[bool, str | None]:
        is_known, reference = find_cover(gallery.store, ids.get(person, "nobody"))
        return is_known, None if reference is None else reference.image_path

    photos = [one.image_path for one in list_references(gallery.store, "Ada")]
    assert cover("Ada") == (True, photos[0])
    gallery.ask(SetAside("Ada", str(photos[0]), BY_HAND))
    assert cover("Ada") == (True, photos[1])
    assert cover("Cy") == (True, None)
    assert cover("Nobody") == (False, None)
