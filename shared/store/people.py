"""The table of people, with one row for each person. The table of references, whose form is fixed, repeats name and user id in each row.

At every commit the two tables agree: each name with a reference has a row here; each row here has a reference; all references of a
person have the person's user id.

The last rename or merge can be undone, then the one before it, and so on, each for UNDO_DAYS. What that needs is kept until then, or
until the person is forgotten, renamed or merged again.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from shared.errors import RefusedError
from shared.person_names import MAX_NAME_CHARACTERS, name_key, unfitness
from shared.records import PeopleChange
from shared.store import corrections, schema, tombstones
from shared.store.checksums import write_checksums
from shared.store.marks import mark_of
from shared.store.right_references import drop_right
from shared.store.store import Store
from shared.uuid7 import new_uuids

UNDO_DAYS = 30
_RENAMED, _MERGED = "rename", "merge"
_ROW = ", ".join(schema.COLUMNS)
_PERSON = "uuid, name, user_id, created_at, former_names, consented_at, expires_at, groups"


@dataclass(frozen=True)
class Moved:
    """What a rename, a merge or its undoing did: the person called `person` is called `other` now.

    `row_ids`: references that changed. `removed`: references that both people had, so that one of the two was removed. `restored`:
    references that came back. `sightings`: how many changed. `files`: (path, new path) of kept photos that have to be moved, relative
    to data_dir.
    """

    person: str
    other: str
    row_ids: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    restored: list[int] = field(default_factory=list)
    sightings: int = 0
    files: list[tuple[str, str]] = field(default_factory=list)
    undoes_merge: bool = False


@dataclass(frozen=True)
class _Undo:
    """What undoing needs. `person`: after a merge, the row of the person who was merged away. `former_names`, `user_id`: the remaining
    person's before the change. `corrections`, `probes`: the sightings of those that changed."""

    row_ids: list[int]
    sightings: list[int]
    left_out: list[int]
    files: list[tuple[str, str]]
    former_names: str
    user_id: str | None
    person: list[Any] | None = None
    corrections: list[int] = field(default_factory=list)
    probes: list[int] = field(default_factory=list)


# --- agreement with the references ----------------------------------------------------------------------------------


def complete(connection: sqlite3.Connection, names: Iterable[str] | None = None) -> None:
    """Give each person with a reference a row, and delete the rows of people without one. For all people, or only for `names`.

    `created_at` of a new row is that of the person's oldest reference. Call it inside a transaction.
    """
    if not _is_there(connection):
        return
    chosen = None if names is None else json.dumps(sorted(set(names)))
    within = "" if chosen is None else "AND {} IN (SELECT value FROM json_each(:names))"
    missing = connection.execute(
        "SELECT person_name, MIN(strftime('%Y-%m-%dT%H:%M:%SZ', created_at)) FROM embeddings "  # noqa: S608  # constants
        "WHERE NOT EXISTS (SELECT 1 FROM people WHERE name=person_name) "
        + within.format("person_name")
        + " GROUP BY 1",
        {"names": chosen},
    ).fetchall()
    connection.executemany(
        "INSERT INTO people(uuid, name, created_at) VALUES (?, ?, ?)",
        [(uuid, name, day or _now()) for uuid, (name, day) in zip(new_uuids(len(missing)), missing, strict=True)],
    )
    connection.execute(
        "DELETE FROM people WHERE NOT EXISTS (SELECT 1 FROM embeddings WHERE person_name=name) "  # noqa: S608  # constants
        + within.format("name"),
        {"names": chosen},
    )


def _is_there(connection: sqlite3.Connection) -> bool:
    """Whether the database has these tables. A backup of an older version has none."""
    return "people" in schema.tables(connection)


def give_user_ids(connection: sqlite3.Connection, user_ids: Mapping[str, str | None]) -> None:
    """Set the user ids of people, by name. `settle_user_ids` then copies them to the references."""
    connection.executemany(
        "UPDATE people SET user_id=? WHERE name=?", [(user_id, name) for name, user_id in user_ids.items()]
    )


def settle_user_ids(connection: sqlite3.Connection, names: Iterable[str] | None = None) -> None:
    """Set the user id of every reference to its person's. For all people, or only for `names`."""
    chosen = None if names is None else json.dumps(sorted(set(names)))
    within = "" if chosen is None else "AND p.name IN (SELECT value FROM json_each(?1))"
    rows = connection.execute(
        "SELECT e.id, p.user_id FROM people p JOIN embeddings e ON e.person_name=p.name "  # noqa: S608  # constants
        f"WHERE e.user_id IS NOT p.user_id {within}",
        () if chosen is None else (chosen,),
    ).fetchall()
    if rows:
        connection.executemany("UPDATE embeddings SET user_id=? WHERE id=?", [(user, row) for row, user in rows])
        write_checksums(connection, [row for row, _ in rows])


def adopt_user_ids(connection: sqlite3.Connection) -> None:
    """For a new table: set each person's user id to the one given last with a reference of theirs."""
    connection.execute(
        "UPDATE people SET user_id=(SELECT e.user_id FROM embeddings e LEFT JOIN reference_facts f ON f.embedding_id=e.id "
        "WHERE e.person_name=people.name AND e.user_id IS NOT NULL ORDER BY f.change_number DESC, e.id DESC LIMIT 1) "
        "WHERE user_id IS NULL"
    )
    settle_user_ids(connection)


def faults(connection: sqlite3.Connection) -> list[str]:
    """Where the two tables do not agree, one line for each fault, at most 20."""
    found = connection.execute(
        "SELECT 'a reference whose person is not in people: row ' || id FROM embeddings "
        "WHERE NOT EXISTS (SELECT 1 FROM people WHERE name=person_name) "
        "UNION ALL SELECT 'a person without a reference: ' || uuid FROM people "
        "WHERE NOT EXISTS (SELECT 1 FROM embeddings WHERE person_name=name) "
        "UNION ALL SELECT 'another user id than the person has: row ' || e.id FROM embeddings e "
        "JOIN people p ON p.name=e.person_name WHERE e.user_id IS NOT p.user_id LIMIT 20"
    )
    return [line for (line,) in found]


# --- rename, merge --------------------------------------------------------------------------------------------------


def rename(store: Store, name: str, new: str, places: Mapping[str, str] | None = None) -> Moved:
    """Rename the person `name` to `new`, in references, sightings and the paths of photos.

    `places`: see `_move`. Raises RefusedError if nobody is called `name`, or another person is called `new`.
    """
    person = person_row(store, name)
    _require_folder_name(new)
    other = same_looking(store, new)
    if other is not None and other != name:
        raise RefusedError(
            "another person has that name",
            where=other,
            remedy=f"if the two are one person: supervisor.py people '{name}' --merge-into '{other}'",
        )
    if new == name:
        raise RefusedError("the person already has that name", where=name)
    moved = _move(store, name, new, places=places)
    former = json.loads(person.former_names)
    store.connection.execute(
        "UPDATE people SET name=?, former_names=? WHERE name=?", (new, json.dumps([*former, name]), name)
    )
    _lift_mark(store, new)
    undo = _Undo(moved.row_ids, [], [], moved.files, person.former_names, person.user_id)
    _note(store, _RENAMED, name, new, undo)
    return moved


def merge(store: Store, name: str, into: str, places: Mapping[str, str] | None = None) -> Moved:
    """Merge the person `name` into the person `into`. If both have a reference of the same photo, that of `into` is kept, as it is: in use or
    set aside.

    `places`: see `_move`. Raises RefusedError if one of the names is nobody's, both are the same, or `into` is not fit for a folder.
    """
    if name == into:
        raise RefusedError("both names are the same person", where=name)
    gone, kept = person_row(store, name), person_row(store, into)
    _require_folder_name(into)
    sightings, left_out = (
        [row for (row,) in store.connection.execute(query, (name,))]
        for query in ("SELECT id FROM sightings WHERE person=?", "SELECT id FROM left_out WHERE person_name=?")
    )
    twice = [
        row
        for (row,) in store.connection.execute(
            "SELECT f.embedding_id FROM embeddings e JOIN reference_facts f ON f.embedding_id=e.id WHERE e.person_name=?1 "
            "AND f.photo_digest IN (SELECT g.photo_digest FROM embeddings o JOIN reference_facts g ON g.embedding_id=o.id "
            "WHERE o.person_name=?2)",
            (name, into),
        )
    ]
    user_id = kept.user_id or gone.user_id
    former = [*json.loads(kept.former_names), *json.loads(gone.former_names), name]
    store.connection.execute("DELETE FROM people WHERE name=?", (name,))
    store.connection.execute(
        "UPDATE people SET user_id=?, former_names=? WHERE name=?", (user_id, json.dumps(former), into)
    )
    judged = corrections.of_person(store, name)
    undo = _Undo([], sightings, left_out, [], kept.former_names, kept.user_id, list(gone), *judged)
    change = _note(store, _MERGED, name, into, undo)
    photos = _keep_for_undoing(store, change, twice)
    moved = _move(store, name, into, photos, places=places)
    moved = replace(moved, removed=twice)
    tombstones.note_changed(store, into)
    _amend(store, change, replace(undo, row_ids=moved.row_ids, files=moved.files))
    settle_user_ids(store.connection, [into])
    return moved


def last_change(store: Store) -> PeopleChange | None:
    """The rename or merge that `undo` undoes; None: there is none."""
    row = store.connection.execute(
        "SELECT name, other, kind, at FROM people_changes WHERE at>=? ORDER BY id DESC LIMIT 1", (_now(-UNDO_DAYS),)
    ).fetchone()
    return None if row is None else PeopleChange(row[0], row[1], merged=row[2] == _MERGED, at=row[3])


def undo(store: Store, names: tuple[str, str] | None = None) -> Moved:
    """Undo the last rename or merge; or the one by which the first of `names` is called the second. No two that can be undone are of the same
    person, so their order does not matter. Raises RefusedError if there is none."""
    row = store.connection.execute(
        "SELECT id, kind, name, other, document FROM people_changes WHERE at>=?1 AND (?2 IS NULL OR (name=?2 AND other=?3)) "
        "ORDER BY id DESC LIMIT 1",
        (_now(-UNDO_DAYS), *(names or (None, None))),
    ).fetchone()
    if row is None:
        raise RefusedError(
            "there is nothing to undo",
            expected=f"a rename or a merge of the last {UNDO_DAYS} days, of people who were not forgotten or renamed since",
        )
    change, kind, name, other, document = row
    kept = _Undo(**json.loads(document))
    taken = same_looking(store, name)
    if taken is not None and taken != other:
        raise RefusedError("another person has that name by now", where=taken, remedy="rename that person first")
    if kind == _RENAMED:
        moved = _move(store, other, name, places={place: path for path, place in kept.files})
        store.connection.execute(
            "UPDATE people SET name=?, former_names=? WHERE name=?", (name, kept.former_names, other)
        )
    else:
        moved = _move_back(store, name, other, kept)
        restored, photos = _bring_back(store, change)
        places = dict(kept.files)
        files = [*moved.files, *((places[path], path) for path in photos if path in places)]
        moved = replace(moved, restored=restored, files=files, undoes_merge=True)
        store.connection.execute(
            "UPDATE people SET user_id=?, former_names=? WHERE name=?",
            (kept.user_id, kept.former_names, other),
        )
        values = ", ".join("?" * len(_PERSON.split(", ")))
        store.connection.execute(f"INSERT INTO people({_PERSON}) VALUES ({values})", kept.person or ())  # noqa: S608  # constants
        complete(store.connection, [name, other])
        settle_user_ids(store.connection, [name, other])
        tombstones.note_changed(store, other)
    store.connection.execute("DELETE FROM people_changes WHERE id=?", (change,))
    return moved


def drop_undo(store: Store, names: Iterable[str]) -> None:
    """Delete what undoing would need, for all changes of these people."""
    if not _is_there(store.connection):
        return
    chosen = json.dumps(list(names))
    store.connection.execute(
        "DELETE FROM people_changes WHERE name IN (SELECT value FROM json_each(?1)) OR other IN (SELECT value FROM json_each(?1))",
        (chosen,),
    )


def drop_old_undo(store: Store, now: datetime) -> int:
    """Delete the notes of changes that can't be undone any more. Returns how many."""
    limit = f"{now - timedelta(days=UNDO_DAYS):%Y-%m-%dT%H:%M:%S.%fZ}"
    return store.connection.execute("DELETE FROM people_changes WHERE at<?", (limit,)).rowcount


def drop_undo_of_old_model(store: Store) -> int:
    """Delete the notes of merges whose undoing would bring back references of the model before. Returns how many."""
    return store.connection.execute(
        "DELETE FROM people_changes WHERE id IN (SELECT change FROM merged_references)"
    ).rowcount


def is_note(kind: object, document: object) -> bool:
    """Whether these values of a row in `people_changes` can be read."""
    if kind not in (_RENAMED, _MERGED) or not isinstance(document, str):
        return False
    try:
        _Undo(**json.loads(document))
    except (TypeError, ValueError):
        return False
    return True


def former_names(store: Store, names: Iterable[str]) -> list[str]:
    """What these people were called before. A backup of an older version knows none of that."""
    if not _is_there(store.connection):
        return []
    rows = store.connection.execute(
        "SELECT former_names FROM people WHERE name IN (SELECT value FROM json_each(?))", (json.dumps(list(names)),)
    ).fetchall()
    return [one for (former,) in rows for one in json.loads(former)]


def has_person(store: Store, name: str) -> bool:
    """Whether a person with exactly this name is enrolled."""
    return store.connection.execute("SELECT 1 FROM people WHERE name=?", (name,)).fetchone() is not None


# --- for the exchange with other sites ------------------------------------------------------------------------------


def uuids_among(store: Store, uuids: Iterable[str]) -> set[str]:
    """Those of these UUIDs that somebody who is enrolled has."""
    rows = store.connection.execute(
        "SELECT uuid FROM people WHERE uuid IN (SELECT value FROM json_each(?))", (json.dumps(list(uuids)),)
    )
    return {uuid for (uuid,) in rows.fetchall()}


def names_of_uuids(store: Store, uuids: Iterable[str]) -> list[str]:
    """The names of those who have these UUIDs."""
    rows = store.connection.execute(
        "SELECT name FROM people WHERE uuid IN (SELECT value FROM json_each(?))", (json.dumps(list(uuids)),)
    )
    return [name for (name,) in rows.fetchall()]


def person_rows(store: Store, names: Iterable[str]) -> dict[str, PersonRow]:
    """The rows of those of these people who are enrolled, by name."""
    found = store.connection.execute(
        f"SELECT {_PERSON} FROM people WHERE name IN (SELECT value FROM json_each(?))",  # noqa: S608  # a constant
        (json.dumps(list(names)),),
    )
    return {row[1]: PersonRow(*row) for row in found.fetchall()}


def give_all(store: Store, name: str, other: str, former: str | None, places: Mapping[str, str] | None = None) -> Moved:
    """Give everything of a person to `other`, who may be enrolled already, without a way to undo it. `former`: what the person was called
    before. `places`: see `_move`."""
    drop_undo(store, [name, other])
    person, kept = person_row(store, name), person_rows(store, [other]).get(other)
    moved = _move(store, name, other, places=places)
    names = [*json.loads((kept or person).former_names), *(json.loads(person.former_names) if kept else [])]
    if former is not None and former != other:
        names.append(former)
    if kept is None:
        store.connection.execute("UPDATE people SET name=? WHERE name=?", (other, name))
    else:
        store.connection.execute("DELETE FROM people WHERE name=?", (name,))
    store.connection.execute("UPDATE people SET former_names=? WHERE name=?", (json.dumps(names), other))
    _lift_mark(store, other)
    settle_user_ids(store.connection, [other])
    return moved


def drop_merged(store: Store, uuids: Iterable[str]) -> None:
    """Delete references that were kept for undoing a merge, and were deleted at another site."""
    store.connection.executemany("DELETE FROM merged_references WHERE uuid=?", [(uuid,) for uuid in uuids])


def give_rows(
    store: Store, name: str, row_ids: Sequence[int], other: str, places: Mapping[str, str] | None = None
) -> Moved:
    """Give some references of a person to somebody else, who may be new. Sightings stay as they are: nobody knows whose they were.
    `places`: see `_move`."""
    rows = store.connection.execute(
        "SELECT id, image_path FROM embeddings WHERE person_name=? AND id IN (SELECT value FROM json_each(?))",
        (name, json.dumps(list(row_ids))),
    ).fetchall()
    moved, files = _placed(store, name, other, rows, places or {})
    _give(store, other, moved)
    drop_right(store, [row_id for row_id, _ in moved])  # that they are right was said of `name`
    complete(store.connection, [name, other])
    settle_user_ids(store.connection, [name, other])
    return Moved(name, other, [row_id for row_id, _ in moved], files=files)


def add(store: Store, uuid: str, name: str, user_id: str | None) -> None:
    """Add a person whom another site has enrolled. A reference must follow in the same transaction."""
    store.connection.execute(
        "INSERT INTO people(uuid, name, user_id, created_at) VALUES (?, ?, ?, ?)", (uuid, name, user_id, _now())
    )


def set_uuid(store: Store, name: str, uuid: str) -> None:
    """Give a person the UUID that other sites know them by."""
    store.connection.execute("UPDATE people SET uuid=? WHERE name=?", (uuid, name))


def row_ids(store: Store, name: str) -> list[int]:
    """The ids of a person's references."""
    rows = store.connection.execute("SELECT id FROM embeddings WHERE person_name=?", (name,))
    return [row_id for (row_id,) in rows.fetchall()]


# --- the steps of these operations ----------------------------------------------------------------------------------


class PersonRow(NamedTuple):
    """A row of the table, in the order of _PERSON."""

    uuid: str
    name: str
    user_id: str | None
    created_at: str
    former_names: str
    consented_at: str | None
    expires_at: str | None
    groups: str


def person_row(store: Store, name: str) -> PersonRow:
    """The row of an enrolled person. Raises RefusedError if there is none of this name."""
    found = store.connection.execute(f"SELECT {_PERSON} FROM people WHERE name=?", (name,)).fetchone()  # noqa: S608  # a constant
    if found is None:
        raise RefusedError("nobody of that name", where=name, remedy="see: supervisor.py people")
    return PersonRow(*found)


def _require_folder_name(name: str) -> None:
    """Refuse a name that `enrol` refuses: kept photos are moved to a folder of that name."""
    if reason := unfitness(name):
        raise RefusedError(
            f"the name {reason}",
            got=ascii(name[:50]),
            expected=f"1 to {MAX_NAME_CHARACTERS} visible characters without slashes, no dot in front",
            remedy="choose another name",
        )


def same_looking(store: Store, name: str) -> str | None:
    """The stored name that looks the same as `name` on a screen; None if there is none."""
    wanted = name_key(name)
    names = (stored for (stored,) in store.connection.execute("SELECT name FROM people"))
    return next((stored for stored in names if name_key(stored) == wanted), None)


def _move(
    store: Store, name: str, other: str, photos: Sequence[str] = (), places: Mapping[str, str] | None = None
) -> Moved:
    """Give all references and sightings of `name` to `other`. `photos`: further kept photos that move with them.

    `places`: new paths of photos that are decided already, as in the gallery when the backup follows it.
    """
    rows = store.connection.execute("SELECT id, image_path FROM embeddings WHERE person_name=?", (name,)).fetchall()
    further = [(-1 - number, path) for number, path in enumerate(photos)]
    moved, files = _placed(store, name, other, [*rows, *further], places or {})
    moved = moved[: len(rows)]
    _give(store, other, moved)
    sightings = _give_sightings(store, other, name, None)
    _give_left_out(store, other, name, None)
    corrections.give(store, other, corrections.of_person(store, name))
    return Moved(name, other, [row_id for row_id, _ in moved], sightings=sightings, files=files)


def _placed(
    store: Store, name: str, other: str, rows: Sequence[tuple[int, str | None]], places: Mapping[str, str]
) -> tuple[list[tuple[int, str | None]], list[tuple[str, str]]]:
    """The rows (id, path of the photo) with the paths that they get when `name`'s become `other`'s, and which files have to move. A
    reference without a place for its photo, since `other` has one of the same path outside the person's folder, has none any more."""
    taken = {
        path for (path,) in store.connection.execute("SELECT image_path FROM embeddings WHERE person_name=?", (other,))
    }

    def is_taken(place: str) -> bool:
        # A file that no row knows must not take the photo's place, or stay when the person is forgotten.
        return place in taken or os.path.lexists(store.path.parent / place)

    moved: list[tuple[int, str | None]] = []
    files = []
    for row_id, path in rows:
        place = None if path is None else places.get(path) or _place_under(other, name, path, is_taken)
        if place == path and place in taken:
            place = None
        if path is not None and place is not None and place != path:
            files.append((path, place))
        taken.add(place)
        moved.append((row_id, place))
    return moved, files


def _move_back(store: Store, name: str, other: str, kept: _Undo) -> Moved:
    """Give back to `name` what `name` had before the merge and what still exists."""
    back = {place: path for path, place in kept.files}
    rows = store.connection.execute(
        "SELECT id, image_path FROM embeddings WHERE person_name=? AND id IN (SELECT value FROM json_each(?))",
        (other, json.dumps(kept.row_ids)),
    ).fetchall()
    _give(store, name, [(row_id, back.get(path, path)) for row_id, path in rows])
    sightings = _give_sightings(store, name, other, kept.sightings)
    _give_left_out(store, name, other, kept.left_out)
    corrections.give(store, name, corrections.OfPerson(kept.corrections, kept.probes))
    files = [(path, back[path]) for _, path in rows if path in back]
    return Moved(other, name, [row_id for row_id, _ in rows], sightings=sightings, files=files)


def _place_under(other: str, name: str, path: str, is_taken: Callable[[str], bool]) -> str:
    """The new path of a kept photo of `name` when it belongs to `other`. A path outside the person's folder stays as it is."""
    parts = PurePosixPath(path).parts
    if parts[:2] != ("faces", name) or len(parts) < 3:
        return path
    place = PurePosixPath("faces", other, *parts[2:])
    stem, number = place.stem, 2
    while is_taken(str(place)):
        place, number = place.with_stem(f"{stem}-{number}"), number + 1
    return str(place)


def _give(store: Store, name: str, rows: list[tuple[int, str | None]]) -> None:
    change = store.next_change(max(1, len(rows)))
    store.connection.executemany(
        "UPDATE embeddings SET person_name=?, image_path=?, updated_at=CURRENT_TIMESTAMP WHERE id=?",
        [(name, path, row_id) for row_id, path in rows],
    )
    store.connection.executemany(
        "UPDATE reference_facts SET change_number=? WHERE embedding_id=?",
        [(change + number, row_id) for number, (row_id, _) in enumerate(rows)],
    )
    write_checksums(store.connection, [row_id for row_id, _ in rows])


def _give_sightings(store: Store, name: str, of: str, ids: list[int] | None) -> int:
    within = "" if ids is None else "AND id IN (SELECT value FROM json_each(?3))"
    return store.connection.execute(
        f"UPDATE sightings SET person=?1, document=json_set(document, '$.person', ?1) WHERE person=?2 {within}",  # noqa: S608  # a constant
        (name, of) if ids is None else (name, of, json.dumps(ids)),
    ).rowcount


def _give_left_out(store: Store, name: str, of: str, ids: list[int] | None) -> None:
    within = "" if ids is None else "AND id IN (SELECT value FROM json_each(?3))"
    store.connection.execute(
        f"UPDATE left_out SET person_name=?1 WHERE person_name=?2 {within}",  # noqa: S608  # a constant
        (name, of) if ids is None else (name, of, json.dumps(ids)),
    )


def _keep_for_undoing(store: Store, change: int, row_ids: list[int]) -> list[str]:
    """Move references to the table `merged_references`, so that undoing can bring them back. Returns the paths of their photos.

    For other sites those that they have are deleted.
    """
    store.connection.executemany(
        f"INSERT INTO merged_references SELECT ?, {', '.join(f'e.{one}' for one in schema.COLUMNS)}, f.uuid, f.photo_digest, "  # noqa: S608  # constants
        "s.reason, s.since, r.since, f.turn FROM embeddings e JOIN reference_facts f ON f.embedding_id=e.id "
        "LEFT JOIN set_aside s ON s.embedding_id=e.id LEFT JOIN right_references r ON r.embedding_id=e.id WHERE e.id=?",
        [(change, row_id) for row_id in row_ids],
    )
    store.connection.executemany("DELETE FROM embeddings WHERE id=?", [(row_id,) for row_id in row_ids])
    kept = store.connection.execute(
        "SELECT uuid, image_path FROM merged_references WHERE change=?", (change,)
    ).fetchall()
    tombstones.note_merged(store, [uuid for uuid, _ in kept])
    return [path for _, path in kept if path is not None]


def _bring_back(store: Store, change: int) -> tuple[list[int], list[str]]:
    """Bring back the references that were kept for undoing. Returns their ids and the paths of their photos.

    Other sites may have been told meanwhile that they are deleted, which is final. Those come back as new ones.
    """
    again = store.connection.execute(
        "SELECT uuid FROM merged_references WHERE change=? AND uuid IN (SELECT uuid FROM tombstones)", (change,)
    ).fetchall()
    store.connection.executemany(
        "UPDATE merged_references SET uuid=? WHERE change=? AND uuid=?",
        [(new, change, uuid) for new, (uuid,) in zip(new_uuids(len(again)), again, strict=True)],
    )
    found = store.connection.execute(
        "SELECT id, image_path FROM merged_references WHERE change=?", (change,)
    ).fetchall()
    rows = [row_id for row_id, _ in found]
    store.connection.execute(
        f"INSERT INTO embeddings({_ROW}) SELECT {_ROW} FROM merged_references WHERE change=?",  # noqa: S608  # constants
        (change,),
    )
    first = store.next_change(max(1, len(rows)))
    store.connection.execute(
        "INSERT INTO reference_facts(embedding_id, uuid, change_number, photo_digest, turn) "
        "SELECT id, uuid, ? + ROW_NUMBER() OVER (ORDER BY id) - 1, photo_digest, turn FROM merged_references WHERE change=?",
        (first, change),
    )
    store.connection.execute(
        "INSERT INTO set_aside SELECT id, set_aside_reason, set_aside_since FROM merged_references "
        "WHERE change=? AND set_aside_reason IS NOT NULL",
        (change,),
    )
    store.connection.execute(
        "INSERT INTO right_references SELECT id, right_since FROM merged_references WHERE change=? AND right_since IS NOT NULL",
        (change,),
    )
    write_checksums(store.connection, rows)
    return rows, [path for _, path in found if path is not None]


def _note(store: Store, kind: str, name: str, other: str, kept: _Undo) -> int:
    """Note a change for undoing. Earlier changes of either person can't be undone any more."""
    drop_undo(store, [name, other])
    cursor = store.connection.execute(
        "INSERT INTO people_changes(kind, name, other, at, document) VALUES (?, ?, ?, ?, ?)",
        (kind, name, other, _now(), json.dumps(asdict(kept))),
    )
    return int(cursor.lastrowid or 0)


def _amend(store: Store, change: int, kept: _Undo) -> None:
    store.connection.execute("UPDATE people_changes SET document=? WHERE id=?", (json.dumps(asdict(kept)), change))


def _lift_mark(store: Store, name: str) -> None:
    """Remove the deletion mark of a name that is given to somebody on purpose."""
    store.connection.execute("DELETE FROM deletion_marks WHERE person_mark=? AND whole_person", (mark_of(store, name),))


def _now(days: int = 0) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%S.%fZ}"
