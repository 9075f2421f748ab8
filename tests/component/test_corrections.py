"""Sightings that a person corrected: what is kept for it, what the block and the matches make of it, and how all of it goes again."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import RefusedError
from shared.events import Sighting
from shared.gallery.files import remove_left_behind, segment_path
from shared.gallery.negatives import negative_row, negative_text
from shared.gallery.publisher import Batch, GalleryPublisher
from shared.gallery.reader import GalleryReader
from shared.ipc.requests.base import Answer_co, Request
from shared.ipc.requests.corrections import Corrections, ForgetCorrection, Judged, Right, UndoCorrection, Wrong
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.model import Stage, Stamp, SwitchModel
from shared.ipc.requests.people import Merge, Rename, UndoPeople
from shared.ipc.requests.references import BringBack, Delete, Save, SetAside
from shared.ipc.requests.sightings import Record
from shared.ipc.requests.strangers import ForgetStranger
from shared.model_id import ModelId
from shared.records import NewReference
from shared.service.service import StoreService
from shared.settings.schema import SiteSettings
from shared.store import corrections, sighting_probes
from shared.store.copying import copy_to
from shared.store.migration import copy_of_backup
from shared.store.opening import backup_path, open_read_only
from shared.store.references import list_people, list_references
from shared.store.store import Store
from tests.support.blocks import held_bytes
from tests.support.stores import (
    Failing,
    FailingConnection,
    InterruptedConnection,
    bytes_under,
    everything,
    fail_everywhere,
    rows,
    service_of,
    silent,
    store_in,
)
from tests.support.stranger_events import seen, trace
from tests.support.vectors import noise, unit
from workers.recognition.working_point import WorkingPoint

DIM = 64
MODEL = "f" * 64
POINT = WorkingPoint(0.45, 0.05)
Vector = NDArray[np.float32]


def like(vector: Vector, cosine: float, seed: int = 0) -> Vector:
    """(dim,): a face with this cosine to `vector`."""
    other = noise(np.random.default_rng(seed), 1, len(vector))[0]
    across = unit((other - (other @ vector) * vector)[None])[0]
    face: Vector = unit((cosine * vector + np.sqrt(1 - cosine * cosine) * across)[None].astype(np.float32))[0]
    return face


def face_between(first: Vector, to_first: float, second: Vector, to_second: float, seed: int = 0) -> Vector:
    """(dim,): a face with these cosines to two vectors that are at right angles."""
    other = noise(np.random.default_rng(seed), 1, len(first))[0]
    across = unit((other - (other @ first) * first - (other @ second) * second)[None])[0]
    rest = np.sqrt(1 - to_first**2 - to_second**2)
    face: Vector = unit((to_first * first + to_second * second + rest * across)[None].astype(np.float32))[0]
    return face


def named_by(vector: Vector, person: str | None, track: int, **fields: Any) -> Record:
    """A camera named this person by this face."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}"
    event = {"key": f"k{track}", "event": "named", "time": now, "camera": "door", "track": track, "person": person}
    probe = base64.b64encode(vector.astype("<f4").tobytes()).decode()
    private = {"probe": probe, "nearest": person, "clear": True, "fingerprint": MODEL, "alike": 0.45}
    return Record([{**event, **private, **fields}])


ADA, BO, CY = np.eye(3, DIM, dtype=np.float32)


ENROLMENT: tuple[Request[Any], ...] = (
    Stamp(ModelId.parse("test/none", MODEL, DIM)),
    Save([NewReference(name, f"faces/{name}/1.jpg") for name in ("Ada", "Bo", "Cy")], vectors=np.stack([ADA, BO, CY])),
)


class Site:
    """A store with a block; Ada, Bo and Cy are enrolled, at right angles."""

    def __init__(self, folder: Path, store: Store, **settings: Any) -> None:
        self.folder, self.store, self.run_dir = folder, store, folder / "run"
        self.run_dir.mkdir(mode=0o700, exist_ok=True)
        self.publisher = GalleryPublisher(self.run_dir, DIM, "test/none", MODEL)
        site = SiteSettings(name="s", **settings)
        self.service = StoreService(store, self.publisher, site=site, data_dir=folder, say=silent)
        self.service.begin()
        self.service.publish_everything()
        self._tracks = 0

    def enrol(self) -> None:
        for request in ENROLMENT:
            self.ask(request)

    def ask(self, request: Request[Answer_co]) -> Answer_co:
        return self.service.ask(request)

    def seen(self, vector: Vector, person: str | None = "Ada", **fields: Any) -> int:
        """Somebody with this face is named; the id of the event."""
        self._tracks += 1
        self.ask(named_by(vector, person, self._tracks, **fields))
        return self.store.sightings.last_id()

    def wrong(self, vector: Vector, person: str = "Ada") -> tuple[int, Judged]:
        event = self.seen(vector, person)
        return event, self.ask(Wrong(event))

    def named(self, vector: Vector) -> str | None:
        """Whom a camera and `identify` would name by this face."""
        with GalleryReader(self.run_dir) as reader:
            (found,) = reader.match(vector[None])
        return POINT.names(POINT.standing(found))

    def told(self) -> list[Sighting]:
        return [one for one in self.store.sightings.since() if one.event == "corrected"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    data = tmp_path / "data"
    data.mkdir()
    with store_in(data) as store:
        one = Site(data, store)
        one.enrol()
        yield one
        one.publisher.close()
    remove_left_behind(data / "run")


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_a_probe_is_kept_beside_its_sighting(site: Site) -> None:
    """With whom it was taken for, and no longer than the sighting; nothing of it is in the sighting's document."""
    event = site.seen(like(ADA, 0.6))
    probe = sighting_probes.probe_of(site.store, event)
    assert probe is not None
    assert (probe.person, probe.clear, probe.fingerprint) == ("Ada", True, MODEL)
    assert probe.vector @ ADA == pytest.approx(0.6, abs=1e-6)
    assert [one.probe for one in site.service.new_sightings] == [None]
    (document,) = rows(site.store, "SELECT document FROM sightings WHERE id=?", event)[0]
    assert "probe" not in document
    assert "nearest" not in document
    site.store.connection.execute("DELETE FROM sightings WHERE id=?", (event,))
    assert sighting_probes.probe_of(site.store, event) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"probe": None},
        {"probe": "no base64"},
        {"probe": base64.b64encode(bytes(4 * DIM)).decode()},
        {"probe": base64.b64encode(ADA[:9].tobytes()).decode()},
        {"probe": base64.b64encode(np.full(DIM, np.nan, "<f4").tobytes()).decode()},
        {"fingerprint": "e" * 64},
        {"fingerprint": None},
        {"alike": None},
        {"alike": 1.5},
        {"nearest": None},
        {"nearest": "Nobody"},
    ],
    ids=str,
)
def test_a_sighting_without_a_usable_probe_is_kept_all_the_same(site: Site, fields: dict[str, Any]) -> None:
    """Malformed, of another model, or of nobody who is enrolled: only the sighting is stored."""
    event = site.seen(ADA, **fields)
    assert site.store.sightings.find(event) is not None
    assert sighting_probes.probe_of(site.store, event) is None


def test_a_site_that_keeps_none_keeps_none(tmp_path: Path) -> None:
    """keep_crops_days = 0: no probe is stored, and those of before are deleted at the start."""
    with store_in(tmp_path) as store:
        for days, kept in ((7, 1), (0, 0)):
            one = Site(tmp_path, store, keep_crops_days=days)
            assert rows(store, "SELECT COUNT(*) FROM sighting_probes") == [(0,)]
            if days:
                one.enrol()
            one.seen(ADA, key=f"of {days}")
            assert rows(store, "SELECT COUNT(*) FROM sighting_probes") == [(kept,)]
            one.publisher.close()
    remove_left_behind(tmp_path / "run")


def test_probes_and_corrections_go_when_their_time_is_over(site: Site) -> None:
    """A probe after keep_crops_days, a correction after keep_corrections_days, and its face leaves the block; a clock that has just
    jumped deletes nothing, and what is dated ahead counts from now."""
    face = like(ADA, 0.6)
    event, _ = site.wrong(face)
    now = datetime.now(UTC)
    site.service.purge(now, 0.0)
    site.service.purge(now + timedelta(days=400), 10.0)
    assert rows(site.store, "SELECT (SELECT COUNT(*) FROM sighting_probes), (SELECT COUNT(*) FROM corrections)") == [
        (1, 1)
    ]
    left = []
    for day in (0, 2, 4, 6, 8):
        site.service.purge(now + timedelta(days=day), 20.0 + 86400.0 * day)
        left.append(sighting_probes.probe_of(site.store, event) is not None)
    assert left == [True, True, True, True, False]
    assert site.named(face) is None
    with site.store.transaction():
        site.store.connection.execute("UPDATE corrections SET made_at='2099-01-01T00:00:00.000000Z'")
    for day in range(10, 374, 2):
        site.service.purge(now + timedelta(days=day), 20.0 + 86400.0 * day)
    assert [one.sighting for one in site.ask(Corrections()).corrections] == [event]
    for day in range(374, 380, 2):
        site.service.purge(now + timedelta(days=day), 20.0 + 86400.0 * day)
    assert site.ask(Corrections()).corrections == []
    assert face.tobytes() not in held_bytes(segment_path(site.run_dir, site.publisher.generation))
    assert site.named(face) == "Ada"
    assert site.service.check() == []


def test_the_oldest_probes_go_when_there_are_too_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are kept."""
    monkeypatch.setattr(sighting_probes, "MAX_PROBES", 3)
    events = [site.seen(ADA) for _ in range(5)]
    site.service.purge()
    assert rows(site.store, "SELECT sighting FROM sighting_probes ORDER BY 1") == [(one,) for one in events[2:]]


# --- wrong ----------------------------------------------------------------------------------------------------------


def test_the_same_face_is_withheld_and_others_are_named(site: Site) -> None:
    """From the answer on, for every reader; it is told to those who follow; taken back, it is named again."""
    face, again = like(ADA, 0.6), like(like(ADA, 0.6), 0.8, seed=5)
    assert site.named(again) == "Ada"
    event, answer = site.wrong(face)
    assert (answer.judged, answer.person, answer.already, answer.against_all) == ("wrong", "Ada", False, True)
    assert (answer.photo, answer.looks_like) == ("faces/Ada/1.jpg", None)
    assert (site.named(face), site.named(again), site.named(ADA), site.named(BO)) == (None, None, "Ada", "Bo")
    (told,) = site.service.new_sightings
    assert (told.event, told.corrects, told.judged, told.person) == ("corrected", event, "wrong", "Ada")
    assert (told.camera, told.track) == ("door", 1)
    assert site.ask(Wrong(event)) == Judged(**{**vars(answer), "already": True})
    assert len(site.told()) == 1
    undone = site.ask(UndoCorrection(event))
    assert (undone.judged, undone.person, undone.unlearned) == ("wrong", "Ada", 0)
    assert (site.named(face), site.named(again)) == ("Ada", "Ada")
    assert [one.judged for one in site.told()] == ["wrong", "undone"]
    with pytest.raises(RefusedError, match="not judged"):
        site.ask(UndoCorrection(event))
    assert site.service.check() == []


def test_a_face_that_is_somebody_elses_is_withheld_from_the_wrong_person_only(site: Site) -> None:
    """Bo was taken for Ada: that face is Bo's from now on, and Ada is still Ada."""
    face = face_between(ADA, 0.56, BO, 0.5)
    assert site.named(face) == "Ada"
    _, answer = site.wrong(face)
    assert (answer.against_all, answer.looks_like) == (False, "Bo")
    assert (site.named(face), site.named(ADA), site.named(BO)) == ("Bo", "Ada", "Bo")


def test_a_stranger_who_is_enrolled_after_a_correction_is_named(site: Site) -> None:
    """The face is narrowed to the wrong person in the same step, and the others stay withheld."""
    face, other = like(ADA, 0.6), like(ADA, 0.6, seed=9)
    site.wrong(face)
    site.wrong(other)
    assert site.named(face) is None
    saved = site.ask(Save([NewReference("Di")], vectors=like(face, 0.7, seed=3)[None]))
    assert saved.warning is None
    assert [one.against_all for one in site.ask(Corrections()).corrections] == [False, True]
    assert (site.named(face), site.named(other)) == ("Di", None)
    assert site.service.check() == []


def test_whoever_is_brought_back_is_named_again(site: Site) -> None:
    """A reference that was set aside when a face was judged wrong, and resembles that face: once it is used again, the face is its
    person's, as if the reference was new."""
    face = like(ADA, 0.6)
    site.ask(Save([NewReference("Bo", "faces/Bo/2.jpg")], vectors=like(face, 0.7, seed=3)[None]))
    site.ask(SetAside("Bo", "faces/Bo/2.jpg", "blurred"))
    site.wrong(face)
    assert site.named(face) is None
    site.ask(BringBack("Bo", "faces/Bo/2.jpg"))
    assert site.named(face) == "Bo"
    assert site.service.check() == []


def test_a_new_photo_of_the_very_person_warns(site: Site) -> None:
    """The correction stands against it: the answer says how to take it back."""
    face = like(ADA, 0.6)
    event, _ = site.wrong(face)
    saved = site.ask(Save([NewReference("Ada", "faces/Ada/2.jpg")], vectors=like(face, 0.8)[None]))
    assert f"wrong --undo {event}" in str(saved.warning)


def test_a_verdict_does_not_read_the_gallery_from_the_file(site: Site) -> None:
    """With 5,000 people enrolled it takes hardly more of SQLite's instructions than with three: meanwhile the writer answers nobody."""

    def instructions(request: Request[Any]) -> int:
        counted = itertools.count()
        site.store.connection.set_progress_handler(lambda: next(counted) * 0, 100)
        site.ask(request)
        site.store.connection.set_progress_handler(None, 0)
        return next(counted)

    events = [site.seen(like(ADA, 0.6, seed=i)) for i in range(4)]
    few = instructions(Wrong(events[0])), instructions(Right(events[1], learn=True))
    crowd = noise(np.random.default_rng(2), 5000, DIM)
    site.ask(Save([NewReference(f"P{i}", f"faces/P{i}/1.jpg") for i in range(5000)], vectors=crowd))
    many = instructions(Wrong(events[2])), instructions(Right(events[3], learn=True))
    assert max(many) < 2 * max(few)


@pytest.mark.parametrize("seed", range(8))
def test_a_verdict_is_the_same_from_the_block_as_from_the_file(site: Site, tmp_path: Path, seed: int) -> None:
    """Whom a face looks like, and by which reference it was named: also after changes in the same group, which are not published yet."""
    rng = np.random.default_rng(seed)
    crowd = unit(noise(rng, 3, DIM)[rng.integers(0, 3, 60)] + 0.9 * noise(rng, 60, DIM))
    people = [f"P{number}" for number in rng.integers(0, 12, 60)]
    face = unit(crowd[:1] + 0.5 * noise(rng, 1, DIM))[0]
    near = list(dict.fromkeys(people[place] for place in np.argsort(-(crowd @ face)) if people[place] != people[0]))
    shown = [f"faces/{name}/{place}.jpg" for place, name in enumerate(people)]
    best = {
        people[place]: shown[place] for place in np.argsort(crowd @ face)
    }  # of each person the photo most like the face
    group: list[Request[Any]] = [
        Save(
            [NewReference("New", f"faces/New/{i}.jpg") for i in range(2)],
            vectors=like(face, 0.7 + seed / 50)[None].repeat(2, 0),
        ),
        Delete(near[1], best[near[1]]),
        Rename(near[0], "Renamed"),
        SetAside(near[3], best[near[3]], "a test"),
        BringBack(near[2], best[near[2]]),
        Merge(near[4], "Cy"),
        Delete("New"),
        Delete("Renamed"),
    ]
    chosen = [one for one, is_chosen in zip(group, rng.random(len(group)) < 0.5, strict=True) if is_chosen]
    with store_in(tmp_path / "other") as store:
        plain = service_of(store, tmp_path / "other")
        answers = []
        for request in ENROLMENT:
            plain.ask(request)
        for service in (site.service, plain):
            service.ask(Save([NewReference(*one) for one in zip(people, shown, strict=True)], vectors=crowd))
            service.ask(SetAside(near[2], best[near[2]], "a test"))
            service.ask(named_by(face, people[0], 1))
            answers.append(service.write([*chosen, Wrong(service.store.sightings.last_id())])[-1])
    first, second = answers
    assert isinstance(first, Judged)
    assert isinstance(second, Judged)
    assert (first.looks_like, first.against_all, first.photo) == (second.looks_like, second.against_all, second.photo)
    assert site.service.check() == []


def test_what_can_t_be_corrected_is_refused(site: Site) -> None:
    """No such event, one of nobody, a face that is no longer kept, a person who is gone: each in words."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}"
    site.ask(Record([{"key": "up", "event": "camera_up", "time": now, "camera": "door"}]))
    of_camera = site.store.sightings.last_id()
    gone = site.seen(ADA, probe=None)
    nobody = site.seen(ADA, None, probe=None, event="left", verdict="unknown")
    for request in (Wrong, Right):
        for event, said in (
            (10_000, "no such event"),
            (0, "no such event"),
            (of_camera, "nothing to correct"),
            (nobody, "nothing to correct"),
            (gone, "no longer kept"),
        ):
            with pytest.raises(RefusedError, match=said):
                site.ask(request(event))
    purged = site.seen(ADA)
    site.store.connection.execute("DELETE FROM sightings WHERE id=?", (purged,))
    with pytest.raises(RefusedError, match="no longer kept"):
        site.ask(Wrong(purged))
    assert site.told() == []


def test_there_are_not_more_corrections_than_a_limit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is refused with the remedy; one that is judged again is not one more."""
    monkeypatch.setattr(corrections, "MAX_CORRECTIONS", 2)
    (event, _), _ = site.wrong(like(ADA, 0.6)), site.wrong(like(ADA, 0.7))
    with pytest.raises(RefusedError, match="wrong --undo"):
        site.wrong(like(ADA, 0.8))
    assert site.ask(Right(event)).judged == "right"
    assert site.service.check() == []


# --- right ----------------------------------------------------------------------------------------------------------


def near_miss(site: Site, vector: Vector, **fields: Any) -> int:
    return site.seen(vector, None, **{"event": "left", "verdict": "uncertain", "nearest": "Ada", **fields})


def test_a_near_miss_is_learned_when_a_human_says_so(site: Site) -> None:
    """The face is a reference then; recognition alone adds none, nor does `right` without it; taken back, the reference goes."""
    face = like(ADA, 0.43)
    event = near_miss(site, face)
    assert site.named(face) is None
    assert site.ask(Right(event)).reference is None
    assert len(list_references(site.store, "Ada")) == 1
    learned = site.ask(Right(event, learn=True))
    assert (learned.judged, learned.person, learned.already) == ("right", "Ada", False)
    assert learned.reference is not None
    assert site.named(face) == "Ada"
    assert site.ask(Right(event, learn=True)).already
    assert len(list_references(site.store, "Ada")) == 2
    assert site.ask(UndoCorrection(event)).unlearned == 1
    assert site.named(face) is None
    assert [one.judged for one in site.told()] == ["right", "right", "undone"]
    assert site.service.check() == []


@pytest.mark.parametrize(
    ("face", "fields", "reason"),
    [
        (like(ADA, 0.43), {"clear": False}, "quality gate"),
        (face_between(ADA, 0.42, BO, 0.43), {}, "looks more like somebody else"),
    ],
    ids=["unclear", "more like Bo"],
)
def test_a_face_that_is_no_reference_is_not_learned(
    site: Site, face: Vector, fields: dict[str, Any], reason: str
) -> None:
    """Refused with the reason; nothing is judged."""
    event = near_miss(site, face, **fields)
    with pytest.raises(RefusedError, match=reason):
        site.ask(Right(event, learn=True))
    assert site.ask(Corrections()).corrections == []
    assert len(list_references(site.store)) == 3
    assert site.ask(Right(event)).judged == "right"


def test_the_other_verdict_replaces_the_first(site: Site) -> None:
    """Wrong, then right: the face is not withheld any more; right and learned, then wrong: the reference goes."""
    face = like(ADA, 0.6)
    event, _ = site.wrong(face)
    assert site.ask(Right(event)).replaced == "wrong"
    assert site.named(face) == "Ada"
    site.ask(Right(event, learn=True))
    judged = site.ask(Wrong(event))
    assert (judged.replaced, judged.photo) == ("right", "faces/Ada/1.jpg"), (
        "not the reference that was learned from this very face"
    )
    assert site.named(face) is None
    assert len(list_references(site.store)) == 3
    assert site.service.check() == []


def test_a_learned_reference_that_another_model_left_out_goes_too(site: Site) -> None:
    """It has no photo to embed anew, and lies in `left_out`: taken back, it is not there any more."""
    event = near_miss(site, like(ADA, 0.43))
    learned = site.ask(Right(event, learn=True)).reference
    assert learned is not None
    kept = [one for one in list_references(site.store) if one.id != learned]
    vectors, changes = noise(np.random.default_rng(1), 3, 16), [one.change_number or 0 for one in kept]
    site.ask(Stage([one.id for one in kept], changes, "e" * 64, vectors=vectors))
    assert site.ask(SwitchModel(ModelId.parse("test/other", "e" * 64, 16), [learned])).left_out == 1
    assert rows(site.store, "SELECT id, person_name FROM left_out") == [(learned, "Ada")]
    assert site.ask(UndoCorrection(event)).unlearned == 1
    assert rows(site.store, "SELECT id, person_name FROM left_out") == []
    assert len(list_references(site.store)) == 3
    assert site.service.check() == []


def test_a_reference_that_has_the_learned_ones_number_since_a_restore_stays(site: Site, tmp_path: Path) -> None:
    """A backup of another site took the gallery's place: its fourth reference is somebody else's."""
    event = near_miss(site, like(ADA, 0.43))
    assert site.ask(Right(event, learn=True)).reference == 4
    with store_in(tmp_path / "other") as other:
        service = service_of(other, tmp_path / "other")
        service.ask(ENROLMENT[0])
        service.ask(
            Save([NewReference("Zed", f"{i}.jpg") for i in range(5)], vectors=noise(np.random.default_rng(1), 5, DIM))
        )
        copy_to(other, tmp_path / "backup.db")
    copy_of_backup(tmp_path / "backup.db", site.folder / "staged.db")
    site.service.restore(site.folder / "staged.db")
    assert site.ask(UndoCorrection(event)).unlearned == 0
    assert len(list_references(site.store, "Zed")) == 5
    assert site.service.check() == []


# --- the person's life ----------------------------------------------------------------------------------------------


def test_corrections_follow_a_rename_and_a_merge(site: Site) -> None:
    """Also those that compete with the person only, in the block; and back again."""
    narrow, wide = face_between(ADA, 0.56, BO, 0.5), like(ADA, 0.6, seed=4)
    site.wrong(narrow)
    site.wrong(wide)
    later = site.seen(like(ADA, 0.7, seed=6))
    site.ask(Rename("Ada", "Ada King"))
    assert {one.person for one in site.ask(Corrections()).corrections} == {"Ada King"}
    assert (site.named(narrow), site.named(wide), site.named(ADA)) == ("Bo", None, "Ada King")
    assert site.ask(Wrong(later)).person == "Ada King"
    site.ask(UndoCorrection(later))
    site.ask(UndoPeople())
    assert {one.person for one in site.ask(Corrections()).corrections} == {"Ada"}
    assert (site.named(narrow), site.named(wide)) == ("Bo", None)
    merged = site.ask(Merge("Ada", "Cy"))
    assert merged.warning is None
    assert {one.person for one in site.ask(Corrections()).corrections} == {"Cy"}
    assert (site.named(narrow), site.named(wide), site.named(ADA)) == ("Bo", None, "Cy")
    site.ask(UndoPeople())
    assert {one.person for one in site.ask(Corrections()).corrections} == {"Ada"}
    assert (site.named(narrow), site.named(wide), site.named(ADA), site.named(CY)) == ("Bo", None, "Ada", "Cy")
    assert site.service.check() == []


def test_a_merge_of_the_two_who_were_mistaken_warns(site: Site) -> None:
    """It was judged that Bo is not Ada; now both are one person."""
    event, _ = site.wrong(face_between(ADA, 0.56, BO, 0.5))
    assert f"wrong --undo {event}" in str(site.ask(Merge("Bo", "Ada")).warning)


def test_a_sighting_of_somebody_renamed_meanwhile_keeps_their_face(site: Site) -> None:
    """A camera may know the former name only."""
    site.ask(Rename("Ada", "Ada King"))
    probe = sighting_probes.probe_of(site.store, site.seen(ADA, "Ada"))
    assert probe is not None
    assert probe.person == "Ada King"


def test_whoever_is_forgotten_leaves_no_face(site: Site, tmp_path: Path) -> None:
    """Corrections against the person, probes of theirs, and what looks like them under another name: no byte of the embeddings is left,
    in the backup neither; what others have stays."""
    ours = [like(ADA, 0.6, seed=i) for i in range(20)] + [face_between(BO, 0.56, ADA, 0.5, seed=i) for i in range(20)]
    for face in ours[:10] + ours[20:30]:
        site.wrong(face, "Ada" if face @ ADA > face @ BO else "Bo")
    for face in ours[10:20] + ours[30:]:
        site.seen(face, "Ada" if face @ ADA > face @ BO else "Bo")
    ours.append(like(ADA, 0.3, seed=50))  # taken for her at a low threshold, and not like her
    site.wrong(ours[-1])
    stays = like(CY, 0.6)
    site.wrong(stays, "Cy")
    copy_to(site.store, backup_path(site.store.path))
    held = held_bytes(segment_path(site.run_dir, site.publisher.generation))
    found = b"".join(bytes_under(site.folder, tmp_path / "copy").values())
    assert all(face.tobytes()[:48] in found for face in ours)
    assert all(face.tobytes() in held for face in (*ours[:10], *ours[20:30], stays))
    answer = site.ask(Forget("Ada"))
    assert (answer.corrections, answer.probes) == (21, 41)
    held = held_bytes(segment_path(site.run_dir, site.publisher.generation))
    for name, content in {**bytes_under(site.folder, tmp_path / "copy"), "block": held}.items():
        assert not [i for i, face in enumerate(ours) if face.tobytes()[:48] in content], name
        assert not [i for i, face in enumerate(ours) if face.tobytes()[-48:] in content], name
    assert stays.tobytes() in held
    assert rows(site.store, "SELECT person FROM corrections") == [("Cy",)]
    assert rows(site.store, "SELECT person FROM sighting_probes") == [("Cy",)]
    backup = open_read_only(backup_path(site.store.path))
    assert rows(backup, "SELECT person FROM corrections") == [("Cy",)]
    backup.close()
    assert site.service.check() == []


def test_the_face_of_a_correction_is_forgotten_by_itself(site: Site, tmp_path: Path) -> None:
    """`forget --wrong`: it may be the face of somebody who is not enrolled. Correction, probe and block hold nothing of it, the backup
    neither; the event stays, and a second time it is done already."""
    face = like(ADA, 0.6)
    event, _ = site.wrong(face)
    copy_to(site.store, backup_path(site.store.path))
    answer = site.ask(ForgetCorrection(event))
    assert (answer.sighting, answer.already) == (event, False)
    held = held_bytes(segment_path(site.run_dir, site.publisher.generation))
    for name, content in {**bytes_under(site.folder, tmp_path / "copy"), "block": held}.items():
        assert face.tobytes()[:48] not in content, name
        assert face.tobytes()[-48:] not in content, name
    assert (site.store.sightings.find(event) is None, site.named(face)) == (False, "Ada")
    assert site.ask(ForgetCorrection(event)).already
    assert [one.judged for one in site.told()] == ["wrong", "undone"]
    with pytest.raises(RefusedError, match="no such event"):
        site.ask(ForgetCorrection(10_000))
    with pytest.raises(RefusedError, match="no longer kept"):
        site.ask(Wrong(event))
    assert site.service.check() == []


def test_forgetting_a_stranger_forgets_the_face_that_was_judged_wrong(tmp_path: Path) -> None:
    """Somebody who is kept as a stranger was taken for Ada: with the stranger, the correction and the kept face go; others stay."""
    with store_in(tmp_path) as store:
        site = Site(tmp_path, store, keep_unknowns_days=7)
        site.enrol()
        face, other = like(ADA, 0.6), like(ADA, 0.6, seed=9)
        site.wrong(face)
        kept, _ = site.wrong(other)
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}"
        site.ask(Record([seen("s", trace(like(face, 0.8, seed=3)), time=now, track=9, fingerprint=MODEL, alike=0.45)]))
        site.ask(ForgetStranger("stranger-1"))
        assert [one.sighting for one in site.ask(Corrections()).corrections] == [kept]
        assert rows(store, "SELECT sighting FROM sighting_probes") == [(kept,)]
        assert face.tobytes() not in held_bytes(segment_path(site.run_dir, site.publisher.generation))
        assert (site.named(face), site.named(other)) == ("Ada", None)
        assert site.service.check() == []
        site.publisher.close()
    remove_left_behind(tmp_path / "run")


def test_another_model_knows_no_face_of_the_old_one(site: Site) -> None:
    """The answer says how many were dropped; the corrections stay listed, and are not in effect."""
    site.wrong(like(ADA, 0.6))
    site.seen(ADA)
    references = list_references(site.store)
    changes = [one.change_number or 0 for one in references]
    other = noise(np.random.default_rng(1), 3, 16)
    site.ask(Stage([one.id for one in references], changes, "e" * 64, vectors=other))
    answer = site.ask(SwitchModel(ModelId.parse("test/other", "e" * 64, 16), []))
    assert "1 faces that were judged wrong" in str(answer.warning)
    assert "2 faces of sightings" in str(answer.warning)
    assert [one.in_effect for one in site.ask(Corrections()).corrections] == [False]
    assert rows(site.store, "SELECT COUNT(*) FROM sighting_probes") == [(0,)]
    assert site.service.check() == []


@pytest.mark.parametrize("kind", [FailingConnection, InterruptedConnection], ids=["statement", "instruction"])
def test_a_verdict_that_fails_anywhere_changes_nothing(site: Site, kind: Failing) -> None:
    """Each step made to fail in turn, of a wrong that replaces a right and of a right that learns: the rows are as they were; at last it
    passes."""
    event = site.seen(like(ADA, 0.6))
    site.ask(Right(event, learn=True))
    site.store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for request, verdict, references in ((Wrong(event), "wrong", 3), (Right(event, learn=True), "right", 4)):

        def attempt(store: Store, asked: Request[Any] = request) -> None:
            service_of(store, site.folder).ask(asked)

        failures, after = fail_everywhere(site.store.path, kind, attempt)
        assert failures > 5
        assert [row[1] for row in after["corrections"]] == [verdict]
        assert len(after["embeddings"]) == references
        assert [row[2] for row in after["sightings"]].count("corrected") == (2 if verdict == "wrong" else 3)


# --- copies ---------------------------------------------------------------------------------------------------------


def test_a_backup_has_the_corrections_and_no_probe(site: Site, tmp_path: Path) -> None:
    """A new machine takes the corrections from it, with the faces; a site that has its own keeps these."""
    face = like(ADA, 0.6)
    site.wrong(face)
    copy_to(site.store, tmp_path / "copy.db")
    assert everything(tmp_path / "copy.db")["sighting_probes"] == []
    copy_of_backup(tmp_path / "copy.db", tmp_path / "staged.db")
    assert everything(tmp_path / "staged.db")["corrections"] == everything(tmp_path / "copy.db")["corrections"]
    other = tmp_path / "other"
    other.mkdir()
    with store_in(other) as store:
        new = Site(other, store)
        new.service.restore(tmp_path / "staged.db")
        assert (new.named(face), new.named(ADA)) == (None, "Ada")
        new.ask(UndoCorrection(new.ask(Corrections()).corrections[0].sighting))
        assert new.named(face) == "Ada"
        new.service.restore(tmp_path / "staged.db")
        assert new.named(face) == "Ada", "it has sightings of its own, and with them its own corrections"
        assert new.service.check() == []
        new.publisher.close()
    remove_left_behind(other / "run")


def test_a_restart_publishes_the_faces(site: Site) -> None:
    """Another writer, or a gallery published anew: still withheld; without a site too."""
    face = like(ADA, 0.6)
    site.wrong(face)
    site.service.publish_everything()
    assert site.named(face) is None
    other = Site(site.folder, site.store)
    assert (other.named(face), other.named(ADA)) == (None, "Ada")
    assert other.service.check() == []
    other.publisher.close()


def test_a_face_that_is_damaged_is_found_and_not_used(site: Site) -> None:
    """`check` names the event and how to get rid of it; the site starts."""
    face = like(ADA, 0.6)
    event, _ = site.wrong(face)
    with site.store.transaction():
        site.store.connection.execute("UPDATE corrections SET embedding=zeroblob(256)")
        site.store.connection.execute("UPDATE sighting_probes SET embedding=x'00'")
    site.service.publish_everything()
    faults = "\n".join(site.service.check())
    assert faults.count(f"forget --wrong {event}") == 2
    assert site.named(face) == "Ada"
    site.ask(ForgetCorrection(event))
    assert site.service.check() == []


# --- the block ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("narrow", [0, 1, 40])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_match_with_negatives_is_that_of_brute_force(tmp_path: Path, narrow: int, k: int) -> None:
    """However many negatives come before the people: the k best people, their scores, and of each the highest rival that can matter."""
    rng = np.random.default_rng(10 * narrow + k)
    people, against = noise(rng, 300, DIM), noise(rng, 200, DIM)
    names = [f"p{i % 60}" for i in range(300)]
    texts = [negative_text(f"p{i % narrow}" if i < 150 and narrow else None) for i in range(200)]
    publisher = GalleryPublisher(tmp_path, DIM, "test/none", MODEL)
    publisher.publish_all(300, [Batch(range(1, 301), names, [None] * 300, people)])
    publisher.append(Batch([-(1 << 62) - i for i in range(1, 201)], texts, [None] * 200, against))
    probes = np.concatenate([noise(rng, 30, DIM), against[:40], people[:10]])
    with GalleryReader(tmp_path) as reader:
        answers = reader.match(probes, k)
        assert (reader.count_live(), reader.count_negatives()) == (300, 200)
        assert set(reader.user_ids()) == set(names)
        assert sorted(reader.copy_live().row_ids.tolist()) == list(range(1, 301))
    for probe, answer in zip(probes, answers, strict=True):
        best: dict[str, float] = {}
        for name, score in zip(names + texts, [*(people @ probe), *(against @ probe)], strict=True):
            best[name] = max(score, best.get(name, -2.0))
        ranked = sorted(((one, best[one]) for one in set(names)), key=lambda known: -known[1])
        own = {name: best.get(negative_text(name), -2.0) for name in set(names)}
        wanted, counted = [], 0
        for name, score in ranked:
            wanted.append((name, score))
            counted += own[name] <= score
            if counted == k:
                break
        assert [one.person for one in answer] == [name for name, _ in wanted]
        assert [one.score for one in answer] == pytest.approx([score for _, score in wanted], abs=1e-5)
        for one in answer:
            rival = max(own[one.person], best[negative_text(None)])
            if rival > answer[-1].score:
                assert one.rival == pytest.approx(rival, abs=1e-5)
    assert publisher.check() == []
    publisher.close()
    remove_left_behind(tmp_path)


def test_negatives_move_and_go_like_references(tmp_path: Path) -> None:
    """Compaction moves them, a rebuilt generation has them, and one that is removed leaves neither its face nor the name in memory."""
    rng = np.random.default_rng(4)
    people, (kept, gone) = noise(rng, 3000, DIM), noise(rng, 2, DIM)
    publisher = GalleryPublisher(tmp_path, DIM, "test/none", MODEL)
    publisher.publish_all(0, [])
    publisher.append(Batch(range(1, 3001), [f"p{i}" for i in range(3000)], [None] * 3000, people))
    texts = [negative_text("p2999"), negative_text("Ada Lovelace")]
    publisher.append(Batch([negative_row(7), negative_row(8)], texts, [None, None], np.stack([kept, gone])))
    publisher.remove([*range(1, 2001), negative_row(8)])
    held = held_bytes(segment_path(tmp_path, publisher.generation))
    assert gone.tobytes() in held
    assert b"\0Ada Lovelace" in held
    publisher.compact()
    for _ in range(2):
        held = held_bytes(segment_path(tmp_path, publisher.generation))
        assert gone.tobytes() not in held
        assert b"Ada Lovelace" not in held
        with GalleryReader(tmp_path) as reader:
            assert (reader.count_live(), reader.count_negatives()) == (1000, 1)
            (found,) = reader.match(like(kept, 0.9)[None], 1000)
            (own,) = [one for one in found if one.person == "p2999"]
            assert own.rival == pytest.approx(0.9, abs=1e-5)
            assert {one.rival for one in found} == {None, own.rival}
        assert publisher.check() == []
        publisher._rebuild(Batch([], [], [], np.empty((0, DIM), np.float32)))
    publisher.close()
    remove_left_behind(tmp_path)


def test_a_gallery_without_negatives_is_searched_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with fewer people than asked for. With negatives it is asked for more, only for the probes that need it."""
    asked: list[tuple[int, int]] = []
    searched = GalleryReader._match

    def counting(reader: GalleryReader, probes: Vector, k: int) -> Any:
        asked.append((len(probes), k))
        return searched(reader, probes, k)

    monkeypatch.setattr(GalleryReader, "_match", counting)
    with GalleryReader(site.run_dir) as reader:
        for k in (1, 2, 3, 5):
            reader.match(np.stack([ADA, BO]), k)
        assert asked == [(2, 1), (2, 2), (2, 3), (2, 5)]
        face = like(ADA, 0.6)
        site.wrong(face)
        asked.clear()
        reader.refresh()
        found = reader.match(np.stack([BO, face]), 2)
        assert asked[0] == (2, 2)
        assert asked[1] == (1, 4)
        assert found[1][0].person == "Ada"
        assert found[1][0].rival == pytest.approx(1.0, abs=1e-5)


def test_nobody_can_have_a_negatives_name(site: Site) -> None:
    """A name with a NUL character is refused."""
    with pytest.raises(RefusedError):
        site.ask(Save([NewReference("\0Ada")], vectors=ADA[None]))
    assert len(list_people(site.store)) == 3
