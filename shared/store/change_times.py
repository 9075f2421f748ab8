"""The table of change times: when changes were made, as revisions that other sites can compare (sync/hybrid_clock.py).

Every transaction that takes change numbers adds one row, so that all its changes have one revision. The rows of changes that are noted are
not needed any more: what is noted has its revision in a row of its own (service/sync_own.py).
"""

from __future__ import annotations

import sqlite3

from shared.sync import hybrid_clock
from shared.sync.hybrid_clock import OLDEST, is_ahead, next_revision

_SEEN = "revision_seen"  # a key in sync_state: the newest revision that a hub has taken, from this site or another


def note_time(connection: sqlite3.Connection, change_number: int) -> None:
    """Note that the changes up to this number are made now. Call it before the transaction ends."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name='change_times'").fetchone() is None:
        return  # a backup of an older version
    connection.execute(
        "INSERT OR IGNORE INTO change_times VALUES (?, ?)",
        (change_number, next_revision(_last(connection), hybrid_clock.now_ms())),
    )


def note_revision(connection: sqlite3.Connection, change_number: int, revision: int) -> None:
    """Note the revision of the changes up to this number, which were given one already."""
    connection.execute("INSERT OR REPLACE INTO change_times VALUES (?, ?)", (change_number, revision))


def note_as_oldest(connection: sqlite3.Connection, change_number: int) -> None:
    """Note that all changes up to this number are older than whatever other sites have."""
    connection.execute("DELETE FROM change_times")
    connection.execute("INSERT INTO change_times VALUES (?, ?)", (change_number, OLDEST))


def note_seen(connection: sqlite3.Connection, revision: int) -> None:
    """Make all later changes newer than this revision, which a hub has taken."""
    if revision > _seen(connection):
        connection.execute("INSERT OR REPLACE INTO sync_state VALUES (?, ?)", (_SEEN, str(revision)))


def time_ms(connection: sqlite3.Connection) -> int:
    """What time it is at least: by the wall clock, or by what a hub has taken. Milliseconds since 1970."""
    return max(hybrid_clock.now_ms(), hybrid_clock.ms_of(_seen(connection)) - hybrid_clock.MAX_AHEAD_MS)


def revision_of(connection: sqlite3.Connection, change_number: int) -> int:
    """The revision of the change with this number. OLDEST for one that is older than this table."""
    row = connection.execute(
        "SELECT revision FROM change_times WHERE change_number>=? ORDER BY change_number LIMIT 1", (change_number,)
    ).fetchone()
    return OLDEST if row is None else int(row[0])


def newest(connection: sqlite3.Connection) -> int:
    """A revision for a change that is made now, inside a transaction: the one that its commit will note, or a little below."""
    return next_revision(_last(connection), hybrid_clock.now_ms())


def drop_noted(connection: sqlite3.Connection, noted: int) -> None:
    """Delete the times of changes up to this number, which are noted elsewhere, but for the last one."""
    connection.execute(
        "DELETE FROM change_times WHERE change_number<=? AND change_number<(SELECT MAX(change_number) FROM change_times)",
        (noted,),
    )


def mend_times(connection: sqlite3.Connection) -> None:
    """Give changes a time that were made while the clock was ahead of now. No other site has taken them."""
    now = time_ms(connection)
    ahead = [
        number
        for number, revision in connection.execute("SELECT change_number, revision FROM change_times ORDER BY 1")
        if is_ahead(revision, now)
    ]
    if not ahead:
        return
    (before,) = connection.execute(
        "SELECT COALESCE(MAX(revision), 0) FROM change_times WHERE change_number<?", (ahead[0],)
    ).fetchone()
    first = next_revision(max(before, _seen(connection)), hybrid_clock.now_ms())
    connection.executemany(
        "UPDATE change_times SET revision=? WHERE change_number=?",
        [(first + place, number) for place, number in enumerate(ahead)],
    )


def _last(connection: sqlite3.Connection) -> int:
    """The newest revision that this store knows, but for own ones of a clock that was wrong."""
    row = connection.execute("SELECT revision FROM change_times ORDER BY change_number DESC LIMIT 1").fetchone()
    own = 0 if row is None else int(row[0])
    return max(_seen(connection), 0 if is_ahead(own, time_ms(connection)) else own)


def _seen(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM sync_state WHERE key=?", (_SEEN,)).fetchone()
    return 0 if row is None else int(row[0])
