"""Checks a database that a killed process left open: `PRAGMA integrity_check` in the background, while the site runs.

The start itself runs only quick_check, which takes a tenth of the time and compares no index with its table. A thread does the full
check through a connection of its own. If somebody is forgotten meanwhile, the check is stopped and begins anew: while it reads, the WAL
can't be emptied.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
from pathlib import Path

from shared.errors import DamagedError, RollcallError, Say, damage_fault
from shared.store.opening import open_read_only
from shared.store.store import Store, explain

_MAX_FAULTS = 20
_GIVE_UP_S = 10.0  # the thread stops within some thousand of SQLite's instructions, unless the disk hangs
_TRIES = 6  # of one process; after that the next start tries again
_AGAIN_S = 60.0  # the wait after a first failure; it doubles with each further one
_OF_AN_INDEX = re.compile(
    r"(row \d+ (missing from|values differ from)|rowid not at end-of-record for row \d+ of|"
    r"wrong # of entries in|non-unique entry in) index \w+"
)
# If a page can't be read, integrity_check goes on and reports SQLite's error code. Such a line means a fault of the disk, not of the file.
_PAGE_NOT_READ = re.compile(r"unable to get the page\. error code=(\d+)")
_HEADING = re.compile(r"\*\*\* in database \w+ \*\*\*")


class IntegrityProof:
    """The check of one database. The writer's loop calls `turn`.

    The file is unsound only if SQLite reports a fault in the file itself. Other reasons why it can't be read (a lock, a disk that
    reports errors or is full) prove nothing: the check stays due and is tried again.
    """

    def __init__(self, db_path: Path, say: Say, *, wanted: bool) -> None:
        self._db_path, self._say, self._wanted = db_path, say, wanted
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._faults: list[str] = []
        self._failure: RollcallError | None = None
        self._failures, self._not_before = 0, 0.0
        self._ended = threading.Event()
        self._erasures = 0

    def want(self) -> None:
        """Ask for a check, though none is due."""
        self._wanted = True

    def turn(self, now: float, store: Store, erasures: int) -> None:
        """Start a check that is wanted, or handle the result of one that has ended.

        Indexes that don't fit their tables are made anew. Damage is noted in `store.damage`. `now`: time.monotonic(). `erasures`: how
        often somebody was forgotten; if it rises, the check begins anew.
        """
        if self._thread is None:
            if self._wanted and now >= self._not_before:
                self._wanted, self._erasures, self._faults, self._failure = False, erasures, [], None
                self._ended.clear()
                self._thread = threading.Thread(target=self._prove, name="proof", daemon=True)
                self._thread.start()
            return
        if erasures != self._erasures:
            self._end()
        if not self._thread.is_alive():
            self._thread = None
            if self._ended.is_set():
                self._wanted = True
            elif self._failure is not None:
                self._put_off(now, self._failure)
            else:
                self._report(store, self._faults)

    def finish(self) -> None:
        """Stop the check at the end of the process, so that it no longer reads the WAL."""
        if self._thread is not None:
            self._end()
            self._thread.join(_GIVE_UP_S)

    def _end(self) -> None:
        self._ended.set()
        if (connection := self._connection) is not None:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed meanwhile
                connection.interrupt()

    def _prove(self) -> None:
        try:
            store = open_read_only(self._db_path)
        except DamagedError as error:
            self._faults = [str(error.got)]
            return
        except RollcallError as error:
            self._failure = error
            return
        try:
            self._connection = store.connection
            if self._ended.is_set():
                return
            rows = store.connection.execute(f"PRAGMA integrity_check({_MAX_FAULTS})").fetchall()
            lines = [line for row in rows for line in str(row[0]).splitlines()]
            self._faults = [line for line in lines if line != "ok" and not _HEADING.fullmatch(line)]
            self._failure = _failure_of_disk(self._faults, self._db_path)
        except sqlite3.Error as error:
            fault = explain(error, self._db_path)
            if isinstance(fault, DamagedError):
                self._faults = [str(fault.got)]
            else:
                self._failure = fault
        finally:
            self._connection = None
            store.connection.close()

    def _put_off(self, now: float, failure: RollcallError) -> None:
        self._failures += 1
        self._wanted = self._failures < _TRIES
        self._not_before = now + _AGAIN_S * 2 ** (self._failures - 1)
        again = f"in {self._not_before - now:.0f} s" if self._wanted else "at the next start"
        self._say(f"the database could not be checked; the next try is {again}: {failure.line()}")

    def _report(self, store: Store, faults: list[str]) -> None:
        for fault in faults:
            self._say(f"DATABASE UNSOUND: {self._db_path}: {fault}")
        if faults and not all(_OF_AN_INDEX.fullmatch(fault) for fault in faults):
            store.damage = damage_fault(self._db_path, faults[0])
            return
        try:
            if faults:
                with store.transaction():
                    store.connection.execute("REINDEX")
                self._say("only indexes were damaged; they were made anew")
            else:
                self._say(f"{self._db_path.name} was checked whole, and is sound")
            with store.transaction():
                store.proof_is_due = False
        except RollcallError as error:  # a full disk: the check stays due
            self._say(
                f"{'indexes could not be made anew' if faults else 'the result could not be stored'}: {error.line()}"
            )


def _failure_of_disk(lines: list[str], path: Path) -> RollcallError | None:
    """The error of the disk, if all lines come from pages that the disk could not read. None if the file itself has a fault."""
    codes = [int(found[1]) for line in lines if (found := _PAGE_NOT_READ.search(line))]
    if not codes or len(codes) < len(lines) or any(code & 0xFF == sqlite3.SQLITE_CORRUPT for code in codes):
        return None
    error = sqlite3.OperationalError(lines[0])
    error.sqlite_errorcode = codes[0]
    return explain(error, path)
