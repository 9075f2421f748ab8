"""Draws the demo's contact sheet: who was seen where, the camera's picture, and beside it the enrolled photo."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from shared.errors import TemporaryError
from workers.demo.report import Seen
from workers.recognition.engine import Image

_TILE, _LABEL, _GAP, _EDGE, _HEAD, _TITLE, _INSET = 220, 72, 16, 28, 76, 36, 72
_PER_ROW = 6
_PAPER, _INK, _FAINT, _RULE = (248, 248, 246), (28, 30, 34), (118, 122, 130), (214, 214, 210)
_COLOURS = {"named": (34, 139, 84), "unknown": (200, 124, 20)}
_FACE_SHARE = 0.5  # of the tile's width


class _View(NamedTuple):
    """The camera's picture of a sighting. `picture`: BGR (_TILE, _TILE, 3). `face`: the face's centre in it, x, y in pixels."""

    picture: Image
    face: tuple[int, int]


def _save(sheet: Pictures.Image, path: Path) -> None:
    """Save the sheet as a new file and rename it to `path`. A link that somebody put there is replaced, never followed."""
    form = Pictures.registered_extensions().get(path.suffix.lower())
    if form is None:
        raise ValueError(f"unknown file extension: {path.suffix}")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor has no path
            sheet.save(file, form)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def make_sheet(
    path: Path,
    sightings: Sequence[Seen],
    clips: Mapping[str, Path],
    photos: Mapping[str, Sequence[Path]],
    subtitle: str,
) -> Path:
    """Draw one tile for each person or stranger at each camera into `path` (.png or .jpg), which only its owner can read.

    Returns `path`. The pictures are read again from the clips, at each sighting's own time.
    Raises TemporaryError when `path` can't be written.
    """
    rows = _rows(sightings)
    wide = max((len(row) for _, row in rows), default=1)
    width = max(2 * _EDGE + wide * (_TILE + _GAP) - _GAP, 640)
    height = _HEAD + sum(_TILE + _LABEL + _GAP + (_TITLE if title else 0) for title, _ in rows) + _EDGE
    sheet = Pictures.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_EDGE, 22), "Rollcall demo", font=_font(26), fill=_INK)
    draw.text((width - _EDGE, 32), subtitle, font=_font(15), fill=_FAINT, anchor="ra")
    top = _HEAD
    views = _views(sightings, clips)
    for title, row in rows:
        if title:
            draw.line((_EDGE, top - 4, width - _EDGE, top - 4), fill=_RULE)
            draw.text((_EDGE, top + 4), title, font=_font(18), fill=_INK)
            top += _TITLE
        for place, sighting in enumerate(row):
            photo = next(iter(photos.get(sighting.who, ())), None) if sighting.verdict == "named" else None
            _draw_tile(sheet, (_EDGE + place * (_TILE + _GAP), top), sighting, views.get(id(sighting)), photo)
        top += _TILE + _LABEL + _GAP
    try:
        _save(sheet, path)
    except (OSError, ValueError) as error:  # ValueError: an ending that Pillow does not know
        raise TemporaryError(
            "the contact sheet can't be written",
            where=str(path),
            got=str(error),
            remedy="name a .png in a folder with room: --sheet PATH",
        ) from error
    return path


def _rows(sightings: Sequence[Seen]) -> list[tuple[str, list[Seen]]]:
    """Rows of tiles; each camera's first row carries its name."""
    rows: list[tuple[str, list[Seen]]] = []
    for camera in dict.fromkeys(sighting.camera for sighting in sightings):
        here = [sighting for sighting in sightings if sighting.camera == camera]
        for start in range(0, len(here), _PER_ROW):
            rows.append((f"camera {camera}" if start == 0 else "", here[start : start + _PER_ROW]))
    return rows


def _views(sightings: Sequence[Seen], clips: Mapping[str, Path]) -> dict[int, _View]:
    """id(sighting) → the camera's picture. Sightings without a time or a box are left out."""
    found: dict[int, _View] = {}
    for camera, clip in clips.items():
        wanted: dict[int, list[Seen]] = {}
        video = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)
        fps, frames = video.get(cv2.CAP_PROP_FPS), max(1, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
        for sighting in sightings:
            time_s = sighting.best.media_time_s
            if sighting.camera == camera and time_s is not None and sighting.best.box:
                wanted.setdefault(round(time_s * fps) % frames, []).append(sighting)
        for index, frame in _frames(video, wanted):
            found |= {id(sighting): _view(frame, sighting.best.box or ()) for sighting in wanted[index]}
        video.release()
    return found


def _frames(video: cv2.VideoCapture, wanted: Collection[int]) -> Iterator[tuple[int, Image]]:
    """The frames with these numbers. The clip is read from its start: seeking is not exact, and clips are short."""
    for index in range(max(wanted, default=-1) + 1):
        if not video.grab():
            return
        if index in wanted:
            ok, frame = video.retrieve()
            if ok:
                yield index, frame.astype(np.uint8, copy=False)


def _view(frame: Image, box: Sequence[float]) -> _View:
    """The part of the frame around `box`, scaled so that the face fills `_FACE_SHARE` of its width, and moved into the frame."""
    x1, y1, x2, y2 = box
    zoom = _TILE * _FACE_SHARE / max(x2 - x1, y2 - y1, 1.0)
    side = _TILE / zoom
    left = min(max(0.0, (x1 + x2 - side) / 2), max(0.0, frame.shape[1] - side))
    top = min(max(0.0, (y1 + y2 - side) / 2), max(0.0, frame.shape[0] - side))
    where = np.array([[zoom, 0, -zoom * left], [0, zoom, -zoom * top]])
    picture = cv2.warpAffine(frame, where, (_TILE, _TILE), borderMode=cv2.BORDER_REPLICATE)
    x1, y1, x2, y2 = (round(zoom * side) for side in (x1 - left, y1 - top, x2 - left, y2 - top))
    cv2.rectangle(picture, (x1, y1), (x2, y2), (255, 255, 255), 1, cv2.LINE_AA)
    return _View(picture.astype(np.uint8, copy=False), ((x1 + x2) // 2, (y1 + y2) // 2))


def _draw_tile(
    sheet: Pictures.Image, at: tuple[int, int], sighting: Seen, view: _View | None, photo: Path | None
) -> None:
    x, y = at
    draw, colour = ImageDraw.Draw(sheet), _COLOURS[sighting.verdict]
    if view is None:
        draw.rectangle((x, y, x + _TILE, y + _TILE), fill=_RULE)
    else:
        sheet.paste(Pictures.fromarray(view.picture[:, :, ::-1]), at)
        if photo is not None:
            _draw_photo(sheet, at, view.face, photo)
    draw.rectangle((x, y + _TILE, x + _TILE - 1, y + _TILE + 4), fill=colour)
    title = sighting.who if sighting.verdict == "named" else "unknown"
    draw.text((x, y + _TILE + 10), title, font=_font(17), fill=colour)
    for line, text in enumerate(_details(sighting)):
        draw.text((x, y + _TILE + 32 + 18 * line), text, font=_font(13), fill=_FAINT)


def _draw_photo(sheet: Pictures.Image, at: tuple[int, int], face: tuple[int, int], photo: Path) -> None:
    """Draw the enrolled photo, small, into the corner farthest from the face; for a face in the middle, at the lower right."""
    with Pictures.open(photo) as enrolled:
        inset = enrolled.convert("RGB").resize((_INSET, _INSET))
    near, far = 6, _TILE - _INSET - 6
    x, y = (start + (near if place > 0.56 * _TILE else far) for start, place in zip(at, face, strict=True))
    ImageDraw.Draw(sheet).rectangle((x - 2, y - 2, x + _INSET + 1, y + _INSET + 1), fill=_PAPER)
    sheet.paste(inset, (x, y))


def _details(sighting: Seen) -> tuple[str, str]:
    best = sighting.best
    time_s = best.media_time_s
    at = "" if time_s is None else f"at {time_s:.1f} s"
    if sighting.verdict == "named":
        return f"score {sighting.score:.3f}, ahead by {float(best.margin or 0):.3f}", at
    return sighting.who, f"nearest {sighting.score:.3f}, {at}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
