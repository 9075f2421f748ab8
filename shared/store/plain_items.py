"""The table of plain items: which references a server that knows the plain wire only has, or had.

Such a server can't be told of deletions, and shows what it has for ever. An item that was here once and is not here now was deleted: it
is not taken again. The identity of an item is a keyed hash, with the key of the deletion marks: the table tells no names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from shared.store.marks import mark_of
from shared.store.store import Store
from shared.sync.plain_wire import PlainReference

_SENT_AGAIN_AFTER = timedelta(days=1)  # to a server that took it and does not show it
_REFERENCES = (
    "SELECT f.uuid, f.change_number, e.person_name, e.embedding, e.image_path, e.user_id FROM reference_facts f "
    "JOIN embeddings e ON e.id=f.embedding_id"
)


@dataclass(frozen=True)
class PlainItem:
    """A row. See schema.py."""

    identity: str
    uuid: str
    change_number: int | None
    round: int
    sent_at: str | None = None


@dataclass(frozen=True)
class Unsent:
    """A reference that is here. `embedding`: little-endian float32."""

    uuid: str
    change_number: int
    person_name: str
    embedding: bytes
    image_path: str | None
    user_id: str | None


def identity_of(store: Store, name: str, image_path: str | None, embedding: bytes) -> str:
    """The identity of an item with this name, and this photo or, without a photo, this embedding."""
    content = f"vector\0{embedding.hex()}" if image_path is None else f"path\0{image_path}"
    return mark_of(store, f"plain\0{name}\0{content}")


def identity_of_reference(store: Store, reference: PlainReference) -> str:
    """The identity of an item that came."""
    packed = np.ascontiguousarray(reference.vector, "<f4").tobytes()
    return identity_of(store, reference.person_name, reference.image_path, packed)


def known_items(store: Store, identities: Sequence[str]) -> dict[str, PlainItem]:
    """The rows of these identities."""
    rows = store.connection.execute(
        "SELECT identity, uuid, change_number, round, sent_at FROM plain_items WHERE identity IN (SELECT value FROM json_each(?))",
        (json.dumps(list(identities)),),
    )
    return {row[0]: PlainItem(*row) for row in rows.fetchall()}


def note_items(store: Store, items: Iterable[PlainItem]) -> None:
    """Write these rows."""
    store.connection.executemany(
        "INSERT OR REPLACE INTO plain_items VALUES (?, ?, ?, ?, ?)",
        [(one.identity, one.uuid, one.change_number, one.round, one.sent_at) for one in items],
    )


def note_sent(store: Store, references: Iterable[Unsent], now: datetime) -> None:
    """Note that these references were sent as they are."""
    for one in references:
        identity = identity_of(store, one.person_name, one.image_path, one.embedding)
        known = known_items(store, [identity]).get(identity)
        shown = 0 if known is None else known.round
        note_items(store, [PlainItem(identity, one.uuid, one.change_number, shown, f"{now:%Y-%m-%dT%H:%M:%SZ}")])


def references_of(store: Store, name: str) -> list[Unsent]:
    """A person's references."""
    rows = store.connection.execute(f"{_REFERENCES} WHERE e.person_name=?", (name,))
    return [Unsent(*row) for row in rows.fetchall()]


def change_of(store: Store, uuid: str) -> int:
    """The change number of a reference that is here."""
    (change,) = store.connection.execute("SELECT change_number FROM reference_facts WHERE uuid=?", (uuid,)).fetchone()
    return int(change)


def references_after(store: Store, after: int, limit: int) -> list[Unsent]:
    """At most `limit` references with change numbers above `after`, in the order of these."""
    rows = store.connection.execute(
        f"{_REFERENCES} WHERE f.change_number>? ORDER BY f.change_number LIMIT ?",
        (after, limit),
    )
    return [Unsent(*row) for row in rows.fetchall()]


def to_send(store: Store, references: Sequence[Unsent], this_round: int, now: datetime) -> list[Unsent]:
    """Those of these references that the server's last list, of this round, did not have, and that are to be sent: they were never sent as
    they are now, or the server had them and lost them, or took them a day ago and does not show them."""
    rows = store.connection.execute(
        "SELECT uuid, change_number, MAX(round), MAX(sent_at) FROM plain_items "
        "WHERE uuid IN (SELECT value FROM json_each(?)) GROUP BY uuid, change_number",
        (json.dumps([one.uuid for one in references]),),
    )
    known = {(uuid, change): (shown, sent_at or "") for uuid, change, shown, sent_at in rows.fetchall()}
    again = f"{now - _SENT_AGAIN_AFTER:%Y-%m-%dT%H:%M:%SZ}"
    found = []
    for one in references:
        shown, sent_at = known.get((one.uuid, one.change_number), (0, ""))
        if shown != this_round and (shown > 0 or sent_at <= again):
            found.append(one)
    return found


def count_unshown(store: Store, this_round: int) -> int:
    """How many references are here that the server's last list did not have."""
    (count,) = store.connection.execute(
        "SELECT COUNT(*) FROM reference_facts f WHERE NOT EXISTS (SELECT 1 FROM plain_items p WHERE p.uuid=f.uuid "
        "AND p.change_number=f.change_number AND p.round=?)",
        (this_round,),
    ).fetchone()
    return int(count)
