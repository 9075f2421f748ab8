"""The review: what is left to decide and in which order, what is remembered of the decisions, and that forgetting leaves nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RefusedError
from shared.gallery.files import remove_left_behind
from shared.ipc.requests.corrections import Right, Wrong
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.people import Merge, Rename, UndoPeople
from shared.ipc.requests.references import FindReferences, Save, SetAside
from shared.ipc.requests.review import (
    DifferentPeople,
    HeedStranger,
    IgnoreStranger,
    MarkDifferent,
    Review,
    ReviewItem,
    UndoDifferent,
)
from shared.ipc.requests.sightings import Record
from shared.ipc.requests.strangers import ForgetStranger
from shared.records import NewReference
from shared.store import migration
from shared.store.check import store_faults
from shared.store.copying import copy_to
from shared.store.references import list_people, list_references
from tests.component.test_corrections import ADA, BO, MODEL, Site, Vector, like
from tests.support.stores import bytes_under, everything, rows, store_in
from tests.support.stranger_events import seen, trace

_TIME = "2999-01-31T08:00:00.000Z"  # strangers are let go by their age; the future counts as now


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    data = tmp_path / "data"
    data.mkdir()
    with store_in(data) as store:
        one = Site(data, store, keep_unknowns_days=7)
        one.enrol()
        yield one
        one.publisher.close()
    remove_left_behind(data / "run")


def stranger(site: Site, vector: Vector, key: str, camera: str = "door") -> str:
    """Somebody is seen who is not enrolled; the id."""
    event = seen(key, trace(vector), camera=camera, track=sum(map(ord, key)), fingerprint=MODEL)
    site.ask(Record([event]))
    found = [one.unknown for one in site.store.sightings.since()][-1]
    assert found is not None
    return found


def doubtful(site: Site, vector: Vector, nearest: str, **fields: Any) -> int:
    """A sighting that nearly named somebody; the id."""
    return site.seen(vector, None, event="left", verdict="uncertain", nearest=nearest, started=_TIME, ended=_TIME,
                     duration_s=1.0, **fields)  # fmt: skip


def listed(site: Site, **given: Any) -> list[tuple[str | int, str | None]]:
    """What is left: the stranger or the sighting, and whom it is shown beside."""
    return [(what(one), one.person.person if one.person else None) for one in site.ask(Review(**given)).items]


def what(item: ReviewItem) -> str | int:
    if item.stranger is not None:
        return item.stranger.id
    assert item.event is not None
    return int(item.event["id"])


def id_of(site: Site, name: str) -> str:
    (one,) = list_people(site.store, person=name)
    assert one.id is not None
    return one.id


def test_the_nearest_misses_come_first(site: Site) -> None:
    """Strangers and uncertain sightings together, by how near their score is to .45, which names somebody; each beside its nearest person."""
    far, near = stranger(site, like(ADA, 0.1), "far"), stranger(site, like(BO, 0.43, 1), "near")
    doubt = doubtful(site, like(ADA, 0.4), "Ada", score=0.4)
    site.seen(ADA)  # named: nothing to decide
    assert listed(site) == [(near, "Bo"), (doubt, "Ada"), (far, "Ada")]
    assert listed(site, limit=1) == [(near, "Bo")]


def test_each_stands_beside_the_persons_most_similar_photo(site: Site) -> None:
    """For a stranger and for a sighting; not one that is set aside, and none without a photo."""
    other = like(ADA, 0.5, 7)
    site.ask(Save([NewReference("Ada", "faces/Ada/side.jpg"), NewReference("Ada")], vectors=np.stack([other, other])))
    front, side = (one.id for one in list_references(site.store, "Ada") if one.image_path)
    near = stranger(site, like(other, 0.4, 1), "near")
    doubt = doubtful(site, like(ADA, 0.43, 2), "Ada", score=0.43)
    assert {what(one): one.reference for one in site.ask(Review()).items} == {near: side, doubt: front}
    site.ask(SetAside("Ada", "faces/Ada/side.jpg", "a trial"))
    assert {one.reference for one in site.ask(Review()).items} == {front}


def test_only_what_a_visitors_cameras_saw(site: Site) -> None:
    """A visitor of one camera decides nothing of another."""
    stranger(site, like(ADA, 0.1), "a", camera="yard")
    here = stranger(site, like(BO, 0.3, 1), "b", camera="door")
    doubtful(site, like(ADA, 0.4), "Ada", score=0.4, camera="yard")
    assert listed(site, cameras=["door"]) == [(here, "Bo")]
    assert listed(site, cameras=["nowhere"]) == []


@pytest.mark.parametrize("verdict", [Right, Wrong])
def test_a_sighting_that_was_judged_does_not_come_again(site: Site, verdict: type[Right] | type[Wrong]) -> None:
    doubt = doubtful(site, like(ADA, 0.4), "Ada", score=0.4)
    site.ask(verdict(doubt))
    assert listed(site) == []


def test_a_pair_that_is_different_is_not_proposed_again(site: Site) -> None:
    """The next person is; it holds after a rename; taken back, the first is proposed again. Twice is once."""
    one = stranger(site, like(ADA, 0.4), "a")
    ada = id_of(site, "Ada")
    assert not site.ask(MarkDifferent(ada, one)).already
    assert site.ask(MarkDifferent(ada, one)).already
    ((_, proposed),) = listed(site)
    assert proposed in ("Bo", "Cy")
    site.ask(Rename("Ada", "Ada L"))
    ((_, proposed),) = listed(site)
    assert proposed in ("Bo", "Cy")
    for name in ("Bo", "Cy"):
        site.ask(MarkDifferent(id_of(site, name), one))
    assert listed(site) == [(one, None)]
    assert not site.ask(UndoDifferent(ada, one)).already
    assert listed(site) == [(one, "Ada L")]


def test_who_is_merged_takes_the_decision_along(site: Site) -> None:
    """The id that is gone leaves no row, and undoing the merge gives a sound store."""
    one = stranger(site, like(ADA, 0.4), "a")
    site.ask(MarkDifferent(id_of(site, "Ada"), one))
    site.ask(MarkDifferent(id_of(site, "Ada"), None, id_of(site, "Bo")))
    site.ask(Merge("Ada", "Bo"))
    assert rows(site.store, "SELECT COUNT(*) FROM different_people") == [(0,)]
    site.ask(UndoPeople())
    assert store_faults(site.store) == []


def test_an_ignored_stranger_comes_up_no_more(site: Site) -> None:
    """Until that is taken back; the stranger is kept, recognised, and can be forgotten."""
    one = stranger(site, like(ADA, 0.4), "a")
    assert not site.ask(IgnoreStranger(one)).already
    assert (site.ask(IgnoreStranger(one)).already, listed(site)) == (True, [])
    assert stranger(site, like(ADA, 0.4), "b") == one
    assert listed(site) == []
    site.ask(HeedStranger(one))
    assert listed(site) == [(one, "Ada")]


def test_what_is_nobody_is_refused(site: Site) -> None:
    """A stranger that there is not, a person that there is not, the same person twice, three at once."""
    one, ada = stranger(site, like(ADA, 0.4), "a"), id_of(site, "Ada")
    for request in (
        MarkDifferent(ada, "stranger-999"), MarkDifferent("no-such-id", one), MarkDifferent(ada, None, ada), MarkDifferent(ada),
        MarkDifferent(ada, one, id_of(site, "Bo")), IgnoreStranger("stranger-999"), HeedStranger("stranger-999"),
    ):  # fmt: skip
        with pytest.raises(RefusedError):
            site.ask(request)


@pytest.mark.parametrize("whom", ["person", "stranger"])
def test_forgetting_leaves_nothing_of_a_decision(site: Site, tmp_path: Path, whom: str) -> None:
    """*Different* and *ignore* go with the person or the stranger: no row, and nothing in the file or its WAL."""

    def is_found(text: str) -> bool:
        found = bytes_under(site.folder, tmp_path / "scratch")
        return any(text.encode() in content for name, content in found.items() if name.startswith("face_embeddings.db"))

    one, ada = stranger(site, like(BO, 0.4), "a"), id_of(site, "Ada")
    site.ask(MarkDifferent(ada, one))
    site.ask(MarkDifferent(ada, None, id_of(site, "Cy")))
    site.ask(IgnoreStranger(one))
    with site.store.transaction():
        site.store.connection.execute("UPDATE different_people SET made_at='canary-pair' WHERE stranger IS NOT NULL")
        site.store.connection.execute("UPDATE ignored_strangers SET since='canary-ignored'")
    assert is_found("canary-pair")
    assert is_found("canary-ignored")
    site.ask(Forget("Ada") if whom == "person" else ForgetStranger(one))
    assert not is_found("canary-pair")
    if whom == "person":
        assert rows(site.store, "SELECT COUNT(*) FROM different_people") == [(0,)]
    else:
        assert rows(site.store, "SELECT stranger FROM different_people") == [(None,)]
        assert not is_found("canary-ignored")
    assert store_faults(site.store) == []


def test_decisions_are_in_no_copy_and_survive_a_migration(site: Site, tmp_path: Path) -> None:
    """A backup has none of them. A copy into a new file takes over those whose people and strangers are there."""
    one, ada = stranger(site, like(ADA, 0.4), "a"), id_of(site, "Ada")
    site.ask(MarkDifferent(ada, one))
    site.ask(MarkDifferent(ada, None, id_of(site, "Bo")))
    site.ask(IgnoreStranger(one))
    copy_to(site.store, tmp_path / "backup.db")
    copied = everything(tmp_path / "backup.db")
    assert copied["different_people"] == copied["ignored_strangers"] == []
    site.store.truncate_wal()
    before = everything(site.store.path)
    migration.copy_of_backup(site.store.path, tmp_path / "again.db")
    after = everything(tmp_path / "again.db")
    assert sorted(after["different_people"], key=repr) == sorted(before["different_people"], key=repr)
    assert after["ignored_strangers"] == before["ignored_strangers"]


def test_different_people_are_listed_by_the_names_they_have_now(site: Site) -> None:
    """In pages, without strangers; a person who is forgotten takes the pair along. References are found by their ids, with their people."""
    people = {one.person: one.id or "" for one in list_people(site.store)}
    ada, bo = people["Ada"], people["Bo"]
    site.ask(MarkDifferent(bo, other=ada))
    site.ask(MarkDifferent(ada, stranger(site, like(BO, 0.1), "a")))
    (pair,) = site.ask(DifferentPeople()).pairs
    assert {pair.person, pair.other} == {"Ada", "Bo"}
    assert site.ask(DifferentPeople(after=pair.number)).pairs == []
    ids = [row for (row,) in site.store.connection.execute("SELECT id FROM embeddings").fetchall()]
    found = site.ask(FindReferences([*ids, 999]))
    assert [one.id for one in found.references] == sorted(ids)
    assert {one.person for one in found.people} == people.keys()
    assert [set(one) for one in found.different] == [{ada, bo}]
    site.ask(Rename("Bo", "Bob"))
    assert {site.ask(DifferentPeople()).pairs[0].person, site.ask(DifferentPeople()).pairs[0].other} == {"Ada", "Bob"}
    site.ask(Forget("Bob"))
    assert site.ask(DifferentPeople()).pairs == []
    with pytest.raises(RefusedError, match="too many references"):
        site.ask(FindReferences(list(range(2001))))
