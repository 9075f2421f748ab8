"""The cameras: how each of them is, what to do about where it hangs, and a test of one that is to be added."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from shared.records import Role
from shared.settings.sources import Tls, Transport
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.placement import placement_of
from workers.dashboard.settings_routes import Admin
from workers.dashboard.site import API, Needs, site_of
from workers.dashboard.source_test import open_source
from workers.serving.problems import all_taken, too_often

router = APIRouter(prefix=API, tags=["cameras"])
Viewer = Annotated[Visitor, Depends(Needs(Role.VIEWER))]


class NewSource(BaseModel):
    """A source to test, as it would be in the settings. With *** for its secrets if it is that of `camera`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    source: Annotated[str, Field(min_length=1, max_length=4096, repr=False)]
    tls: Tls = "verify"
    transport: Transport = "tcp"
    camera: Annotated[str, Field(max_length=200)] | None = None


class TestedSource(BaseModel):
    """What the source gave. `fps`: frames a second; null: single pictures. `faces`: boxes [x1, y1, x2, y2] in pixels of the whole picture; null
    if they could not be looked for: `faces_fault` says why. `picture`: a JPEG of at most 960 pixels width, as base64."""

    width: int
    height: int
    fps: float | None
    codec: str
    faces: list[list[int]] | None
    faces_fault: str | None
    picture_type: Literal["image/jpeg"]
    picture: str


@router.get("/cameras")
async def cameras(visitor: Viewer, request: Request) -> dict[str, Any]:
    """The cameras and their state, as in `status`, and advice from the faces that each saw lately. Without their addresses."""
    site = (await site_of(request).status()).site
    found = {} if site is None else site.cameras
    return {
        "cameras": [
            {
                "name": name,
                "word": one.word,
                **{key: value for key, value in asdict(one).items() if key != "source"},
                "placement": asdict(placement_of(one)),
            }
            for name, one in found.items()
            if visitor.sees(name)
        ]
    }


@router.post("/cameras/test", response_model=TestedSource)
async def test(given: NewSource, _: Admin, request: Request) -> TestedSource:
    """Open a source once, in a process of its own: the first picture, its size, rate and codec, and the faces in it. Only cameras of the
    network; twelve a minute. Changes nothing."""
    site, now = site_of(request), time.monotonic()
    if wait_s := site.source_tests.wait_s("all", now):
        raise too_often(wait_s)
    if site.testing.locked():
        raise all_taken("Another camera is being tested", "try again in some seconds")
    site.source_tests.note("all", now)
    async with site.testing:
        wanted = await asyncio.to_thread(
            site.settings_desk.source_to_test, given.source, given.camera, given.tls, given.transport
        )
        tested = await open_source(wanted)
    return TestedSource(
        width=tested.width,
        height=tested.height,
        fps=tested.fps,
        codec=tested.codec,
        faces=tested.faces,
        faces_fault=tested.faces_fault,
        picture_type="image/jpeg",
        picture=base64.b64encode(tested.jpeg).decode(),
    )
