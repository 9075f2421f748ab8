"""Draws portraits of people who do not exist, with numpy and OpenCV alone.

A head is a height field (skull, brow, sockets, nose, lips, chin) that is lit, and paint on it: eyes, brows, lips, hair. Who it is comes from
a `Person`, how it is seen from a `View`. The same two give the same picture on every machine with the same OpenCV.

Units: 1 is the distance from the middle of the face to the chin. x grows to the right, y downwards, z towards the viewer. Colours are
BGR, float32, 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Points = Sequence[tuple[float, float]]
Box = tuple[float, float, float, float]

# What a drawing shows, in units: left, top, right, bottom. The face's own box is about (-.72, -.75, .72, 1).
SHOWN = (-2.1, -1.75, 2.1, 2.75)
_DRAWN_PX = 180  # pixels for a unit while it is drawn; it is scaled down then
_SEAM = np.array([0.55, 0.55, 0.58], np.float32)  # what is in a fold's shadow is multiplied with this


@dataclass(frozen=True)
class Person:
    """What somebody looks like. Lengths are in units, factors about 1."""

    name: str
    skin: str
    hair_colour: str
    hair: str  # a key of _HAIR
    clothes: str
    collar: str = "crew"  # crew, shirt, blazer, roll
    seed: int = 0
    width: float = 1.0  # of the head
    jaw: float = 1.0
    chin: float = 1.0
    eye_gap: float = 0.32  # from the middle to an eye
    eye_y: float = -0.05
    eye_size: float = 1.0
    eye_open: float = 1.0
    eye_tilt: float = 0.06
    iris: str = "#5a3a22"
    lashes: float = 1.0
    brow: float = 1.0  # thickness
    brow_y: float = 0.215  # above the eye
    brow_arch: float = 0.05
    nose_length: float = 0.42  # y of its base
    nose_width: float = 1.0
    nose_height: float = 1.0
    mouth_y: float = 0.64
    mouth: float = 0.27  # half its width
    lips: float = 1.0
    lip_colour: str = "#b0605a"
    smile: float = 1.0
    grin: float = 0.0  # how far the lips open in a smile: 0 to 1
    beard: str = ""  # "", stubble, full, moustache, goatee
    glasses: str = ""  # "", round, square
    age: float = 0.0  # 0 to 1
    freckles: int = 0
    earrings: bool = False


@dataclass(frozen=True)
class View:
    """How somebody is seen: turned to the right and down (as parts of a unit that the nose moves), tilted (degrees), the key light's
    direction and strength, its warmth, and the expression."""

    yaw: float = 0.0
    pitch: float = 0.0
    tilt: float = 0.0
    light: tuple[float, float, float] = (-0.45, -0.5, 0.75)
    gain: float = 1.0
    warmth: float = 0.0
    smile: float = 0.9
    eyes: float = 1.0  # 0: shut


_FROM_THE_FRONT = View()


def colour(text: str) -> Array:
    """#rrggbb as BGR."""
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return np.array([blue, green, red], np.float32)


def mixed(a: Array, b: Array, share: Array | float) -> Array:
    """`share` of b over a. A share of (h, w) is for pictures (h, w, 3)."""
    weight = share[..., None] if isinstance(share, np.ndarray) else share
    return np.asarray(a * (1 - weight) + b * weight, np.float32)


def ramp(low: float, high: float, x: Array) -> Array:
    """0 below `low`, 1 above `high`, smooth between; the other way round if low > high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def spline(points: Points, steps: int = 12, closed: bool = False) -> list[tuple[float, float]]:
    """A smooth curve through all the points (Catmull-Rom)."""
    ends = [points[-1], *points, points[0], points[1]] if closed else [points[0], *points, points[-1]]
    found: list[tuple[float, float]] = []
    for i in range(len(ends) - 3):
        a, b, c, d = (np.array(ends[i + j]) for j in range(4))
        for step in range(steps):
            t = step / steps
            one = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            found.append((float(one[0]), float(one[1])))
    if not closed:
        found.append((float(points[-1][0]), float(points[-1][1])))
    return found


def mirrored(points: Points) -> list[tuple[float, float]]:
    """A right half, from top to bottom, made whole: its mirror image follows from bottom to top."""
    return [*points, *((-x, y) for x, y in reversed(points))]


class Sheet:
    """A sheet to draw on: `x` and `y` are each pixel's place, in units; `shown` is what there is of the plane. Masks are (h, w), 0 to 1."""

    def __init__(self, shown: Box, px: float) -> None:
        self.shown, self.px = shown, px
        left, top, right, bottom = shown
        self.width, self.height = round((right - left) * px), round((bottom - top) * px)
        xs = (np.arange(self.width, dtype=np.float32) + 0.5) / px + left
        ys = (np.arange(self.height, dtype=np.float32) + 0.5) / px + top
        self.x, self.y = (np.asarray(grid, np.float32) for grid in np.meshgrid(xs, ys))

    def _at(self, points: Points) -> NDArray[np.int32]:
        left, top = self.shown[:2]
        return np.array(
            [[round(16 * (x - left) * self.px), round(16 * (y - top) * self.px)] for x, y in points], np.int32
        )

    def soft(self, mask: Array, size: float) -> Array:
        """Blurred; `size` in units."""
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.3, size * self.px)), np.float32)

    def area(self, points: Points, soft: float = 0.006) -> Array:
        mask = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(mask, [self._at(points)], 255, cv2.LINE_AA, 4)
        return self.soft(mask.astype(np.float32) / np.float32(255), soft)

    def line(self, points: Points, width: float, soft: float = 0.006, taper: bool = False) -> Array:
        """A brush stroke; `taper`: thin at both ends."""
        mask = np.zeros((self.height, self.width), np.uint8)
        if not taper:
            cv2.polylines(mask, [self._at(points)], False, 255, max(1, round(width * self.px)), cv2.LINE_AA, 4)
        else:
            for i in range(len(points) - 1):
                here = math.sin(math.pi * (i + 0.7) / (len(points) + 0.4)) ** 0.6
                part = self._at(points[i : i + 2])
                cv2.polylines(mask, [part], False, 255, max(1, round(width * here * self.px)), cv2.LINE_AA, 4)
        return self.soft(mask.astype(np.float32) / np.float32(255), soft)

    def blob(self, x: float, y: float, across: float, along: float, turn: float = 0.0) -> Array:
        """A soft round hill of height 1; `turn` in radians."""
        dx, dy = self.x - x, self.y - y
        c, s = math.cos(turn), math.sin(turn)
        return np.asarray(np.exp(-(((c * dx + s * dy) / across) ** 2) - ((-s * dx + c * dy) / along) ** 2), np.float32)

    def pair(self, x: float, y: float, across: float, along: float, turn: float = 0.0) -> Array:
        """A hill on each side."""
        return self.blob(x, y, across, along, turn) + self.blob(-x, y, across, along, -turn)

    def grain(self, chance: np.random.Generator, across: float, along: float) -> Array:
        """Smooth noise of mean 0 and deviation 1, with spots of this size."""
        raw = chance.standard_normal((self.height, self.width)).astype(np.float32)
        smooth = cv2.GaussianBlur(raw, (0, 0), max(0.5, across * self.px), sigmaY=max(0.5, along * self.px))
        return np.asarray((smooth - smooth.mean()) / max(float(smooth.std()), 1e-6), np.float32)


@dataclass
class _Paint:
    """Premultiplied paint on a sheet."""

    colour: Array
    cover: Array

    def over(self, paint: Array, mask: Array) -> None:
        """`paint`: one colour, or (h, w, 3)."""
        self.colour = np.asarray(self.colour * (1 - mask[..., None]) + paint * mask[..., None], np.float32)
        self.cover = np.asarray(self.cover * (1 - mask) + mask, np.float32)

    def tint(self, by: Array, mask: Array) -> None:
        """Multiply what is there with a colour, where the mask is."""
        self.colour = np.asarray(self.colour * (1 - mask[..., None] * (1 - by)), np.float32)

    def add(self, light: Array, mask: Array) -> None:
        self.colour = np.asarray(self.colour + light * (mask * self.cover)[..., None], np.float32)


# The right half of each head of hair, from the top to the bottom of its outline; how it lies on the forehead, from the left temple to
# the right one; and how curly it is.
@dataclass(frozen=True)
class _Hair:
    outer: Points
    hairline: Points
    behind: Points = ()
    curl: float = 0.0
    fade: float = 0.02
    part: tuple[float, float] = (0.0, -1.1)  # where the strands come from


_HAIR: dict[str, _Hair] = {
    "short": _Hair(
        ((0, -1.34), (0.38, -1.29), (0.66, -1.06), (0.79, -0.7), (0.8, -0.35), (0.755, -0.05), (0.7, 0.12)),
        ((-0.78, 0.2), (-0.685, 0.1), (-0.655, -0.2), (-0.6, -0.42), (-0.52, -0.6), (-0.3, -0.7), (0.02, -0.68), (0.34, -0.73),
         (0.53, -0.6), (0.61, -0.42), (0.66, -0.2), (0.685, 0.1), (0.78, 0.2)),
        part=(0.3, -1.2),
    ),
    "quiff": _Hair(
        ((0, -1.5), (0.36, -1.46), (0.66, -1.2), (0.76, -0.8), (0.77, -0.4), (0.74, -0.1), (0.7, 0.0)),
        ((-0.78, 0.1), (-0.69, 0.0), (-0.665, -0.3), (-0.6, -0.58), (-0.46, -0.78), (-0.1, -0.8), (0.25, -0.86), (0.5, -0.76),
         (0.61, -0.56), (0.665, -0.3), (0.69, 0.0), (0.78, 0.1)),
        part=(-0.3, -1.5),
    ),
    "bob": _Hair(
        ((0, -1.36), (0.42, -1.31), (0.74, -1.05), (0.92, -0.6), (0.98, -0.1), (0.99, 0.35), (0.95, 0.7), (0.82, 0.88), (0.66, 0.84)),
        ((-0.6, 1.0), (-0.63, 0.6), (-0.66, 0.2), (-0.645, -0.2), (-0.6, -0.42), (-0.4, -0.5), (-0.1, -0.47), (0.2, -0.49), (0.45, -0.47),
         (0.61, -0.4), (0.65, -0.2), (0.665, 0.2), (0.64, 0.6), (0.6, 1.0)),
        behind=((0, -1.2), (0.6, -1.1), (0.92, -0.4), (0.96, 0.3), (0.9, 0.85), (0.4, 0.95)),
    ),
    "long": _Hair(
        ((0, -1.36), (0.4, -1.31), (0.72, -1.06), (0.88, -0.6), (0.92, -0.1), (0.96, 0.5), (1.03, 1.1), (1.06, 1.6), (0.96, 1.95), (0.82, 2.2),
         (0.74, 1.95), (0.62, 1.75), (0.64, 1.3)),
        ((-0.66, 1.5), (-0.69, 1.0), (-0.7, 0.5), (-0.69, 0.0), (-0.64, -0.34), (-0.47, -0.64), (-0.2, -0.86), (-0.06, -0.93), (0.12, -0.86),
         (0.45, -0.62), (0.64, -0.3), (0.69, 0.0), (0.7, 0.5), (0.69, 1.0), (0.66, 1.5)),
        behind=((0, -1.2), (0.6, -1.1), (0.86, -0.4), (0.9, 0.4), (0.96, 1.2), (0.9, 1.7), (0.5, 1.8)),
        part=(-0.08, -1.15),
    ),
    "afro": _Hair(
        ((0, -1.6), (0.5, -1.55), (0.9, -1.28), (1.12, -0.85), (1.16, -0.35), (1.04, 0.1), (0.84, 0.36), (0.7, 0.36)),
        ((-0.74, 0.5), (-0.69, 0.2), (-0.66, -0.2), (-0.6, -0.48), (-0.46, -0.68), (-0.2, -0.77), (0.0, -0.78), (0.2, -0.77), (0.46, -0.68),
         (0.6, -0.48), (0.66, -0.2), (0.69, 0.2), (0.74, 0.5)),
        behind=((0, -1.5), (0.5, -1.45), (0.9, -1.2), (1.1, -0.8), (1.1, -0.3), (0.98, 0.15), (0.75, 0.45), (0.3, 0.5)),
        curl=1.0,
    ),
    "waves": _Hair(
        ((0, -1.42), (0.46, -1.36), (0.82, -1.08), (1.0, -0.62), (1.02, -0.1), (1.1, 0.4), (1.08, 0.9), (1.16, 1.25), (0.95, 1.5), (0.74, 1.2),
         (0.76, 0.8)),
        ((-0.74, 1.2), (-0.7, 0.8), (-0.74, 0.4), (-0.68, 0.0), (-0.66, -0.3), (-0.52, -0.52), (-0.2, -0.62), (0.2, -0.86), (0.5, -0.62),
         (0.65, -0.3), (0.7, 0.0), (0.74, 0.4), (0.7, 0.8), (0.74, 1.2)),
        behind=((0, -1.3), (0.7, -1.1), (0.98, -0.4), (1.02, 0.4), (1.05, 1.2), (0.5, 1.4)),
        curl=0.35,
        part=(0.22, -1.3),
    ),
    "fringe": _Hair(
        ((0, -1.4), (0.4, -1.36), (0.7, -1.12), (0.85, -0.7), (0.86, -0.25), (0.8, 0.08), (0.7, 0.2)),
        ((-0.78, 0.3), (-0.69, 0.14), (-0.66, -0.16), (-0.6, -0.4), (-0.46, -0.56), (-0.3, -0.46), (-0.14, -0.55), (0.06, -0.44), (0.22, -0.56),
         (0.4, -0.46), (0.54, -0.56), (0.62, -0.4), (0.67, -0.14), (0.69, 0.14), (0.78, 0.3)),
        part=(0.18, -1.25),
    ),
    "bald": _Hair(
        ((0.62, -0.62), (0.745, -0.5), (0.79, -0.25), (0.77, 0.0), (0.72, 0.14)),
        (),
        fade=0.06,
    ),
}  # fmt: skip  # rows of pairs are easier to read than one pair a line


def portrait(
    person: Person, view: View = _FROM_THE_FRONT, px: float = _DRAWN_PX, shown: Box = SHOWN
) -> tuple[Array, Array]:
    """Somebody with shoulders: premultiplied BGR (h, w, 3), and how much of each pixel is covered (h, w). `px`: pixels of a unit."""
    return portraits(person, [view], px, shown)[0]


def portraits(person: Person, views: Sequence[View], px: float, shown: Box) -> list[tuple[Array, Array]]:
    """The same for several views. Light and smile are the first one's: somebody is painted once, and turned."""
    drawing = _Drawing(Sheet(shown, px), person, views[0])
    behind, body, head = drawing.behind(), drawing.body(), drawing.head()
    found = []
    for view in views:
        turned = drawing.turned(head, view)
        picture = drawing.empty()
        for part in (behind, body, turned):
            picture.colour = np.asarray(picture.colour * (1 - part.cover[..., None]) + part.colour, np.float32)
            picture.cover = np.asarray(picture.cover * (1 - part.cover) + part.cover, np.float32)
        lit = picture.colour * np.array([1 - view.warmth, 1, 1 + view.warmth], np.float32) * view.gain
        found.append((np.asarray(np.clip(lit, 0, 1), np.float32), picture.cover))
    return found


class _Drawing:
    def __init__(self, sheet: Sheet, person: Person, view: View) -> None:
        self.sheet, self.person, self.view = sheet, person, view
        self.chance = np.random.default_rng(1000 + person.seed)
        self.skin = colour(person.skin)
        self.hair_colour = colour(person.hair_colour)
        self.hair = _HAIR[person.hair]
        x, y, z = view.light
        length = math.sqrt(x * x + y * y + z * z)
        self.light = (x / length, y / length, z / length)
        self.face = self._face_mask()
        self.hair_mask = self._hair_mask()
        self.relief, self.ball = self._relief()

    # --- shapes ----------------------------------------------------------------------------------------------------

    def _outline(self) -> list[tuple[float, float]]:
        p = self.person
        half = [
            (0, -1.16),
            (0.36, -1.1),
            (0.6, -0.88),
            (0.71, -0.55),
            (0.735, -0.2),
            (0.71, 0.12),
            (0.655 * (0.4 + 0.6 * p.jaw), 0.4),
        ]
        half += [
            (0.565 * p.jaw, 0.64),
            (0.42 * (0.5 * p.jaw + 0.5 * p.chin), 0.84),
            (0.26 * p.chin, 0.965),
            (0.12 * p.chin, 1.0),
        ]
        return spline(mirrored([(x * p.width, y) for x, y in half]), closed=True)

    def _face_mask(self) -> Array:
        return self.sheet.area(self._outline(), 0.008)

    def _relief(self) -> tuple[Array, Array]:
        """The head's height, with its features and without them."""
        s, p = self.sheet, self.person
        across = np.clip(np.abs(s.x) / (0.86 * p.width), 0, 1)
        along = np.clip(np.abs(s.y + 0.1) / 1.36, 0, 1)
        ball = np.asarray(np.sqrt(np.maximum(0, 1 - across**2.3 - along**2.6)) * 0.8, np.float32)
        gap, base = p.eye_gap * p.width, p.nose_length
        z = ball.copy()
        z += 0.05 * s.pair(gap * 0.95, p.eye_y - p.brow_y + 0.03, 0.22, 0.07)
        z -= 0.10 * s.pair(gap, p.eye_y - 0.01, 0.2, 0.115)
        z += 0.055 * s.pair(gap, p.eye_y + 0.01, 0.12, 0.085)
        # The nose: a ridge that rises to the tip, its wings, and the cut below.
        t = np.clip((s.y - (p.eye_y - 0.1)) / (base - p.eye_y), 0, 1)
        ridge = np.exp(-((s.x / (0.085 + 0.055 * t * p.nose_width)) ** 2)) * (0.05 + 0.15 * t**1.5)
        tip = 0.09 * s.blob(0, base - 0.085, 0.1 * p.nose_width, 0.085) + 0.075 * s.pair(
            0.115 * p.nose_width, base - 0.055, 0.06, 0.06
        )
        cut = ramp(base + 0.055, base - 0.06, s.y) * ramp(p.eye_y - 0.28, p.eye_y - 0.02, s.y)
        z += np.asarray((ridge + tip) * cut * p.nose_height, np.float32)
        z += (0.05 + 0.025 * self.view.smile) * s.pair(0.42 * p.width, 0.24, 0.2, 0.16)
        z -= 0.05 * s.pair(0.5 * p.width, 0.62, 0.15, 0.2)
        # Lips, the groove below them, and the chin.
        z += 0.06 * s.blob(0, p.mouth_y, 0.34, 0.17)
        z += 0.045 * p.lips * s.blob(0, p.mouth_y + 0.062, p.mouth * 0.66, 0.045)
        z += 0.03 * p.lips * s.blob(0, p.mouth_y - 0.05, p.mouth * 0.75, 0.035)
        z -= 0.02 * s.blob(0, p.mouth_y, p.mouth, 0.016)
        z -= 0.035 * s.blob(0, p.mouth_y + 0.16, 0.2, 0.04)
        z += 0.06 * s.blob(0, 0.9, 0.16 * p.chin, 0.1)
        z -= 0.012 * s.blob(0, (base + p.mouth_y) / 2, 0.035, 0.07)
        fold = 0.01 + 0.035 * p.age + 0.015 * self.view.smile
        for side in (-1, 1):
            line = [
                (side * 0.15 * p.nose_width, base - 0.05),
                (side * 0.25, base + 0.08),
                (side * (p.mouth + 0.055), p.mouth_y + 0.02),
            ]
            z -= fold * s.line(spline(line), 0.02, 0.02, taper=True)
        if p.age > 0.3:
            for i, y in enumerate((-0.62, -0.52, -0.43)):
                bend = [(-0.34, y + 0.02), (-0.12, y - 0.012), (0.12, y - 0.008), (0.33 - 0.03 * i, y + 0.02)]
                z -= 0.02 * p.age * s.line(spline(bend), 0.012, 0.012, taper=True)
            for side in (-1, 1):
                for dy in (-0.05, 0.01, 0.06):
                    crow = [(side * (gap + 0.2), p.eye_y + dy * 0.6), (side * (gap + 0.3), p.eye_y + dy * 1.6)]
                    z -= 0.02 * p.age * s.line(spline(crow), 0.01, 0.01, taper=True)
        return s.soft(np.asarray(z, np.float32), 0.017), ball

    def _shade(self, z: Array, turn: bool = True) -> tuple[Array, Array]:
        """Light from the key and the sky, 0 to about 1.2, and what shines."""
        dy, dx = np.gradient(z, 1 / self.sheet.px)
        length = np.sqrt(dx * dx + dy * dy + 1)
        lx, ly, lz = self.light
        if turn:  # the head turns in the light
            lx, ly = lx - 0.6 * self.view.yaw, ly - 0.6 * self.view.pitch
        key = (-dx * lx - dy * ly + lz) / length
        sky = (0.35 * dx * -0.5 + dy * 0.5 + 0.8) / length
        lit = np.clip((key + 0.28) / 1.28, 0, None) * 0.86 + np.clip(sky, 0, 1) * 0.2
        half = np.array([lx, ly, lz + 1.0])
        half /= np.linalg.norm(half)
        shine = np.clip((-dx * half[0] - dy * half[1] + half[2]) / length, 0, 1) ** 26
        return np.asarray(lit, np.float32), np.asarray(shine, np.float32)

    def _skin(self, lit: Array, skin: Array) -> Array:
        """A shadow of skin is darker and redder, its light warmer and paler."""
        dark = skin * np.array([0.36, 0.40, 0.52], np.float32)
        mid = skin * np.array([0.80, 0.86, 0.95], np.float32)
        pale = mixed(skin, np.array([0.80, 0.92, 1.0], np.float32), 0.2)
        low = mixed(dark, mid, ramp(0.18, 0.62, lit))
        return mixed(low, pale, ramp(0.55, 1.1, lit))

    # --- parts -----------------------------------------------------------------------------------------------------

    def behind(self) -> _Paint:
        paint = self.empty()
        if self.hair.behind:
            outline = spline(mirrored([(x * self.person.width, y) for x, y in self.hair.behind]), closed=True)
            mask = self._frayed(self.sheet.area(outline, self.hair.fade))
            dim = 0.62
            paint.over(self._strands(mask) * dim, mask)
        return paint

    def body(self) -> _Paint:
        s, p, paint = self.sheet, self.person, self.empty()
        neck_w = 0.42 * (0.5 + 0.5 * p.jaw) * p.width
        neck_half = [
            (neck_w, 0.55),
            (neck_w * 0.97, 0.95),
            (neck_w * 1.08, 1.2),
            (neck_w * 1.5, 1.4),
            (neck_w * 1.7, 1.75),
        ]
        neck = s.area(spline(mirrored(neck_half), closed=True))
        z = np.asarray(np.sqrt(np.maximum(0, 1 - (s.x / (neck_w * 1.25)) ** 2)) * 0.4, np.float32)
        lit, _ = self._shade(s.soft(z, 0.03), turn=False)
        under = s.soft(self.face, 0.02)
        shadow = np.roll(s.soft(under, 0.09), round(0.2 * s.px), axis=0)
        skin = self._skin(np.asarray(lit * (1 - 0.55 * shadow), np.float32), self.skin)
        paint.over(skin, neck)
        for side in (-1, 1):  # collar bones
            bone = [(side * 0.08, 1.43), (side * 0.3, 1.4), (side * 0.6, 1.34)]
            paint.tint(
                np.array([0.7, 0.74, 0.82], np.float32), 0.5 * s.line(spline(bone), 0.03, 0.025, taper=True) * neck
            )
        self._clothes(paint, neck_w)
        return paint

    def _clothes(self, paint: _Paint, neck_w: float) -> None:
        s, p = self.sheet, self.person
        cloth = colour(p.clothes)
        z = np.asarray(np.sqrt(np.maximum(0, 1 - np.clip(np.abs(s.x) / 2.05, 0, 1) ** 2.4)) * 0.9, np.float32)
        z -= 0.25 * s.pair(0.86, 2.6, 0.16, 0.6, 0.16)
        z += np.asarray(0.01 * s.grain(self.chance, 0.07, 0.4), np.float32)
        lit, _ = self._shade(s.soft(z, 0.03), turn=False)
        shadow = s.soft(s.area([(-0.5 * p.width, 1.0), (0.5 * p.width, 1.0), (0.42, 1.5), (-0.42, 1.5)]), 0.12)
        lit = np.asarray(lit * (1 - 0.35 * shadow), np.float32)
        if p.collar == "blazer":
            self._garment(paint, neck_w, lit, colour("#ece7dd"), 1.2, 1.5)
            self._collar(paint, neck_w, lit, colour("#ece7dd"), 1.5)
            self._garment(paint, neck_w, lit, cloth, 1.2, 2.4)
            self._lapels(paint, neck_w, lit, cloth)
        elif p.collar == "shirt":
            self._garment(paint, neck_w, lit, cloth, 1.2, 1.62)
            self._collar(paint, neck_w, lit, cloth, 1.62)
        elif p.collar == "roll":
            self._garment(paint, neck_w, lit, cloth, 1.22, 1.3)
            self._roll_neck(paint, neck_w, cloth)
        else:
            line = self._garment(paint, neck_w, lit, cloth, 1.26, 1.52, round_=True)
            for y, strength in ((0.035, 0.55), (0.075, 0.35)):
                band = np.roll(s.line(line, 0.012, 0.007), round(y * s.px), axis=0)
                paint.tint(_SEAM, np.asarray(strength * band, np.float32))

    def _garment(
        self,
        paint: _Paint,
        neck_w: float,
        lit: Array,
        cloth: Array,
        top: float,
        opening: float,
        *,
        round_: bool = False,
    ) -> list[tuple[float, float]]:
        """What covers the shoulders, open at the neck down to `opening`; the line of its opening."""
        wide = 0.96 + 0.1 * (self.person.jaw - 1)
        half = [
            (neck_w * 1.14, top),
            (neck_w * 1.75, top + 0.1),
            (1.02 * wide, 1.46),
            (1.46 * wide, 1.62),
            (1.7 * wide, 1.92),
            (1.82 * wide, 2.4),
            (1.88 * wide, 3.0),
            (1.8 * wide, 4.4),
        ]
        if round_:
            low = (top + opening) / 2 + 0.06
            inner = spline(
                [(neck_w * 1.14, top), (neck_w * 0.95, low), (0, opening), (-neck_w * 0.95, low), (-neck_w * 1.14, top)]
            )
        else:
            inner = [(neck_w * 1.14, top), (0.0, opening), (-neck_w * 1.14, top)]
        right = spline(half)
        paint.over(
            self._cloth(lit, cloth),
            self.sheet.area([*right, *((-x, y) for x, y in reversed(right)), *reversed(inner)], 0.008),
        )
        return list(inner)

    def _collar(self, paint: _Paint, neck_w: float, lit: Array, cloth: Array, opening: float) -> None:
        s = self.sheet
        for side in (-1, 1):
            flap = [
                (side * neck_w * 1.0, 1.1),
                (side * neck_w * 1.5, 1.3),
                (side * 0.46, opening + 0.14),
                (side * 0.02, opening - 0.02),
            ]
            self._flap(paint, flap, self._cloth(np.asarray(lit * 1.08, np.float32), cloth))
        paint.tint(_SEAM, np.asarray(0.5 * s.line([(0.03, opening), (0.05, 3.0)], 0.014, 0.006), np.float32))
        for y in (opening + 0.2, opening + 0.55, opening + 0.9):
            paint.over(mixed(cloth, np.ones(3, np.float32), 0.5), s.area(_circle(-0.03, y, 0.022), 0.004))

    def _lapels(self, paint: _Paint, neck_w: float, lit: Array, cloth: Array) -> None:
        light = self._cloth(np.asarray(lit * 1.06, np.float32), cloth)
        for side in (-1, 1):
            below = [
                (neck_w * 1.18, 1.2),
                (neck_w * 1.8, 1.36),
                (0.76, 1.86),
                (0.64, 1.9),
                (0.7, 1.98),
                (0.05, 2.5),
                (0.0, 2.42),
            ]
            self._flap(paint, [(side * x, y) for x, y in below], light)
        paint.over(cloth * np.float32(0.5), self.sheet.area(_circle(0.05, 2.62, 0.035), 0.004))

    def _flap(self, paint: _Paint, outline: Points, look: Array) -> None:
        """A piece of cloth that lies on what is below, and throws a small shadow there."""
        flap = self.sheet.area(outline, 0.006)
        shadow = self.sheet.soft(np.roll(flap, round(0.035 * self.sheet.px), axis=0), 0.03) * (1 - flap)
        paint.tint(_SEAM, np.asarray(0.6 * shadow * paint.cover, np.float32))
        paint.over(look, flap)

    def _roll_neck(self, paint: _Paint, neck_w: float, cloth: Array) -> None:
        s = self.sheet
        half = [(neck_w * 0.98, 1.06), (neck_w * 1.14, 1.1), (neck_w * 1.18, 1.28), (neck_w * 1.3, 1.44)]
        roll = s.area(spline(mirrored(half), closed=True), 0.012)
        z = np.asarray(np.sqrt(np.maximum(0, 1 - (s.x / (neck_w * 1.4)) ** 2)) * 0.4, np.float32)
        lit, _ = self._shade(s.soft(z, 0.03), turn=False)
        lit = np.asarray((lit + 0.035 * np.sin(s.x * 70)) * (1 - 0.4 * ramp(1.25, 1.0, s.y)), np.float32)
        paint.over(self._cloth(lit, cloth), roll)
        edge = s.line(spline([(-neck_w * 1.3, 1.42), (0, 1.53), (neck_w * 1.3, 1.42)]), 0.03, 0.02, taper=True)
        paint.tint(_SEAM, np.asarray(0.6 * edge, np.float32))

    def _cloth(self, lit: Array, cloth: Array) -> Array:
        dark, pale = cloth * np.array([0.5, 0.44, 0.42], np.float32), mixed(cloth, np.ones(3, np.float32), 0.16)
        return mixed(mixed(dark, cloth, ramp(0.15, 0.7, lit)), pale, ramp(0.7, 1.1, lit))

    def head(self) -> _Paint:
        """Face, ears and hair as from the front: `turned` turns them."""
        paint = self.empty()
        lit, shine = self._shade(self.relief)
        self._ears(paint)
        skin = self._complexion()
        # What hair throws on the forehead, brows on the sockets, the nose on the lip.
        paint.over(self._skin(np.asarray(lit * (1 - self._shadows()), np.float32), skin), self.face)
        paint.add(np.array([0.9, 0.96, 1.0], np.float32), np.asarray(0.085 * shine * self.face, np.float32))
        self._nostrils(paint)
        self._mouth(paint)
        self._beard(paint, lit)
        for side in (-1, 1):
            self._eye(paint, side)
            self._brow(paint, side)
        self._front_hair(paint)
        self._glasses(paint)
        return paint

    def empty(self) -> _Paint:
        shape = (self.sheet.height, self.sheet.width)
        return _Paint(np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32))

    def _complexion(self) -> Array:
        """The skin's colour at each place: rosy cheeks, nose and ears, freckles."""
        s, p = self.sheet, self.person
        rosy = mixed(self.skin, colour("#c8503c"), 0.42)
        blush = (
            0.5 * s.pair(0.4 * p.width, 0.27, 0.2, 0.15)
            + 0.42 * s.blob(0, p.nose_length - 0.08, 0.13, 0.12)
            + 0.2 * s.blob(0, 0.9, 0.2, 0.1)
        )
        skin = mixed(
            np.broadcast_to(self.skin, (s.height, s.width, 3)).astype(np.float32),
            rosy,
            np.asarray(0.6 * blush, np.float32),
        )
        skin = np.asarray(skin * (1 + 0.012 * s.grain(self.chance, 0.05, 0.05))[..., None], np.float32)
        if p.freckles:
            spots = np.zeros((s.height, s.width), np.float32)
            for _ in range(p.freckles):
                x, y = self.chance.normal(0, 0.3), self.chance.normal(0.2, 0.12)
                spots = np.maximum(spots, self.chance.uniform(0.3, 1) * s.blob(x, y, 0.014, 0.014))
            skin = mixed(
                skin,
                np.asarray(self.skin * np.array([0.5, 0.62, 0.8], np.float32), np.float32),
                np.asarray(0.6 * spots, np.float32),
            )
        return skin

    def _shadows(self) -> Array:
        s, p = self.sheet, self.person
        gap = p.eye_gap * p.width
        side = 1 if self.light[0] < 0 else -1
        dark = 0.2 * s.pair(gap * 0.94, p.eye_y - 0.1, 0.19, 0.07)
        dark += 0.16 * s.pair(gap, p.eye_y + 0.1, 0.16, 0.045)
        dark += 0.2 * s.blob(0.02 * side, p.nose_length + 0.04, 0.14 * p.nose_width, 0.05)
        dark += 0.18 * s.blob(0.13 * side, 0.2, 0.07, 0.2, 0.25 * side)
        dark += 0.2 * s.blob(0, p.mouth_y + 0.15, 0.17, 0.035)
        dark += 0.12 * s.pair(gap * 0.42, p.eye_y, 0.06, 0.1)
        dark += 0.34 * np.roll(s.soft(self.hair_mask, 0.06), round(0.06 * s.px), axis=0)
        return np.asarray(np.clip(dark, 0, 0.8), np.float32)

    def _ears(self, paint: _Paint) -> None:
        s, p = self.sheet, self.person
        for side in (-1, 1):
            w = p.width
            half = [
                (0.68, -0.16),
                (0.755, -0.2),
                (0.825, -0.13),
                (0.83, 0.03),
                (0.785, 0.17),
                (0.735, 0.27),
                (0.67, 0.22),
            ]
            outline = spline([(side * x * w, y) for x, y in half], closed=True)
            ear = s.area(outline, 0.008)
            dome = s.soft(ear, 0.035)
            near, _ = self._shade(np.asarray(0.22 * dome, np.float32))
            bright = 1.0 if side * self.light[0] > 0 else 0.74
            paint.over(
                self._skin(np.asarray(near * bright * 0.92, np.float32), mixed(self.skin, colour("#c8503c"), 0.22)), ear
            )
            inner = spline([(side * x * w, y) for x, y in ((0.755, -0.11), (0.79, -0.02), (0.765, 0.08), (0.73, 0.12))])
            paint.tint(np.array([0.5, 0.52, 0.62], np.float32), 0.75 * s.line(inner, 0.035, 0.016, taper=True) * ear)
            if p.earrings:
                paint.over(colour("#e3b04b"), s.area(_circle(side * 0.735 * w, 0.31, 0.035), 0.005))
                paint.over(colour("#fff2c8"), s.area(_circle(side * 0.735 * w - 0.01, 0.298, 0.011), 0.004))

    def _nostrils(self, paint: _Paint) -> None:
        s, p = self.sheet, self.person
        dark = np.asarray(self.skin * np.array([0.2, 0.2, 0.3], np.float32), np.float32)
        for side in (-1, 1):
            hole = s.blob(side * 0.07 * p.nose_width, p.nose_length - 0.002, 0.04 * p.nose_width, 0.02, side * -0.3)
            paint.over(dark, np.asarray(0.72 * np.clip(hole * 1.3, 0, 1), np.float32))
            wing = [
                (side * 0.145 * p.nose_width, p.nose_length - 0.1),
                (side * 0.168 * p.nose_width, p.nose_length - 0.045),
                (side * 0.13 * p.nose_width, p.nose_length),
            ]
            paint.tint(np.array([0.5, 0.52, 0.62], np.float32), 0.55 * s.line(spline(wing), 0.018, 0.014, taper=True))

    def _mouth(self, paint: _Paint) -> None:
        s, p = self.sheet, self.person
        smile = self.view.smile * p.smile
        wide, y, up, full = p.mouth * (1 + 0.13 * smile), p.mouth_y, 0.085 * smile, 0.064 * p.lips
        gap = 0.075 * p.grin * smile  # between the lips
        ends = [(wide, y - up), (-wide, y - up)]

        def across(*points: tuple[float, float]) -> list[tuple[float, float]]:
            """A curve from the left corner to the right one, through these points of the right half."""
            return spline(
                [
                    ends[1],
                    *((-x * wide, at) for x, at in points),
                    *((x * wide, at) for x, at in reversed(points) if x),
                    ends[0],
                ]
            )

        middle = across((0.55, y + 0.012 - 0.25 * up), (0, y + 0.02))
        teeth = across((0.55, y + 0.012 - 0.25 * up + gap * 0.72), (0, y + 0.02 + gap))
        upper = across((0.5, y - full * 0.72 - 0.3 * up), (0.15, y - full), (0, y - full * 0.8))
        lower = across(
            (0.62, y + full * 0.8 - 0.15 * up + gap * 0.8), (0.25, y + full * 1.35 + gap), (0, y + full * 1.42 + gap)
        )
        lip = colour(p.lip_colour)
        lit, _ = self._shade(self.relief)
        tone = np.asarray(lip * (0.42 + 0.62 * np.clip(lit, 0, 1.15))[..., None], np.float32)
        paint.over(
            np.asarray(tone * 0.88, np.float32),
            np.asarray(0.84 * s.area([*middle, *reversed(upper)], 0.013), np.float32),
        )
        below = s.area([*teeth, *reversed(lower)], 0.014)
        paint.over(tone, np.asarray(0.84 * below, np.float32))
        glint = s.blob(-0.05 if self.light[0] < 0 else 0.05, y + gap + full * 0.68, wide * 0.4, 0.022)
        paint.add(np.array([0.75, 0.8, 0.95], np.float32), np.asarray(0.18 * below * glint, np.float32))
        dark = np.asarray(lip * np.array([0.2, 0.2, 0.32], np.float32), np.float32)
        if gap > 0.01:
            inside = s.area([*middle, *reversed(teeth)], 0.007)
            paint.over(dark, inside)
            row = s.area(
                [*middle, *reversed(across((0.5, y + 0.01 - 0.25 * up + gap * 0.6), (0, y + 0.02 + gap * 0.86)))], 0.008
            )
            bright = 0.97 - 0.45 * np.clip(np.abs(s.x) / wide, 0, 1) ** 2 - 0.12 * ramp(y + 0.01, y - 0.03, s.y)
            paint.over(
                np.asarray(colour("#fbf5ec") * bright[..., None], np.float32),
                np.asarray(inside * row * 0.95, np.float32),
            )
        paint.over(dark, np.asarray(0.85 * s.line(middle, 0.018, 0.006, taper=True), np.float32))
        for side in (-1, 1):
            paint.tint(np.array([0.5, 0.5, 0.6], np.float32), 0.5 * s.blob(side * (wide + 0.02), y - up, 0.03, 0.034))

    def _eye(self, paint: _Paint, side: int) -> None:
        s, p = self.sheet, self.person
        x, y = side * p.eye_gap * p.width, p.eye_y
        wide, open_ = (
            0.158 * p.eye_size,
            0.086 * p.eye_open * p.eye_size * (1 - 0.18 * self.view.smile) * self.view.eyes,
        )

        def at(t: float, dy: float) -> tuple[float, float]:
            return x + side * t * wide, y + dy - p.eye_tilt * t * wide

        steps = np.linspace(-1, 1, 25)
        upper = [at(t, -open_ * (1 - abs(t + 0.08) ** 2.3 / 1.2)) if abs(t) < 1 else at(t, 0.0) for t in steps]
        lower = [at(t, open_ * 0.62 * (1 - abs(t - 0.12) ** 2.0 / 1.26)) if abs(t) < 1 else at(t, 0.0) for t in steps]
        dark = np.asarray(mixed(self.hair_colour, self.skin * np.float32(0.3), 0.5) * 0.42, np.float32)
        if open_ > 0.02:
            inside = s.area([*upper, *reversed(lower)], 0.005)
            ball = ramp(1.25, 0.5, np.asarray(np.hypot((s.x - x) / wide, (s.y - y) / (wide * 0.8)), np.float32))
            white = mixed(colour("#9b8a86"), colour("#f7f1ea"), ball)
            paint.over(white, inside)
            corner = at(-0.93, 0.006)
            paint.over(colour("#c98078"), np.asarray(inside * 0.7 * s.blob(*corner, 0.022, 0.02), np.float32))
            r = 0.083 * p.eye_size**0.5
            ix, iy = x + 0.035 * self.view.yaw, y - open_ * 0.14
            distance = np.asarray(np.hypot(s.x - ix, s.y - iy) / r, np.float32)
            iris = colour(p.iris)
            glow = np.clip((s.y - iy) / r * 0.5 + 0.4, 0, 1).astype(np.float32)
            inner = mixed(
                np.asarray(iris * 0.62, np.float32), np.asarray(np.minimum(iris * 1.5 + 0.05, 1), np.float32), glow
            )
            inner = mixed(inner, np.asarray(iris * 0.3, np.float32), ramp(0.72, 1.0, distance))
            paint.over(inner, np.asarray(inside * ramp(1.06, 0.97, distance), np.float32))
            paint.over(colour("#0c0908"), np.asarray(inside * ramp(0.5, 0.4, distance), np.float32))
            lid = s.soft(s.line(upper, 0.05, 0.01), 0.016)
            paint.tint(
                np.array([0.38, 0.36, 0.38], np.float32),
                np.asarray(inside * 0.85 * np.clip(np.roll(lid, round(0.018 * s.px), axis=0), 0, 1), np.float32),
            )
            glint = -1 if self.light[0] < 0 else 1
            paint.over(
                colour("#ffffff"),
                np.asarray(
                    inside
                    * 0.96
                    * ramp(
                        1.0, 0.6, np.asarray(np.hypot(s.x - ix - glint * 0.03, s.y - iy + 0.03) / 0.023, np.float32)
                    ),
                    np.float32,
                ),
            )
            paint.over(
                colour("#dfe8f2"),
                np.asarray(inside * 0.4 * s.blob(ix - glint * 0.034, iy + 0.034, 0.016, 0.014), np.float32),
            )
        lash = [*upper[1:], at(1.0 + 0.12 * p.lashes, -0.022 * p.lashes)]
        paint.over(dark, np.asarray(0.93 * s.line(lash, 0.03, 0.005, taper=True), np.float32))
        paint.over(
            dark,
            np.asarray(
                0.9
                * s.line(
                    [at(0.1, -open_ * 0.98), *upper[17:], at(1.0 + 0.14 * p.lashes, -0.03 * p.lashes)],
                    0.01 + 0.014 * p.lashes,
                    0.005,
                    taper=True,
                ),
                np.float32,
            ),
        )
        paint.over(dark, np.asarray(0.34 * s.line(lower, 0.012, 0.006, taper=True), np.float32))
        crease = [at(t, -open_ * (1.0 - abs(t) ** 2.4 / 1.5) - 0.055) for t in np.linspace(-0.95, 1.0, 14)]
        paint.tint(np.array([0.46, 0.48, 0.58], np.float32), 0.6 * s.line(crease, 0.022, 0.012, taper=True))
        bag = [at(t, open_ * 0.62 + 0.05 + 0.02 * (1 - t * t)) for t in np.linspace(-0.8, 0.8, 9)]
        paint.tint(
            np.array([0.62, 0.62, 0.7], np.float32), (0.18 + 0.5 * p.age) * s.line(bag, 0.022, 0.018, taper=True)
        )

    def _brow(self, paint: _Paint, side: int) -> None:
        s, p = self.sheet, self.person
        x, y = side * p.eye_gap * p.width, p.eye_y - p.brow_y
        ts = np.linspace(-1, 1, 15)
        thick = 0.044 * p.brow
        shape = [
            (
                x + side * (0.215 * t + 0.012),
                y - p.brow_arch * (1 - abs(t - 0.3) ** 2.2 / 1.3) + 0.012 * (t + 1) ** 2 / 2,
            )
            for t in ts
        ]
        top = [(px, py - thick * (0.75 if t < 0 else 0.75 - 0.62 * t)) for (px, py), t in zip(shape, ts, strict=True)]
        low = [(px, py + thick * (0.75 if t < 0 else 0.75 - 0.62 * t)) for (px, py), t in zip(shape, ts, strict=True)]
        mask = s.area([*top, *reversed(low)], 0.013)
        hairs = np.clip(0.86 + 0.1 * s.grain(np.random.default_rng(7), 0.012, 0.02), 0, 1)
        tone = np.asarray(
            mixed(self.hair_colour, self.skin * np.float32(0.35), 0.4)
            * (0.62 if self.hair_colour.mean() > 0.35 else 0.9),
            np.float32,
        )
        paint.over(tone, np.asarray(mask * hairs * 0.9, np.float32))

    def _beard(self, paint: _Paint, lit: Array) -> None:
        s, p = self.sheet, self.person
        if not p.beard:
            return
        w, y = p.width, p.mouth_y
        half = [
            (0.72 * w, 0.1),
            (0.72 * w, 0.35),
            (0.66 * w * p.jaw, 0.6),
            (0.5 * p.jaw * w, 0.86),
            (0.3 * w, 1.04),
            (0.1 * w, 1.09),
        ]
        cheek = [
            (0.0, y - 0.12),
            (-0.2, y - 0.1),
            (-0.36 * w, y - 0.02),
            (-0.5 * w, 0.38),
            (-0.62 * w, 0.22),
            (-0.67 * w, 0.06),
        ]
        upper = [(0.67 * w, 0.06), (0.62 * w, 0.22), (0.5 * w, 0.38), (0.36 * w, y - 0.02), (0.2, y - 0.1), *cheek]
        full = s.area([*half, *reversed([(-a, b) for a, b in half]), *reversed(spline(upper))], 0.035)
        lips = s.area(
            spline(
                [
                    (0.82 * p.mouth, y - 0.01),
                    (0.2 * p.mouth, y - 0.052),
                    (-0.2 * p.mouth, y - 0.052),
                    (-0.82 * p.mouth, y - 0.01),
                    (-0.4 * p.mouth, y + 0.1),
                    (0.4 * p.mouth, y + 0.1),
                ],
                closed=True,
            ),
            0.02,
        )
        moustache = s.area(
            spline(
                [
                    (0, y - 0.13),
                    (0.2, y - 0.115),
                    (0.34, y - 0.07),
                    (0.42, y - 0.12),
                    (0.36, y - 0.02),
                    (0.2, y - 0.0),
                    (0, y - 0.03),
                    (-0.2, y - 0.0),
                    (-0.36, y - 0.02),
                    (-0.42, y - 0.12),
                    (-0.34, y - 0.07),
                    (-0.2, y - 0.115),
                ],
                closed=True,
            ),
            0.014,
        )
        if p.beard == "moustache":
            mask, strength = moustache, 0.95
        elif p.beard == "goatee":
            chin = s.area(
                spline(
                    [
                        (0.32, y),
                        (0.34, y + 0.2),
                        (0.24, 1.04),
                        (0, 1.1),
                        (-0.24, 1.04),
                        (-0.34, y + 0.2),
                        (-0.32, y),
                        (0, y + 0.12),
                    ],
                    closed=True,
                ),
                0.02,
            )
            mask, strength = np.asarray(np.maximum(moustache, chin) * (1 - lips), np.float32), 0.9
        else:
            mask = np.asarray(np.maximum(full, moustache * 0.8) * (1 - lips), np.float32)
            strength = 0.36 if p.beard == "stubble" else 0.94
        if p.beard == "stubble":
            mask = np.asarray(s.soft(mask, 0.03) * self.face, np.float32)
        hairs = s.grain(self.chance, 0.006, 0.03)
        tone = self.hair_colour * (0.5 + 0.45 * np.clip(lit, 0, 1.2) + 0.09 * hairs)[..., None]
        tone = np.asarray(np.clip(tone, 0, 1), np.float32)
        ragged = np.asarray(np.clip(mask * (1 + 0.16 * hairs), 0, 1) * strength, np.float32)
        paint.over(tone, ragged)

    def _hair_mask(self) -> Array:
        s, w = self.sheet, self.person.width
        outer = spline([(x * w, y) for x, y in self.hair.outer])
        if not self.hair.hairline:
            sides = [
                s.area([*((side * x, y) for x, y in outer), (side * 0.66 * w, 0.1), (side * 0.67 * w, -0.3)], 0.04)
                for side in (-1, 1)
            ]
            return np.asarray(np.clip(sides[0] + sides[1], 0, 1), np.float32)
        outline = [*outer, *((-x, y) for x, y in reversed(outer))]
        cap = self._frayed(s.area(outline, self.hair.fade * 0.5))
        line = [(x * w, y) for x, y in self.hair.hairline]
        opening = s.area(spline(line), 0.02)
        wave = s.grain(np.random.default_rng(50 + self.person.seed), 0.02, 0.05)
        opening = np.asarray(ramp(0.3, 0.7, np.asarray(s.soft(opening, 0.025) + 0.05 * wave, np.float32)), np.float32)
        return np.asarray(cap * (1 - opening), np.float32)

    def _frayed(self, mask: Array) -> Array:
        """A softer edge, with curls or loose hairs."""
        s = self.sheet
        chance = np.random.default_rng(90 + self.person.seed)
        size = 0.05 + 0.03 * self.hair.curl
        edge = s.grain(chance, size * 0.6, size * (0.6 if self.hair.curl > 0.5 else 1.4))
        wide = s.soft(mask, 0.03 + 0.03 * self.hair.curl)
        return np.asarray(
            ramp(
                0.36, 0.64, np.asarray(wide + (0.1 + 0.2 * self.hair.curl) * edge * 4 * wide * (1 - wide), np.float32)
            ),
            np.float32,
        )

    def _strands(self, mask: Array) -> Array:
        """Hair: a volume that is lit, with strands that fall from the parting, or curls."""
        s, hair = self.sheet, self.hair
        chance = np.random.default_rng(30 + self.person.seed)
        px, py = hair.part
        dx, dy = s.x - px * self.person.width, (s.y - py) * 0.8
        angle, radius = np.arctan2(dx, dy), np.hypot(dx, dy)
        if hair.curl > 0.5:
            rough = s.grain(chance, 0.035, 0.035) * 0.7 + s.grain(chance, 0.09, 0.09) * 0.6
            streak = np.asarray(rough, np.float32)
        else:
            # Noise in polar coordinates: fine across the strands, long along them.
            table = np.tile(chance.standard_normal((64, 720)).astype(np.float32), (1, 3))
            fine = cv2.GaussianBlur(table, (0, 0), 1.0, sigmaY=6)[:, 720:1440]
            coarse = cv2.GaussianBlur(table, (0, 0), 4, sigmaY=14)[:, 720:1440]
            both = fine / fine.std() * 0.6 + coarse / coarse.std() * 0.7
            bend = hair.curl * 0.1 * np.sin(radius * 11)
            u = ((angle + bend) / (2 * math.pi) + 0.5) * 719
            v = np.clip(radius / 3.6, 0, 1) * 63
            streak = cv2.remap(both.astype(np.float32), u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
            streak = np.asarray(streak * ramp(0.0, 0.55, np.asarray(radius, np.float32)), np.float32)
        dome = s.soft(mask, 0.16) * 0.55 + s.soft(mask, 0.05) * 0.12
        ball = (
            np.sqrt(
                np.maximum(0, 1 - np.clip(np.abs(s.x) / 1.15, 0, 1) ** 2 - np.clip(np.abs(s.y + 0.2) / 1.5, 0, 1) ** 2)
            )
            * 0.8
        )
        relief = np.asarray(dome + ball + 0.006 * streak, np.float32)
        lit, _ = self._shade(s.soft(relief, 0.012))
        gloss = (
            np.exp(-(((radius - 0.46) / 0.17) ** 2)) * np.clip(lit - 0.25, 0, 1) * np.clip(0.75 + 0.4 * streak, 0, 1.6)
        )
        if hair.curl > 0.5:
            gloss = np.clip(streak, 0, 1) * np.clip(lit - 0.3, 0, 1) * 0.5
        base = self.hair_colour * (0.34 + 0.68 * np.clip(lit, 0, 1.2) + 0.07 * streak)[..., None]
        sheen = mixed(self.hair_colour, np.array([0.75, 0.86, 1.0], np.float32), 0.4) * (0.42 * gloss)[..., None]
        return np.asarray(np.clip(base + sheen, 0, 1), np.float32)

    def _front_hair(self, paint: _Paint) -> None:
        mask = self.hair_mask
        strength = 0.8 if not self.hair.hairline else 1.0
        paint.over(self._strands(mask), np.asarray(mask * strength, np.float32))

    def _glasses(self, paint: _Paint) -> None:
        s, p = self.sheet, self.person
        if not p.glasses:
            return
        frame = colour("#2b2220") if p.glasses == "square" else colour("#6a4526")
        gap = p.eye_gap * p.width
        for side in (-1, 1):
            x, y = side * (gap + 0.005), p.eye_y + 0.035
            if p.glasses == "round":
                ring = _circle(x, y, 0.235)
            else:
                ring = spline(
                    [(x - 0.245, y - 0.13), (x + 0.245, y - 0.13), (x + 0.225, y + 0.15), (x - 0.225, y + 0.15)],
                    closed=True,
                    steps=10,
                )
            glass = s.area(ring, 0.006)
            paint.tint(np.array([0.97, 0.96, 0.94], np.float32), glass)
            gleam = s.area([(x - 0.15, y - 0.2), (x - 0.05, y - 0.2), (x - 0.17, y + 0.2), (x - 0.27, y + 0.2)], 0.012)
            paint.add(np.array([0.1, 0.1, 0.1], np.float32), np.asarray(0.8 * glass * gleam, np.float32))
            shadow = np.roll(s.line([*ring, ring[0]], 0.03, 0.015), round(0.03 * s.px), axis=0)
            paint.tint(np.array([0.62, 0.64, 0.7], np.float32), np.asarray(0.5 * shadow * self.face, np.float32))
            paint.over(frame, s.line([*ring, ring[0]], 0.03 if p.glasses == "round" else 0.042, 0.005))
            paint.over(frame, s.line([(x + side * 0.235, y - 0.05), (side * 0.76 * p.width, y - 0.09)], 0.028, 0.005))
            paint.over(
                mixed(frame, np.ones(3, np.float32), 0.5),
                np.asarray(0.6 * s.line(ring[2:9], 0.01, 0.006, taper=True), np.float32),
            )
        paint.over(
            frame,
            s.line(
                spline([(-gap + 0.23, p.eye_y - 0.01), (0, p.eye_y - 0.05), (gap - 0.23, p.eye_y - 0.01)]), 0.028, 0.005
            ),
        )

    def turned(self, head: _Paint, view: View) -> _Paint:
        """The head turned as the view says: what is nearer moves further. Then tilted about the neck."""
        s, v = self.sheet, view
        shift = np.asarray(self.ball + 1.2 * (self.relief - self.ball) * self.face, np.float32)
        columns, rows = np.meshgrid(np.arange(s.width, dtype=np.float32), np.arange(s.height, dtype=np.float32))
        u, w = columns.copy(), rows.copy()
        for _ in range(6):
            near = cv2.remap(shift, u, w, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            u, w = columns - v.yaw * s.px * near, rows - v.pitch * s.px * near
        if v.tilt:
            left, top = s.shown[:2]
            about = (-left * s.px, (1.05 - top) * s.px)
            turn = cv2.getRotationMatrix2D(about, v.tilt, 1.0)
            inverse = cv2.invertAffineTransform(turn)
            x = inverse[0, 0] * columns + inverse[0, 1] * rows + inverse[0, 2]
            y = inverse[1, 0] * columns + inverse[1, 1] * rows + inverse[1, 2]
            x, y = x.astype(np.float32), y.astype(np.float32)
            u, w = (
                np.asarray(cv2.remap(grid, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
                for grid in (u, w)
            )
        both = np.dstack([head.colour, head.cover])
        found = cv2.remap(both, u, w, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return _Paint(np.asarray(found[..., :3], np.float32), np.asarray(found[..., 3], np.float32))


def _circle(x: float, y: float, r: float) -> list[tuple[float, float]]:
    return [(x + r * math.cos(a), y + r * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 33)[:-1]]


PEOPLE = (
    Person(
        name="Olive Marsh", skin="#d9a27c", hair_colour="#3b2417", hair="long", clothes="#7a8b5c", seed=1, iris="#6b7a3a",
        lip_colour="#b4534f", grin=0.8, brow=0.65, brow_arch=0.093, brow_y=0.172, chin=0.75, eye_gap=0.302, eye_open=0.896, eye_size=1.2,
        eye_tilt=-0.05, eye_y=0, jaw=0.856, lips=0.723, mouth=0.21, mouth_y=0.573, nose_height=1.288, nose_length=0.393, nose_width=0.822,
        width=1.085,
    ),
    Person(
        name="Jasper Reed", skin="#e9b998", hair_colour="#8a5a2b", hair="quiff", clothes="#35506e", collar="shirt", seed=2, iris="#4f7fa3",
        lip_colour="#b57068", beard="stubble", lashes=0.2, grin=0.35, brow=0.987, brow_arch=0.033, brow_y=0.21, chin=1.336, eye_gap=0.285,
        eye_open=0.903, eye_size=1.2, eye_tilt=-0.029, eye_y=-0.028, jaw=1.16, lips=0.976, mouth=0.32, mouth_y=0.59, nose_height=1.068,
        nose_length=0.428, nose_width=0.78, width=0.92,
    ),
    Person(
        name="Hazel Brook", skin="#7b4a2f", hair_colour="#1c1310", hair="afro", clothes="#d8963c", seed=3, iris="#3b2215",
        lip_colour="#8c4040", earrings=True, grin=0.7, brow=0.765, brow_arch=0.052, brow_y=0.17, chin=0.961, eye_gap=0.318, eye_open=1.083,
        eye_size=1.2, eye_tilt=0.17, eye_y=-0.095, jaw=1.14, lips=1.5, mouth=0.235, mouth_y=0.596, nose_height=1.258, nose_length=0.354,
        nose_width=1.376, width=0.993,
    ),
    Person(
        name="Rowan Field", skin="#e7b893", hair_colour="#1a1613", hair="fringe", clothes="#a2453c", collar="crew", seed=4, iris="#2d1c12",
        lashes=0.2, brow=0.65, brow_arch=0.032, brow_y=0.27, chin=0.826, eye_gap=0.352, eye_open=0.843, eye_size=1.186, eye_tilt=0.093,
        eye_y=-0.11, jaw=0.82, lips=0.743, mouth=0.31, mouth_y=0.589, nose_height=0.912, nose_length=0.484, nose_width=1.149, width=1.068,
    ),
    Person(
        name="Amber Lane", skin="#efc9b0", hair_colour="#c9c4bd", hair="bob", clothes="#4b4a68", collar="roll", seed=5, iris="#6f8ea3",
        lip_colour="#a85a5c", glasses="round", age=0.7, smile=1.15, brow=0.65, brow_arch=0.044, brow_y=0.203, chin=1.173, eye_gap=0.349,
        eye_open=0.95, eye_size=0.98, eye_tilt=-0.05, eye_y=-0.105, jaw=1.149, lips=0.995, mouth=0.21, mouth_y=0.619, nose_height=0.85,
        nose_length=0.475, nose_width=0.78, width=1.019,
    ),
    Person(
        name="Basil Stone", skin="#b57c52", hair_colour="#17110e", hair="short", clothes="#3d4a5c", collar="blazer", seed=6,
        iris="#3a2314", beard="full", lashes=0.2, smile=1.1, brow=1.6, brow_arch=0.02, brow_y=0.182, chin=1.233, eye_gap=0.311,
        eye_open=0.934, eye_size=0.838, eye_tilt=0.145, eye_y=-0.105, jaw=0.995, lips=1.038, mouth=0.243, mouth_y=0.691, nose_height=1.222,
        nose_length=0.478, nose_width=0.78, width=0.92,
    ),
    Person(
        name="a visitor", skin="#f3cdb4", hair_colour="#a8431d", hair="waves", clothes="#2f6b63", seed=7, iris="#4f8a5a",
        lip_colour="#c4605a", freckles=130, grin=0.5, brow=1.187, brow_arch=0.02, brow_y=0.17, chin=0.852, eye_gap=0.349, eye_open=1.12,
        eye_size=1.2, eye_tilt=0.17, eye_y=-0.011, jaw=0.82, lips=1.5, mouth=0.24, mouth_y=0.661, nose_height=0.848, nose_length=0.37,
        nose_width=0.78, width=0.94,
    ),
    Person(
        name="a courier", skin="#d7a07c", hair_colour="#8f8880", hair="bald", clothes="#3c4148", collar="shirt", seed=8, iris="#4a5a66",
        beard="moustache", age=0.8, lashes=0.2, smile=1.1, brow=0.69, brow_arch=0.069, brow_y=0.17, chin=1.35, eye_gap=0.344,
        eye_open=0.956, eye_size=0.82, eye_tilt=-0.05, eye_y=-0.096, jaw=1.032, lips=0.868, mouth=0.293, mouth_y=0.72, nose_height=0.805,
        nose_length=0.366, nose_width=0.919, width=1.09,
    ),
)  # fmt: skip  # several of somebody's features in a row


def person(name: str) -> Person:
    """Raises StopIteration for a name that there is not."""
    return next(one for one in PEOPLE if one.name == name)
