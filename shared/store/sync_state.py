"""How far the exchange with other sites has come: keys and values of their own, which no copy of the database takes along.

A store has an origin: a random name for its own changes. Its change numbers only rise, and other sites go by them. So a store that is not
what it was takes a new origin: one whose references came from a backup, or a copy of the file. The hub notices a copy by the lineage: a
random text that changes with each batch that is sent.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from shared.store import change_times, tombstones
from shared.store.store import Store
from shared.sync.hybrid_clock import is_ahead

_ORIGIN_BYTES = 8  # eleven letters of base64url
_LINEAGE_BYTES = 12


@dataclass(frozen=True)
class SyncState:
    """Where the exchange stands.

    `origin`: of this store. `sent`: the hub has all own changes up to this number. `noted`: own changes up to this number are noted, as
    they are sent. `lineage`: of the last batch that the hub confirmed;
    `next_lineage`, `next_sent`: of the one that is on its way. `hub`: whose positions these are; `position`: what came from it of the
    store's model; empty after a change of the model. `sightings_sent`: the hub has the sightings up to this id. `last_exchange`: when the
    last exchange came to its end.
    """

    origin: str = ""
    sent: int = 0
    noted: int = 0
    lineage: str = ""
    next_lineage: str = ""
    next_sent: int = 0
    hub: str = ""
    position: str = ""
    sightings_sent: int = 0
    last_exchange: str | None = None


def read_state(store: Store) -> SyncState:
    """The state; all of it empty before the first exchange."""
    known = dict(store.connection.execute("SELECT key, value FROM sync_state").fetchall())
    return SyncState(
        origin=known.get("origin", ""),
        sent=int(known.get("sent", 0)),
        noted=int(known.get("noted", 0)),
        lineage=known.get("lineage", ""),
        next_lineage=known.get("next_lineage", ""),
        next_sent=int(known.get("next_sent", 0)),
        hub=known.get("hub", ""),
        position=known.get("position", "") if known.get("position_model") == store.fingerprint else "",
        sightings_sent=int(known.get("sightings_sent", 0)),
        last_exchange=known.get("last_exchange"),
    )


def read_number(store: Store, key: str) -> int:
    """One number of the state that is not in SyncState; 0 if it was never written."""
    row = store.connection.execute("SELECT value FROM sync_state WHERE key=?", (key,)).fetchone()
    return 0 if row is None else int(row[0])


def write_state(store: Store, **values: str | int) -> None:
    """Change some of the state. Call it inside the store's transaction."""
    store.connection.executemany(
        "INSERT OR REPLACE INTO sync_state VALUES (?, ?)", [(key, str(value)) for key, value in values.items()]
    )


def note_under_way(store: Store, revisions: Mapping[str, int]) -> None:
    """Note the revisions of a batch that is sent, by item. Of an item that was sent before with an answer still open the newest counts:
    who noted it anew must not be older than what the hub may have."""
    known = _under_way(store)
    newest = {what: max(revision, known.get(what, 0)) for what, revision in revisions.items()}
    write_state(store, under_way=json.dumps({**known, **newest}))


def take_under_way(store: Store) -> dict[str, int]:
    """The newest revision of each item that was sent since the last answer, once."""
    known = _under_way(store)
    store.connection.execute("DELETE FROM sync_state WHERE key='under_way'")
    return known


def _under_way(store: Store) -> dict[str, int]:
    row = store.connection.execute("SELECT value FROM sync_state WHERE key='under_way'").fetchone()
    return {} if row is None else dict(json.loads(row[0]))


def note_position(store: Store, hub: str, after: str, position: str, early: Collection[int]) -> None:
    """Note what came after the position `after`, unless it was asked for before this store was restored.

    `early`: revisions of what can't be used yet, since by this site's clock it was made in the future. As soon as the clock has come so
    far, reading begins again where the first of these was (`go_back`).
    """
    if read_state(store).position != after:
        return
    held = _held(store)
    if early:
        place, until = held or (after, min(early))
        write_state(store, held_position=place, held_until=min(until, *early))
    write_state(store, hub=hub, position=position, position_model=store.fingerprint or "")
    go_back(store)


def go_back(store: Store) -> None:
    """Have everything read once more from where the first thing came that was too early, if it is not too early any more."""
    held = _held(store)
    if held is not None and not is_ahead(held[1], change_times.time_ms(store.connection)):
        write_state(store, position=held[0])
        store.connection.execute("DELETE FROM sync_state WHERE key IN ('held_position', 'held_until')")


def _held(store: Store) -> tuple[str, int] | None:
    found = store.connection.execute("SELECT key, value FROM sync_state WHERE key IN ('held_position', 'held_until')")
    known = dict(found.fetchall())
    return (known["held_position"], int(known["held_until"])) if known else None


def lowered(position: str, behind: str) -> str:
    """A position that is nowhere further than `behind` says; both are "origin:number,origin:number". Pure."""
    numbers = {origin: int(number) for origin, number in _pairs(position)}
    for origin, number in _pairs(behind):
        if number.isdecimal() and origin in numbers:
            numbers[origin] = min(numbers[origin], int(number))
    return ",".join(f"{origin}:{number}" for origin, number in sorted(numbers.items()) if number)


def _pairs(position: str) -> list[tuple[str, str]]:
    return [(one.partition(":")[0], one.partition(":")[2]) for one in position.split(",") if one]


def begin(store: Store) -> SyncState:
    """The state, with an origin: a new one if there is none yet. Call it inside the store's transaction."""
    state = read_state(store)
    if not state.origin:
        write_state(store, origin=secrets.token_urlsafe(_ORIGIN_BYTES))
    return read_state(store)


def new_lineage() -> str:
    """A text for the next batch."""
    return secrets.token_urlsafe(_LINEAGE_BYTES)


def begin_anew(store: Store) -> None:
    """Take a new origin: this store was restored or copied. What the hub has counts, whatever was here. Call it inside the transaction.

    Everything that is here is sent once more, as the oldest of all versions. What is noted of references stays, since it says which
    tombstones their savers knew; but it does not count as noted.
    """
    tombstones.note_revisions(store)
    for table in ("synced_people", "quarantine", "unsettled"):
        store.connection.execute(f"DELETE FROM {table}")  # noqa: S608  # constants
    store.connection.execute("DELETE FROM sync_state WHERE key<>'revision_seen'")  # it is still right
    store.connection.execute("DELETE FROM synced WHERE uuid NOT IN (SELECT uuid FROM reference_facts)")
    store.connection.execute("UPDATE synced SET change_number=-1, seq=0")
    change_times.note_as_oldest(store.connection, store.next_change())
