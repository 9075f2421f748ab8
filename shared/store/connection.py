"""How every connection to a database is made: our own for writing and for reading, and a foreign file's, which is not trusted.

A database can carry triggers, views and functions in its schema that run when somebody merely reads it. None of ours has any, so
all connections have SQLite's guards on: no function with side effects from a schema, cells checked before they are used, no
temporary file outside of memory (it would hold people's rows, in a folder that is not ours; store/rewriting.py has one beside the
database).
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
CACHED_STATEMENTS = 128  # that a connection keeps ready, with the values of their last run
CACHE_KIB = 64 << 10  # a batch of 10,000 rows, 30 MB, is written once and not spilled page by page
_GUARDS = ("trusted_schema=OFF", "cell_size_check=ON", "temp_store=MEMORY", f"mmap_size={MMAP_BYTES}")
_PRAGMAS = (
    *_GUARDS,
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    f"cache_size=-{CACHE_KIB}",
)
_INSTRUCTIONS = 100_000  # of SQLite between two looks at the clock: about a millisecond


def connect(db_path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    """A connection for writing, set up as every one must be. `factory`: for tests that make it fail."""
    return _open(db_path, "rwc", _PRAGMAS, factory)


def connect_read_only(db_path: Path, mode: str = "ro") -> sqlite3.Connection:
    """A connection that writes nothing. `mode` "ro&immutable=1": nor a file beside, for one that nobody writes."""
    return _open(db_path, mode, _GUARDS, sqlite3.Connection)


# How long all that is read of a foreign file may take: a disk reads at least so much a second.
_LIMIT_S = 300.0
_LIMIT_BYTES_PER_S = 1 << 20


class TimeLimit:
    """Ends what reads a foreign database once it has taken too long: an endless view, a constraint that counts to infinity."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._path, self._seconds = path, _LIMIT_S + path.stat().st_size / _LIMIT_BYTES_PER_S
        self._ends = time.monotonic() + self._seconds
        connection.set_progress_handler(self._is_over, _INSTRUCTIONS)

    def require_time(self, error: sqlite3.Error | None = None) -> None:
        """Raises RefusedError when the time is over; `error`: only when that came of it."""
        if error is not None and getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
            return
        if self._is_over():
            raise RefusedError(
                "reading it does not come to an end",
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
    """Text as it is read. What is no UTF-8 must not raise: SQLite's complaint would quote it, names and all."""
    return raw.decode("utf-8", "replace")
