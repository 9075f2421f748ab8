"""Makes whole copies of a database. A copy shows one moment, leaves out what copies must not hold, and is put in place in one step."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from shared.errors import DamagedError, TemporaryError, damage_fault
from shared.files.mark_key import key_id
from shared.process.work_progress import beat, prove_progress
from shared.store.connection import connect
from shared.store.leftovers import unfinished_copy
from shared.store.rewriting import copy_anew
from shared.store.schema import ERASURE_DUE, PARTS, tables
from shared.store.store import Store, explain

# After so much work a copy proves progress and checks again whether it is still wanted.
_PAGES_AT_ONCE = 256
_INSTRUCTIONS = 50_000  # instructions of SQLite's virtual machine

# Tables that copies leave out. A copy would keep strangers, what was decided of them, probes and crops longer than the settings allow, and the
# notes for undoing longer than 30 days. The paths of files that are still to be moved or removed hold names. A copy is not the site, and has
# exchanged nothing.
_NOT_IN_COPIES = (
    "different_people", "ignored_strangers",
    "stranger_visits", "stranger_traces", "strangers", "pending_removals", "merged_references", "people_changes", "pending_moves",
    "sighting_probes", "sighting_crops", "change_times", "synced", "synced_people", "unsettled", "quarantine",
    "plain_items", "sync_state",
)  # fmt: skip  # one list


def half_made(path: Path) -> Path:
    """The path at which a database is made before it is put in place. Removes what an earlier attempt left there."""
    half = path.with_name(f".{path.name}.new")
    for part in PARTS:
        half.with_name(half.name + part).unlink(missing_ok=True)
    return half


def copy_database(
    connection: sqlite3.Connection,
    target: Path,
    wanted: Callable[[], bool] = lambda: True,
    *,
    with_sightings: bool = True,
) -> bool:
    """Copy the open database to the file `target`, with mode 0600. The file is complete without a WAL.

    The copy shows one moment, whatever is written meanwhile. It leaves out: strangers, probes and crops of sightings, notes for undoing a rename or
    a merge, the key of the deletion marks (older databases hold it), and remains of deleted rows in free space. `with_sightings`: False
    for a copy that is not replaced later, since it would keep sightings and corrections longer than the settings allow.

    Returns False if the copy was no longer `wanted`. An unfinished copy is removed. Raises DamagedError, and makes no copy, if the
    database is damaged.
    """
    target.touch(mode=0o600)
    try:
        anew = not connection.in_transaction and owes_erasing(connection)
        finished = not anew or _copy_anew(connection, target, wanted)
        copy = connect(target)
        try:
            finished = finished and (anew or copy_pages(connection, copy, wanted))
            if finished:
                _require_sound(connection, copy)
                _leave_out_what_copies_must_not_hold(copy, () if with_sightings else ("sightings", "corrections"))
            copy.execute("PRAGMA journal_mode=DELETE")
        finally:
            copy.close()
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    if not finished:
        target.unlink(missing_ok=True)
    return finished


def owes_erasing(connection: sqlite3.Connection) -> bool:
    """Whether this database's free space may still hold remains of deleted rows."""
    if "store_facts" not in tables(connection):
        return False
    return connection.execute("SELECT 1 FROM store_facts WHERE key=?", (ERASURE_DUE,)).fetchone() is not None


def _copy_anew(source: sqlite3.Connection, target: Path, wanted: Callable[[], bool]) -> bool:
    def is_cancelled() -> bool:
        beat()
        return not wanted()

    source.set_progress_handler(is_cancelled, _INSTRUCTIONS)
    try:
        copy_anew(source, target)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT or wanted():
            raise
        return False
    finally:
        prove_progress(source)
    return True


def _require_sound(source: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Raises DamagedError if the copy is damaged. Copying pages also copies damage, and this copy may replace a sound one."""
    try:
        found = str(copy.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        found = str(error)
    if found != "ok":
        raise damage_fault(str(source.execute("PRAGMA database_list").fetchone()[2]), found)


class _NotWantedError(Exception):
    """Ends a copy between two steps."""


def copy_pages(source: sqlite3.Connection, copy: sqlite3.Connection, wanted: Callable[[], bool]) -> bool:
    """Copy one snapshot of `source` into `copy`, page by page. Proves progress at each step. Returns False if it was no longer `wanted`."""

    def step_done(status: int, remaining: int, total: int) -> None:  # noqa: ARG001  # the callback's signature
        beat()
        if not wanted():
            raise _NotWantedError

    alone = not source.in_transaction
    if alone:
        # A read transaction keeps the snapshot. Without it, each commit of another connection would restart the copy.
        source.execute("BEGIN")
        source.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    try:
        source.backup(copy, pages=_PAGES_AT_ONCE, progress=step_done, sleep=0.05)
    except _NotWantedError:
        return False
    finally:
        if alone:
            source.execute("COMMIT")
    return True


def _leave_out_what_copies_must_not_hold(copy: sqlite3.Connection, more: tuple[str, ...]) -> None:
    """Empty the tables that copies leave out, and the tables `more`. Delete the marks' key. SQLite overwrites deleted rows (secure_delete)."""
    found = tables(copy)
    copy.execute("BEGIN")
    for table in (*_NOT_IN_COPIES, *more):
        if table in found:
            copy.execute(f"DELETE FROM {table}")  # noqa: S608  # our own tables
    if "store_facts" in found:
        key = copy.execute("SELECT value FROM store_facts WHERE key='mark_key'").fetchone()
        if key is not None:  # the key's id stays, so that the marks can be used where that key is
            copy.execute("DELETE FROM store_facts WHERE key='mark_key'")
            copy.execute("INSERT OR REPLACE INTO store_facts VALUES ('mark_key_id', ?)", (key_id(str(key[0])),))
        copy.execute("DELETE FROM store_facts WHERE key=?", (ERASURE_DUE,))
    copy.execute("COMMIT")


def copy_to(store: Store, target: Path) -> None:
    """Make a consistent copy of the store and put it at `target` in one step. It is complete without a WAL and has mode 0600.

    Raises RollcallError.
    """
    with unfinished_copy(target, store.path.parent / "run") as temporary:
        try:
            copy_database(store.connection, temporary)
            temporary.replace(target)
        except DamagedError as fault:
            store.damage = fault
            raise
        except (sqlite3.Error, FileNotFoundError) as error:
            if isinstance(error, sqlite3.Error) and temporary.exists():
                raise explain(error, target) from error
            raise TemporaryError(
                "the copy was removed while it was being made: somebody was forgotten, or the site was restarted",
                where=str(target),
                remedy="try again",
            ) from error
