"""`pack.toml`: what a model pack says of itself. It lies beside the pack's two ONNX files. All faults in it are reported at once.

A pack without this file is read by the rules of insightface's own loader (pack.py).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from shared.errors import ConfigurationError, FaultList, RollcallError
from workers.recognition.pixels import Colour, Pixels
from workers.recognition.scrfd import PIXELS as SCRFD_PIXELS
from workers.recognition.yunet import PIXELS as YUNET_PIXELS

PACK_FILE = "pack.toml"
_MAX_BYTES = 64 << 10
Kind = Literal["scrfd", "yunet"]
PIXELS_OF: Mapping[Kind, Pixels] = {"scrfd": SCRFD_PIXELS, "yunet": YUNET_PIXELS}
_RECOGNISER_PIXELS = Pixels(127.5, 127.5)


@dataclass(frozen=True)
class DetectorEntry:
    """`file`: its name in the pack's folder. `sha256`: of it, 64 hex digits."""

    file: str
    sha256: str
    kind: Kind
    pixels: Pixels


@dataclass(frozen=True)
class RecogniserEntry:
    """As above. `side_px`: of its square input; `dim`: of the embedding. `mirrors`: an embedding is the mean of the crop's and its mirror
    image's, which takes twice the time."""

    file: str
    sha256: str
    side_px: int
    dim: int
    pixels: Pixels
    mirrors: bool = True


@dataclass(frozen=True)
class PackFile:
    """What a pack says. `threshold`, `margin`: raw cosines; `measured`: where they come from."""

    licence: str
    commercial_use: bool
    source: str
    threshold: float
    margin: float
    measured: str
    detector: DetectorEntry
    recogniser: RecogniserEntry


def read_pack_file(folder: Path) -> PackFile | None:
    """What the pack in a folder says of itself; None if it says nothing. Raises ConfigurationError, a FaultList if it reads as TOML."""
    path = folder / PACK_FILE
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError("can't be read", where=str(path), got=error.strerror or str(error)) from error
    if len(raw) > _MAX_BYTES:
        raise ConfigurationError("is too large", where=str(path), expected=f"at most {_MAX_BYTES >> 10} kB")
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError("is not TOML", where=str(path), got=str(error)) from error
    return parse_pack_file(document, str(path))


def parse_pack_file(document: Mapping[str, Any], where: str) -> PackFile:
    """The same of a document that was read already. Pure. Raises FaultList."""
    reading = _Reading(where)
    top = reading.section(document, "", _TOP)
    detector = reading.section(_table(document.get("detector")), "detector", _DETECTOR)
    recogniser = reading.section(_table(document.get("recogniser")), "recogniser", _RECOGNISER)
    if reading.faults:
        raise FaultList(reading.faults)
    kind = cast(Kind, detector["kind"])
    return PackFile(
        **top,
        detector=DetectorEntry(detector["file"], detector["sha256"], kind, _pixels(detector, PIXELS_OF[kind])),
        recogniser=RecogniserEntry(
            recogniser["file"], recogniser["sha256"], recogniser["side_px"], recogniser["dim"],
            _pixels(recogniser, _RECOGNISER_PIXELS), recogniser.get("mirrors", True),
        ),
    )  # fmt: skip  # one object


def _pixels(entry: Mapping[str, Any], default: Pixels) -> Pixels:
    colour = cast(Colour, entry.get("colour", default.colour))
    return Pixels(float(entry.get("mean", default.mean)), float(entry.get("std", default.std)), colour)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# --- the keys --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Key:
    """One key: whether a value fits, and what is expected in words."""

    fits: Callable[[Any], bool]
    expected: str
    is_required: bool = True


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1000 and value.isprintable()


def _number_within(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and low <= value <= high


def _side(value: Any) -> bool:
    return type(value) is int and 0 < value <= 1024 and (value % 112 == 0 or value % 128 == 0)


def _file(value: Any) -> bool:
    return _text(value) and Path(value).name == value and value.endswith(".onnx") and not value.startswith(".")


def _sum(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _one_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in names


_TEXT = _Key(_text, "text")
_TOP = {
    "licence": _TEXT,
    "commercial_use": _Key(lambda value: isinstance(value, bool), "true or false"),
    "source": _TEXT,
    "threshold": _Key(_number_within(0.05, 1.0), "a cosine, 0.05 to 1"),
    "margin": _Key(_number_within(0.0, 1.0), "a difference of cosines, 0 to 1"),
    "measured": _TEXT,
}
_COMMON = {
    "file": _Key(_file, "the name of an .onnx file in this folder"),
    "sha256": _Key(_sum, "64 hexadecimal digits in lower case"),
    "colour": _Key(_one_of("RGB", "BGR"), '"RGB" or "BGR"', is_required=False),
    "mean": _Key(_number_within(-255.0, 255.0), "a number from -255 to 255", is_required=False),
    "std": _Key(_number_within(1e-3, 255.0), "a number from 0.001 to 255", is_required=False),
    "points": _Key(_one_of("arcface"), '"arcface": both eyes, nose, corners of the mouth', is_required=False),
}
_DETECTOR = {**_COMMON, "kind": _Key(_one_of("scrfd", "yunet"), '"scrfd" or "yunet"')}
_RECOGNISER = {
    **_COMMON,
    "side_px": _Key(_side, "a multiple of 112 or 128"),
    "dim": _Key(lambda value: type(value) is int and 16 <= value <= 4096, "a whole number from 16 to 4096"),
    "mirrors": _Key(lambda value: isinstance(value, bool), "true or false", is_required=False),
}


class _Reading:
    """Collects the faults of one file."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.faults: list[RollcallError] = []

    def section(self, given: Mapping[str, Any], name: str, keys: Mapping[str, _Key]) -> dict[str, Any]:
        """The values of a table, of which those that fit are returned."""
        tables = ("detector", "recogniser") if not name else ()
        found: dict[str, Any] = {}
        for key, value in given.items():
            if key in keys:
                if keys[key].fits(value):
                    found[key] = value
                else:
                    self._note(name, key, "does not fit", repr(value)[:60], keys[key].expected)
            elif key not in tables:
                self._note(name, key, "unknown key", None, "one of " + ", ".join([*keys, *tables]))
        for key, wanted in keys.items():
            if wanted.is_required and key not in given:
                self._note(name, key, "is missing", None, wanted.expected)
        return found

    def _note(self, section: str, key: str, what: str, got: str | None, expected: str) -> None:
        place = f"[{section}] {key}" if section else key
        self.faults.append(ConfigurationError(what, where=f"{self._where}: {place}", got=got, expected=expected))
