"""Photos that somebody hands in: a request of multipart/form-data, taken to files that have no name, within limits.

Nothing of a photo is kept in memory or decoded here. The name under which a file comes is not looked at.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

from fastapi import Request
from python_multipart import multipart
from python_multipart.exceptions import FormParserError
from starlette.requests import ClientDisconnect

from shared.ipc.desk import MAX_PHOTO_BYTES
from workers.serving.problems import Problem

MAX_PHOTOS = 50
MAX_UPLOAD_BYTES = MAX_PHOTOS * MAX_PHOTO_BYTES + (1 << 20)
_MAX_FIELDS = 2 * MAX_PHOTOS + 8
_MAX_FIELD_BYTES = 4096
_MAX_HEADER_BYTES = 4096
_KIND = "multipart/form-data"
PHOTO = "photo"


@dataclass
class Form:
    """What was handed in. `photos`: open files. `fields`: the values of each field, in their order."""

    photos: list[IO[bytes]] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)

    def one(self, name: str) -> str | None:
        """The value of a field that comes once; None: it does not come. Raises Problem if it comes more often."""
        values = self.fields.get(name, [])
        if len(values) > 1:
            raise unfit(name, "once at most")
        return values[0] if values else None


def unfit(name: str, expected: str, got: str | int | None = None) -> Problem:
    """The answer to a form with a fault in one of its parts."""
    fault = {"pointer": f"/body/{name}", "expected": expected} | ({} if got is None else {"got": got})
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "unfit",
        "The request does not fit its description",
        detail=expected,
        errors=[fault],
    )


def too_large(name: str, expected: str) -> Problem:
    fault = {"pointer": f"/body/{name}", "expected": expected, "remedy": "send fewer photos at a time, or smaller ones"}
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "The request is too large", detail=expected, errors=[fault]
    )


@asynccontextmanager
async def form_of(request: Request, folder: Path, known: Sequence[str], *, least: int = 1) -> AsyncIterator[Form]:
    """The form of a request, with its photos in `folder`, in files that nobody else can open and that are gone at the end.

    `known`: the names of its fields. `least`: how many photos there have to be. Raises Problem if it is no such form.
    """
    boundary = _boundary(request)
    parts = _Parts(folder, frozenset(known))
    try:
        await _take(request, boundary, parts)
        if len(parts.form.photos) < least:
            raise unfit(PHOTO, f"{least} photo or more", len(parts.form.photos))
        yield parts.form
    finally:
        for photo in parts.form.photos:
            photo.close()


def _boundary(request: Request) -> bytes:
    kind, options = multipart.parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind.decode("latin-1").lower() != _KIND or not boundary:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "unfit",
            "The request does not fit its description",
            detail=f"photos are sent as {_KIND}",
            errors=[{"pointer": "/header/content-type", "expected": _KIND}],
        )
    return boundary


async def _take(request: Request, boundary: bytes, parts: _Parts) -> None:
    callbacks: Any = {
        "on_part_begin": parts.begin,
        "on_header_field": parts.header_name,
        "on_header_value": parts.header_value,
        "on_header_end": parts.header_end,
        "on_headers_finished": parts.headers_end,
        "on_part_data": parts.data,
        "on_part_end": parts.end,
    }
    parser = multipart.MultipartParser(boundary, callbacks)
    taken = 0
    try:
        async for chunk in request.stream():
            taken += len(chunk)
            if taken > MAX_UPLOAD_BYTES:
                raise too_large("", f"at most {MAX_UPLOAD_BYTES >> 20} MB")
            if chunk:
                await asyncio.to_thread(parser.write, chunk)  # it writes files
        parser.finalize()
    except FormParserError as error:
        raise unfit("", "a whole form of multipart/form-data") from error
    except ClientDisconnect as error:
        raise unfit("", "a whole request") from error
    if not parts.is_whole:
        raise unfit("", "a whole form of multipart/form-data")


class _Parts:
    """Takes the parts of a form as they come. Raises Problem at the first that breaks a limit."""

    def __init__(self, folder: Path, known: frozenset[str]) -> None:
        self._folder, self._known = folder, known
        self.form = Form()
        self.is_whole = True
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value, self._size = b"", b"", 0
        self._field: str | None = None
        self._text = bytearray()
        self._fields = 0

    def begin(self) -> None:
        self._headers, self._name, self._value, self._size = {}, b"", b"", 0
        self._text = bytearray()
        self.is_whole = False

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._limit_header()

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._limit_header()

    def _limit_header(self) -> None:
        if len(self._name) + len(self._value) + sum(map(len, self._headers.values())) > _MAX_HEADER_BYTES:
            raise too_large("", f"at most {_MAX_HEADER_BYTES} bytes of headers for each part")

    def header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def headers_end(self) -> None:
        _, options = multipart.parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name == PHOTO:
            if len(self.form.photos) == MAX_PHOTOS:
                raise too_large(PHOTO, f"at most {MAX_PHOTOS} photos")
            # It has no name, and nobody else reads this folder.
            self.form.photos.append(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115  # `form_of` closes it
            self._field = None
            return
        self._fields += 1
        if name not in self._known or self._fields > _MAX_FIELDS:
            raise unfit(name[:80], f"fields named {', '.join([PHOTO, *sorted(self._known)])}, at most {_MAX_FIELDS}")
        self._field = name

    def data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._field is None:
            if self._size > MAX_PHOTO_BYTES:
                at = len(self.form.photos) - 1
                raise too_large(f"{PHOTO}/{at}", f"at most {MAX_PHOTO_BYTES >> 20} MB for each photo")
            self.form.photos[-1].write(data[start:end])
            return
        if self._size > _MAX_FIELD_BYTES:
            raise too_large(self._field, f"at most {_MAX_FIELD_BYTES} bytes")
        self._text += data[start:end]

    def end(self) -> None:
        self.is_whole = True
        if self._field is None:
            self.form.photos[-1].flush()
            return
        try:
            text = self._text.decode()
        except UnicodeDecodeError as error:
            raise unfit(self._field, "text in UTF-8") from error
        self.form.fields.setdefault(self._field, []).append(text)
