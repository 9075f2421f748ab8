"""Rooms that do not exist, painted, and clips of drawn people who walk through them, as cameras there would show them.

A room is 16 wide and 9 high. It has a back, which is a little out of focus, and a front: what stands before everybody, like a desk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from tests.support.drawn_people import Array, Person, Points, Sheet, View, colour, mixed, portraits, ramp, spline
from workers.recognition.engine import Image

WIDTH, HEIGHT, FRAMES_PER_S = 1920, 1080, 6
_PX = 60  # pixels of a room's unit while it is painted: half of what is shown
_FOCUS = 0.022  # how soft the back is, in units of the room
_PERSON_PX = 150  # pixels that a person's unit is drawn with; about as it is shown


class _Room:
    """A wall and a floor to paint on."""

    def __init__(self, seed: int) -> None:
        self.sheet = Sheet((0, 0, 16, 9), _PX)
        shape = (self.sheet.height, self.sheet.width)
        self.picture = np.zeros((*shape, 3), np.float32)
        self.cover = np.zeros(shape, np.float32)
        self.chance = np.random.default_rng(seed)

    def put(self, paint: Array, mask: Array) -> None:
        self.picture = np.asarray(self.picture * (1 - mask[..., None]) + paint * mask[..., None], np.float32)
        self.cover = np.asarray(np.maximum(self.cover, mask), np.float32)

    def fill(self, points: Points, paint: str | Array, soft: float = 0.012, share: float = 1.0) -> Array:
        mask = np.asarray(self.sheet.area(points, soft) * share, np.float32)
        self.put(colour(paint) if isinstance(paint, str) else paint, mask)
        return mask

    def box(self, x: float, y: float, width: float, height: float, paint: str | Array, soft: float = 0.012) -> Array:
        return self.fill([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], paint, soft)

    def down(self, top: str, bottom: str, y0: float, y1: float) -> Array:
        """A colour that changes from one height to another."""
        share = np.clip((self.sheet.y - y0) / (y1 - y0), 0, 1).astype(np.float32)
        return mixed(colour(top), colour(bottom), share)

    def shadow(self, x: float, y: float, across: float, along: float, strength: float = 0.35) -> None:
        self.picture = np.asarray(
            self.picture * (1 - strength * self.sheet.blob(x, y, across, along))[..., None], np.float32
        )

    def glow(self, x: float, y: float, across: float, along: float, paint: str, strength: float = 0.3) -> None:
        self.picture = np.asarray(
            self.picture + colour(paint) * (strength * self.sheet.blob(x, y, across, along))[..., None], np.float32
        )

    def wall_and_floor(self, wall: tuple[str, str], floor: tuple[str, str], edge: float) -> None:
        self.box(-1, -1, 18, edge + 1, self.down(*wall, 0, edge))
        self.box(-1, edge, 18, 10, self.down(*floor, edge, 9))
        self.box(-1, edge - 0.16, 18, 0.16, self.down(wall[1], floor[0], edge - 0.4, edge))
        self.shadow(8, edge, 12, 0.35, 0.3)

    def plant(self, x: float, y: float, size: float, pot: str, leaf: str) -> None:
        """In a pot that stands at y."""
        self.shadow(x, y, 0.7 * size, 0.16 * size, 0.45)
        for number in range(22):
            angle = math.radians(-90 + (number - 10.5) * 8.5 + self.chance.normal(0, 5))
            reach = size * self.chance.uniform(1.1, 2.0)
            tip = (x + reach * math.cos(angle) * 0.8, y - 0.75 * size + reach * math.sin(angle))
            bend = (x + 0.5 * reach * math.cos(angle) * 0.55, y - 0.8 * size + 0.62 * reach * math.sin(angle))
            across = 0.13 * size
            side = (math.sin(angle) * across, -math.cos(angle) * across)
            outline = [
                (x, y - 0.7 * size),
                (bend[0] + side[0], bend[1] + side[1]),
                tip,
                (bend[0] - side[0], bend[1] - side[1]),
            ]
            tone = colour(leaf) * np.float32(self.chance.uniform(0.6, 1.25))
            self.fill(spline(outline, closed=True), np.asarray(np.clip(tone, 0, 1), np.float32), 0.01)
        body = [
            (x - 0.4 * size, y - 0.75 * size),
            (x + 0.4 * size, y - 0.75 * size),
            (x + 0.3 * size, y),
            (x - 0.3 * size, y),
        ]
        self.fill(body, self._round(x, 0.4 * size, pot))

    def _round(self, x: float, half: float, paint: str) -> Array:
        """The light on something round."""
        place = np.clip((self.sheet.x - x) / half, -1, 1)
        return np.asarray(
            colour(paint) * (0.98 - 0.42 * np.clip(place + 0.35, 0, 2) ** 1.5 * 0.6)[..., None], np.float32
        )

    def frame(
        self, x: float, y: float, width: float, height: float, paint: Callable[[float, float, float, float], None]
    ) -> None:
        """A picture on the wall."""
        self.shadow(x + width / 2 + 0.06, y + height / 2 + 0.1, width * 0.62, height * 0.62, 0.22)
        self.box(x, y, width, height, "#f4efe6")
        self.box(x + 0.14, y + 0.14, width - 0.28, height - 0.28, "#e2d8c8")
        paint(x + 0.14, y + 0.14, width - 0.28, height - 0.28)

    def books(self, x: float, y: float, width: float, height: float, colours: Sequence[str]) -> None:
        """A row that stands on y."""
        at = x
        while at < x + width - 0.2:
            thick, tall = self.chance.uniform(0.12, 0.26), height * self.chance.uniform(0.7, 1.0)
            self.box(at, y - tall, thick - 0.02, tall, colours[int(self.chance.integers(len(colours)))])
            at += thick

    def finished(self, focus: float) -> Array:
        """(HEIGHT, WIDTH, 3), with less light at its edges."""
        soft = cv2.GaussianBlur(self.picture, (0, 0), max(0.3, focus * _PX))
        vignette = 1 - 0.22 * ((self.sheet.x - 8) / 9.5) ** 2 - 0.2 * ((self.sheet.y - 4.3) / 6) ** 2
        return shown(np.asarray(soft * vignette[..., None], np.float32))


def shown(picture: Array) -> Array:
    """As large as the camera's frames."""
    return np.asarray(np.clip(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), 0, 1), np.float32)


def _entrance(room: _Room) -> None:
    """A glass door to a bright street, and a plant."""
    room.wall_and_floor(("#d9cfc0", "#e6ddd0"), ("#b7a998", "#8d8072"), 6.6)
    room.box(9.6, 0.7, 5.4, 5.95, "#3d3b39")
    outside = room.box(9.78, 0.88, 5.04, 5.77, room.down("#cfe4f0", "#eef3ea", 0.8, 5))
    for _ in range(26):
        x, y, size = room.chance.uniform(9.6, 15), room.chance.uniform(3.0, 5.0), room.chance.uniform(0.3, 0.8)
        green = mixed(colour("#9dbb7d"), colour("#6f9a68"), float(room.chance.random()))
        room.put(green, np.asarray(0.55 * outside * room.sheet.blob(x, y, size, size * 0.8), np.float32))
    room.put(colour("#d5d2c8"), np.asarray(outside * ramp(5.1, 5.5, room.sheet.y) * 0.9, np.float32))
    room.put(
        colour("#c4b6a6"),
        np.asarray(0.7 * outside * room.sheet.area([(12.9, 2.2), (15, 1.6), (15, 5.4), (12.9, 5.2)], 0.06), np.float32),
    )
    room.box(12.2, 0.88, 0.2, 5.77, "#4a4744")
    for x in (11.85, 12.62):
        room.box(x, 3.1, 0.09, 1.5, "#d9d5cd")
    room.fill([(9.9, 6.65), (14.8, 6.65), (15.9, 9), (7.9, 9)], "#e9e4d6", 0.12, 0.3)
    room.fill([(9.9, 6.9), (14.2, 6.9), (14.6, 7.7), (9.4, 7.7)], "#5b5f63", 0.03)
    room.glow(12.2, 3.6, 4.2, 3.6, "#fff6e2", 0.13)
    room.frame(5.6, 1.5, 2.2, 2.9, lambda x, y, w, h: _hills(room, x, y, w, h))
    room.box(0.7, 4.5, 3.6, 0.22, "#8a6a4c")
    for x in (0.9, 3.9):
        room.box(x, 4.7, 0.16, 1.9, "#77593f")
    room.books(1.1, 4.5, 1.2, 0.7, ("#c9b48f", "#7d8a94", "#b0604c", "#e4dccb"))
    for number, x in enumerate((1.2, 2.0, 2.8, 3.6)):
        room.box(x, 1.4, 0.1, 0.28, "#6a5139")
        if number in (0, 2):
            coat = [
                (0.05, 1.6),
                (0.28, 1.74),
                (0.46, 2.1),
                (0.56, 3.5),
                (0.3, 3.62),
                (-0.2, 3.62),
                (-0.46, 3.5),
                (-0.36, 2.1),
                (-0.18, 1.74),
            ]
            room.fill([(x + dx, y) for dx, y in coat], ("#7a4f46", "#44586a")[number // 2], 0.03)
            room.fill([(x + 0.04, 1.9), (x + 0.1, 1.9), (x + 0.12, 3.6), (x + 0.02, 3.6)], "#2f2a2a", 0.03, 0.4)
    room.box(0.9, 1.36, 3.1, 0.08, "#77593f")
    room.plant(8.6, 7.15, 1.05, "#c7795a", "#5f8a55")


def _hills(room: _Room, x: float, y: float, width: float, height: float) -> None:
    room.box(x, y, width, height, room.down("#e9c8a0", "#dc8f6a", y, y + height))
    room.put(
        colour("#f7ead0"),
        np.asarray(
            ramp(
                0.33,
                0.29,
                np.asarray(np.hypot(room.sheet.x - x - 0.65 * width, room.sheet.y - y - 0.32 * height), np.float32),
            ),
            np.float32,
        ),
    )
    for level, tone in ((0.55, "#a8705e"), (0.7, "#7b5a5e"), (0.84, "#4d4656")):
        edge = [
            (x, y + height),
            *((x + width * k / 6, y + height * (level + 0.06 * math.sin(k * 2.1 + 9 * level))) for k in range(7)),
            (x + width, y + height),
        ]
        room.fill(edge, tone, 0.02)


def _rings(room: _Room, x: float, y: float, width: float, height: float) -> None:
    room.box(x, y, width, height, "#efe6d6")
    for cx, cy, r, tone in ((0.36, 0.4, 0.3, "#d98e4a"), (0.62, 0.55, 0.28, "#4f7d78"), (0.42, 0.7, 0.17, "#b5564a")):
        away = np.hypot(room.sheet.x - x - cx * width, room.sheet.y - y - cy * height)
        room.put(
            colour(tone),
            np.asarray(0.85 * ramp(r * width + 0.02, r * width - 0.02, np.asarray(away, np.float32)), np.float32),
        )


def _reception(room: _Room) -> None:
    """A wall of wooden slats with lamps; the desk stands in front."""
    room.wall_and_floor(("#5a6b66", "#71827b"), ("#a9937b", "#7d6a57"), 7.0)
    for x in np.arange(0, 6.2, 0.34):
        room.box(float(x), 0, 0.22, 7.0, room.down("#b98a5e", "#9a6e47", 0, 7))
    for y in (1.9, 3.6):
        room.shadow(12.6, y + 0.3, 2.9, 0.25, 0.3)
        room.box(10.2, y, 4.9, 0.17, "#c79c6d")
    room.books(10.4, 1.9, 2.0, 0.95, ("#e0d6c4", "#c96f4a", "#3f5a63", "#d8b46a", "#8fa08c"))
    room.books(12.9, 3.6, 1.9, 0.9, ("#44525c", "#e0d6c4", "#9b5d4c", "#7e9a93"))
    room.plant(14.1, 1.9, 0.5, "#e7ded0", "#7fae72")
    room.plant(11.0, 3.6, 0.45, "#d08a62", "#6f9d66")
    room.frame(7.1, 1.6, 2.1, 2.5, lambda x, y, w, h: _rings(room, x, y, w, h))
    for x in (1.9, 4.4):
        room.box(x - 0.015, 0, 0.03, 1.0, "#2c2825")
        room.fill(spline([(x - 0.2, 0.95), (x + 0.2, 0.95), (x + 0.55, 1.55), (x - 0.55, 1.55)]), "#e6b877", 0.02)
        room.glow(x, 1.7, 1.5, 1.5, "#ffd9a0", 0.3)


def _desk(room: _Room) -> None:
    room.box(-1, 7.75, 18, 0.28, room.down("#d9b58a", "#c39a6c", 7.7, 8.1))
    room.box(-1, 8.03, 18, 2, room.down("#5d4a3b", "#43352b", 8.0, 9))
    for x in np.arange(0.2, 16, 0.7):
        room.box(float(x), 8.05, 0.05, 1, "#3a2e26")
    room.box(11.3, 6.15, 2.5, 1.5, "#2e3033")
    room.box(12.4, 7.6, 0.35, 0.2, "#2e3033")
    room.box(11.7, 7.72, 1.7, 0.08, "#3a3c40")
    room.plant(2.0, 7.8, 0.42, "#efe7da", "#86b27a")


def _workshop(room: _Room) -> None:
    """A board of tools, a window, shelves with boxes; the bench stands in front."""
    room.wall_and_floor(("#c9c4ba", "#b9b3a7"), ("#8e8a84", "#6d6963"), 7.2)
    for row in range(16):
        for column in range(17):
            tone = colour("#c3bdb2") * np.float32(room.chance.uniform(0.93, 1.04))
            room.box(
                column + 0.5 * (row % 2) - 0.5,
                row * 0.45,
                0.97,
                0.42,
                np.asarray(np.clip(tone, 0, 1), np.float32),
                0.02,
            )
    room.box(0.7, 0.8, 4.4, 3.5, "#efece4")
    pane = room.box(0.9, 1.0, 4.0, 3.1, room.down("#a9cbe2", "#e8eee6", 1, 4))
    for x, y, w in ((1.9, 1.7, 0.7), (3.6, 2.2, 0.9), (2.9, 1.4, 0.5)):
        room.put(colour("#ffffff"), np.asarray(0.75 * pane * room.sheet.blob(x, y, w, 0.2), np.float32))
    room.put(
        colour("#7d9a78"),
        np.asarray(
            pane * ramp(3.2, 3.6, np.asarray(room.sheet.y + 0.16 * np.sin(room.sheet.x * 2.3), np.float32)), np.float32
        ),
    )
    for x in (2.82,):
        room.box(x, 0.9, 0.14, 3.3, "#efece4")
    room.box(0.8, 2.45, 4.2, 0.12, "#efece4")
    room.glow(2.8, 2.6, 3.4, 2.8, "#eaf4ff", 0.12)
    room.box(10.4, 0.9, 4.8, 3.3, "#b98a58")
    room.shadow(12.8, 4.3, 2.8, 0.2, 0.3)
    steel, wood = "#5b636b", "#a4442f"
    for x in (10.9, 11.5, 12.1):
        room.box(x, 1.3, 0.09, 1.1, steel)
        room.fill(spline([(x - 0.1, 2.3), (x + 0.19, 2.3), (x + 0.16, 3.2), (x - 0.07, 3.2)], closed=True), wood, 0.01)
    room.box(12.75, 1.5, 0.12, 1.9, "#c9a06a")
    room.box(12.5, 1.35, 0.65, 0.3, steel)
    for n, x in enumerate((13.5, 13.95, 14.4)):
        room.put(
            colour(steel),
            np.asarray(
                ramp(0.17, 0.14, np.asarray(np.abs(np.hypot(room.sheet.x - x, room.sheet.y - 1.6) - 0.1), np.float32))
                * 0.9,
                np.float32,
            ),
        )
        room.box(x - 0.04, 1.75, 0.09, 1.0 + 0.25 * n, steel)
    room.box(6.2, 3.3, 3.2, 0.15, "#8a7f70")
    room.box(6.2, 5.0, 3.2, 0.15, "#8a7f70")
    for x, y, w, h, card in ((6.4, 3.3, 1.1, 0.8, "#c99b63"), (7.7, 3.3, 0.7, 0.6, "#4e7186"), (8.5, 3.3, 0.7, 0.9, "#b5684c"),
                             (6.5, 5.0, 0.8, 0.7, "#4e7186"), (7.5, 5.0, 1.4, 0.95, "#c99b63")):  # fmt: skip  # a row is a box
        room.box(x, y - h, w, h, card)
        room.box(x + w * 0.3, y - h * 0.62, w * 0.4, h * 0.25, "#eae3d6")


def _bench(room: _Room) -> None:
    room.box(-1, 8.0, 18, 0.3, room.down("#cda06a", "#b3854f", 8, 8.3))
    room.box(-1, 8.3, 18, 2, room.down("#5b4632", "#463626", 8.3, 9))
    room.box(12.9, 7.5, 1.5, 0.5, "#a4442f")
    room.box(13.35, 7.28, 0.6, 0.1, "#5b636b")
    for x in (13.35, 13.87):
        room.box(x, 7.3, 0.08, 0.25, "#5b636b")
    room.box(1.3, 7.62, 1.9, 0.38, "#c99b63")


def _corridor(room: _Room) -> None:
    """A long corridor with doors and lamps, towards a window at its end."""
    middle, far = (8.0, 3.6), 0.16

    def at(x: float, y: float, depth: float) -> tuple[float, float]:
        share = 1 - (1 - far) * depth
        return middle[0] + (x - middle[0]) * share, middle[1] + (y - middle[1]) * share

    sides = {"left": (-3.0, "#d6dcd8", "#b8c2bf"), "right": (19.0, "#cfd6d4", "#aab5b4")}
    room.fill(
        [at(-3, 10.5, 0), at(19, 10.5, 0), at(19, 10.5, 1), at(-3, 10.5, 1)], room.down("#9aa3a0", "#6f7a78", 4.5, 9)
    )
    room.fill(
        [at(-3, -2.5, 0), at(19, -2.5, 0), at(19, -2.5, 1), at(-3, -2.5, 1)], room.down("#eef0ec", "#cfd4d1", 0, 3)
    )
    for x, light, dark in sides.values():
        room.fill([at(x, -2.5, 0), at(x, -2.5, 1), at(x, 10.5, 1), at(x, 10.5, 0)], room.down(light, dark, 0, 9))
        for near, deep in ((0.2, 0.42), (0.56, 0.68), (0.77, 0.84)):
            room.fill(
                [at(x, 1.2, near), at(x, 1.2, deep), at(x, 10.4, deep), at(x, 10.4, near)],
                "#5f7f8a" if x < 0 else "#c08a5c",
                0.015,
            )
            room.fill(
                [at(x, 5.9, near + 0.02), at(x, 5.9, near + 0.05), at(x, 6.2, near + 0.05), at(x, 6.2, near + 0.02)],
                "#e6e2da",
                0.01,
            )
        room.fill([at(x, 9.9, 0), at(x, 9.9, 1), at(x, 10.5, 1), at(x, 10.5, 0)], "#84908e", 0.015)
    room.fill([at(-3, -2.5, 1), at(19, -2.5, 1), at(19, 10.5, 1), at(-3, 10.5, 1)], "#c7cfcc")
    room.fill([at(2, -0.5, 1), at(14, -0.5, 1), at(14, 8.5, 1), at(2, 8.5, 1)], room.down("#dff0fa", "#f3f3e4", 3, 4.2))
    for near, deep in ((0.02, 0.3), (0.46, 0.6), (0.7, 0.79), (0.85, 0.9)):
        room.fill(
            [at(5.5, -2.5, near), at(10.5, -2.5, near), at(10.5, -2.5, deep), at(5.5, -2.5, deep)], "#fffdf3", 0.03
        )
    room.glow(8, 3.6, 2.2, 2.2, "#fff7e0", 0.28)
    room.fill([at(6, 10.5, 0), at(10, 10.5, 0), at(11, 10.5, 1), at(5, 10.5, 1)], "#e8ece6", 0.15, 0.22)
    room.plant(13.6, 8.3, 0.9, "#e3ddd2", "#6b9a70")


_ROOMS: dict[str, tuple[Callable[[_Room], None], Callable[[_Room], None] | None]] = {
    "entrance": (_entrance, None),
    "reception": (_reception, _desk),
    "workshop": (_workshop, _bench),
    "corridor": (_corridor, None),
}


@cache
def room(name: str) -> tuple[Array, Array, Array]:
    """The back, BGR (HEIGHT, WIDTH, 3), 0 to 1; the front, and its mask (HEIGHT, WIDTH)."""
    back, front = _Room(len(name)), _Room(len(name) + 1)
    paint_back, paint_front = _ROOMS[name]
    paint_back(back)
    if paint_front is not None:
        paint_front(front)
    return back.finished(_FOCUS), front.finished(0.008), shown(front.cover)


@dataclass(frozen=True)
class Stop:
    """Where a face is at a moment: its middle and its unit, in pixels."""

    time_s: float
    x: float
    y: float
    unit: float


@dataclass(frozen=True)
class Visit:
    """Somebody's way through a room: in view from the first stop to the last one."""

    person: Person
    stops: tuple[Stop, ...]

    def at(self, time_s: float) -> tuple[float, float, float, float] | None:
        """x, y, unit, and how far the face is turned; None while nobody is there."""
        times = [one.time_s for one in self.stops]
        if not times[0] <= time_s <= times[-1]:
            return None
        place = float(np.interp(time_s, times, range(len(times))))
        begin = min(int(place), len(times) - 2)
        share = place - begin
        share *= share * (3 - 2 * share)
        a, b = self.stops[begin], self.stops[begin + 1]
        x, y, unit = (one + (other - one) * share for one, other in ((a.x, b.x), (a.y, b.y), (a.unit, b.unit)))
        pace = (b.x - a.x) / (b.time_s - a.time_s)
        step = min(1.0, abs(pace) / 150)
        y += unit * (0.03 * step * math.sin(8.5 * time_s) + 0.008 * math.sin(1.7 * time_s + self.person.seed))
        turn = 0.11 * max(-1.0, min(1.0, pace / 220)) + 0.06 * math.sin(0.9 * time_s + 1.7 * self.person.seed)
        return x, y, unit, turn


_TURNS = (-0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15)
_BELOW = (-2.1, -1.75, 2.1, 4.0)  # what is drawn of somebody who walks


@cache
def _sprites(person: Person, light: tuple[float, float, float]) -> dict[float, tuple[Image, Array]]:
    """Somebody who walks, for each of _TURNS: BGR, premultiplied, and the mask."""
    views = [View(yaw=turn, pitch=0.02, tilt=-14 * turn, light=light, smile=0.75) for turn in _TURNS]
    found = portraits(person, views, _PERSON_PX, _BELOW)
    return {
        turn: (np.asarray(np.rint(one * 255), np.uint8), mask) for turn, (one, mask) in zip(_TURNS, found, strict=True)
    }


@dataclass(frozen=True)
class Camera:
    """A room, who comes into it, and from where it is lit. The clip is played in a loop: whoever is there at its end is there at its beginning."""

    room: str
    length_s: float
    visits: tuple[Visit, ...]
    light: tuple[float, float, float] = (-0.45, -0.5, 0.75)

    def frame(self, time_s: float) -> Image:
        """BGR (HEIGHT, WIDTH, 3)."""
        back, front, mask = room(self.room)
        picture = np.asarray(np.rint(back * 255), np.uint8)
        for visit in self.visits:
            found = visit.at(time_s)
            if found is not None:
                x, y, unit, turn = found
                nearest = min(_TURNS, key=lambda one: abs(one - turn))
                _paste(picture, *_sprites(visit.person, self.light)[nearest], x, y, unit, 2.0 * math.sin(2.1 * time_s))
        top = int(np.argmax(mask.any(axis=1))) if mask.any() else HEIGHT  # above it nothing stands in front
        share = mask[top:, :, None]
        picture[top:] = np.rint(picture[top:] * (1 - share) + front[top:] * (255 * share))
        return picture

    def write(self, path: Path) -> Path:
        """The clip, MPEG-4."""
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FRAMES_PER_S, (WIDTH, HEIGHT))
        assert writer.isOpened(), f"OpenCV can't write {path}"
        for number in range(round(self.length_s * FRAMES_PER_S)):
            writer.write(self.frame(number / FRAMES_PER_S))
        writer.release()
        return path


def _paste(picture: Image, sprite: Image, mask: Array, x: float, y: float, unit: float, tilt: float) -> None:
    """Put somebody into the picture, the middle of the face at x, y."""
    place = cv2.getRotationMatrix2D((-_BELOW[0] * _PERSON_PX, -_BELOW[1] * _PERSON_PX), 0.3 * tilt, unit / _PERSON_PX)
    place[:, 2] += np.array([x + _BELOW[0] * _PERSON_PX, y + _BELOW[1] * _PERSON_PX])
    left, right = max(0, round(x - 2.4 * unit)), min(WIDTH, round(x + 2.4 * unit))
    top = max(0, round(y - 2 * unit))
    if left >= right:
        return
    place[:, 2] -= left, top
    size = (right - left, HEIGHT - top)
    over = cv2.warpAffine(sprite, place, size, flags=cv2.INTER_AREA)
    cover = cv2.warpAffine(mask, place, size, flags=cv2.INTER_LINEAR)
    below = picture[top:, left:right]
    below[:] = np.asarray(np.clip(over + below * (1 - cover[..., None]), 0, 255), np.uint8)
