"""Photos from disk: which files are photos, and one photo as pixels, whatever state the file is in.

People hand in what they have: phone photos of 40 megapixels, sideways ones, scans, half-copied files, files that only
claim to be pictures. Each is either decoded within modest memory or refused with the reason; none may take the process
down. So the size is read from the header before anything is decoded, and a large photo is decoded reduced: a face needs
about a hundred pixels, not a thousand.
"""

from __future__ import annotations

import math
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

# The plugins are imported for their registration: otherwise the first unusual file would load all of Pillow's.
from PIL import (
    BmpImagePlugin,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)
from PIL import Image as Pillow

from shared.errors import RefusedError

Image = NDArray[np.uint8]

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"})
# Photos to their owner though not to us: listed, so that they are refused by name instead of passed over in silence.
_FOREIGN_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".gif", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw"}
)

_FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
    )
    if plugin.format
)
_FORMAT_NAMES = "JPEG, PNG, WebP, BMP or TIFF"

MAX_MEGAPIXELS = 100  # above any camera people carry; 100 MP of RGB is 300 MB while a format without draft mode decodes
DECODED_MEGAPIXELS = 12  # what is handed on at most: 36 MB
MIN_SIDE_PX = 16  # no detector finds a face in less

# What Pillow's readers let through on malformed files; it documents only the first. MemoryError is told apart below.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Pillow.DecompressionBombError,
)

# Our own limit, checked by ourselves on the header, replaces Pillow's, which warns at 89 and raises at 179 megapixels.
Pillow.MAX_IMAGE_PIXELS = None


def read_photo(path: Path | str) -> Image:
    """The photo at `path` as (height, width, 3) uint8, BGR, upright by its EXIF orientation.

    Up to DECODED_MEGAPIXELS it keeps its size; above, it is halved until it fits (JPEG while it is decoded). Greyscale,
    palette, 16-bit, CMYK and transparent images (on white) are converted. Of an image with several frames: the first.

    Raises RefusedError, with the reason, for what is no photo, is damaged, truncated, unreadable, in a format we don't
    read, narrower than MIN_SIDE_PX, or larger than MAX_MEGAPIXELS; the last from the header alone.
    """
    return read_scaled(path)[0]


def read_scaled(path: Path | str) -> tuple[Image, int]:
    """As `read_photo`, with the number of the photo's own pixels a side that one pixel stands for: 1, 2, 4 or 8."""
    path = Path(path)
    with _open_file(path) as file:
        start = file.read(32)
        file.seek(0)
        if not start:
            raise RefusedError("the file is empty", where=shown(path), remedy="copy the photo again")
        with _decoder_faults(path, start), Pillow.open(file, formats=_FORMATS) as photo:
            factor = _reduction(path, *photo.size)
            return _decode(photo, factor), factor


def photos_in(folder: Path | str) -> list[Path]:
    """The photos directly in `folder`, sorted by name; by suffix, formats included that `read_photo` will refuse.

    Hidden files are left out (macOS leaves `._x.jpg` beside every `x.jpg`), and so are links that lead outside the
    folder. Raises RefusedError when the folder can't be listed.
    """
    return [path for path in entries_in(folder) if is_photo_name(path) and not path.is_dir()]


def entries_in(folder: Path | str) -> list[Path]:
    """What is directly in `folder`, sorted by name: nothing hidden, no links that lead outside. Raises RefusedError."""
    folder = Path(folder)
    try:
        inside = folder.resolve(strict=True)
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise RefusedError("the folder can't be listed", where=shown(folder), got=_why(error)) from error
    return [entry for entry in entries if _lies_in(entry, inside)]


def is_photo_name(path: Path) -> bool:
    """Whether a file of this name is taken for a photo."""
    return path.suffix.lower() in PHOTO_SUFFIXES | _FOREIGN_SUFFIXES


def shown(path: Path | str) -> str:
    """A path as text that can always be printed and put into JSON, also when its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _lies_in(entry: Path, folder: Path) -> bool:
    try:
        return entry.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # a link in a circle leads nowhere
        return False


def _open_file(path: Path) -> BinaryIO:
    """Open a regular file; a FIFO would block for ever, a device might never end."""
    where = shown(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise RefusedError("is a folder, not a photo", where=where)
        if not stat.S_ISREG(mode):
            raise RefusedError("is not a regular file", where=where)
        return path.open("rb")
    except FileNotFoundError as error:
        raise RefusedError("no such file", where=where) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise RefusedError("the file can't be read", where=where, got=_why(error)) from error


@contextmanager
def _decoder_faults(path: Path, start: bytes) -> Iterator[None]:
    try:
        yield
    except RefusedError:
        raise
    except UnidentifiedImageError as error:
        raise _not_a_photo(path, start) from error
    except MemoryError as error:
        raise RefusedError("there is not enough memory to decode this photo", where=shown(path)) from error
    except _DECODER_ERRORS as error:
        raise RefusedError(
            "the photo is damaged or cut short",
            where=shown(path),
            got=str(error) or type(error).__name__,
            remedy="copy it again from where it came from, or open it in an image editor and save it anew",
        ) from error


def _not_a_photo(path: Path, start: bytes) -> RefusedError:
    where, expected = shown(path), _FORMAT_NAMES
    if start[4:8] == b"ftyp":  # ISO base media: HEIC and AVIF from phones, but also MP4
        return RefusedError(
            "the format is not read",
            where=where,
            got="HEIC, AVIF or a video",
            expected=expected,
            remedy="export it as JPEG",
        )
    if path.suffix.lower() in _FOREIGN_SUFFIXES:
        return RefusedError(
            "the format is not read",
            where=where,
            got=path.suffix.lower(),
            expected=expected,
            remedy="export it as JPEG",
        )
    return RefusedError("is not a photo", where=where, expected=expected)


def _reduction(path: Path, width: int, height: int) -> int:
    """By what power of two both sides are divided. Raises RefusedError for sizes out of bounds."""
    if min(width, height) < MIN_SIDE_PX:
        raise RefusedError(
            "the photo is too small",
            where=shown(path),
            got=f"{width}×{height}",
            expected=f"{MIN_SIDE_PX} pixels a side or more",
        )
    megapixels = width * height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise RefusedError(
            "the photo is too large",
            where=shown(path),
            got=f"{megapixels:.0f} megapixels ({width}×{height})",
            expected=f"at most {MAX_MEGAPIXELS} megapixels",
            remedy="scale it down",
        )
    factor = 1
    while megapixels / factor**2 > DECODED_MEGAPIXELS:
        factor *= 2
    return factor


def _decode(photo: Pillow.Image, factor: int) -> Image:
    wanted_area = photo.width * photo.height / factor**2
    if factor > 1:
        # JPEG decodes straight to 1/2, 1/4 or 1/8; other formats ignore this and are reduced below.
        photo.draft(None, (photo.width // factor, photo.height // factor))
    photo.load()
    plain = _plain(photo)
    # By area: TIFF turns itself upright while it loads.
    if (left_over := round(math.sqrt(photo.width * photo.height / wanted_area))) > 1:
        plain = plain.reduce(left_over)
    ImageOps.exif_transpose(plain, in_place=True)  # no copy of a photo that is upright already
    rgb = np.asarray(_without_alpha(plain))
    return np.ascontiguousarray(rgb[:, :, ::-1])


def _plain(photo: Pillow.Image) -> Pillow.Image:
    """One of the modes that can be averaged: L, LA, RGB, RGBA or CMYK."""
    if photo.mode in {"L", "LA", "RGB", "RGBA", "CMYK"}:
        return photo
    if photo.mode.startswith("I"):
        # 16-bit grey. Pillow's own conversion clips at 255 where scaling is meant.
        grey = Pillow.fromarray((np.asarray(photo).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
        grey.info = dict(photo.info)
        return grey
    transparent = photo.mode in {"PA", "La", "RGBa"} or "transparency" in photo.info
    return photo.convert("RGBA" if transparent else "L" if photo.mode == "1" else "RGB")


def _without_alpha(photo: Pillow.Image) -> Pillow.Image:
    """RGB; what is transparent becomes white: the colours hidden below it are arbitrary."""
    if photo.mode not in {"LA", "RGBA"}:
        return photo if photo.mode == "RGB" else photo.convert("RGB")
    white = Pillow.new("RGB", photo.size, "white")
    white.paste(photo.convert("RGB"), mask=photo.getchannel("A"))
    return white


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
