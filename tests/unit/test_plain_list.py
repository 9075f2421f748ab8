"""The list of a plain answer, read while it arrives."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from workers.sync.plain_list import NoListError, plain_items


def _items(text: bytes) -> list[Any]:
    return list(plain_items(io.BytesIO(text)))


@pytest.mark.parametrize(
    "text",
    [
        b'{"success": true, "embeddings": [{"a": 1.5}, {"a": [1, 2]}], "message": "x"}',
        b'{"message": {"embeddings": 3}, "data": [{"a": 1.5}, {"a": [1, 2]}]}',
        b'[{"a": 1.5}, {"a": [1, 2]}]',
    ],
)
def test_the_forms_of_a_list(text: bytes) -> None:
    """`embeddings`, `data`, or the answer itself; numbers are floats."""
    assert _items(text) == [{"a": 1.5}, {"a": [1, 2]}]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html></html>",
        b'{"x": [1]}',
        b"7",
        b'{"success": true}',
        b'{"success": false, "embeddings": []}',
        b'{"embeddings": [], "success": false}',
        b'{"embeddings": [] and more',
        b'{"embeddings": [NaN]}',
        b'{"embeddings": ["\xff"]}',
    ],
)
def test_what_is_no_list(text: bytes) -> None:
    """Each is an error, and gives no item."""
    with pytest.raises(NoListError):
        _items(text)


@pytest.mark.parametrize("cut", range(20, 60, 3))
def test_a_list_that_breaks_off(cut: int) -> None:
    """Whatever came whole is given, and then it is an error."""
    text = json.dumps({"embeddings": [{"n": number} for number in range(5)]}).encode()
    found = []
    with pytest.raises(NoListError):
        for item in plain_items(io.BytesIO(text[:cut])):
            found.append(item)
    assert found == [{"n": number} for number in range(len(found))]


def test_an_item_that_never_ends_does_not_fill_the_memory() -> None:
    """An item of more than a megabyte is an error; a list of many small ones is not."""
    with pytest.raises(NoListError, match="too large"):
        _items(b'{"embeddings": ["' + b"x" * (3 << 20) + b'"]}')
    many = json.dumps([{"n": "x" * 1000} for _ in range(5000)]).encode()
    assert len(_items(many)) == 5000
