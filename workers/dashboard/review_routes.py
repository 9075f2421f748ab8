"""The review: strangers and uncertain sightings, one after another, and what somebody decides about them."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import RefusedError
from shared.ipc import desk
from shared.ipc.requests.people import People
from shared.ipc.requests.review import Decided, HeedStranger, IgnoreStranger, MarkDifferent, Review, UndoDifferent
from shared.records import Person, Role, Stranger
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.event_routes import EventDocument
from workers.dashboard.people_routes import MergeInto, Name, person_of
from workers.dashboard.photo_routes import PhotoResponse, small_photo
from workers.dashboard.site import API, Needs, site_of
from workers.dashboard.stranger_routes import find_stranger
from workers.serving.problems import not_found

router = APIRouter(prefix=API, tags=["review"])
_NONE: dict[int | str, dict[str, Any]] = {HTTPStatus.NO_CONTENT: {"description": "No picture is kept"}}

Operator = Annotated[Visitor, Depends(Needs(Role.OPERATOR))]


class ReviewItem(BaseModel):
    """Either `stranger` or `event`, an uncertain sighting. `person`: whom the face resembles most, with the cosine `score`; null: nobody.
    `reference`: that person's most similar photo; null: none is kept."""

    stranger: Stranger | None
    event: EventDocument | None
    person: Person | None
    score: float | None
    reference: int | None


class ReviewList(BaseModel):
    """The nearest misses first. There is no next page: what is decided does not come again."""

    items: list[ReviewItem]


class NewPerson(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    user_id: Annotated[str | None, Field(max_length=300)] = None


class Different(BaseModel):
    """`person`: the id of the person who this one is not."""

    model_config = ConfigDict(extra="forbid")

    person: Annotated[str, Field(max_length=64)]


@router.get("/review", response_model=ReviewList, response_model_exclude_unset=True)
async def review(visitor: Operator, request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 50) -> Any:
    """What is left to decide: strangers, and sightings that nearly named somebody. Each beside the person whom it resembles most."""
    found = await site_of(request).ask(Review(limit, visitor.access.cameras))
    items = []
    for one in found.items:
        stranger = one.stranger
        if stranger is not None and not visitor.sees_all:
            stranger = replace(stranger, cameras=[camera for camera in stranger.cameras if visitor.sees(camera)])
        beside = {"person": one.person, "score": one.score, "reference": one.reference}
        items.append({"stranger": stranger, "event": one.event, **beside})
    return {"items": items}


@router.get("/strangers/{stranger_id}/photo", response_class=PhotoResponse, responses=_NONE)
async def photo(
    stranger_id: str, visitor: Operator, request: Request, number: Annotated[int, Query(ge=0, le=9)] = 0
) -> Response:
    """A picture of a stranger, at most 320 pixels a side. `number`: 0 is the best one."""
    site, found = site_of(request), await find_stranger(stranger_id, visitor, request)
    data_dir = site.settings.data_dir
    path = (data_dir / found.photos[number]).resolve() if number < len(found.photos) else None
    if path is not None and not path.is_relative_to((data_dir / "strangers").resolve()):
        path = None  # somebody else may have written the database
    return await small_photo(site, path)


@router.post("/strangers/{stranger_id}/name", response_model=desk.StrangerEnrolled)
async def name(stranger_id: str, given: NewPerson, visitor: Operator, request: Request) -> desk.StrangerEnrolled:
    """Enrol a stranger as somebody new: the pictures become references, the sightings become theirs."""
    site, found = site_of(request), await find_stranger(stranger_id, visitor, request)
    if (await site.ask(People(name=given.name, limit=1))).people:
        raise RefusedError(
            "somebody of that name is enrolled already", where=given.name, remedy="merge the stranger into that person"
        )
    return await site.desk.ask(desk.EnrolStranger(found.id, given.name, given.user_id))


@router.post("/strangers/{stranger_id}/merge", response_model=desk.StrangerEnrolled)
async def merge(stranger_id: str, given: MergeInto, visitor: Operator, request: Request) -> desk.StrangerEnrolled:
    """The stranger is a person who is enrolled: the pictures become further references, the sightings become theirs."""
    site, found = site_of(request), await find_stranger(stranger_id, visitor, request)
    into = await person_of(request, given.into)
    return await site.desk.ask(desk.EnrolStranger(found.id, into.person, into.user_id))


@router.post("/strangers/{stranger_id}/different", response_model=Decided)
async def different(stranger_id: str, given: Different, visitor: Operator, request: Request) -> Decided:
    """The stranger is not this person: the two are not proposed as one again."""
    found, person = await _both(stranger_id, given.person, visitor, request)
    return await site_of(request).ask(MarkDifferent(person, found.id))


@router.delete("/strangers/{stranger_id}/different/{person_id}", response_model=Decided)
async def undo_different(stranger_id: str, person_id: str, visitor: Operator, request: Request) -> Decided:
    """Take back that the stranger is not this person."""
    found, person = await _both(stranger_id, person_id, visitor, request)
    return await site_of(request).ask(UndoDifferent(person, found.id))


@router.post("/strangers/{stranger_id}/ignore", response_model=Decided)
async def ignore(stranger_id: str, visitor: Operator, request: Request) -> Decided:
    """Let a stranger not come up in the review again. They are kept, and can be forgotten, as before."""
    found = await find_stranger(stranger_id, visitor, request)
    return await site_of(request).ask(IgnoreStranger(found.id))


@router.delete("/strangers/{stranger_id}/ignore", response_model=Decided)
async def heed(stranger_id: str, visitor: Operator, request: Request) -> Decided:
    """Let a stranger come up again who was ignored."""
    found = await find_stranger(stranger_id, visitor, request)
    return await site_of(request).ask(HeedStranger(found.id))


async def _both(stranger_id: str, person_id: str, visitor: Visitor, request: Request) -> tuple[Stranger, str]:
    """The stranger, and the person's id. Raises Problem if there is none."""
    found, person = await find_stranger(stranger_id, visitor, request), await person_of(request, person_id)
    if person.id is None:
        raise not_found("person", person_id)
    return found, person.id
