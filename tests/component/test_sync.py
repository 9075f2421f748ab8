"""Sites that exchange their galleries: each rule of who stays, who goes and what people are called, over real stores."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.people import Merge, Rename, UndoPeople
from shared.ipc.requests.references import Delete
from shared.ipc.requests.sightings import Record
from shared.ipc.requests.sync import FromElsewhere, Outgoing, RefusedItem, Sent, SyncStatus, TakeIn
from shared.service.changes import Changes
from shared.service.forgetting import Forgetting
from shared.service.people import PeopleRequests
from shared.service.references import ReferenceRequests
from shared.service.sightings import SightingRequests
from shared.service.sync import SyncRequests
from shared.settings.schema import SiteSettings
from shared.store.copying import copy_to
from shared.store.store import Store
from shared.store.tombstones import hash_of
from shared.strangers.strangers import Strangers
from shared.uuid7 import new_uuids
from tests.support.memory_hub import MemoryHub
from tests.support.stores import FailingConnection, event, fail_everywhere, rows, sightings, silent
from tests.support.synced_sites import KEY, MODEL, SyncedSite, exchange, one_clock, sites

YEAR_MS = 365 * 86_400_000


class Pair:
    """Two sites and a hub."""

    def __init__(self, hub: MemoryHub, one: SyncedSite, other: SyncedSite) -> None:
        self.hub, self.one, self.other = hub, one, other
        self.clock = one.clock

    def exchange(self) -> None:
        """Until nobody has anything to say. Both then show the same."""
        exchange(self.hub, self.one, self.other)
        assert self.one.view() == self.other.view()
        assert self.hub.references() == self.one.view().keys()

    def person_ids(self) -> dict[str, str]:
        return dict(rows(self.one.store, "SELECT name, uuid FROM people"))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with sites(tmp_path) as (hub, (one, other)):
        yield Pair(hub, one, other)


@pytest.fixture
def keyless(tmp_path: Path) -> Iterator[Pair]:
    with sites(tmp_path, keys=False) as (hub, (one, other)):
        yield Pair(hub, one, other)


def reference(uuid: str | None = None, **changed: object) -> dict[str, Any]:
    """A reference as it comes from a site of its own."""
    vector = np.full(MODEL.dim, 1 / np.sqrt(MODEL.dim), "<f4")
    return {
        "id": uuid or new_uuids(1)[0], "person_name": "Ada", "person_id": new_uuids(1)[0], "embedding": vector.tolist(),
        "model": MODEL.fingerprint, "revision": 5, "origin": "elsewhere", "seq": 1,
    } | changed  # fmt: skip  # one object


def sync_of(store: Store, folder: Path) -> SyncRequests:
    """What carries out the requests inside a transaction, without what follows the commit."""
    site = SiteSettings(name="test")
    strangers = Strangers(store, folder, 0, silent)
    seen = SightingRequests(store, strangers, site, silent)
    forgetting = Forgetting(store, strangers, seen, folder, silent)
    return SyncRequests(store, ReferenceRequests(store), PeopleRequests(store, seen), forgetting)


# --- saves, names, user ids -----------------------------------------------------------------------------------------


def test_a_reference_comes_to_the_other_site(pair: Pair) -> None:
    """Bit for bit, with person, user id and the person's UUID. Its photo does not come."""
    uuid = pair.one.save("Ada", user_id="7", image_path="faces/Ada/a.jpg")
    pair.exchange()
    assert pair.other.view() == pair.one.view()
    assert pair.other.view()[uuid].user_id == "7"
    assert rows(pair.other.store, "SELECT image_path FROM embeddings") == [(None,)]


def test_the_later_of_two_vectors_stays(pair: Pair) -> None:
    """Both sites replaced one reference."""
    uuid = pair.one.save("Ada")
    pair.exchange()
    pair.other.save("Ada", np.eye(MODEL.dim, dtype=np.float32)[0], uuid=uuid)
    pair.clock.now += 1
    last = np.eye(MODEL.dim, dtype=np.float32)[1]
    pair.one.save("Ada", last, uuid=uuid)
    pair.exchange()
    assert pair.other.view()[uuid].embedding == last.tobytes()


def test_one_name_at_two_sites_is_one_person(pair: Pair) -> None:
    """With the references of both, and one UUID."""
    pair.one.save("Ada")
    pair.other.save("Ada")
    pair.exchange()
    assert pair.one.people() == {"Ada": 2}


def test_one_name_with_two_user_ids_is_two_people(pair: Pair) -> None:
    """The second one has the user id behind the name. If the first goes, it does not need it any more."""
    first = pair.one.save("Ada", user_id="7", image_path="faces/Ada/a.jpg")
    pair.clock.now += 1
    second = pair.other.save("Ada", user_id="8")
    pair.exchange()
    assert {one.user_id: one.person for one in pair.one.view().values()} == {"7": "Ada", "8": "Ada (8)"}
    assert pair.one.view()[first].person_id != pair.one.view()[second].person_id
    pair.other.ask(Delete("Ada", None))
    pair.exchange()
    assert pair.one.people() == {"Ada": 1}
    assert pair.one.view()[second].user_id == "8"


def test_a_user_id_that_is_given_later_travels(pair: Pair) -> None:
    """Also if the reference that came with it is deleted at once."""
    pair.one.save("Ada")
    pair.exchange()
    pair.other.save("Ada", user_id="7", image_path="faces/Ada/a.jpg")
    pair.other.ask(Delete("Ada", "faces/Ada/a.jpg"))
    pair.exchange()
    assert [one.user_id for one in pair.one.view().values()] == ["7"]


def test_a_rename_travels(pair: Pair) -> None:
    """To references that the other site saved meanwhile, too."""
    pair.one.save("Ada")
    pair.exchange()
    pair.one.ask(Rename("Ada", "Eve"))
    pair.other.save("Ada")
    pair.exchange()
    assert pair.other.people() == {"Eve": 2}


def test_of_two_renames_the_later_one_counts(pair: Pair) -> None:
    """Whatever comes to the hub first."""
    pair.one.save("Ada")
    pair.exchange()
    pair.other.ask(Rename("Ada", "Bo"))
    pair.clock.now += 1
    pair.one.ask(Rename("Ada", "Cy"))
    pair.exchange()
    assert pair.other.people() == {"Cy": 1}


def test_what_was_renamed_here_is_not_lost_to_what_comes(pair: Pair) -> None:
    """It is noted before anything is applied."""
    pair.one.save("Ada")
    pair.exchange()
    pair.other.save("Ada")
    while pair.other.push(pair.hub):
        pass
    pair.one.ask(Rename("Ada", "Eve"))
    pair.one.pull(pair.hub)
    assert pair.one.people() == {"Eve": 2}


def test_a_merger_and_its_undoing_travel(pair: Pair) -> None:
    """With references of both people that the other site saved meanwhile."""
    pair.one.save("Ada")
    pair.one.save("Bo")
    pair.exchange()
    pair.one.ask(Merge("Bo", "Ada"))
    pair.other.save("Bo")
    pair.exchange()
    assert pair.other.people() == {"Ada": 3}
    pair.one.save("Cy")
    pair.one.ask(Merge("Cy", "Ada"))
    pair.exchange()
    pair.one.ask(UndoPeople())
    pair.exchange()
    assert pair.other.people() == {"Ada": 3, "Cy": 1}


def test_two_opposite_mergers_make_one_person(pair: Pair) -> None:
    """Each site merged the two the other way round."""
    pair.one.save("Ada")
    pair.one.save("Bo")
    pair.exchange()
    pair.one.ask(Merge("Ada", "Bo"))
    pair.other.ask(Merge("Bo", "Ada"))
    pair.exchange()
    assert list(pair.one.people().values()) == [2]


def test_a_photo_that_both_had_is_there_once_after_a_merger(pair: Pair) -> None:
    """The hub and the other site drop the second one; undoing brings it back as a new reference."""
    pair.one.save("Ada", image_path="faces/Ada/a.jpg", photo_digest="d")
    twice = pair.one.save("Bo", image_path="faces/Bo/a.jpg", photo_digest="d")
    pair.one.save("Bo")
    pair.exchange()
    pair.one.ask(Merge("Bo", "Ada"))
    pair.exchange()
    assert pair.other.people() == {"Ada": 2}
    assert twice not in pair.other.view()
    pair.one.ask(UndoPeople())
    pair.exchange()
    assert pair.other.people() == {"Ada": 1, "Bo": 2}


def test_photos_and_sightings_follow_a_person_who_is_renamed_elsewhere(pair: Pair) -> None:
    """The photo's path and the sightings have the new name."""
    pair.one.save("Ada", image_path="faces/Ada/a.jpg")
    pair.exchange()
    pair.one.ask(Record([event("k", "Ada")]))
    pair.other.ask(Rename("Ada", "Eve"))
    pair.exchange()
    assert rows(pair.one.store, "SELECT image_path FROM embeddings") == [("faces/Eve/a.jpg",)]
    assert [one["person"] for one in sightings(pair.one.store)] == ["Eve"]


# --- deletions ------------------------------------------------------------------------------------------------------


def test_a_deletion_wins_over_a_later_save(pair: Pair) -> None:
    """And leaves nothing at the hub but the UUID."""
    uuid = pair.one.save("Ada", image_path="faces/Ada/a.jpg")
    pair.one.save("Ada")
    pair.exchange()
    pair.one.ask(Delete("Ada", "faces/Ada/a.jpg"))
    pair.clock.now += 1
    pair.other.save("Ada", uuid=uuid)
    pair.exchange()
    assert uuid not in pair.one.view()
    assert [one.get("kind") for one in pair.hub.documents.values() if one["id"] == uuid] == ["deleted"]


def test_whoever_is_forgotten_at_one_site_is_forgotten_at_all(pair: Pair) -> None:
    """References that the forgetting site did not know of, and sightings, too; and nowhere is the name left."""
    pair.one.save("Ada")
    pair.exchange()
    pair.other.ask(Record([event("k", "Ada")]))
    pair.other.save("Ada")
    pair.one.ask(Rename("Ada", "Ada B"))
    pair.one.ask(Rename("Ada B", "Ada"))
    pair.one.ask(Forget("Ada", None))
    pair.exchange()
    assert pair.other.people() == {}
    assert sightings(pair.other.store) == []
    for site in (pair.one, pair.other):
        assert rows(site.store, "SELECT name FROM synced_people WHERE name IS NOT NULL") == []
        assert rows(site.store, "SELECT 1 FROM synced") == []
    assert "Ada" not in repr(pair.hub.documents)


def test_a_forgetting_with_a_key_finds_a_person_whom_the_site_never_knew(pair: Pair) -> None:
    """Both enrolled Ada, and have not heard of each other."""
    pair.one.save("Ada")
    pair.other.save("Ada")
    pair.one.ask(Forget("Ada", None))
    pair.exchange()
    assert pair.other.people() == {}


def test_a_forgetting_without_a_key_means_the_uuids_that_the_site_knew(keyless: Pair) -> None:
    """Somebody of the same name whom the site did not know stays."""
    keyless.one.save("Ada")
    keyless.exchange()
    keyless.other.save("Ada")
    keyless.one.ask(Forget("Ada", None))
    keyless.exchange()
    assert keyless.other.people() == {}
    keyless.one.save("Bo")
    keyless.other.save("Bo")
    keyless.one.ask(Forget("Bo", None))
    keyless.exchange()
    assert keyless.other.people() == {"Bo": 1}


@pytest.mark.parametrize("has_key", [True, False])
def test_whoever_is_enrolled_again_stays(tmp_path: Path, has_key: bool) -> None:  # a parameter
    """At the site that forgot, and at one that heard of it."""
    with sites(tmp_path, keys=has_key) as (hub, (one, other)):
        pair = Pair(hub, one, other)
        one.save("Ada")
        pair.exchange()
        one.ask(Forget("Ada", None))
        pair.exchange()
        one.save("Ada")
        other.save("Ada")
        pair.exchange()
        assert one.people() == {"Ada": 2}


def test_a_site_without_the_key_that_enrols_again_is_understood_by_those_who_have_it(tmp_path: Path) -> None:
    """It knew whom the tombstone meant, since the person was there."""
    with one_clock() as clock:
        one, other = SyncedSite(tmp_path / "one", clock), SyncedSite(tmp_path / "other", clock, None)
        pair = Pair(MemoryHub(), one, other)
        one.save("Ada")
        pair.exchange()
        one.ask(Forget("Ada", None))
        pair.exchange()
        other.save("Ada")
        pair.exchange()
        assert one.people() == {"Ada": 1}
        one.close()
        other.close()


def test_forgetting_one_of_two_of_a_name_leaves_the_other(pair: Pair) -> None:
    """They have different user ids."""
    pair.one.save("Ada", user_id="7")
    pair.other.save("Ada", user_id="8")
    pair.exchange()
    pair.one.ask(Forget("Ada (8)", None))
    pair.other.save("Ada (8)")
    pair.exchange()
    assert [one.user_id for one in pair.one.view().values()] == ["7"]
    assert pair.one.people() == {"Ada": 1}


def test_who_was_merged_by_mistake_is_forgotten_without_the_other(pair: Pair) -> None:
    """A merger is undone, and one of the two is forgotten before the undoing is noted. Until then both have one UUID at all sites."""
    uuid = pair.one.save("Cy")
    pair.one.save("Bo")
    pair.exchange()
    pair.one.ask(Merge("Bo", "Cy"))
    pair.exchange()
    pair.one.ask(UndoPeople())
    pair.one.ask(Forget("Bo", None))
    assert pair.one.people() == {"Cy": 1}
    pair.exchange()
    assert pair.other.people() == {"Cy": 1}
    assert uuid in pair.other.view()


def test_a_tombstone_holds_the_hash_of_the_name_and_no_name(pair: Pair) -> None:
    """The key never leaves the site."""
    pair.one.save("Ada")
    pair.exchange()
    pair.one.ask(Forget("Ada", None))
    pair.exchange()
    hashes = {one.get("person_hash") for one in pair.hub.documents.values() if one.get("kind") == "forgotten"}
    assert hashes == {hash_of(pair.one.store, "Ada")}
    assert KEY.hex() not in repr(pair.hub.documents)


# --- what can't be used ---------------------------------------------------------------------------------------------


def test_what_is_unfit_is_set_apart_and_holds_up_nothing(pair: Pair) -> None:
    """Another model, another dimension, no vector, no name: each with its reason; and one that comes right leaves the quarantine."""
    bad = [
        reference(model="cd" * 32),
        reference(embedding=[1.0] * 8),
        reference(embedding=None),
        reference(person_name="a/b"),
        {"kind": "person"},
    ]
    taken = pair.one.take(*bad, reference(seq=2), {"kind": "later", "id": "x"})
    assert taken.taken == 1
    assert len(taken.refused) == 5
    assert pair.one.people() == {"Ada": 1}
    standing = pair.one.ask(SyncStatus())
    assert standing.quarantined == 5
    assert any("model" in reason for reason in standing.reasons)
    pair.one.take(reference(bad[1]["id"], seq=3))
    assert pair.one.ask(SyncStatus()).quarantined == 4


def test_what_plain_clients_sent_is_taken(pair: Pair) -> None:
    """It names no model and no person: the dimension counts, and the name."""
    pair.one.save("Ada")
    pair.one.take(reference(model=None, person_id=None), reference(model=None, person_id=None, person_name="Bo"))
    assert pair.one.people() == {"Ada": 2, "Bo": 1}
    pair.one.require_settled()


# --- clocks ---------------------------------------------------------------------------------------------------------


def test_what_was_made_in_the_future_is_refused_until_then(pair: Pair) -> None:
    """A minute is allowed. Later it is read again."""
    ahead = (pair.clock.now + 61_000) << 10
    pair.one.ask(TakeIn("hub", "", "a:1", [reference(revision=ahead - (2_000 << 10))]))
    pair.one.ask(TakeIn("hub", "a:1", "a:2", [reference(revision=ahead)]))
    assert pair.one.people() == {"Ada": 1}
    assert pair.one.ask(SyncStatus()).position == "a:2"
    pair.clock.now += 2_000
    pair.one.outgoing()
    assert pair.one.ask(SyncStatus()).position == "a:1"


def test_a_clock_that_was_years_ahead_does_no_harm(pair: Pair) -> None:
    """The hub refuses what was made then. Once the clock is right it is sent again, and later changes elsewhere count."""
    uuid = pair.one.save("Ada")
    pair.exchange()
    pair.one.ahead_ms = YEAR_MS
    pair.one.ask(Rename("Ada", "Eve"))
    gone = pair.one.save("Bo", image_path="faces/Bo/a.jpg")
    pair.one.ask(Delete("Bo", "faces/Bo/a.jpg"))
    batch = pair.one.outgoing()
    assert batch is not None
    refused = [RefusedItem(f"{one.get('kind', 'reference')} {one['id']}", "future") for one in batch["embeddings"]]
    pair.hub.push(batch | {"embeddings": []})
    pair.one.ask(Sent(batch["through"], batch["next_lineage"], refused))
    pair.one.ahead_ms = 0
    pair.clock.now += 1000
    pair.exchange()
    assert pair.other.people() == {"Eve": 1}
    assert gone not in pair.hub.references()
    pair.clock.now += 1000
    pair.other.ask(Rename("Ada" if "Ada" in pair.other.people() else "Eve", "Di"))
    pair.exchange()
    assert pair.one.view()[uuid].person == "Di"


@pytest.mark.parametrize("last", [0, 1])
def test_what_a_wrong_clock_noted_keeps_its_order(pair: Pair, last: int) -> None:
    """Of two references whose savers told two user ids, the one that was saved later counts, here and elsewhere."""
    pair.one.ahead_ms = YEAR_MS
    first = new_uuids(2)
    for number in (1 - last, last):
        pair.one.save("Ada", uuid=first[number], user_id=str(number))
        pair.one.outgoing()
    batch = pair.one.outgoing()
    assert batch is not None
    refused = [RefusedItem(f"reference {one['id']}", "future") for one in batch["embeddings"]]
    pair.hub.push(batch | {"embeddings": []})
    pair.one.ask(Sent(batch["through"], batch["next_lineage"], refused))
    pair.one.ahead_ms = 0
    pair.exchange()
    assert {one.user_id for one in pair.other.view().values()} == {str(last)}


def test_a_clock_that_jumps_back_loses_nothing(pair: Pair) -> None:
    """What is changed afterwards is newer than what was known before."""
    pair.one.save("Ada")
    pair.exchange()
    pair.one.ahead_ms = -YEAR_MS
    pair.one.ask(Rename("Ada", "Eve"))
    pair.one.save("Bo")
    pair.exchange()
    assert pair.other.people() == {"Eve": 1, "Bo": 1}


def test_what_was_noted_anew_after_a_jump_is_newer_than_what_the_hub_took(pair: Pair) -> None:
    """A batch is on its way when its reference is changed; then the clock jumps back, and the change is noted anew. The answer comes late."""
    uuid = pair.one.save("Ada")
    batch = pair.one.outgoing()
    assert batch is not None
    answer = pair.hub.push(batch)
    pair.one.ahead_ms = 10_000
    pair.one.save("Ada", np.ones(MODEL.dim, np.float32), uuid=uuid)
    pair.one.outgoing()  # it is noted, by the clock of now
    pair.one.ahead_ms = -YEAR_MS
    pair.one.hear(batch, answer)
    pair.exchange()
    assert np.ptp(np.frombuffer(pair.other.view()[uuid].embedding, "<f4")) == 0


# --- the hub, and answers that are lost -----------------------------------------------------------------------------


def test_a_batch_whose_answer_is_lost_is_sent_again_as_it_was(pair: Pair) -> None:
    """Also if more was changed meanwhile; the hub does not take this site for a copy."""
    pair.one.save("Ada")
    first = pair.one.outgoing()
    assert first is not None
    pair.hub.push(first)
    pair.one.ask(Rename("Ada", "Eve"))
    pair.one.save("Bo")
    again = pair.one.outgoing()
    assert again is not None
    assert (again["through"], again["next_lineage"]) == (first["through"], first["next_lineage"])
    assert "reason" not in pair.hub.push(again)
    pair.exchange()
    assert pair.other.people() == {"Eve": 1, "Bo": 1}


def test_a_batch_that_was_too_large_is_cut_anew(pair: Pair) -> None:
    """The hub said that it did not take it."""
    for number in range(8):
        pair.one.save(f"P{number}")
    large = pair.one.ask(Outgoing(10_000))
    small = pair.one.ask(Outgoing(600, was_too_large=True))
    assert 0 < len(small.items) < len(large.items)
    pair.exchange()
    assert len(pair.other.people()) == 8


def test_a_hub_that_was_restored_gets_everything_again(pair: Pair) -> None:
    """What this site sent, and what came here from another one that may be gone."""
    pair.other.save("Bo")
    pair.one.save("Ada")
    pair.exchange()
    pair.hub = MemoryHub()
    pair.one.save("Cy")
    while pair.one.push(pair.hub):
        pass
    assert pair.hub.references() == pair.one.view().keys()
    pair.exchange()
    assert pair.other.people() == {"Ada": 1, "Bo": 1, "Cy": 1}


def test_a_hub_that_was_set_back_gets_what_only_others_still_have(pair: Pair) -> None:
    """The site that sent it is a copy of before then, and knows nothing of it; who read it has it."""
    pair.other.save("Bo")
    pair.one.save("Ada")
    pair.exchange()
    before = copy.deepcopy(pair.hub)
    copy_to(pair.other.store, pair.other.folder / "kept.db")
    uuid = pair.other.save("Cy")
    pair.exchange()
    pair.hub = before
    pair.other.service.restore(pair.other.folder / "kept.db")
    assert uuid not in pair.other.view()
    pair.exchange()
    assert uuid in pair.other.view()
    position = pair.one.ask(SyncStatus()).position
    assert pair.hub.behind(position) == ""


def test_what_is_sent_again_for_another_site_is_still_that_sites(pair: Pair) -> None:
    """It keeps its author: it is no newer than it was, and a change of the model does not take it for an own reference."""
    theirs = pair.other.save("Bo")
    pair.one.save("Ada")
    pair.exchange()
    before = rows(pair.one.store, "SELECT uuid, revision, origin FROM synced WHERE uuid=?", theirs)
    pair.hub = MemoryHub()
    pair.one.save("Cy")
    while pair.one.push(pair.hub):
        pass
    [sent] = [one for one in pair.hub.documents.values() if one.get("person_name") == "Bo"]
    [(uuid, revision, author)] = before
    assert (sent["id"], sent["revision"], sent["author"]) == (uuid, revision, author) != sent["origin"]
    assert before[0] in rows(pair.one.store, "SELECT uuid, revision, origin FROM synced")
    [row] = rows(pair.one.store, "SELECT id FROM embeddings WHERE person_name='Bo'")
    assert pair.one.ask(FromElsewhere()).ids == [*row]


# --- copies ---------------------------------------------------------------------------------------------------------


def test_a_copied_site_takes_a_new_origin(pair: Pair, tmp_path: Path) -> None:
    """Both go on, with what each had; whoever was forgotten meanwhile is not back."""
    pair.one.save("Ada")
    pair.one.save("Bo")
    pair.exchange()
    pair.one.close()
    shutil.copytree(pair.one.folder, tmp_path / "copy")
    pair.one.open()
    pair.other.ask(Forget("Ada", None))
    pair.one.save("Cy")
    pair.exchange()
    pair.other.close()
    shutil.rmtree(pair.other.folder)
    shutil.copytree(tmp_path / "copy", pair.other.folder)
    pair.other.open()
    pair.other.save("Di")
    origin = pair.one.ask(SyncStatus()).origin
    assert pair.other.ask(SyncStatus()).origin == origin
    pair.exchange()
    assert pair.other.ask(SyncStatus()).origin != origin
    assert pair.one.people() == {"Bo": 1, "Cy": 1, "Di": 1}


def test_a_restored_backup_brings_nobody_back(pair: Pair, tmp_path: Path) -> None:
    """Neither who was forgotten elsewhere nor what was deleted; and whoever was enrolled again since stays."""
    pair.one.save("Ada")
    pair.one.save("Bo", image_path="faces/Bo/a.jpg")
    kept = pair.one.save("Bo")
    pair.exchange()
    copy_to(pair.one.store, tmp_path / "kept.db")
    pair.other.ask(Forget("Ada", None))
    pair.one.ask(Delete("Bo", "faces/Bo/a.jpg"))
    pair.other.ask(Rename("Bo", "Eve"))
    pair.exchange()
    new = pair.other.save("Ada")
    pair.exchange()
    pair.one.service.restore(tmp_path / "kept.db")
    pair.exchange()
    assert pair.one.view().keys() == {kept, new}
    assert pair.one.people() == {"Eve": 1, "Ada": 1}


def test_a_page_that_was_asked_for_before_a_restore_does_not_move_the_position(pair: Pair, tmp_path: Path) -> None:
    """Otherwise what lies before it would be passed over for good."""
    pair.other.save("Bo")
    pair.exchange()
    copy_to(pair.one.store, tmp_path / "kept.db")
    pair.other.save("Cy")
    pair.exchange()
    late = pair.one.page
    assert late is not None
    pair.one.service.restore(tmp_path / "kept.db")
    pair.one.ask(late)
    pair.exchange()
    assert pair.one.people() == {"Bo": 1, "Cy": 1}


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_taken_whole_or_not_at_all(pair: Pair) -> None:
    """Whichever statement fails."""
    uuid = pair.one.save("Ada", image_path="faces/Ada/a.jpg")
    pair.one.save("Bo")
    person = rows(pair.one.store, "SELECT uuid FROM people WHERE name='Bo'")[0][0]
    pair.one.outgoing()
    pair.one.close()
    stamp = {"origin": "elsewhere", "seq": 1, "revision": (pair.clock.now + 1) << 10}
    items = [
        reference(),
        {"kind": "deleted", "id": uuid, **stamp},
        {"kind": "person", "id": person, "person_name": "Eve", **stamp},
    ]

    def attempt(store: Store) -> None:
        store.sync_key = KEY
        with store.transaction():
            sync_of(store, pair.one.folder).take_in(TakeIn("hub", "", "elsewhere:1", items), Changes())

    failures, _ = fail_everywhere(pair.one.folder / "face_embeddings.db", FailingConnection, attempt)
    assert failures > 20
    pair.one.open()  # for the fixture, which closes it
    assert pair.one.people() == {"Ada": 1, "Eve": 1}
