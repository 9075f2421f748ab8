"""A site of drawn people in drawn rooms: four cameras, six people who are enrolled, and two who are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from tests.support.drawn_people import Person, View, colour, person, portrait
from tests.support.drawn_rooms import Camera, Stop, Visit
from tests.support.paths import SMALL_PACK
from tests.support.sites import enrol
from tests.support.web_site import WebSite, web_site
from workers.recognition.engine import Image

SMALL = f'model = "{SMALL_PACK.name}"\nmodels_dir = "{SMALL_PACK.parent}"\nfps = 4\n'
DLIB = 'engine = "dlib"\ndet_size = 480\nfps = 3\n'
ENROLLED = ("Olive Marsh", "Jasper Reed", "Hazel Brook", "Rowan Field", "Amber Lane", "Basil Stone")
STRANGERS = ("a visitor", "a courier")
# A photo is none of a clip's frames: lit from elsewhere, turned elsewhere, in front of another background.
_PHOTOS = (
    (View(light=(-0.2, -0.5, 0.8), smile=1.0), ("#c9d3d6", "#8fa3ab")),
    (View(yaw=0.11, pitch=0.02, tilt=2.5, light=(0.5, -0.45, 0.75), smile=0.5, gain=0.94), ("#e6d6c2", "#b79d86")),
    (View(yaw=-0.12, tilt=-3, light=(-0.6, -0.3, 0.75), smile=0.8, warmth=0.05), ("#b9c4ae", "#6f8068")),
)
_PHOTO_PX = 130


def _stops(*stops: tuple[float, float, float, float]) -> tuple[Stop, ...]:
    return tuple(Stop(*one) for one in stops)


_LEFT, _RIGHT = -380.0, 2300.0  # where nothing of anybody is in the picture
CAMERAS = {
    "entrance": Camera(
        "entrance",
        15.0,
        (
            Visit(person("Olive Marsh"), _stops((0, 640, 600, 172), (5, 600, 600, 172), (8, _LEFT, 610, 175))),
            Visit(person("Olive Marsh"), _stops((10, _RIGHT, 600, 168), (15, 640, 600, 172))),
            Visit(person("a visitor"), _stops((0, 1240, 600, 160), (9, 1280, 600, 160), (11.5, _RIGHT, 610, 162))),
            Visit(person("a visitor"), _stops((12, _RIGHT, 610, 162), (15, 1240, 600, 160))),
        ),
        light=(0.5, -0.4, 0.75),
    ),
    "reception": Camera(
        "reception",
        17.0,
        (
            Visit(person("Amber Lane"), _stops((0, 1180, 470, 150), (6, 1140, 470, 150), (17, 1180, 470, 150))),
            Visit(person("Basil Stone"), _stops((1, _LEFT, 500, 165), (3.5, 520, 500, 165), (13, 560, 500, 165), (16, _LEFT, 500, 165))),
        ),
    ),
    "workshop": Camera(
        "workshop",
        16.0,
        (
            Visit(person("Jasper Reed"), _stops((0, 560, 490, 160), (7, 600, 490, 160), (16, 560, 490, 160))),
            Visit(person("Hazel Brook"), _stops((1, _RIGHT, 520, 160), (4, 1250, 520, 160), (12, 1230, 520, 160), (15, _RIGHT, 520, 160))),
        ),
    ),
    "corridor": Camera(
        "corridor",
        14.0,
        (
            Visit(person("Rowan Field"), _stops((0, 820, 600, 148), (6, 880, 605, 152), (9, _RIGHT, 620, 160))),
            Visit(person("Rowan Field"), _stops((10, _LEFT, 600, 140), (14, 820, 600, 148))),
            Visit(person("a courier"), _stops((2, _RIGHT, 600, 162), (4.5, 1360, 610, 165), (10, 1330, 610, 165), (13, _RIGHT, 600, 162))),
        ),
        light=(0.1, -0.6, 0.75),
    ),
}  # fmt: skip  # a stop is a row of four


def photo(who: Person, number: int = 0) -> Image:
    """Somebody's photo, BGR, one of three."""
    view, (above, below) = _PHOTOS[number]
    picture, mask = portrait(who, view, _PHOTO_PX)
    height, width = mask.shape
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    back = colour(above) * (1 - share) + colour(below) * share
    whole = picture + (1 - mask[..., None]) * np.broadcast_to(back, (height, width, 3))
    return np.asarray(np.rint(np.clip(whole, 0, 1) * 255), np.uint8)


def write_photos(folder: Path, names: Sequence[str]) -> Path:
    """`folder`/<person>/<n>.jpg, as `enrol` takes it."""
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(len(_PHOTOS)):
            cv2.imwrite(
                str(folder / name / f"{number + 1}.jpg"), photo(person(name), number), [cv2.IMWRITE_JPEG_QUALITY, 92]
            )
    return folder


@contextmanager
def drawn_site(folder: Path, recognition: str) -> Iterator[WebSite]:
    """The site in `folder`, which plays all the cameras in a loop and knows the people of ENROLLED. `recognition`: SMALL or DLIB; the
    engine has its own limits. All cameras are up when this returns."""
    with ThreadPoolExecutor(max_workers=2) as pool:  # OpenCV releases the interpreter's lock
        paths = pool.map(lambda name: CAMERAS[name].write(folder / f"{name}.mp4"), CAMERAS)
        clips = dict(zip(CAMERAS, paths, strict=True))
    text = f'[site]\nname = "head office"\nkeep_unknowns_days = 7\n[recognition]\n{recognition}'
    text += "".join(
        f'[cameras.{name}]\nsource = "{clip}"\nloop = true\nrealtime = true\n' for name, clip in clips.items()
    )
    (folder / "site.toml").write_text(text, encoding="utf-8")
    enrol(folder, write_photos(folder / "photos", ENROLLED))
    with web_site(folder, text=text) as running:
        running.site.wait_for(
            lambda: (
                len(up := [one["up"] for one in running.site.status().get("cameras", {}).values()]) == len(clips)
                and all(up)
            ),
            "cameras",
        )
        yield running
