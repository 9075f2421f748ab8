"""Databases from elsewhere, and damaged ones of ours: what is odd costs itself, is told without a name, and the rest serves."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import ConfigurationError, RefusedError
from shared.records import NewReference
from shared.service.access import SiteAccess
from shared.settings.file import load_settings
from shared.store import connection as store_connection
from shared.store import migration
from shared.store.check import store_faults
from shared.store.copying import copy_to
from shared.store.loading import sound_batches
from shared.store.opening import open_read_only, open_store
from shared.store.proof import IntegrityProof
from shared.store.references import count_references, forget_person, list_people, list_references
from tests.component.test_migration import raw, write_original
from tests.support.old_stores import write_version_2
from tests.support.paths import needs_data
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import write_site
from tests.support.stores import keep, rows, silent, site_settings, store_in
from tests.support.vectors import noise

_RNG = np.random.default_rng(23)
_ROW = "INSERT INTO embeddings VALUES (?, ?, ?, ?, ?, ?, ?)"
_DAY = "2024-05-06 07:08:09"


def _original_with(path: Path, *odd: tuple[Any, ...], script: str = "") -> None:
    """The original's file with Ada, Bo and the `odd` rows in it, then `script`."""
    write_original(path, [(name, raw(noise(_RNG, 1, 512)[0]), None, None) for name in ("Ada", "Bo")])
    connection = sqlite3.connect(path)
    connection.executemany(_ROW, odd)
    connection.executescript(script)
    connection.commit()
    connection.close()


# --- what an adopted file brings along ------------------------------------------------------------------------------

_TRAPS = """
CREATE TABLE archive(name, vector);
CREATE TRIGGER keep AFTER DELETE ON embeddings BEGIN INSERT INTO archive VALUES (old.person_name, old.embedding); END;
CREATE TRIGGER rename AFTER INSERT ON embeddings BEGIN UPDATE embeddings SET person_name='Director' WHERE id=new.id; END;
CREATE VIEW everybody AS SELECT * FROM embeddings;
CREATE VIRTUAL TABLE words USING fts5(text);
"""


def test_triggers_views_and_further_tables_stay_behind(tmp_path: Path) -> None:
    """They are named; who is saved keeps the name, and of who is forgotten no byte is left in the database."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    _original_with(path, script=_TRAPS)
    with store_in(tmp_path, said) as store:
        vector = rows(store, "SELECT embedding FROM embeddings WHERE person_name='Ada'")[0][0]
        (line,) = [one for one in said if "stay behind" in one]
        assert all(repr(name) in line for name in ("archive", "keep", "rename", "everybody", "words"))
        keep(store, noise(_RNG, 1, 512), NewReference("Mallory"))
        assert [one.person for one in list_people(store)] == ["Ada", "Bo", "Mallory"]
        with store.transaction():
            forget_person(store, "Ada")
            store.want_remains_erased()
        store.erase_remains()
        assert store_faults(store) == []
    assert b"Ada" not in path.read_bytes()
    assert vector[:64] not in path.read_bytes()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("CREATE TRIGGER keep AFTER DELETE ON embeddings BEGIN SELECT 1; END", "trigger 'keep'"),
        ("CREATE TABLE archive(name)", "table 'archive'"),
        ("CREATE VIEW everybody AS SELECT 1", "view 'everybody'"),
        ("CREATE INDEX more ON sightings(camera)", "index 'more'"),
        ("DROP INDEX sightings_by_time", "index 'sightings_by_time' is missing"),
        ("ALTER TABLE left_out ADD COLUMN more", "table 'left_out' is not as Rollcall makes it"),
    ],
)
def test_check_compares_the_schema(tmp_path: Path, change: str, told: str) -> None:
    """Whatever somebody added, changed or took away is a fault."""
    with store_in(tmp_path) as store:
        assert store_faults(store) == []
        store.connection.execute(change)
        assert [told in line for line in store_faults(store)] == [True]


# --- odd values -----------------------------------------------------------------------------------------------------

_NOT_UTF8 = "CAST(x'4dfc6c6c6572' AS TEXT)"
_OF_ANY_TYPE: list[Any] = [
    None,
    0,
    -1,
    2**62,
    1.5,
    float("inf"),
    "",
    " ",
    "x" * 70_000,
    "a\0b",
    b"",
    b"\xff\0",
    b"x" * 5000,
]


@pytest.mark.parametrize("column", ["person_name", "embedding", "image_path", "user_id", "created_at", "updated_at"])
def test_a_value_of_any_type_costs_its_own_row_at_most(tmp_path: Path, column: str) -> None:
    """Adopted without a fault, what is odd is left out or kept as it can be; the rest is there, can be listed, loaded and added to."""
    path = tmp_path / "face_embeddings.db"
    columns = ["id", "person_name", "embedding", "image_path", "user_id", "created_at", "updated_at"]
    odd = []
    for place, value in enumerate(_OF_ANY_TYPE):
        row = [100 + place, f"p{place}", raw(noise(_RNG, 1, 512)[0]), f"{place}.jpg", None, _DAY, _DAY]
        row[columns.index(column)] = value
        if column not in ("person_name", "embedding") or value is not None:  # these two may not be NULL
            odd.append(tuple(row))
    change = f"UPDATE embeddings SET {column}={_NOT_UTF8} WHERE id=100"  # noqa: S608  # the test's own
    _original_with(path, *odd, script="" if column == "person_name" else change)
    _serves(tmp_path, {"Ada", "Bo"}, 2 + len(odd))


@pytest.mark.parametrize("row_id", [2**63 - 1, -(2**63), 2**53])
def test_an_id_that_leaves_no_other_is_left_out(tmp_path: Path, row_id: int) -> None:
    """The next save gets an id, too."""
    _original_with(tmp_path / "face_embeddings.db", (row_id, "Cy", raw(noise(_RNG, 1, 512)[0]), None, None, _DAY, _DAY))
    _serves(tmp_path, {"Ada", "Bo"}, 3)


def test_a_name_that_is_no_utf_8_is_left_out(tmp_path: Path) -> None:
    _original_with(
        tmp_path / "face_embeddings.db",
        (9, "Cy", raw(noise(_RNG, 1, 512)[0]), None, None, _DAY, _DAY),
        script=f"UPDATE embeddings SET person_name={_NOT_UTF8} WHERE id=9",  # noqa: S608  # the test's own
    )
    _serves(tmp_path, {"Ada", "Bo"}, 3)


def test_a_huge_value_is_not_even_read(tmp_path: Path) -> None:
    """It stays behind, in the file that was there; the rows around it come along."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    later = (20, "Cy", raw(noise(_RNG, 1, 512)[0]), None, None, _DAY, _DAY)
    _original_with(path, (10, "x", b"x" * (17 << 20), None, None, _DAY, _DAY), later)
    with store_in(tmp_path, said) as store:
        assert [one.person for one in list_people(store)] == ["Ada", "Bo", "Cy"]
    assert "1 rows of embeddings can't be read and stay behind" in said


def test_rows_without_a_key_cost_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of somebody's making with NULL where a key is, beside a value too large to be read: its sound rows are taken, and
    reading comes to its end."""
    monkeypatch.setattr("shared.store.connection._LIMIT_S", 5.0)
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    write_version_2(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE other AS SELECT * FROM sightings")
    connection.execute("DROP TABLE sightings")
    connection.execute("ALTER TABLE other RENAME TO sightings")
    connection.execute("INSERT INTO sightings(key, document) VALUES ('huge', zeroblob(17000000)), ('none', '{}')")
    connection.close()
    with store_in(tmp_path, said) as store:
        assert rows(store, "SELECT id FROM sightings") == [(41,), (42,)]
    assert "2 rows of sightings can't be read and stay behind" in said


def test_text_of_another_encoding_comes_as_ours(tmp_path: Path) -> None:
    """An original in UTF-16."""
    path = tmp_path / "face_embeddings.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA encoding='UTF-16le'")
    connection.close()
    write_original(path, [("Żółć 🧑‍🚀", raw(noise(_RNG, 1, 512)[0]), None, "ü")])
    with store_in(tmp_path) as store:
        (batch,) = sound_batches(store, silent)
        assert (batch.names, batch.user_ids) == (["Żółć 🧑‍🚀"], ["ü"])
        assert store_faults(store) == []


def _serves(folder: Path, people: set[str], count: int) -> None:
    """`people` are there, every row is in one table or the other, and the store does all that a site does."""
    said: list[str] = []
    with store_in(folder, said) as store:
        assert people <= {one.person for one in list_people(store)}
        assert rows(store, "SELECT (SELECT COUNT(*) FROM embeddings) + (SELECT COUNT(*) FROM left_out)") == [(count,)]
        assert sum(len(batch.names) for batch in sound_batches(store, said.append)) == count_references(store)
        assert list_references(store)
        keep(store, noise(_RNG, 1, 512), NewReference("New", "new.jpg", "e-1"))
        assert store_faults(store) == []
    assert not any("DAMAGED" in line or "xxx" in line for line in said)


# --- restoring ------------------------------------------------------------------------------------------------------


def _backup(folder: Path, script: str) -> Path:
    """A backup of a site of ours, changed by `script`."""
    (folder / "there").mkdir()
    with store_in(folder / "there") as store:
        keep(store, noise(_RNG, 2, 512), NewReference("Ada", "a.jpg"), NewReference("Bo"))
        copy_to(store, folder / "old.db")
    connection = sqlite3.connect(folder / "old.db")
    connection.executescript(script)
    connection.close()
    return folder / "old.db"


@pytest.mark.parametrize(
    "script",
    [
        "UPDATE store_facts SET value='9223372036854775806' WHERE key='change_number'; "
        "UPDATE reference_facts SET change_number=9223372036854775806",
        "UPDATE store_facts SET value='many' WHERE key IN ('change_number', 'dim')",
        "INSERT INTO sightings(key, event, time, camera, document) VALUES ('k', 'named', '9999', 'door', 'no JSON')",
        "INSERT INTO sightings(key, event, time, camera, document) VALUES ('k', x'00', x'ff', 'door', '[[')",
        "UPDATE sqlite_sequence SET seq=9223372036854775807",
        "CREATE TRIGGER rename AFTER INSERT ON embeddings BEGIN UPDATE embeddings SET person_name='Director'; END",
        "DROP TABLE sightings; CREATE VIEW sightings AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n",
        f"INSERT INTO embeddings SELECT 9, {_NOT_UTF8}, embedding, NULL, NULL, NULL, NULL FROM embeddings WHERE id=1",  # noqa: S608  # the test's own
    ],
)
def test_values_of_a_backup_are_not_trusted(tmp_path: Path, script: str) -> None:
    """What is sound comes back; after it everything that a site does still works."""
    site_settings(tmp_path)
    assert command_json(tmp_path, "restore", str(_backup(tmp_path, script)))["restored"] == 2
    settings = load_settings(tmp_path / "site.toml")
    with SiteAccess(settings, silent) as site:
        told = {"key": "new", "event": "unknown", "time": "2026-01-31T08:00:00.000Z", "camera": "door", "track": 1}
        assert site.record([told]).recorded == 1
        saved = site.save([NewReference("Cy")], noise(_RNG, 1, 512))
        assert 0 < saved.ids[0] < 100
        assert site.forget("Ada").references == 1
        assert [one.person for one in site.people()] == ["Bo", "Cy"]
        assert site.check() == []


def test_a_view_in_the_references_place_is_refused(tmp_path: Path) -> None:
    """Also one that never ends; the gallery is as it was."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i AS id, 'x' AS person_name FROM n"
    site_settings(tmp_path)
    answer = command(
        tmp_path, "restore", str(_backup(tmp_path, f"DROP TABLE embeddings; CREATE VIEW embeddings AS {endless}"))
    )
    assert answer.returncode == 78
    assert "not a gallery" in answer.stderr


def test_the_proof_of_a_foreign_file_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A constraint that takes for ever to look at: refused as soon as the time is over. A computed column is no part of a gallery."""
    path = tmp_path / "old.db"
    slow = "length(hex(zeroblob(4000000 + id)))"
    connection = sqlite3.connect(path)
    connection.execute(
        f"CREATE TABLE embeddings(id INTEGER PRIMARY KEY, person_name, embedding, image_path, user_id, created_at, updated_at, CHECK ({slow} > 0))"
    )
    connection.execute("PRAGMA ignore_check_constraints=ON")
    connection.executemany("INSERT INTO embeddings(id) VALUES (?)", [(i,) for i in range(10_000)])
    connection.commit()
    monkeypatch.setattr(store_connection, "_LIMIT_S", 0.1)
    monkeypatch.setattr(store_connection, "_INSTRUCTIONS", 10)
    with pytest.raises(RefusedError, match="does not come to an end"):
        open_store(path, silent)
    connection.execute("ALTER TABLE embeddings RENAME COLUMN person_name TO other")
    connection.execute(f"ALTER TABLE embeddings ADD COLUMN person_name AS ({slow})")
    connection.close()
    with pytest.raises(ConfigurationError, match="not a gallery"):
        migration.copy_of_backup(path, tmp_path / "new.db")
    assert [one.name for one in tmp_path.iterdir()] == ["old.db"]


# --- damage ---------------------------------------------------------------------------------------------------------


def _flip(path: Path, row_id: int, change: Callable[[bytes], bytes]) -> None:
    """Change bytes of a row in the file, as a disk would: no index, no checksum follows."""
    connection = sqlite3.connect(path)
    (vector,) = connection.execute("SELECT embedding FROM embeddings WHERE id=?", (row_id,)).fetchone()
    connection.close()
    data = path.read_bytes()
    assert data.count(vector[:64]) == 1
    path.write_bytes(data.replace(vector, change(vector)))


def _one_bit(vector: bytes) -> bytes:
    """The lowest bit of one number: far within what a norm may be off."""
    return bytes([vector[0] ^ 1]) + vector[1:]


_DAMAGE: dict[str, Callable[[Path], None]] = {
    "a bit of a vector": lambda path: _flip(path, 2, _one_bit),
    "a bit of a name": lambda path: _rename(path, b"Bo Bobsen", b"Bo Bobsdn"),
    "a name of no UTF-8": lambda path: _rename(path, b"Bo Bobsen", b"Bo Bobs\xfcn"),
    "no vector": lambda path: _execute(path, "UPDATE embeddings SET embedding=x'00' WHERE id=2"),
    "a number": lambda path: _execute(path, "UPDATE embeddings SET embedding=7 WHERE id=2"),
    "bytes for a name": lambda path: _execute(path, "UPDATE embeddings SET person_name=x'00ff' WHERE id=2"),
    "a user id": lambda path: _execute(path, "UPDATE embeddings SET user_id=x'00' WHERE id=2"),
    "a long name": lambda path: _execute(path, f"UPDATE embeddings SET person_name='{'x' * 70_000}' WHERE id=2"),  # noqa: S608
}


def _rename(path: Path, old: bytes, new: bytes) -> None:
    """Change a name in the row, and not in the index."""
    data = path.read_bytes()
    places = [at for at in range(len(data)) if data.startswith(old, at)]
    with_vector = max(places, key=lambda at: data[at : at + 400].count(b"\0") < 200 and len(set(data[at : at + 400])))
    path.write_bytes(data[:with_vector] + new + data[with_vector + len(old) :])


def _execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


def _damaged_site(folder: Path, damage: Callable[[Path], None]) -> Path:
    path = load_settings(folder / "site.toml").db_path
    path.parent.mkdir()
    with store_in(path.parent) as store:
        names = ("Ada Adams", "Bo Bobsen", "Cy Cyan")
        keep(store, noise(_RNG, 3, 512), *(NewReference(name, f"{i}.jpg", "e") for i, name in enumerate(names)))
    damage(path)
    return path


@pytest.mark.parametrize("damage", list(_DAMAGE))
def test_one_damaged_row_costs_itself(tmp_path: Path, damage: str) -> None:
    """The rest is loaded; the row lies aside with its reason; it is told, without whose it is; `check` goes on telling."""
    site_settings(tmp_path)
    path = _damaged_site(tmp_path, _DAMAGE[damage])
    said: list[str] = []
    with store_in(path.parent, said) as store:
        assert any("row 2" in line for line in store_faults(store))
        assert [batch.names for batch in sound_batches(store, said.append)] == [["Ada Adams", "Cy Cyan"]]
        assert rows(store, "SELECT id FROM left_out WHERE reason LIKE 'damaged: %'") == [(2,)]
        assert count_references(store) == 2
        (fault,) = store_faults(store)
        assert "1 damaged rows" in fault
        assert [batch.names for batch in sound_batches(store, said.append)] == [["Ada Adams", "Cy Cyan"]]
    assert len([line for line in said if "DAMAGED ROW" in line]) == 1
    assert "Bo" not in "".join(said).replace("Bobsen", "Bo")


def test_a_damaged_row_goes_with_whom_it_may_be_of(tmp_path: Path) -> None:
    """Whoever is enrolled again has no damaged row any more; whoever is forgotten leaves none, also under a name that is damaged."""
    site_settings(tmp_path)
    path = _damaged_site(tmp_path, _DAMAGE["a bit of a vector"])
    with store_in(path.parent) as store:
        list(sound_batches(store, lambda _: None))
        keep(store, noise(np.random.default_rng(3), 1, store.dim or 0), NewReference("Bo Bobsen"))
        assert store_faults(store) == []
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    site_settings(elsewhere)
    other = _damaged_site(elsewhere, _DAMAGE["a name of no UTF-8"])
    with store_in(other.parent) as store:
        list(sound_batches(store, lambda _: None))
        assert rows(store, "SELECT COUNT(*) FROM left_out") == [(1,)]
        with store.transaction():
            forget_person(store, "Bo Bobsen")
        assert rows(store, "SELECT COUNT(*) FROM left_out") == [(0,)]


def test_a_reader_goes_on_without_it(tmp_path: Path) -> None:
    """Where nothing can be written the row is told and left where it is."""
    site_settings(tmp_path)
    path = _damaged_site(tmp_path, _DAMAGE["a bit of a vector"])
    store, said = open_read_only(path), []  # type: tuple[Any, list[str]]
    assert [batch.names for batch in sound_batches(store, said.append)] == [["Ada Adams", "Cy Cyan"]]
    assert any("row 2" in line for line in said)
    store.close()


@needs_data
@pytest.mark.parametrize("damage", ["a bit of a vector", "a name of no UTF-8", "no vector"])
def test_a_site_runs_without_the_damaged_row(tmp_path: Path, damage: str) -> None:
    """It starts, serves the rest, says what it left out in the log, in `status` and by `check`, and no name of anybody."""
    write_site(tmp_path, {})
    _damaged_site(tmp_path, _DAMAGE[damage])
    with SiteProcess(tmp_path, "--assume-model") as site:
        site.wait_until_ready()
        assert [one["person"] for one in command_json(tmp_path, "people")["people"]] == ["Ada Adams", "Cy Cyan"]
        assert command_json(tmp_path, "status")["gallery"]["damaged_rows"] == 1
        for word in ("check", "status"):
            told = command(tmp_path, word).stdout
            assert "1 damaged rows" in told
            assert "restore FILE" in told
        assert site.stop() == 0
    log = "\n".join(site.log)
    assert "DAMAGED ROW" in log
    assert "Bobs" not in log
    assert "Adams" not in log


def test_indexes_that_do_not_fit_are_found_in_the_background(tmp_path: Path) -> None:
    """A file that a killed process left is read whole while the site goes on; an index at fault is made anew, and that is told."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    with store_in(tmp_path) as store:
        keep(store, noise(_RNG, 3, 512), *(NewReference(name) for name in ("Ada", "Bo", "Cy")))
        (sql,) = rows(store, "SELECT sql FROM sqlite_master WHERE name='reference_facts_by_change'")[0]
        execute = store.connection.execute
        execute("PRAGMA writable_schema=ON")
        execute("UPDATE sqlite_master SET sql=sql || ' WHERE change_number<3' WHERE name='reference_facts_by_change'")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("REINDEX reference_facts_by_change")
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute("UPDATE sqlite_master SET sql=? WHERE name='reference_facts_by_change'", (sql,))
    connection.close()
    with store_in(tmp_path) as store:
        assert any("missing from index" in line for line in store_faults(store))
        proof = IntegrityProof(path, said.append, wanted=True)
        for _ in range(3):  # it is begun, it is ended by somebody who is forgotten and begun again, it tells
            proof.turn(0.0, store, 0)
            if proof._thread is not None:
                proof._thread.join(30)
        assert "they were made anew" in said[-1]
        assert store_faults(store) == []
        proof.finish()


def test_a_file_that_was_left_open_is_known(tmp_path: Path) -> None:
    """By its WAL, also once another process has opened and closed it, until it was read whole; a file that was closed is not read."""
    with store_in(tmp_path) as store:
        keep(store, noise(_RNG, 1, 512), NewReference("Ada"))
        assert not store.proof_is_due
        (tmp_path / "killed").mkdir()
        for part in ("", "-wal"):
            subprocess.run(["cp", str(store.path) + part, str(tmp_path / "killed")], check=True)
    with store_in(tmp_path / "killed"):
        pass
    said: list[str] = []
    with store_in(tmp_path / "killed") as store:
        assert store.proof_is_due
        proof = IntegrityProof(store.path, said.append, wanted=store.proof_is_due)
        proof.turn(0.0, store, 0)
        assert proof._thread is not None
        proof._thread.join(30)
        proof.turn(0.0, store, 0)
        assert "sound" in said[0]
        assert not store.proof_is_due
