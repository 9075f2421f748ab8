"""Bodies that come packed."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from workers.hub.answers import No
from workers.hub.bodies import unpacked

_LIMIT = 100_000


def test_a_body_is_unpacked_to_the_limit() -> None:
    """As it was, also one that just fits."""
    for size in (0, 5, _LIMIT):
        assert unpacked(gzip.compress(b"x" * size), _LIMIT) == b"x" * size


def test_no_more_is_unpacked_than_the_limit() -> None:
    """A body that would become 200 MB takes no memory for that."""
    body = gzip.compress(bytes(200_000_000), 9)
    tracemalloc.start()
    try:
        with pytest.raises(No) as caught:
            unpacked(body, _LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.status == 413
    assert peak < 10 * _LIMIT


@pytest.mark.parametrize("cut", [1, 9, 30])
def test_a_body_that_was_cut_off_is_refused(cut: int) -> None:
    """Nothing of it is used."""
    with pytest.raises(No) as caught:
        unpacked(gzip.compress(bytes(range(256)) * 9)[:-cut], _LIMIT)
    assert caught.value.status == 400
