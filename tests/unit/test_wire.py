"""The messages of the Unix socket: what is sent comes back, however it is cut; what is no message is refused in words."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from shared.errors import (
    ConfigurationError,
    RefusedError,
    RollcallError,
    TemporaryError,
    UsageError,
)
from shared.ipc import wire


def _message(text: bytes, blob: bytes = b"") -> bytes:
    return struct.pack("<II", len(text), len(blob)) + text + blob


def _all(buffer: wire.MessageBuffer) -> list[tuple[dict[str, Any], bytes]]:
    found = []
    while (message := buffer.next()) is not None:
        found.append(message)
    return found


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_messages_come_back_however_they_are_cut(step: int) -> None:
    """Three messages, one with raw bytes, one empty, arrive in pieces of `step` bytes: in order, whole, and nothing is left."""
    sent = [({"op": "save", "name": "Zoë"}, b"\x00\xff" * 5), ({}, b""), ({"op": "count"}, b"")]
    data = b"".join(wire.encode(document, blob) for document, blob in sent)
    buffer, found = wire.MessageBuffer(), []
    for begin in range(0, len(data), step):
        buffer.feed(data[begin : begin + step])
        found += _all(buffer)
    assert found == [({"v": wire.VERSION, **document}, blob) for document, blob in sent]
    assert len(buffer) == 0


def test_a_part_of_a_message_is_none_yet() -> None:
    """Until the last byte is there nothing comes out, and how much waits is known."""
    data = wire.encode({"op": "count"}, b"abc")
    buffer = wire.MessageBuffer()
    for size in range(len(data)):
        buffer = wire.MessageBuffer()
        buffer.feed(data[:size])
        assert buffer.next() is None
        assert len(buffer) == size
    buffer.feed(data[len(data) - 1 :])
    assert buffer.next() is not None


@pytest.mark.parametrize(
    "lengths", [(wire.MAX_JSON_BYTES + 1, 0), (0, wire.MAX_BLOB_BYTES + 1), (0xFFFFFFFF, 0xFFFFFFFF)]
)
def test_a_message_over_the_limits_is_refused_by_its_head(lengths: tuple[int, int]) -> None:
    """Eight bytes are enough to refuse: nothing is gathered for it."""
    buffer = wire.MessageBuffer()
    buffer.feed(struct.pack("<II", *lengths))
    with pytest.raises(RefusedError, match="over the limits"):
        buffer.next()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"nonsense", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "protocol version"),
        (b'"text"', "protocol version"),
        (b"{}", "protocol version"),
        (b'{"v":99}', "protocol version"),
        (json.dumps({"v": 1, "x": [[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]}).encode(), "too deep"),
    ],
)
def test_what_is_no_message_is_refused(text: bytes, what: str) -> None:
    """Bytes that are no document of ours raise a RefusedError, and no other."""
    buffer = wire.MessageBuffer()
    buffer.feed(_message(text))
    with pytest.raises(RefusedError, match=what):
        buffer.next()


@pytest.mark.parametrize(
    "kind", [RefusedError, UsageError, TemporaryError, ConfigurationError, RollcallError], ids=lambda one: one.__name__
)
def test_an_error_arrives_as_what_it_was(kind: type[RollcallError]) -> None:
    """Class, words and exit code; `got` as text where JSON has no such value."""
    sent = kind("no such photo", where="Ada", got={1}, expected="one of a.jpg", remedy="name one of those")
    buffer = wire.MessageBuffer()
    buffer.feed(wire.encode(wire.error_document(sent)))
    (document, _) = buffer.next() or ({}, b"")
    with pytest.raises(kind) as raised:
        wire.raise_error(document)
    assert type(raised.value) is kind
    assert raised.value.line() == sent.line()
    assert raised.value.exit_code == sent.exit_code


def test_an_answer_is_no_error() -> None:
    """A document without a fault raises nothing."""
    wire.raise_error({"v": 1, "count": 3})
