"""People and their references: list, rename, merge, set aside, forget."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from shared.ipc.requests.forgetting import Forget, Forgotten
from shared.ipc.requests.people import Merge, People, Rename, Renamed, UndoPeople
from shared.ipc.requests.references import BringBack, MarkReference, References, ReferenceState, SetAside
from shared.records import PeopleChange, Person, Reference, Role
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
    """`next`: give it as `after` for the next page; null: there is no more. `last_change`: what `/people/undo` takes back."""

    people: list[Person]
    last_change: PeopleChange | None
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


class ChangeToUndo(BaseModel):
    """The rename or merge by which who was called `before` is called `person`."""

    model_config = ConfigDict(extra="forbid")

    before: Name
    person: Name


class ReferenceChange(BaseModel):
    """`set_aside`: the reason for which it is set aside; null: bring it back."""

    model_config = ConfigDict(extra="forbid")

    set_aside: Annotated[str, Field(min_length=1, max_length=200)] | None


class ReferenceMark(BaseModel):
    """`right`: the reference is right, although it disagrees with its person; false: take that back."""

    model_config = ConfigDict(extra="forbid")

    right: bool


async def person_of(request: Request, person_id: str) -> Person:
    found = (await site_of(request).ask(People(id=person_id, limit=1))).people
    if not found:
        raise not_found("person", person_id)
    return found[0]


@router.get("/people", response_model=PeoplePage)
async def list_people(_: Operator, request: Request, after: str | None = None, limit: Limit = 100) -> PeoplePage:
    """Everybody who is enrolled, by name."""
    page = await site_of(request).ask(People(after, limit))
    following = page.people[-1].person if len(page.people) == limit else None
    return PeoplePage(people=page.people, last_change=page.last_change, next=following)


@router.get("/people/{person_id}", response_model=Person)
async def person(person_id: str, _: Operator, request: Request) -> Person:
    """One person."""
    return await person_of(request, person_id)


@router.patch("/people/{person_id}", response_model=Renamed)
async def rename(person_id: str, given: PersonChange, _: Operator, request: Request) -> Renamed:
    """Give a person another name. Can be undone."""
    known = await person_of(request, person_id)
    return await site_of(request).ask(Rename(known.person, given.name))


@router.post("/people/{person_id}/merge", response_model=Renamed)
async def merge(person_id: str, given: MergeInto, _: Operator, request: Request) -> Renamed:
    """Make two people one. Can be undone."""
    known, into = await person_of(request, person_id), await person_of(request, given.into)
    return await site_of(request).ask(Merge(known.person, into.person))


@router.post("/people/undo", response_model=Renamed)
async def undo(_: Operator, request: Request, given: ChangeToUndo | None = None) -> Renamed:
    """Take back a renaming or merging; without a body, the last one."""
    wanted = UndoPeople() if given is None else UndoPeople(given.before, given.person)
    return await site_of(request).ask(wanted)


@router.delete("/people/{person_id}", response_model=Forgotten)
async def forget(person_id: str, _: Admin, request: Request) -> Forgotten:
    """Forget a person: references, photos, sightings, corrections. Can't be undone."""
    known = await person_of(request, person_id)
    return await site_of(request).ask(Forget(known.person))


@router.get("/people/{person_id}/references", response_model=ReferencesPage)
async def references(
    person_id: str, _: Operator, request: Request, after: int | None = None, limit: Limit = 100
) -> ReferencesPage:
    """A person's references, also those that are set aside."""
    known = await person_of(request, person_id)
    found = (await site_of(request).ask(References(known.person, after, limit))).references
    return ReferencesPage(references=found, next=found[-1].id if len(found) == limit else None)


@router.patch("/people/{person_id}/references/{reference}", response_model=ReferenceState)
async def change_reference(
    person_id: str, reference: ReferenceId, given: ReferenceChange | ReferenceMark, _: Operator, request: Request
) -> ReferenceState:
    """Set a reference aside, or bring it back; say that it is right, or take that back."""
    site, known = site_of(request), await person_of(request, person_id)
    if isinstance(given, ReferenceMark):
        return await site.ask(MarkReference(known.person, str(reference), given.right))
    if given.set_aside is None:
        return await site.ask(BringBack(known.person, str(reference)))
    return await site.ask(SetAside(known.person, str(reference), given.set_aside))


@router.delete("/people/{person_id}/references/{reference}", response_model=Forgotten, status_code=HTTPStatus.OK)
async def forget_reference(person_id: str, reference: ReferenceId, _: Admin, request: Request) -> Forgotten:
    """Forget one reference and its photo. Can't be undone."""
    site, known = site_of(request), await person_of(request, person_id)
    found = (await site.ask(References(known.person, reference - 1, 1))).references
    if not found or found[0].id != reference or found[0].image_path is None:
        raise not_found("reference with a photo", str(reference))
    return await site.ask(Forget(known.person, found[0].image_path))
