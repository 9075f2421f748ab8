"""References and their people: count, list, delete and forget them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import cosines
from shared.errors import RefusedError
from shared.person_names import name_key
from shared.records import SIDE_FROM, Person, Reference, side_of
from shared.store import corrections, people
from shared.store.marks import leave_mark, mark_of
from shared.store.set_aside import forget_names
from shared.store.store import Store
from shared.store.tombstones import note_deleted, note_forgotten
from shared.store.unsound_rows import forget_damaged_rows

_MAX_COMPARED = 200  # of a person's references, for a picture to show
_REFERENCE = (
    "e.id, e.person_name, e.image_path, f.photo_digest, f.change_number, e.created_at, s.since, s.reason, r.since, f.turn "
    "FROM embeddings e LEFT JOIN reference_facts f ON f.embedding_id=e.id LEFT JOIN set_aside s ON s.embedding_id=e.id "
    "LEFT JOIN right_references r ON r.embedding_id=e.id"
)


def count_references(store: Store) -> int:
    """How many references are stored."""
    return int(store.connection.execute("SELECT COUNT(*) FROM embeddings").fetchone()[0])


def count_people(store: Store) -> int:
    """How many people are enrolled."""
    return int(store.connection.execute("SELECT COUNT(*) FROM people").fetchone()[0])


def vector_of(store: Store, row_id: int) -> NDArray[np.float32]:
    """The embedding (dim,) of one reference, float32, unit L2 norm. Raises RefusedError for an unknown id."""
    row = store.connection.execute("SELECT embedding FROM embeddings WHERE id=?", (row_id,)).fetchone()
    if row is None:
        raise RefusedError("no such reference", got=row_id)
    return np.frombuffer(row[0], "<f4")


def uuid_of(store: Store, row_id: int) -> str:
    """The UUID of a stored reference."""
    return str(
        store.connection.execute("SELECT uuid FROM reference_facts WHERE embedding_id=?", (row_id,)).fetchone()[0]
    )


def nearest_photo(store: Store, name: str, vectors: NDArray[np.float32]) -> int | None:
    """Of a person's references in use that have a photo, the one that resembles one of `vectors` (n, dim) most. None if there is none."""
    rows = store.connection.execute(
        "SELECT e.id, e.embedding FROM embeddings e LEFT JOIN set_aside s ON s.embedding_id=e.id WHERE e.person_name=? "
        "AND e.image_path IS NOT NULL AND s.embedding_id IS NULL AND LENGTH(e.embedding)=? ORDER BY e.id LIMIT ?",
        (name, 4 * vectors.shape[1], _MAX_COMPARED),
    ).fetchall()
    if not rows:
        return None
    known = np.frombuffer(b"".join(blob for _, blob in rows), "<f4").reshape(len(rows), -1)
    return int(rows[int(cosines(known, vectors).max(axis=1).argmax())][0])


def vectors_of(store: Store, names: Sequence[str], most: int) -> NDArray[np.float32]:
    """References (n, dim) of these people, float32, unit L2 norm; at most `most` of each."""
    rows = [row for name in names for row in list_references(store, name, limit=most)]
    if not rows:
        return np.empty((0, store.dim or 1), np.float32)
    return np.stack([vector_of(store, row.id) for row in rows])


def user_id_of(store: Store, name: str) -> str | None:
    """The user id of a person, which is the one given last. None if there is no such person, or no user id."""
    row = store.connection.execute("SELECT user_id FROM people WHERE name=?", (name,)).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def user_ids_of(store: Store, names: Collection[str]) -> dict[str, str | None]:
    """The user ids, or None, of those of these people who are enrolled, by name."""
    rows = store.connection.execute(
        "SELECT name, user_id FROM people WHERE name IN (SELECT value FROM json_each(?))", (json.dumps(list(names)),)
    )
    return dict(rows.fetchall())


def list_people(
    store: Store,
    after: str | None = None,
    limit: int | None = None,
    person_id: str | None = None,
    person: str | None = None,
) -> list[Person]:
    """All enrolled people in the order of their names: at most `limit`, and only names behind `after`. With `person_id`, or a name in
    `person`, only that person.

    Each with name, user id, numbers of references, and the times of the first and the last change.
    """
    only = {"id": "person_name=(SELECT name FROM people WHERE uuid=?2)", "name": "person_name=?2"}
    one = ("id", person_id) if person_id is not None else ("name", person)
    wanted, given = ("?2 IS NULL OR person_name>?2", after) if one[1] is None else (only[one[0]], one[1])
    return _people_where(store, wanted, given, limit)


def people_named(store: Store, names: Collection[str]) -> list[Person]:
    """Those of these people who are enrolled, in the order of their names."""
    return _people_where(store, "person_name IN (SELECT value FROM json_each(?2))", json.dumps(list(names)))


def _people_where(store: Store, wanted: str, given: str | None, limit: int | None = None) -> list[Person]:
    """`wanted`: a condition of ours on person_name, in which ?2 stands for `given`."""
    rows = store.connection.execute(
        "SELECT person_name, COUNT(*), MIN(created_at), MAX(updated_at), COUNT(s.embedding_id), "  # noqa: S608  # a constant
        "(SELECT uuid FROM people WHERE name=person_name) FROM embeddings e "
        "LEFT JOIN set_aside s ON s.embedding_id=e.id "
        f"WHERE {wanted} GROUP BY person_name ORDER BY person_name LIMIT ?1",
        (-1 if limit is None else limit, given),
    )
    return [
        Person(name, user_id_of(store, name), count, _iso(created), _iso(updated), aside, uuid)
        for name, count, created, updated, aside, uuid in rows.fetchall()
    ]


def list_references(
    store: Store, name: str | None = None, after_id: int | None = None, limit: int | None = None
) -> list[Reference]:
    """References without their embeddings, in id order, of one person or of all: at most `limit`, with id > `after_id`."""
    wanted = "" if name is None else "e.person_name=:name AND "  # a condition of its own, so that SQLite uses the index
    given = {
        "name": name,
        "after": -(1 << 63) if after_id is None else after_id,
        "limit": -1 if limit is None else limit,
    }
    return _references_where(store, f"{wanted}e.id>:after ORDER BY e.id LIMIT :limit", given)


def references_of_ids(store: Store, ids: Collection[int]) -> list[Reference]:
    """Those of these references that there are, without their embeddings, in id order."""
    given = {"ids": json.dumps(list(ids))}
    return _references_where(store, "e.id IN (SELECT value FROM json_each(:ids)) ORDER BY e.id", given)


def _references_where(store: Store, wanted: str, given: Mapping[str, str | int | None]) -> list[Reference]:
    """`wanted`: a condition and an order of ours, with names for what is `given`."""
    rows = store.connection.execute(
        f"SELECT {_REFERENCE} WHERE {wanted}",
        given,
    )
    return [_reference_of(row) for row in rows]


def one_sided(store: Store) -> list[tuple[int, float, int]]:
    """People whose photos are all turned to the same side: the id of the newest reference in use, its turn, and how many are in use; the
    newest first. At least two pictures, and of none is the side unknown."""
    return store.connection.execute(
        "SELECT MAX(e.id), MAX(f.turn), COUNT(*) FROM embeddings e JOIN reference_facts f ON f.embedding_id=e.id "
        "WHERE e.id NOT IN (SELECT embedding_id FROM set_aside) GROUP BY e.person_name "
        "HAVING COUNT(DISTINCT f.photo_digest)>=2 AND COUNT(f.turn)=COUNT(e.image_path) AND (MIN(f.turn)>=?1 OR MAX(f.turn)<=-?1) "
        "ORDER BY 1 DESC",
        (SIDE_FROM,),
    ).fetchall()


def find_cover(store: Store, person_id: str) -> tuple[bool, Reference | None]:
    """Whether there is this person, and their first reference with a photo; one that is set aside only if no other has one."""
    known = store.connection.execute("SELECT name FROM people WHERE uuid=?", (person_id,)).fetchone()
    if known is None:
        return False, None
    row = store.connection.execute(
        f"SELECT {_REFERENCE} WHERE e.person_name=? AND e.image_path IS NOT NULL "
        "ORDER BY s.since IS NOT NULL, e.id LIMIT 1",
        known,
    ).fetchone()
    return True, None if row is None else _reference_of(row)


def _reference_of(row: tuple[Any, ...]) -> Reference:
    """`row`: the columns of _REFERENCE."""
    row_id, person, path, digest, change, created, since, reason, right, turn = row
    return Reference(row_id, person, path, digest, change, _iso(created), since, reason, right, side_of(turn))


def delete_references(
    store: Store, name: str, image_path: str | None = None, photo_digest: str | None = None, *, is_known: bool = False
) -> Deleted:
    """Delete the references of a person, or of one photo of theirs, and leave deletion marks.

    `photo_digest`: used in the marks of rows that have no digest themselves. `is_known`: other sites know that the person was forgotten.
    """
    spellings = spellings_of(store, name)
    rows = [row for one in spellings for row in _rows_to_delete(store, one, image_path)]
    person_mark = mark_of(store, name)
    if image_path is None:
        # Before the references: another site then knows that all of the person goes.
        for one in spellings:
            note_forgotten(store, one, is_known=is_known)
    note_deleted(store, [uuid for _, _, uuid, _ in rows if uuid is not None])
    for row_id, _, reference_uuid, own_digest in rows:
        digest = own_digest or photo_digest
        leave_mark(store, reference_uuid, person_mark, mark_of(store, digest) if digest else None, whole=False)
        store.connection.execute("DELETE FROM embeddings WHERE id=?", (row_id,))
    if image_path is None:
        store.connection.execute("DELETE FROM deletion_marks WHERE person_mark=? AND whole_person", (person_mark,))
        leave_mark(store, None, person_mark, None, whole=True)
    people.complete(store.connection, spellings)
    return Deleted([row[0] for row in rows], [row[1] for row in rows if row[1]])


def delete_learned(store: Store, row_id: int, person: str) -> bool:
    """Delete a reference that was learned for `person`, and leave a deletion mark for it. Returns whether there was one.

    It can lie in `left_out` by now, since it has no photo that another model could embed. After a restore, the id can be somebody else's.
    """
    row = store.connection.execute(
        "SELECT f.uuid FROM embeddings e LEFT JOIN reference_facts f ON f.embedding_id=e.id WHERE e.id=? AND e.person_name=?",
        (row_id, person),
    ).fetchone()
    if row is None:
        found = store.connection.execute("DELETE FROM left_out WHERE id=? AND person_name=?", (row_id, person)).rowcount
        return found > 0
    leave_mark(store, row[0], mark_of(store, person), None, whole=False)
    note_deleted(store, [row[0]] if row[0] is not None else [])
    store.connection.execute("DELETE FROM embeddings WHERE id=?", (row_id,))
    people.complete(store.connection, [person])
    return True


def image_path_of(store: Store, row_id: int) -> str | None:
    """The stored path of a reference's photo. None if it has none, or there is no such reference."""
    row = store.connection.execute("SELECT image_path FROM embeddings WHERE id=?", (row_id,)).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def _rows_to_delete(
    store: Store, spelling: str, image_path: str | None
) -> list[tuple[int, str | None, str, str | None]]:
    return store.connection.execute(
        "SELECT e.id, e.image_path, f.uuid, f.photo_digest FROM embeddings e LEFT JOIN reference_facts f ON f.embedding_id=e.id "
        "WHERE e.person_name=? AND (? IS NULL OR e.image_path=?)",
        (spelling, image_path, image_path),
    ).fetchall()


def spellings_of(store: Store, name: str) -> list[str]:
    """`name`, and all stored names that look the same on a screen: they differ in NFC or NFD, in spaces around them, or in invisible
    characters."""
    wanted = name_key(name)
    stored = store.connection.execute(
        "SELECT DISTINCT person_name FROM embeddings UNION SELECT DISTINCT person FROM sightings WHERE person IS NOT NULL "
        "UNION SELECT DISTINCT person_name FROM left_out"
    )
    return [
        name,
        *sorted(one for (one,) in stored if isinstance(one, str) and one != name and name_key(one) == wanted),
    ]


def names_of(store: Store, name: str) -> list[str]:
    """All spellings of `name` (see `spellings_of`), and all names that this person had before."""
    known = spellings_of(store, name)
    return list(dict.fromkeys([*known, *people.former_names(store, known)]))


def forget_person(store: Store, name: str, *, is_known: bool = False) -> Deleted:
    """Delete all rows of a person, in every spelling of the name: references, sightings, corrections, rows in `left_out`. Leave deletion
    marks. `is_known`: other sites know that the person was forgotten.

    SQLite leaves remains of deleted rows in the file. `Store.erase_remains` has to follow.
    """
    spellings, names = spellings_of(store, name), names_of(store, name)
    people.drop_undo(store, spellings)
    deleted = delete_references(store, name, is_known=is_known)
    for former in names:
        # An older backup has the person under that name. Somebody else can have it by now.
        if former not in spellings and not people.has_person(store, former):
            leave_mark(store, None, mark_of(store, former), None, whole=True)
            if not is_known:
                note_forgotten(store, former)
    corrections.forget_of(store, name)
    sightings = sum(store.sightings.forget(one) for one in spellings)
    left_out = [
        path
        for one in spellings
        for (path,) in store.connection.execute(
            "SELECT image_path FROM left_out WHERE person_name=?", (one,)
        ).fetchall()
    ]
    store.connection.executemany("DELETE FROM left_out WHERE person_name=?", [(one,) for one in spellings])
    forget_damaged_rows(store.connection)
    forget_names(store, names)
    paths = deleted.image_paths + [path for path in left_out if path]
    return Deleted(deleted.row_ids, paths, sightings, len(left_out))


def is_referred_to(store: Store, image_path: str) -> bool:
    """Whether any reference was made from this photo."""
    row = store.connection.execute("SELECT 1 FROM embeddings WHERE image_path=? LIMIT 1", (image_path,)).fetchone()
    return row is not None


def odd_image_paths(store: Store) -> Iterator[str]:
    """Stored paths that do not have our form, `faces/PERSON/PHOTO`. They come from adopted databases, or somebody invented them."""
    for (path,) in store.connection.execute(
        "SELECT image_path FROM embeddings WHERE image_path NOT LIKE 'faces/%' OR image_path LIKE '%/.%' OR image_path LIKE '%//%'"
    ):
        if isinstance(path, str):
            yield path


@dataclass(frozen=True)
class Deleted:
    """What a deletion removed: the ids and photo paths of references, and numbers of sightings and of rows in `left_out`."""

    row_ids: list[int]
    image_paths: list[str]
    sightings: int = 0
    left_out: int = 0


def _iso(timestamp: str | None) -> str | None:
    """A time as SQLite's CURRENT_TIMESTAMP writes it, in ISO 8601, UTC."""
    return None if timestamp is None else timestamp.replace(" ", "T") + ("" if timestamp.endswith("Z") else "Z")


@dataclass(frozen=True)
class StoredPhotoRows:
    """What the rows of one store know about photos. photos/kept.py needs this and may not import the store."""

    store: Store

    def is_referred_to(self, image_path: str) -> bool:
        """As the function of that name."""
        return is_referred_to(self.store, image_path)

    def odd_image_paths(self) -> Iterator[str]:
        """As the function of that name."""
        return odd_image_paths(self.store)
