"""The table of the quarantine: what came from elsewhere, or was refused elsewhere, and can't be used. It holds up nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from shared.store.store import Store

_MAX_ROWS = 10_000


def note_refused(store: Store, refused: Iterable[tuple[str, str]], origin: str | None) -> None:
    """Keep what was refused, with its reason. The oldest go if there are too many. `origin`: whose it is; None: our own."""
    since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    store.connection.executemany(
        "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?)",
        [(what, reason, origin, since) for what, reason in refused],
    )
    store.connection.execute(
        "DELETE FROM quarantine WHERE what IN (SELECT what FROM quarantine ORDER BY since DESC LIMIT -1 OFFSET ?)",
        (_MAX_ROWS,),
    )
