"""Photos as people hand them in: every kind that is read, and every kind that is refused, with the reason."""

from __future__ import annotations

import io
import os
import random
import resource
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from shared.errors import RefusedError
from shared.photos.reading import (
    Image,
    decode_photo,
    entries_in,
    is_photo_name,
    is_photo_without_suffix,
    read_photo,
    read_scaled,
)
from tests.support.paths import six_faces

EXIF_ORIENTATION = 0x0112


def quarters(width: int, height: int) -> Pillow.Image:
    """Red and green above blue and white: shows colour order and any turn."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = 255
    return Pillow.fromarray(pixels)


def corners(image: Image) -> list[str]:
    """Names of the colours in the four corners, row by row."""
    names = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue", (255, 255, 255): "white"}
    spots = image[4, 4], image[4, -5], image[-5, 4], image[-5, -5]
    near = [tuple(255 if int(value) > 127 else 0 for value in spot[::-1]) for spot in spots]
    return [names.get((red, green, blue), "other") for red, green, blue in near]


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.png", "a.webp", "a.bmp", "a.tif"])
def test_every_format_decodes_to_bgr(tmp_path: Path, name: str) -> None:
    """Each format we name is read, in its own size, with blue as the first channel."""
    path = tmp_path / name
    quarters(64, 48).save(path, quality=95)
    image = read_photo(path)
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert corners(image) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("size", [(64, 48), (5000, 3000)])
def test_exif_orientation_is_respected(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    """A photo whose EXIF says "turn right" comes out turned, once, also when it is decoded reduced."""
    exif = Pillow.Exif()
    exif[EXIF_ORIENTATION] = 6
    path = tmp_path / name
    quarters(*size).save(path, exif=exif, quality=80)
    image, scale = read_scaled(path)
    assert corners(image) == ["blue", "red", "white", "green"]
    assert (image.shape[1] * scale, image.shape[0] * scale) == (size[1], size[0])


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "PA", "CMYK", "I;16", "YCbCr", "F"])
def test_every_mode_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    """Greyscale, palette, transparent, CMYK and 16-bit pictures decode to three channels, light and dark kept."""
    pixels = np.zeros((40, 40), np.uint8)
    pixels[:, 20:] = 255
    grey = Pillow.fromarray(pixels.astype(np.uint16) * 257 if mode == "I;16" else pixels)
    picture = grey if mode == "I;16" else grey.convert(mode)
    path = tmp_path / ("a.tif" if mode in {"CMYK", "YCbCr", "F", "LA", "PA"} else "a.png")
    picture.save(path)
    image = read_photo(path)
    assert image.shape == (40, 40, 3)
    assert image[20, 5].max() < 30
    assert image[20, 35].min() > 225


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    """Of 16 bits the upper eight are kept: mid-grey stays mid-grey instead of turning white."""
    Pillow.fromarray(np.full((40, 40), 100 << 8, np.uint16)).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png")[20, 20].tolist() == [100, 100, 100]


def test_transparent_parts_become_white(tmp_path: Path) -> None:
    """What is transparent shows white, not the colour that an editor left under it."""
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:, 20:, 3] = 255
    Pillow.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    image = read_photo(tmp_path / "a.png")
    assert image[20, 5].tolist() == [255, 255, 255]
    assert image[20, 35].tolist() == [0, 0, 0]


def test_phone_photo_is_decoded_reduced_in_modest_memory(tmp_path: Path) -> None:
    """A 40-megapixel JPEG is halved while it is decoded: at most 12 megapixels come out, with under 140 MB."""
    path = tmp_path / "phone.jpg"
    quarters(7304, 5478).save(path, quality=85)
    measure = (
        "import re, sys; from pathlib import Path; from shared.photos.reading import read_scaled\n"
        "def peak(): return int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before = peak()\n"
        "image, scale = read_scaled(sys.argv[1])\n"
        "print(*image.shape, scale, peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", measure, path], capture_output=True, text=True, check=True, timeout=60)
    height, width, channels, scale, kilobytes = map(int, done.stdout.split())
    assert (height, width, channels, scale) == (2739, 3652, 3, 2)
    assert kilobytes < 140_000


def test_large_png_is_reduced(tmp_path: Path) -> None:
    """Formats that can't be decoded reduced are reduced afterwards, to the same size."""
    quarters(5000, 3000).save(tmp_path / "a.png", compress_level=1)
    image, scale = read_scaled(tmp_path / "a.png")
    assert (image.shape, scale) == ((1500, 2500, 3), 2)


def test_twelve_megapixels_stay(tmp_path: Path) -> None:
    """Up to 12 megapixels a photo keeps its size."""
    quarters(4000, 3000).save(tmp_path / "a.jpg", quality=60)
    image, scale = read_scaled(tmp_path / "a.jpg")
    assert (image.shape, scale) == ((3000, 4000, 3), 1)


def test_300_megapixels_are_refused_from_the_header(tmp_path: Path) -> None:
    """A photo that would take gigabytes is refused by its header alone: size and limit named, nothing allocated."""
    path = tmp_path / "a.png"
    path.write_bytes(png_header(20000, 15000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RefusedError, match=r"300 megapixels.*at most 30 megapixels of this format"):
        read_photo(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_limit_of_ours_comes_before_pillows(tmp_path: Path) -> None:
    """Between Pillow's own warning (89 megapixels) and our limit nothing is refused for its size, nor warned of."""
    path = tmp_path / "a.jpg"
    quarters(9800, 10000).save(path, quality=10)
    assert read_photo(path).shape == (2500, 2450, 3)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", "the file is empty"),
        ("text.jpg", b"this is no photo at all, only words\n" * 9, "is not a photo"),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "export it as JPEG"),
        ("moving.gif", b"GIF89a" + b"\0" * 40, "export it as JPEG"),
        ("tiny.png", png_header(8, 4000), "too small"),
        ("cut.png", png_header(64, 64), "damaged or cut short"),
        ("junk.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 60, "is not a photo|damaged"),
    ],
)
def test_bad_photos_are_refused_with_the_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    """What is no photo is refused by name, with what is wrong."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RefusedError, match=reason) as refusal:
        read_photo(path)
    assert refusal.value.where == str(path)


def test_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    """A half-copied photo is refused; OpenCV would have handed over a half grey one."""
    whole = six_faces().read_bytes()
    path = tmp_path / "half.jpg"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RefusedError, match="damaged or cut short"):
        read_photo(path)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    """A folder, a missing file, a FIFO (which would block for ever) and a name with NUL are refused."""
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (
        ("folder.jpg", "is a folder"),
        ("fifo.jpg", "not a regular file"),
        ("none.jpg", "no such file"),
        ("a\0b.jpg", "can't be read"),
    ):
        with pytest.raises(RefusedError, match=reason):
            read_photo(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    """A photo without read permission is refused with the system's reason."""
    path = tmp_path / "a.jpg"
    quarters(32, 32).save(path)
    path.chmod(0)
    with pytest.raises(RefusedError, match="Permission denied"):
        read_photo(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of the damage that it was given
def test_damaged_files_never_escape(tmp_path: Path) -> None:
    """Whatever bytes are flipped or missing, a photo is decoded or refused: no other exception comes out."""
    chance = random.Random(7)
    path = tmp_path / "a.bin"
    for suffix in ("jpeg", "png", "webp", "bmp", "tiff"):
        whole = io.BytesIO()
        quarters(64, 48).save(whole, suffix)
        for _ in range(500):
            damaged = bytearray(whole.getvalue())
            for _ in range(chance.choice([1, 3, 10])):
                damaged[chance.randrange(min(len(damaged), chance.choice([64, 100_000])))] = chance.randrange(256)
            path.write_bytes(damaged[: chance.choice([len(damaged), chance.randrange(1, len(damaged))])])
            try:
                assert read_photo(path).ndim == 3
            except RefusedError:
                continue


def test_listing_is_sorted_and_stays_inside(tmp_path: Path) -> None:
    """Entries come sorted by name; hidden files are left out, and links that lead outside come apart from the others."""
    outside = tmp_path / "outside.jpg"
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b.jpg", "a.PNG", "phone.HEIC", "._b.jpg", "notes.txt"):
        (folder / name).write_bytes(b"x")
    outside.write_bytes(b"x")
    (folder / "leads-out.jpg").symlink_to(outside)
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "leads-in.jpg").symlink_to(folder / "b.jpg")
    inside, leading_out = entries_in(folder)
    assert [path.name for path in inside] == ["a.PNG", "b.jpg", "leads-in.jpg", "notes.txt", "phone.HEIC"]
    assert [path.name for path in leading_out] == ["leads-out.jpg", "loop.jpg"]
    assert [path.name for path in inside if is_photo_name(path)] == ["a.PNG", "b.jpg", "leads-in.jpg", "phone.HEIC"]


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """Listing a missing folder is a refusal, not an empty list."""
    with pytest.raises(RefusedError, match="can't be listed"):
        entries_in(tmp_path / "none")


def test_a_photo_without_a_suffix_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    """Photos that lost their suffix are photos; texts, folders and FIFOs without one are not, and nothing waits for them."""
    quarters(64, 48).save(tmp_path / "photo", "JPEG")
    (tmp_path / "LICENSE").write_text("words", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    assert [path.name for path in sorted(tmp_path.iterdir()) if is_photo_without_suffix(path)] == ["photo"]
    assert read_photo(tmp_path / "photo").shape == (48, 64, 3)


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif", "a.bmp", "progressive.jpg"])
def test_what_is_decoded_whole_has_a_lower_bound(tmp_path: Path, name: str) -> None:
    """40 megapixels of a format that can't be decoded reduced, a kilobyte of WebP among them, are refused from the header."""
    path = tmp_path / name
    Pillow.new("L" if name == "a.bmp" else "RGB", (8000, 5000)).save(
        path, progressive=True, lossless=True, compress_level=1
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RefusedError, match=r"40 megapixels.*at most 30"):
        read_photo(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_a_jpeg_of_endless_scans_is_refused_unseen(tmp_path: Path) -> None:
    """10,000 scans over one picture, 74 s of work in 1.6 MB: counted before anything is decoded."""
    whole = io.BytesIO()
    Pillow.new("L", (2000, 2000), 90).save(whole, "JPEG", progressive=True)
    data = whole.getvalue()
    last = data.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(data[:-2] + data[last:-2] * 10_000 + data[-2:])
    began = time.process_time()
    with pytest.raises(RefusedError, match="more than 500 scans"):
        read_photo(tmp_path / "a.jpg")
    assert time.process_time() - began < 2


def test_a_file_larger_than_any_photo_is_refused(tmp_path: Path) -> None:
    """129 MiB: refused after the limit was read, not decoded."""
    with (tmp_path / "a.bmp").open("wb") as file:
        file.write(b"BM")
        file.truncate(129 << 20)
    with pytest.raises(RefusedError, match="more than 128 MiB"):
        read_photo(tmp_path / "a.bmp")


def test_without_its_library_heic_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is asked for. Without being asked, HEIC is a format that is not read."""
    phone = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(RefusedError, match=r"pi-heif.*pip install -c constraints\.txt"):
        decode_photo(phone, heic=True)
    with pytest.raises(RefusedError, match="the format is not read"):
        decode_photo(phone)
