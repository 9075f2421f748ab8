"""The table of tombstones: what was deleted and who was forgotten, here or at another site.

A tombstone of a reference is final: no save of that UUID counts any more. A tombstone of a person removes the references that were saved by
somebody who did not know of it. Who enrols the person again knows of it, and says so (`known_of`). Whose reference it is says the reference
itself, with what it tells of its person. So all sites decide alike.

A tombstone has no name. It knows the person by their UUID, by a hash of the name with the key that all sites share, where there is one, and
by this site's own mark (marks.py). Of two people who have one name it knows each by the name and the user id.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from shared.person_names import name_key
from shared.store import schema, synced
from shared.store.change_times import revision_of
from shared.store.marks import MARKS_KEPT, mark_of
from shared.store.store import Store
from shared.sync.hybrid_clock import Version
from shared.uuid7 import new_uuids

DELETED, FORGOTTEN = "deleted", "forgotten"


@dataclass(frozen=True)
class Tombstone:
    """One tombstone. `origin`: where it was made; None: here. `person`: the UUID; `person_hash`: see `hash_of`."""

    uuid: str
    kind: str
    change_number: int
    revision: int
    origin: str | None
    person: str | None
    person_hash: str | None


class Whose(NamedTuple):
    """Whose a reference is: the person's UUID, and name and user id as the reference tells them."""

    person: str
    name: str
    user_id: str | None

    def texts(self) -> list[str]:
        """What a tombstone of this person can have been made from."""
        return [self.name] if self.user_id is None else [self.name, _name_and_id(self.name, self.user_id)]


def _name_and_id(name: str, user_id: str) -> str:
    return f"{name_key(name)}\0{user_id}"


def hash_of(store: Store, name: str) -> str | None:
    """The hash of a person's name that is the same at all sites with the same key; None without a key."""
    if store.sync_key is None:
        return None
    return hmac.new(store.sync_key, name_key(name).encode(), hashlib.sha256).hexdigest()


def note_deleted(store: Store, uuids: Collection[str], version: Version | None = None) -> None:
    """Note that these references are deleted. `version`: of a tombstone that came from elsewhere."""
    if not uuids or not _is_there(store.connection):
        return
    persons = {one.told.person for one in synced.synced_references(store, uuids).values()}
    persons |= _people_of(store, uuids)
    if persons:
        others = synced.around(store, persons)
        synced.note_unsettled(store, {*persons, *others.registers, *(one.person for one in others.told)})
        synced.forget_synced(store, uuids)
    first = store.next_change(len(uuids))
    revision, origin = (None, None) if version is None else version
    store.connection.executemany(
        "INSERT OR IGNORE INTO tombstones VALUES (?, ?, ?, ?, ?, NULL, NULL, NULL, ?)",
        [(uuid, DELETED, first + place, revision, origin, _now()) for place, uuid in enumerate(uuids)],
    )


def note_changed(store: Store, name: str) -> None:
    """Note that a person changed in a way that none of their references shows, but other sites have to know."""
    if _is_there(store.connection):
        store.connection.execute("INSERT OR IGNORE INTO unsettled SELECT uuid FROM people WHERE name=?", (name,))


def note_merged(store: Store, uuids: Collection[str]) -> None:
    """Note that those of these references that other sites have are deleted: they are kept here for undoing a merge only."""
    if _is_there(store.connection):
        note_deleted(store, list(synced.synced_references(store, uuids)))


def _people_of(store: Store, uuids: Collection[str]) -> set[str]:
    """The UUIDs of those here whose references these are."""
    rows = store.connection.execute(
        "SELECT DISTINCT p.uuid FROM reference_facts f JOIN embeddings e ON e.id=f.embedding_id "
        "JOIN people p ON p.name=e.person_name WHERE f.uuid IN (SELECT value FROM json_each(?))",
        (json.dumps(list(uuids)),),
    )
    return {uuid for (uuid,) in rows.fetchall()}


def note_forgotten(store: Store, name: str, *, is_known: bool = False) -> None:
    """Note that a person is forgotten here. Call it before the person's rows go. `is_known`: other sites know it already."""
    if not _is_there(store.connection):
        return
    row = store.connection.execute("SELECT uuid, user_id FROM people WHERE name=?", (name,)).fetchone()
    uuids: set[str] = set() if row is None else {row[0]}
    uuids |= synced.persons_of(store, name)
    shown = synced.around(store, uuids).shown()
    mine = {shown[uuid] for uuid in uuids if uuid in shown}
    uuids |= {uuid for uuid, one in shown.items() if one in mine}
    synced.blank(store, uuids)
    if is_known:
        return
    names = {one.own_name for one in mine if one.name == name} or {name}
    shared = next((one for one in mine if one.name == name and one.shares_name and one.user_id is not None), None)
    for own_name in sorted(names):
        text = own_name if shared is None else _name_and_id(own_name, str(shared.user_id))
        persons: list[str | None] = [*sorted(uuids)]
        for uuid in persons or [None]:
            store.connection.execute(
                "INSERT INTO tombstones VALUES (?, ?, ?, NULL, NULL, ?, ?, ?, ?)",
                (
                    new_uuids(1)[0], FORGOTTEN, store.next_change(), uuid, hash_of(store, text), mark_of(store, text), _now(),
                ),
            )  # fmt: skip  # a row


def take_forgotten(store: Store, stone: Tombstone, name: str | None) -> bool:
    """Keep a tombstone of a person that came from elsewhere. `name`: of the person, if they are here: who enrols them again knows of it,
    also without a key. Returns whether it is new."""
    values = (
        stone.uuid, FORGOTTEN, store.next_change(), stone.revision, stone.origin, stone.person, stone.person_hash,
        None if name is None else mark_of(store, name), _now(),
    )  # fmt: skip  # a row
    added = store.connection.execute(
        "INSERT OR IGNORE INTO tombstones VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values
    ).rowcount
    return added > 0


def deleted_among(store: Store, uuids: Collection[str]) -> set[str]:
    """Those of these references that were deleted anywhere."""
    found = store.connection.execute(
        "SELECT uuid FROM tombstones WHERE kind='deleted' AND uuid IN (SELECT value FROM json_each(?))",
        (json.dumps(list(uuids)),),
    )
    return {uuid for (uuid,) in found.fetchall()}


def are_forgotten(store: Store, persons: Collection[str]) -> set[str]:
    """Those of these UUIDs whose person was forgotten at some time."""
    found = store.connection.execute(
        "SELECT person FROM tombstones WHERE kind='forgotten' AND person IN (SELECT value FROM json_each(?))",
        (json.dumps(list(persons)),),
    )
    return {uuid for (uuid,) in found.fetchall()}


def known_of(store: Store, people: Iterable[Whose], *, by_mark: bool) -> dict[Whose, int]:
    """The revision of the newest tombstone of each of these people, where there is one.

    `by_mark`: also of those that only this site knows to be this person's: for references that are saved here.
    """
    if store.connection.execute("SELECT 1 FROM tombstones WHERE kind='forgotten' LIMIT 1").fetchone() is None:
        return {}
    keys: dict[str, set[Whose]] = defaultdict(set)
    for one in people:
        keys[one.person].add(one)
        for text in one.texts():
            keys[hash_of(store, text) or ""].add(one)
            if by_mark:
                keys[mark_of(store, text)].add(one)
    rows = store.connection.execute(
        "WITH keys AS (SELECT value FROM json_each(?)) "
        "SELECT revision, change_number, person FROM tombstones WHERE kind='forgotten' AND person IN keys "
        "UNION ALL SELECT revision, change_number, person_hash FROM tombstones WHERE kind='forgotten' AND person_hash IN keys "
        "UNION ALL SELECT revision, change_number, person_mark FROM tombstones WHERE kind='forgotten' AND person_mark IN keys",
        (json.dumps(sorted(keys)),),
    ).fetchall()
    newest: dict[Whose, int] = {}
    for revision, change, key in rows:
        known = revision or revision_of(store.connection, change)
        for one in keys[key]:
            newest[one] = max(known, newest.get(one, 0))
    return newest


def newest_own(store: Store) -> int:
    """The change number of the newest tombstone that was made here; 0 if there is none."""
    (newest,) = store.connection.execute("SELECT MAX(change_number) FROM tombstones WHERE origin IS NULL").fetchone()
    return newest or 0


def own_tombstones(store: Store, after: int, limit: int) -> list[Tombstone]:
    """At most `limit` tombstones that were made and noted here, with change numbers above `after`, in the order of these."""
    rows = store.connection.execute(
        "SELECT uuid, kind, change_number, revision, person, person_hash FROM tombstones WHERE change_number>? AND origin IS NULL "
        "AND revision IS NOT NULL ORDER BY change_number LIMIT ?",
        (after, limit),
    ).fetchall()
    return [
        Tombstone(uuid, kind, change, revision, None, person, person_hash)
        for uuid, kind, change, revision, person, person_hash in rows
    ]


def note_revisions(store: Store) -> None:
    """Write the revisions of tombstones that were made here into their rows, where they stay."""
    rows = store.connection.execute(
        "SELECT uuid, change_number FROM tombstones WHERE origin IS NULL AND change_number>0 AND revision IS NULL"
    ).fetchall()
    store.connection.executemany(
        "UPDATE tombstones SET revision=? WHERE uuid=?",
        [(revision_of(store.connection, change), uuid) for uuid, change in rows],
    )


def send_forgettings_last(store: Store, after: int) -> None:
    """Have the people who were forgotten here after this change number sent after everything else that was changed meanwhile: whoever takes
    them in then knows already who these people are, and are not."""
    rows = store.connection.execute(
        "SELECT uuid FROM tombstones WHERE kind='forgotten' AND origin IS NULL AND change_number>? ORDER BY change_number",
        (after,),
    ).fetchall()
    store.connection.executemany(
        "UPDATE tombstones SET change_number=? WHERE uuid=?", [(store.next_change(), uuid) for (uuid,) in rows]
    )


def note_anew(store: Store, uuids: Iterable[str], revision: int) -> None:
    """Have tombstones that were made here sent with another revision."""
    store.connection.executemany(
        "UPDATE tombstones SET revision=?, change_number=? WHERE uuid=?",
        [(revision, store.next_change(), uuid) for uuid in uuids],
    )


def drop_old_tombstones(store: Store, now: datetime) -> int:
    """Delete tombstones older than MARKS_KEPT. Returns how many. One with a time in the future gets the time `now`."""
    limit, ahead, today = (f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in (now - MARKS_KEPT, now + timedelta(days=1), now))
    store.connection.execute("UPDATE tombstones SET made_at=? WHERE made_at>?", (today, ahead))
    return store.connection.execute("DELETE FROM tombstones WHERE made_at<?", (limit,)).rowcount


def _is_there(connection: sqlite3.Connection) -> bool:
    """Whether the database has this table. A backup of an older version has none."""
    return "tombstones" in schema.tables(connection)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
