"""The state of the site: for people, for monitors, for whoever restarts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from shared.errors import RollcallError
from shared.ipc.requests.site import SiteStatus
from shared.process.program import version
from shared.records import Role
from shared.status import ChildState
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.metrics import exposition
from workers.dashboard.site import API, Needs, shown_secret, site_of, visitor_of
from workers.serving.callers import caller_of
from workers.serving.problems import described, not_allowed

api = APIRouter(prefix=API, tags=["site"])
health = APIRouter(tags=["health"])
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Operator = Annotated[Visitor, Depends(Needs(Role.OPERATOR))]


@api.get("/status")
async def status(visitor: Operator, request: Request) -> dict[str, Any]:
    """The state of every process and of the gallery, as `status --json` prints it. Only of the cameras that the visitor sees."""
    found = await site_of(request).status()
    if found.site is not None and not visitor.sees_all:
        seen = {name: one for name, one in found.site.cameras.items() if visitor.sees(name)}
        found = replace(found, site=replace(found.site, cameras=seen))
    return found.to_json()


@health.head("/livez", include_in_schema=False)
@health.get("/livez", response_class=PlainTextResponse)
async def livez() -> str:
    """Whether this process answers. Nobody needs to be signed in."""
    return "alive\n"


@health.head("/readyz", include_in_schema=False)
@health.get(
    "/readyz",
    response_class=PlainTextResponse,
    responses={
        HTTPStatus.OK: {"description": "It does its work", "content": {"application/json": {}, "text/plain": {}}},
        HTTPStatus.SERVICE_UNAVAILABLE: {
            "description": "It does not",
            "content": {"application/json": {}, "text/plain": {}},
        },
        **described(HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
async def readyz(request: Request, verbose: bool = False) -> Response:
    """Whether the site does its work: 200, or 503 if the gallery is not published, the writer does not run, or a camera gives no frames.

    `verbose`: says which; somebody must be signed in for that.
    """
    found = await _readiness(request)
    is_ready = all(found.values())
    code = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    if verbose:
        visitor = await visitor_of(request)
        seen = {name: is_well for name, is_well in found.items() if _is_shown(name, visitor)}
        return JSONResponse({"ready": is_ready, "checks": seen}, status_code=code)
    missing = sorted({name.partition(":")[0] for name, is_well in found.items() if not is_well})
    return PlainTextResponse(f"not ready: {', '.join(missing)}\n" if missing else "ready\n", status_code=code)


def _is_shown(check: str, visitor: Visitor) -> bool:
    kind, _, name = check.partition(":")
    return kind != "camera" or visitor.sees(name)


async def _readiness(request: Request) -> Mapping[str, bool]:
    try:
        found = await site_of(request).status()
    except RollcallError:
        return {"writer": False}
    return checks_of(found)


def checks_of(found: SiteStatus) -> dict[str, bool]:
    """What must be well, by name: the writer, the gallery, the start, and each camera. An ended file is well."""
    site, gallery = found.site, found.gallery
    checks = {"writer": True, "gallery": gallery.generation is not None and gallery.nothing_stored is None}
    if site is None:
        return {**checks, "site": False}
    cameras = {
        f"camera:{name}": one.up or one.state in (ChildState.ENDED, ChildState.STOPPED)
        for name, one in site.cameras.items()
    }
    return {**checks, "site": site.ready, **cameras}


@health.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=described(
        HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE
    ),
)
async def metrics(request: Request) -> Response:
    """The metrics for Prometheus. To programs of this machine, or with a token for all cameras."""
    if shown_secret(request) is not None:
        if not (await visitor_of(request)).sees_all:
            raise not_allowed("the metrics need a token for all cameras")
    elif not caller_of(request).is_local:
        raise not_allowed("from another machine, or through a proxy, the metrics need a token")
    site = site_of(request)
    text = exposition(await site.status(), site.settings, site.counters, version())
    return Response(text, media_type=_METRICS_TYPE)
