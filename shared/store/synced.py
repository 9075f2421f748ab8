"""The tables `synced`, `synced_people` and `unsettled`: references and people as all sites know them.

What comes is noted here, and own changes once they are noted (service/sync_own.py). Each version is written here as it goes over the wire,
and does not change any more. A reference is here as other sites know it for as long as it has the change number of its row. Whatever
somebody changes in it gives it a higher one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.person_names import name_key
from shared.store.store import Store
from shared.sync.hybrid_clock import Version
from shared.sync.people_registers import Register, Shown, Told, looks_of, shown_people

_REFERENCE = "s.uuid, s.change_number, s.revision, s.origin, s.person, s.name, s.user_id, s.knows, s.image_path, s.seq"
_PERSON = "uuid, name, user_id, merged_into, revision, origin, change_number"


@dataclass(frozen=True)
class SyncedReference:
    """A row of `synced`. See schema.py."""

    uuid: str
    change_number: int
    told: Told
    knows: int = 0
    image_path: str | None = None
    seq: int = 0


@dataclass(frozen=True)
class SyncedPerson:
    """A row of `synced_people`. See schema.py."""

    register: Register
    version: Version
    change_number: int = 0


@dataclass(frozen=True)
class Row:
    """A reference that is here. `person`: whose it is for all sites."""

    id: int
    name: str
    person: str


@dataclass(frozen=True)
class Around:
    """Some people, and everybody who decides on how they are shown. `rows`: their references that are here."""

    registers: dict[str, Register]
    told: list[Told]
    rows: list[Row]

    def shown(self) -> dict[str, Shown]:
        """Whom this site shows for each UUID."""
        return shown_people(self.registers, self.told)


# --- references -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChangedReference:
    """A reference that was changed here and is not noted. `person`, `name`, `user_id`: of its person here. `known`: what was noted of it."""

    uuid: str
    change_number: int
    person: str
    name: str
    user_id: str | None
    image_path: str | None
    known: SyncedReference | None


def changed_references(store: Store, after: int, limit: int) -> tuple[list[ChangedReference], int]:
    """Some references that were changed here, with change numbers above `after`, in the order of these; and the number that they reach to.

    `limit`: look at so many references, and at those of the same number; -1: at all.
    """
    query = (
        "SELECT f.uuid, f.change_number, p.uuid, p.name, p.user_id, e.image_path, "  # noqa: S608  # a constant
        f"{_REFERENCE} FROM reference_facts f JOIN embeddings e ON e.id=f.embedding_id JOIN people p ON p.name=e.person_name "
        "LEFT JOIN synced s ON s.uuid=f.uuid WHERE f.change_number>? AND f.change_number<=? AND s.change_number IS NOT f.change_number "
        "ORDER BY f.change_number"
    )
    row = None
    if limit > 0:
        row = store.connection.execute(
            "SELECT change_number FROM reference_facts WHERE change_number>? ORDER BY change_number LIMIT 1 OFFSET ?",
            (after, limit - 1),
        ).fetchone()
    end = store.change_now if row is None else row[0]
    rows = store.connection.execute(query, (after, end)).fetchall()
    return [
        ChangedReference(
            row[0], row[1], row[2], row[3], row[4], row[5], None if row[6] is None else _reference(row[6:])
        )
        for row in rows
    ], end


def note_references(store: Store, references: Iterable[SyncedReference]) -> None:
    """Note references as all sites know them."""
    store.connection.executemany(
        "INSERT OR REPLACE INTO synced VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                one.uuid, one.change_number, *one.told.version, one.told.person, one.told.name, one.told.user_id, one.knows,
                one.image_path, name_key(one.told.name), one.seq,
            )
            for one in references
        ],
    )  # fmt: skip  # a row


def synced_references(store: Store, uuids: Collection[str]) -> dict[str, SyncedReference]:
    """What is noted of these references."""
    rows = store.connection.execute(
        f"SELECT {_REFERENCE} FROM synced s WHERE s.uuid IN (SELECT value FROM json_each(?))",  # noqa: S608  # a constant
        (json.dumps(list(uuids)),),
    ).fetchall()
    return {row[0]: _reference(row) for row in rows}


def references_of(store: Store, persons: Collection[str]) -> list[SyncedReference]:
    """All references of these UUIDs."""
    rows = store.connection.execute(
        f"SELECT {_REFERENCE} FROM synced s WHERE s.person IN (SELECT value FROM json_each(?))",  # noqa: S608  # a constant
        (json.dumps(list(persons)),),
    ).fetchall()
    return [_reference(row) for row in rows]


@dataclass(frozen=True)
class OwnReference:
    """A reference that is to be sent. `embedding`: little-endian float32."""

    noted: SyncedReference
    embedding: bytes
    image_path: str | None
    updated_at: str


def own_references(store: Store, after: int, limit: int) -> list[OwnReference]:
    """At most `limit` noted references that are to be sent, with a seq above `after`, in this order."""
    rows = store.connection.execute(
        "SELECT e.embedding, COALESCE(e.image_path, s.image_path), strftime('%Y-%m-%dT%H:%M:%SZ', e.updated_at), "  # noqa: S608  # a constant
        f"{_REFERENCE} FROM synced s JOIN reference_facts f ON f.uuid=s.uuid JOIN embeddings e ON e.id=f.embedding_id "
        "WHERE s.seq>? AND s.seq>0 ORDER BY s.seq LIMIT ?",
        (after, limit),
    ).fetchall()
    return [OwnReference(_reference(row[3:]), row[0], row[1], row[2] or "") for row in rows]


def rows_of(store: Store, uuids: Collection[str]) -> dict[str, tuple[int, str, int]]:
    """Those of these references that are here: row id, name of the person here, change number."""
    rows = store.connection.execute(
        "SELECT f.uuid, e.id, e.person_name, f.change_number FROM reference_facts f JOIN embeddings e ON e.id=f.embedding_id "
        "WHERE f.uuid IN (SELECT value FROM json_each(?))",
        (json.dumps(list(uuids)),),
    ).fetchall()
    return {uuid: (row_id, name, change) for uuid, row_id, name, change in rows}


def as_synced(store: Store, row_ids: Sequence[int]) -> list[str]:
    """The UUIDs of those of these references that are as all sites know them."""
    rows = store.connection.execute(
        "SELECT f.uuid FROM reference_facts f JOIN synced s ON s.uuid=f.uuid AND s.change_number=f.change_number "
        "WHERE f.embedding_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(row_ids)),),
    )
    return [uuid for (uuid,) in rows.fetchall()]


def still_synced(store: Store, uuids: Collection[str]) -> None:
    """Note that these references are as all sites know them, whatever just changed here: it follows from what they know."""
    store.connection.execute(
        "UPDATE synced SET change_number=(SELECT change_number FROM reference_facts f WHERE f.uuid=synced.uuid) "
        "WHERE uuid IN (SELECT value FROM json_each(?)) AND uuid IN (SELECT uuid FROM reference_facts)",
        (json.dumps(list(uuids)),),
    )


def from_elsewhere(store: Store) -> list[int]:
    """The ids of the references that are as they came from another site."""
    rows = store.connection.execute(
        "SELECT f.embedding_id FROM synced s JOIN reference_facts f ON f.uuid=s.uuid AND f.change_number=s.change_number "
        "WHERE s.origin IS NOT (SELECT value FROM sync_state WHERE key='origin')"
    )
    return [row_id for (row_id,) in rows.fetchall()]


def forget_synced(store: Store, uuids: Iterable[str]) -> None:
    """Delete what is noted of references that are gone."""
    store.connection.executemany("DELETE FROM synced WHERE uuid=?", [(uuid,) for uuid in uuids])


def persons_of(store: Store, name: str) -> set[str]:
    """The UUIDs under which all sites know a person's references here."""
    rows = store.connection.execute(
        "SELECT DISTINCT s.person FROM embeddings e JOIN reference_facts f ON f.embedding_id=e.id "
        "JOIN synced s ON s.uuid=f.uuid WHERE e.person_name=?",
        (name,),
    )
    return {uuid for (uuid,) in rows.fetchall()}


def told_names(store: Store) -> list[tuple[str, str | None]]:
    """All names that references tell, with the user ids."""
    return store.connection.execute("SELECT DISTINCT name, user_id FROM synced").fetchall()


def persons_called(store: Store, names: Collection[tuple[str, str | None]]) -> set[str]:
    """The UUIDs of whom references tell one of these names with one of these user ids."""
    found: set[str] = set()
    for name, user_id in names:
        rows = store.connection.execute(
            "SELECT DISTINCT person FROM synced WHERE looks=? AND name=? AND user_id IS ?",
            (name_key(name), name, user_id),
        )
        found |= {uuid for (uuid,) in rows.fetchall()}
    return found


# --- people ---------------------------------------------------------------------------------------------------------


def synced_people(store: Store, uuids: Collection[str]) -> dict[str, SyncedPerson]:
    """The registers of these people."""
    rows = store.connection.execute(
        f"SELECT {_PERSON} FROM synced_people WHERE uuid IN (SELECT value FROM json_each(?))",  # noqa: S608  # a constant
        (json.dumps(list(uuids)),),
    ).fetchall()
    return {row[0]: _person(row) for row in rows}


def own_people(store: Store, after: int, limit: int) -> list[SyncedPerson]:
    """At most `limit` registers that are to be sent, with change numbers above `after`, in the order of these."""
    rows = store.connection.execute(
        f"SELECT {_PERSON} FROM synced_people WHERE change_number>? ORDER BY change_number LIMIT ?",  # noqa: S608  # a constant
        (after, limit),
    )
    return [_person(row) for row in rows.fetchall()]


def note_person(store: Store, person: SyncedPerson) -> None:
    """Note a register that came, or is to be sent."""
    looks = None if person.register.name is None else name_key(person.register.name)
    values = (
        person.register.uuid, person.register.name, person.register.user_id, person.register.merged_into, *person.version,
        person.change_number, looks,
    )  # fmt: skip  # a row
    store.connection.execute("INSERT OR REPLACE INTO synced_people VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


def blank(store: Store, uuids: Collection[str]) -> None:
    """Delete the names of people who are gone. That is still to be noted (`blanked`)."""
    store.connection.execute(
        "UPDATE synced_people SET name=NULL, user_id=NULL, looks=NULL, change_number=-1 "
        "WHERE uuid IN (SELECT value FROM json_each(?)) AND (name IS NOT NULL OR user_id IS NOT NULL)",
        (json.dumps(list(uuids)),),
    )


def blanked(store: Store) -> list[Register]:
    """The registers that `blank` changed."""
    rows = store.connection.execute(f"SELECT {_PERSON} FROM synced_people WHERE change_number=-1")  # noqa: S608  # a constant
    return [_person(row).register for row in rows.fetchall()]


def around(store: Store, uuids: Iterable[str]) -> Around:
    """These people, those they were merged into or who were merged into them, and everybody of the same names."""
    found = Around({}, [], [])
    left, met, looks_met = set(uuids), set[str](), set[str]()
    while left:
        met |= left
        chosen = json.dumps(sorted(left))
        registers = [_person(row).register for row in store.connection.execute(
            f"SELECT {_PERSON} FROM synced_people WHERE uuid IN (SELECT value FROM json_each(?))",  # noqa: S608  # a constant
            (chosen,),
        ).fetchall()]  # fmt: skip  # one query
        references = store.connection.execute(
            "SELECT s.person, s.name, s.user_id, s.revision, s.origin, e.id, e.person_name FROM synced s "
            "LEFT JOIN reference_facts f ON f.uuid=s.uuid LEFT JOIN embeddings e ON e.id=f.embedding_id "
            "WHERE s.person IN (SELECT value FROM json_each(?))",
            (chosen,),
        ).fetchall()
        found.registers.update({one.uuid: one for one in registers})
        found.told.extend(Told(row[0], row[1], row[2], Version(row[3], row[4])) for row in references)
        found.rows.extend(Row(row[5], row[6], row[0]) for row in references if row[5] is not None)
        named = {(one.name, one.user_id) for one in registers if one.name is not None}
        named |= {(row[1], row[2]) for row in references}
        looks = {key for name, user_id in named for key in looks_of(name, user_id)} - looks_met
        looks_met |= looks
        others = store.connection.execute(
            "WITH looking AS (SELECT value FROM json_each(?2)) "
            "SELECT uuid FROM synced_people WHERE merged_into IN (SELECT value FROM json_each(?1)) "
            "UNION SELECT uuid FROM synced_people WHERE looks IN looking "
            "UNION SELECT person FROM synced WHERE looks IN looking",
            (chosen, json.dumps(sorted(looks))),
        ).fetchall()
        left = {uuid for (uuid,) in others} | {one.merged_into for one in registers if one.merged_into is not None}
        left -= met
    return found


# --- own versions ---------------------------------------------------------------------------------------------------


def ahead(store: Store, newest: int) -> tuple[list[SyncedReference], list[SyncedPerson], list[str]]:
    """What has a revision above `newest`: references, people, and the UUIDs of tombstones."""
    references = store.connection.execute(
        f"SELECT {_REFERENCE} FROM synced s WHERE s.revision>? AND s.seq>0",  # noqa: S608  # a constant
        (newest,),
    ).fetchall()
    registers = store.connection.execute(
        f"SELECT {_PERSON} FROM synced_people WHERE revision>? AND change_number>0",  # noqa: S608  # a constant
        (newest,),
    ).fetchall()
    stones = store.connection.execute(
        "SELECT uuid FROM tombstones WHERE revision>? AND origin IS NULL AND change_number>0", (newest,)
    ).fetchall()
    return [_reference(row) for row in references], [_person(row) for row in registers], [uuid for (uuid,) in stones]


def send_again(store: Store, after: int) -> None:
    """Have everything sent again that came here after this own change number: who sent it may have sent it to another hub."""
    came = store.connection.execute(
        "SELECT uuid FROM synced WHERE seq=0 AND change_number>? ORDER BY change_number", (after,)
    ).fetchall()
    store.connection.executemany(
        "UPDATE synced SET seq=? WHERE uuid=?", [(store.next_change(), uuid) for (uuid,) in came]
    )
    people = store.connection.execute("SELECT uuid FROM synced_people WHERE change_number=0").fetchall()
    store.connection.executemany(
        "UPDATE synced_people SET change_number=? WHERE uuid=?", [(store.next_change(), uuid) for (uuid,) in people]
    )
    stones = store.connection.execute(
        "SELECT uuid FROM tombstones WHERE origin IS NOT NULL AND change_number>? ORDER BY change_number", (after,)
    ).fetchall()
    store.connection.executemany(
        "UPDATE tombstones SET origin=NULL, change_number=? WHERE uuid=?",
        [(store.next_change(), uuid) for (uuid,) in stones],
    )


# --- people who are still to be noted -------------------------------------------------------------------------------


def note_unsettled(store: Store, persons: Iterable[str]) -> None:
    """Note that these people changed in a way that none of their references shows."""
    store.connection.executemany("INSERT OR IGNORE INTO unsettled VALUES (?)", [(one,) for one in persons])


def take_unsettled(store: Store) -> set[str]:
    """Those who changed so, once."""
    found = {uuid for (uuid,) in store.connection.execute("SELECT person FROM unsettled").fetchall()}
    if found:
        store.connection.execute("DELETE FROM unsettled")
    return found


def _reference(row: Sequence[Any]) -> SyncedReference:
    uuid, change, revision, origin, person, name, user_id, knows, image_path, seq = row
    return SyncedReference(uuid, change, Told(person, name, user_id, Version(revision, origin)), knows, image_path, seq)


def _person(row: Sequence[Any]) -> SyncedPerson:
    return SyncedPerson(Register(row[0], row[1], row[2], row[3]), Version(row[4], row[5]), row[6])
