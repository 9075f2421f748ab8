"""Takes the pictures of the pages that the documents show: a real site, a real browser, and people who are drawn.

    python -m tests.screenshots [--out docs/pictures] [--pages live events …]

The people do not exist: `tests/support/drawn_people.py` draws them. Their faces are found and named by the small test pack, or
without the test data by dlib, at the limits that these have for anybody. It takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
from PIL import Image

from shared.records import Role
from tests.support.browser import CHROMIUM, Pages, Watched, browser
from tests.support.drawn_people import person
from tests.support.drawn_site import CAMERAS, DLIB, ENROLLED, SMALL, STRANGERS, drawn_site, photo
from tests.support.paths import ROOT, SMALL_PACK
from tests.support.web_site import WebSite

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURES = ROOT / "docs" / "pictures"
MAX_BYTES, MAX_BYTES_IN_ALL = 120_000, 700_000
_SEEN_S = 180.0  # until everybody was named somewhere, and both strangers ended unknown
_ALL_THERE_MS = 90_000  # until a page shows what its picture should
_GOOD_MOMENT_MS = 25_000  # until the wall shows so many people at once: longer than any clip
_QUALITIES = (82, 74, 66, 58, 50)  # of WebP: the first that is small enough


@dataclass(frozen=True)
class Shot:
    """A picture of a page: its path, what is there once it is shown, and what is done before the picture is taken. `{person}` in the path
    is somebody's id."""

    path: str
    ready: str
    size: str = "desk"
    scheme: str = "light"
    prepare: Callable[[Page, Path], None] | None = None


def _wait_for_people(page: Page, _: Path) -> None:
    """Until each camera's picture is there, several people are named at one moment, and a stranger is seen. A slow machine gets a picture with
    fewer people."""
    from playwright.sync_api import TimeoutError as PlaywrightTimeout

    for named in (5, 4, 3, 2):
        try:
            page.wait_for_function(
                "named => document.querySelectorAll('.tile .picture img').length === 4"
                " && document.querySelectorAll('.box.named').length >= named && document.querySelector('.box.unknown')",
                arg=named,
                timeout=_ALL_THERE_MS if named == 2 else _GOOD_MOMENT_MS,
            )
        except PlaywrightTimeout:
            if named == 2:
                raise
        else:
            return


def _hand_in_photos(page: Page, folder: Path) -> None:
    """Two photos of a stranger, judged and not stored."""
    paths = []
    for number in (0, 1):
        paths.append(str(folder / f"photo {number + 1}.jpg"))
        cv2.imwrite(paths[-1], photo(person(STRANGERS[0]), number))
    page.set_input_files("input.files", paths)
    page.wait_for_selector(".handed[aria-busy=false] .judged >> nth=1", timeout=_ALL_THERE_MS)


def _measure(page: Page, _: Path) -> None:
    page.wait_for_selector(".calibrate button.main, .plot")
    if not page.locator(".plot").count():
        page.click(".calibrate button.main")
    page.wait_for_selector(".plot", timeout=_ALL_THERE_MS)


_WALL = ".tile .picture img"
_ROWS = ".row .face img >> nth=5"
SHOTS = {
    "live": Shot("live", _WALL, prepare=_wait_for_people),
    "live-dark": Shot("live", _WALL, scheme="dark", prepare=_wait_for_people),
    "live-phone": Shot("live", _WALL, "phone", prepare=_wait_for_people),
    "events": Shot("events", _ROWS),
    "events-phone": Shot("events", _ROWS, "phone", "dark"),
    "people": Shot("people", f".cards img >> nth={len(ENROLLED) - 1}"),
    "person": Shot("people/{person}", ".photos img >> nth=2"),
    "review": Shot("review", ".decide .face.huge img"),
    "review-phone": Shot("review", ".decide .face.huge img", "phone"),
    "enrol": Shot("enrol", "form.enrol", prepare=_hand_in_photos),
    "cameras": Shot("cameras", f".camera .frame img >> nth={len(CAMERAS) - 1}", scheme="dark"),
    "calibrate": Shot("calibrate", ".calibrate", prepare=_measure),
    # Not Settings: it shows the paths of the machine that takes the pictures.
}


def missing() -> list[str]:
    """What these pictures need and is not there, each with its remedy."""
    extras = {"playwright": "browser-test", "fastapi": "web"} | ({} if SMALL_PACK.is_dir() else {"dlib": "embedded"})
    found = [
        f"{name} is not installed: pip install -c constraints.txt '.[{extra}]'"
        for name, extra in extras.items()
        if find_spec(name) is None
    ]
    return found if CHROMIUM.exists() else [*found, f"there is no {CHROMIUM}: apt install chromium (Debian's)"]


def take(folder: Path, out: Path, names: Sequence[str]) -> Iterator[Path]:
    """Write `out`/<name>.webp for each of these of SHOTS; a site is made and run in `folder`."""
    out.mkdir(parents=True, exist_ok=True)
    engine = SMALL if SMALL_PACK.is_dir() else DLIB
    with drawn_site(folder, recognition=engine) as web, browser() as opened:
        _wait_until_seen(web)
        pages = Pages(web, opened)
        somebody = next(
            one["id"] for one in web.visitor(Role.ADMIN).get("/api/v1/people")["people"] if one["person"] == ENROLLED[0]
        )
        for name in names:
            yield _take(pages, SHOTS[name], out / f"{name}.webp", somebody, folder)


def _wait_until_seen(web: WebSite) -> None:
    """Until everybody who is enrolled was named, nobody else was, and the strangers are waiting to be decided."""
    viewer = web.visitor(Role.ADMIN)

    def seen() -> bool:
        named = {one["person"] for one in viewer.get("/api/v1/events?event=named&limit=1000")["events"]}
        assert named <= set(ENROLLED)
        return len(named) == len(ENROLLED) and len(viewer.get("/api/v1/strangers")["strangers"]) >= len(STRANGERS)

    web.site.wait_for(seen, "sighting of everybody", _SEEN_S)


def _take(pages: Pages, shot: Shot, path: Path, somebody: str, folder: Path) -> Path:
    with pages.page(shot.size, shot.scheme, touch=shot.size == "phone") as watched:
        watched.open(shot.path.format(person=somebody), shot.ready)
        if shot.prepare:
            shot.prepare(watched.page, folder)
        _settle(watched)
        taken = Image.open(io.BytesIO(watched.page.screenshot(animations="disabled"))).convert("RGB")
    path.write_bytes(_packed(taken))
    return path


def _settle(watched: Watched) -> None:
    """Until every picture on the screen is loaded; those below it are loaded later."""
    watched.page.wait_for_function(
        "() => [...document.images].every(one => one.getBoundingClientRect().top > innerHeight || (one.complete && one.naturalWidth > 0))"
    )


def _packed(picture: Image.Image) -> bytes:
    """WebP of at most MAX_BYTES, without a date or a comment in it."""
    for quality in _QUALITIES:
        target = io.BytesIO()
        picture.save(target, "WEBP", quality=quality, method=6)
        if target.tell() <= MAX_BYTES:
            break
    return target.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder, made if there is none")
    parser.add_argument(
        "--pages", nargs="+", choices=list(SHOTS), default=list(SHOTS), metavar="PAGE", help=", ".join(SHOTS)
    )
    arguments = parser.parse_args()
    if found := missing():
        sys.exit("\n".join(["no pictures can be taken here:", *found]))
    with tempfile.TemporaryDirectory() as folder:
        for path in take(Path(folder), arguments.out, arguments.pages):
            print(f"{path}  {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
