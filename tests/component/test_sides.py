"""From which side a photo shows a face: measured from real faces, kept with the reference through everything its row goes through."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.errors import RefusedError
from shared.ipc.requests.model import Stage, SwitchModel
from shared.ipc.requests.people import Merge, UndoPeople
from shared.ipc.requests.references import OneSided, Save, SetAside
from shared.model_id import ModelId
from shared.photos.reading import read_photo
from shared.records import SIDE_FROM, NewReference, Side
from shared.store.copying import copy_to
from shared.store.migration import copy_of_backup
from shared.store.references import list_references
from tests.component.test_set_aside import Gallery
from tests.support.paths import FACES, SMALL_PACK, needs_data, needs_dlib
from tests.support.stores import DIM, rows, store_in
from tests.support.vectors import noise
from workers.photos.embedding import embed_image
from workers.recognition.engine import Engine
from workers.recognizer_arcface import ArcFaceEngine
from workers.recognizer_dlib import DlibEngine

_RNG = np.random.default_rng(8)
_WRONG = "faces/Ada/wrong.jpg"


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with store_in(tmp_path) as store:
        one = Gallery(tmp_path, store)
        one.enrol()
        yield one
        one.close()


def turns(gallery: Gallery) -> dict[int, float]:
    """The turns that are known, by id; the lists tell the sides of these."""
    found = dict(rows(gallery.store, "SELECT embedding_id, turn FROM reference_facts WHERE turn IS NOT NULL"))
    assert {one.id for one in list_references(gallery.store) if one.side is not None} == found.keys()
    return found


def save(gallery: Gallery, name: str, photo: str | None, turn: float | None, digest: str | None = None) -> int:
    """Save a reference of noise. Returns its id."""
    row = NewReference(name, photo, photo_digest=digest or photo, turn=turn)
    ids: list[int] = gallery.ask(Save([row], vectors=noise(_RNG, 1, DIM))).ids
    return ids[0]


def one_sided(gallery: Gallery) -> list[tuple[int, Side, int]]:
    return [(one.reference, one.side, one.references) for one in gallery.ask(OneSided()).people]


# --- real faces -----------------------------------------------------------------------------------------------------


@needs_dlib
@needs_data
def test_both_engines_see_from_which_side_a_face_is() -> None:
    """A photo and its mirror image are turned as far, to opposite sides. What dlib takes for a turned head is turned as far by the other
    engine's points."""
    engines: list[Engine] = [DlibEngine(det_size=640), ArcFaceEngine(SMALL_PACK, det_size=320, threads=1)]
    left, right = FACES / "lfw_dev" / "people" / "Don_Nickles", FACES / "lfw_mini" / "Fujio_Cho"
    photos = [(one, -1) for one in sorted(left.iterdir())] + [(right / f"Fujio_Cho_000{n}.jpg", 1) for n in (3, 5)]
    for photo, side in photos:
        image = read_photo(photo)
        found = [embed_image(engine, image).turn for engine in engines]
        mirrored = [embed_image(engine, np.ascontiguousarray(image[:, ::-1])).turn for engine in engines]
        assert min(side * one for one in found) > SIDE_FROM
        assert max(side * one for one in mirrored) < -SIDE_FROM
        assert np.abs(np.array(found) + mirrored).max() < 0.1
        assert abs(found[0] - found[1]) < 0.15


# --- what its row goes through --------------------------------------------------------------------------------------


def test_it_is_kept_until_the_photo_is_another(gallery: Gallery) -> None:
    """Saved again without it, the same content keeps it; another content does not, and has its own if that is known."""
    vector = noise(_RNG, 1, DIM)
    for given, turn, wanted in (
        (vector, 0.2, 0.2),
        (vector, None, 0.2),
        (vector, -0.3, -0.3),
        (noise(_RNG, 1, DIM), None, None),
        (noise(_RNG, 1, DIM), 0.1, 0.1),
    ):
        gallery.ask(Save([NewReference("Ada", _WRONG, turn=turn)], vectors=given))
        assert turns(gallery).get(3) == wanted


@pytest.mark.parametrize("turn", [2.5, -math.inf, math.nan])
def test_what_no_head_can_do_is_refused(gallery: Gallery, turn: float) -> None:
    with pytest.raises(RefusedError, match="not a turn of a head"):
        gallery.service.ask(Save([NewReference("Ada", "x.jpg", turn=turn)], vectors=noise(_RNG, 1, DIM)))
    stage = Stage([1], [1], "e" * 64, [turn], vectors=noise(_RNG, 1, DIM))
    with pytest.raises(RefusedError, match="not a turn of a head"):
        gallery.service.ask(stage)


def test_it_comes_back_with_a_merge_that_is_taken_back(gallery: Gallery) -> None:
    """Of the reference that both had, and of the others."""
    first, second = save(gallery, "Di", "faces/Di/1.jpg", 0.3, "same"), save(gallery, "Di", "faces/Di/2.jpg", -0.3)
    save(gallery, "Bo", "faces/Bo/9.jpg", None, "same")
    gallery.ask(Merge("Di", "Bo"))
    assert turns(gallery) == {second: -0.3}
    gallery.ask(UndoPeople())
    assert turns(gallery) == {first: 0.3, second: -0.3}


def test_a_restore_brings_it_back_and_takes_none_that_is_none(gallery: Gallery, tmp_path: Path) -> None:
    """As the backup has it; a foreign one can hold anything."""
    one = save(gallery, "Di", "faces/Di/1.jpg", 0.3)
    other = save(gallery, "Di", "faces/Di/2.jpg", 0.4)
    copy_to(gallery.store, tmp_path / "old.db")
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.execute("UPDATE reference_facts SET turn='left' WHERE embedding_id=?", (other,))
    connection.commit()
    connection.close()
    copy_of_backup(tmp_path / "old.db", tmp_path / "staged.db")
    gallery.ask(Save([NewReference("Di", "faces/Di/1.jpg")], vectors=noise(_RNG, 1, DIM)))
    assert turns(gallery) == {other: 0.4}
    gallery.service.restore(tmp_path / "staged.db")
    assert turns(gallery) == {one: 0.3}


def test_another_model_has_measured_it_anew(gallery: Gallery) -> None:
    """What is staged with the new embedding counts, also that it is not known."""
    save(gallery, "Di", "faces/Di/1.jpg", 0.3)
    found = list_references(gallery.store)
    ids, changes = [one.id for one in found], [one.change_number or 0 for one in found]
    given: list[float | None] = [0.5, *[None] * (len(ids) - 1)]
    gallery.ask(Stage(ids, changes, "e" * 64, given, vectors=noise(_RNG, len(ids), DIM)))
    gallery.ask(SwitchModel(ModelId("test", "other", "e" * 64, DIM), []))
    assert turns(gallery) == {1: 0.5}


# --- people of one side ---------------------------------------------------------------------------------------------


def test_people_who_are_always_turned_to_one_side_are_found(gallery: Gallery) -> None:
    """At least two pictures, none from the front or the other side, and none of which it is not known; a face that was learned has no photo,
    and doesn't count. What is set aside is not looked at. The newest come first."""
    for number, turn in enumerate((-0.15, -0.4)):
        save(gallery, "Left", f"faces/Left/{number}.jpg", turn)
    for number, turn in enumerate((0.2, 0.3)):
        last = save(gallery, "Right", f"faces/Right/{number}.jpg", turn)
    others: dict[str, tuple[float | None, ...]] = {
        "Front": (0.1, -0.1), "Both": (0.3, -0.3), "Nearly": (0.3, 0.14), "One": (0.3,), "Unknown": (0.3, 0.3, None),
    }  # fmt: skip  # one table
    for name, given in others.items():
        for number, other in enumerate(given):
            save(gallery, name, f"faces/{name}/{number}.jpg", other)
    for _ in range(2):
        save(gallery, "Copies", f"faces/Copies/{_}.jpg", 0.3, "copy")
    assert [(side, count) for _, side, count in one_sided(gallery)] == [(Side.RIGHT, 2), (Side.LEFT, 2)]
    assert one_sided(gallery)[0][0] == last
    learned = save(gallery, "Right", None, None)
    assert one_sided(gallery)[0] == (learned, Side.RIGHT, 3)
    gallery.ask(SetAside("Nearly", "1.jpg", "x"))
    gallery.ask(SetAside("Left", "1.jpg", "x"))
    assert [side for _, side, _ in one_sided(gallery)] == [Side.RIGHT]
    save(gallery, "Right", "faces/Right/9.jpg", 0.0)
    assert one_sided(gallery) == []
