"""The application: all routes, how faults are answered, the pages."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from shared.errors import RollcallError
from shared.process.program import version
from workers.dashboard import (
    about_routes,
    calibrate_routes,
    camera_routes,
    enrol_routes,
    event_routes,
    job_routes,
    live_routes,
    people_routes,
    photo_routes,
    review_routes,
    session_routes,
    settings_routes,
    site_routes,
    stranger_routes,
    worklist_routes,
)
from workers.dashboard.site import Site
from workers.serving.gate import request_id_of
from workers.serving.problems import Problem, ProblemDocument, described, problem_of

PAGES = Path(__file__).with_name("static")
MAX_BODY_BYTES = 64 << 10  # of each connection, and nobody has to be signed in to send one
_MAX_FAULTS = 20
_ROUTES = (
    session_routes.router,
    worklist_routes.router,  # before the people: "worklist" is nobody's id
    people_routes.router,
    enrol_routes.router,
    enrol_routes.others,
    photo_routes.router,
    stranger_routes.router,
    review_routes.router,
    event_routes.router,
    live_routes.router,
    settings_routes.router,
    camera_routes.router,
    site_routes.api,
    about_routes.router,
    job_routes.router,
    calibrate_routes.router,
)
_PROBLEMS = described(
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_, _definitions = models_json_schema([(ProblemDocument, "serialization")], ref_template="#/components/schemas/{model}")
_PROBLEM_SCHEMAS: dict[str, Any] = _definitions["$defs"]


def described_application(base_path: str) -> FastAPI:
    """All routes of the API, and nothing behind them. `base_path`: as in [web]."""
    app = FastAPI(
        title="Rollcall",
        version=version(),
        summary="Who is in front of the site's cameras.",
        docs_url=None,
        redoc_url=None,
        root_path=base_path,
        root_path_in_servers=False,
        max_body_size=MAX_BODY_BYTES,
    )
    for routes in _ROUTES:
        app.include_router(routes, responses=_PROBLEMS)
    app.include_router(site_routes.health)
    described_by = app.openapi

    def with_problems() -> dict[str, Any]:
        document = described_by()
        document["components"]["schemas"] |= _PROBLEM_SCHEMAS
        return document

    app.openapi = with_problems  # type: ignore[method-assign]  # FastAPI's documented way to extend the description
    return app


def application(site: Site) -> FastAPI:
    """The application of one site."""
    app = described_application(site.settings.web.base_path)
    app.state.site = site
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(RollcallError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_unfit)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_bug)

    @app.get("/", include_in_schema=False)
    @app.get("/login", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGES / "index.html")

    app.mount("/static", StaticFiles(directory=PAGES), name="static")
    return app


async def _answer_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response(request_id_of(request))


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RollcallError)
    return problem_of(error).response(request_id_of(request))


async def _answer_unfit(request: Request, error: Exception) -> Response:
    """A request that does not fit its description: every fault with its place, and without the values."""
    assert isinstance(error, RequestValidationError)
    faults = [
        {"pointer": "/" + "/".join(map(str, one["loc"])), "expected": str(one["msg"])[:200]}
        for one in error.errors()[:_MAX_FAULTS]
    ]
    problem = Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "unfit", "The request does not fit its description", errors=faults
    )
    return problem.response(request_id_of(request))


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    kind = status.phrase.lower().replace(" ", "-")
    return Problem(status, kind, status.phrase, headers=error.headers).response(request_id_of(request))


async def _answer_bug(request: Request, _: Exception) -> Response:
    """A fault of ours. The gate logs it."""
    problem = Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "fault", "A fault in Rollcall", detail="see the journal; please report it"
    )
    return problem.response(request_id_of(request))
