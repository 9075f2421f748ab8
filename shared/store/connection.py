"""Opens every connection to a database: to our own for writing or reading, and to foreign files, which are not trusted.

The schema of a database can contain triggers, views and functions that run when a program only reads it. Our databases have none. So
all connections have SQLite's guards on:
- no function with side effects is called from a schema;
- cells are checked before they are used;
- temporary files stay in memory: they would hold people's rows, in a folder that is not ours. Only store/rewriting.py uses one, beside
  the database.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from pathlib import Path

from shared.errors import RefusedError
from shared.process.work_progress import beat, prove_progress

BUSY_TIMEOUT_S = 10.0
MMAP_BYTES = 1 << 30
CACHED_STATEMENTS = 128  # statements that a connection keeps ready, with the values of their last run
# Large enough that a batch of 10,000 rows, 30 MB, is written once and not page by page before the commit.
CACHE_KIB = 64 << 10
_GUARDS = ("trusted_schema=OFF", "cell_size_check=ON", "temp_store=MEMORY", f"mmap_size={MMAP_BYTES}")
_PRAGMAS = (
    *_GUARDS,
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    f"cache_size=-{CACHE_KIB}",
)
_INSTRUCTIONS = 100_000  # of SQLite's, between two checks of the time: about a millisecond


def connect(db_path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    """A connection for writing, with all guards and settings. `factory`: for tests, which make connections fail."""
    return _open(db_path, "rwc", _PRAGMAS, factory)


def connect_read_only(db_path: Path, mode: str = "ro") -> sqlite3.Connection:
    """A connection that does not write the database. With `mode` "ro&immutable=1" it makes no files beside it either; use that only if
    no process writes the database."""
    return _open(db_path, mode, _GUARDS, sqlite3.Connection)


# How long the reading of a foreign file may take in all: this time, and a second for each so many bytes.
_LIMIT_S = 300.0
_LIMIT_BYTES_PER_S = 1 << 20


class TimeLimit:
    """Interrupts the reading of a foreign database that takes too long: it may have an endless view, or a constraint that counts for
    ever."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._path, self._seconds = path, _LIMIT_S + path.stat().st_size / _LIMIT_BYTES_PER_S
        self._ends = time.monotonic() + self._seconds
        connection.set_progress_handler(self._is_over, _INSTRUCTIONS)

    def require_time(self, error: sqlite3.Error | None = None) -> None:
        """Raise RefusedError if the time is over. With `error`: only if the time limit caused that error."""
        if error is not None and getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
            return
        if self._is_over():
            raise RefusedError(
                "reading the file does not come to an end",
                where=str(self._path),
                got=f"more than {self._seconds:.0f} s",
                remedy="use another file; this one may be made to do harm",
            ) from error

    def _is_over(self) -> bool:
        beat()
        return time.monotonic() > self._ends


def _open(db_path: Path, mode: str, pragmas: tuple[str, ...], factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{db_path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
        factory=factory,
    )
    connection.text_factory = _text
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    prove_progress(connection)
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _text(raw: bytes) -> str:
    """Decode text from the database. Text that is no UTF-8 must not raise: SQLite's error message would quote it, with names in it."""
    return raw.decode("utf-8", "replace")
