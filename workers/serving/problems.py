"""Errors as HTTP answers: RFC 9457, with what our errors have: where, got, expected, remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

from shared.errors import ConfigurationError, FaultList, RefusedError, RollcallError, TemporaryError, UsageError

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_S = 2
# Each kind of error: its name in `type`, the status, the title.
_KINDS: tuple[tuple[type[RollcallError], str, HTTPStatus, str], ...] = (
    (UsageError, "not-understood", HTTPStatus.BAD_REQUEST, "The request is not understood"),
    (RefusedError, "refused", HTTPStatus.CONFLICT, "The site refuses this"),
    (TemporaryError, "not-now", HTTPStatus.SERVICE_UNAVAILABLE, "The site can't do this now"),
    (ConfigurationError, "misconfigured", HTTPStatus.INTERNAL_SERVER_ERROR, "The site's settings are at fault"),
    (RollcallError, "fault", HTTPStatus.INTERNAL_SERVER_ERROR, "A fault in Rollcall"),
)


class Fault(BaseModel):
    """One fault: what is wrong, where, what was found, what was expected, and the remedy. `pointer`: the place in the request."""

    what: str | None = None
    where: str | None = None
    pointer: str | None = None
    got: str | int | float | None = None
    expected: str | None = None
    remedy: str | None = None


class ProblemDocument(BaseModel):
    """RFC 9457. `type` stays the same for programs; `instance` is the number under which the log has the request. `values`: those of
    `detail`, for programs that have a text of their own for this type."""

    type: str
    title: str
    status: int
    detail: str | None = None
    values: dict[str, str | int | float] | None = None
    instance: str
    errors: list[Fault] | None = None


def described(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """These statuses as FastAPI describes answers: each is a problem."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
    return {int(one): {"description": one.phrase, "content": {MEDIA_TYPE: schema}} for one in statuses}


class Problem(Exception):  # RFC 9457's word
    """An answer that is a problem. `kind`: a word of letters and "-", which stays the same for programs."""

    def __init__(
        self,
        status: HTTPStatus,
        kind: str,
        title: str,
        *,
        detail: str | None = None,
        values: Mapping[str, str | int | float] | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(title)
        self.status, self.kind, self.title = status, kind, title
        self.detail, self.values, self.errors, self.headers = detail, values, errors, headers

    def response(self, request_id: str) -> JSONResponse:
        """The answer. `request_id`: the number under which the log has this request."""
        document = {
            "type": f"urn:rollcall:problem:{self.kind}",
            "title": self.title,
            "status": int(self.status),
            "detail": self.detail,
            "values": None if self.values is None else dict(self.values),
            "instance": f"urn:rollcall:request:{request_id}",
            "errors": list(self.errors) or None,
        }
        given = {name: value for name, value in document.items() if value is not None}
        return JSONResponse(given, status_code=self.status, headers=dict(self.headers or {}), media_type=MEDIA_TYPE)


def all_taken(title: str, detail: str) -> Problem:
    """The answer where everything of a kind that can be open is open: it may be asked again soon."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-now", title, detail=detail, headers={"Retry-After": "5"})


def busy(detail: str) -> Problem:
    """The answer where something is being done that only one can do at a time."""
    return Problem(HTTPStatus.CONFLICT, "busy", "The site is busy with that", detail=detail)


def problem_of(error: RollcallError) -> Problem:
    """An error of ours as a problem."""
    faults = error.faults if isinstance(error, FaultList) else [error]
    kind, status, title = next((kind, status, title) for of, kind, status, title in _KINDS if isinstance(error, of))
    headers = {"Retry-After": str(_RETRY_AFTER_S)} if status is HTTPStatus.SERVICE_UNAVAILABLE else None
    return Problem(
        status, kind, title, detail=faults[0].what, errors=[fault_parts(one) for one in faults], headers=headers
    )


def fault_parts(error: RollcallError) -> dict[str, Any]:
    """One error as a fault of a problem."""
    parts = {
        "what": error.what,
        "where": error.where,
        "got": error.got,
        "expected": error.expected,
        "remedy": error.remedy,
    }
    return {
        name: value if isinstance(value, (str, int, float)) else repr(value)
        for name, value in parts.items()
        if value not in (None, "")
    }


def not_found(what: str, got: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "not-found", "There is no such thing", detail=f"no {what} {got[:80]!r}")


def too_often(wait_s: float) -> Problem:
    wait = max(1, round(wait_s))
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too-often",
        "Too many tries",
        detail=f"try again in {wait} s",
        values={"seconds": wait},
        headers={"Retry-After": str(wait)},
    )


def not_signed_in() -> Problem:
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "not-signed-in",
        "Nobody is signed in",
        detail="sign in with a link (python supervisor.py web login), or send a token",
        headers={"WWW-Authenticate": 'Bearer realm="rollcall"'},
    )


def not_allowed(detail: str) -> Problem:
    return Problem(HTTPStatus.FORBIDDEN, "not-allowed", "This is not allowed", detail=detail)
