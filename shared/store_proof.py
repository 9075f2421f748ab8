"""Proves a database whole that a process left open: `PRAGMA integrity_check` in the background, while the site serves.

A start looks with quick_check only, which takes a tenth of the time and compares no index with its table. A thread does the rest
through a connection of its own. Somebody who is forgotten meanwhile ends it, as the WAL can't be emptied while it reads; it begins anew.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
from pathlib import Path

from shared.errors import RollcallError
from shared.store import Store, explain
from shared.store_opening import Say, open_read_only

_FAULTS_AT_MOST = 20
_GIVE_UP_S = 10.0  # a thread that was told to end does so within some thousand instructions, but on a disk that hangs
_OF_AN_INDEX = re.compile(r"(row \d+ missing from|wrong # of entries in|non-unique entry in) index \w+")


class IntegrityProof:
    """One proof of one database; `turn` is called from the writer's loop."""

    def __init__(self, db_path: Path, say: Say, *, wanted: bool) -> None:
        self._db_path, self._say, self._wanted = db_path, say, wanted
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._faults: list[str] | None = None
        self._ended = threading.Event()
        self._erasures = 0

    def turn(self, store: Store, erasures: int) -> None:
        """Begin when it is wanted; tell what was found. Indexes that don't fit their tables are made anew."""
        if self._thread is None:
            if self._wanted:
                self._wanted, self._erasures, self._faults = False, erasures, None
                self._ended.clear()
                self._thread = threading.Thread(target=self._prove, name="proof", daemon=True)
                self._thread.start()
            return
        if erasures != self._erasures:
            self._end()
        if not self._thread.is_alive():
            self._thread = None
            self._wanted = self._ended.is_set()
            if self._faults is not None and not self._wanted:
                self._tell(store, self._faults)
                with contextlib.suppress(sqlite3.Error):  # a full disk: it is proven once more, then
                    store.proof_is_due = False

    def finish(self) -> None:
        """At a stop: end it, so that nobody reads the WAL any more."""
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
        except RollcallError as error:
            self._faults = [error.line()]
            return
        try:
            self._connection = store.connection
            if self._ended.is_set():
                return
            rows = store.connection.execute(f"PRAGMA integrity_check({_FAULTS_AT_MOST})").fetchall()
            self._faults = [str(row[0]) for row in rows if row[0] != "ok"]
        except sqlite3.Error as error:
            self._faults = [explain(error, self._db_path).line()]
        finally:
            self._connection = None
            store.connection.close()

    def _tell(self, store: Store, faults: list[str]) -> None:
        if not faults:
            self._say(f"{self._db_path.name} was not closed cleanly; it has been read whole since, and is sound")
            return
        for fault in faults:
            self._say(f"DATABASE UNSOUND: {self._db_path}: {fault}")
        if not all(_OF_AN_INDEX.fullmatch(fault) for fault in faults):
            self._say(
                "the site goes on; at its next start a damaged file is set aside, or now: supervisor.py restore FILE"
            )
            return
        try:
            with store.transaction():
                store.connection.execute("REINDEX")
            self._say("only indexes were at fault; they were made anew")
        except RollcallError as error:
            self._say(f"indexes could not be made anew: {error.line()}")
