"""People who were seen and are not enrolled."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel

from shared.ipc.requests.strangers import ForgetStranger, StrangerForgotten, Strangers
from shared.records import Role, Stranger
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.site import API, Needs, site_of
from workers.serving.problems import not_found

router = APIRouter(prefix=API, tags=["strangers"])

Operator = Annotated[Visitor, Depends(Needs(Role.OPERATOR))]
Admin = Annotated[Visitor, Depends(Needs(Role.ADMIN))]


class StrangersPage(BaseModel):
    """`next`: give it as `after` for the next page; null: there is no more."""

    strangers: list[Stranger]
    next: str | None


def _shown(visitor: Visitor, found: list[Stranger]) -> list[Stranger]:
    """Those strangers whom a camera saw that this visitor sees; of their cameras only those."""
    shown = [replace(one, cameras=[camera for camera in one.cameras if visitor.sees(camera)]) for one in found]
    return [one for one in shown if one.cameras or visitor.sees_all]


async def find_stranger(stranger_id: str, visitor: Visitor, request: Request) -> Stranger:
    """One stranger, as the visitor sees them. Raises Problem if there is none, or if no camera of theirs saw them."""
    found = _shown(visitor, (await site_of(request).ask(Strangers(id=stranger_id))).strangers)
    if not found:
        raise not_found("stranger", stranger_id)
    return found[0]


@router.get("/strangers", response_model=StrangersPage)
async def list_strangers(
    visitor: Operator, request: Request, after: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> StrangersPage:
    """Everybody who was seen and is not enrolled."""
    found = (await site_of(request).ask(Strangers(after=after, limit=limit))).strangers
    return StrangersPage(strangers=_shown(visitor, found), next=found[-1].id if len(found) == limit else None)


@router.get("/strangers/{stranger_id}", response_model=Stranger)
async def stranger(stranger_id: str, visitor: Operator, request: Request) -> Stranger:
    """One stranger."""
    return await find_stranger(stranger_id, visitor, request)


@router.delete("/strangers/{stranger_id}", response_model=StrangerForgotten)
async def forget_stranger(stranger_id: str, visitor: Admin, request: Request) -> StrangerForgotten:
    """Forget a stranger: pictures, templates, sightings. Can't be undone."""
    if not visitor.sees_all:
        await find_stranger(stranger_id, visitor, request)
    return await site_of(request).ask(ForgetStranger(stranger_id))
