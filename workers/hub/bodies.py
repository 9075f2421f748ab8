"""Bodies of requests and answers: JSON with a limit on its size, packed with gzip or not."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from http import HTTPStatus
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from workers.hub.answers import No, packed

_GZIP_FROM_BYTES = 1024
_GZIP_LEVEL = 5
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_DRAINED = 8  # so many times the limit is read and dropped, so that a client that sends too much reads the answer


async def document_with(request: Request, array: str, max_bytes: int) -> tuple[dict[str, Any], list[Any]]:
    """The JSON document of a request, and the array of this name in it. Raises No: 413 for a large one, 400 for one that can't be read, or
    has no such array."""
    document = await _document_of(request, max_bytes)
    given = document.get(array) if isinstance(document, dict) else None
    if not isinstance(given, list):
        raise No(HTTPStatus.BAD_REQUEST, f"the body has no array {array}")
    return document, given


async def _document_of(request: Request, max_bytes: int) -> Any:
    body = await _body(request, max_bytes)
    kind = request.headers.get("content-encoding", "identity").strip().lower()
    if kind == "gzip":
        body = await asyncio.to_thread(unpacked, body, max_bytes)
    elif kind != "identity":
        raise No(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body has an encoding other than gzip")
    return await asyncio.to_thread(_read, body)


async def _body(request: Request, max_bytes: int) -> bytes:
    body, size = bytearray(), 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size <= max_bytes:
                body += piece
            elif size > max_bytes * _DRAINED:
                break
    except ClientDisconnect:
        raise No(HTTPStatus.BAD_REQUEST, "the body did not come to its end") from None
    if size > max_bytes:
        raise too_large(max_bytes)
    return bytes(body)


def unpacked(body: bytes, max_bytes: int) -> bytes:
    """A gzip body. Raises No, 413 as soon as it has more than `max_bytes`."""
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        found = stream.decompress(body, max_bytes + 1)
    except zlib.error:
        raise No(HTTPStatus.BAD_REQUEST, "the body is not gzip") from None
    if len(found) > max_bytes:
        raise too_large(max_bytes)
    if not stream.eof or stream.unused_data:
        raise No(HTTPStatus.BAD_REQUEST, "the gzip body does not end where it should")
    return found


def too_large(max_bytes: int) -> No:
    return No(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {max_bytes} bytes", more={"max_bytes": max_bytes}
    )


def _read(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise No(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None


def _refuse(name: str) -> float:
    raise ValueError(name)


def takes_gzip(request: Request) -> bool:
    """Whether the caller takes gzip."""
    for one in request.headers.get("accept-encoding", "").split(","):
        name, _, weight = one.partition(";")
        if name.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def packed_answer(document: Any, *, with_gzip: bool) -> tuple[bytes, dict[str, str]]:
    """A large answer's body, made outside the loop, and its headers."""
    return await asyncio.to_thread(_pack, document, with_gzip)


def _pack(document: Any, with_gzip: bool) -> tuple[bytes, dict[str, str]]:
    body = packed(document)
    if with_gzip and len(body) >= _GZIP_FROM_BYTES:
        return gzip.compress(body, _GZIP_LEVEL), {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return body, {"Vary": "Accept-Encoding"}
