"""Signing in and out, and who else may come in."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import RefusedError
from shared.ipc.requests.accesses import Accesses, AddAccess, FindAccess, RevokeAccess, UseLink
from shared.records import Access, AccessKind, Role
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.site import API, COOKIE, SECURE_COOKIE, Needs, site_of
from workers.serving.callers import caller_of
from workers.serving.problems import Problem, not_allowed, not_found, too_often
from workers.serving.secrets import NewSecret, fits_password, new_secret, read_secret

router = APIRouter(prefix=API, tags=["session"])
_DAY_S = 86400.0
_PASSWORD_SESSION_S = 7 * _DAY_S

Viewer = Annotated[Visitor, Depends(Needs(Role.VIEWER))]
Admin = Annotated[Visitor, Depends(Needs(Role.ADMIN))]


class SignInWithLink(BaseModel):
    """`code`: what follows the # in the link's address."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    code: Annotated[str, Field(max_length=200, repr=False)]


class SignInWithPassword(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, Field(max_length=64)]
    password: Annotated[str, Field(max_length=1024, repr=False)]


SignIn = SignInWithLink | SignInWithPassword


class Me(BaseModel):
    """Who is signed in. `cameras`: those that they see; null: all."""

    role: Role
    label: str
    cameras: list[str] | None
    expires_at: str | None


class NewToken(BaseModel):
    """A token for a program. `days`: how long it is valid. `cameras`: those that it sees; null: all."""

    model_config = ConfigDict(extra="forbid")

    label: Annotated[str, Field(min_length=1, max_length=200)]
    role: Role = Role.VIEWER
    days: Annotated[float, Field(gt=0, le=3650)] = 365
    cameras: Annotated[list[str], Field(max_length=256)] | None = None


class MadeToken(BaseModel):
    """`token`: shown this once."""

    token: str
    access: Access


class AccessPage(BaseModel):
    accesses: list[Access]


@router.post("/session", response_model=Me)
async def sign_in(given: SignIn, request: Request, response: Response) -> Me:
    """Sign in with the code of a link, or with name and password. The answer sets the cookie of the session.

    An address can try five times a minute. A try that succeeds counts, too: whoever has a password of their own must not guess others'.
    """
    site, caller, now = site_of(request), caller_of(request), time.monotonic()
    if wait_s := site.logins.wait_s(caller.address, now):
        raise too_often(wait_s)
    site.logins.note(caller.address, now)
    session = new_secret()
    try:
        access = await _signed_in(given, request, session)
    except Problem:
        site.counters.login_failures.inc()
        raise
    response.set_cookie(
        SECURE_COOKIE if caller.is_secure else COOKIE,
        session.shown,
        max_age=_seconds_until(access),
        path=_cookie_path(request),
        secure=caller.is_secure,
        httponly=True,
        samesite="strict",
    )
    return _me(access)


async def _signed_in(given: SignIn, request: Request, session: NewSecret) -> Access:
    site = site_of(request)
    if isinstance(given, SignInWithLink):
        shown = read_secret(given.code)
        if shown is None:
            raise not_allowed("this is no code of a link")
        try:
            return (await site.ask(UseLink(shown.id, shown.hash, session.id, session.hash))).access
        except RefusedError as error:
            raise not_allowed(f"{error.what}; {error.remedy}") from error
    found = await site.ask(FindAccess(given.name))
    known = found.secret if found.access is not None and found.access.kind is AccessKind.PASSWORD else None
    async with site.scrypt:
        fits = await asyncio.to_thread(fits_password, known, given.password)
    if not fits or found.access is None:
        raise not_allowed("no such name and password")
    lasts_s = found.access.session_s or _PASSWORD_SESSION_S
    add = AddAccess(
        session.id, AccessKind.SESSION, found.access.role, found.access.label, session.hash, lasts_s,
        found.access.cameras, parent=found.access.id,
    )  # fmt: skip
    try:
        return (await site.ask(add)).access
    except RefusedError as error:
        raise not_allowed(f"{error.what}; {error.remedy}") from error


def _seconds_until(access: Access) -> int | None:
    if access.expires_at is None:
        return None
    return max(0, int((datetime.fromisoformat(access.expires_at) - datetime.now(UTC)).total_seconds()))


def _cookie_path(request: Request) -> str:
    """Below a base path on plain HTTP the cookie is that site's only; browsers take a `__Host-` cookie for the whole host only."""
    base_path = site_of(request).settings.web.base_path
    return "/" if caller_of(request).is_secure or not base_path else base_path


def _me(access: Access) -> Me:
    return Me(role=access.role, label=access.label, cameras=access.cameras, expires_at=access.expires_at)


@router.delete("/session", status_code=HTTPStatus.NO_CONTENT)
async def sign_out(visitor: Viewer, request: Request, response: Response) -> None:
    """Sign out. The session is over at once."""
    site = site_of(request)
    await site.ask(RevokeAccess(visitor.access.id))
    site.doorkeeper.forget(visitor.access.id)
    for name in (COOKIE, SECURE_COOKIE):
        path = "/" if name == SECURE_COOKIE else _cookie_path(request)
        response.delete_cookie(name, path=path, secure=name == SECURE_COOKIE, httponly=True, samesite="strict")


@router.get("/me", response_model=Me)
async def me(visitor: Viewer) -> Me:
    """Who is signed in."""
    return _me(visitor.access)


@router.get("/tokens", response_model=AccessPage)
async def list_tokens(_: Admin, request: Request) -> AccessPage:
    """Everybody and every program that may come in: links, sessions, tokens, passwords. Without their secrets."""
    return AccessPage(accesses=(await site_of(request).ask(Accesses())).accesses)


@router.post("/tokens", response_model=MadeToken, status_code=HTTPStatus.CREATED)
async def make_token(given: NewToken, visitor: Admin, request: Request) -> MadeToken:
    """Make a token for a program. It is shown this once, and sees no camera that whoever makes it does not see."""
    cameras = visitor.access.cameras if given.cameras is None else given.cameras
    if not all(visitor.sees(one) for one in cameras or ()):
        raise not_allowed(f"a token can see only the cameras that you see: {', '.join(visitor.access.cameras or ())}")
    secret = new_secret()
    add = AddAccess(secret.id, AccessKind.TOKEN, given.role, given.label, secret.hash, given.days * _DAY_S, cameras)
    return MadeToken(token=secret.shown, access=(await site_of(request).ask(add)).access)


@router.delete("/tokens/{access_id}", status_code=HTTPStatus.NO_CONTENT)
async def take_back(access_id: str, _: Admin, request: Request) -> None:
    """Take back a token, a session, a link or a password, and the sessions that came of it."""
    site = site_of(request)
    if not (await site.ask(RevokeAccess(access_id))).count:
        raise not_found("access", access_id)
    site.doorkeeper.forget(access_id)
