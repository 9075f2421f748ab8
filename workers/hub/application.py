"""The application of the hub: all routes, and how faults are answered."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException

from shared.errors import RollcallError
from shared.process.program import version
from workers.hub import face_routes, sighting_routes
from workers.hub.answers import RETRY_AFTER_S, No, json_response, no_for
from workers.hub.database import database_fault
from workers.hub.hub import Hub, hub_of

_log = logging.getLogger("backend")
health = APIRouter(tags=["health"])


class Health(BaseModel):
    """`status`: "ok", or what is not."""

    success: bool
    status: str


class Failure(BaseModel):
    """What every refusal has. A batch that can't be taken also has `reason` ("gap" or "fork") and `seq`."""

    success: bool
    message: str


_REFUSALS: dict[int | str, dict[str, Any]] = {
    int(status): {"model": Failure, "description": status.phrase}
    for status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
}


@health.get("/health", response_model=Health, responses={503: {"model": Health}})
async def is_healthy(request: Request) -> Response:
    """Whether the hub can work. Says nothing of who is stored."""
    try:
        await hub_of(request).database.ping()
    except (PyMongoError, TimeoutError):
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        document = {"success": False, "status": "the database does not answer"}
        return json_response(document, HTTPStatus.SERVICE_UNAVAILABLE, headers)
    return json_response({"success": True, "status": "ok"})


def described_application() -> FastAPI:
    """All routes, and nothing behind them."""
    app = FastAPI(
        title="Rollcall's hub",
        version=version(),
        summary="Sites exchange references, deletions and sightings.",
        docs_url=None,
        redoc_url=None,
    )
    for routes in (face_routes.router, sighting_routes.router):
        app.include_router(routes, prefix="/api", responses=_REFUSALS)
    app.include_router(health, prefix="/api")
    return app


def application(hub: Hub) -> FastAPI:
    """The application of one backend process."""
    app = described_application()
    app.state.hub = hub
    app.add_exception_handler(No, _answer_no)
    app.add_exception_handler(RollcallError, _answer_error)
    app.add_exception_handler(PyMongoError, _answer_database)
    app.add_exception_handler(TimeoutError, _answer_database)
    app.add_exception_handler(RequestValidationError, _answer_unfit)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_bug)
    return app


async def _answer_no(_: Request, error: Exception) -> Response:
    assert isinstance(error, No)
    return error.response()


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RollcallError)
    answer = no_for(error)
    if answer.status is HTTPStatus.SERVICE_UNAVAILABLE:
        _log.warning("%s", error.line())
    return answer.response()


async def _answer_database(request: Request, error: Exception) -> Response:
    fault = database_fault(error, hub_of(request).database.hosts)
    _log.warning("%s", fault.line())
    return no_for(fault).response()


async def _answer_unfit(_: Request, error: Exception) -> Response:
    """Parameters that do not fit: the first fault with its place, and without the value."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return No(HTTPStatus.BAD_REQUEST, f"{place}: {str(first['msg'])[:200]}").response()


async def _answer_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    return No(status, status.phrase.lower(), headers=error.headers).response()


async def _answer_bug(_: Request, __: Exception) -> Response:
    """A fault of ours. The gate logs it."""
    return No(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault in Rollcall; see the journal of the hub").response()
