"""Requests and answers: sightings, recorded and read."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from shared.events import Sighting
from shared.ipc.requests.base import Answer, Request


@dataclass(frozen=True, kw_only=True)
class Recorded(Answer):
    """`recorded`: how many events were new. `refused`: the reason for each event that was refused."""

    recorded: int
    refused: list[str]

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> Self:
        """By hand: a camera reads it, and has no pydantic (base.py)."""
        recorded, refused, warning = document["recorded"], document["refused"], document.get("warning")
        if type(recorded) is not int or not isinstance(warning, str | None):
            raise TypeError
        if not isinstance(refused, list) or not all(isinstance(reason, str) for reason in refused):
            raise TypeError
        return cls(recorded=recorded, refused=refused, warning=warning)


@dataclass(frozen=True)
class Record(Request[Recorded]):
    """Store events, given as JSON documents. Each is checked by itself, so that a bad event does not affect the others."""

    op: ClassVar[str] = "record"
    answer: ClassVar[type[Any]] = Recorded
    events: list[Any]


@dataclass(frozen=True, kw_only=True)
class SightingsPage(Answer):
    """`last_id`: the highest id that any sighting was ever given."""

    events: list[Sighting]
    last_id: int

    def to_json(self) -> dict[str, Any]:
        return {"events": [one.to_json() for one in self.events], "last_id": self.last_id}

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> Self:
        return cls(events=[Sighting.from_json(one) for one in document["events"]], last_id=int(document["last_id"]))


@dataclass(frozen=True)
class Sightings(Request[SightingsPage]):
    """List sightings, oldest first: at most `limit`, with id > `after_id` and time >= `since` (ISO 8601, UTC)."""

    op: ClassVar[str] = "events"
    answer: ClassVar[type[Any]] = SightingsPage
    after_id: int = 0
    since: str | None = None
    limit: int = 1000


@dataclass(frozen=True, kw_only=True)
class SightingsFound(Answer):
    """`before_id`: ask with this for what comes next; None: there is no more."""

    events: list[Sighting]
    before_id: int | None

    def to_json(self) -> dict[str, Any]:
        return {"events": [one.to_json() for one in self.events], "before_id": self.before_id}

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> Self:
        before_id = document["before_id"]
        return cls(
            events=[Sighting.from_json(one) for one in document["events"]],
            before_id=None if before_id is None else int(before_id),
        )


@dataclass(frozen=True)
class FindSightings(Request[SightingsFound]):
    """Find sightings, newest first: at most `limit`, with id < `before_id` and id > `after_id`. Only of this `person` or of the stranger with
    the id `unknown`, of these `cameras`, of these `kinds`, and
    with `since` <= time < `until` (ISO 8601, UTC), where they are given. A page may be shorter than `limit` although there
    are more."""

    op: ClassVar[str] = "find_events"
    answer: ClassVar[type[Any]] = SightingsFound
    before_id: int | None = None
    after_id: int = 0
    person: str | None = None
    cameras: list[str] | None = None
    kinds: list[str] | None = None
    limit: int = 100
    since: str | None = None
    until: str | None = None
    unknown: str | None = None


@dataclass(frozen=True, kw_only=True)
class CropFound(Answer):
    """`camera`: the sighting's. `jpeg`: the picture of the face that decided it, in base64. Both None: none is kept."""

    camera: str | None
    jpeg: str | None

    @property
    def picture(self) -> bytes | None:
        return None if self.jpeg is None else base64.b64decode(self.jpeg)


@dataclass(frozen=True)
class FindCrop(Request[CropFound]):
    """The picture of the face that decided a sighting."""

    op: ClassVar[str] = "find_crop"
    answer: ClassVar[type[Any]] = CropFound
    sighting: int


@dataclass(frozen=True)
class Follow(Request[SightingsPage]):
    """Follow sightings: first those stored after `after_id`, then new ones as they come. The connection can't be used for anything else."""

    op: ClassVar[str] = "follow"
    answer: ClassVar[type[Any]] = SightingsPage
    after_id: int = 0
