"""How the hub says no: {"success": false, "message": one sentence}, with the right status. Every client understands this form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import Response

from shared.errors import RefusedError, RollcallError, TemporaryError, UsageError

RETRY_AFTER_S = 2
_STATUS = (
    (UsageError, HTTPStatus.BAD_REQUEST),
    (RefusedError, HTTPStatus.CONFLICT),
    (TemporaryError, HTTPStatus.SERVICE_UNAVAILABLE),
)


class No(Exception):
    """An answer that says no. `more`: further fields."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        more: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.more, self.headers = status, message, more or {}, headers or {}

    def response(self) -> Response:
        document = {"success": False, "message": self.message, **self.more}
        return json_response(document, self.status, self.headers)


def json_response(
    document: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON document without spaces."""
    return Response(packed(document), status, dict(headers or {}), media_type="application/json")


def packed(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def no_for(error: RollcallError) -> No:
    """An error of ours as an answer. Faults of this machine's settings are not the caller's business: the log has them."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.SERVICE_UNAVAILABLE)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        return No(status, "the hub can't do this now; try again", headers={"Retry-After": str(RETRY_AFTER_S)})
    return No(status, error.line())
