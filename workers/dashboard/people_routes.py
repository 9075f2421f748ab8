"""People and their references: list, rename, merge, set aside, forget."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from shared.ipc import requests
from shared.records import Person, Reference, Role
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.site import API, Needs, site_of
from workers.serving.problems import not_found

router = APIRouter(prefix=API, tags=["people"])
_MAX_PAGE = 1000

Viewer = Annotated[Visitor, Depends(Needs(Role.VIEWER))]
Operator = Annotated[Visitor, Depends(Needs(Role.OPERATOR))]
Admin = Annotated[Visitor, Depends(Needs(Role.ADMIN))]
Limit = Annotated[int, Query(ge=1, le=_MAX_PAGE)]
ReferenceId = Annotated[int, Path(gt=-(1 << 53), lt=1 << 53)]  # old databases have ids below 0
Name = Annotated[str, Field(min_length=1, max_length=300)]


class PeoplePage(BaseModel):
    """`next`: give it as `after` for the next page; null: there is no more."""

    people: list[Person]
    next: str | None


class ReferencesPage(BaseModel):
    references: list[Reference]
    next: int | None


class PersonChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name


class MergeInto(BaseModel):
    """`into`: the id of the person who stays."""

    model_config = ConfigDict(extra="forbid")

    into: Annotated[str, Field(max_length=64)]


class ReferenceChange(BaseModel):
    """`set_aside`: the reason for which it is set aside; null: bring it back."""

    model_config = ConfigDict(extra="forbid")

    set_aside: Annotated[str, Field(min_length=1, max_length=200)] | None


class ReferenceMark(BaseModel):
    """`right`: the reference is right, although it disagrees with its person; false: take that back."""

    model_config = ConfigDict(extra="forbid")

    right: bool


async def person_of(request: Request, person_id: str) -> Person:
    found = (await site_of(request).ask(requests.People(id=person_id, limit=1))).people
    if not found:
        raise not_found("person", person_id)
    return found[0]


@router.get("/people", response_model=PeoplePage)
async def list_people(_: Operator, request: Request, after: str | None = None, limit: Limit = 100) -> PeoplePage:
    """Everybody who is enrolled, by name."""
    people = (await site_of(request).ask(requests.People(after, limit))).people
    return PeoplePage(people=people, next=people[-1].person if len(people) == limit else None)


@router.get("/people/{person_id}", response_model=Person)
async def person(person_id: str, _: Operator, request: Request) -> Person:
    """One person."""
    return await person_of(request, person_id)


@router.patch("/people/{person_id}", response_model=requests.Renamed)
async def rename(person_id: str, given: PersonChange, _: Operator, request: Request) -> requests.Renamed:
    """Give a person another name. Can be undone."""
    known = await person_of(request, person_id)
    return await site_of(request).ask(requests.Rename(known.person, given.name))


@router.post("/people/{person_id}/merge", response_model=requests.Renamed)
async def merge(person_id: str, given: MergeInto, _: Operator, request: Request) -> requests.Renamed:
    """Make two people one. Can be undone."""
    known, into = await person_of(request, person_id), await person_of(request, given.into)
    return await site_of(request).ask(requests.Merge(known.person, into.person))


@router.post("/people/undo", response_model=requests.Renamed)
async def undo(_: Operator, request: Request) -> requests.Renamed:
    """Take back the last renaming or merging."""
    return await site_of(request).ask(requests.UndoPeople())


@router.delete("/people/{person_id}", response_model=requests.Forgotten)
async def forget(person_id: str, _: Admin, request: Request) -> requests.Forgotten:
    """Forget a person: references, photos, sightings, corrections. Can't be undone."""
    known = await person_of(request, person_id)
    return await site_of(request).ask(requests.Forget(known.person))


@router.get("/people/{person_id}/references", response_model=ReferencesPage)
async def references(
    person_id: str, _: Operator, request: Request, after: int | None = None, limit: Limit = 100
) -> ReferencesPage:
    """A person's references, also those that are set aside."""
    known = await person_of(request, person_id)
    found = (await site_of(request).ask(requests.References(known.person, after, limit))).references
    return ReferencesPage(references=found, next=found[-1].id if len(found) == limit else None)


@router.patch("/people/{person_id}/references/{reference}", response_model=requests.ReferenceState)
async def change_reference(
    person_id: str, reference: ReferenceId, given: ReferenceChange | ReferenceMark, _: Operator, request: Request
) -> requests.ReferenceState:
    """Set a reference aside, or bring it back; say that it is right, or take that back."""
    site, known = site_of(request), await person_of(request, person_id)
    if isinstance(given, ReferenceMark):
        return await site.ask(requests.MarkReference(known.person, str(reference), given.right))
    if given.set_aside is None:
        return await site.ask(requests.BringBack(known.person, str(reference)))
    return await site.ask(requests.SetAside(known.person, str(reference), given.set_aside))


@router.delete(
    "/people/{person_id}/references/{reference}", response_model=requests.Forgotten, status_code=HTTPStatus.OK
)
async def forget_reference(person_id: str, reference: ReferenceId, _: Admin, request: Request) -> requests.Forgotten:
    """Forget one reference and its photo. Can't be undone."""
    site, known = site_of(request), await person_of(request, person_id)
    found = (await site.ask(requests.References(known.person, reference - 1, 1))).references
    if not found or found[0].id != reference or found[0].image_path is None:
        raise not_found("reference with a photo", str(reference))
    return await site.ask(requests.Forget(known.person, found[0].image_path))
