"""Reads photos from disk: decides which files are photos, and decodes one to pixels, whatever state the file is in.

People hand in what they have: phone photos of 40 megapixels, sideways ones, scans, half-copied files, files that only claim to be
photos. Each is either decoded within modest memory, or refused with the reason. None may crash the process. So the size is read from the
header before anything is decoded, and a large photo is decoded at a reduced size: a face needs about a hundred pixels, not a thousand.

A photo is opened once and read whole. These bytes, without metadata, are then recognised, decoded and kept. If somebody changes the file
meanwhile, that has no effect.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Importing these plugins registers them. Without that, the first unusual file would make Pillow load all its plugins.
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
from shared.photos.metadata import suffix_of, without_metadata

Image = NDArray[np.uint8]

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"}
)
# Formats that people use for photos and we do not read. They are listed so that such a file is refused by name, and not silently ignored.
_FOREIGN_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".gif", ".jp2", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raw"}
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
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1")
_FORMAT_NAMES = "JPEG, PNG, WebP, BMP or TIFF"

MAX_FILE_BYTES = 128 << 20  # the largest accepted file, a BMP of MAX_WHOLE_MEGAPIXELS, has 120 MB
MAX_MEGAPIXELS = 100  # more than any camera that people carry
# The limit for images that a decoder must hold whole before it can reduce them: all formats but JPEG, and JPEGs of several scans. At 30
# megapixels no format takes more than half a gigabyte; at 100, WebP takes 1.5.
MAX_WHOLE_MEGAPIXELS = 30
DECODED_MEGAPIXELS = 12  # a decoded photo has at most this size, 36 MB
MIN_SIDE_PX = 16  # no detector finds a face in less

# What Pillow's readers raise for malformed files. Pillow documents only the first. MemoryError is handled on its own below.
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

# Pillow's own limit warns at 89 and raises at 179 megapixels. We switch it off, because we check our own limit on the header.
Pillow.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Photo:
    """One photo. `data`: the file's bytes without metadata (see photos/metadata.py). `file_digest`: SHA-256 of the unchanged file."""

    path: Path
    data: bytes
    file_digest: str

    @property
    def digest(self) -> str:
        """SHA-256 of `data`, 64 hex digits: the same for a photo and the copy of it that is kept."""
        return hashlib.sha256(self.data).hexdigest()


def load_photo(path: Path | str) -> Photo:
    """Read the photo at `path`. The file is opened once and read whole.

    Raises RefusedError, with the reason, if it is no regular file, can't be read, is empty, or is larger than MAX_FILE_BYTES; and if
    `without_metadata` refuses it.
    """
    path = Path(path)
    raw = _read(path)
    with _at(path):
        if not raw:
            raise RefusedError("the file is empty", remedy="copy the photo again")
        return Photo(path, without_metadata(raw), hashlib.sha256(raw).hexdigest())


def read_photo(path: Path | str) -> Image:
    """Load and decode the photo at `path`: (height, width, 3) uint8, BGR, as `decode_photo` returns it.

    Raises RefusedError, with the path, as `load_photo` and `decode_photo` do.
    """
    return read_scaled(path)[0]


def read_scaled(path: Path | str) -> tuple[Image, int]:
    """As `read_photo`, and by what number each side was divided: 1, 2, 4 or 8."""
    photo = load_photo(path)
    with _at(photo.path):
        return decode_photo(photo.data, photo.path.suffix)


def decode_photo(data: bytes, suffix: str = "", *, heic: bool = False) -> tuple[Image, int]:
    """Decode a photo's bytes. Returns (height, width, 3) uint8, BGR, upright by its EXIF orientation; and by what number each side was
    divided.

    Up to DECODED_MEGAPIXELS the photo keeps its size. A larger one is halved until it fits (JPEG while it is decoded). Greyscale, palette,
    16-bit, CMYK and transparent images (on white) are converted. Of several images in a file the first is used.

    `heic`: read HEIC, too. A caller that keeps the photo makes a JPEG of it, since `without_metadata` does not know that format.

    Raises RefusedError, with the reason, if the bytes are no photo, are damaged or cut short, or have a format that we do not read (the
    file's `suffix` helps to name it). Also if the photo is narrower than MIN_SIDE_PX, larger than MAX_MEGAPIXELS, or larger than
    MAX_WHOLE_MEGAPIXELS and must be decoded whole. The sizes are those of the header.
    """
    as_heic = heic and is_heic(data)
    formats = (_heic_format(),) if as_heic else _FORMATS
    with _decoder_faults(data[:32], suffix, is_known=as_heic), Pillow.open(io.BytesIO(data), formats=formats) as photo:
        factor = _reduction(*photo.size, whole=not _is_decoded_reduced(photo, data))
        return _decode(photo, factor), factor


def is_heic(data: bytes) -> bool:
    """Whether these bytes begin as a photo of an iPhone does: HEIC, not AVIF, and no video."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS


def _heic_format() -> str:
    """Pillow's name for HEIC. Raises RefusedError if the library that reads it is not installed."""
    try:
        import pi_heif  # 10 MB, only where somebody hands in such a photo
    except ModuleNotFoundError as error:
        raise RefusedError(
            "the library that reads HEIC is not installed on the site's machine",
            expected="pi-heif",
            remedy="export the photo as JPEG, or install it there: pip install -c constraints.txt '.[web]'",
        ) from error
    pi_heif.options.DECODE_THREADS = 1
    pi_heif.register_heif_opener(thumbnails=False)
    return "HEIF"


def entries_in(folder: Path | str) -> tuple[list[Path], list[Path]]:
    """The entries of `folder`, sorted by name; and in a second list the links that lead out of it, which must not be followed.

    Hidden entries are left out: macOS leaves a `._x.jpg` beside every `x.jpg`. Raises RefusedError if the folder can't be listed.
    """
    folder = Path(folder)
    try:
        inside = folder.resolve(strict=True)
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise RefusedError("the folder can't be listed", where=shown(folder), got=_why(error)) from error
    leading_out = [entry for entry in entries if not _lies_in(entry, inside)]
    return [entry for entry in entries if entry not in leading_out], leading_out


def is_photo_name(path: Path) -> bool:
    """Whether a file counts as a photo by its suffix. This includes formats that are refused when they are read."""
    return path.suffix.lower() in PHOTO_SUFFIXES | _FOREIGN_SUFFIXES


def is_photo_without_suffix(path: Path) -> bool:
    """Whether a file without a suffix begins with the bytes of a photo."""
    if path.suffix:
        return False
    try:
        return bool(suffix_of(_read(path, most_bytes=16)))
    except RefusedError:
        return False


def shown(path: Path | str) -> str:
    """A path as text that can be printed and put into JSON, even if its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _lies_in(entry: Path, folder: Path) -> bool:
    try:
        return entry.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # a link in a circle leads nowhere
        return False


def _read(path: Path, most_bytes: int | None = None) -> bytes:
    """The bytes of a regular file: the first `most_bytes`, or all. Raises RefusedError, also for more than MAX_FILE_BYTES.

    The file is opened without waiting, because a FIFO would block for ever. The checks are made on the opened file, because the path may
    lead to another file a moment later.
    """
    where = shown(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise RefusedError("no such file", where=where) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path; ENXIO: a socket
        raise RefusedError("the file can't be read", where=where, got=_why(error)) from error
    try:
        with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor has no path
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise RefusedError("is a folder, not a photo", where=where)
            if not stat.S_ISREG(status.st_mode):
                raise RefusedError("is not a regular file", where=where)
            data = file.read(MAX_FILE_BYTES + 1 if most_bytes is None else most_bytes)
    except IsADirectoryError as error:
        raise RefusedError("is a folder, not a photo", where=where) from error
    except OSError as error:
        raise RefusedError("the file can't be read", where=where, got=_why(error)) from error
    if len(data) > MAX_FILE_BYTES:
        raise RefusedError(
            "the file is too large",
            where=where,
            got=f"more than {MAX_FILE_BYTES >> 20} MiB",
            expected=f"at most {MAX_FILE_BYTES >> 20} MiB",
            remedy="export it as JPEG",
        )
    return data


@contextmanager
def _at(path: Path) -> Iterator[None]:
    """Add the photo's path to refusals raised in this block."""
    try:
        yield
    except RefusedError as error:
        raise RefusedError(
            error.what, where=shown(path), got=error.got, expected=error.expected, remedy=error.remedy
        ) from error


@contextmanager
def _decoder_faults(start: bytes, suffix: str, *, is_known: bool) -> Iterator[None]:
    """`is_known`: the format is one that we read, though nothing else in the file may be."""
    try:
        yield
    except RefusedError:
        raise
    except UnidentifiedImageError as error:
        if is_known:
            raise _damaged(error) from error
        raise _not_a_photo(start, suffix.lower()) from error
    except MemoryError as error:
        raise RefusedError(
            "decoding takes more memory than a photo may", remedy="open it in an image editor and save it as JPEG"
        ) from error
    except _DECODER_ERRORS as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> RefusedError:
    return RefusedError(
        "the photo is damaged or cut short",
        got="" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__,
        remedy="copy it again from where it came from, or open it in an image editor and save it anew",
    )


def _not_a_photo(start: bytes, suffix: str) -> RefusedError:
    got = ""
    if start[4:8] == b"ftyp":  # ISO base media: HEIC and AVIF from phones, but also MP4
        got = "HEIC, AVIF or a video"
    elif suffix in _FOREIGN_SUFFIXES:
        got = suffix
    if got:
        return RefusedError("the format is not read", got=got, expected=_FORMAT_NAMES, remedy="export it as JPEG")
    return RefusedError("is not a photo", expected=_FORMAT_NAMES)


def _is_decoded_reduced(photo: Pillow.Image, data: bytes) -> bool:
    """Whether the decoder can decode at a reduced size. It can for a JPEG of one scan; for several scans it holds all coefficients."""
    return photo.format == JpegImagePlugin.JpegImageFile.format and data.count(b"\xff\xda") == 1


def _reduction(width: int, height: int, *, whole: bool) -> int:
    """The power of two by which to divide both sides. `whole`: see MAX_WHOLE_MEGAPIXELS. Raises RefusedError for sizes out of bounds."""
    if min(width, height) < MIN_SIDE_PX:
        raise RefusedError(
            "the photo is too small", got=f"{width}×{height}", expected=f"{MIN_SIDE_PX} pixels a side or more"
        )
    megapixels = width * height / 1e6
    most = MAX_WHOLE_MEGAPIXELS if whole else MAX_MEGAPIXELS
    if megapixels > most:
        kind = f" of this format (JPEG that is not progressive: {MAX_MEGAPIXELS})" if whole else ""
        raise RefusedError(
            "the photo is too large",
            got=f"{megapixels:.0f} megapixels ({width}×{height})",
            expected=f"at most {most} megapixels{kind}",
            remedy="scale it down",
        )
    factor = 1
    while megapixels / factor**2 > DECODED_MEGAPIXELS:
        factor *= 2
    return factor


def _decode(photo: Pillow.Image, factor: int) -> Image:
    wanted_area = photo.width * photo.height / factor**2
    if factor > 1:
        # JPEG is decoded directly to 1/2, 1/4 or 1/8. Other formats ignore this and are reduced below.
        photo.draft(None, (photo.width // factor, photo.height // factor))
    photo.load()
    plain = _plain(photo)
    # The areas are compared, not the sides, because Pillow turns a TIFF upright while it loads.
    if (left_over := round(math.sqrt(photo.width * photo.height / wanted_area))) > 1:
        plain = plain.reduce(left_over)
    ImageOps.exif_transpose(plain, in_place=True)  # makes no copy if the photo is upright already
    rgb = np.asarray(_without_alpha(plain))
    return np.ascontiguousarray(rgb[:, :, ::-1])


def _plain(photo: Pillow.Image) -> Pillow.Image:
    """The image in a mode whose pixels can be averaged: L, LA, RGB, RGBA or CMYK."""
    if photo.mode in {"L", "LA", "RGB", "RGBA", "CMYK"}:
        return photo
    if photo.mode.startswith("I"):
        # 16-bit grey must be scaled. Pillow's own conversion clips it at 255 instead.
        grey = Pillow.fromarray((np.asarray(photo) >> 8).clip(0, 255).astype(np.uint8))
        grey.info = dict(photo.info)
        return grey
    transparent = photo.mode in {"PA", "La", "RGBa"} or "transparency" in photo.info
    return photo.convert("RGBA" if transparent else "L" if photo.mode == "1" else "RGB")


def _without_alpha(photo: Pillow.Image) -> Pillow.Image:
    """The image as RGB. Transparent pixels become white, because their hidden colours are arbitrary."""
    if photo.mode not in {"LA", "RGBA"}:
        return photo if photo.mode == "RGB" else photo.convert("RGB")
    white = Pillow.new("RGB", photo.size, "white")
    white.paste(photo.convert("RGB"), mask=photo.getchannel("A"))
    return white


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
