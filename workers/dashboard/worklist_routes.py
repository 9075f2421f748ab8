"""What is worth a look among the people: who look like one, photos that disagree, who has one picture only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from shared.ipc.requests.references import FindReferences
from shared.ipc.requests.review import Decided, MarkDifferent, UndoDifferent
from shared.records import Role
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.people_routes import person_of
from workers.dashboard.review_routes import Different
from workers.dashboard.site import API, Needs, site_of
from workers.dashboard.worklist import WorklistPage, page_of
from workers.serving.problems import not_found

router = APIRouter(prefix=API, tags=["people"])

Operator = Annotated[Visitor, Depends(Needs(Role.OPERATOR))]


@router.get("/worklist", response_model=WorklistPage)
async def worklist(_: Operator, request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 50) -> WorklistPage:
    """What is worth a look. Found beside the site, and kept until the people change: the answer comes at once, with what is known."""
    site = site_of(request)
    keeper, found = site.worklist, site.worklist.found
    known = await site.ask(FindReferences([] if found is None else found.ids))
    page = page_of(found, known, limit=limit, looking=False, fault=keeper.fault)
    used_up = found is not None and found.is_used_up(page, known)
    page.looking = keeper.refresh(known.change_number, used_up=used_up)
    return page


@router.post("/people/{person_id}/different", response_model=Decided)
async def different(person_id: str, given: Different, _: Operator, request: Request) -> Decided:
    """The two are not one person: they are not proposed as one again."""
    one, other = await _id_of(person_id, request), await _id_of(given.person, request)
    return await site_of(request).ask(MarkDifferent(one, other=other))


@router.delete("/people/{person_id}/different/{other_id}", response_model=Decided)
async def undo_different(person_id: str, other_id: str, _: Operator, request: Request) -> Decided:
    """Take back that the two are not one person."""
    one, other = await _id_of(person_id, request), await _id_of(other_id, request)
    return await site_of(request).ask(UndoDifferent(one, other=other))


async def _id_of(person_id: str, request: Request) -> str:
    person = await person_of(request, person_id)
    if person.id is None:
        raise not_found("person", person_id)
    return person.id
