"""The database's file: how it is made, kept, opened and locked; what is no gallery is refused, what is damaged is set aside."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.records import NewReference
from shared.store import schema
from shared.store.check import store_faults
from shared.store.copying import copy_to
from shared.store.lock import GalleryInUseError, SiteLock
from shared.store.opening import backup_path, open_read_only, open_store
from shared.store.references import (
    count_references,
    list_people,
)
from tests.support.paths import ROOT
from tests.support.stores import (
    event,
    keep,
    record,
    rows,
    silent,
    store_in,
    vectors,
)

_THE_TABLE = (
    "embeddings(id INTEGER PRIMARY KEY AUTOINCREMENT, person_name TEXT NOT NULL, embedding BLOB NOT NULL, image_path TEXT, "
    "user_id TEXT, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, "
    "UNIQUE(person_name, image_path))"
)


def test_the_table_is_the_originals_to_the_letter(tmp_path: Path) -> None:
    """`embeddings` as the original design has it: columns, types, defaults, AUTOINCREMENT, the unique pair and no more indexes."""
    with store_in(tmp_path) as store:
        ((sql,),) = rows(store, "SELECT sql FROM sqlite_master WHERE name='embeddings'")
        original = sqlite3.connect(":memory:")
        original.execute(f"CREATE TABLE {_THE_TABLE}")
        for pragma in ("table_info(embeddings)", "index_list(embeddings)", "index_info(sqlite_autoindex_embeddings_1)"):
            assert rows(store, f"PRAGMA {pragma}") == original.execute(f"PRAGMA {pragma}").fetchall()
        original.close()
        assert rows(store, "SELECT * FROM sqlite_master WHERE type IN ('trigger', 'view')") == []
    assert re.sub(r"\s+", "", sql) == "CREATETABLE" + _THE_TABLE.replace(" ", "")


def test_how_the_file_is_kept(tmp_path: Path) -> None:
    """16 KiB pages, WAL, synchronous FULL, secure_delete, foreign keys, a busy timeout; 0600 in a folder of 0700, the WAL too."""
    folder = tmp_path / "data"
    with store_in(folder) as store:
        keep(store, vectors(1), NewReference("Ada"))
        wanted = {"page_size": 16384, "journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1}
        for name, value in wanted.items():
            assert rows(store, f"PRAGMA {name}") == [(value,)]
        assert rows(store, "PRAGMA busy_timeout")[0][0] >= 1000
        assert {path.name for path in folder.iterdir()} >= {"face_embeddings.db", "face_embeddings.db-wal"}
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        assert folder.stat().st_mode & 0o777 == 0o700


def test_an_open_folder_and_file_are_closed_to_others(tmp_path: Path) -> None:
    """A data folder and a file that others may read are tightened when the store opens."""
    with store_in(tmp_path):
        pass
    tmp_path.chmod(0o755)
    (tmp_path / "face_embeddings.db").chmod(0o644)
    with store_in(tmp_path):
        assert tmp_path.stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "face_embeddings.db").stat().st_mode & 0o777 == 0o600


def test_after_a_clean_stop_the_file_is_complete_alone(tmp_path: Path) -> None:
    """No -wal and no -shm is left beside it; copied to another folder it holds everything."""
    with store_in(tmp_path / "here") as store:
        keep(store, vectors(3), NewReference("Ada"), NewReference("Bo"), NewReference("Cy", "cy.jpg"))
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["face_embeddings.db", "marks.key"]
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "face_embeddings.db").write_bytes((tmp_path / "here" / "face_embeddings.db").read_bytes())
    with store_in(tmp_path / "there") as store:
        assert [one.person for one in list_people(store)] == ["Ada", "Bo", "Cy"]
        assert store_faults(store) == []


def test_an_acknowledged_write_survives_a_kill(tmp_path: Path) -> None:
    """A process that is killed right after a save has lost nothing of it."""
    program = (
        "import os, sys; from pathlib import Path; from tests.support.stores import keep, silent; from tests.support.vectors import noise\n"
        "import numpy as np; from shared.store.opening import open_store; from shared.store.saving import NewReference\n"
        "store = open_store(Path(sys.argv[1]) / 'face_embeddings.db', silent)\n"
        "keep(store, noise(np.random.default_rng(0), 1, 8), NewReference('Ada')); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=False, timeout=60)
    assert (tmp_path / "face_embeddings.db-wal").exists()
    with store_in(tmp_path) as store:
        assert [one.person for one in list_people(store)] == ["Ada"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """The lock is held by one; a second is told whose turn it is, and gets it once the first lets go. Readers can't write."""
    with store_in(tmp_path):
        reader = open_read_only(tmp_path / "face_embeddings.db")
        with pytest.raises(sqlite3.OperationalError):
            reader.connection.execute("DELETE FROM embeddings")
        reader.close()
    first, second = (SiteLock(tmp_path / "face_embeddings.db") for _ in range(2))
    first.acquire(0)
    with pytest.raises(GalleryInUseError, match="another process is writing"):
        second.acquire(0.05)
    first.release()
    second.acquire(1)
    second.release()


def test_a_new_database_is_whole_or_not_there(tmp_path: Path) -> None:
    """A process killed while it makes the database leaves nothing that the next start takes for a damaged one."""
    said: list[str] = []
    half = tmp_path / ".face_embeddings.db.new"
    half.write_bytes(b"")
    half.with_name(half.name + "-journal").write_bytes(b"rest")
    (tmp_path / "face_embeddings.db-wal").write_bytes(b"of one that somebody deleted")
    with store_in(tmp_path, said) as store:
        assert store_faults(store) == []
    assert said == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face_embeddings.db", "marks.key"]


def test_a_damaged_file_is_set_aside_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    """Also its journal, which SQLite would otherwise roll back into the new file; sightings' ids go on above the old ones."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    with store_in(tmp_path) as store:
        keep(store, vectors(1), NewReference("Ada"))
        copy_to(store, backup_path(path))
        with store.transaction():
            record(store, [event(f"k{i}", "Ada") for i in range(9)], "s")
            last_id = store.sightings.last_id()
    for source in ("BACKUP", "WITHOUT THE OLD DATABASE"):
        path.write_bytes(b"")
        path.with_name(path.name + "-journal").write_bytes(b"its journal")
        with store_in(tmp_path, said) as store:
            assert count_references(store) == (source == "BACKUP")
            with store.transaction():
                found = record(store, [event(f"new {source}", kind="unknown")], "s")[0]["id"]
        assert found > last_id
        last_id = found
        assert any(source in line for line in said)
        backup_path(path).unlink(missing_ok=True)
    aside = sorted(one.name for one in tmp_path.glob("face_embeddings.db.damaged-*"))
    assert len(aside) == 4
    assert {one.read_bytes() for one in tmp_path.glob("*-journal")} == {b"its journal"}


def test_a_program_that_died_while_it_wrote_is_no_damage(tmp_path: Path) -> None:
    """A hot journal beside the file: the half-written change is rolled back, the rest is there."""
    path, said = tmp_path / "face_embeddings.db", []  # type: tuple[Path, list[str]]
    program = (  # the statements are the test's own
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"  # noqa: S608  # see above
        f"c.execute('CREATE TABLE {_THE_TABLE}'); c.execute('PRAGMA cache_size=5'); vector = bytes(range(256)) * 8\n"
        "c.execute('INSERT INTO embeddings(person_name, embedding) VALUES (?, ?)', ('Ada', b'\\0\\0\\x80?' * 512))\n"
        "c.execute('BEGIN')\n"
        "for i in range(500): c.execute('INSERT INTO embeddings(person_name, embedding) VALUES (?, ?)', (f'p{i}', vector))\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
    assert path.with_name(path.name + "-journal").exists()
    with store_in(tmp_path, said) as store:
        assert [one.person for one in list_people(store)] == ["Ada"]
    assert not any("DAMAGED" in line for line in said)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """For reading and for writing, and the file is left as it is."""
    with store_in(tmp_path) as store:
        store.set_fact("schema_version", str(schema.SCHEMA_VERSION + 1))
    path = tmp_path / "face_embeddings.db"
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="newer Rollcall"):
        open_store(path, silent)
    with pytest.raises(ConfigurationError, match="newer Rollcall"):
        open_read_only(path)
    assert path.read_bytes() == before


def test_a_database_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Somebody else's tables, or an `embeddings` with other columns, are not taken for a gallery, and not touched."""
    path = tmp_path / "face_embeddings.db"
    for table in ("songs(title)", "embeddings(id INTEGER PRIMARY KEY, vector BLOB)"):
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        connection.execute(f"CREATE TABLE {table}")
        connection.close()
        before = path.read_bytes()
        with pytest.raises(ConfigurationError, match="not a gallery"):
            open_store(path, silent)
        assert path.read_bytes() == before
