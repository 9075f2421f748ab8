"""Photos handed in: judged before anything is stored, recognised, enrolled; and crops of somebody who stands before a camera."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import RefusedError
from shared.ipc import desk
from shared.ipc.requests.people import People
from shared.ipc.requests.references import References
from shared.records import Person, Role
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.live_routes import CameraName, require_camera
from workers.dashboard.live_views import Watching
from workers.dashboard.people_routes import ReferenceId, person_of
from workers.dashboard.photo_routes import kept_path
from workers.dashboard.site import API, Needs, Site, site_of
from workers.dashboard.uploads import MAX_PHOTOS, MAX_UPLOAD_BYTES, PHOTO, Form, form_of, unfit
from workers.serving.problems import Problem, all_taken, not_found

# The form is bounded as it is taken, photo by photo (uploads.py), so that a refusal says which one; this limit is never met before.
router = APIRouter(prefix=API, tags=["enrolment"], max_body_size=2 * MAX_UPLOAD_BYTES)
others = APIRouter(prefix=API, tags=["enrolment"])
_MAX_UPLOADS = 4  # requests with photos that are taken at once
_MAX_NAME = 300
_CAPTURE_S = 15.0
_WHOLE = 1  # the divisor of a frame's sides
_CLEARLY_NEAREST = 2.0  # times the area of the next face, as in a photo
_NUMBER = r"-?\d{1,6}(?:\.\d{1,3})?"
_BOX = re.compile(rf"{_NUMBER}(?:,{_NUMBER}){{3}}")

Operator = Annotated[Visitor, Depends(Needs(Role.OPERATOR))]


class AssessedPhotos(BaseModel):
    """In the order of the photos."""

    photos: list[desk.AssessedPhoto]


class IdentifiedPhotos(BaseModel):
    """In the order of the photos; each as an entry of `identify --json`, without its path."""

    photos: list[dict[str, Any]]


class PhotoOutcome(BaseModel):
    """`enrolled`: it is a reference now. `unchanged`: it was one before; `set_aside`: and is set aside. `fault`: why it was refused."""

    enrolled: bool
    unchanged: bool
    set_aside: bool
    fault: desk.PhotoFault | None


class Enrolled(BaseModel):
    """`photos`: in the order in which they were sent."""

    person: Person
    photos: list[PhotoOutcome]
    warning: str | None = None


class CaptureWanted(BaseModel):
    """`person`: the id of whose photos the crops are to become, if they are enrolled. `seconds`: how long to look at most."""

    model_config = ConfigDict(extra="forbid")

    person: Annotated[str | None, Field(max_length=64)] = None
    seconds: Annotated[float, Field(ge=1, le=_CAPTURE_S)] = _CAPTURE_S


def _body(**fields: str) -> dict[str, Any]:
    """How a form is described. `fields`: each with what it means; `box` comes once for each photo."""
    photo = {"type": "string", "contentMediaType": "image/*"}
    described: dict[str, Any] = {
        PHOTO: {
            "type": "array",
            "items": photo,
            "minItems": 1,
            "maxItems": MAX_PHOTOS,
            "description": "JPEG, PNG, HEIC …",
        }
    }
    for name, text in fields.items():
        one = {"type": "string", "maxLength": _MAX_NAME, **({"minLength": 1} if name == "name" else {})}
        boxes = {"type": "array", "items": {"type": "string", "pattern": f"^(?:{_BOX.pattern})?$"}}
        described[name] = {**(boxes if name == "box" else one), "description": text}
    schema = {
        "type": "object",
        "properties": described,
        "required": [PHOTO, *(["name"] if "name" in fields else [])],
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


_WHICH = "which face, for each photo: x1,y1,x2,y2 as `assess` tells it, or empty for the one that counts"


@asynccontextmanager
async def _form(request: Request, *known: str) -> AsyncIterator[Form]:
    site = site_of(request)
    if site.uploads >= _MAX_UPLOADS:
        raise all_taken("Too many uploads", f"{_MAX_UPLOADS} are being taken")
    site.uploads += 1
    try:
        async with form_of(request, site.settings.run_dir, known) as form:
            yield form
    finally:
        site.uploads -= 1


@router.post(
    "/assess",
    response_model=AssessedPhotos,
    openapi_extra=_body(person="the id of whose photos they are to become, if they are enrolled"),
)
async def assess(_: Operator, request: Request) -> AssessedPhotos:
    """What photos are good for, as references: their faces, the parts of each one's quality, whom it looks like. Stores nothing."""
    site = site_of(request)
    async with _form(request, "person") as form:
        person = await _person_named(form.one("person"), request)
        asked = desk.Assess(person)
        return AssessedPhotos(photos=[await site.desk.ask(asked, photo.fileno()) for photo in form.photos])


@router.post("/identify", response_model=IdentifiedPhotos, openapi_extra=_body())
async def identify(_: Operator, request: Request) -> IdentifiedPhotos:
    """Who is in photos."""
    site = site_of(request)
    async with _form(request) as form:
        answers = [await site.desk.ask(desk.Identify(), photo.fileno()) for photo in form.photos]
    return IdentifiedPhotos(photos=[{k: v for k, v in one.photo.items() if k != "path"} for one in answers])


@router.post(
    "/people",
    response_model=Enrolled,
    status_code=HTTPStatus.CREATED,
    openapi_extra=_body(name="the new person's name", user_id="the person's id in your own systems", box=_WHICH),
)
async def enrol_new(_: Operator, request: Request) -> Enrolled:
    """Enrol somebody new from photos. They are recognised on every camera at once."""
    async with _form(request, "name", "user_id", "box") as form:
        name = form.one("name") or ""
        if not 0 < len(name) <= _MAX_NAME:
            raise unfit("name", f"1 to {_MAX_NAME} characters", len(name))
        user_id = (form.one("user_id") or "").strip() or None
        if user_id is not None and len(user_id) > _MAX_NAME:
            raise unfit("user_id", f"at most {_MAX_NAME} characters", len(user_id))
        return await _enrol(request, form, name, user_id, is_new=True)


@router.post(
    "/people/{person_id}/references",
    response_model=Enrolled,
    status_code=HTTPStatus.CREATED,
    openapi_extra=_body(box=_WHICH),
)
async def enrol_more(person_id: str, _: Operator, request: Request) -> Enrolled:
    """Enrol further photos of a person."""
    known = await person_of(request, person_id)
    async with _form(request, "box") as form:
        return await _enrol(request, form, known.person, known.user_id, is_new=False)


async def _enrol(request: Request, form: Form, name: str, user_id: str | None, *, is_new: bool) -> Enrolled:
    site, boxes = site_of(request), _boxes(form)
    answers: list[desk.PhotoEnrolled] = []
    for photo, box in zip(form.photos, boxes, strict=True):
        # Once one of the photos is a reference, the name is not new any more.
        first = is_new and all(one.fault is not None for one in answers)
        answers.append(await site.desk.ask(desk.Enrol(name, user_id, box, first), photo.fileno()))
    if all(one.fault is not None for one in answers):
        faults = [
            {"pointer": f"/body/{PHOTO}/{at}", **_given(one.fault)} for at, one in enumerate(answers) if one.fault
        ]
        raise Problem(
            HTTPStatus.CONFLICT, "refused", "The site refuses this", detail=str(faults[0]["what"]), errors=faults
        )
    person = await _person_of_name(site, answers[-1].person)
    warnings = [one.warning for one in answers if one.warning]
    return Enrolled(
        person=person,
        photos=[
            PhotoOutcome(
                enrolled=one.fault is None and not one.unchanged,
                unchanged=one.unchanged,
                set_aside=one.set_aside,
                fault=one.fault,
            )
            for one in answers
        ],
        warning="; ".join(dict.fromkeys(warnings)) or None,
    )


async def _person_of_name(site: Site, name: str) -> Person:
    found = (await site.ask(People(name=name, limit=1))).people
    if not found:
        raise RefusedError("somebody else has removed that person meanwhile", where=name)
    return found[0]


def _given(fault: desk.PhotoFault) -> dict[str, str]:
    return {name: value for name, value in asdict(fault).items() if value}


def _boxes(form: Form) -> list[list[float] | None]:
    texts = form.fields.get("box", [])
    if not texts:
        return [None] * len(form.photos)
    if any(text and not _BOX.fullmatch(text) for text in texts):
        raise unfit("box", "x1,y1,x2,y2 in pixels, or empty")
    if len(texts) != len(form.photos):
        raise RefusedError(
            "not as many boxes as photos", where="box", got=len(texts), expected="one for each photo, or none at all"
        )
    return [[float(side) for side in text.split(",")] if text else None for text in texts]


async def _person_named(person_id: str | None, request: Request) -> str | None:
    return None if not person_id else (await person_of(request, person_id)).person


@others.get(
    "/people/{person_id}/references/{reference}/quality",
    response_model=desk.AssessedPhoto,
)
async def quality(person_id: str, reference: ReferenceId, _: Operator, request: Request) -> desk.AssessedPhoto:
    """What a reference is good for, judged now from the photo that is kept of it: as `assess` judges a photo."""
    site, known = site_of(request), await person_of(request, person_id)
    found = (await site.ask(References(known.person, reference - 1, 1))).references
    path = kept_path(site, found[0]) if found and found[0].id == reference else None
    if path is None:
        raise not_found("reference with a photo", str(reference))
    try:
        photo = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        raise not_found("photo of the reference", str(reference)) from error
    with photo:
        return await site.desk.ask(desk.Assess(known.person), photo.fileno())


# --- at a camera ----------------------------------------------------------------------------------------------------


@others.post("/cameras/{camera}/capture", response_model=desk.Captured)
async def capture(camera: CameraName, wanted: CaptureWanted, visitor: Operator, request: Request) -> desk.Captured:
    """The best crops, at most five, of the one person who stands before a camera now; the answer comes when there are enough, or when the
    time is over. Each with what it is good for. Nothing is stored: a crop is enrolled like a photo. The camera waits for nothing."""
    site = site_of(request)
    await require_camera(camera, visitor, request)
    person = await _person_named(wanted.person, request)
    if camera in site.captures:
        raise all_taken("The camera is being used", "somebody else enrols at this camera now")
    site.captures.add(camera)
    key = secrets.token_hex(8)
    try:
        with site.live.watch([(camera, _WHOLE)]) as watching:
            missed = await _look(site, watching, key, time.monotonic() + wanted.seconds)
    finally:
        site.captures.discard(camera)
        found = await site.desk.ask(desk.Capture(key, person))
    if not found.crops:
        raise _nothing_captured(camera, Counter(found.refused), missed)
    return found


async def _look(site: Site, watching: Watching, key: str, until: float) -> Counter[str]:
    """Offer frames until there are enough crops, or the time is over. Returns why frames were not offered."""
    missed: Counter[str] = Counter()
    while (wait_s := until - time.monotonic()) > 0 and not site.stopping:
        await watching.wait(wait_s)
        for shot in watching.news():
            tracks = shot.view.tracks if shot.view else []
            box = _nearest_box([one.box for one in tracks])
            if box is None:
                missed["camera" if shot.view is None else "several" if tracks else "nobody"] += 1
                continue
            looked = await site.desk.ask(desk.Look(key, [float(side) for side in box]), data=shot.jpeg)
            if looked.enough:
                return missed
    return missed


def _nearest_box(boxes: Sequence[Sequence[int]]) -> Sequence[int] | None:
    """The box of the one face, or of the one that is clearly the nearest; None if there is none."""
    by_area = sorted(((box[2] - box[0]) * (box[3] - box[1]), at) for at, box in enumerate(boxes))
    if not by_area or (len(by_area) > 1 and by_area[-1][0] < _CLEARLY_NEAREST * by_area[-2][0]):
        return None
    return boxes[by_area[-1][1]]


_WHY = {
    "camera": ("the camera gives no picture", "see its state under Cameras"),
    "nobody": ("nobody is in view", "stand before the camera, and look at it"),
    "several": ("several people are in view", "only the person who is to be enrolled may be in view"),
    "face": ("the face was not found again", "stand still for a moment"),
    "size": ("the face is too small", "come nearer"),
    "detector": ("it is hardly a face", "look at the camera, with nothing before the face"),
    "pose": ("the head is turned away", "look at the camera"),
    "sharpness": ("the face is blurred", "stand still for a moment"),
    "brightness": ("the face is too dark or too bright", "stand where the light is even"),
}


def _nothing_captured(camera: str, refused: Counter[str], missed: Counter[str]) -> Problem:
    counted = (refused + missed).most_common()
    faults = [
        {"what": _WHY[why][0], "where": camera, "got": f"{count} pictures", "remedy": _WHY[why][1]}
        for why, count in counted
        if why in _WHY
    ]
    detail = str(faults[0]["what"]) if faults else "the camera gave no picture in this time"
    return Problem(HTTPStatus.CONFLICT, "refused", "The site refuses this", detail=detail, errors=faults)
