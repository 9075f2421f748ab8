"""Loads the store's references in batches, for the block, without handling each row in Python.

With pages of 16 KiB and a memory-mapped database, SQLite does little more than copy. A query returns a thousand rows as one row of its
result: Python releases the interpreter's lock for each row that it gets from SQLite, and a thread that quantises meanwhile would have
to wait as often. With single rows two threads were no faster than one.

An unsound row ends the loading. Then the caller has `set_unsound_aside` check every row by itself, which takes longer, and loads again
without the unsound rows: one damaged row must not keep a site from running.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch, UnsoundRowError, require_sound
from shared.errors import RollcallError, Say
from shared.store import people
from shared.store.references import list_references
from shared.store.store import Store, explain
from shared.store.unsound_rows import set_aside, unsound_rows

_ROWS_AT_ONCE = 1024  # 2 MiB of references: still in the cache when they are quantised and written
_MAX_LOGGED = 20
_BEFORE_FIRST = -(1 << 63)  # below every id
# Aggregates take the rows in the order of the inner query. group_concat treats a blob as text, so the result is cast back.
_BATCH = """
    SELECT COUNT(*), json_group_array(id), json_group_array(person_name), json_group_array(user_id),
        SUM(typeof(embedding) <> 'blob' OR length(embedding) <> ?), CAST(group_concat(embedding, '') AS BLOB),
        json_group_array(checksum)
    FROM (
        SELECT id, person_name, user_id, embedding, checksum
        FROM embeddings LEFT JOIN reference_facts ON embedding_id = id
        WHERE id > ? {chosen} {without} {in_use} ORDER BY id LIMIT ?
    )
"""
_CHOSEN = "AND id IN (SELECT value FROM json_each(?))"
_WITHOUT = "AND id NOT IN (SELECT value FROM json_each(?))"
_IN_USE = "AND id NOT IN (SELECT embedding_id FROM set_aside)"


def stored_batches(
    store: Store,
    row_ids: Sequence[int] | None = None,
    *,
    without: Collection[int] = (),
    after: int = _BEFORE_FIRST,
    also_set_aside: bool = False,
) -> Iterator[Batch]:
    """All references with id > `after`, or those with the ids `row_ids`; in id order, without the ids in `without`.

    Without references that are set aside, unless `also_set_aside`. Raises UnsoundRowError for a row that can't be read, RollcallError if
    the file can't be read. This does not check norms and
    checksums; `require_sound` does, where the references are quantised.
    """
    size, last = 4 * (store.dim or 0), after
    query = _BATCH.format(
        chosen="" if row_ids is None else _CHOSEN,
        without=_WITHOUT if without else "",
        in_use="" if also_set_aside else _IN_USE,
    )
    lists = [json.dumps(list(ids)) for ids in (row_ids, without or None) if ids is not None]
    while True:
        try:
            (result,) = store.connection.execute(query, (size, last, *lists, _ROWS_AT_ONCE)).fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR:  # a name that JSON can't hold
                raise UnsoundRowError(f"behind {last}", "a name or a user id that is no text", "text") from error
            raise explain(error, store.path) from error
        count, found, names, user_ids, wrong, references, checksums = result
        if not count:
            return
        if wrong:
            raise UnsoundRowError(f"behind {last}", "bytes that are no vector", f"{size} bytes")
        found_ids = json.loads(found)
        vectors = np.frombuffer(references, "<f4").reshape(count, -1)
        yield Batch(found_ids, json.loads(names), json.loads(user_ids), vectors, json.loads(checksums))
        last = found_ids[-1]


def sound_batches(store: Store, say: Say) -> Iterator[Batch]:
    """All sound references that are in use, in id order. Unsound rows are moved to `left_out` and reported with `say`.

    Raises RollcallError.
    """
    last = _BEFORE_FIRST
    unsound: dict[int, str] = {}
    while True:
        try:
            for batch in stored_batches(store, without=unsound, after=last):
                require_sound(batch, 0, batch.references)
                last = batch.row_ids[-1]
                yield batch
            return
        except UnsoundRowError:
            if unsound:
                raise
            unsound = set_unsound_aside(store, say)


def vectors_of_person(store: Store, name: str) -> dict[int, NDArray[np.float32]]:
    """The embeddings (dim,) of all references of a person, also of those that are set aside, by row id.

    Raises UnsoundRowError, or RollcallError if the file can't be read.
    """
    ids = [one.id for one in list_references(store, name)]
    found: dict[int, NDArray[np.float32]] = {}
    for batch in stored_batches(store, ids, also_set_aside=True):
        require_sound(batch, 0, batch.references)
        found.update(zip(batch.row_ids, batch.references, strict=True))
    return found


def set_unsound_aside(store: Store, say: Say) -> dict[int, str]:
    """Check every row, and move unsound rows to `left_out`, each with its reason. Returns the reasons by row id.

    On a full disk or with a read-only store the rows are not moved. They are returned nevertheless, because the caller has to load
    without them. Raises RollcallError if the file itself can't be read.
    """
    try:
        found = dict(unsound_rows(store.connection, store.dim or 0))
    except sqlite3.Error as error:
        raise explain(error, store.path) from error
    for row_id, reason in list(found.items())[:_MAX_LOGGED]:
        say(f"DAMAGED ROW: {store.path} row {row_id}: {reason}; the gallery goes on without it")
    if len(found) > _MAX_LOGGED:
        say(f"DAMAGED ROWS: and {len(found) - _MAX_LOGGED} more")
    if not found or store.read_only:
        return found
    try:
        with store.transaction():
            set_aside(store.connection, found)
            people.complete(store.connection)
            store.next_change()
        say(
            f"{len(found)} damaged rows are set aside in the table left_out; to have these references back: supervisor.py restore FILE, "
            "or enrol these people again"
        )
    except RollcallError as error:
        say(f"damaged rows could not be set aside: {error.line()}")
    return found
