"""The people that the tests draw, as the engines see them: the commands `enrol` and `identify`, at the limits that they have for anybody."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.drawn_people import person
from tests.support.drawn_site import CAMERAS, DLIB, ENROLLED, SMALL, STRANGERS, photo, write_photos
from tests.support.paths import needs_data, needs_dlib
from tests.support.site_process import command_json
from tests.support.sites import enrol

_WHEN_S = 4.75  # of a clip: everybody who comes into the room is there
ENGINES = [pytest.param(SMALL, marks=needs_data, id="small pack"), pytest.param(DLIB, marks=needs_dlib, id="dlib")]


@pytest.mark.parametrize("recognition", ENGINES)
def test_drawn_people_are_told_apart(tmp_path: Path, recognition: str) -> None:
    """Enrolled from their photos, each is named on a camera's picture: turned and lit otherwise, in another place. The two who are not
    enrolled are unknown, there and on photos."""
    (tmp_path / "site.toml").write_text(f"[recognition]\n{recognition}", encoding="utf-8")
    enrol(tmp_path, write_photos(tmp_path / "photos", ENROLLED))
    shown = {}
    for name, camera in CAMERAS.items():
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), camera.frame(_WHEN_S))
        shown[name] = sorted(one.person.name for one in camera.visits if one.at(_WHEN_S) is not None)
    for number, name in enumerate(STRANGERS):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), photo(person(name), number))
        shown[name] = [name]
    paths = [str(tmp_path / f"{name}.jpg") for name in shown]
    found = command_json(tmp_path, "identify", *paths)["photos"]
    for name, one in zip(shown, found, strict=True):
        got = sorted(face["person"] or face["verdict"] for face in one["faces"])
        assert got == sorted("unknown" if who in STRANGERS else who for who in shown[name]), (name, one)


def test_a_drawing_is_the_same_each_time() -> None:
    """And another one of the same person is not."""
    first = photo(person("Olive Marsh"))
    assert np.array_equal(first, photo(person("Olive Marsh")))
    assert not np.array_equal(first, photo(person("Olive Marsh"), 1))
