"""The table of accesses: who may use the web part. Of every secret the table has a hash only.

The secret of a link, a session or a token is random, with 256 bits: its SHA-256 is kept, as "sha256:HEX". A password is chosen by a
person: scrypt of it is kept, as "scrypt:SALT:HEX" (workers/serving/secrets.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.errors import RefusedError
from shared.records import Access, AccessKind, Role
from shared.store.store import Store

MAX_ACCESSES = 10_000  # sessions are most of them, and end by themselves
MAX_SESSIONS_EACH = 100  # of one password: the oldest end
MAX_LABEL_CHARACTERS = 200
_COLUMNS = "id, kind, role, label, cameras, created_at, expires_at, last_used_at, parent, session_s"


def note_access(store: Store, access: Access, secret: str) -> None:
    """Store an access. A password takes the place of an earlier one of that name, and ends the sessions that came of that. Raises
    RefusedError if there are too many accesses, or if another kind has this id."""
    known = access_of(store, access.id)
    if known is not None and (known[0].kind, access.kind) != (AccessKind.PASSWORD, AccessKind.PASSWORD):
        raise RefusedError("this id is taken", where=access.id, remedy="choose another name")
    if known is not None:
        remove_accesses(store, [access.id])
    if access.parent is not None:  # whoever signs in again and again must not fill the table
        store.connection.execute(
            "DELETE FROM accesses WHERE parent=?1 AND id NOT IN "
            "(SELECT id FROM accesses WHERE parent=?1 ORDER BY created_at DESC LIMIT ?2)",
            (access.parent, MAX_SESSIONS_EACH - 1),
        )
    (count,) = store.connection.execute("SELECT COUNT(*) FROM accesses").fetchone()
    if known is None and count >= MAX_ACCESSES:
        raise RefusedError(
            "too many accesses",
            got=count,
            expected=f"fewer than {MAX_ACCESSES}",
            remedy="take some back: supervisor.py web access --revoke ID",
        )
    cameras = None if access.cameras is None else json.dumps(access.cameras)
    store.connection.execute(
        "INSERT OR REPLACE INTO accesses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            access.id, access.kind, access.role, access.label, cameras, secret,
            access.created_at, access.expires_at, access.last_used_at, access.parent,
            access.session_s,
        ),
    )  # fmt: skip


def access_of(store: Store, access_id: str, now: datetime | None = None) -> tuple[Access, str] | None:
    """An access that is not over, and the hash of its secret; None if there is none."""
    row = store.connection.execute(
        f"SELECT {_COLUMNS}, secret FROM accesses WHERE id=? AND (expires_at IS NULL OR expires_at>?)",  # noqa: S608  # a constant
        (access_id, _text(now)),
    ).fetchone()
    return None if row is None else (_access(row[:-1]), row[-1])


def list_accesses(store: Store, now: datetime | None = None) -> list[Access]:
    """All accesses that are not over, in the order of their making."""
    rows = store.connection.execute(
        f"SELECT {_COLUMNS} FROM accesses WHERE expires_at IS NULL OR expires_at>? ORDER BY created_at, id",  # noqa: S608  # a constant
        (_text(now),),
    )
    return [_access(row) for row in rows]


def remove_accesses(store: Store, ids: Iterable[str]) -> int:
    """Take accesses back, and the sessions that were signed in with them. Returns how many there were."""
    given = [(one, one) for one in ids]
    return store.connection.executemany("DELETE FROM accesses WHERE id=? OR parent=?", given).rowcount


def note_used(store: Store, ids: Iterable[str], now: datetime | None = None) -> None:
    """Note that these accesses were used now."""
    store.connection.executemany("UPDATE accesses SET last_used_at=? WHERE id=?", [(_text(now), one) for one in ids])


def drop_expired(store: Store, now: datetime) -> int:
    """Delete the accesses that are over. Returns how many there were."""
    return store.connection.execute("DELETE FROM accesses WHERE expires_at<=?", (_text(now),)).rowcount


def is_access(*row: Any) -> bool:
    """Whether this is a row of the table that can be used."""
    try:
        access, secret = _access([*row[:5], *row[6:]]), row[5]
    except (ValueError, TypeError):
        return False
    cameras = access.cameras is None or (
        isinstance(access.cameras, list) and all(isinstance(one, str) for one in access.cameras)
    )
    texts = [access.id, access.label, secret, access.created_at]
    return cameras and all(isinstance(one, str) and 0 < len(one) <= 1024 for one in texts)


def _access(row: Any) -> Access:
    access_id, kind, role, label, cameras, created_at, expires_at, last_used_at, parent, session_s = row
    known = None if cameras is None else json.loads(cameras)
    return Access(
        access_id, AccessKind(kind), Role(role), label, known, created_at, expires_at, last_used_at, parent, session_s
    )


def time_after(seconds: float, now: datetime | None = None) -> str:
    """The time `seconds` after now, as the table has times."""
    return _text((now or datetime.now(UTC)) + timedelta(seconds=seconds))


def _text(now: datetime | None) -> str:
    return f"{now or datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
