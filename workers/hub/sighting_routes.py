"""Sightings of all sites."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from workers.hub.batches import RefusedItem, Site, fault_of, span_of, stored_answer
from workers.hub.bodies import document_with, packed_answer, takes_gzip
from workers.hub.hub import hub_of
from workers.hub.positions import MAX_NUMBER, position_of, position_text
from workers.hub.sightings import MAX_PAGE, SightingBatch, fit_sightings

router = APIRouter(tags=["sightings"])


class SightingsPage(BaseModel):
    """Sightings in each origin's order. `position`: after them. `more`: whether there are more."""

    success: bool
    sightings: list[dict[str, Any]]
    position: str
    more: bool


class Taken(BaseModel):
    """The answer to a batch of sightings. `seq`: how far its origin's sightings are published."""

    success: bool
    message: str
    count: int
    seq: int
    refused: list[RefusedItem] = []


_BODY = {
    "requestBody": {
        "required": True,
        "description": "All sightings of an origin with after < seq <= through. Content-Encoding gzip is taken.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["origin", "after", "through", "sightings"],
                    "properties": {
                        "origin": {"type": "string", "pattern": "^[A-Za-z0-9_-]{11}$"},
                        "after": {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER},
                        "through": {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER},
                        "sightings": {"type": "array", "items": {"type": "object"}},
                    },
                }
            }
        },
    }
}


@router.post("/sightings", response_model=Taken, openapi_extra=_BODY)
async def take_sightings(site: Site, request: Request) -> Response:
    """Store a batch of sightings. What is sent twice is there once."""
    hub = hub_of(request)
    document, given = await document_with(request, "sightings", hub.settings.max_body_bytes)
    origin, after, through = span_of(document)
    documents, refused = await asyncio.to_thread(fit_sightings, given, site, origin, after, through)
    seq, fault = await hub.sightings.push(site, SightingBatch(origin, after, through, documents, refused))
    if fault is not None:
        raise fault_of(fault, seq)
    return stored_answer(len(documents), refused, {"seq": seq})


@router.get("/sightings", response_model=SightingsPage)
async def list_sightings(  # the parameters of the wire
    _: Site,
    request: Request,
    after: Annotated[str, Query(description="the position of the last page; empty: from the beginning")] = "",
    person: Annotated[str | None, Query(max_length=200)] = None,
    site: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
) -> Response:
    """Who was where: sightings of all sites, after a position."""
    hub = hub_of(request)
    query = {name: value for name, value in (("person", person), ("site", site)) if value is not None}
    heads = await hub.origins.heads()
    page = await hub.sightings.page(heads.sightings, position_of(after), query, limit)
    document = {
        "success": True,
        "sightings": page.sightings,
        "position": position_text(page.position),
        "more": page.more,
    }
    body, headers = await packed_answer(document, with_gzip=takes_gzip(request))
    return Response(body, headers=headers, media_type="application/json")
