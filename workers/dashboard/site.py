"""What the routes share: the connection to the site, who is let in, the feed of sightings, the counters."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, cast

from fastapi import Request
from starlette.types import Scope

from shared.ipc.requests import base
from shared.ipc.requests.base import Answer_co
from shared.ipc.requests.site import SiteStatus, Status
from shared.records import Role
from shared.settings.schema import Settings
from workers.dashboard.counters import Counters
from workers.dashboard.doorkeeper import Doorkeeper, Visitor
from workers.dashboard.jobs import Jobs
from workers.dashboard.live_views import LiveViews
from workers.dashboard.photo_desk import PhotoDesk
from workers.dashboard.settings_desk import SettingsDesk
from workers.dashboard.sighting_feed import SightingFeed
from workers.dashboard.worklist import WorklistKeeper
from workers.dashboard.writer_link import WriterLink
from workers.serving.brake import Brake
from workers.serving.callers import caller_of
from workers.serving.problems import not_allowed, not_signed_in, too_often

API = "/api/v1"
COOKIE = "rollcall"
SECRET_PATHS = ("/session", "/tokens")  # their answers hold a secret
SECURE_COOKIE = "__Host-rollcall"  # browsers take such a cookie over TLS only, for this host only
# Five tries to sign in a minute for each address, and so many requests with a wrong token.
_STATUS_S = 1.0  # how old a status may be
_STATUS_WAIT_S = 5.0  # whoever watches the site gives up soon after
_SCRYPTS = 2  # passwords that are compared at once: each takes a core for 50 ms, and 16 MiB
_DECODERS = 2  # photos that are made small at once
_LOGINS, _WRONG_TOKENS, _WITHIN_S = 5, 60, 60.0
_SOURCE_TESTS = 12  # in the same time: each opens a connection and takes a core for seconds


@dataclass
class Site:
    """The site as the web process sees it."""

    settings: Settings
    writer: WriterLink
    doorkeeper: Doorkeeper
    feed: SightingFeed
    counters: Counters
    live: LiveViews
    desk: PhotoDesk
    stopping: bool = False
    streams: int = 0
    uploads: int = 0

    def __post_init__(self) -> None:
        self.logins = Brake(_LOGINS, _WITHIN_S)
        self.wrong_tokens = Brake(_WRONG_TOKENS, _WITHIN_S)
        self._status: SiteStatus | None = None
        self._status_until = 0.0
        self._status_lock = asyncio.Lock()
        self.settings_desk = SettingsDesk(self.settings)
        self.testing, self.source_tests = asyncio.Semaphore(1), Brake(_SOURCE_TESTS, _WITHIN_S)
        self.settings_work = asyncio.Semaphore(1)
        self.decoding = asyncio.Semaphore(_DECODERS)
        self.captures: set[str] = set()  # cameras at which somebody is being enrolled
        self.scrypt = asyncio.Semaphore(_SCRYPTS)
        self.side_work = asyncio.Semaphore(1)  # commands that run beside this process, one at a time
        self.jobs = Jobs()
        self.worklist = WorklistKeeper(self.settings)
        self.models: Any = None  # the answer of `models --json`
        self.models_until = 0.0

    async def status(self) -> SiteStatus:
        """The status of the site, at most a second old, however many ask. Raises RollcallError.

        That the writer is away is remembered by its link, so those who wait for their turn do not wait again.
        """
        async with self._status_lock:
            if self._status is None or time.monotonic() >= self._status_until:
                self._status = await self.writer.ask(Status(), _STATUS_WAIT_S)
                self._status_until = time.monotonic() + _STATUS_S
            return self._status

    async def ask(self, request: base.Request[Answer_co]) -> Answer_co:
        """Ask the writer. Raises RollcallError."""
        return await self.writer.ask(request)


def site_of(request: Request) -> Site:
    return cast(Site, request.app.state.site)


def shown_secret(request: Request) -> str | None:
    """The secret that a request shows: a program's token, or a browser's cookie."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    name = SECURE_COOKIE if caller_of(request).is_secure else COOKIE
    return request.cookies.get(name)


async def is_let_in(site: Site, scope: Scope) -> bool:
    """Whether whoever sends this request is signed in."""
    secret = shown_secret(Request(scope))
    return secret is not None and await site.doorkeeper.visitor(secret) is not None


class Needs:
    """A dependency: the visitor, who must have at least this role. Raises Problem."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, request: Request) -> Visitor:
        visitor = await visitor_of(request)
        if not visitor.may(self.role):
            raise not_allowed(f"this needs the role {self.role}; yours is {visitor.access.role}")
        return visitor


async def visitor_of(request: Request) -> Visitor:
    """Who sends this request. Raises Problem if nobody is signed in, or if the address showed too many wrong secrets."""
    site, address, now = site_of(request), caller_of(request).address, time.monotonic()
    secret = shown_secret(request)
    if secret is None:
        raise not_signed_in()
    wait_s = site.wrong_tokens.wait_s(address, now)
    # Whoever is known goes on: behind one address there can be many, and one of them guesses.
    if wait_s and not site.doorkeeper.knows(secret):
        raise too_often(wait_s)
    visitor = await site.doorkeeper.visitor(secret)
    if visitor is None:
        site.wrong_tokens.note(address, now)
        raise not_signed_in()
    return visitor
