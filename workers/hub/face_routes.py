"""References, people and deletions: the plain wire of old clients, and ours on the same two paths."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from shared.errors import UsageError
from workers.hub.answers import json_response, packed
from workers.hub.batches import RefusedItem, Site, fault_of, span_of, stored_answer
from workers.hub.bodies import document_with, packed_answer, takes_gzip
from workers.hub.gallery import MAX_PAGE_ITEMS, Page
from workers.hub.hub import Hub, hub_of, own_part, site_of
from workers.hub.items import Batch, Item, PlainItem, Refused, Unfit, fit_items, plain_item_of, refused_of
from workers.hub.lease import now_ms
from workers.hub.origins import Heads
from workers.hub.positions import MAX_NUMBER, behind, news, position_of, position_text, tag_of
from workers.hub.tokens import FRESH_S

router = APIRouter(prefix="/face", tags=["faces"])
MAX_WAIT_S = 55.0  # proxies give up after 60
_MAX_LINEAGE_CHARACTERS = 64

Model = Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$", description="the model's fingerprint")]


class PlainReference(BaseModel):
    """A reference as every client knows it."""

    person_name: str
    embedding: list[float]
    image_path: str | None
    user_id: str | None


class Embeddings(BaseModel):
    """The answer. `embeddings`: plain references; with `position`, items (docs/backend.md#between-our-own-ends), each origin's in the order
    of seq. `position`: after them. `more`: whether there are more. `hub`: the id of the database. `behind`: the origins of which the reader
    has read more than there is, and where they are."""

    success: bool
    message: str
    embeddings: list[PlainReference | dict[str, Any]]
    position: str | None = None
    more: bool | None = None
    hub: str | None = None
    behind: str | None = None


class Synced(BaseModel):
    """The answer to a batch. `count`: items that are stored now. `seq`: how far its origin is published."""

    success: bool
    message: str
    count: int
    seq: int | None = None
    refused: list[RefusedItem] = []


class SeenSite(BaseModel):
    """`confirmed`: how far it has read what the asking site sent: origin:seq,origin:seq."""

    site: str
    seen_at: str
    confirmed: str


class SeenSites(BaseModel):
    success: bool
    sites: list[SeenSite]


_BODY = {
    "requestBody": {
        "required": True,
        "description": "Plain: `embeddings` alone. Between our own ends also `origin`, `after`, `through`, `lineage`, `next_lineage`. "
        "Content-Encoding gzip is taken.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["embeddings"],
                    "properties": {
                        "embeddings": {"type": "array", "items": {"type": "object"}},
                        "origin": {"type": "string", "pattern": "^[A-Za-z0-9_-]{11}$"},
                        "after": {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER},
                        "through": {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER},
                        "lineage": {"type": ["string", "null"], "maxLength": _MAX_LINEAGE_CHARACTERS},
                        "next_lineage": {"type": "string", "maxLength": _MAX_LINEAGE_CHARACTERS},
                    },
                }
            }
        },
    }
}


# --- reading ---------------------------------------------------------------------------------------------------------


@router.get("/all-embeddings", response_model=Embeddings)
async def all_embeddings(  # the parameters of the wire
    site: Site,
    request: Request,
    position: Annotated[
        str | None, Query(description="where to go on; empty: from the beginning; left out: the plain list")
    ] = None,
    model: Model = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_ITEMS)] = MAX_PAGE_ITEMS,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="seconds to wait for news")] = 0,
) -> Response:
    """Without `position` the whole list of live references of one model, as every client knows it. With `position` what came after it."""
    hub = hub_of(request)
    if position is None:
        return await _plain_answer(hub, request, model)
    asked = position_of(position)
    heads, page = await _page_after(request, asked, model, limit, wait)
    await hub.note_seen(site, asked)
    tag = tag_of(heads.items, hub.database.hub)
    headers = {"ETag": tag}
    lost = behind(heads.items, asked)
    if not page.items and not lost and page.position == asked and request.headers.get("if-none-match") == tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    document = {
        "success": True,
        "message": f"{len(page.items)} items",
        "embeddings": [one.to_json() for one in page.items],
        "position": position_text(page.position),
        "more": page.more,
        "hub": hub.database.hub,
    }
    if lost:
        document["behind"] = ",".join(f"{origin}:{seq}" for origin, seq in lost.items())
    body, more = await packed_answer(document, with_gzip=takes_gzip(request))
    return Response(body, headers={**headers, **more}, media_type="application/json")


async def _page_after(
    request: Request, asked: dict[str, int], model: str | None, limit: int, wait_s: float
) -> tuple[Heads, Page]:
    """The page after a position, as soon as there is something, or after that time. Raises No if the token is taken back meanwhile."""
    hub = hub_of(request)
    until = time.monotonic() + wait_s
    while True:
        heads = await hub.origins.heads()
        left_s = until - time.monotonic()
        if news(heads.items, asked) or behind(heads.items, asked) or left_s <= 0 or hub.watch.stopping:
            return heads, await hub.gallery.page(heads.items, asked, model, limit)
        await hub.watch.wait(heads.items, min(left_s, FRESH_S))
        await site_of(request)


async def _plain_answer(hub: Hub, request: Request, model: str | None) -> Response:
    chosen = model or await hub.gallery.plain_model()
    chunks = hub.gallery.plain_list(chosen)
    # The first chunk before the status: while the database is away the answer is 503, and no 200 that breaks off.
    first = await anext(chunks, None)
    headers = {"Vary": "Accept-Encoding"}
    pieces = _written(first, chunks)
    if takes_gzip(request):
        headers["Content-Encoding"] = "gzip"
        pieces = _packed(pieces)
    return StreamingResponse(pieces, headers=headers, media_type="application/json")


async def _written(first: Sequence[Item] | None, chunks: AsyncIterator[list[Item]]) -> AsyncIterator[bytes]:
    """The plain answer, piece by piece."""
    count = 0
    yield b'{"success":true,"embeddings":['
    if first is not None:
        count = len(first)
        yield await asyncio.to_thread(_plain_text, first)
        async for chunk in chunks:
            count += len(chunk)
            yield b"," + await asyncio.to_thread(_plain_text, chunk)
    yield b'],"message":"%d embeddings"}' % count


def _plain_text(items: Sequence[Item]) -> bytes:
    return b",".join(packed(one.to_plain()) for one in items)


async def _packed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    stream = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    async for piece in pieces:
        yield await asyncio.to_thread(stream.compress, piece)
    yield stream.flush()


@router.get("/sites", response_model=SeenSites)
async def seen_sites(site: Site, request: Request) -> Response:
    """Every site that ever read, when it was last seen, and how far it has read what the asking site sent."""
    hub = hub_of(request)
    heads = await hub.origins.heads()
    sites = [
        {
            "site": one["_id"],
            "seen_at": one["seen_at"],
            "confirmed": own_part(position_of(one["position"]), heads, site),
        }
        for one in await hub.sites()
    ]
    return json_response({"success": True, "sites": sites})


# --- writing ---------------------------------------------------------------------------------------------------------


@router.post("/sync-embeddings", response_model=Synced, openapi_extra=_BODY)
async def sync_embeddings(site: Site, request: Request) -> Response:
    """Store references; between our own ends also people, deletions and forgettings, as a batch that is published as a whole."""
    hub = hub_of(request)
    document, given = await document_with(request, "embeddings", hub.settings.max_body_bytes)
    if "origin" in document:
        return await _take_batch(hub, site, document, given)
    fit, refused = await asyncio.to_thread(_plain_items, given)
    count = await hub.plain.save(fit)
    hub.watch.tell()
    return stored_answer(count, refused)


async def _take_batch(hub: Hub, site: str, document: dict[str, Any], given: list[Any]) -> Response:
    batch = await asyncio.to_thread(batch_of, document, given, now_ms())
    pushed = await hub.gallery.push(site, batch)
    if pushed.fault is not None:
        raise fault_of(pushed.fault, pushed.seq, {"lineage": pushed.lineage} if pushed.fault == "gap" else {})
    hub.watch.tell()
    return stored_answer(len(batch.items), batch.refused, {"seq": pushed.seq})


def batch_of(document: dict[str, Any], given: list[Any], now: int) -> Batch:
    """A batch of our own. Raises UsageError. Pure."""
    origin, after, through = span_of(document)
    lineages = document.get("lineage"), document.get("next_lineage")
    for value in lineages:
        if value is not None and not (isinstance(value, str) and 0 < len(value) <= _MAX_LINEAGE_CHARACTERS):
            raise UsageError("lineage is no text", expected=f"1 to {_MAX_LINEAGE_CHARACTERS} characters, or null")
    lineage, next_lineage = lineages
    if next_lineage is None:
        raise UsageError("next_lineage is missing", expected="a new mark for each batch")
    items, refused = fit_items(given, origin, after, through, now)
    return Batch(origin, after, through, lineage, next_lineage, items, refused)


def _plain_items(given: list[Any]) -> tuple[list[PlainItem], list[Refused]]:
    fit: list[PlainItem] = []
    refused: list[Refused] = []
    for one in given:
        try:
            fit.append(plain_item_of(one))
        except Unfit as error:
            refused.append(refused_of(one, str(error)))
    return fit, refused
