"""Sites' galleries and two real backends in front of one real database: what each rule of docs/sync.md says."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.ipc.requests.people import Merge, Rename, UndoPeople
from shared.ipc.requests.references import Save
from shared.ipc.requests.sightings import Record
from shared.ipc.requests.sync import FromElsewhere, Outgoing, SentSightings
from shared.model_id import ModelId
from shared.records import NewReference
from shared.store.tombstones import hash_of
from tests.support.hub import Backend, batch, deleted, reference
from tests.support.mongodb import mongodb, needs_mongodb
from tests.support.paths import ROOT
from tests.support.sync_site import DIM, MODEL, SyncSite, face
from workers.sync.faults import BackendFault, NotLetInError
from workers.sync.loop import late_sites

pytestmark = needs_mongodb
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Backend, Backend]]:
    folder = tmp_path_factory.mktemp("hub")
    with mongodb(folder / "db") as uri, Backend(folder / "a", uri) as one, Backend(folder / "b", uri) as two:
        yield one, two


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Backend]:
    """A backend whose database nobody else uses."""
    with mongodb(tmp_path / "db") as uri, Backend(tmp_path / "hub", uri) as one:
        yield one


@pytest.fixture
def pair(tmp_path: Path, own_hub: Backend) -> Iterator[tuple[SyncSite, SyncSite]]:
    with SyncSite(tmp_path / "a", own_hub.address) as one, SyncSite(tmp_path / "b", own_hub.address) as two:
        yield one, two


def _settle(*sites: SyncSite) -> None:
    """Exchange until nobody has anything to say."""
    for _ in range(10):
        reports = [site.sync() for site in sites]
        if not any(one.sent or one.received for one in reports):
            return
    raise AssertionError("never quiet")


def _view(site: SyncSite) -> dict[str, Any]:
    """Everything that sites must agree on, by the references' UUIDs."""
    rows = site.gallery.store.connection.execute(
        "SELECT f.uuid, e.person_name, p.uuid, e.user_id, hex(e.embedding) FROM embeddings e "
        "JOIN reference_facts f ON f.embedding_id=e.id JOIN people p ON p.name=e.person_name"
    )
    return {row[0]: row[1:] for row in rows.fetchall()}


def test_two_sites_agree(pair: tuple[SyncSite, SyncSite]) -> None:
    """References, names and user ids are the same at both, with their embeddings to the last bit; a third exchange is one small request."""
    one, two = pair
    one.enrol("Ada", 1, "faces/Ada/1.jpg", "17")
    one.enrol("Ada", 2)
    two.enrol("Bo", 3)
    two.enrol("Ada", 4)
    _settle(one, two)
    assert _view(one) == _view(two)
    assert one.people() == {"Ada": 3, "Bo": 1}
    assert len({row[1] for row in _view(one).values() if row[0] == "Ada"}) == 1, "one person"
    quiet = one.sync()
    assert quiet.requests == 1
    assert quiet.sent_bytes + quiet.received_bytes < 1000


def test_a_change_costs_little(pair: tuple[SyncSite, SyncSite]) -> None:
    """One reference more: what went over both wires is below 8 KB."""
    one, two = pair
    for seed in range(20):
        one.enrol(f"P{seed}", seed)
    _settle(one, two)
    one.enrol("New", 99)
    sent, taken = one.sync(), two.sync()
    assert sent.sent == taken.taken == 1
    assert sent.sent_bytes + sent.received_bytes + taken.sent_bytes + taken.received_bytes < 8000


def test_renames_merges_and_undoing_travel(pair: tuple[SyncSite, SyncSite]) -> None:
    """What is done to a person at one site is so at the other, in either direction."""
    one, two = pair
    one.enrol("Ada", 1)
    two.enrol("Ada L", 2)
    _settle(one, two)
    two.gallery.ask(Merge("Ada L", "Ada"))
    _settle(two, one)
    assert one.people() == two.people() == {"Ada": 2}
    two.gallery.ask(UndoPeople())
    _settle(two, one)
    assert one.people() == two.people() == {"Ada": 1, "Ada L": 1}
    one.gallery.ask(Rename("Ada", "Countess"))
    _settle(one, two)
    assert _view(one) == _view(two)
    assert one.people() == {"Countess": 1, "Ada L": 1}


def test_two_user_ids_are_two_people(pair: tuple[SyncSite, SyncSite]) -> None:
    """One name with two user ids: both sites show the same two people."""
    one, two = pair
    one.enrol("Ada", 1, user_id="7")
    two.enrol("Ada", 2, user_id="8")
    _settle(one, two)
    assert _view(one) == _view(two)
    assert sorted(one.people()) in (["Ada", "Ada (8)"], ["Ada", "Ada (7)"])


def test_forgotten_at_one_is_forgotten_at_all(pair: tuple[SyncSite, SyncSite]) -> None:
    """References that the forgetting site never saw go as well, since the tombstone knows the person by the hash of the name. Enrolled anew, the
    person is there again."""
    one, two = pair
    one.enrol("Ada", 1)
    _settle(one, two)
    two.enrol("Ada", 2)
    two.enrol("Bo", 3)
    one.gallery.forget("Ada")
    _settle(one, two)
    assert one.people() == two.people() == {"Bo": 1}
    two.enrol("Ada", 4)
    _settle(two, one)
    assert one.people() == two.people() == {"Ada": 1, "Bo": 1}


def test_without_a_key_a_tombstone_knows_references(tmp_path: Path, own_hub: Backend) -> None:
    """No name and no hash of it leaves the site; the person whom both sites know as one is forgotten at both all the same."""
    with (
        SyncSite(tmp_path / "a", own_hub.address, key=None) as one,
        SyncSite(tmp_path / "b", own_hub.address, key=None) as two,
    ):
        one.enrol("Ada", 1)
        _settle(one, two)
        assert not one.standing().has_key
        one.gallery.forget("Ada")
        stones = [item for item in one.gallery.ask(Outgoing(90_000)).items if item.get("kind") == "forgotten"]
        assert [item["person_hash"] for item in stones] == [None]
        assert "Ada" not in str(stones)
        _settle(one, two)
        assert two.people() == {}


def test_the_hash_needs_the_key(tmp_path: Path, own_hub: Backend) -> None:
    """The same name has the same hash at sites with the same key, and another with another key."""
    with (
        SyncSite(tmp_path / "a", own_hub.address) as one,
        SyncSite(tmp_path / "b", own_hub.address) as two,
        SyncSite(tmp_path / "c", own_hub.address, key="77" * 32) as other,
    ):
        hashes = [hash_of(site.gallery.store, "Ada") for site in (one, two, other)]
        assert hashes[0] == hashes[1] != hashes[2]


def test_a_deletion_beats_a_change_that_did_not_know_of_it(pair: tuple[SyncSite, SyncSite]) -> None:
    """Deleted at one site while the other changes it, later: it is gone."""
    one, two = pair
    one.enrol("Ada", 1, "faces/Ada/1.jpg")
    one.enrol("Ada", 2, "faces/Ada/2.jpg")
    _settle(one, two)
    [uuid] = [key for key, row in _view(two).items() if row[3] == face(1).tobytes().hex().upper()]
    one.gallery.delete("Ada", "faces/Ada/1.jpg")
    two.gallery.ask(Save([NewReference("Ada", None, None, uuid)], None, vectors=face(9)[np.newaxis]))
    _settle(two, one)
    assert one.people() == two.people() == {"Ada": 1}
    assert uuid not in _view(one)


def test_a_copy_of_the_database_is_another_site(tmp_path: Path, own_hub: Backend) -> None:
    """A copied file goes on by itself: it takes a new origin at the hub's word, nobody loses anything, and what was forgotten stays so."""
    with SyncSite(tmp_path / "a", own_hub.address) as one:
        one.enrol("Ada", 1)
        one.enrol("Bo", 2)
        _settle(one)
        origin = one.standing().origin
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    with SyncSite(tmp_path / "a", own_hub.address) as one:
        one.gallery.forget("Ada")
        one.enrol("Cy", 3)
        _settle(one)
        with SyncSite(tmp_path / "copy", own_hub.address) as copy:
            copy.enrol("Di", 4)
            _settle(copy, one)
            assert copy.standing().origin != origin == one.standing().origin
            assert one.people() == copy.people() == {"Bo": 1, "Cy": 1, "Di": 1}
            assert _view(one) == _view(copy)


def test_a_restored_backup_does_not_bring_back_the_forgotten(tmp_path: Path, pair: tuple[SyncSite, SyncSite]) -> None:
    """Backed up, forgotten at the other site, restored here: the person stays forgotten everywhere; what was enrolled meanwhile stays."""
    one, two = pair
    one.enrol("Ada", 1)
    one.enrol("Bo", 2)
    _settle(one, two)
    one.gallery.backup_to(tmp_path / "old.db")
    two.gallery.forget("Ada")
    two.enrol("Cy", 3)
    _settle(two, one)
    before = one.standing().origin
    staged = one.settings.copies_dir / "old.db"
    staged.parent.mkdir(exist_ok=True)
    shutil.copyfile(tmp_path / "old.db", staged)
    one.gallery.restore(staged)
    _settle(one, two)
    assert one.standing().origin != before
    assert one.people() == two.people() == {"Bo": 1, "Cy": 1}


def test_another_database_behind_the_address(tmp_path: Path) -> None:
    """The hub lost everything: the site sees another database, says so once, and sends all that it has."""
    with (
        mongodb(tmp_path / "db1") as first,
        mongodb(tmp_path / "db2") as second,
        Backend(tmp_path / "hub1", first) as old,
        Backend(tmp_path / "hub2", second) as new,
    ):
        with SyncSite(tmp_path / "a", old.address) as one:
            one.enrol("Ada", 1)
            one.enrol("Bo", 2)
            one.gallery.forget("Bo")
            _settle(one)
        with SyncSite(tmp_path / "a", new.address) as one, SyncSite(tmp_path / "b", new.address) as two:
            with pytest.raises(BackendFault, match="another database"):
                one.sync()
            _settle(one, two)
            assert two.people() == {"Ada": 1}


def test_a_hub_that_was_set_back_gets_what_it_lacks(tmp_path: Path, own_hub: Backend) -> None:
    """The database was restored from an older backup: it lacks the last batches, says from where, and gets them."""
    with SyncSite(tmp_path / "a", own_hub.address) as one:
        one.enrol("Ada", 1)
        _settle(one)
        shutil.copytree(tmp_path / "a", tmp_path / "hidden")
    with SyncSite(tmp_path / "hidden", own_hub.address) as one:
        with one.gallery.store.transaction():
            one.gallery.store.next_change(1000)
            one.gallery.store.connection.execute("UPDATE sync_state SET value=value+900 WHERE key='sent'")
        one.enrol("Bo", 2)
        _settle(one)
        with SyncSite(tmp_path / "b", own_hub.address) as two:
            _settle(two)
            assert two.people() == {"Ada": 1, "Bo": 1}


def test_a_hub_that_lacks_what_was_read_of_others_gets_it_from_who_read_it(tmp_path: Path, own_hub: Backend) -> None:
    """The database was restored from an older backup, and the site that had sent the rest is gone for good."""
    with SyncSite(tmp_path / "a", own_hub.address) as one, SyncSite(tmp_path / "b", own_hub.address) as two:
        one.enrol("Ada", 1)
        two.enrol("Bo", 2)
        _settle(one, two)
        with one.gallery.store.transaction():
            one.gallery.store.connection.execute(
                "UPDATE sync_state SET value=? WHERE key='position'", (f"{two.standing().origin}:999",)
            )
        assert one.sync().sent == 1
        _settle(one, two)
        assert one.people() == two.people() == {"Ada": 1, "Bo": 1}
        assert own_hub.client().pull(one.standing().position).get("behind") is None


def test_a_revoked_token_ends_the_exchange(tmp_path: Path) -> None:
    """Revoked in the middle: the next request is refused, the site keeps everything and says why; with a new token it goes on."""
    with mongodb(tmp_path / "db") as uri, Backend(tmp_path / "hub", uri) as hub:
        token = _backend_token(tmp_path / "hub", uri, "mill")
        with SyncSite(tmp_path / "a", hub.address, token=token) as one:
            one.enrol("Ada", 1)
            _settle(one)
            _revoke(tmp_path / "hub", uri, "mill")
            one.enrol("Bo", 2)
            ended = threading.Event()
            for _ in range(100):
                try:
                    one.sync()
                except NotLetInError as error:
                    assert token not in error.line()
                    break
                ended.wait(0.1)
            else:
                raise AssertionError("still let in")
            assert one.people() == {"Ada": 1, "Bo": 1}
        with SyncSite(tmp_path / "a", hub.address, token=_backend_token(tmp_path / "hub", uri, "mill")) as one:
            _settle(one)
            assert one.people() == {"Ada": 1, "Bo": 1}


def _backend_token(folder: Path, uri: str, site: str) -> str:
    made = subprocess.run(
        [sys.executable, str(ROOT / "supervisor.py"), "backend", "token", "create", site],
        cwd=folder,
        env={**os.environ, "MONGODB_URI": uri},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip().splitlines()[-1]


def _revoke(folder: Path, uri: str, site: str) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "supervisor.py"), "backend", "token", "revoke", site],
        cwd=folder,
        env={**os.environ, "MONGODB_URI": uri},
        capture_output=True,
        check=True,
    )


def test_unfit_items_hold_up_nothing(tmp_path: Path, own_hub: Backend) -> None:
    """An item of a model that is not ours stays at the hub; of what a wrong site sent, the hub refuses what is unfit, and the rest comes."""
    client, origin = own_hub.client(), secrets.token_urlsafe(8)
    wrong = [
        reference(next(_numbers), 1),
        reference(next(_numbers), 2, person_name="../x"),
        reference(next(_numbers), 3, model="cd" * 32),
        reference(next(_numbers), 4, revision=1 << 52),
        deleted(next(_numbers), 5),
    ]
    answer = client.push(batch(origin, 0, wrong, None, "one"))
    assert len(answer["refused"]) == 2
    with SyncSite(tmp_path / "a", own_hub.address) as one:
        one.sync()
        assert len(one.people()) == 1
        assert one.standing().quarantined == 0


def test_plain_clients_and_ours_share_a_hub(tmp_path: Path, own_hub: Backend) -> None:
    """What a plain client sends is enrolled at a site of ours, and it gets what the site has."""
    client = own_hub.client()
    item = {
        "person_name": "Old",
        "embedding": [float(one) for one in face(5)],
        "image_path": "Old/1.jpg",
        "user_id": None,
    }
    client.push({"embeddings": [item]})
    with SyncSite(tmp_path / "a", own_hub.address) as one:
        one.enrol("Ada", 1)
        _settle(one)
        assert one.people() == {"Ada": 1, "Old": 1}
        assert sorted(got["person_name"] for got in client.plain()) == ["Ada", "Old"]


def test_sightings_go_up_once_and_strangers_stay(pair: tuple[SyncSite, SyncSite], own_hub: Backend) -> None:
    """Named sightings are at the hub, in order and once, also if they are sent again; unknown ones never; those of somebody who is forgotten
    go, and later ones are dropped."""
    one, _ = pair
    one.enrol("Ada", 1)
    _see(one, "Ada", "a")
    _see(one, None, "b")
    _see(one, "Ada", "c")
    _settle(one)
    client = own_hub.client()
    assert [shown["person"] for shown in _sightings(client)] == ["Ada", "Ada"]
    assert not any("box" in shown or "unknown" in shown for shown in _sightings(client))
    one.gallery.ask(SentSightings(0))
    _settle(one)
    assert len(_sightings(client)) == 2
    one.gallery.forget("Ada")
    _settle(one)
    assert _sightings(client) == []


def _see(site: SyncSite, person: str | None, key: str) -> None:
    document = {
        "key": key, "event": "unknown" if person is None else "named", "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "camera": "gate", "person": person, "score": 0.5, "margin": 0.1, "track": 1, "frames": 3, "box": [1.0, 2.0, 3.0, 4.0],
    }  # fmt: skip  # an event
    assert site.gallery.ask(Record([document])).recorded == 1


def _sightings(client: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.ask("GET", "/sightings").json()["sightings"]
    return found


def test_who_has_not_confirmed(pair: tuple[SyncSite, SyncSite]) -> None:
    """A site that has not read a deletion is named until it has. (Without tokens both are one site, so the hub's list is read as it is.)"""
    one, two = pair
    one.enrol("Ada", 1)
    _settle(one, two)
    one.gallery.forget("Ada")
    one.sync()
    standing = one.standing()
    now = datetime.now(UTC)
    seen = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    behind = {"site": "mill", "seen_at": seen, "confirmed": f"{standing.origin}:{standing.last_tombstone - 1}"}
    ahead = {"site": "harbour", "seen_at": seen, "confirmed": f"{standing.origin}:{standing.last_tombstone}"}
    gone = {"site": "closed", "seen_at": "2020-01-01T00:00:00Z", "confirmed": ""}
    never = {"site": "new", "seen_at": seen, "confirmed": ""}
    assert late_sites([behind, ahead, gone, never, "?"], standing.origin, standing.last_tombstone, now) == [
        "mill",
        "new",
    ]
    assert one.backend.sites()


def test_two_backends_are_one_hub(tmp_path: Path, backends: tuple[Backend, Backend]) -> None:
    """Sites at different backends agree, and one may change its backend in the middle."""
    with SyncSite(tmp_path / "a", backends[0].address) as one, SyncSite(tmp_path / "b", backends[1].address) as two:
        one.enrol("Ada", 1)
        _settle(one, two)
        assert two.people() == {"Ada": 1}
    with SyncSite(tmp_path / "a", backends[1].address) as one:
        one.enrol("Bo", 2)
        _settle(one)
        assert one.people() == {"Ada": 1, "Bo": 1}


def test_another_model_is_kept_apart(pair: tuple[SyncSite, SyncSite]) -> None:
    """One site changes its model: what came from elsewhere leaves it without a tombstone, stays at the hub, and comes again once its site has
    the new model, too. Nothing is mixed meanwhile."""
    one, two = pair
    one.enrol("Ada", 1)
    two.enrol("Bo", 2)
    _settle(one, two)
    _change_model(one, {"Ada": 11})
    _settle(one, two)
    assert one.people() == {"Ada": 1}
    assert two.people() == {"Ada": 1, "Bo": 1}, "of the old model"
    _change_model(two, {"Bo": 12})
    _settle(two, one)
    assert one.people() == two.people() == {"Ada": 1, "Bo": 1}
    assert _view(one) == _view(two)


def _change_model(site: SyncSite, seeds: dict[str, int]) -> None:
    """Switch to another model of the same dimension, as `models use` does: with new embeddings of what was enrolled here."""
    elsewhere = set(site.gallery.ask(FromElsewhere()).ids)
    references = [one for one in site.gallery.references() if one.id not in elsewhere]
    other = ModelId.parse("insightface/other", "cd" * 32, DIM)
    site.gallery.stage(references, np.stack([face(seeds[one.person]) for one in references]), other.fingerprint)
    assert site.gallery.switch_model(other, sorted(elsewhere)).switched


def test_the_dimensions_are_those_of_the_model() -> None:
    """The invented model of these tests is the hub's of its own tests, so that both can be used together."""
    assert (MODEL.fingerprint, DIM) == ("ab" * 32, 128)
