"""Makes the demo's scene: two camera clips and a folder of enrolment photos, from pictures in installed packages.

The pictures are insightface's `t1.jpg` (six people at a table) and scikit-image's `astronaut.png` (one person). The clips
show them panned, zoomed, tilted, differently lit, blurred and recompressed. The photos are cut out, mirrored, turned and
differently lit, so that no pixel of a clip was enrolled. Five of the six people are enrolled under invented names; the
sixth and the astronaut are strangers.

Every frame is an affine view of pictures whose faces are known, so it is known exactly who is where in every frame.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigurationError
from workers.demo.painting import (
    FRAMES,
    FRAMES_PER_S,
    HEIGHT,
    WIDTH,
    Box,
    Cutout,
    Key,
    Light,
    Matrix,
    soft_mask,
    view,
    write_clip,
    write_photos,
)
from workers.recognition.engine import Image

DURATION_S = FRAMES / FRAMES_PER_S
TABLE_STRANGER = "stranger at the table"
ASTRONAUT = "astronaut"
# Where dlib's detector finds the faces in the two pictures: x1, y1, x2, y2 in pixels. The stranger is the person whose
# embedding is least similar to the others' (cosine at most .88; among the others up to .91).
_TABLE: dict[str, Box] = {
    "Ruby Heart": (64, 280, 176, 392),
    "Penny Ante": (274, 180, 360, 266),
    TABLE_STRANGER: (456, 300, 580, 424),
    "Jack Spade": (730, 360, 842, 472),
    "Ace Diamond": (877, 82, 989, 194),
    "Clover Day": (1112, 280, 1224, 392),
}
_ASTRONAUT: dict[str, Box] = {ASTRONAUT: (179, 83, 266, 170)}
_STRANGERS = (TABLE_STRANGER, ASTRONAUT)
_TABLE_SIZE, _ASTRONAUT_SIZE = (886, 1280), (512, 512)
# The astronaut's outline, down to the lower edge, so that she can walk into another picture.
_OUTLINE = (
    (20, 512), (22, 430), (44, 272), (78, 238), (114, 214), (116, 176), (150, 154), (188, 150), (184, 130), (166, 114),
    (152, 84), (164, 44), (198, 20), (240, 13), (280, 30), (302, 74), (298, 112), (274, 132), (258, 166), (298, 205),
    (306, 246), (344, 272), (362, 346), (400, 343), (450, 356), (486, 398), (500, 450), (512, 476), (512, 512),
)  # fmt: skip  # rows of pairs are easier to read than one pair a line


@dataclass(frozen=True)
class _Camera:
    light: Light
    table: tuple[Key, ...]
    visitor: tuple[Key, ...] = ()


_CENTRE = (WIDTH / 2, HEIGHT / 2)
_CAMERAS: dict[str, _Camera] = {
    # Pans over the whole table, in warm light that slowly dims and returns.
    "lounge": _Camera(
        Light(gain=1.0, swing=0.22, period_s=9.0, warmth=0.05, colour=1.0, blur_px=0.9, jpeg_quality=60),
        (
            Key(0, 397, 262, *_CENTRE, 1.22),
            Key(16, 884, 256, *_CENTRE, 1.22),
        ),
    ),
    # Watches the right half through a pale, cold lens that closes in and tilts; the astronaut walks in, stays, leaves.
    "corridor": _Camera(
        Light(gain=0.88, swing=0.12, period_s=5.0, warmth=-0.06, colour=0.45, blur_px=1.1, jpeg_quality=50),
        (
            Key(0, 858, 275, *_CENTRE, 1.18, -2.0),
            Key(5, 876, 268, *_CENTRE, 1.30, 1.5),
            Key(9, 860, 275, *_CENTRE, 1.24, 2.0),
            Key(16, 858, 275, *_CENTRE, 1.18, -2.0),
        ),
        (
            Key(2.5, 222, 126, -400, 185, 1.2),
            Key(5.5, 222, 126, 290, 180, 1.2, 1.5),
            Key(9.5, 222, 126, 340, 184, 1.2, -1.5),
            Key(12.5, 222, 126, -400, 185, 1.2),
        ),
    ),
}


@dataclass(frozen=True)
class Scene:
    """The files that `make_scene` made, and who is in them.

    `cameras`: name → clip. `people`: the enrolled. `strangers`: the others. `expected`: camera → everybody who is in view long
    enough for a verdict: people must be named there, strangers must be *unknown*. `photos`: person → photos.
    """

    folder: Path
    cameras: Mapping[str, Path]
    people: tuple[str, ...]
    strangers: tuple[str, ...]
    expected: Mapping[str, tuple[str, ...]]
    photos: Mapping[str, tuple[Path, ...]]
    duration_s: float = DURATION_S
    frames_per_s: int = FRAMES_PER_S

    @property
    def faces_dir(self) -> Path:
        """The folder with `<person>/*.jpg`, from which the empty gallery is filled."""
        return self.folder / "faces"

    def settings(self, *, loop: bool = False, web_port: int | None = None) -> dict[str, Any]:
        """The content of a site.toml with data_dir = `folder`. It uses dlib, which needs no download. `web_port`: of the web part; None:
        without one."""
        return {
            # These strangers are pictures in packages. A real site may keep strangers only where they have agreed.
            "site": {"name": "demo", "data_dir": str(self.folder), "keep_unknowns_days": 1},
            # The dlib engine searches at twice det_size, so the clips are not scaled; their faces have 100 to 150 pixels.
            "recognition": {"engine": "dlib", "det_size": WIDTH // 2, "fps": 4.0, "votes": 3, "min_face_px": 60},
            "cameras": {name: {"source": str(clip), "loop": loop} for name, clip in self.cameras.items()},
            "web": {} if web_port is None else {"enabled": True, "port": web_port},
        }

    def who_is_at(self, camera: str, media_time_s: float, box: Sequence[float]) -> str | None:
        """Whose face the clip shows at `box` (x1, y1, x2, y2 in pixels): a person, a stranger, or None for nobody's."""
        faces = _everybody(camera, media_time_s % self.duration_s)
        best = max(faces, key=lambda who: _overlap(faces[who], box))
        return best if _overlap(faces[best], box) >= 0.25 else None


def make_scene(folder: Path) -> Scene:
    """Write `folder`/faces/<person>/*.jpg and `folder`/clips/<camera>.mp4. It takes a few seconds on two cores.

    Raises ConfigurationError when a wheel's picture is missing, TemporaryError when OpenCV can't write video there.
    """
    table = _picture("insightface", "data/images/t1.jpg", _TABLE_SIZE)
    visitor = _picture("skimage", "data/astronaut.png", _ASTRONAUT_SIZE)
    people = tuple(who for who in _TABLE if who not in _STRANGERS)
    photos = {person: write_photos(folder / "faces" / person, table, _TABLE[person]) for person in people}
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    mask = soft_mask(_OUTLINE, _ASTRONAUT_SIZE)

    def clip(name: str) -> Path:
        camera = _CAMERAS[name]
        walk_in = Cutout(visitor, mask, camera.visitor) if camera.visitor else None
        return write_clip(folder / "clips" / name, table, camera.table, camera.light, walk_in)

    with ThreadPoolExecutor(max_workers=2) as pool:  # OpenCV releases the interpreter's lock
        cameras = dict(zip(_CAMERAS, pool.map(clip, _CAMERAS), strict=True))
    return Scene(folder, cameras, people, _STRANGERS, {name: _seen_by(name) for name in cameras}, photos)


def truth(camera: str, time_s: float) -> dict[str, Box]:
    """Name → box in pixels, of everybody whose face is whole in the frame at `time_s` and not hidden by the visitor."""
    faces, visitor = _everybody(camera, time_s), _CAMERAS[camera].visitor
    if visitor:
        outline = cv2.transform(np.array([_OUTLINE], np.float64), view(visitor, time_s))[0].astype(np.float32)
        faces = {who: box for who, box in faces.items() if who == ASTRONAUT or not _hidden(box, outline)}
    return {who: box for who, box in faces.items() if min(box) >= 0 and box[2] <= WIDTH and box[3] <= HEIGHT}


def _everybody(camera: str, time_s: float) -> dict[str, Box]:
    """Every face's box, also outside the frame. The visitor comes first, standing in front of the others."""
    here = _CAMERAS[camera]
    visitor = _boxes(_ASTRONAUT, view(here.visitor, time_s)) if here.visitor else {}
    return visitor | _boxes(_TABLE, view(here.table, time_s))


def _seen_by(camera: str) -> tuple[str, ...]:
    """Everybody whose whole face is in view for at least two seconds in all, which is enough for several votes."""
    frames = [truth(camera, index / FRAMES_PER_S) for index in range(FRAMES)]
    everybody = [*_TABLE, *_ASTRONAUT]
    return tuple(who for who in everybody if sum(who in frame for frame in frames) >= 2 * FRAMES_PER_S)


def _hidden(box: Box, outline: NDArray[np.float32]) -> bool:
    """Whether a corner or the middle of `box` lies within 8 pixels of the visitor."""
    x1, y1, x2, y2 = box
    points = ((x1, y1), (x2, y1), (x1, y2), (x2, y2), ((x1 + x2) / 2, (y1 + y2) / 2))
    return any(cv2.pointPolygonTest(outline, point, True) > -8 for point in points)


def _boxes(faces: Mapping[str, Box], where: Matrix) -> dict[str, Box]:
    """Boxes in the picture, turned into upright boxes in the frame."""
    found = {}
    for who, (x1, y1, x2, y2) in faces.items():
        x, y = (float(value) for value in where @ ((x1 + x2) / 2, (y1 + y2) / 2, 1.0))
        half = (x2 - x1) / 2 * math.hypot(where[0, 0], where[1, 0])
        found[who] = (x - half, y - half, x + half, y + half)
    return found


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    both = wide * high
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _picture(package: str, path: str, size: tuple[int, int]) -> Image:
    """A picture from an installed package. The package is not imported, since insightface takes seconds to import."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        picture = cv2.imread(str(Path(folder) / path)) if (Path(folder) / path).is_file() else None
        if picture is not None and picture.shape[:2] == size:
            return picture.astype(np.uint8, copy=False)
    raise ConfigurationError(
        "the demo's picture is missing, or another one",
        where=f"{package}/{path}",
        expected=f"{size[1]}×{size[0]} pixels",
        remedy="reinstall with: pip install --force-reinstall -c constraints.txt '.[embedded,demo]'",
    )
