"""Requests and answers: the status of the site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

from shared.errors import UsageError
from shared.ipc.requests.base import Answer, Done, Request
from shared.ipc.requests.gallery import GalleryInfo
from shared.status import SiteSnapshot


@dataclass(frozen=True, kw_only=True)
class SiteStatus(Answer):
    """`site`: the last status that the supervisor sent; None if it has not sent any."""

    site: SiteSnapshot | None
    gallery: GalleryInfo

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "site": None if self.site is None else self.site.to_json()}

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> Self:
        sent = document["site"]
        site = None if sent is None else SiteSnapshot.from_json(sent)
        return cls(site=site, gallery=GalleryInfo.from_json(document["gallery"]), warning=document.get("warning"))


@dataclass(frozen=True)
class Status(Request[SiteStatus]):
    op: ClassVar[str] = "status"
    answer: ClassVar[type[Any]] = SiteStatus


@dataclass(frozen=True)
class PutStatus(Request[Done]):
    """The status of the site, sent by the supervisor. Other processes may not send it."""

    op: ClassVar[str] = "put_status"
    answer: ClassVar[type[Any]] = Done
    status: SiteSnapshot

    def to_wire(self) -> tuple[dict[str, Any], bytes | memoryview]:
        return {"status": self.status.to_json()}, b""

    @classmethod
    def from_wire(cls, arguments: object, blob: bytes | memoryview) -> Self:  # noqa: ARG003  # it has no vectors
        try:
            return cls(SiteSnapshot.from_json(cast(Any, arguments)["status"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError("not a request of this operation", where=cls.op, got=type(error).__name__) from None
