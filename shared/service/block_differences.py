"""Where a gallery block does not hold what the store holds, asked in the same way of a writer's block and of a reader's."""

from __future__ import annotations

from collections.abc import Callable

from shared.store.references import count_references, list_people
from shared.store.store import Store


def differences(store: Store, live_rows: int, user_id: Callable[[str], str | None]) -> list[str]:
    """One line each. `live_rows`: of the block; `user_id`: a person's in the block."""
    count = count_references(store)
    faults = [] if live_rows == count else [f"block: {live_rows} live rows, database: {count}"]
    return faults + [
        f"block: {one.person} has another user id than in the database"
        for one in list_people(store)
        if one.user_id != user_id(one.person)
    ]
