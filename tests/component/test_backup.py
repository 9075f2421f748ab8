"""The site's own backup: made beside a working writer, and never with somebody who is forgotten meanwhile."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from shared.records import NewReference
from shared.store.backup import BackupKeeper
from shared.store.check import store_faults
from shared.store.opening import backup_path, open_read_only
from shared.store.references import (
    count_references,
    forget_person,
)
from tests.support.stores import (
    bytes_under,
    keep,
    store_in,
    vectors,
)


def test_the_backup_is_made_beside_a_working_writer(tmp_path: Path) -> None:
    """The daily copy is of one moment while writes go on; it is put in place whole, 0600 and complete alone."""
    with store_in(tmp_path) as store:
        keep(store, vectors(50), *(NewReference(f"p{i}") for i in range(50)))
        keeper = BackupKeeper(store.path)
        keeper.turn(0.0, store, 0)
        keeper.turn(61.0, store, 0)
        _until(lambda: keeper.turn(62.0, store, 0), lambda: backup_path(store.path).exists(), store)
        backup = open_read_only(backup_path(store.path))
        assert store_faults(backup) == []
        assert count_references(backup) >= 50
        backup.close()
        assert backup_path(store.path).stat().st_mode & 0o777 == 0o600
        keeper.finish(store)
        backup = open_read_only(backup_path(store.path))
        assert count_references(backup) == count_references(store)
        backup.close()
    names = ["face_embeddings.backup.db", "face_embeddings.db", "marks.key"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def _until(turn: Any, done: Any, store: Any) -> None:
    """Turn the loop, with a write in each, until `done`."""
    deadline = time.monotonic() + 20
    waiting = threading.Event()
    while not done():
        assert time.monotonic() < deadline
        keep(store, vectors(1), NewReference("more"))
        turn()
        waiting.wait(0.01)


def test_a_backup_begun_before_a_forget_is_thrown_away(tmp_path: Path) -> None:
    """Whoever is forgotten while it is copied does not come back with it, and no half of a copy stays behind, also of a writer
    that was killed."""
    fresh = backup_path(tmp_path / "face_embeddings.db").with_name("face_embeddings.backup.db.new")
    fresh.write_bytes(b"of a writer that was killed: Ada Lovelace")
    with store_in(tmp_path) as store:
        keeper = BackupKeeper(store.path)
        assert not fresh.exists()
        keep(store, vectors(2), NewReference("Ada Lovelace"), NewReference("Bo"))
        keeper.turn(0.0, store, 0)
        keeper.turn(61.0, store, 0)
        with store.transaction():
            forget_person(store, "Ada Lovelace")
        _until(lambda: keeper.turn(62.0, store, 1), lambda: keeper._thread is None, store)
        assert not backup_path(store.path).exists()
        keeper.finish(store)
        assert not any(
            b"Lovelace" in one
            for name, one in bytes_under(tmp_path, tmp_path.parent / "copy").items()
            if "backup" in name
        )
