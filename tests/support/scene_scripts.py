"""The scripts of the scenes, with people from a cast. The cast's seed decides which people, places and speeds are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.support.photo_faces import Cast, CutOut, held_up
from tests.support.scenes import WIDTH, Actor, Bar, Path_, Pose, Scene, Shot, wall

Script = Callable[["Stage"], Scene]


class Stage:
    """Hands out people, each once a scene, and chance: all of it fixed by `seed`."""

    def __init__(self, cast: Cast, seed: int) -> None:
        self.chance = np.random.default_rng(seed)
        self._cast = cast
        self._known, self._strangers = self._shuffled(cast.enrolled), self._shuffled(cast.strangers)
        self._walls = seed * 100

    def wall(self) -> Shot:
        self._walls += 1
        return Shot(wall(self._walls))

    def known(self, path: Path_, from_s: float, until_s: float, *, photos: int = 1, turn_s: float = 1e9) -> Actor:
        """Somebody enrolled, who looks into the camera; `photos` of them in turns."""
        person, found = self._next(self._known)
        return Actor(person.name, found[:photos], path, from_s, until_s, turn_s)

    def stranger(self, path: Path_, from_s: float, until_s: float, *, photos: int = 1, turn_s: float = 1e9) -> Actor:
        return Actor(None, self._next(self._strangers)[1][:photos], path, from_s, until_s, turn_s)

    def anybody(self, known: bool) -> Callable[..., Actor]:
        return self.known if known else self.stranger

    def _shuffled(self, people: list[Path]) -> Iterator[Path]:
        return iter([people[i] for i in self.chance.permutation(len(people))])

    def _next(self, people: Iterator[Path]) -> tuple[Path, tuple[CutOut, ...]]:
        for person in people:
            photos = tuple(photo for photo in self._cast.photos(person) if photo.frontal)
            if photos:
                return person, photos
        raise AssertionError("the scene has more people than the cast")


def standing(x: float, y: float = 250.0, width: float = 90.0, sway: float = 14.0, phase: float = 0.0) -> Path_:
    """On one spot, moving as people do who stand."""

    def pose(t: float) -> Pose:
        swing = math.sin(1.3 * t + phase)
        return Pose(x + sway * swing, y + 0.3 * sway * math.sin(2.1 * t + phase), width, 4 * swing)

    return pose


def walking(x0: float, x1: float, length_s: float, y: float = 250.0, width: float = 90.0) -> Path_:
    """From one x to another in `length_s`, with a walker's nod."""
    return lambda t: Pose(x0 + (x1 - x0) * t / length_s, y + 5 * math.sin(11 * t), width, 3 * math.sin(5 * t))


def one_walks_through(stage: Stage) -> Scene:
    """From one edge to the other, then somebody else the other way, nearer and faster."""
    shot = stage.wall()
    slow = stage.known(walking(-60, WIDTH + 60, 6.0, width=80), 0.5, 6.5)
    fast = stage.known(walking(WIDTH + 80, -80, 3.0, y=290, width=125), 7.0, 10.0)
    return Scene("one walks through", 11.0, (Shot(shot.background, (slow, fast)),))


def comes_nearer(stage: Stage) -> Scene:
    """From a face of 45 pixels to one of 140."""
    near = stage.known(lambda t: Pose(300 + 40 * t, 200 + 12 * t, 45 * math.exp(t * math.log(140 / 45) / 7)), 0, 7)
    return Scene("comes nearer", 7.5, (Shot(stage.wall().background, (near,)),))


def several_with_strangers(stage: Stage) -> Scene:
    """Three who are enrolled and two who are not."""
    actors = tuple(
        stage.anybody(i % 2 == 0)(
            standing(110 + 185 * i, 200 + 90 * (i % 2), 75 + 8 * i, phase=i), 0.3 * i, 8 - 0.2 * i
        )
        for i in range(5)
    )
    return Scene("several with strangers", 8.0, (Shot(stage.wall().background, actors),))


def _crossing(stage: Stage, name: str, known: bool) -> Scene:
    one = stage.known(walking(80, 880, 7.0, y=240, width=85), 0, 7)
    other = stage.anybody(known)(walking(880, 80, 7.0, y=262, width=95), 0, 7)
    return Scene(name, 7.2, (Shot(stage.wall().background, (one, other)),))


def two_cross(stage: Stage) -> Scene:
    """Both are enrolled; the one in front hides the other for a moment."""
    return _crossing(stage, "two cross", known=True)


def stranger_crosses(stage: Stage) -> Scene:
    """The one in front is a stranger."""
    return _crossing(stage, "a stranger crosses", known=False)


def two_nearly_touch(stage: Stage) -> Scene:
    """They walk up to each other, stay cheek to cheek for two seconds, and part."""

    def path(side: int) -> Path_:
        return lambda t: Pose(480 + side * (55 + 300 * max(0.0, abs(t - 4) - 1) / 3), 250 + 3 * math.sin(3 * t), 90)

    actors = stage.known(path(-1), 0, 8), stage.known(path(1), 0, 8)
    return Scene("two nearly touch", 8.2, (Shot(stage.wall().background, actors),))


def cut(stage: Stage) -> Scene:
    """Everybody is somebody else from one frame to the next, at the same places, and so is the room; twice."""
    shots = []
    for i in range(3):
        actors = tuple(
            stage.anybody(known)(standing(x, 250, 95, phase=i), 4.0 * i, 4.0 * (i + 1))
            for x, known in ((280, True), (660, i != 1))
        )
        shots.append(Shot(stage.wall().background, actors, from_s=4.0 * i))
    return Scene("cut", 12.0, tuple(shots))


def cut_in_one_room(stage: Stage) -> Scene:
    """Everybody is somebody else, and the room is the same: what is lost of a stream that hung for minutes."""
    shot = stage.wall()
    shots = []
    for i in range(2):
        actors = tuple(stage.known(standing(x, 250, 95), 4.0 * i, 4.0 * (i + 1)) for x in (280, 660))
        shots.append(Shot(shot.background, actors, from_s=4.0 * i))
    return Scene("cut in one room", 8.0, tuple(shots))


def blur_comes_and_goes(stage: Stage) -> Scene:
    """Out of focus for a second and a half, twice, and smeared by motion once."""

    def blurred(stand: Path_) -> Path_:
        def pose(t: float) -> Pose:
            at = stand(t)
            focus = 3.5 * max(0.0, math.sin(2 * math.pi * (t - 2) / 4)) if t > 2 else 0.0
            return Pose(at.x, at.y, at.width, at.tilt, blur=focus, motion=14.0 if 9 < t < 10 else 0.0)

        return pose

    actors = stage.known(blurred(standing(300)), 0, 11), stage.stranger(blurred(standing(650, 230, 100)), 0, 11)
    return Scene("blur comes and goes", 11.2, (Shot(stage.wall().background, actors),))


def leaves_and_returns(stage: Stage) -> Scene:
    """Out at the edge, away for four seconds, back: two visits each, of somebody known and of a stranger."""
    first, last = walking(300, WIDTH + 80, 3.5), walking(WIDTH + 80, 420, 3.5)
    known = stage.known(first, 0, 3.5)
    stranger = stage.stranger(walking(500, -80, 3.5, 300, 100), 0.5, 4)
    again = Actor(known.person, known.photos, last, 7.5, 11)
    again_stranger = Actor(None, stranger.photos, walking(-80, 300, 3.5, 300, 100), 8, 11.5)
    return Scene("leaves and returns", 12, (Shot(stage.wall().background, (known, stranger, again, again_stranger)),))


def covered_for_a_moment(stage: Stage) -> Scene:
    """Something 160 pixels wide passes in front of two people within half a second each; then a door hides half a face."""
    shot = stage.wall()
    actors = stage.known(standing(300), 0, 8), stage.known(standing(640, 270, 100, phase=2), 0, 8)
    passing = Bar(lambda t: 520 * (t - 2.5), 160)
    door = Bar(lambda t: 300 - 140 * min(1.0, max(0.0, 5 - t), max(0.0, t - 6)) if 4 < t < 7 else -200.0, 140, 140)
    return Scene("covered for a moment", 8.2, (Shot(shot.background, actors, (passing, door)),))


def looks_change(stage: Stage) -> Scene:
    """Two people who turn and laugh: another photo of each every 2 s."""
    actors = (
        stage.known(standing(300), 0, 10, photos=3, turn_s=2.0),
        stage.known(standing(650, 260, 105, phase=1), 0.4, 10, photos=3, turn_s=2.3),
    )
    return Scene("looks change", 10.2, (Shot(stage.wall().background, actors),))


def crowd_of_four(stage: Stage) -> Scene:
    """Four who are enrolled mill about, passing near each other."""

    def milling(i: int) -> Path_:
        def pose(t: float) -> Pose:
            angle = 0.55 * t + i * math.pi / 2
            return Pose(
                480 + 300 * math.cos(angle), 265 + 110 * math.sin(angle), 84 + 12 * math.sin(angle), 3.0 * i - 4
            )

        return pose

    actors = tuple(stage.known(milling(i), 0, 9) for i in range(4))
    return Scene("crowd of four", 9.2, (Shot(stage.wall().background, actors),))


def stranger_stays(stage: Stage) -> Scene:
    """Twenty seconds of one stranger who changes looks, and of another who does not."""
    actors = (
        stage.stranger(standing(300, 240, 100), 0, 20, photos=3, turn_s=3.0),
        stage.stranger(standing(660, 270, 85, phase=1), 0, 20),
    )
    return Scene("a stranger stays", 20.2, (Shot(stage.wall().background, actors),))


def stands_still(stage: Stage) -> Scene:
    """After four empty seconds somebody comes in and does not move at all for ten."""

    def pose(t: float) -> Pose:
        return Pose(480 - 400 * max(0.0, 1 - t / 1.5), 250, 90)

    return Scene("stands still", 16, (Shot(stage.wall().background, (stage.known(pose, 4, 15),)),))


def dim_light(stage: Stage) -> Scene:
    """The light goes down to two fifths and comes back."""
    actors = stage.known(standing(320), 0, 8), stage.stranger(standing(650, 250, 95), 0, 8)
    background = stage.wall().background
    return Scene("dim light", 8.2, (Shot(background, actors, light=lambda t: 0.7 + 0.3 * math.cos(math.pi * t / 4)),))


def empty_corridor(stage: Stage) -> Scene:
    """Nobody: daylight that changes slowly, a lamp switched off and on, something that passes."""

    def light(t: float) -> float:
        return (0.85 + 0.15 * math.sin(t)) * (0.4 if 6 < t < 9 else 1.0)

    passing = Bar(lambda t: 300 * (t - 10), 90)
    return Scene("empty corridor", 15, (Shot(stage.wall().background, (), (passing,), light=light),))


def photo_held_up(stage: Stage) -> Scene:
    """Somebody enrolled stands there, and beside them a photo of somebody else who is enrolled is held up."""
    alive = stage.known(standing(280), 0, 8)
    shown = stage.known(standing(670, 270, 95, phase=1), 0.5, 8)
    shown = replace(shown, photos=tuple(held_up(photo) for photo in shown.photos))
    return Scene("photo held up", 8.2, (Shot(stage.wall().background, (alive, shown)),))


SCRIPTS: tuple[Script, ...] = (
    one_walks_through,
    comes_nearer,
    several_with_strangers,
    two_cross,
    stranger_crosses,
    two_nearly_touch,
    cut,
    cut_in_one_room,
    blur_comes_and_goes,
    leaves_and_returns,
    covered_for_a_moment,
    looks_change,
    crowd_of_four,
    stranger_stays,
    stands_still,
    dim_light,
    empty_corridor,
)
