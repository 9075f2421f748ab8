"""The settings: read, checked, changed, taken back. Nothing is written that has a fault, and no secret is sent."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import RollcallError
from shared.ipc.requests.site import Status
from shared.records import Role
from shared.settings.editing import Change
from shared.settings.form import Setting
from shared.settings.schema import SECTIONS, Settings
from shared.settings.settable import needs_restart
from shared.status import CameraStatus, ChildState, ChildStatus, SiteSnapshot
from shared.supervision.reload import ReloadPlan, plan_reload
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.setting_texts import Language, settings_in
from workers.dashboard.settings_desk import ChangedMeanwhileError, Draft
from workers.dashboard.site import API, Needs, Site, site_of
from workers.serving.problems import Fault, Problem, described, fault_parts, not_allowed, not_found

router = APIRouter(prefix=API, tags=["settings"])
_T = TypeVar("_T")
_POLL_S = 0.25
_RELOAD_S = 10.0  # the supervisor's loop turns five times a second; a large gallery's head is read before
_SETTLE_S = 12.0  # until processes that start again run: the engine is loaded, the camera is asked
_MAX_TEXT, _MAX_CHANGES = 60_000, 500
_FIELD = re.compile(r"\[([\w-]+)(?:\.([^\]]*))?\](?: (.+))?$")
_CONFLICTS = described(HTTPStatus.PRECONDITION_FAILED, HTTPStatus.PRECONDITION_REQUIRED)


async def _whole_site(visitor: Annotated[Visitor, Depends(Needs(Role.ADMIN))]) -> Visitor:
    if not visitor.sees_all:
        raise not_allowed("the settings are the whole site's, and you see only some cameras")
    return visitor


Admin = Annotated[Visitor, Depends(_whole_site)]
IfMatch = Annotated[str | None, Header(max_length=100, description="the ETag of the settings that are changed")]
Number = Annotated[int, Path(ge=1, lt=10**12)]
Value = bool | int | float | Annotated[str, Field(max_length=4096)] | list[list[float] | str] | None


class SettingChange(BaseModel):
    """One key of a section. `value`: null removes the key, so that its default is in force."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    section: Literal["site", "recognition", "sync", "web", "backend"]
    key: Annotated[str, Field(min_length=1, max_length=64)]
    value: Annotated[Value, Field(repr=False)] = None


class CameraChange(BaseModel):
    """One key of a camera, which is added if there is none of this name. Without a `key` the camera is removed."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    section: Literal["cameras"]
    camera: Annotated[str, Field(min_length=1, max_length=200)]
    key: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    value: Annotated[Value, Field(repr=False)] = None


class SettingsDraft(BaseModel):
    """What is to become of the file. `text`: the whole text, with *** where it is shown so; null: the file's. `changes` are made in it."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    text: Annotated[str | None, Field(max_length=_MAX_TEXT, repr=False)] = None
    changes: Annotated[list[SettingChange | CameraChange], Field(max_length=_MAX_CHANGES)] = []


class SettingsDocument(BaseModel):
    """`text`: the file without its secrets, with *** for each; `values`: the same as a document, null if it is no TOML. `settings`: what each
    setting is. `faults`: of the file as it is. `read_only`: why nothing can be changed from here, and what to do; null: it can."""

    path: str
    etag: str
    text: str
    values: dict[str, Any] | None
    settings: list[Setting]
    faults: list[Fault]
    read_only: Fault | None


class Effect(BaseModel):
    """What a change does to a process."""

    name: str
    change: Literal["started", "restarted", "stopped"]


class Checked(BaseModel):
    """`faults`: all of them, each with its place; empty: it can be saved. `text`: the draft with its changes made, without secrets; `values`: the
    same as a document, null if it is no TOML. `diff`: from the file to it. `new_secrets`: the keys that get another secret. `effects`: the
    processes that a reload touches. `after_restart`: the keys that are in force only after a restart."""

    faults: list[Fault]
    text: str
    values: dict[str, Any] | None
    diff: str
    new_secrets: list[str]
    effects: list[Effect]
    after_restart: list[str]


class ProcessResult(Effect):
    """How a process is a moment after the change. `state`: as in `status`; null: it is gone. `reason`: why it gives no frames."""

    state: str | None
    reason: str | None


class Applied(BaseModel):
    """What came of a change. `reload`: "taken", "refused" (the site goes on as before, `faults` says why), "silent" (no supervisor answered), or
    "none" (nothing has changed)."""

    etag: str
    reload: Literal["taken", "refused", "silent", "none"]
    faults: list[str]
    processes: list[ProcessResult]
    after_restart: list[str]


class VersionInfo(BaseModel):
    """`by`: who made it; null: somebody who edited the file. `current`: whether the file is so now."""

    id: int
    time: str
    by: str | None
    current: bool


class VersionsPage(BaseModel):
    versions: list[VersionInfo]


class VersionDocument(Checked):
    """A version, and what going back to it would do."""

    id: int
    time: str
    by: str | None


@router.get("/settings", response_model=SettingsDocument)
async def settings(_: Admin, request: Request, response: Response, language: Language = "en") -> SettingsDocument:
    """The settings file, without secrets, and what each setting is, told in a language."""
    desk = site_of(request).settings_desk
    shown = await _in_turn(request, desk.show)
    response.headers["ETag"] = f'"{shown.tag}"'
    fault = desk.why_read_only()
    return SettingsDocument(
        path=str(desk.path),
        etag=shown.tag,
        text=shown.text,
        values=shown.document,
        settings=settings_in(language),
        faults=[_fault(one) for one in shown.faults],
        read_only=None if fault is None else _fault(fault),
    )


@router.post("/settings/validate", response_model=Checked)
async def validate(given: SettingsDraft, _: Admin, request: Request) -> Checked:
    """Find every fault of a text or of changes, and what they would do. Writes nothing."""
    return _checked(
        await _in_turn(request, lambda: site_of(request).settings_desk.draft_of(given.text, _changes(given)))
    )


@router.put("/settings", response_model=Applied, responses=_CONFLICTS)
async def save(
    given: SettingsDraft, visitor: Admin, request: Request, response: Response, if_match: IfMatch = None
) -> Applied:
    """Change the settings and have the site read them. Answers with the state of each process that this touches. With any fault nothing is
    written."""
    tag, by = _tag_of(if_match), visitor.access.label
    desk = site_of(request).settings_desk
    return await _applied(request, response, lambda: desk.save(given.text, _changes(given), tag, by))


@router.get("/settings/versions", response_model=VersionsPage)
async def versions(_: Admin, request: Request) -> VersionsPage:
    """The last 20 versions of the file, newest first."""
    found = await _in_turn(request, site_of(request).settings_desk.versions)
    listed = [VersionInfo(id=one.id, time=one.time, by=one.by, current=current) for one, current in found]
    return VersionsPage(versions=listed)


@router.get("/settings/versions/{number}", response_model=VersionDocument)
async def version(number: Number, _: Admin, request: Request) -> VersionDocument:
    """One version: what going back to it would change."""
    found = await _in_turn(request, lambda: site_of(request).settings_desk.version(number))
    if found is None:
        raise not_found("version", str(number))
    kept, draft = found
    return VersionDocument(id=kept.id, time=kept.time, by=kept.by, **_checked(draft).model_dump())


@router.post("/settings/versions/{number}/revert", response_model=Applied, responses=_CONFLICTS)
async def revert(
    number: Number, visitor: Admin, request: Request, response: Response, if_match: IfMatch = None
) -> Applied:
    """Go back to a version, its passwords included. What can be set in the file only has to be the same there."""
    tag, by = _tag_of(if_match), visitor.access.label
    desk = site_of(request).settings_desk

    def do() -> Draft:
        draft = desk.revert(number, tag, by)
        if draft is None:
            raise not_found("version", str(number))
        return draft

    return await _applied(request, response, do)


# -- doing it ---------------------------------------------------------------------------------------------------------


async def _in_turn(request: Request, work: Callable[[], _T]) -> _T:
    """Do work on the settings' files on a thread, one at a time. Raises Problem or RollcallError."""
    async with site_of(request).settings_work:
        return await asyncio.to_thread(work)


async def _applied(request: Request, response: Response, write: Callable[[], Draft]) -> Applied:
    site = site_of(request)
    try:
        draft = await _in_turn(request, write)
    except ChangedMeanwhileError as error:
        raise Problem(
            HTTPStatus.PRECONDITION_FAILED,
            "changed-meanwhile",
            "The settings were changed meanwhile",
            detail=error.what,
            errors=[fault_parts(error)],
        ) from error
    if draft.text is None:
        raise Problem(
            HTTPStatus.CONFLICT,
            "faulty-settings",
            "The settings have faults",
            detail="nothing was written",
            errors=[_fault(one).model_dump(exclude_none=True) for one in draft.faults],
        )
    shown = await _in_turn(request, site.settings_desk.show)
    response.headers["ETag"] = f'"{shown.tag}"'
    if draft.text == draft.before:
        return Applied(etag=shown.tag, reload="none", faults=[], processes=[], after_restart=[])
    effects = _effects(draft)
    before = await _snapshot(site)
    after = None if before is None else await _reloaded(site, before)
    if before is None or after is None:
        return Applied(etag=shown.tag, reload="silent", faults=[], processes=[], after_restart=_after_restart(draft))
    if after.reload_faults:
        faults = list(after.reload_faults)
        return Applied(etag=shown.tag, reload="refused", faults=faults, processes=[], after_restart=[])
    after = await _settled(site, effects, before, after)
    results = [_result(one, after) for one in effects]
    return Applied(
        etag=shown.tag, reload="taken", faults=[], processes=results, after_restart=list(after.awaits_restart)
    )


async def _snapshot(site: Site) -> SiteSnapshot | None:
    """The state of the site now. None while the writer is being replaced, or without a supervisor."""
    with suppress(RollcallError):
        return (await site.ask(Status())).site
    return None


async def _reloaded(site: Site, before: SiteSnapshot) -> SiteSnapshot | None:
    """Have the supervisor read its settings again, and wait until it has. None: it does not answer."""
    if before.pid <= 1:
        return None
    try:
        os.kill(before.pid, signal.SIGHUP)
    except OSError:
        return None
    return await _until(site, _RELOAD_S, lambda now: now.reloads > before.reloads)


async def _settled(site: Site, effects: Sequence[Effect], before: SiteSnapshot, after: SiteSnapshot) -> SiteSnapshot:
    """Wait until what a reload touches runs, or is gone; not for ever: what starts slowly is told as it is."""
    found = await _until(site, _SETTLE_S, lambda now: all(_is_settled(one, before, now) for one in effects))
    return found or await _snapshot(site) or after


async def _until(site: Site, within_s: float, holds: Callable[[SiteSnapshot], bool]) -> SiteSnapshot | None:
    end = time.monotonic() + within_s
    while time.monotonic() < end and not site.stopping:
        now = await _snapshot(site)
        if now is not None and holds(now):
            return now
        await asyncio.sleep(_POLL_S)  # the supervisor tells the writer about changes, and nobody tells us
    return None


def _is_settled(effect: Effect, before: SiteSnapshot, now: SiteSnapshot) -> bool:
    was, found = _child(before, effect.name), _child(now, effect.name)
    if effect.change == "stopped":
        return found is None
    if found is None or (was is not None and found.pid == was.pid):
        return False
    if isinstance(found, CameraStatus) and found.state is ChildState.RUNNING:
        return found.up or found.down_reason is not None
    return found.state not in (ChildState.STARTING, ChildState.LOADING, ChildState.STOPPING)


def _child(snapshot: SiteSnapshot, name: str) -> ChildStatus | None:
    return snapshot.cameras.get(name) or snapshot.processes.get(name) or (snapshot.writer if name == "writer" else None)


def _result(effect: Effect, now: SiteSnapshot) -> ProcessResult:
    found = _child(now, effect.name)
    state, reason = None if found is None else str(found.state), None
    if isinstance(found, CameraStatus):
        state, reason = found.word, found.down_reason
    return ProcessResult(name=effect.name, change=effect.change, state=state, reason=reason)


# -- what is asked and answered ---------------------------------------------------------------------------------------


def _changes(given: SettingsDraft) -> list[Change]:
    return [
        Change(one.section, one.camera if isinstance(one, CameraChange) else None, one.key, one.value)
        for one in given.changes
    ]


def _tag_of(if_match: str | None) -> str:
    if if_match is None:
        raise Problem(
            HTTPStatus.PRECONDITION_REQUIRED,
            "no-if-match",
            "Say which settings are changed",
            detail="send If-Match with the ETag of GET /settings, so that nobody else's change is lost",
        )
    return if_match.strip().removeprefix("W/").strip('"')


def _checked(draft: Draft) -> Checked:
    return Checked(
        faults=[_fault(one) for one in draft.faults],
        text=draft.sent,
        values=draft.document,
        diff=draft.diff,
        new_secrets=list(draft.new_secrets),
        effects=_effects(draft),
        after_restart=_after_restart(draft),
    )


def _effects(draft: Draft) -> list[Effect]:
    if draft.old is None or draft.settings is None:
        return []
    plan: ReloadPlan = plan_reload(draft.old, _with_site(draft.settings, draft.old))
    return [
        *(Effect(name=name, change="stopped") for _, name in plan.stop),
        *(Effect(name=name, change="restarted") for _, name in plan.restart),
        *(Effect(name=name, change="started") for _, name in plan.start),
    ]


def _with_site(settings: Settings, old: Settings) -> Settings:
    """As a reload takes them: without what is in force only after a restart."""
    return replace(settings, site=old.site)


def _after_restart(draft: Draft) -> list[str]:
    if draft.old is None or draft.settings is None:
        return []
    changed: list[str] = []
    for section in filter(needs_restart, SECTIONS):
        before, after = dict(getattr(draft.old, section)), dict(getattr(draft.settings, section))
        changed += [f"[{section}] {key}" for key, value in after.items() if value != before[key]]
    return changed


def _fault(error: RollcallError) -> Fault:
    """The fault with its place: "/cameras/door/fps"."""
    found = _FIELD.search(error.where)
    place = [part for part in found.groups() if part] if found else []
    return Fault(pointer="".join(f"/{part}" for part in place) or None, **fault_parts(error))
