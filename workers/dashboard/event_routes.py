"""Sightings: searched, judged, and streamed as they come."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.errors import RefusedError, TemporaryError
from shared.ipc.requests.corrections import Corrections, Judged, Right, UndoCorrection, Undone, Wrong
from shared.ipc.requests.sightings import FindCrop, FindSightings, Sightings
from shared.records import Correction, Role
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.event_stream import Stream
from workers.dashboard.site import API, Needs, site_of
from workers.serving.problems import all_taken, not_found

router = APIRouter(prefix=API, tags=["events"])
_MAX_PAGE = 1000
MAX_STREAMS = 300

Viewer = Annotated[Visitor, Depends(Needs(Role.VIEWER))]
Operator = Annotated[Visitor, Depends(Needs(Role.OPERATOR))]
EventId = Annotated[int, Path(ge=1, lt=1 << 53)]


class SightingsResponse(StreamingResponse):
    media_type = "text/event-stream"


class Wanted(BaseModel):
    """Which sightings are listed."""

    before: Annotated[int | None, Field(ge=1, lt=1 << 53)] = None
    after: Annotated[int, Field(ge=0, lt=1 << 53)] = 0
    person: Annotated[str | None, Field(max_length=300)] = None
    unknown: Annotated[str | None, Field(pattern=r"^stranger-\d{1,15}$")] = None
    camera: Annotated[list[str] | None, Field(max_length=256)] = None
    event: Annotated[list[str] | None, Field(max_length=32)] = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: Annotated[int, Field(ge=1, le=_MAX_PAGE)] = 100


class EventDocument(BaseModel):
    """A sighting, as `events --json` prints it. Fields and kinds of events are only ever added."""

    model_config = ConfigDict(extra="allow")

    id: int
    event: str
    time: str
    camera: str
    user_id: str | None = None
    media_time_s: float | None = None
    track: int | None = None
    person: str | None = None
    score: float | None = None
    margin: float | None = None
    confidence: float | None = None
    frames: int | None = None
    box: list[float] | None = None
    site: str | None = None
    crop: bool = False


class CropResponse(Response):
    media_type = "image/jpeg"


class EventsPage(BaseModel):
    """The newest first. `before`: give it for the next page; null: there is no more. A page may be short although there are more."""

    events: list[EventDocument]
    before: int | None


class Verdict(BaseModel):
    """`right`: the sighting shows the person; `learn`: and its face becomes a reference. `wrong`: it does not show them."""

    model_config = ConfigDict(extra="forbid")

    verdict: Literal["right", "wrong"]
    learn: bool = False


class CorrectionsPage(BaseModel):
    corrections: list[Correction]
    next: int | None


def _utc(time: datetime | None) -> str | None:
    """A time as sightings have it, so that the texts sort as the times do. Raises Problem for one beyond the calendar."""
    try:
        return None if time is None else f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    except (OverflowError, ValueError):
        raise RefusedError(
            "no time of this calendar", where="since, until", expected="like 2026-01-31T08:00:00Z"
        ) from None


def _cameras(visitor: Visitor, wanted: list[str] | None) -> list[str] | None:
    """The cameras whose sightings are shown; None: all."""
    if wanted is None:
        return visitor.access.cameras
    return [one for one in wanted if visitor.sees(one)]


@router.get("/events", response_model=EventsPage, response_model_exclude_unset=True)
async def list_events(visitor: Viewer, request: Request, wanted: Annotated[Wanted, Query()]) -> Any:
    """Sightings, newest first; only of a person or a stranger, of cameras, of kinds, of a time from `since` to before `until`."""
    find = FindSightings(
        wanted.before, wanted.after, wanted.person, _cameras(visitor, wanted.camera), wanted.event, wanted.limit,
        _utc(wanted.since), _utc(wanted.until), wanted.unknown,
    )  # fmt: skip
    found = await site_of(request).ask(find)
    return {"events": [visitor.document_of(one) for one in found.events], "before": found.before_id}


@router.get(
    "/events/{event_id}/crop",
    response_class=CropResponse,
    responses={HTTPStatus.NOT_MODIFIED: {"description": "It is the one that the program has"}},
)
async def crop(
    event_id: EventId,
    visitor: Viewer,
    request: Request,
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """The face that decided a sighting: a JPEG of at most 160 pixels a side. No browser keeps it: somebody may be forgotten meanwhile."""
    found = await site_of(request).ask(FindCrop(event_id))
    jpeg = found.picture
    if jpeg is None or found.camera is None or not visitor.sees(found.camera):
        raise not_found("picture of event", str(event_id))
    headers = {"ETag": f'"{hashlib.sha256(jpeg).hexdigest()[:32]}"', "Cache-Control": "private, no-store"}
    if if_none_match is not None and headers["ETag"] in if_none_match:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return CropResponse(jpeg, headers=headers)


@router.post("/events/{event_id}/verdict", response_model=Judged)
async def judge(event_id: EventId, given: Verdict, visitor: Operator, request: Request) -> Judged:
    """Judge a sighting. A wrong one withholds the face on every camera at once."""
    await _require_seen(visitor, request, event_id)
    if given.verdict == "right":
        return await site_of(request).ask(Right(event_id, given.learn))
    if given.learn:
        raise RefusedError("only a right sighting can be learned from", where="learn", got="true", expected="false")
    return await site_of(request).ask(Wrong(event_id))


@router.delete("/events/{event_id}/verdict", response_model=Undone)
async def undo_verdict(event_id: EventId, visitor: Operator, request: Request) -> Undone:
    """Take back what was judged of a sighting."""
    await _require_seen(visitor, request, event_id)
    return await site_of(request).ask(UndoCorrection(event_id))


async def _require_seen(visitor: Visitor, request: Request, event_id: int) -> None:
    """Raise Problem if the visitor does not see this sighting's camera."""
    if visitor.sees_all:
        return
    page = await site_of(request).ask(Sightings(event_id - 1, None, 1))
    if not page.events or page.events[0].id != event_id or not visitor.sees(page.events[0].camera):
        raise not_found("event", str(event_id))


@router.get("/corrections", response_model=CorrectionsPage)
async def list_corrections(
    visitor: Operator,
    request: Request,
    after: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
    limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = 100,
) -> CorrectionsPage:
    """What was judged of sightings."""
    found = (await site_of(request).ask(Corrections(after, limit))).corrections
    shown = [one for one in found if visitor.sees(one.camera)]
    return CorrectionsPage(corrections=shown, next=found[-1].sighting if len(found) == limit else None)


@router.get("/events/stream", response_class=SightingsResponse)
async def stream_events(
    visitor: Viewer,
    request: Request,
    after: Annotated[int | None, Query(ge=0, lt=1 << 53)] = None,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> SightingsResponse:
    """Sightings as they come (server-sent events). `id`: the sighting's; `event`: its kind; `data`: as in `events`.

    It begins after `Last-Event-ID`, or `after`; without them with the next sighting. Also `status` every 5 s, and `gap` where sightings
    that come after the given id are not kept any more.
    """
    site = site_of(request)
    if not site.feed.is_following:
        raise TemporaryError("the site's writer does not answer yet", remedy="try again, and see: supervisor.py status")
    if site.streams >= MAX_STREAMS:
        raise all_taken("Too many streams", f"{MAX_STREAMS} are open")
    begin = int(last_event_id) if last_event_id and last_event_id.isdecimal() else after
    return SightingsResponse(_counted(Stream(site, visitor, request, begin)))


async def _counted(stream: Stream) -> AsyncIterator[bytes]:
    site = stream.site
    site.streams += 1
    site.counters.streams.set(site.streams)
    try:
        async for one in stream:
            yield one
    finally:
        site.streams -= 1
        site.counters.streams.set(site.streams)
