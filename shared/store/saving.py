"""Saves references, many in one transaction.

A given reference replaces a stored one if both have the same UUID; or the same person and photo; or, without a photo, the same person
and exactly the same vector. Then the row is updated in place. Everything is searched and written a batch at a time: a query for each
row would cost more than the writing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import unit_rows
from shared.errors import (
    RefusedError,
)
from shared.records import NewReference
from shared.row_checksum import row_checksums
from shared.store import people
from shared.store.checksums import write_checksums
from shared.store.marks import mark_of, path_mark
from shared.store.references import count_references
from shared.store.right_references import drop_where_replaced
from shared.store.store import Store
from shared.store.unsound_rows import forget_damaged_rows_of
from shared.uuid7 import new_uuids

_Key = tuple[str, str | bytes]  # a person's name, and the photo's path or, without a photo, the vector's bytes


@dataclass(frozen=True)
class Saved:
    """What `save` did with each reference, in the order given: the id of its row, and whether it replaced an older content of the row.

    `vectors`: (n, dim) float32, unit L2 norm, as they were stored.
    """

    row_ids: list[int]
    replaced: list[bool]
    vectors: NDArray[np.float32]


def save(store: Store, references: Sequence[NewReference], vectors: NDArray[np.float32]) -> Saved:
    """Insert references, or update them in place, where id and created_at stay. Call it inside the store's transaction.

    `vectors`: (n, dim), of any length but zero. Deletion marks against these people and photos are removed, because somebody wants them
    in the gallery. Raises RefusedError, with nothing written, for an unsound vector or another dimension than the gallery's.
    """
    if not references:
        return Saved([], [], vectors)
    rows = unit_rows(vectors, [reference.person_name for reference in references])
    _require_dim(store, rows.shape[1], references[0].person_name)
    blobs = _blobs(rows)
    keys = [_key(reference, blob) for reference, blob in zip(references, blobs, strict=True)]
    row_ids, replaced = _places(store, references, keys)
    _lift_marks(store, references)
    forget_damaged_rows_of(store.connection, {one.person_name for one in references})
    change = store.next_change(len(references))
    fresh = [i for i, old in enumerate(replaced) if not old]
    _insert(store, [_Row(row_ids[i], references[i], rows[i], change + i) for i in fresh])
    old = [i for i, old in enumerate(replaced) if old]
    _update(store, [_Row(row_ids[i], references[i], rows[i], change + i) for i in old])
    _settle_people(store, references)
    return Saved(row_ids, replaced, rows)


def save_by_uuid(store: Store, references: Sequence[NewReference], vectors: NDArray[np.float32]) -> Saved:
    """As `save`, for references that came from another site: a row is found by its UUID alone. One that is here is its person's already.
    `vectors`: (n, dim), unit L2 norm."""
    rows = unit_rows(vectors, [reference.person_name for reference in references])
    _require_dim(store, rows.shape[1], references[0].person_name)
    found = store.connection.execute(
        "SELECT f.uuid, f.embedding_id FROM json_each(?) AS given CROSS JOIN reference_facts f ON f.uuid=given.value",
        (json.dumps([one.uuid for one in references]),),
    )
    known = dict(found.fetchall())
    replaced = [one.uuid in known for one in references]
    following = iter(range(_last_id(store) + 1, _last_id(store) + 1 + len(references)))
    row_ids = [known[str(one.uuid)] if old else next(following) for one, old in zip(references, replaced, strict=True)]
    _lift_marks(store, references)
    change = store.next_change(len(references))
    placed = [_Row(row_ids[i], one, rows[i], change + i) for i, one in enumerate(references)]
    _insert(store, [row for row, old in zip(placed, replaced, strict=True) if not old])
    _update(store, [row for row, old in zip(placed, replaced, strict=True) if old])
    names = {one.person_name for one in references}
    people.complete(store.connection, names)
    people.settle_user_ids(store.connection, names)
    return Saved(row_ids, replaced, rows)


def _settle_people(store: Store, references: Sequence[NewReference]) -> None:
    """Give each person a row in `people`. A given user id becomes the person's, and that of all their references."""
    names = {one.person_name for one in references}
    people.complete(store.connection, names)
    people.give_user_ids(
        store.connection, {one.person_name: one.user_id for one in references if one.user_id is not None}
    )
    people.settle_user_ids(store.connection, names)


def _require_dim(store: Store, dim: int, name: str) -> None:
    """The first reference decides the gallery's dimension, unless a model was stamped before. Raises RefusedError for another one."""
    known = store.dim
    if known == dim:
        return
    if known is None or (store.fingerprint is None and count_references(store) == 0):
        store.set_fact("dim", str(dim))
        return
    raise RefusedError(
        "an embedding of another model",
        where=name,
        got=f"{dim} numbers",
        expected=f"{known}",
        remedy="embed the photo with the gallery's model",
    )


def _blobs(rows: NDArray[np.float32]) -> list[memoryview]:
    """The bytes of each row as they are stored, as views without a copy."""
    view, size = np.ascontiguousarray(rows, dtype="<f4").data.cast("B"), 4 * rows.shape[1]
    return [view[at : at + size] for at in range(0, size * len(rows), size)]


def _key(reference: NewReference, blob: memoryview) -> _Key:
    return reference.person_name, bytes(blob) if reference.image_path is None else reference.image_path


def _places(store: Store, references: Sequence[NewReference], keys: list[_Key]) -> tuple[list[int], list[bool]]:
    """For each reference the id of its row, and whether the row has a content before. A batch may use one row several times."""
    people = _people_of_uuids(references)
    following = _last_id(store) + 1
    by_uuid: dict[str, int] = {}
    by_key: dict[_Key, int] = {}
    if following > 1:
        by_uuid, by_key = _rows_of_uuids(store, people), _rows_of_keys(store, references, keys)
    row_ids: list[int] = []
    replaced: list[bool] = []
    for reference, key in zip(references, keys, strict=True):
        row_id = by_uuid.get(reference.uuid or "") or by_key.get(key)
        replaced.append(row_id is not None)
        if row_id is None:
            row_id, following = following, following + 1
            by_key[key] = row_id
        if reference.uuid is not None:
            by_uuid[reference.uuid] = row_id
        row_ids.append(row_id)
    return row_ids, replaced


def _people_of_uuids(references: Sequence[NewReference]) -> dict[str, str]:
    """The person of each UUID in the batch. Raises RefusedError if one UUID is given for two people."""
    people: dict[str, str] = {}
    for one in references:
        if one.uuid is not None and people.setdefault(one.uuid, one.person_name) != one.person_name:
            raise _another_persons(one.uuid, one.person_name)
    return people


def _rows_of_uuids(store: Store, people: dict[str, str]) -> dict[str, int]:
    """The ids of the rows with these UUIDs. Raises RefusedError if such a row belongs to another person than given."""
    if not people:
        return {}
    found = store.connection.execute(
        "SELECT f.uuid, f.embedding_id, e.person_name FROM json_each(?) AS given "
        "CROSS JOIN reference_facts f ON f.uuid=given.value JOIN embeddings e ON e.id=f.embedding_id",
        (json.dumps(list(people)),),
    ).fetchall()
    for uuid, _, person in found:
        if people[uuid] != person:
            raise _another_persons(uuid, people[uuid])
    return {uuid: row_id for uuid, row_id, _ in found}


def _another_persons(uuid: str, person: str) -> RefusedError:
    return RefusedError("the UUID of another person's reference", where=person, got=uuid, expected="one of its own")


def _rows_of_keys(store: Store, references: Sequence[NewReference], keys: list[_Key]) -> dict[_Key, int]:
    photos = [list(key) for key, one in zip(keys, references, strict=True) if one.image_path is not None]
    found: dict[_Key, int] = {}
    if photos:
        rows = store.connection.execute(
            "SELECT e.person_name, e.image_path, e.id FROM json_each(?) AS given CROSS JOIN embeddings e "
            "ON e.person_name=json_extract(given.value, '$[0]') AND e.image_path=json_extract(given.value, '$[1]')",
            (json.dumps(photos),),
        )
        found |= {(name, path): row_id for name, path, row_id in rows}
    without: dict[str, list[bytes]] = defaultdict(list)
    for name, rest in keys:
        if isinstance(rest, bytes):
            without[name].append(rest)
    for name, blobs in without.items():
        found |= {(name, blob): row_id for blob, row_id in _rows_without_photo(store, name, blobs)}
    return found


def _rows_without_photo(store: Store, name: str, blobs: list[bytes]) -> list[tuple[bytes, int]]:
    """The person's rows without a photo that can hold one of these vectors. SQLite compares a single vector; the caller many."""
    query, values = "SELECT embedding, id FROM embeddings WHERE person_name=? AND image_path IS NULL", [name]
    if len(blobs) == 1:
        return store.connection.execute(f"{query} AND embedding=?", (*values, blobs[0])).fetchall()
    return store.connection.execute(query, values).fetchall()


def _last_id(store: Store) -> int:
    """The highest id ever given out, from which AUTOINCREMENT counts on."""
    row = store.connection.execute(
        "SELECT MAX(COALESCE((SELECT seq FROM sqlite_sequence WHERE name='embeddings'), 0), "
        "COALESCE((SELECT MAX(id) FROM embeddings), 0))"
    ).fetchone()
    return int(row[0])


def _lift_marks(store: Store, references: Sequence[NewReference]) -> None:
    """Remove the deletion marks of these people and photos: they are enrolled again on purpose."""
    if store.connection.execute("SELECT 1 FROM deletion_marks LIMIT 1").fetchone() is None:
        return
    marks = {name: mark_of(store, name) for name in {one.person_name for one in references}}
    store.connection.executemany(
        "DELETE FROM deletion_marks WHERE person_mark=? AND whole_person", [(mark,) for mark in marks.values()]
    )
    photos = {(one.person_name, one.photo_digest) for one in references if one.photo_digest is not None}
    photos |= {(one.person_name, path_mark(one.image_path)) for one in references if one.image_path is not None}
    store.connection.executemany(
        "DELETE FROM deletion_marks WHERE person_mark=? AND photo_mark=?",
        [(marks[name], mark_of(store, digest)) for name, digest in photos],
    )


class _Row(NamedTuple):
    """A reference with the row that it is written to. `vector` (dim,) float32; `change`: its change number."""

    id: int
    reference: NewReference
    vector: NDArray[np.float32]
    change: int


def _insert(store: Store, rows: list[_Row]) -> None:
    if not rows:
        return
    vectors = np.stack([row.vector for row in rows])
    sums = row_checksums(vectors, [row.reference.person_name for row in rows], [row.reference.user_id for row in rows])
    store.connection.executemany(
        "INSERT INTO embeddings(id, person_name, embedding, image_path, user_id) VALUES (?, ?, ?, ?, ?)",
        [
            (row.id, row.reference.person_name, blob, row.reference.image_path, row.reference.user_id)
            for row, blob in zip(rows, _blobs(vectors), strict=True)
        ],
    )
    spare = iter(new_uuids(sum(row.reference.uuid is None for row in rows)))
    store.connection.executemany(
        "INSERT INTO reference_facts VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                row.id,
                row.reference.uuid or next(spare),
                row.change,
                row.reference.photo_digest,
                checksum,
                row.reference.turn,
            )
            for row, checksum in zip(rows, sums.tolist(), strict=True)
        ],
    )


def _update(store: Store, rows: list[_Row]) -> None:
    if not rows:
        return
    ids = [(row.id,) for row in rows]
    blobs = _blobs(np.stack([row.vector for row in rows]))
    drop_where_replaced(store, [(row.id, blob) for row, blob in zip(rows, blobs, strict=True)])
    # Another embedding is of another photo, whose turn is known only if it was given.
    store.connection.executemany(
        "UPDATE reference_facts SET turn=COALESCE(?, CASE WHEN (SELECT embedding FROM embeddings WHERE id=embedding_id)=? THEN turn END) "
        "WHERE embedding_id=?",
        [(row.reference.turn, blob, row.id) for row, blob in zip(rows, blobs, strict=True)],
    )
    store.connection.executemany(
        "UPDATE embeddings SET embedding=?, user_id=COALESCE(?, user_id), updated_at=CURRENT_TIMESTAMP WHERE id=?",
        [(blob, row.reference.user_id, row.id) for row, blob in zip(rows, blobs, strict=True)],
    )
    store.connection.executemany(
        "UPDATE reference_facts SET change_number=?, photo_digest=COALESCE(?, photo_digest) WHERE embedding_id=?",
        [(row.change, row.reference.photo_digest, row.id) for row in rows],
    )
    write_checksums(store.connection, [row.id for row in rows])
    # Another model's embedding of the old photo is not valid for the new photo.
    store.connection.executemany("DELETE FROM staged_embeddings WHERE embedding_id=?", ids)


def references_by_id(store: Store, row_ids: Sequence[int]) -> tuple[Saved, list[NewReference]]:
    """Stored references in the form in which `save` returns them, for the block; each counts as having replaced its row's content."""
    rows = store.connection.execute(
        "SELECT e.id, e.embedding, e.person_name, e.image_path, e.user_id, f.uuid, f.photo_digest FROM embeddings e "
        "JOIN reference_facts f ON f.embedding_id=e.id WHERE e.id IN (SELECT value FROM json_each(?)) ORDER BY e.id",
        (json.dumps(list(row_ids)),),
    ).fetchall()
    vectors = (
        np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(len(rows), -1) if rows else np.empty((0, 0))
    )
    saved = Saved([row[0] for row in rows], [True] * len(rows), vectors.astype(np.float32, copy=False))
    return saved, [NewReference(*row[2:]) for row in rows]
