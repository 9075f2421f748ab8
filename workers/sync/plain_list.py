"""Reads the references of a plain answer, one after the other while it arrives: such an answer is a whole gallery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import ijson

from shared.errors import TemporaryError

_LISTS = ("", "embeddings", "data")  # where the list is: the answer itself, or a field of it
_MAX_ITEM_BYTES = 1 << 20


class Readable(Protocol):
    """What a list is read from."""

    def read(self, size: int = -1, /) -> bytes: ...


class NoListError(TemporaryError):
    """The answer is no list of references."""


class _Counted:
    """A file that counts what was read since the last item, so that one item can't fill the memory."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.since_item = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, 1 << 16) if size > 0 else size)
        self.since_item += len(data)
        if self.since_item > _MAX_ITEM_BYTES:
            raise NoListError("an item of the answer is too large", expected=f"at most {_MAX_ITEM_BYTES} bytes")
        return data


def plain_items(file: Readable) -> Iterator[Any]:
    """The members of the list `embeddings` or `data`, or of the answer if that is a list. `file`: has `read`.

    Raises NoListError if the answer has no such list, says that it failed, is no JSON, or breaks off. What was yielded before that is sound.
    """
    counted = _Counted(file)
    events = _checked(ijson.parse(counted, use_float=True))
    try:
        for prefix, event, _ in events:
            if event == "start_array" and prefix in _LISTS:
                for item in ijson.items(events, f"{prefix}.item".lstrip(".")):
                    counted.since_item = 0
                    yield item
                return
    except ijson.JSONError as error:
        raise NoListError("the answer is no JSON, or breaks off", got=type(error).__name__) from None
    raise NoListError("the answer has no list of references", expected="embeddings")


def _checked(events: Iterable[tuple[str, str, Any]]) -> Iterator[tuple[str, str, Any]]:
    for prefix, event, value in events:
        if prefix == "success" and event == "boolean" and not value:
            raise NoListError("the backend says that it failed")
        yield prefix, event, value
