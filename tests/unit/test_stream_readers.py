"""The benchmark's readers of the stream: what they take out of its bytes."""

from __future__ import annotations

import pytest

from tests.benchmark.web_readers import Pieces, track_of

_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    b"retry: 2000\n\n"
    b'event: status\ndata: {"ready":true}\n\n'
    b": ping\n\n"
    b'id: 7\nevent: unknown\ndata: {"id":7,"event":"unknown","track":41,"person":null}\n\n'
)
_PIECES = [
    ("", b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream"),
    ("message", b""),
    ("status", b'{"ready":true}'),
    ("message", b""),
    ("unknown", b'{"id":7,"event":"unknown","track":41,"person":null}'),
]


@pytest.mark.parametrize("size", [1, 2, 7, len(_ANSWER)])
def test_pieces_are_whole_however_the_bytes_come(size: int) -> None:
    """The head first, then each piece with its kind and its data."""
    pieces = Pieces()
    parts = [_ANSWER[at : at + size] for at in range(0, len(_ANSWER), size)]
    assert [one for part in parts for one in pieces.feed(part)] == _PIECES


@pytest.mark.parametrize(("document", "track"), [(b'{"track":41,"x":1}', 41), (b'{"id":7,"track":0}', 0)])
def test_the_track_is_found_in_a_document(document: bytes, track: int) -> None:
    assert track_of(document) == track
