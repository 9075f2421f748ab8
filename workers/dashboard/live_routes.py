"""What the cameras see now: one stream for a wall, and pictures for other programs."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from enum import IntEnum
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from shared.errors import RollcallError, TemporaryError
from shared.ipc.view import NO_FRAME_S
from shared.records import Role
from shared.settings.schema import CAMERA_NAME
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.live_views import MAX_VIEWERS, NOTHING
from workers.dashboard.site import API, Needs, Site, site_of, visitor_of
from workers.serving.problems import Problem, all_taken, not_found

router = APIRouter(prefix=API, tags=["live"])
_MAX_CAMERAS = 64
_CHECK_S = 5.0  # how often a stream asks whether its viewer is still let in; silence is never longer
_CAMERA = CAMERA_NAME.pattern
_WANTED = re.compile(rf"({_CAMERA})(?::([1248]))?")
_BOUNDARY = "rollcall-frame"

Viewer = Annotated[Visitor, Depends(Needs(Role.VIEWER))]
CameraName = Annotated[str, Path(pattern=rf"^{_CAMERA}$")]


class Divide(IntEnum):
    """By this the width and the height of a frame are divided."""

    WHOLE = 1
    LARGE = 2
    WALL = 4
    SMALL = 8


class LiveResponse(StreamingResponse):
    media_type = "application/octet-stream"


class MotionResponse(StreamingResponse):
    media_type = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"


class FrameResponse(Response):
    media_type = "image/jpeg"


@router.get("/live", response_class=LiveResponse)
async def live(
    visitor: Viewer, request: Request, cameras: Annotated[str | None, Query(max_length=5000)] = None
) -> LiveResponse:
    """The newest frames of several cameras in one stream, without end. `cameras`: as in `entrance:4,yard:2`, each with the divisor of its
    size; without it all in small.

    For each frame: the length of the head and of the JPEG (uint32, little endian), the head as JSON, the JPEG. The head has the camera, the
    time, the size of the whole frame, and the faces that are followed. Without a `number` the camera gives no picture now; without a
    `camera` the stream only goes on. Whoever reads slowly gets fewer frames, and always the newest.
    """
    site = site_of(request)
    known = await _cameras(visitor, request)
    wanted = [(name, int(Divide.WALL)) for name in known] if cameras is None else _wanted(cameras)
    for name, _ in wanted:
        if name not in known:
            raise not_found("camera", name)
    _require_place(site)
    return LiveResponse(_live(site, request, wanted))


def _wanted(text: str) -> list[tuple[str, int]]:
    found = [_WANTED.fullmatch(one) for one in text.split(",")]
    named = [(one[1], int(one[2] or Divide.WALL)) for one in found if one is not None]
    if len(named) < len(found) or len(named) > _MAX_CAMERAS:
        raise _unfit("cameras", f"at most {_MAX_CAMERAS} names with sizes, like entrance:4,yard:2")
    return named


def _unfit(name: str, expected: str) -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "unfit",
        "The request does not fit its description",
        errors=[{"pointer": f"/query/{name}", "expected": expected}],
    )


async def _cameras(visitor: Visitor, request: Request) -> list[str]:
    """The cameras that the visitor sees."""
    found = (await site_of(request).status()).site
    return [name for name in found.cameras if visitor.sees(name)] if found else []


def _require_place(site: Site) -> None:
    if site.live.viewers >= MAX_VIEWERS:
        raise all_taken("Too many viewers", f"{MAX_VIEWERS} look on")


async def _live(site: Site, request: Request, wanted: list[tuple[str, int]]) -> AsyncIterator[bytes]:
    with site.live.watch(wanted) as watching:
        site.counters.viewers.set(site.live.viewers)
        try:
            check_at = time.monotonic() + _CHECK_S
            while not site.stopping:
                for shot in watching.news():
                    yield shot.packed()
                if time.monotonic() >= check_at:
                    check_at = time.monotonic() + _CHECK_S
                    if not await _is_let_in(request):
                        return
                    yield NOTHING
                await watching.wait(max(0.0, check_at - time.monotonic()))
        finally:
            site.counters.viewers.set(site.live.viewers - 1)


async def _is_let_in(request: Request) -> bool:
    try:
        await visitor_of(request)
    except Problem:
        return False
    except RollcallError:  # the writer is being replaced: nobody is shut out for that
        return True
    return True


async def require_camera(camera: str, visitor: Visitor, request: Request) -> None:
    """Raise Problem if the visitor sees no such camera, or if too many look on."""
    if camera not in await _cameras(visitor, request):
        raise not_found("camera", camera)
    _require_place(site_of(request))


@router.get("/cameras/{camera}/frame.jpg", response_class=FrameResponse)
async def frame(camera: CameraName, visitor: Viewer, request: Request, divide: Divide = Divide.WHOLE) -> FrameResponse:
    """The camera's newest frame."""
    await require_camera(camera, visitor, request)
    until = time.monotonic() + NO_FRAME_S
    with site_of(request).live.watch([(camera, divide)]) as watching:
        while (wait_s := until - time.monotonic()) > 0:
            await watching.wait(wait_s)
            for shot in watching.news():
                if shot.view is not None:
                    return FrameResponse(shot.jpeg, headers={"Cache-Control": "private, no-store"})
    raise TemporaryError("the camera gives no frames", where=camera, remedy="see: supervisor.py status")


@router.get("/cameras/{camera}/stream.mjpeg", response_class=MotionResponse)
async def stream(
    camera: CameraName, visitor: Viewer, request: Request, divide: Divide = Divide.LARGE
) -> MotionResponse:
    """The camera's frames, at most five a second, as programs like Home Assistant and VLC read them (multipart, JPEG). Without end."""
    await require_camera(camera, visitor, request)
    return MotionResponse(_motion(site_of(request), request, camera, divide))


async def _motion(site: Site, request: Request, camera: str, divide: int) -> AsyncIterator[bytes]:
    with site.live.watch([(camera, divide)]) as watching:
        check_at = time.monotonic() + _CHECK_S
        while not site.stopping:
            for shot in watching.news():
                if shot.view is not None:
                    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(shot.jpeg)}\r\n\r\n"
                    yield head.encode() + shot.jpeg + b"\r\n"
            if time.monotonic() >= check_at:
                check_at = time.monotonic() + _CHECK_S
                if not await _is_let_in(request):
                    return
            await watching.wait(max(0.0, check_at - time.monotonic()))
