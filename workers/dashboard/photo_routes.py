"""The photos of people: small copies for the pages, and everything of a person as one file.

A photo came from outside. It is decoded, and a small copy is encoded anew before anybody gets to see it.
"""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from shared.errors import RefusedError
from shared.ipc.requests.references import FindCover, References
from shared.ipc.requests.sightings import FindCrop, FindSightings
from shared.photos.kept import stored_photo
from shared.records import Person, Reference, Role
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.people_routes import ReferenceId, person_of
from workers.dashboard.site import API, Needs, Site, site_of
from workers.serving.problems import not_found

router = APIRouter(prefix=API, tags=["people"])
_SIDE_PX = 320
_QUALITY = 85
_MAX_PIXELS = 100_000_000
_MAX_REFERENCES, _MAX_SIGHTINGS = 1000, 100_000
_PAGE = 1000
_CHUNK_BYTES = 1 << 16
_PRIVATE = {"Cache-Control": "private, no-store"}
_NONE: dict[int | str, dict[str, Any]] = {HTTPStatus.NO_CONTENT: {"description": "No photo is kept"}}

Operator = Annotated[Visitor, Depends(Needs(Role.OPERATOR))]
Admin = Annotated[Visitor, Depends(Needs(Role.ADMIN))]


class PhotoResponse(Response):
    media_type = "image/jpeg"


class ExportResponse(StreamingResponse):
    media_type = "application/zip"


@router.get("/people/{person_id}/photo", response_class=PhotoResponse, responses=_NONE)
async def cover(person_id: str, _: Operator, request: Request) -> Response:
    """A photo of a person, at most 320 pixels a side: of the first reference that is in use and has one."""
    found = await site_of(request).ask(FindCover(person_id))  # one question: a page shows sixty of them
    if not found.is_known:
        raise not_found("person", person_id)
    return await _answer(site_of(request), found.reference)


@router.get("/people/{person_id}/references/{reference}/photo", response_class=PhotoResponse, responses=_NONE)
async def photo(person_id: str, reference: ReferenceId, _: Operator, request: Request) -> Response:
    """The photo of a reference, at most 320 pixels a side."""
    site, known = site_of(request), await person_of(request, person_id)
    found = (await site.ask(References(known.person, reference - 1, 1))).references
    if not found or found[0].id != reference:
        raise not_found("reference", str(reference))
    return await _answer(site, found[0])


async def _answer(site: Site, reference: Reference | None) -> Response:
    return await small_photo(site, None if reference is None else kept_path(site, reference))


async def small_photo(site: Site, path: Path | None) -> Response:
    """The photo at `path` as a small JPEG; 204 if there is none, or it can't be read."""
    jpeg = None
    if path is not None:
        async with site.decoding:
            jpeg = await asyncio.to_thread(_small, path)
    if jpeg is None:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=_PRIVATE)
    return PhotoResponse(jpeg, headers=_PRIVATE)


def kept_path(site: Site, reference: Reference) -> Path | None:
    """Only a file in data/faces: somebody else may have written the database, and other files in the data folder are secret."""
    data_dir = site.settings.data_dir
    path = stored_photo(data_dir, data_dir, reference.person, reference.image_path)
    return path if path is not None and path.is_relative_to((data_dir / "faces").resolve()) else None


def _small(path: Path) -> bytes | None:
    """The photo as a small JPEG; None if there is none, or it can't be read."""
    from PIL import Image, ImageOps  # 10 MB of memory, only where somebody looks at people

    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > _MAX_PIXELS:
                return None
            # A JPEG is decoded in a fraction of its size: the shorter side stays at least so long, and is made smaller still.
            opened.draft("RGB", (_SIDE_PX, _SIDE_PX))
            small = ImageOps.exif_transpose(opened).convert("RGB")
            small.thumbnail((_SIDE_PX, _SIDE_PX))
            encoded = io.BytesIO()
            small.save(encoded, "JPEG", quality=_QUALITY)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return encoded.getvalue()


@router.get("/people/{person_id}/export", response_class=ExportResponse)
async def export(person_id: str, _: Admin, request: Request) -> ExportResponse:
    """Everything that is kept of a person, as a ZIP file: facts, references, photos, sightings, and the pictures of these."""
    site, known = site_of(request), await person_of(request, person_id)
    references = (await site.ask(References(known.person, None, _MAX_REFERENCES + 1))).references
    if len(references) > _MAX_REFERENCES:
        raise RefusedError(
            "too many references for one file", got=len(references), expected=f"at most {_MAX_REFERENCES}"
        )
    # It has no name, and nobody else reads this folder. The answer closes it.
    file = tempfile.TemporaryFile(dir=site.settings.run_dir)  # noqa: SIM115
    try:
        with zipfile.ZipFile(file, "w") as archive:
            await _write(site, archive, known, references)
    except BaseException:
        file.close()
        raise
    headers = {**_PRIVATE, "Content-Disposition": 'attachment; filename="person.zip"'}
    return ExportResponse(_chunks(file), headers=headers)


async def _write(site: Site, archive: zipfile.ZipFile, known: Person, references: list[Reference]) -> None:
    for reference in references:
        path = kept_path(site, reference)
        if path is not None:
            await asyncio.to_thread(archive.write, path, f"photos/{reference.id}{path.suffix.lower()}")
    sightings: list[dict[str, Any]] = []
    before: int | None = None
    while len(sightings) < _MAX_SIGHTINGS:
        page = await site.ask(FindSightings(before, 0, known.person, None, None, _PAGE))
        sightings += [one.to_json() for one in page.events]
        for one in page.events:
            if one.crop:
                found = await site.ask(FindCrop(one.id))
                if found.picture is not None:
                    archive.writestr(f"crops/{one.id}.jpg", found.picture)
        if page.before_id is None:
            break
        before = page.before_id
    facts = {"person": asdict(known), "references": [asdict(one) for one in references]}
    for name, content in (("person.json", facts), ("sightings.json", sightings)):
        archive.writestr(name, json.dumps(content, ensure_ascii=False, indent=1))


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
