"""What a photo tells besides the picture goes; the picture stays, pixel for pixel and the right way up."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps
from PIL.PngImagePlugin import PngInfo

from shared.errors import RefusedError
from shared.photos.metadata import without_metadata
from shared.photos.reading import decode_photo, load_photo

TOLD = "HR file 4711"
POSITION = (52.0, 31.0, 7.0)
XMP = f'<x:xmpmeta><rdf:li dc:description="{TOLD}"/></x:xmpmeta>'.encode()


def picture(mode: str = "RGB", size: tuple[int, int] = (83, 61)) -> Pillow.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    return Pillow.fromarray(pixels).convert(mode)


def exif(orientation: int = 1) -> Pillow.Exif:
    """Who, where, when, and a maker's note."""
    tags = Pillow.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = TOLD
    tags.get_ifd(0x8825).update({1: "N", 2: POSITION})
    tags.get_ifd(0x8769).update({0x927C: TOLD.encode() * 50, 0x9003: "2026:01:31 08:00:00"})
    return tags


def saved(form: str, orientation: int = 1, mode: str = "RGB", **options: Any) -> bytes:
    """A photo in that format with all that it can tell."""
    if form == "PNG":
        text = PngInfo()
        text.add_text("Comment", TOLD)
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options["pnginfo"] = text
    elif form in {"JPEG", "WEBP"}:
        options["xmp"] = XMP
    if form == "JPEG":
        options |= {"comment": TOLD}
    if form != "BMP":
        options |= {"exif": exif(orientation), "icc_profile": TOLD.encode() * 20}
    out = io.BytesIO()
    picture(mode).save(out, form, **options)
    return out.getvalue()


CASES = {
    "jpeg": saved("JPEG"),
    "jpeg, turned": saved("JPEG", 6),
    "jpeg, progressive": saved("JPEG", 8, progressive=True),
    "jpeg, grey": saved("JPEG", mode="L"),
    "jpeg, CMYK with Adobe's marker": saved("JPEG", mode="CMYK"),
    "jpeg, restarts": saved("JPEG", restart_marker_rows=1),
    "png": saved("PNG"),
    "png, turned": saved("PNG", 3),
    "png, palette": saved("PNG", mode="P"),
    "png, alpha": saved("PNG", mode="RGBA"),
    "webp": saved("WEBP", quality=90),
    "webp, turned": saved("WEBP", 6, lossless=True),
    "webp, alpha": saved("WEBP", 5, mode="RGBA", quality=80),
    "bmp": saved("BMP"),
    "bmp, palette": saved("BMP", mode="P"),
    **{
        f"tiff, {compression or 'raw'}": saved("TIFF", 6, compression=compression)
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    },
    "tiff, strips": saved("TIFF", compression="tiff_lzw", tiffinfo={278: 4}),
    "tiff, palette": saved("TIFF", mode="P"),
    "tiff, CMYK": saved("TIFF", mode="CMYK"),
    "tiff, big": saved("TIFF", 8, big_tiff=True),
}


@pytest.mark.parametrize("name", CASES)
def test_only_the_picture_and_its_orientation_stay(name: str) -> None:
    """Position, names, dates, comments, profiles and maker's notes are gone; pixels, size and turn are the same."""
    before = CASES[name]
    after = without_metadata(before)
    assert TOLD.encode() not in after
    assert b"xmpmeta" not in after
    assert b"2026:01:31" not in after
    with Pillow.open(io.BytesIO(before)) as was, Pillow.open(io.BytesIO(after)) as now:
        assert (was.format, was.size) == (now.format, now.size)
        if "bmp" not in name:
            assert set(now.getexif()) - {0x0112} == set() or "tiff" in name
            assert not now.getexif().get_ifd(0x8825)
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(was)), np.asarray(ImageOps.exif_transpose(now)))
    assert np.array_equal(decode_photo(before)[0], decode_photo(after)[0])


@pytest.mark.parametrize("name", CASES)
def test_what_is_stripped_stays_as_it_is(name: str) -> None:
    """A second time changes nothing, whatever was written around the picture: a photo and its kept copy have one digest."""
    after = without_metadata(CASES[name])
    assert without_metadata(after) == after
    if "bmp" not in name and "tiff" not in name:
        assert len(after) < len(CASES[name])


def test_whatever_follows_the_picture_goes() -> None:
    """The film that a phone hides behind a photo, thumbnails in it, and a second picture of a pair."""
    plain = without_metadata(saved("JPEG"))
    assert without_metadata(plain + b"ftypmp42 film") == plain
    assert without_metadata(saved("PNG") + TOLD.encode()) == without_metadata(saved("PNG"))
    assert TOLD.encode() not in without_metadata(saved("BMP") + TOLD.encode())
    out = io.BytesIO()
    picture().save(out, "MPO", save_all=True, append_images=[picture(size=(40, 40))])
    assert out.getvalue().count(b"\xff\xd8\xff") == 2
    assert without_metadata(out.getvalue()).count(b"\xff\xd8\xff") == 1


def test_orientation_in_xmp_counts() -> None:
    """A photo that says its turn in XMP alone keeps it."""
    out = io.BytesIO()
    picture().save(out, "JPEG", xmp=b'<x:xmpmeta tiff:Orientation="6"/>')
    assert decode_photo(without_metadata(out.getvalue()))[0].shape == (83, 61, 3)


def test_a_photo_and_its_stripped_copy_have_one_digest(tmp_path: Path) -> None:
    """What tells whether a photo is enrolled already is the same before and after, the file's own digest is not."""
    (tmp_path / "a.jpg").write_bytes(saved("JPEG", 6))
    first = load_photo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(first.data)
    second = load_photo(tmp_path / "b.jpg")
    assert first.digest == second.digest == second.file_digest
    assert first.file_digest != first.digest


def test_damaged_files_are_refused_or_left_to_the_decoder() -> None:
    """Whatever bytes are flipped or missing: bytes or a refusal come out, never much more than went in."""
    chance = random.Random(11)
    for whole in CASES.values():
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(chance.choice([1, 3, 10])):
                damaged[chance.randrange(min(len(damaged), chance.choice([64, 400, 100_000])))] = chance.randrange(256)
            data = bytes(damaged[: chance.choice([len(damaged), chance.randrange(1, len(damaged))])])
            try:
                after = without_metadata(data)
            except RefusedError:
                continue
            assert len(after) <= 2 * len(data) + 64
            assert without_metadata(after) == after
