"""What runs here, on what, and how it is doing; and all of that as a file for somebody who helps."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from shared.errors import RollcallError
from shared.process.versions import Versions, versions_here
from shared.records import Role
from shared.settings.schema import Settings
from shared.status import CameraStatus, ChildStatus, SiteSnapshot
from shared.store.schema import SCHEMA_VERSION
from workers.dashboard.commands import answer_of
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.site import API, Needs, Site, site_of
from workers.serving.problems import busy

router = APIRouter(prefix=API, tags=["site"])
_MODELS_WAIT_S = 60.0
_MODELS_S = 30.0  # how old the list of models may be
_BUNDLE_WAIT_S = 120.0
_CHUNK_BYTES = 1 << 16
_DATABASE = ("", "-wal")

Operator = Annotated[Visitor, Depends(Needs(Role.OPERATOR))]
Admin = Annotated[Visitor, Depends(Needs(Role.ADMIN))]


class ProcessHealth(BaseModel):
    """One process. `word`: up, down, or its state. `since`: when it was started; null: it does not run. `restarts`: since the site was started.
    `exit_code`: of its last end. `why`: what is wrong."""

    name: str
    kind: str
    word: str
    is_well: bool
    since: str | None
    restarts: int
    exit_code: int | None
    heartbeat_age_s: float | None
    why: str | None


class GalleryHealth(BaseModel):
    """`all_live`: every stored change is used by the cameras. `nothing_stored`: why the database takes no changes; null: it takes them."""

    people: int | None
    references: int | None
    all_live: bool
    nothing_stored: str | None
    damaged_rows: int


class DiskHealth(BaseModel):
    """Of the data folder. `backup_at`: when the site's own backup was made."""

    free_bytes: int | None
    total_bytes: int | None
    database_bytes: int
    backup_at: str | None


class About(BaseModel):
    """`processes`: the writer, the cameras that the visitor sees, the others. `gallery`: null while the writer does not answer."""

    versions: Versions
    site: str
    ready: bool
    started_at: str | None
    processes: list[ProcessHealth]
    gallery: GalleryHealth | None
    disk: DiskHealth


class InstalledModel(BaseModel):
    """`commercial_use`: whether the licence allows it; null: not known."""

    name: str
    engine: str
    fingerprint: str | None
    dim: int | None
    licence: str
    commercial_use: bool | None
    size_bytes: int
    fault: str | None
    in_use: bool


class Models(BaseModel):
    """`runs_on`: what the models run on."""

    models: list[InstalledModel]
    runs_on: str


class BundleResponse(StreamingResponse):
    media_type = "application/zip"


@router.get("/about", response_model=About)
async def about(visitor: Operator, request: Request) -> About:
    """The versions of everything, and the health of every process, of the gallery and of the disk."""
    site = site_of(request)
    snapshot, gallery = None, None
    try:
        found = await site.status()
    except RollcallError:  # the writer is being replaced: that is what this page shows then
        pass
    else:
        info = found.gallery
        gallery = GalleryHealth(
            people=info.people,
            references=info.references,
            all_live=not info.behind,
            nothing_stored=info.nothing_stored,
            damaged_rows=info.damaged_rows or 0,
        )
        snapshot = found.site
    versions, disk = await asyncio.gather(
        asyncio.to_thread(versions_here, SCHEMA_VERSION), asyncio.to_thread(_disk, site.settings)
    )
    return About(
        versions=versions,
        site=site.settings.site.name,
        ready=snapshot is not None and snapshot.ready,
        started_at=None if snapshot is None else _ago(snapshot.uptime_s),
        processes=[] if snapshot is None else list(_processes(snapshot, visitor)),
        gallery=gallery,
        disk=disk,
    )


def _processes(site: SiteSnapshot, visitor: Visitor) -> Iterator[ProcessHealth]:
    yield _health("writer", "writer", site.writer)
    for name, camera in site.cameras.items():
        if visitor.sees(name):
            yield _health(name, "camera", camera)
    for name, one in site.processes.items():
        yield _health(name, "process", one)


def _health(name: str, kind: str, one: ChildStatus) -> ProcessHealth:
    word, why = one.state.value, getattr(one, "fault", None) or getattr(one, "down_reason", None)
    if isinstance(one, CameraStatus):
        word, why = one.word, why or one.picture_fault
    is_well = word in ("up", "running", "ended", "stopped") and not why
    return ProcessHealth(
        name=name,
        kind=kind,
        word=word,
        is_well=is_well,
        since=None if one.uptime_s is None else _ago(one.uptime_s),
        restarts=one.restarts,
        exit_code=one.exit_code,
        heartbeat_age_s=one.heartbeat_age_s,
        why=why,
    )


def _ago(seconds: float) -> str:
    return _utc(datetime.now(UTC) - timedelta(seconds=seconds))


def _utc(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _disk(settings: Settings) -> DiskHealth:
    free = total = None
    try:
        used = shutil.disk_usage(settings.data_dir)
        free, total = used.free, used.total
    except OSError:  # the folder is away; the writer tells why
        pass
    backup = _stat(settings.data_dir / "face_embeddings.backup.db")
    sizes = [_stat(settings.db_path.with_name(settings.db_path.name + suffix)) for suffix in _DATABASE]
    return DiskHealth(
        free_bytes=free,
        total_bytes=total,
        database_bytes=sum(one.st_size for one in sizes if one is not None),
        backup_at=None if backup is None else _utc(datetime.fromtimestamp(backup.st_mtime, UTC)),
    )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


@router.get("/models", response_model=Models)
async def models(_: Operator, request: Request) -> Any:
    """The installed models with their licences, and what they run on."""
    site = site_of(request)
    async with site.side_work:
        if site.models is None or time.monotonic() >= site.models_until:
            site.models = await answer_of(site.settings, "models", timeout_s=_MODELS_WAIT_S)
            site.models_until = time.monotonic() + _MODELS_S
        return site.models


@router.get("/support-bundle", response_class=BundleResponse)
async def support_bundle(_: Admin, request: Request) -> BundleResponse:
    """Versions, settings, status, models, what `check` finds and the newest log, as a ZIP file for somebody who helps. Without faces,
    embeddings and passwords; with a number for each name."""
    site = site_of(request)
    if site.side_work.locked():
        raise busy("another list or file is being made")
    async with site.side_work:
        file = await _made(site)
    name = f"rollcall-support-{datetime.now(UTC):%Y%m%d-%H%M}.zip"
    headers = {"Cache-Control": "private, no-store", "Content-Disposition": f'attachment; filename="{name}"'}
    return BundleResponse(_chunks(file), headers=headers)


async def _made(site: Site) -> IO[bytes]:
    """The bundle, open. Its path is gone already."""
    path = site.settings.run_dir / f"support-{secrets.token_hex(8)}.zip"
    try:
        await answer_of(site.settings, "support-bundle", str(path), timeout_s=_BUNDLE_WAIT_S)
        return path.open("rb")
    finally:
        path.unlink(missing_ok=True)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
