"""A whole copy of a database, put in place in one step."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from shared.errors import (
    DamagedError,
    TemporaryError,
)
from shared.store import schema
from shared.store.leftovers import unfinished_copy
from shared.store.store import Store, explain


def copy_to(store: Store, target: Path) -> None:
    """A consistent copy in `target`, complete alone, mode 0600, replaced in one step."""
    with unfinished_copy(target, store.path.parent / "run") as temporary:
        try:
            schema.copy_database(store.connection, temporary)
            temporary.replace(target)
        except DamagedError as fault:
            store.damage = fault
            raise
        except (sqlite3.Error, FileNotFoundError) as error:
            if isinstance(error, sqlite3.Error) and temporary.exists():
                raise explain(error, target) from error
            raise TemporaryError(
                "the copy was taken away while it was made: somebody was forgotten, or the site was restarted",
                where=str(target),
                remedy="try again",
            ) from error
