"""Strangers in a real store: known again, kept within bounds, named, forgotten, brought up from schema 1."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import RefusedError, Say
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.model import Stage, Switched, SwitchModel
from shared.ipc.requests.sightings import Record, Recorded, Sightings
from shared.ipc.requests.strangers import ForgetStranger, NameStranger, Strangers
from shared.model_id import ModelId
from shared.photos.reading import read_photo
from shared.records import NewReference, Stranger
from shared.service.service import StoreService
from shared.settings.schema import SiteSettings
from shared.store import schema
from shared.store.check import store_faults
from shared.store.copying import copy_database, copy_to
from shared.store.opening import backup_path, open_store
from shared.store.references import list_references
from shared.store.store import Store
from shared.strangers import strangers as store_strangers
from shared.strangers.traces import TraceIndex
from tests.support.old_stores import NEWER_TABLES
from tests.support.paths import FACES, ROOT, SMALL_PACK, needs_data
from tests.support.stores import bytes_under, everything, keep, rows, sightings, silent, store_in
from tests.support.stranger_events import MODEL, near, seen, trace
from tests.support.vectors import noise
from workers.photos.embedding import embed_image
from workers.recognizer_arcface import ArcFaceEngine

_DIM = 64


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with store_in(tmp_path / "data") as opened:
        yield opened


def service_of(store: Store, days: int = 7, say: Say = silent) -> StoreService:
    site = SiteSettings(name="test", keep_unknowns_days=days)
    return StoreService(store, None, site=site, data_dir=store.path.parent, say=say)


def tell(service: StoreService, *events: dict[str, Any]) -> list[str | None]:
    """Record events, in a request each; the id each new sighting got."""
    ids: list[str | None] = []
    for event in events:
        service.ask(Record([event]))
        ids += [one.unknown for one in service.new_sightings]
    return ids


def listed(service: StoreService) -> list[Stranger]:
    return service.ask(Strangers()).strangers


def pictures(store: Store) -> list[Path]:
    folder = store.path.parent / "strangers"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def faces(count: int) -> NDArray[np.float32]:
    return noise(np.random.default_rng(5), count, _DIM)


# --- known again ----------------------------------------------------------------------------------------------------


def test_a_stranger_who_returns_is_the_same(store: Store) -> None:
    """Another track, another camera, another day: one id; somebody else gets another. Nothing private is in the sighting."""
    service, rng = service_of(store), np.random.default_rng(1)
    ann, ben = faces(2)
    ids = tell(
        service,
        seen("a", trace(ann), track=1),
        seen("b", trace(ben), track=2),
        seen("c", trace(near(rng, ann)), camera="yard", track=1, time="2026-02-03T08:00:00.000Z"),
    )
    assert ids == ["stranger-1", "stranger-2", "stranger-1"]
    one, two = listed(service)
    assert (one.id, one.visits, one.cameras) == ("stranger-1", 2, ["door", "yard"])
    assert (one.first_seen, one.last_seen) == ("2026-01-31T08:00:00.000Z", "2026-02-03T08:00:00.000Z")
    assert (two.visits, len(two.photos)) == (1, 1)
    for document in sightings(store):
        assert not {"traces", "fingerprint", "alike", "key"} & set(document)
        assert "embedding" not in json.dumps(document)
    assert rows(store, "SELECT stranger FROM sightings ORDER BY id") == [(1,), (2,), (1,)]
    assert service.check() == []


def test_unknown_and_left_of_a_track_are_one_visit(store: Store) -> None:
    """Also when the later crops look like nobody kept: a track is one stranger's. A `left` alone is a visit too."""
    service = service_of(store)
    ann, other, ben = faces(3)
    later = "2026-01-31T08:05:00.000Z"
    ids = tell(
        service,
        seen("a", trace(ann)),
        seen("b", trace(other), kind="left", time=later),
        seen("c", trace(ben), kind="left", track=2),
    )
    assert ids == ["stranger-1", "stranger-1", "stranger-2"]
    assert [one.visits for one in listed(service)] == [1, 1]
    assert listed(service)[0].last_seen == later
    assert rows(store, "SELECT * FROM stranger_visits") == []


def test_a_camera_that_starts_anew_numbers_its_tracks_anew(store: Store) -> None:
    """After camera_up or camera_down, the same track number is another track."""
    service = service_of(store)
    ann, ben = faces(2)
    up = seen("u", kind="camera_up", track=None)  # type: ignore[arg-type]  # as such events are
    assert tell(service, seen("a", trace(ann)), up, seen("b", trace(ben))) == ["stranger-1", None, "stranger-2"]


def test_an_event_sent_again_counts_once(store: Store) -> None:
    """The same key, alone or in a batch with itself: one visit, one picture."""
    service = service_of(store)
    (ann,) = faces(1)
    again = seen("a", trace(ann), kind="left")
    assert service.ask(Record([again, again])) == Recorded(recorded=1, refused=[])
    assert tell(service, again) == []
    assert [(one.visits, len(one.photos)) for one in listed(service)] == [(1, 1)]
    assert len(pictures(store)) == 1


def test_a_track_that_gets_a_name_was_no_stranger(store: Store) -> None:
    """A stranger of that track alone goes, and what was seen is the person's, also to be forgotten; one seen before stays."""
    service = service_of(store)
    keep(store, faces(1), NewReference("Ada"))
    ann, ben = faces(2)
    tell(service, seen("a", trace(ann)), seen("b", kind="named", person="Ada"))
    assert (listed(service), pictures(store)) == ([], [])
    assert rows(store, "SELECT person, stranger FROM sightings") == [("Ada", None)] * 2
    tell(
        service,
        seen("c", trace(ben), track=2),
        seen("d", trace(ben), track=3),
        seen("e", kind="named", track=3, person="Ada"),
    )
    assert [one.id for one in listed(service)] == ["stranger-2"]
    assert service.ask(Forget("Ada")).sightings == 3


@needs_data
def test_lfw_mini_one_id_each_and_none_mixed(store: Store) -> None:
    """30 people, their photos one at a time as visits: no id is ever given to two people, and 29 have a single one."""
    engine = ArcFaceEngine(SMALL_PACK, det_size=640, threads=2)
    service = service_of(store)
    ids: dict[str, set[str]] = {}
    for person, embedding in _embedded(engine):
        event = seen(f"{len(ids)}-{len(sightings(store))}", trace(embedding), kind="left", alike=engine.threshold)
        (given,) = tell(service, event | {"track": store.sightings.last_id()})
        assert given is not None
        ids.setdefault(person, set()).add(given)
    given_out = [one for each in ids.values() for one in each]
    assert len(given_out) == len(set(given_out)), "one id for two people"
    assert len(ids) == 30
    assert sum(len(each) == 1 for each in ids.values()) >= 29
    assert all(len(one.photos) <= store_strangers.MAX_TRACES for one in listed(service))


def _embedded(engine: ArcFaceEngine) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for folder in sorted((FACES / "lfw_mini").iterdir()):
        for photo in sorted(folder.iterdir()):
            try:
                yield folder.name, embed_image(engine, read_photo(photo)).embedding
            except RefusedError:  # several people of like size
                continue


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_the_best_looks_are_kept(store: Store) -> None:
    """At most five, a better one in place of the worst; of looks of one moment the best one; the best is listed first."""
    service, rng = service_of(store), np.random.default_rng(3)
    (ann,) = noise(rng, 1, 512)
    looks = [near(rng, ann) for _ in range(9)]
    tell(service, seen("a", *(trace(looks[0], 0.5 + i / 100, b"\xff\xd8\xff%d" % i) for i in range(3))))
    assert [path.read_bytes() for path in pictures(store)] == [b"\xff\xd8\xff2"]
    tell(
        service,
        *(seen(f"k{i}", trace(look, i / 10), track=9) for i, look in enumerate(looks, 1)),
        seen("b", trace(near(rng, ann), 1)),
    )
    kept = [round(row[0], 2) for row in rows(store, "SELECT quality FROM stranger_traces ORDER BY quality")]
    assert kept == [0.6, 0.7, 0.8, 0.9, 1.0]
    best = store.path.parent / listed(service)[0].photos[0]
    assert [best.name] == [row[0] for row in rows(store, "SELECT photo FROM stranger_traces WHERE quality=1")]
    assert (len(pictures(store)), service.check()) == (5, [])


def test_the_stranger_seen_longest_ago_makes_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit, whoever was not seen for longest goes, pictures too; a number is never given again."""
    monkeypatch.setattr(store_strangers, "MAX_STRANGERS", 3)
    service = service_of(store)
    people = faces(5)
    minute = [f"2026-01-31T08:0{i}:00.000Z" for i in range(6)]
    tell(service, *(seen(f"{i}", trace(one), track=i, time=minute[i]) for i, one in enumerate(people[:3])))
    tell(service, seen("x", trace(people[0]), track=9, time=minute[4]))
    tell(service, seen("y", trace(people[3]), track=10, time=minute[5]))
    assert [one.id for one in listed(service)] == ["stranger-1", "stranger-3", "stranger-4"]
    service.ask(ForgetStranger("stranger-4"))
    assert tell(service, seen("z", trace(people[4]), track=11)) == ["stranger-5"]
    assert (len(pictures(store)), service.check()) == (3, [])


def test_strangers_are_kept_as_long_as_the_settings_say(store: Store) -> None:
    """`purge` removes who was last seen longer ago, pictures too; with 0 days whoever is there goes and nobody gets an id."""
    service = service_of(store, days=2)
    ann, ben, cay = faces(3)
    now = datetime.now(UTC)
    old, new = (f"{now - timedelta(days=days):%Y-%m-%dT%H:%M:%S}.000Z" for days in (3, 1))
    tell(service, seen("a", trace(ann), time=old), seen("b", trace(ben), track=2, time=new))
    service.purge()
    assert [one.id for one in listed(service)] == ["stranger-2"]
    assert len(pictures(store)) == 1
    ahead = f"{now + timedelta(days=9):%Y-%m-%dT%H:%M:%S}.000Z"  # a clock that was wrong
    tell(service, seen("d", trace(noise(np.random.default_rng(8), 1, _DIM)[0]), track=4, time=ahead))
    keeps_none = service_of(store, days=0)
    keeps_none.purge()
    assert tell(keeps_none, seen("c", trace(cay), track=3)) == [None]
    assert (listed(keeps_none), pictures(store)) == ([], [])
    assert rows(store, "SELECT COUNT(*) FROM stranger_traces") == [(0,)]


def test_visits_do_not_renew_a_stranger(store: Store) -> None:
    """Seen every sixth day for a year, with a week to be kept: never kept longer than a week from the first sight on."""
    service, (ann,) = service_of(store, days=7), faces(1)
    start = datetime.now(UTC) - timedelta(days=366)
    for day in range(0, 366, 6):
        now = start + timedelta(days=day)
        tell(service, seen(f"{day}", trace(ann), track=day, time=f"{now:%Y-%m-%dT%H:%M:%S}.000Z"))
        with store.transaction():
            service._strangers.purge(now)
        for one in listed(service):
            assert datetime.fromisoformat(one.first_seen) >= now - timedelta(days=7, seconds=1)


def test_another_models_strangers_go_with_the_switch(store: Store) -> None:
    """`models use` drops them and says so; a camera that still sends the old model's embeddings makes nobody new."""
    service = service_of(store)
    store.stamp(ModelId.parse("x/old", MODEL, _DIM))
    keep(store, faces(1), NewReference("Ada", "faces/Ada/1.jpg"))
    tell(service, seen("a", trace(faces(2)[1])))
    (reference,) = list_references(store)
    staged = Stage([reference.id], [reference.change_number or 0], "b" * 64, vectors=faces(1))
    _, answer = service.write([staged, SwitchModel(ModelId.parse("x/new", "b" * 64, _DIM), [])])
    assert isinstance(answer, Switched)
    assert "1 strangers were dropped" in (answer.warning or "")
    assert (listed(service), pictures(store)) == ([], [])
    assert tell(service, seen("b", trace(faces(2)[1]), track=2)) == [None]


@pytest.mark.parametrize(
    "fault",
    [
        {"embedding": "no base64!"},
        {"embedding": base64.b64encode(b"odd").decode()},
        {"embedding": base64.b64encode(np.zeros(_DIM, "<f4").tobytes()).decode()},
        {"quality": 7},
        {"photo": base64.b64encode(b"GIF89a").decode()},
        {"photo": base64.b64encode(b"\xff\xd8\xff" + bytes(600 << 10)).decode()},
    ],
)
def test_a_malformed_trace_costs_the_sighting_nothing_but_its_stranger(store: Store, fault: dict[str, Any]) -> None:
    """It is recorded without an id, what the trace had written is taken back, pictures too, and it is said once."""
    said: list[str] = []
    service = service_of(store, say=said.append)
    ann, ben = faces(2)
    bad = [seen("a", trace(ann)), *(seen(f"b{n}", {**trace(ben), **fault}, track=2 + n) for n in range(2))]
    assert service.ask(Record(bad)) == Recorded(recorded=3, refused=[])
    assert (len(pictures(store)), len(listed(service)), service.check()) == (1, 1, [])
    assert len(said) == 1
    assert "could not be kept" in said[0]
    assert [one.unknown for one in service.ask(Sightings()).events] == [listed(service)[0].id, None, None]
    assert tell(service, seen("d", trace(ann), track=9)) == [listed(service)[0].id]


def test_the_index_against_a_plain_dict() -> None:
    """Adding and dropping at random, past its first room: the same best trace as looking at each."""
    rng = np.random.default_rng(11)
    index, plain = TraceIndex(16), dict[int, NDArray[np.float32]]()
    for step in range(1500):
        if plain and rng.random() < 0.4:
            gone = [int(one) for one in rng.choice(list(plain), min(3, len(plain)), replace=False)]
            index.drop([*gone, -1])
            for one in gone:
                del plain[one]
        else:
            plain[step] = noise(rng, 1, 16)[0]
            index.add(step, 10 * step, plain[step])
        if step % 50 == 0 and plain:
            probes = noise(rng, 2, 16)
            best = max(plain, key=lambda one: float((probes @ plain[one]).max()))
            found = index.best(probes)
            assert found is not None
            assert found[0] == 10 * best
    assert len(index) == len(plain)
    index.drop(plain)
    assert index.best(noise(rng, 1, 16)) is None


# --- named, forgotten -----------------------------------------------------------------------------------------------


def test_forgotten_to_the_last_byte(store: Store, tmp_path: Path) -> None:
    """`forget --unknown`: rows, embeddings, pictures and sightings, WAL and backup included; others stay. Then there is nobody."""
    service, rng = service_of(store), np.random.default_rng(9)
    people = noise(rng, 40, 256)  # so long that nobody is like anybody else by chance
    looks = [near(rng, people[7]) for _ in range(30)]
    for i in range(30):  # much change: rows are moved from page to page
        others = [
            seen(
                f"o{i}-{j}",
                trace(near(rng, one), rng.random(), b"\xff\xd8\xff others"),
                track=100 * i + j,
                camera="yard",
            )
            for j, one in enumerate(people)
            if j != 7
        ]
        tell(service, *others, seen(f"a{i}", trace(looks[i], rng.random(), b"\xff\xd8\xff pixels of her"), track=i))
    ((him,),) = rows(store, "SELECT DISTINCT stranger FROM sightings WHERE camera='door'")
    copy_to(store, backup_path(store.path))
    count = len(listed(service))
    answer = service.ask(ForgetStranger(f"stranger-{him}"))
    assert answer.sightings >= 30
    assert answer.warning is None
    assert len(listed(service)) == count - 1
    for name, content in bytes_under(store.path.parent, tmp_path / "copy").items():
        assert b"pixels of her" not in content, name
        assert not [one for one in looks if one.tobytes()[:48] in content or one.tobytes()[-48:] in content], name
        assert f'"stranger-{him}"'.encode() not in content, name
    assert service.check() == []
    again = service.ask(ForgetStranger(str(him)))
    assert (again.already, again.photos, again.sightings) == (True, 0, 0)
    with pytest.raises(RefusedError):
        service.ask(ForgetStranger("stranger-999"))


def test_a_copy_holds_no_stranger(store: Store, tmp_path: Path) -> None:
    """Backups would keep embeddings longer than the settings say: they are not in them, in no byte; the rest is."""
    service = service_of(store)
    people = faces(50)
    keep(store, faces(2), NewReference("Ada"), NewReference("Bo"))
    tell(service, *(seen(f"{i}", trace(one), track=i) for i, one in enumerate(people[2:])))
    target = tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    assert copy_database(store.connection, target)
    assert [path.name for path in target.parent.iterdir()] == ["copy.db"]
    content = target.read_bytes()
    assert not [one for one in people[2:] if one.tobytes()[:32] in content]
    kept = everything(target)
    assert (kept["strangers"], kept["stranger_traces"], len(kept["sightings"])) == ([], [], 48)
    assert len(kept["embeddings"]) == 2


def test_named_into_a_person_sightings_too(store: Store) -> None:
    """`name_stranger`: what was seen of the stranger is the person's, in the backup too, the documents as they were; nobody
    unknown stays. Without a reference of that person it is refused and nothing changes."""
    service = service_of(store)
    (ann,) = faces(1)
    tell(service, seen("a", trace(ann)), seen("b", trace(ann), kind="left"))
    with pytest.raises(RefusedError):
        service.ask(NameStranger("stranger-1", "Ada"))
    assert len(listed(service)) == 1
    keep(store, faces(1), NewReference("Ada"))
    copy_to(store, backup_path(store.path))
    assert service.ask(NameStranger("1", "Ada")).sightings == 2
    assert (listed(service), pictures(store)) == ([], [])
    assert [one["unknown"] for one in sightings(store)] == ["stranger-1"] * 2
    backup = everything(backup_path(store.path))
    assert [row[5] for row in backup["sightings"]] == ["Ada", "Ada"]
    service.ask(Forget("Ada"))
    assert sightings(store) == []


# --- where else, and withdrawn --------------------------------------------------------------------------------------


def test_two_places_at_once_is_in_the_sighting(store: Store) -> None:
    """`also_at` in the second `named`, also when a writer has taken another's place between."""
    keep(store, faces(1), NewReference("Ada"))
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.000Z"
    named: dict[str, Any] = {"kind": "named", "person": "Ada", "time": now}
    tell(service_of(store), seen("a", **named))
    after = service_of(store)
    tell(after, seen("b", camera="yard", track=4, **named))
    first, second = sightings(store)
    assert "also_at" not in first
    assert second["also_at"] == [{"camera": "door", "track": 1}]
    tell(after, seen("c", **named | {"kind": "withdrawn"}), seen("d", camera="hall", **named))
    assert sightings(store)[-1]["also_at"] == [{"camera": "yard", "track": 4}]


def test_withdrawn_of_somebody_deleted_is_passed_over(store: Store) -> None:
    """Like `named`: whom nobody knows any more is not written down again."""
    keep(store, faces(1), NewReference("Ada"))
    service = service_of(store)
    tell(service, seen("a", kind="withdrawn", person="Ada"), seen("b", kind="withdrawn", person="Bo"))
    assert [one["person"] for one in sightings(store)] == ["Ada"]


# --- the file -------------------------------------------------------------------------------------------------------


def _version_1(path: Path) -> None:
    """A database as schema 1 made it, with a reference and a sighting in it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size=16384")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(schema.EMBEDDINGS)
    old = """CREATE TABLE sightings(
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, event TEXT NOT NULL, time TEXT NOT NULL,
        camera TEXT NOT NULL, person TEXT, document TEXT NOT NULL)"""
    for statement in schema.OWN_TABLES:
        if statement not in schema.STRANGERS and not any(table in statement for table in NEWER_TABLES):
            connection.execute(
                old
                if "CREATE TABLE sightings" in statement
                else statement.replace(", checksum INTEGER, turn REAL", "").replace(", turn REAL", "")
            )
    facts = {"schema_version": "1", "change_number": "1", "mark_key": "k", "dim": str(_DIM)}
    connection.executemany("INSERT INTO store_facts VALUES (?, ?)", facts.items())
    blob = faces(1).astype("<f4").tobytes()
    connection.execute("INSERT INTO embeddings(person_name, embedding) VALUES ('Ada', ?)", (blob,))
    connection.execute("INSERT INTO reference_facts VALUES (1, 'u', 1, NULL)")
    document = json.dumps(
        {"event": "named", "time": "2026-01-31T08:00:00.000Z", "camera": "door", "person": "Ada", "track": 1}
    )
    connection.execute(
        "INSERT INTO sightings VALUES (41, 'k', 'named', '2026-01-31T08:00:00.000Z', 'door', 'Ada', ?)", (document,)
    )
    connection.close()


def test_a_database_of_schema_1_is_brought_up(tmp_path: Path) -> None:
    """With a copy beside it, without the sightings, which it would keep too long. Sightings keep their ids, strangers can be met, and the
    tables are those of a new one."""
    path = tmp_path / "face_embeddings.db"
    _version_1(path)
    said: list[str] = []
    with store_in(tmp_path, said) as store:
        assert "schema 1 -> 9" in said[0]
        assert (store.fact("schema_version"), store_faults(store)) == ("9", [])
        service = service_of(store)
        assert tell(service, seen("a", trace(faces(1)[0]))) == ["stranger-1"]
        assert [one["id"] for one in sightings(store)] == [41, 42]
        columns = rows(store, "PRAGMA table_info(sightings)")
        with store_in(tmp_path / "new") as new:
            assert columns == rows(new, "PRAGMA table_info(sightings)")
            names = "SELECT name FROM sqlite_master ORDER BY name"
            assert rows(store, names) == rows(new, names)
    (copy,) = tmp_path.glob("*.before-v9-*.bak")
    assert "strangers" not in everything(copy)
    assert everything(copy)["sightings"] == [], "a copy would keep them for longer than the settings say"
    assert len(everything(copy)["embeddings"]) == 1


def test_a_backup_of_schema_1_forgets_too(tmp_path: Path) -> None:
    """The site's own backup of before the migration: a stranger is not in it, and it stays; a person leaves it."""
    with store_in(tmp_path) as store:
        service = service_of(store)
        keep(store, faces(1), NewReference("Ada"))
        tell(service, seen("a", trace(faces(2)[1])))
        _version_1(backup_path(store.path))
        service.ask(ForgetStranger("stranger-1"))
        assert len(everything(backup_path(store.path))["embeddings"]) == 1
        service.ask(Forget("Ada"))
        assert everything(backup_path(store.path))["embeddings"] == []


_DIES = """
import os, sys, sqlite3
from pathlib import Path
from shared.store.store import Store
from shared.store.connection import connect
from shared.ipc.requests.sightings import Record
from shared.service.service import StoreService
from shared.settings.schema import SiteSettings
from tests.support.stranger_events import seen, trace
from tests.support.vectors import noise
import numpy as np

class Dies(sqlite3.Connection):
    def execute(self, sql, *arguments):
        if sql == sys.argv[2] and Path(sys.argv[1], "strangers").is_dir():
            os.kill(os.getpid(), 9)
        return super().execute(sql, *arguments)

data = Path(sys.argv[1])
store = Store(connect(data / "face_embeddings.db", Dies), data / "face_embeddings.db", read_only=False)
service = StoreService(store, None, site=SiteSettings(name="s", keep_unknowns_days=7), data_dir=data, say=print)
service.write([Record([seen("k", trace(noise(np.random.default_rng(0), 1, 64)[0]))])])
"""


def test_killed_between_picture_and_commit(tmp_path: Path) -> None:
    """The picture is there, its row is not: the next start removes it, and `check` finds nothing."""
    with store_in(tmp_path):
        pass
    dead = subprocess.run(
        [sys.executable, "-c", _DIES, str(tmp_path), "COMMIT"], cwd=ROOT, check=False, timeout=60, capture_output=True
    )
    assert dead.returncode == -9, dead.stderr
    assert len(list((tmp_path / "strangers").iterdir())) == 1
    with store_in(tmp_path) as store:
        service = service_of(store)
        service.purge()
        assert (listed(service), pictures(store), service.check()) == ([], [], [])


def test_a_picture_that_is_gone_takes_its_trace_along(tmp_path: Path) -> None:
    """Deleted by hand, or lost with the power: `check` names it, the next start lets go of the trace; private all the while."""
    ann, ben = faces(2)
    with store_in(tmp_path) as store:
        service = service_of(store)
        tell(service, seen("a", trace(ann)), seen("b", trace(ben), track=2))
        first, _ = pictures(store)
        assert first.stat().st_mode & 0o777 == 0o600
        assert first.parent.stat().st_mode & 0o777 == 0o700
        first.unlink()
        assert [line for line in service.check() if "picture is missing" in line and first.name in line]
    with store_in(tmp_path) as store:
        service = service_of(store, days=3650)
        service.purge()
        assert [one.id for one in listed(service)] == ["stranger-2"]
        assert service.check() == []


def test_numbers_go_on_after_damage(tmp_path: Path) -> None:
    """A database that is made anew in place of a damaged one gives no number again that the old one can have given."""
    path = tmp_path / "face_embeddings.db"
    with store_in(tmp_path) as store:
        tell(service_of(store), seen("a", trace(faces(1)[0])))
    path.write_bytes(b"damaged" * 1000)
    opened = open_store(path, silent)
    (given,) = tell(service_of(opened), seen("a", trace(faces(1)[0])))
    opened.close()
    assert given is not None
    assert int(given.removeprefix("stranger-")) > 1000
