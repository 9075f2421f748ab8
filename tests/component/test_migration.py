"""A database of the original program, and older ones of ours: opened, adopted or migrated, with nothing destroyed."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ConfigurationError, TemporaryError
from shared.ipc.requests.forgetting import Forget
from shared.photos.kept import stored_photo
from shared.settings.file import load_settings
from shared.settings.schema import Settings
from shared.store import migration, schema
from shared.store.check import store_faults
from shared.store.marks import is_marked
from shared.store.opening import backup_path, open_read_only, open_store
from shared.store.references import count_references, list_people
from tests.conftest import SmallDisk
from tests.support.full_disks import fill
from tests.support.old_stores import (
    EXCHANGE_TABLES,
    MARK_KEY,
    REFERENCES_3,
    REVIEW_TABLES,
    write_version_2,
    write_version_3,
    write_version_4,
)
from tests.support.paths import FACES, ROOT, SMALL_PACK, needs_data, needs_dlib
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import write_site
from tests.support.stores import (
    DLIB,
    Failing,
    FailingConnection,
    InterruptedConnection,
    armed_at,
    bytes_under,
    everything,
    files_of,
    rows,
    service_of,
    silent,
    site_settings,
    store_in,
)
from tests.support.vectors import noise
from workers.models.opening import open_engine
from workers.photos.embedding import embed_photo
from workers.photos.same_model import require_same_model
from workers.recognition.engine import Engine

_TABLE = """
CREATE TABLE IF NOT EXISTS embeddings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person_name TEXT NOT NULL,
    embedding BLOB NOT NULL,
    image_path TEXT,
    user_id TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    UNIQUE(person_name, image_path)
)
"""
_RNG = np.random.default_rng(11)
Row = tuple[str, bytes, str | None, str | None]


def write_original(path: Path, given: list[Row]) -> Path:
    """`path` as the original program wrote it: its table, 4 KiB pages, no WAL, open to all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA page_size=4096")
    connection.execute(_TABLE)
    connection.executemany(
        "INSERT INTO embeddings(person_name, embedding, image_path, user_id, created_at, updated_at) "
        "VALUES (?, ?, ?, ?, '2024-05-06 07:08:09', '2024-05-06 07:08:09')",
        given,
    )
    connection.commit()
    connection.close()
    path.chmod(0o644)
    return path


def raw(vector: NDArray[np.float32], length: float = 1.0) -> bytes:
    return (vector * np.float32(length)).astype("<f4").tobytes()


def originals() -> tuple[list[Row], NDArray[np.float32]]:
    """One row of every kind; the first five are fit (their unit vectors beside), the sixth is the first one's twin."""
    unit = noise(_RNG, 5, 512)
    nan = unit[0].copy()
    nan[7] = np.nan
    infinite = unit[0].copy()
    infinite[7] = -np.inf
    given: list[Row] = [
        ("Ada", raw(unit[0], 23.7), None, "e-17"),
        ("Ada", raw(unit[1], 0.01), None, None),
        ("Ada", raw(unit[2]), "faces/Ada/1.jpg", None),
        ("Bo", raw(unit[3], 19), "/srv/photos/bo.jpg", None),
        ("Bo", raw(unit[4], 19), None, None),
        ("Ada", raw(unit[0], 23.7), None, None),
        ("Short", raw(unit[0])[:2044], None, None),
        ("Tiny", raw(unit[0])[:512], "t.jpg", None),
        ("Odd", b"odd", None, None),
        ("Empty", b"", None, None),
        ("Nan", raw(nan), "n.jpg", "e-18"),
        ("Infinite", raw(infinite), None, None),
        ("Zero", bytes(2048), None, None),
    ]
    return given, unit


def write_version(version: int, path: Path) -> None:
    """A database of this schema; 0: the original's, with one row of every kind."""
    if version:
        {2: write_version_2, 3: write_version_3, 4: write_version_4}[version](path)
    else:
        write_original(path, originals()[0])


# What the databases of `write_version` have: references, and rows that were left out; and rows of the original's table.
_REFERENCES = {0: 5, 2: 1, 3: 5, 4: 5}
_LEFT_OUT = {0: 8, 2: 1, 3: 1, 4: 1}
_ROWS = {0: 13, 2: 1, 3: 5, 4: 5}


def test_it_is_adopted_as_it_stands(tmp_path: Path) -> None:
    """Un-normalised rows are normalised, ids, dates and paths kept, a user id is the person's; identical vectors under one name without
    a photo count once, also in another scale of the same bytes; every row that can't be used is named, with the reason, and kept aside
    whole."""
    given, unit = originals()
    path, said = write_original(tmp_path / "face_embeddings.db", given), []  # type: tuple[Path, list[str]]
    before = sorted(everything(path)["embeddings"])
    with store_in(tmp_path, said) as store:
        found = rows(
            store, "SELECT id, person_name, image_path, user_id, created_at, updated_at FROM embeddings ORDER BY id"
        )
        date = "2024-05-06 07:08:09"
        users = {"Ada": "e-17"}
        assert found == [
            (i + 1, name, image, users.get(name), date, date) for i, (name, _, image, _) in enumerate(given[:5])
        ]
        vectors = [np.frombuffer(one, "<f4") for (one,) in rows(store, "SELECT embedding FROM embeddings ORDER BY id")]
        assert np.allclose(vectors, unit, atol=1e-6)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        columns = ", ".join(schema.COLUMNS)
        assert rows(store, f"SELECT {columns} FROM left_out ORDER BY id") == before[5:]  # noqa: S608  # constants
        assert (store.dim, store.fingerprint, store.model, store.change_number) == (512, None, None, 5)
        assert rows(store, "SELECT COUNT(DISTINCT uuid), MIN(change_number) FROM reference_facts") == [(5, 1)]
        assert rows(store, "PRAGMA page_size") == [(16384,)]
        assert store_faults(store) == []
    told = "\n".join(said)
    assert "adopted 5 references; 8 rows left out" in told
    for row_id, name, reason in (
        (6, "Ada", "same vector as row 1"),
        (7, "Short", "2044 bytes"),
        (8, "Tiny", "512 bytes"),
        (9, "Odd", "3 bytes"),
        (10, "Empty", "0 bytes"),
        (11, "Nan", "NaN"),
        (12, "Infinite", "infinity"),
        (13, "Zero", "zero vector"),
    ):
        assert re.search(rf"row {row_id}: left out: .*{reason}", told)
        assert name not in told, "names don't belong into a log"
    assert path.stat().st_mode & 0o777 == 0o600


def test_names_are_stored_as_new_ones_are(tmp_path: Path) -> None:
    """Zoë in two spellings of Unicode, one with a space behind, is one person once adopted: whoever forgets her leaves no other."""
    one, other = noise(_RNG, 2, 512)
    path = write_original(
        tmp_path / "face_embeddings.db", [("Zoe\u0308 ", raw(one), None, None), ("Zo\u00eb", raw(other), None, None)]
    )
    with store_in(path.parent) as store:
        assert rows(store, "SELECT person_name FROM embeddings") == [("Zo\u00eb",), ("Zo\u00eb",)]
        assert store_faults(store) == []


def test_a_backup_lies_beside_before_anything_changes(tmp_path: Path) -> None:
    """The file as it was, complete alone and 0600; a second opening makes no other and changes nothing."""
    given, _ = originals()
    path, said = write_original(tmp_path / "face_embeddings.db", given), []  # type: tuple[Path, list[str]]
    before = everything(path)
    with store_in(tmp_path, said):
        pass
    (backup,) = tmp_path.glob("face_embeddings.db.before-v9-*.bak")
    assert everything(backup) == before
    assert backup.stat().st_mode & 0o777 == 0o600
    assert backup.name in "\n".join(said)
    adopted = everything(path)
    del said[:]
    with store_in(tmp_path, said):
        pass
    assert said == []
    assert everything(path) == adopted
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, backup.name, "marks.key"]


def test_a_file_of_nothing_usable_and_an_empty_one(tmp_path: Path) -> None:
    """They open, with nobody in them, and take enrolments."""
    for name, given in (("empty", []), ("useless", [("Ada", b"odd", None, None), ("Bo", bytes(2048), None, None)])):
        write_original(tmp_path / name / "face_embeddings.db", list(given))
        with store_in(tmp_path / name) as store:
            assert (count_references(store), store_faults(store)) == (0, [])
            assert rows(store, "SELECT COUNT(*) FROM left_out") == [(len(given),)]


def test_most_rows_of_a_wrong_length_do_not_outvote_the_originals(tmp_path: Path) -> None:
    """The original's vectors have 512 numbers, however many rows have not; a file of one other length only is taken at that."""
    short: list[Row] = [(f"p{i}", raw(noise(_RNG, 1, 128)[0]), None, None) for i in range(3)]
    for name, given, dim, count in (
        ("mixed", [*short, ("Ada", raw(noise(_RNG, 1)[0]), None, None)], 512, 1),
        ("short", short, 128, 3),
    ):
        write_original(tmp_path / name / "face_embeddings.db", given)
        with store_in(tmp_path / name) as store:
            assert (store.dim, count_references(store)) == (dim, count)


@pytest.mark.parametrize("kind", [FailingConnection, InterruptedConnection], ids=["statement", "instruction"])
@pytest.mark.parametrize("version", [0, 2, 3, 4])
def test_a_migration_that_fails_anywhere_changes_nothing(tmp_path: Path, kind: Failing, version: int) -> None:
    """Each step made to fail in turn, in the old file and in the new one: the rows are as they were and nothing is left beside; at
    last it passes."""
    path = tmp_path / "face_embeddings.db"
    write_version(version, path)
    before, there = everything(path), {one.name for one in tmp_path.iterdir()}
    for fails_at in range(1, 10_000):
        armed = armed_at(kind, fails_at)
        try:
            migration.migrate(path, armed)
        except (sqlite3.Error, ConfigurationError):
            assert armed.has_failed()
            assert everything(path) == before
            assert {one.name for one in tmp_path.iterdir() if one.name != "marks.key"} == there - {"marks.key"}
            continue
        break
    assert fails_at > 20
    with store_in(tmp_path) as store:
        assert count_references(store) == _REFERENCES[version]
        assert store_faults(store) == []
    assert len(list(tmp_path.glob("*.bak"))) == 1


# Ends the process, as a power cut would, at the Nth call that changes which files there are.
_CUT_SHORT = """
import os, sys
from pathlib import Path
from shared.store.opening import open_store

ends_at, seen = int(sys.argv[2]), 0

def ends(event, arguments):
    global seen
    if event in ("open", "os.link", "os.rename", "os.remove", "os.chmod", "sqlite3.connect"):
        seen += 1
        if seen == ends_at:
            os._exit(9)

sys.addaudithook(ends)
open_store(Path(sys.argv[1]), lambda line: None).close()
"""


@pytest.mark.parametrize("version", [0, 2, 3, 4])
def test_a_power_cut_leaves_the_old_file_or_the_new_one(tmp_path: Path, version: int) -> None:
    """Ended at each step on the file system in turn: the next opening has everything, marks included, and a copy of what was there beside."""
    for ends_at in range(1, 500):
        folder = tmp_path / str(ends_at)
        folder.mkdir()
        path = folder / "face_embeddings.db"
        write_version(version, path)
        words = [sys.executable, "-c", _CUT_SHORT, str(path), str(ends_at)]
        code = subprocess.run(words, cwd=ROOT, timeout=60, check=False).returncode
        assert code in (0, 9)
        said: list[str] = []
        with store_in(folder, said) as store:
            assert store_faults(store) == []
            assert count_references(store) == _REFERENCES[version]
            assert rows(store, "SELECT COUNT(*) FROM left_out") == [(_LEFT_OUT[version],)]
            assert is_marked(store, "Gone") == bool(version)
            assert not any("DELETIONS" in line or "DAMAGED" in line for line in said)
        copies = list(folder.glob("*.bak"))
        assert len(copies) == 1, "one of an attempt that was ended is made anew"
        assert all(len(everything(copy)["embeddings"]) == _ROWS[version] for copy in copies)
        assert {one.name.partition(".before")[0] for one in folder.iterdir()} == {path.name, "marks.key"}
        if code == 0:
            break
    assert ends_at > 8


_WITHOUT_LINKS = """
import errno, os, sys

def refuses(event, arguments):
    if event == "os.link":
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

sys.addaudithook(refuses)
"""


def test_a_file_system_without_hard_links_will_do(tmp_path: Path) -> None:
    """vfat and some network mounts refuse them: the original is adopted all the same, and lies beside whole."""
    given, _ = originals()
    path = write_original(tmp_path / "face_embeddings.db", given)
    before = everything(path)
    code = _WITHOUT_LINKS + _CUT_SHORT
    done = subprocess.run([sys.executable, "-c", code, str(path), "-1"], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0
    (copy,) = tmp_path.glob("*.bak")
    assert everything(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600
    assert {one.name for one in tmp_path.iterdir()} == {path.name, copy.name, "marks.key"}
    with store_in(tmp_path) as store:
        assert count_references(store) == 5


_REMOVED = """
from pathlib import Path
from shared.store.opening import open_store
from shared.store.lost_file import DatabaseFile

store = open_store(Path(sys.argv[1]), print)
database = DatabaseFile(store)
for part in ("", "-wal", "-shm"):
    Path(sys.argv[1] + part).unlink(missing_ok=True)
assert database.is_lost()
database.write_anew()
"""


def test_a_removed_database_is_written_anew_without_hard_links(tmp_path: Path) -> None:
    """The same where the database was removed under the process that has it open."""
    path = write_original(tmp_path / "face_embeddings.db", originals()[0])
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_LINKS + _REMOVED, str(path)], cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0
    with store_in(tmp_path) as store:
        assert count_references(store) == 5
        assert store_faults(store) == []


@needs_dlib
@pytest.mark.parametrize("version", [0, 2])
def test_without_room_a_migration_says_how_much_is_missing(tmp_path: Path, small_disk: SmallDisk, version: int) -> None:
    """A start on a full disk changes nothing and ends with 75, and says how many bytes have to be free; with them it starts."""
    data = small_disk("disk", 16 << 10)
    site_settings(tmp_path, f'[site]\ndata_dir = "{data}"\n{DLIB}')
    path = data / "face_embeddings.db"
    if version:
        write_version_2(path)
    else:
        write_original(path, [("Ada", raw(noise(_RNG, 1, 128)[0]), None, None)])
    before = path.read_bytes()
    filler = fill(data)
    refused = command(tmp_path, "people")
    assert refused.returncode == 75, refused.stderr
    with SiteProcess(tmp_path, "--assume-model") as site:
        assert site.wait(60) == 75
        line = site.wait_for_log("to bring the database to this version")
    wanted = re.search(r"expected (\d+) bytes free.*remedy: free (\d+) bytes more", line)
    assert wanted is not None, line
    assert path.read_bytes() == before
    assert not [*data.glob("*.bak"), *data.glob(".face*")]
    filler.unlink()
    fill(data, int(wanted[1]) + (1 << 20))
    assert command_json(tmp_path, "people")["people"][0]["person"] == "Ada"


def test_a_program_that_still_uses_it_is_waited_for_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the original program writes, adoption is refused as temporary, and the file is left as it is."""
    given, _ = originals()
    path = write_original(tmp_path / "face_embeddings.db", given)
    monkeypatch.setattr("shared.store.connection.BUSY_TIMEOUT_S", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TemporaryError, match="in use"):
        open_store(path, silent)
    other.execute("ROLLBACK")
    other.close()
    with store_in(tmp_path) as store:
        assert count_references(store) == 5


def test_an_older_one_of_ours_comes_along_whole(tmp_path: Path) -> None:
    """Every row of schema 2 is there; the marks' key lies in a file of its own and no longer in the database or in a copy; when a
    sighting was recorded is its own time, but not in the future; each reference has its checksum."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    write_version_2(path)
    before = everything(path)
    with store_in(tmp_path, said) as store:
        assert "schema 2 -> 9" in said[0]
        assert store_faults(store) == []
        assert (store.fact("schema_version"), store.dim, store.change_number, store.model) == ("9", 64, 7, "test/none")
        assert store.fact("mark_key") is None
        before["staged_embeddings"] = [(*row, None) for row in before["staged_embeddings"]]  # the turn is not known
        for table in ("embeddings", "left_out", "staged_embeddings", "deletion_marks", "strangers", "stranger_traces"):
            assert sorted(rows(store, f"SELECT * FROM {table}"), key=repr) == before[table]  # noqa: S608  # our own tables
        assert is_marked(store, "Gone")
        assert not is_marked(store, "Ada")
        past, future = rows(store, "SELECT time, recorded_at FROM sightings ORDER BY id")
        assert past[0] == past[1]
        assert future[1] <= f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" < future[0]
        assert rows(store, "SELECT COUNT(*) FROM reference_facts WHERE checksum IS NOT NULL") == [(1,)]
        assert store.sightings.last_id() == 90, "an id that was given out is not given again"
    key = tmp_path / "marks.key"
    assert key.read_text(encoding="ascii").strip() == MARK_KEY
    assert key.stat().st_mode & 0o777 == 0o600
    (copy,) = tmp_path.glob("*.before-v9-*.bak")
    assert everything(copy)["strangers"] == []
    assert everything(copy)["sightings"] == [], "a copy would keep them for longer than the settings say"
    assert everything(copy)["embeddings"] == before["embeddings"]
    for file in (path, copy):
        assert MARK_KEY.encode() not in file.read_bytes()


def test_of_schema_3_everybody_becomes_a_row(tmp_path: Path) -> None:
    """Each person has a row, with the user id that was given last and the day of the oldest reference; all of a person's references have
    that user id. Everything else is unchanged, and the file as it was lies beside. A second opening changes nothing."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    write_version_3(path)
    before, key = everything(path), (tmp_path / "marks.key").read_bytes()
    with store_in(tmp_path, said) as store:
        assert "schema 3 -> 9" in said[0]
        assert store_faults(store) == []
        assert rows(store, "SELECT name, user_id, created_at, former_names, groups FROM people ORDER BY name") == [
            ("Ada", "e-1", "2025-01-02T03:04:05Z", "[]", "[]"),
            ("Bo", None, "2025-03-01T10:00:00Z", "[]", "[]"),
            ("Cy", "new", "2025-05-06T07:08:09Z", "[]", "[]"),
        ]
        assert rows(
            store, "SELECT COUNT(DISTINCT uuid) FROM people WHERE consented_at IS NULL AND expires_at IS NULL"
        ) == [(3,)]
        assert is_marked(store, "Gone")
        assert is_marked(store, "Bo", None) is False
        assert (store.model, store.dim, store.change_number) == ("test/none", 64, 11)
        assert store.sightings.last_id() == 90
        assert [one.person for one in store.sightings.since()] == ["Ada", None]
    after = everything(path)
    newer = (
        "people_changes",
        "merged_references",
        "pending_moves",
        "set_aside",
        "right_references",
        "sighting_probes",
        "sighting_crops",
        "corrections",
        "accesses",
        *REVIEW_TABLES,
        *EXCHANGE_TABLES,
    )
    assert [after.pop(table) for table in newer] == [[]] * len(newer)
    assert after.pop("change_times") == [(11, 1)]
    assert len(after.pop("people")) == 3
    users = {"Ada": "e-1", "Bo": None, "Cy": "new"}
    wanted = [(*row[:4], users[row[1]], *row[5:]) for row in before["embeddings"]]
    assert after.pop("embeddings") == wanted
    # The checksum covers the user id, which is another in one row only.
    changed = [one for one in after.pop("reference_facts") if one[:-1] not in before["reference_facts"]]
    assert after.pop("staged_embeddings") == [(*row, None) for row in before["staged_embeddings"]]
    assert [one[:4] for one in changed] == [one[:4] for one in before["reference_facts"] if one[0] == 6]
    assert dict(after.pop("store_facts")) == {**dict(before["store_facts"]), "schema_version": "9"}
    untouched = {name: found for name, found in before.items() if name in after}
    assert after == untouched
    assert before.keys() - untouched.keys() == {"embeddings", "reference_facts", "staged_embeddings", "store_facts"}
    (copy,) = tmp_path.glob("face_embeddings.db.before-v9-*.bak")
    assert copy.stat().st_mode & 0o777 == 0o600
    kept = everything(copy)
    private = ("sightings", "strangers", "stranger_traces", "stranger_visits", "pending_removals")
    assert {name: found for name, found in kept.items() if name not in private} == {
        name: found for name, found in before.items() if name not in private
    }
    assert not any(kept[name] for name in private), "a copy would keep them for longer than the settings say"
    assert (tmp_path / "marks.key").read_bytes() == key
    whole = everything(path)
    del said[:]
    with store_in(tmp_path, said):
        pass
    assert (said, everything(path)) == ([], whole)
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, copy.name, "marks.key"]


def test_of_schema_4_nothing_is_lost(tmp_path: Path) -> None:
    """Every row comes along, also what an undoing needs and which photos are still to be moved; no reference is set aside. The merge is
    undone after it, and the photo that waited is where its row says."""
    settings, said = site_settings(tmp_path), []  # type: tuple[Settings, list[str]]
    path, faces = settings.db_path, settings.faces_dir
    (faces / "Adda").mkdir(parents=True)
    write_version_4(path)
    (faces / "Adda" / "2.jpg").write_bytes(b"hers")
    before = everything(path)
    with store_in(path.parent, said):
        assert "schema 4 -> 9" in said[0]
        after = everything(path)
        newer = (
            "set_aside",
            "right_references",
            "corrections",
            "sighting_probes",
            "sighting_crops",
            "accesses",
            *REVIEW_TABLES,
            *EXCHANGE_TABLES,
        )
        assert [after.pop(table) for table in newer] == [[]] * len(newer)
        assert after.pop("change_times") == [(11, 1)]
        assert after.pop("merged_references") == [
            (*row, None, None, None, None) for row in before.pop("merged_references")
        ]
        assert after.pop("reference_facts") == [(*row, None) for row in before.pop("reference_facts")]
        assert after.pop("staged_embeddings") == [(*row, None) for row in before.pop("staged_embeddings")]
        assert dict(after.pop("store_facts")) == {**dict(before.pop("store_facts")), "schema_version": "9"}
        assert after == before
    with files_of(settings) as files:
        assert (faces / "Ada" / "2.jpg").read_bytes() == b"hers"
        assert files.undo_people().references == 2
        found = [(one.id, one.image_path) for one in files.references("Adda")]
        assert found == [(1, "faces/Adda/1.jpg"), (5, "faces/Adda/2.jpg")]
        assert (faces / "Adda" / "2.jpg").read_bytes() == b"hers"
        assert files.check() == []


def test_corrections_and_kept_faces_come_along(tmp_path: Path) -> None:
    """A database of schema 4 has none. A copy of today's schema is copied whole, with its corrections and kept faces."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    write_version_4(path)
    before = everything(path)
    with store_in(tmp_path, said) as store:
        assert "schema 4 -> 9" in said[0]
        assert len(said) == 2, said
        assert store_faults(store) == []
        assert rows(store, "SELECT * FROM corrections UNION ALL SELECT *, 1, 1, 1, 1, 1 FROM sighting_probes") == []
        face, day = rows(store, "SELECT embedding FROM embeddings WHERE id=2")[0][0], "2026-01-31T08:00:00.000000Z"
        with store.transaction():
            store.connection.execute(
                "INSERT INTO corrections VALUES (41, 'wrong', 'Ada', 'door', 1, ?, ?, ?, ?, 1, 3)",
                (day, day, "f" * 64, face),
            )
            store.connection.execute("INSERT INTO sighting_probes VALUES (42, ?, ?, 'Bo', 0, ?)", ("f" * 64, face, day))
            store.connection.execute("INSERT INTO sighting_crops VALUES (42, ?, 3, x'ffd8ff')", (day,))
        assert store_faults(store) == []
    after = everything(path)
    migration.copy_of_backup(path, tmp_path / "again.db")
    assert everything(tmp_path / "again.db") == {**after, "sqlite_sequence": before["sqlite_sequence"]}
    assert len(after.pop("corrections")) == len(after.pop("sighting_probes")) == len(after.pop("sighting_crops")) == 1


@pytest.mark.parametrize("version", [0, 2, 3, 4])
def test_whoever_is_forgotten_is_in_no_copy_of_before(tmp_path: Path, version: int) -> None:
    """`forget` reaches the copy that a migration left, whatever its version and however the name is spelt there: no byte of the
    person stays in it, everybody else does; one photo that is forgotten goes from it too."""
    path = tmp_path / "data" / "face_embeddings.db"
    path.parent.mkdir()
    unit = noise(_RNG, 4, 512)
    if version:
        write_version(version, path)
        person, others = "Ada", 0 if version == 2 else sum(one[1] != "Ada" for one in REFERENCES_3)
    else:
        names = (("Zoe\u0308 ", None), ("Bo", "faces/Bo/1.jpg"), ("Bo", "faces/Bo/2.jpg"), ("Cy", None))
        write_original(path, [(name, raw(one), photo, "e-1") for (name, photo), one in zip(names, unit, strict=True)])
        person, others = "Zo\u00eb", 3
    with store_in(path.parent) as store:
        (copy,) = path.parent.glob("*.bak")
        service = service_of(store, path.parent)
        vector = rows(store, "SELECT embedding FROM embeddings WHERE person_name=?", person)[0][0]
        answer = service.ask(Forget(person))
        assert answer.references == (2 if version >= 3 else 1)
        assert answer.other_copies == []
        assert answer.warning is None
        if not version:
            service.ask(Forget("Bo", "faces/Bo/2.jpg"))
            others -= 1
    assert [one for one in everything(copy)["embeddings"] if one[1] == person] == []
    assert len(everything(copy)["embeddings"]) == others
    assert not [one for one in everything(copy).get("people", []) if person in one]
    held = bytes_under(path.parent, tmp_path / "copy")
    for gone in (vector, raw(unit[0]), raw(unit[2])):
        assert gone[:48] not in held[copy.name]
        assert gone[-48:] not in held[copy.name]
    assert not [name for name in held if "journal" in name]


@pytest.mark.parametrize("why", ["a trigger", "no database", "too large"])
def test_a_copy_of_before_that_can_not_be_changed_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """It may hold whoever is forgotten: it goes, and that is said, without the name."""
    path = tmp_path / "face_embeddings.db"
    unit = noise(_RNG, 2, 512)
    write_original(path, [("Ada", raw(unit[0]), None, None), ("Bo", raw(unit[1]), None, None)])
    said: list[str] = []
    with store_in(tmp_path) as store:
        (copy,) = tmp_path.glob("*.bak")
        if why == "no database":
            copy.write_bytes(b"x" * 4096)
        elif why == "too large":
            monkeypatch.setattr("shared.store.erasure.AT_ONCE_BYTES", 1)
        else:
            other = sqlite3.connect(copy)
            other.execute("CREATE TRIGGER keep BEFORE DELETE ON embeddings BEGIN SELECT RAISE(IGNORE); END")
            other.close()
        service_of(store, tmp_path, said).ask(Forget("Ada"))
    assert not copy.exists()
    assert any(copy.name in line and "removed" in line for line in said)
    assert not any("Ada" in line for line in said)


def test_marks_of_an_older_backup_hold_after_damage(tmp_path: Path) -> None:
    """A damaged database whose own backup is of schema 2, with the marks' key in it: who was deleted stays so."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    write_version_2(backup_path(path))
    path.write_bytes(b"x" * 4096)
    with store_in(tmp_path, said) as store:
        assert [one.person for one in list_people(store)] == ["Ada"]
        assert is_marked(store, "Gone")
        assert store_faults(store) == []
    assert not any("DELETIONS" in line for line in said)


# --- whose model it is ----------------------------------------------------------------------------------------------


def _site_with_photos(folder: Path, paths: str) -> tuple[Settings, Engine, list[tuple[str, str, NDArray[np.float32]]]]:
    """A site with the small pack, its engine, and (person, path as the original noted it, embedding) of four real photos.

    `paths`: "relative" to data_dir, "base" (to the configuration file's folder), or "absolute".
    """
    settings = load_settings(write_site(folder, {}) / "site.toml")
    engine = open_engine(settings.engine_choice, det_size=640, threads=1)
    found = []
    for person in sorted((FACES / "lfw_mini").iterdir())[:4]:
        photo = min(person.iterdir())
        target = settings.faces_dir / person.name / photo.name
        target.parent.mkdir(parents=True)
        shutil.copyfile(photo, target)
        noted = {
            "relative": target.relative_to(settings.data_dir),
            "base": target.relative_to(settings.base),
            "absolute": target,
        }[paths]
        found.append((person.name, str(noted), embed_photo(engine, target).embedding))
    return settings, engine, found


@needs_data
@pytest.mark.parametrize("paths", ["relative", "base", "absolute"])
def test_it_is_stamped_when_its_photos_agree(tmp_path: Path, paths: str) -> None:
    """Sample photos embedded anew agree with the rows: the gallery is of the configured model from then on."""
    settings, engine, found = _site_with_photos(tmp_path, paths)
    write_original(settings.db_path, [(name, raw(vector, 21), path, None) for name, path, vector in found])
    with files_of(settings) as files:
        assert all(
            stored_photo(settings.data_dir, settings.base, one.person, one.image_path) for one in files.references()
        )
        require_same_model(files, engine, settings)
        assert (files.store.fingerprint, files.store.model) == (engine.fingerprint, f"insightface/{SMALL_PACK.name}")
    found_again = command_json(tmp_path, "people")["people"]
    assert [one["person"] for one in found_again] == [name for name, *_ in found]


@needs_data
def test_it_is_refused_when_they_disagree(tmp_path: Path) -> None:
    """Rows that another model made, or of other faces: refused (78), unchanged, until --assume-model says otherwise."""
    settings, engine, found = _site_with_photos(tmp_path, "relative")
    shuffled: list[Row] = [(name, raw(found[i - 1][2]), path, None) for i, (name, path, _) in enumerate(found)]
    write_original(settings.db_path, shuffled)
    with files_of(settings) as files:
        with pytest.raises(ConfigurationError, match="does not record its model") as caught:
            require_same_model(files, engine, settings)
        assert "--assume-model" in str(caught.value)
        assert files.store.fingerprint is None
    asked = command(tmp_path, "identify", str(settings.data_dir / found[0][1]))
    assert asked.returncode == 78
    assert "--assume-model" in asked.stderr
    assert command(tmp_path, "--assume-model", "identify", str(settings.data_dir / found[0][1])).returncode == 0
    assert command(tmp_path, "identify", str(settings.data_dir / found[0][1])).returncode == 0, "said once is enough"


@needs_data
def test_one_odd_photo_among_many_does_not_refuse_it(tmp_path: Path) -> None:
    """A few samples may disagree (another of several faces was enrolled then); most must agree."""
    settings, engine, found = _site_with_photos(tmp_path, "relative")
    given: list[Row] = [(name, raw(vector), path, None) for name, path, vector in found]
    given[1] = (given[1][0], raw(noise(_RNG, 1)[0]), *given[1][2:])
    write_original(settings.db_path, [*given, ("Ghost", raw(noise(_RNG, 1)[0]), "gone.jpg", None)])
    with files_of(settings) as files:
        require_same_model(files, engine, settings)
        assert files.store.fingerprint == engine.fingerprint


@needs_dlib
def test_a_gallery_of_another_length_is_refused(tmp_path: Path) -> None:
    """512 numbers where the engine makes 128: refused, also with --assume-model; no photo: it has to be said."""
    settings = site_settings(tmp_path, DLIB)
    given, _ = originals()
    write_original(settings.db_path, given)
    engine = open_engine(settings.engine_choice, det_size=640, threads=1)
    with files_of(settings) as files:
        for assume in (False, True):
            with pytest.raises(ConfigurationError, match="another length"):
                require_same_model(files, engine, settings, assume=assume)
    settings.db_path.unlink()
    write_original(settings.db_path, [("Ada", raw(noise(_RNG, 1, 128)[0]), None, None)])
    with files_of(settings) as files:
        with pytest.raises(ConfigurationError, match="--assume-model"):
            require_same_model(files, engine, settings)
        require_same_model(files, engine, settings, assume=True)
        require_same_model(files, engine, settings)


def test_no_photo_outside_the_site_is_opened(tmp_path: Path) -> None:
    """A path in a database leads nowhere but to the site's own folders."""
    (tmp_path / "site").mkdir()
    settings = site_settings(tmp_path / "site")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    settings.faces_dir.mkdir(parents=True)
    (settings.faces_dir / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    for path in (
        "../secret.jpg",
        "../../secret.jpg",
        str(tmp_path / "secret.jpg"),
        "faces/link.jpg",
        "a\0b",
        "x" * 5000,
        "",
        None,
    ):
        assert stored_photo(settings.data_dir, settings.base, "..", path) is None
    (settings.faces_dir / "Ada").mkdir()
    (settings.faces_dir / "Ada" / "1.jpg").write_bytes(b"x")
    for path in ("faces/Ada/1.jpg", "data/faces/Ada/1.jpg", "elsewhere/1.jpg", "/old/machine/1.jpg"):
        assert stored_photo(settings.data_dir, settings.base, "Ada", path) == settings.faces_dir / "Ada" / "1.jpg"


def test_the_original_file_is_restored_like_a_backup(tmp_path: Path) -> None:
    """`restore` takes the original program's file too: brought to our schema on the way, itself left as it is."""
    given, _ = originals()
    old = write_original(tmp_path / "old" / "face_embeddings.db", given)
    before = old.read_bytes()
    site_settings(tmp_path)
    assert command_json(tmp_path, "restore", str(old)) == {"restored": 5, "kept_deleted": 0, "set_aside": 0}
    assert [one["references"] for one in command_json(tmp_path, "people")["people"]] == [3, 2]
    assert old.read_bytes() == before
    assert [one.name for one in old.parent.iterdir()] == [old.name]
    assert list((tmp_path / "data" / "run").iterdir()) == []


def test_a_reader_does_not_adopt(tmp_path: Path) -> None:
    """Opening for reading says that the site has to be started once, and leaves the file alone."""
    given, _ = originals()
    path = write_original(tmp_path / "face_embeddings.db", given)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="migration"):
        open_read_only(path)
    assert path.read_bytes() == before
