"""The store's references as they lie in SQLite, handed on for the block without touching each row in Python.

16 KiB pages and a memory-mapped database make SQLite's part a copy. A thousand rows come as one: Python gives up the interpreter for
each row it takes from SQLite, and a thread that codes meanwhile would wait for it as often; so two threads were no faster than one.

A row that is unsound ends the reading. Whoever reads then has `set_unsound_aside` look at every row for itself, which takes longer,
and goes on without those that it found: one damaged row must not keep a site down.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from shared.embeddings import Batch, UnsoundRowError, require_sound
from shared.errors import RollcallError, Say
from shared.store import people
from shared.store.store import Store, explain
from shared.store.unsound_rows import set_aside, unsound_rows

_ROWS_AT_ONCE = 1024  # 2 MiB of references: still in the cache when they are coded and written
_NAMED_AT_MOST = 20
_FIRST = -(1 << 63)
# Aggregates go over the rows in the order in which the inner query gives them. group_concat takes a blob for the database's text.
_BATCH = """
    SELECT COUNT(*), json_group_array(id), json_group_array(person_name), json_group_array(user_id),
        SUM(typeof(embedding) <> 'blob' OR length(embedding) <> ?), CAST(group_concat(embedding, '') AS BLOB),
        json_group_array(checksum)
    FROM (
        SELECT id, person_name, user_id, embedding, checksum
        FROM embeddings LEFT JOIN reference_facts ON embedding_id = id WHERE id > ? {chosen} {without} ORDER BY id LIMIT ?
    )
"""
_CHOSEN = "AND id IN (SELECT value FROM json_each(?))"
_WITHOUT = "AND id NOT IN (SELECT value FROM json_each(?))"


def stored_batches(
    store: Store, row_ids: Sequence[int] | None = None, *, without: Collection[int] = (), after: int = _FIRST
) -> Iterator[Batch]:
    """Every reference with id > `after`, or those of `row_ids`, but for those in `without`, in id order.

    Raises UnsoundRowError for a row that can't be read. Norms and checksums are looked at by `require_sound`, where the codes are made.
    """
    size, last = 4 * (store.dim or 0), after
    query = _BATCH.format(chosen="" if row_ids is None else _CHOSEN, without=_WITHOUT if without else "")
    lists = [json.dumps(list(one)) for one in (row_ids, without or None) if one is not None]
    while True:
        try:
            (one,) = store.connection.execute(query, (size, last, *lists, _ROWS_AT_ONCE)).fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR:  # a name that JSON can't hold
                raise UnsoundRowError(f"behind {last}", "a name or a user id that is no text", "text") from error
            raise explain(error, store.path) from error
        count, found, names, user_ids, wrong, references, checksums = one
        if not count:
            return
        if wrong:
            raise UnsoundRowError(f"behind {last}", "bytes that are no vector", f"{size} bytes")
        ids = json.loads(found)
        vectors = np.frombuffer(references, "<f4").reshape(count, -1)
        yield Batch(ids, json.loads(names), json.loads(user_ids), vectors, json.loads(checksums))
        last = ids[-1]


def sound_batches(store: Store, say: Say) -> Iterator[Batch]:
    """Every sound reference, in id order; what is unsound is set aside and told. Raises RollcallError."""
    last = _FIRST
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


def set_unsound_aside(store: Store, say: Say) -> dict[int, str]:
    """Look at every row, and move those that are unsound to `left_out`, each with its reason, which is also what is returned.

    Where they can't be moved (a full disk, a store that is only read) that is told: whoever loads has to do without them all the same.
    Raises RollcallError where the file itself can't be read.
    """
    try:
        found = dict(unsound_rows(store.connection, store.dim or 0))
    except sqlite3.Error as error:
        raise explain(error, store.path) from error
    for row_id, reason in list(found.items())[:_NAMED_AT_MOST]:
        say(f"DAMAGED ROW: {store.path} row {row_id}: {reason}; the gallery goes on without it")
    if len(found) > _NAMED_AT_MOST:
        say(f"DAMAGED ROWS: and {len(found) - _NAMED_AT_MOST} more")
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
