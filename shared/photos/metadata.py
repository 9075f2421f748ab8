"""Strips a photo's bytes of everything but the image itself: position, time, device, comments, thumbnails, bytes behind the end.

Nothing is decoded or encoded again. A file is cut into its segments, chunks or tags. Those that a decoder needs are put together anew,
with the orientation. The result gives the same pixels. Stripping the result again changes nothing, so the digest of the kept copy is
the same as that of the photo that was handed in.

Somebody may have made the bytes to do harm, so every length is checked. The result is no longer than the input, with two exceptions:
the orientation, and tags of a TIFF that share their bytes, each of which has at most a mebibyte.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from shared.errors import RefusedError

# Scans of a JPEG. Decoding each one takes as long as the whole image. Progressive JPEGs of cameras and editors have 10.
MAX_SCANS = 500
_MAX_PARTS = 100_000  # segments, chunks or tags; more only cost time

_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([1-8])")


def without_metadata(data: bytes) -> bytes:
    """`data` with only the image and its orientation. Of several images in a file only the first stays.

    Bytes in a format that we do not read are returned as they are. Raises RefusedError if the file can't be cut into its parts, and for
    a JPEG of more than MAX_SCANS scans.
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(_PNG):
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:4] in _TIFF_KINDS:
            return _tiff(data)
        return _bmp(data) if data.startswith(b"BM") else data
    except (struct.error, IndexError, OverflowError) as error:  # OverflowError: an offset beyond all memory
        raise _damaged("it ends in the middle of a header") from error


def suffix_of(data: bytes) -> str:
    """The file name's suffix for the format of these bytes, like ".jpg". Empty for a format that we do not read."""
    if data.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if data.startswith(_PNG):
        return ".png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if data[:4] in _TIFF_KINDS:
        return ".tif"
    return ".bmp" if data.startswith(b"BM") else ""


# --- orientation -------------------------------------------------------------------------------------------------------


def _exif_orientation(exif: bytes) -> int:
    """The orientation in a TIFF structure, 1 to 8; 1 if it contains none."""
    kind = _TIFF_KINDS.get(exif[:4])
    if kind is None or kind.big:
        return 1
    try:
        (start,) = struct.unpack_from(kind.order + "I", exif, 4)
        (count,) = struct.unpack_from(kind.order + "H", exif, start)
        for number in range(min(count, 1000)):
            tag, form, _, value = struct.unpack_from(kind.order + "HHI4s", exif, start + 2 + 12 * number)
            if tag == _ORIENTATION and form in (3, 4):
                (turn,) = struct.unpack_from(kind.order + ("H" if form == 3 else "I"), value)
                return turn if 1 <= turn <= 8 else 1
    except struct.error:
        return 1
    return 1


def _xmp_orientation(xmp: bytes) -> int:
    found = _XMP_ORIENTATION.search(xmp)
    return int(found[1]) if found else 1


def _exif(orientation: int) -> bytes:
    """A TIFF structure that contains only the orientation."""
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, _ORIENTATION, 3, 1, orientation, 0, 0)


# --- JPEG --------------------------------------------------------------------------------------------------------------

_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SOS, _EOI, _APP0, _APP1, _APP14 = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE
# The markers of frame headers, Huffman and arithmetic tables, quantisation, restart interval, number of lines.
_PICTURE_MARKERS = {*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD} - {0xC8}


def _jpeg(data: bytes) -> bytes:
    start = b""
    orientation = 1
    parts: list[bytes] = []
    scans = 0
    for marker, content, raw in _segments(data):
        if marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 12:
            start = b"\xff\xe0\0\x10" + content[:12] + b"\0\0"  # no thumbnail
        elif marker == _APP1 and content.startswith(b"Exif\0") and orientation == 1:
            orientation = _exif_orientation(content[6:])
        elif marker == _APP1 and content.startswith(b"http://ns.adobe.com/xap/") and orientation == 1:
            orientation = _xmp_orientation(content)
        elif marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
            parts.append(b"\xff\xee\0\x0e" + content[:12])  # how its colours are coded
        elif marker in _PICTURE_MARKERS or marker == _EOI:
            parts.append(raw)
        elif marker == _SOS:
            parts.append(raw)
            scans += 1
            if scans > MAX_SCANS:
                raise RefusedError(
                    "the photo takes too long to decode",
                    got=f"a progressive JPEG of more than {MAX_SCANS} scans",
                    remedy="open it in an image editor and save it anew",
                )
    turned = b"" if orientation == 1 else _app1(b"Exif\0\0" + _exif(orientation))
    return b"\xff\xd8" + start + turned + b"".join(parts)


def _app1(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Each segment up to the first end of image: (marker, content, the segment's bytes). A scan's bytes include its coded data."""
    at = 2
    for _ in range(_MAX_PARTS):
        found = _NEXT_MARKER.search(data, at)
        if found is None:
            return  # the file is cut short; the decoder will report that
        marker, at = found[1][0], found.end()
        if marker == _EOI:
            yield marker, b"", b"\xff\xd9"
            return
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:  # these segments have no length
            continue
        (length,) = struct.unpack_from(">H", data, at)
        end = at + length
        if length < 2 or end > len(data):
            raise _damaged("a segment is longer than the file")
        content = data[at + 2 : end]
        if marker == _SOS:
            stop = _END_OF_SCAN.search(data, end)
            end = stop.start() if stop else len(data)
        yield marker, content, b"\xff" + bytes([marker]) + data[at:end]
        at = end
    raise _damaged(f"it has more than {_MAX_PARTS} segments")


# --- PNG ---------------------------------------------------------------------------------------------------------------

_PNG = b"\x89PNG\r\n\x1a\n"


def _png(data: bytes) -> bytes:
    import zlib

    orientation = 1
    parts: list[tuple[bytes, bytes]] = []
    at = len(_PNG)
    for _ in range(_MAX_PARTS):
        if at + 8 > len(data):
            break  # the file is cut short; the decoder will report that
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind in {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}:
            parts.append((kind, data[at:end]))
        elif kind == b"eXIf":
            orientation = _exif_orientation(data[at + 8 : end - 4])
        elif kind == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\0", at + 8) and orientation == 1:
            orientation = _xmp_orientation(data[at + 8 : end - 4])
        if kind == b"IEND":
            break
        at = end
    else:
        raise _damaged(f"it has more than {_MAX_PARTS} chunks")
    turned = b""
    if orientation != 1:
        body = b"eXIf" + _exif(orientation)
        turned = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return _PNG + b"".join(raw + (turned if kind == b"IHDR" else b"") for kind, raw in parts)


# --- WebP --------------------------------------------------------------------------------------------------------------

_WEBP_ALPHA_AND_ANIMATION, _WEBP_EXIF = 0x12, 0x08


def _webp(data: bytes) -> bytes:
    orientation, header = 1, b""
    parts: list[bytes] = []
    at = 12
    for _ in range(_MAX_PARTS):
        if at + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        content = data[at + 8 : at + 8 + length]
        if kind == b"VP8X" and length == 10:
            header = content
        elif kind in {b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}:
            parts.append(_webp_chunk(kind, content, length))
        elif kind == b"EXIF":
            orientation = _exif_orientation(content.removeprefix(b"Exif\0\0"))
        elif kind == b"XMP " and orientation == 1:
            orientation = _xmp_orientation(content)
        at += 8 + length + length % 2
    else:
        raise _damaged(f"it has more than {_MAX_PARTS} chunks")
    if header:
        turned = orientation != 1
        flags = header[0] & _WEBP_ALPHA_AND_ANIMATION | (_WEBP_EXIF if turned else 0)
        parts.insert(0, _webp_chunk(b"VP8X", bytes([flags]) + header[1:], 10))
        parts += [_webp_chunk(b"EXIF", _exif(orientation), len(_exif(orientation)))] if turned else []
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunk(kind: bytes, content: bytes, length: int) -> bytes:
    """A chunk. If its content is cut short, it keeps the length that it claims, so that the decoder notices."""
    padding = b"\0" if length % 2 and len(content) == length else b""
    return kind + struct.pack("<I", length) + content + padding


# --- BMP ---------------------------------------------------------------------------------------------------------------


def _bmp(data: bytes) -> bytes:
    """Keep header, palette and pixels. What lies behind them is dropped, for example a colour profile."""
    (pixels_at, header_size) = struct.unpack_from("<II", data, 10)
    if header_size == 12:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        packing = size = 0
    else:
        width, height, _, depth, packing, size = struct.unpack_from("<iiHHII", data, 18)
    if packing in (0, 3, 6):  # the pixels are not compressed
        size = (abs(width) * depth + 31) // 32 * 4 * abs(height)
    end = pixels_at + size if size else len(data)
    return data[:2] + struct.pack("<I", min(end, len(data))) + b"\0\0\0\0" + data[10:end]


# --- TIFF --------------------------------------------------------------------------------------------------------------


class _Kind:
    """A kind of TIFF: its byte order, and whether offsets have eight bytes (BigTIFF)."""

    def __init__(self, order: str, *, big: bool) -> None:
        self.order, self.big = order, big
        self.entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))


_TIFF_KINDS = {
    b"II*\0": _Kind("<", big=False),
    b"MM\0*": _Kind(">", big=False),
    b"II+\0": _Kind("<", big=True),
    b"MM\0+": _Kind(">", big=True),
}
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
# The tags that a decoder needs: size, depth, compression, colours, orientation, predictor, sample format, subsampling.
_TIFF_KEPT = {
    *(256, 257, 258, 259, 262, 266, _ORIENTATION, 277, 278, 284, 292, 293, 317, 320, 322, 323),
    *(332, 338, 339, 347, 529, 530, 531, 532),
}
_MAX_TAG_BYTES = 1 << 20  # enough for the offsets of 262,144 strips
# The tags with the offsets and the lengths of strips, and of tiles.
_TIFF_PLACES = ((273, 279), (324, 325))
_TIFF_READ = _TIFF_KEPT | {tag for places in _TIFF_PLACES for tag in places}
_COMPRESSION, _OLD_JPEG = 259, 6
_TIFF_LONG = 4


def _tiff(data: bytes) -> bytes:
    """The first image of the file: its strips or tiles one after the other, with the tags that a decoder needs."""
    kind = _TIFF_KINDS[data[:4]]
    tags = _tiff_tags(data, kind)
    if _integers(tags, _COMPRESSION, kind)[:1] == [_OLD_JPEG]:
        raise RefusedError("the format is not read", got="a TIFF with JPEG of the old kind", remedy="export it as JPEG")
    kept = {tag: value for tag, value in tags.items() if tag in _TIFF_KEPT}
    out = bytearray(data[:2] + struct.pack(kind.order + "HI", 42, 0))
    for where, sizes in _TIFF_PLACES:
        if where not in tags:
            continue
        offsets, lengths = _integers(tags, where, kind), _integers(tags, sizes, kind)
        if len(offsets) != len(lengths) or sum(lengths) > len(data):
            raise _damaged("its strips are longer than the file")
        placed = []
        for offset, length in zip(offsets, lengths, strict=True):
            piece = data[offset : offset + length]
            if len(piece) < length:
                raise _damaged("a strip lies beyond the end of the file")
            placed.append(len(out))
            out += piece
        kept[where] = (_TIFF_LONG, struct.pack(f"{kind.order}{len(placed)}I", *placed))
        kept[sizes] = (_TIFF_LONG, struct.pack(f"{kind.order}{len(lengths)}I", *lengths))
    return _with_tags(out, kept, kind)


def _with_tags(out: bytearray, tags: dict[int, tuple[int, bytes]], kind: _Kind) -> bytes:
    """`out` with a directory of `tags` behind it. The header, which is in `out`, gets the directory's offset."""
    entries = []
    for tag, (form, value) in sorted(tags.items()):
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            out += b"\0" * (len(out) % 2)
            place = struct.pack(kind.order + "I", len(out))
            out += value
        entries.append(struct.pack(kind.order + "HHI4s", tag, form, len(value) // _TIFF_SIZES[form], place))
    out += b"\0" * (len(out) % 2)
    struct.pack_into(kind.order + "I", out, 4, len(out))
    return bytes(out + struct.pack(kind.order + "H", len(entries)) + b"".join(entries) + b"\0\0\0\0")


def _tiff_tags(data: bytes, kind: _Kind) -> dict[int, tuple[int, bytes]]:
    """Those tags of the first directory that we read: (type, bytes of the value) by tag. 8-byte integers become 4-byte ones."""
    if kind.big:
        (start,) = struct.unpack_from(kind.order + "Q", data, 8)
        (count,) = struct.unpack_from(kind.order + "Q", data, start)
    else:
        (start,) = struct.unpack_from(kind.order + "I", data, 4)
        (count,) = struct.unpack_from(kind.order + "H", data, start)
    start += 8 if kind.big else 2
    if count > _MAX_PARTS:
        raise _damaged(f"it has more than {_MAX_PARTS} tags")
    tags: dict[int, tuple[int, bytes]] = {}
    for number in range(count):
        tag, form, amount, place = kind.entry.unpack_from(data, start + number * kind.entry.size)
        size = amount * _TIFF_SIZES.get(form, 0)
        if tag not in _TIFF_READ or not 0 < size <= _MAX_TAG_BYTES:
            continue
        if size <= len(place):
            value = place[:size]
        else:
            (offset,) = struct.unpack(kind.order + ("Q" if kind.big else "I"), place)
            value = data[offset : offset + size]
            if len(value) < size:
                continue
        if form == 16:
            numbers = struct.unpack(f"{kind.order}{amount}Q", value)
            if max(numbers) > 0xFFFFFFFF:
                raise _damaged("an offset beyond any file that is read")
            form, value = _TIFF_LONG, struct.pack(f"{kind.order}{amount}I", *numbers)
        tags.setdefault(tag, (form, value))
    return tags


def _integers(tags: dict[int, tuple[int, bytes]], tag: int, kind: _Kind) -> list[int]:
    form, value = tags.get(tag, (0, b""))
    letter = _TIFF_INTEGERS.get(form)
    if letter is None:
        return []
    return list(struct.unpack(f"{kind.order}{len(value) // _TIFF_SIZES[form]}{letter}", value))


def _damaged(got: str) -> RefusedError:
    return RefusedError(
        "the photo is damaged or cut short",
        got=got,
        remedy="copy it again from where it came from, or open it in an image editor and save it anew",
    )
