"""A database that gets damaged under a running site: it is said, nothing is lost for that, and what can be put right is."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from shared.errors import DamagedError, TemporaryError
from shared.events import new_event
from shared.gallery.reader import GalleryReader
from shared.ipc.client import SiteClient
from shared.ipc.event_sender import EventSender
from shared.ipc.requests.references import References
from shared.records import NewReference
from shared.store.copying import copy_to
from shared.store.opening import backup_path, damage_of
from shared.store.proof import IntegrityProof, _failure_of_disk
from shared.store.store import Store
from tests.support.paths import needs_dlib
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import people_of, save_references
from tests.support.stores import keep, store_in
from tests.support.vectors import noise

_PAGE = 4096
_ROWS = 1000  # so many that what lies in the middle of the file is theirs


def _overwrite(path: Path, *tables: str) -> None:
    """Other bytes in place of a whole page, as a failing disk gives: of these tables, or of what lies in the middle."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = [
        int(connection.execute("SELECT rootpage FROM sqlite_master WHERE name=?", (table,)).fetchone()[0]) - 1
        for table in tables
    ] or [*range(path.stat().st_size // _PAGE // 2, path.stat().st_size // _PAGE * 2 // 3)]
    connection.close()
    descriptor = os.open(path, os.O_WRONLY)
    for page in pages:
        os.pwrite(descriptor, b"\xa5" * _PAGE, page * _PAGE)
    os.close(descriptor)


def _meet(site: SiteProcess) -> None:
    """Ask for what lies in the damaged pages: not refused for good, since the site sees to it."""
    client = SiteClient(site.settings.run_dir)
    with pytest.raises(TemporaryError, match="damaged"):
        client.ask(References(limit=_ROWS))
    client.close()


@needs_dlib
@pytest.mark.parametrize("tables", [(), ("embeddings", "store_facts", "sightings")], ids=["some pages", "all tables"])
def test_a_running_site_takes_its_backup(site: SiteProcess, tables: tuple[str, ...]) -> None:
    """The writer says so and starts again once, with the backup; sightings that are sent meanwhile are kept, and the site goes on."""
    save_references(site, *["Ada"] * _ROWS)
    assert site.stop() == 0
    site.start().wait_until_ready()
    site.log.clear()
    save_references(site, "Cy", seed=1)  # since the backup
    _overwrite(site.settings.db_path, *tables)
    client = EventSender(site.settings.run_dir)
    _meet(site)
    client.record([new_event("door", "camera_up", time.time())])
    site.wait_for_log("DATABASE DAMAGED under the running site")
    site.wait_for_log("RUNNING FROM BACKUP")
    assert client.flush(30.0)
    assert client.dropped == 0
    client.close()
    save_references(site, "Bo", seed=2)
    assert people_of(site.folder) == {"Ada", "Bo"}
    assert len(command(site.folder, "events", "--json").stdout.splitlines()) == 1
    assert site.check() == []
    assert site.status()["writer"]["restarts"] == 1
    assert site.stop() == 0
    assert [path.name for path in site.settings.data_dir.glob("*.damaged-*")]
    assert not [line for line in site.log if "Traceback" in line]


@needs_dlib
@pytest.mark.parametrize("tables", [(), ("embeddings", "store_facts", "sightings")], ids=["some pages", "all tables"])
def test_without_a_backup_who_is_enrolled_is_still_recognized(site: SiteProcess, tables: tuple[str, ...]) -> None:
    """Nothing more is taken, 75, and `status` and `check` say what to do; the site goes on as it is, and starts anew from its photos."""
    save_references(site, *["Ada"] * _ROWS)
    writer = site.child_pid("writer")
    _overwrite(site.settings.db_path, *tables)
    _meet(site)
    site.wait_for_log("no sound backup")
    with pytest.raises(TemporaryError, match="damaged"):
        save_references(site, "Bo", seed=2)
    with GalleryReader(site.settings.run_dir) as gallery:
        assert gallery.count_live() == _ROWS
    told = command(site.folder, "status")
    assert told.returncode == 0, told.stderr
    assert "NOTHING CAN BE STORED" in told.stdout
    assert "restart the site" in told.stdout
    faults = command_json(site.folder, "check", expect=1)["faults"]
    assert [fault for fault in faults if "restart the site" in fault], "\n".join(faults)
    assert site.child_pid("writer") == writer
    assert site.stop() == 0
    assert not [line for line in site.log if "Traceback" in line]
    site.start()
    site.wait_for_log("RUNNING WITHOUT THE OLD DATABASE")
    site.wait_until_ready()
    assert site.check() == []


def test_a_damaged_database_takes_no_sound_backups_place(tmp_path: Path) -> None:
    """Damage in pages that nobody asked for would be copied as it is: the copy is looked at first."""
    path = tmp_path / "face_embeddings.db"
    with store_in(tmp_path) as store:
        keep(store, noise(np.random.default_rng(1), _ROWS, 128), *[NewReference("Ada")] * _ROWS)
        copy_to(store, backup_path(path))
        before = backup_path(path).read_bytes()
        _overwrite(path, "sightings_by_time")
        with pytest.raises(DamagedError):
            copy_to(store, backup_path(path))
        assert store.damage is not None
        assert backup_path(path).read_bytes() == before
        assert sorted(one.name for one in tmp_path.glob("*backup*")) == [backup_path(path).name]
    assert damage_of(path) is not None


def _settle(proof: IntegrityProof, now: float, store: Store) -> None:
    """One proof to its end."""
    proof.turn(now, store, 0)
    assert proof._thread is not None
    proof._thread.join(30)
    proof.turn(now, store, 0)


def test_a_database_that_cannot_be_read_now_is_not_called_unsound(tmp_path: Path) -> None:
    """Its file away for a moment, a proof stays due and is tried again, later each time and not for ever; then it tells."""
    said: list[str] = []
    with store_in(tmp_path) as store:
        keep(store, noise(np.random.default_rng(1), 3, 128), *[NewReference("Ada")] * 3)
        store.proof_is_due = True
        proof = IntegrityProof(store.path, said.append, wanted=True)
        away = store.path.with_name("away.db")
        store.path.rename(away)
        _settle(proof, 0.0, store)
        assert "could not be checked" in said[-1]
        assert not [line for line in said if "UNSOUND" in line]
        assert store.proof_is_due
        proof.turn(59.0, store, 0)
        assert proof._thread is None
        away.rename(store.path)
        _settle(proof, 61.0, store)
        assert "is sound" in said[-1]
        assert not store.proof_is_due
        assert store.damage is None


def test_a_proof_that_always_fails_comes_to_an_end(tmp_path: Path) -> None:
    """It is tried some times and then left to the next start, for which it stays due."""
    said: list[str] = []
    with store_in(tmp_path) as store:
        store.proof_is_due = True
        proof = IntegrityProof(store.path, said.append, wanted=True)
        away = store.path.with_name("away.db")
        store.path.rename(away)
        now = 0.0
        while "next start" not in "".join(said[-1:]):
            _settle(proof, now, store)
            now += 1e5
            assert len(said) < 10
        proof.turn(now, store, 0)
        assert proof._thread is None
        away.rename(store.path)
        assert store.proof_is_due


def test_damage_is_told_from_a_disk_that_reports_errors(tmp_path: Path) -> None:
    """A damaged file is damage for whoever serves it; pages that the disk doesn't give, as integrity_check words it, are not."""
    said: list[str] = []
    with store_in(tmp_path) as store:
        keep(store, noise(np.random.default_rng(1), _ROWS, 128), *[NewReference("Ada")] * _ROWS)
        _overwrite(store.path)
        _settle(IntegrityProof(store.path, said.append, wanted=True), 0.0, store)
        assert "DATABASE UNSOUND" in said[0]
        assert store.damage is not None
    path = tmp_path / "x.db"
    of_disk = "Tree 2 page 7: unable to get the page. error code=266"  # SQLITE_IOERR_READ
    assert "disk reports errors" in str(_failure_of_disk([of_disk], path))
    assert _failure_of_disk([of_disk.replace("266", "11")], path) is None
    assert _failure_of_disk([of_disk, "Tree 2 page 8: btreeInitPage() returns error code 11"], path) is None
    assert _failure_of_disk([], path) is None
