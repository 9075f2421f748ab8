"""Cuts and motion, told from thumbnails."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workers.pipeline.scene_change import SceneChange

Picture = NDArray[np.uint8]


def scene(seed: int, height: int = 360, width: int = 640) -> Picture:
    """A picture of large grey areas, like a room."""
    areas = np.random.default_rng(seed).integers(30, 220, size=(6, 8)).astype(np.uint8)
    return np.repeat(np.repeat(np.repeat(areas, height // 6, 0), width // 8, 1)[:, :, None], 3, 2)


def noisy(picture: Picture, seed: int, levels: float = 4.0) -> Picture:
    noise = np.random.default_rng(seed).normal(0, levels, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def with_square(picture: Picture, x: int, side: int, brighter: int = 40) -> Picture:
    changed = picture.astype(np.int16)
    changed[150 : 150 + side, x : x + side] += brighter
    return np.clip(changed, 0, 255).astype(np.uint8)


def cuts(*pictures: Picture) -> list[bool]:
    change = SceneChange()
    return [change.compare(picture).cut for picture in pictures]


def moved(*pictures: Picture) -> bool:
    """Whether the last picture differs from the first, which was searched."""
    change = SceneChange()
    change.compare(pictures[0])
    change.mark()
    return [change.compare(picture).moved for picture in pictures[1:]][-1]


def test_another_scene_is_a_cut() -> None:
    """The first picture is none; neither is the second of one scene."""
    assert cuts(*(scene(seed) for seed in (1, 1, 2, 2, 1))) == [False, False, True, False, True]


def test_light_and_motion_are_no_cut() -> None:
    """Lamps going on, and a person who fills a third of the picture, leave the tracks alone."""
    dark = (scene(1) * 0.4).astype(np.uint8)
    with_person = scene(1)
    with_person[60:, 200:420] = 90
    assert not any(cuts(scene(1), dark, scene(1), with_person, scene(1)))


def test_large_faces_in_front_of_a_plain_wall_are_no_cut() -> None:
    """Nothing but them is there to correlate; most of the picture stays as it is."""
    wall = np.full((360, 640, 3), 120, np.uint8)
    wall[:, ::40] = 130
    assert not any(cuts(*(with_square(wall, x, 150, 100) for x in (0, 160, 320, 480))))


def test_dark_noise_is_no_cut() -> None:
    """A covered lens gives noise, which correlates with nothing."""
    noise = np.random.default_rng(1)
    assert not any(cuts(*(noise.integers(0, 12, size=(360, 640, 3)).astype(np.uint8) for _ in range(4))))


def test_another_resolution_is_a_cut() -> None:
    """A camera that was set to another size: places no longer mean the same."""
    assert cuts(scene(1), scene(1, 720, 1280)) == [False, True]


def test_nothing_moved_in_a_noisy_picture() -> None:
    """A night camera's noise is no reason to search."""
    assert not moved(*(noisy(scene(1), seed, 8.0) for seed in range(4)))


def test_face_that_comes_in_has_moved() -> None:
    """The smallest that is asked for, 20 of 640 pixels, 25 grey levels off the wall, in a noisy picture."""
    assert moved(noisy(scene(1), 1), noisy(with_square(scene(1), 300, 20, 25), 2))


def test_slow_motion_adds_up() -> None:
    """Compared is with what was searched last, not with the frame before."""
    assert moved(*(with_square(scene(1), x, 40) for x in range(100, 112)))


def test_light_that_changes_everywhere_alike_is_no_motion() -> None:
    """A cloud: everything three levels brighter, and three more."""
    brighter = [np.clip(scene(1).astype(int) + step, 0, 255).astype(np.uint8) for step in (0, 10, 20)]
    assert not moved(*brighter)


def test_until_something_was_searched_everything_has_moved() -> None:
    """Also after the camera was set to another size."""
    change = SceneChange()
    assert change.compare(scene(1)).moved
    assert change.compare(scene(1)).moved
    change.mark()
    assert not change.compare(scene(1)).moved
    assert change.compare(scene(1, 720, 1280)).moved
