"""Composes scenes in memory, from photos of faces over artificial backgrounds, with the truth: who is where, and when.

An actor is one visit: one person's cut-out photos on a path, in view from one moment to another. A shot is a background
with its actors, the last one in front; a scene is a few shots, and the change from one to the next is a cut. Everything
is a function of the time alone, so a scene plays the same every time and any frame can be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from tests.support.photo_faces import CutOut
from workers.capture.capture import Frame
from workers.recognition.engine import Image

Box = tuple[float, float, float, float]

WIDTH, HEIGHT, FRAMES_PER_S = 960, 540, 24
BEGAN_AT = 1_700_000_000.0  # wall clock of a scene's first frame
_CAPTURED_AT = 1000.0
_NOISE_GREYS = 5  # a sensor's, so that two frames of an empty corridor differ


@dataclass(frozen=True)
class Pose:
    """How an actor is shown: centre and width of the face in pixels, tilt in degrees, gain of the light, and blur: the
    sigma in pixels of what is out of focus, and the length in pixels of horizontal motion."""

    x: float
    y: float
    width: float = 90.0
    tilt: float = 0.0
    gain: float = 1.0
    blur: float = 0.0
    motion: float = 0.0


Path_ = Callable[[float], Pose]  # seconds since the actor came into view


@dataclass(frozen=True, eq=False)
class Actor:
    """One visit. `person`: who it is if enrolled, None for a stranger. `photos`: shown in turns of `turn_s` seconds."""

    person: str | None
    photos: tuple[CutOut, ...]
    path: Path_
    from_s: float
    until_s: float
    turn_s: float = 1e9

    def pose(self, time_s: float) -> Pose | None:
        return self.path(time_s - self.from_s) if self.from_s <= time_s < self.until_s else None

    def photo(self, time_s: float) -> CutOut:
        return self.photos[int((time_s - self.from_s) / self.turn_s) % len(self.photos)]

    def box(self, time_s: float) -> Box | None:
        """Where the face is; None when it is not in the shot."""
        pose = self.pose(time_s)
        if pose is None:
            return None
        x1, y1, x2, y2 = self.photo(time_s).box
        half_w, half_h = pose.width / 2, pose.width / 2 * (y2 - y1) / (x2 - x1)
        return pose.x - half_w, pose.y - half_h, pose.x + half_w, pose.y + half_h


@dataclass(frozen=True)
class Bar:
    """Something that passes in front of everybody: `x` gives its left edge at a time of the scene."""

    x: Callable[[float], float]
    width: float
    grey: int = 70


@dataclass(frozen=True, eq=False)
class Shot:
    """`light`: gain of the whole picture at a time of the scene. `actors`: the last one is in front."""

    background: Image
    actors: tuple[Actor, ...] = ()
    bars: tuple[Bar, ...] = ()
    from_s: float = 0.0
    light: Callable[[float], float] = lambda _: 1.0


@dataclass(frozen=True)
class Where:
    """The truth about one actor in one frame. `visible`: the share of the face's box that nothing hides."""

    actor: Actor
    box: Box
    visible: float


def _noise() -> tuple[Image, ...]:
    chance = np.random.default_rng(0)
    return tuple(chance.integers(0, _NOISE_GREYS, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(3))


@dataclass(frozen=True, eq=False)
class Scene:
    name: str
    length_s: float
    shots: tuple[Shot, ...]
    noise: tuple[Image, ...] = field(default_factory=_noise)

    @property
    def frames(self) -> int:
        return round(self.length_s * FRAMES_PER_S)

    @property
    def actors(self) -> list[Actor]:
        return [actor for shot in self.shots for actor in shot.actors]

    @property
    def cuts_s(self) -> list[float]:
        return [shot.from_s for shot in self.shots[1:]]

    def after(self, wait_s: float) -> Scene:
        """The same scene, before which nobody is there for so long."""
        return replace(self, length_s=self.length_s + wait_s, shots=tuple(_later(shot, wait_s) for shot in self.shots))

    def shot(self, time_s: float) -> Shot:
        return next(shot for shot in reversed(self.shots) if shot.from_s <= time_s + 1e-9)

    def truth(self, time_s: float) -> list[Where]:
        """Everybody with a part of the face in the picture."""
        shot = self.shot(time_s)
        boxes = [(actor, box) for actor in shot.actors if (box := actor.box(time_s)) is not None]
        bars = [(bar.x(time_s), 0.0, bar.x(time_s) + bar.width, float(HEIGHT)) for bar in shot.bars]
        found = []
        for i, (actor, box) in enumerate(boxes):
            inside = _covered(box, (0.0, 0.0, float(WIDTH), float(HEIGHT)))
            hidden = max((_covered(box, other) for other in [*bars, *(b for _, b in boxes[i + 1 :])]), default=0.0)
            if inside > 0:
                found.append(Where(actor, box, max(0.0, inside - hidden)))
        return found

    def render(self, number: int) -> Image:
        """Frame `number`, BGR (540, 960, 3)."""
        time_s = number / FRAMES_PER_S
        shot = self.shot(time_s)
        image = shot.background.copy()
        for actor in shot.actors:
            pose = actor.pose(time_s)
            if pose is not None:
                _paste(image, actor.photo(time_s), pose)
        for bar in shot.bars:
            left, right = (min(max(round(x), 0), WIDTH) for x in (bar.x(time_s), bar.x(time_s) + bar.width))
            image[:, left:right] = bar.grey
        light = shot.light(time_s)
        if light != 1.0:
            image = cv2.convertScaleAbs(image, alpha=light)  # type: ignore[assignment]  # stays uint8
        return np.asarray(cv2.add(image, self.noise[number % len(self.noise)]), np.uint8)

    def play(self) -> Iterator[Frame]:
        """Every frame, as a file that is not real-time gives them."""
        for number in range(self.frames):
            time_s = number / FRAMES_PER_S
            yield Frame(self.render(number), _CAPTURED_AT + time_s, BEGAN_AT + time_s, time_s)

    def write(self, path: Path) -> Path:
        """The scene as a Motion JPEG file."""
        codec = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, FRAMES_PER_S, (WIDTH, HEIGHT))
        assert writer.isOpened()
        for number in range(self.frames):
            writer.write(self.render(number))
        writer.release()
        return path


def _later(shot: Shot, by_s: float) -> Shot:
    """The shot, with all that happens in it so much later. The first one of a scene begins where it began."""
    return replace(
        shot,
        from_s=shot.from_s + by_s if shot.from_s else 0.0,
        actors=tuple(replace(one, from_s=one.from_s + by_s, until_s=one.until_s + by_s) for one in shot.actors),
        bars=tuple(replace(bar, x=_later_x(bar.x, by_s)) for bar in shot.bars),
        light=lambda time_s: shot.light(max(0.0, time_s - by_s)),
    )


def _later_x(x: Callable[[float], float], by_s: float) -> Callable[[float], float]:
    return lambda time_s: x(time_s - by_s)


def wall(seed: int) -> Image:
    """A room without a face: a lit wall, doors, boards and shelves, some texture, all drawn by chance from `seed`."""
    chance = np.random.default_rng(seed)
    ends = chance.uniform(50, 190, (2, 2, 3)).astype(np.float32)
    image = cv2.resize(ends, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    for _ in range(14):
        x, y = chance.integers(0, WIDTH), chance.integers(0, HEIGHT)
        w, h = chance.integers(40, 320), chance.integers(20, 400)
        colour = tuple(float(c) for c in chance.uniform(30, 200, 3))
        cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), colour, -1 if chance.random() < 0.6 else 4)
    rough = chance.normal(0, 9, (HEIGHT // 4, WIDTH // 4, 3)).astype(np.float32)
    textured = image + cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(textured, 0, 250), np.uint8)


def _covered(box: Box, other: Box) -> float:
    """The share of `box` that lies in `other`."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(0.0, width) * max(0.0, height) / ((box[2] - box[0]) * (box[3] - box[1]))


def _paste(image: Image, photo: CutOut, pose: Pose) -> None:
    """Draw the cut-out with its face's centre at the pose's place; what lies beyond the picture is left out."""
    x1, y1, x2, y2 = photo.box
    scale = pose.width / (x2 - x1)
    matrix = cv2.getRotationMatrix2D(((x1 + x2) / 2, (y1 + y2) / 2), pose.tilt, scale)
    matrix[:, 2] += np.array([pose.x - (x1 + x2) / 2, pose.y - (y1 + y2) / 2])
    height, width = photo.image.shape[:2]
    corners = matrix @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]], np.float64)
    left, top = np.floor(corners.min(axis=1)).astype(int)
    right, bottom = np.ceil(corners.max(axis=1)).astype(int)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, WIDTH), min(bottom, HEIGHT)
    if right <= left or bottom <= top:
        return
    matrix[:, 2] -= left, top
    size = int(right - left), int(bottom - top)
    face = cv2.warpAffine(photo.image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if pose.blur > 0:
        face = cv2.GaussianBlur(face, (0, 0), pose.blur)
    if pose.motion > 1:
        face = cv2.blur(face, (round(pose.motion), 1))
    if pose.gain != 1.0:
        face = cv2.convertScaleAbs(face, alpha=pose.gain)
    mask = cv2.warpAffine(photo.mask, matrix, size, flags=cv2.INTER_LINEAR)
    below = image[top:bottom, left:right]
    below[:] = cv2.blendLinear(face, below, mask, 1 - mask)
