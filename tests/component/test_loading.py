"""The store's references as the block's loader hands them on: what SQLite holds, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.embeddings import UnsoundRowError
from shared.model_id import ModelId
from shared.store.loading import set_unsound_aside, stored_batches
from shared.store.store import Store
from tests.support.stores import store_in
from tests.support.vectors import noise

_DIM = 128
_NAMES = (
    "Ada",
    "O'Hara",
    'the "quick" one',
    "line\nbreak\\n",
    "Żółć",
    "🧑‍🚀",
    "\x01\x1f\x7f",
    "before\0after",
    "[1]",
    "null",
)
_USER_IDS = (None, "", "7", 'u"\\', "ü")
# Bit patterns that a detour through text would change: zero bytes, a byte that no UTF-8 holds, half a surrogate, a NaN.
_BYTES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xd8\x00\xdc\x00", b"\xed\xa0\x80\x00", b"\xef\xbb\xbf\x00")


def _ids(count: int) -> list[int]:
    """With gaps, and some below zero, as a database from elsewhere may have them."""
    return [3 * place - 40 for place in range(count)]


def _vectors(count: int) -> NDArray[np.float32]:
    vectors = noise(np.random.default_rng(3), count, _DIM)
    for place, pattern in enumerate(_BYTES[:count]):
        vectors[place, 5] = np.frombuffer(pattern, "<f4")[0]
    return vectors


def _filled(store: Store, count: int) -> list[tuple[int, str, str | None, bytes]]:
    with store.transaction():
        store.stamp(ModelId.parse("any", "0" * 12, _DIM))
        store.connection.executemany(
            "INSERT INTO embeddings(id, person_name, user_id, embedding) VALUES (?, ?, ?, ?)",
            [
                (row_id, _NAMES[place % len(_NAMES)], _USER_IDS[place % len(_USER_IDS)], vector.tobytes())
                for place, (row_id, vector) in enumerate(zip(_ids(count), _vectors(count), strict=True))
            ],
        )
    query = "SELECT id, person_name, user_id, embedding FROM embeddings ORDER BY id"
    return [tuple(row) for row in store.connection.execute(query)]


def _loaded(store: Store) -> list[tuple[int, str, str | None, bytes]]:
    return [
        (row_id, name, user_id, reference.tobytes())
        for batch in stored_batches(store)
        for row_id, name, user_id, reference in zip(
            batch.row_ids, batch.names, batch.user_ids, batch.references, strict=True
        )
    ]


@pytest.mark.parametrize("count", [0, 1, 1024, 2500])
def test_every_row_is_handed_on_as_it_is(tmp_path: Path, count: int) -> None:
    with store_in(tmp_path) as store:
        assert _loaded(store) == []
        held = _filled(store, count)
        assert len(held) == count
        assert _loaded(store) == held


@pytest.mark.parametrize(
    ("unsound", "got"),
    [
        (bytes(4 * _DIM - 4), "508 bytes"),
        (bytes(4 * _DIM + 4), "516 bytes"),
        ("x" * 4 * _DIM, "no bytes"),
        (b"", "0 bytes"),
    ],
)
def test_a_row_that_is_no_embedding_is_named(tmp_path: Path, unsound: bytes | str, got: str) -> None:
    with store_in(tmp_path) as store:
        _filled(store, 2500)
        row_id, other = _ids(2500)[2100], _ids(2500)[2101]
        with store.transaction():
            store.connection.execute("UPDATE embeddings SET embedding = ? WHERE id = ?", (unsound, row_id))
            # the bytes of both together are those of two sound rows
            store.connection.execute("UPDATE embeddings SET embedding = ? WHERE id = ?", (bytes(4 * _DIM + 4), other))
        with pytest.raises(UnsoundRowError, match="restore"):
            list(stored_batches(store))
        said: list[str] = []
        found = set_unsound_aside(store, said.append)
        assert {row_id, other} <= found.keys()
        assert got in found[row_id]
        assert "DAMAGED ROW" in said[0]
        assert sum(len(batch.row_ids) for batch in stored_batches(store)) == 2500 - len(found)
