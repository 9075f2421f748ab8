"""What batches of references and of sightings have in common: who sends them, their span, and how they are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends
from fastapi.responses import Response
from pydantic import BaseModel

from shared.errors import UsageError
from workers.hub.answers import No, json_response
from workers.hub.hub import site_of
from workers.hub.items import Refused
from workers.hub.positions import MAX_NUMBER, is_origin

Site = Annotated[str, Depends(site_of)]


class RefusedItem(BaseModel):
    """An item that was not stored, and why. It holds up no other."""

    id: str | None
    kind: str | None
    reason: str


def span_of(document: dict[str, Any]) -> tuple[str, int, int]:
    """Which of an origin's changes a batch has: after < seq <= through. Raises UsageError. Pure."""
    origin, after, through = document.get("origin"), document.get("after"), document.get("through")
    if not isinstance(origin, str) or not is_origin(origin):
        raise UsageError("origin is none", expected="11 characters of base64url")
    if type(after) is not int or type(through) is not int or not 0 <= after < through <= MAX_NUMBER:
        raise UsageError("after and through are no span", expected="whole numbers, 0 <= after < through < 2**53")
    return origin, after, through


def stored_answer(count: int, refused: Sequence[Refused], more: Mapping[str, Any] | None = None) -> Response:
    """The answer to what was stored. `more`: further fields."""
    message = f"{count} stored" + (f", {len(refused)} refused" if refused else "")
    shown = [one.to_json() for one in refused]
    return json_response({"success": True, "message": message, "count": count, **(more or {}), "refused": shown})


def fault_of(fault: str, seq: int, more: dict[str, Any] | None = None) -> No:
    """The answer to a batch that does not go on where the last one ended, or comes from a copy."""
    message = {
        "gap": "the hub does not have what came before: send from seq",
        "fork": "this store is a copy, or was restored, or its origin is another site's: take a new origin",
    }[fault]
    return No(HTTPStatus.CONFLICT, message, more={"seq": seq, "reason": fault, **(more or {})})
