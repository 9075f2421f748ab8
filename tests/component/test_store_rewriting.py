"""What a deletion leaves in a large file is overwritten in little memory, whatever kills it, and waits while there is no room."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.ipc.requests.forgetting import Forget
from shared.records import NewReference
from shared.store.check import store_faults
from shared.store.connection import connect
from shared.store.copying import copy_to
from shared.store.opening import backup_path, open_read_only
from shared.store.references import count_references, list_people
from shared.store.rewriting import TEMPORARY
from shared.store.store import Store
from tests.conftest import SmallDisk
from tests.support.paths import ROOT
from tests.support.stores import bytes_under, keep, service_of, store_in, vectors

_LARGE_BYTES = 300 << 20
_GONE = b"the embedding of somebody who is gone"
_FILES = {"face_embeddings.db", "marks.key"}
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory and open files are read from Linux")

_OPEN = """
import resource, sys
from pathlib import Path
from shared.store.opening import open_store

most = int(sys.argv[2])
if most:
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
store = open_store(Path(sys.argv[1]), print)
print("due" if store.remains_are_due() else "done")
store.close()
"""
_ERASE = """
import resource, sys
from pathlib import Path
from shared.store.store import Store
from shared.store.connection import connect

store = Store(connect(Path(sys.argv[1])), Path(sys.argv[1]), read_only=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.erase_remains()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def owing(folder: Path, size_bytes: int) -> Path:
    """A database of that size in `folder`, of which remains are still to be overwritten: _GONE is in its free space."""
    with store_in(folder) as store:
        count = size_bytes // 2340
        store.connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<?) "
            "INSERT INTO embeddings(person_name, embedding) SELECT 'p' || i, randomblob(2048) FROM n",
            (count,),
        )
        store.connection.execute("PRAGMA secure_delete=OFF")
        with store.transaction():
            store.connection.execute(
                "INSERT INTO embeddings VALUES (?, 'Gone', ?, NULL, NULL, NULL, NULL)", (1 << 40, _GONE * 50)
            )
        with store.transaction():
            store.connection.execute("DELETE FROM embeddings WHERE person_name='Gone'")
            store.want_remains_erased()
    path = folder / "face_embeddings.db"
    assert path.stat().st_size >= size_bytes
    assert _GONE in path.read_bytes()
    return path


def run(script: str, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_linux
def test_a_large_file_is_overwritten_in_little_memory(tmp_path: Path) -> None:
    """300 MiB: it takes less than a quarter of that, and a start under a limit of 200 MiB comes through with it done."""
    path = owing(tmp_path, _LARGE_BYTES)
    assert int(run(_ERASE, path)) << 10 < _LARGE_BYTES // 4
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO store_facts VALUES ('erasure_due', '1')")
    connection.commit()
    connection.close()
    assert run(_OPEN, path, 200 << 20).splitlines() == ["done"]
    assert _GONE not in path.read_bytes()
    assert {one.name for one in tmp_path.iterdir()} == _FILES


def _temporary_files(pid: int) -> set[Path]:
    """SQLite's that the process has open, which have no name any more."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = descriptor.readlink()
            if target.name.startswith(TEMPORARY) and target.name.endswith(" (deleted)"):
                found.add(target)
    return found


def _wal_bytes(path: Path) -> int:
    wal = path.with_name(path.name + "-wal")
    return wal.stat().st_size if wal.exists() else 0


@needs_linux
@pytest.mark.parametrize("moment", ["copied out", "copied back"])
def test_a_kill_in_the_middle_leaves_a_sound_file_and_nothing_beside(tmp_path: Path, moment: str) -> None:
    """SIGKILL while it copies out or back: what it copied lay in the data folder without a name, the database is sound and whole, and
    the next start does it."""
    path = owing(tmp_path, _LARGE_BYTES // 3)
    temporary: set[Path] = set()

    def is_there(pid: int) -> bool:
        temporary.update(_temporary_files(pid))
        return _wal_bytes(path) > 1 << 20 if moment == "copied back" else bool(temporary)

    process = subprocess.Popen([sys.executable, "-c", _OPEN, str(path), "0"], cwd=ROOT)
    _wait_until(lambda: is_there(process.pid), process)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    assert {one.parent for one in temporary} == {tmp_path}
    assert {one.name.removesuffix("-wal").removesuffix("-shm") for one in tmp_path.iterdir()} == _FILES
    with_remains = open_read_only(path)
    assert with_remains.remains_are_due()
    assert with_remains.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with_remains.close()
    assert run(_OPEN, path, 0).splitlines()[-1] == "done"
    assert _GONE not in path.read_bytes()
    assert {one.name for one in tmp_path.iterdir()} == _FILES


def _wait_until(there: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def test_without_room_it_waits_and_is_said(small_disk: SmallDisk) -> None:
    """A disk with too little room for it: the store opens and is served, what is missing is said in bytes, also by `check`, nothing is
    filled up; with room it is done at the next start."""
    data = small_disk("disk", 18 << 10)
    path = owing(data, 4 << 20)
    filler = data / "filler"
    filler.write_bytes(bytes(8 << 20))
    free = os.statvfs(data).f_bavail
    said: list[str] = []
    with store_in(data, said) as store:
        assert store.remains_are_due()
        (line,) = [one for one in said if "remains of a deletion" in one]
        assert "bytes free" in line
        assert "remedy: free " in line
        assert any("remains of a deletion" in fault for fault in store_faults(store))
        keep(store, vectors(1), NewReference("Ada"))
    assert free - os.statvfs(data).f_bavail < 64
    filler.unlink()
    del said[:]
    with store_in(data, said) as store:
        assert not store.remains_are_due()
        assert not any("remains of a deletion" in fault for fault in store_faults(store))
    assert said == []
    assert _GONE not in path.read_bytes()


def test_a_copy_that_is_made_meanwhile_has_no_remains(tmp_path: Path) -> None:
    """While remains are due in a large file, no copy of it has them: neither the site's own backup nor one that is asked for."""
    path = owing(tmp_path / "data", 2 << 20)
    connection = connect(path)
    store = Store(connection, path, read_only=False)
    for target in (backup_path(path), tmp_path / "mine.db"):
        copy_to(store, target)
        assert _GONE not in target.read_bytes()
        copy = open_read_only(target)
        assert not copy.remains_are_due()
        assert count_references(copy) == count_references(store)
        assert copy.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        copy.close()
        assert target.stat().st_mode & 0o777 == 0o600
    store.close()


def test_the_remains_in_a_large_backup_go_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site's own backup is too large to be written anew while the site runs: the next start does it."""
    monkeypatch.setattr("shared.store.erasure.AT_ONCE_BYTES", 1)
    with store_in(tmp_path / "data") as store:
        keep(store, vectors(2), NewReference("Ada"), NewReference("Bo"))
        backup = backup_path(store.path)
        copy_to(store, backup)
        answer = service_of(store, tmp_path / "data").ask(Forget("Ada"))
        assert "next start" in (answer.warning or "")
    kept = open_read_only(backup)
    assert kept.remains_are_due()
    kept.close()
    with store_in(tmp_path / "data") as store:
        assert not store.remains_are_due()
    kept = open_read_only(backup)
    assert not kept.remains_are_due()
    assert [one.person for one in list_people(kept)] == ["Bo"]
    kept.close()
    assert not any(b"Ada" in content for content in bytes_under(tmp_path / "data", tmp_path / "copy").values())
