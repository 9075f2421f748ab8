"""Compares a gallery block with the store. Works on the writer's block and on a reader's."""

from __future__ import annotations

from collections.abc import Callable

from shared.store.corrections import count_negatives
from shared.store.references import count_references, list_people
from shared.store.set_aside import count_aside
from shared.store.store import Store


def differences(store: Store, live_rows: int, user_id: Callable[[str], str | None]) -> list[str]:
    """Where the block does not hold what the store holds, one line for each difference. References that are set aside are not in the block.

    `live_rows`: the block's number of live rows, references and negatives. `user_id(name)`: a person's user id in the block.
    """
    count = count_references(store) - count_aside(store) + count_negatives(store)
    faults = [] if live_rows == count else [f"block: {live_rows} live rows, database: {count} in use"]
    return faults + [
        f"block: {person.person} has another user id than in the database"
        for person in list_people(store)
        if person.references > person.set_aside and person.user_id != user_id(person.person)
    ]
