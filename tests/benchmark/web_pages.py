"""Cases of `python -m tests.benchmark.web` in real Chromium: how soon a page is there, and how soon it shows what happened."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from shared.ipc.client import SiteClient
from shared.ipc.requests.references import Save
from shared.ipc.requests.sightings import Record
from shared.records import NewReference, Role
from shared.uuid7 import new_uuids
from tests.benchmark.web_cameras import camera_site
from tests.benchmark.web_figures import Figures, median, percentiles
from tests.support.browser import CHROMIUM, Pages, Watched, browser
from tests.support.paths import astronaut
from tests.support.portraits import portrait_clip
from tests.support.stores import DLIB, event
from tests.support.tiny_pack import DIM
from tests.support.vectors import noise
from tests.support.web_site import WebSite, web_site

CASES = ("browser", "paint", "people-page", "enrolled")
_LOADS = 5
_SLOWER = 4
_CAMERAS = 2
_AT_ONCE = 1000
_PHOTOS, _PHOTO_PX = 12, (1200, 1600)
_JUDGED_MS = 90_000  # the process that looks at photos has to start first
_KEYS = itertools.count()
# Of each page: what is there once it shows something of its own.
_CONTENT = {"live": ".wall .tile", "events": ".row", "people": ".cards li"}

_NOW = "performance.timeOrigin + performance.now()"
_WATCH_ROWS = f"""window.rows = [];
new MutationObserver((changes) => {{
  for (const change of changes) for (const one of change.addedNodes)
    if (one.matches?.('.row')) window.rows.push({_NOW});
}}).observe(document.querySelector('main'), {{ childList: true, subtree: true }});"""
# After the frame in which it is drawn.
_WATCH_CONTENT = """new MutationObserver((_, watching) => {
  if (!document.querySelector('SELECTOR')) return;
  watching.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.content = performance.now(); }));
}).observe(document, { childList: true, subtree: true });"""
_WATCH_CARDS = """(start) => new Promise((done) => {
  const found = {};
  const look = () => {
    const seen = [...document.querySelectorAll('.cards li')].filter((one) => one.getBoundingClientRect().top < innerHeight);
    const photos = seen.map((one) => one.querySelector('img'));
    if (seen.length) found.drawn ??= performance.now() - start;
    if (seen.length && photos.every((one) => one?.complete && one.naturalWidth))
      return done({ ...found, photos: performance.now() - start, cards: seen.length });
    requestAnimationFrame(() => setTimeout(look));
  };
  look();
})"""
_OPEN_PEOPLE = """() => {
  const start = performance.now();
  document.querySelector("nav a[href='#/people']").click();
  return (WATCH)(start);
}""".replace("WATCH", _WATCH_CARDS)
_WATCH_NAME = f"""window.named = {{}};
new MutationObserver(() => {{
  for (const one of document.querySelectorAll('.box.named')) window.named[one.innerText.trim()] ??= {_NOW};
}}).observe(document.querySelector('main'), {{ childList: true, subtree: true, characterData: true, attributes: true }});"""
_ANSWERED = """() => performance.timeOrigin + performance.getEntriesByType('resource').filter(
  (one) => one.name.endsWith('/api/v1/people')).at(-1).responseEnd"""


def measure(folder: Path, cases: set[str], events: int, people: int) -> list[Figures]:
    if not CHROMIUM.exists() or find_spec("playwright") is None:
        print(f"left out for want of {CHROMIUM} and the extra [browser-test]: {', '.join(CASES)}", file=sys.stderr)
        return []
    results: list[Figures] = []
    (first := folder / "pages").mkdir()
    if cases & {"browser", "paint", "people-page"}:
        with camera_site(first, "on_demand", _CAMERAS) as web, browser() as opened:
            enrol_with_photos(web, people)
            pages = Pages(web, opened)
            if "browser" in cases:
                results.append({"case": "browser", "events": events, **_in_browser(pages, events)})
            if "paint" in cases:
                _see(web, 60)
                results += [{"case": "paint", "page": name, **_painted(pages, name)} for name in _CONTENT]
            if "people-page" in cases:
                results.append({"case": "people-page", "people": people, **_people_page(pages)})
    if "enrolled" in cases:
        (second := folder / "enrolled").mkdir()
        results.append({"case": "enrolled", **_enrolled(second)})
    return results


def enrol_with_photos(web: WebSite, people: int) -> None:
    """So many people, each with a reference of noise and a photo as a telephone takes it; there are a dozen different ones."""
    faces = web.site.settings.faces_dir
    faces.mkdir(exist_ok=True)
    photos = [_photo(web.site.folder / f"photo-{number}.jpg", number) for number in range(_PHOTOS)]
    client, rng = SiteClient(web.site.settings.run_dir, patience_s=30), np.random.default_rng(0)
    for start in range(0, people, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, people))
        references = []
        for number, uuid in zip(numbers, new_uuids(len(numbers)), strict=True):
            name = f"person {number:06}"
            (faces / name).mkdir()
            os.link(photos[number % _PHOTOS], faces / name / "1.jpg")
            references.append(NewReference(name, f"faces/{name}/1.jpg", uuid=uuid))
        client.ask(Save(references, vectors=noise(rng, len(references), DIM)))
    client.close()


def _photo(path: Path, number: int) -> Path:
    picture = cv2.imread(str(astronaut()))
    assert picture is not None
    width, height = _PHOTO_PX
    whole = cv2.resize(picture[:, 60 : 60 + 512 * width // height], (width, height), interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(number).normal(0, 6, whole.shape)
    cv2.imwrite(str(path), np.clip(whole + grain, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


def _see(web: WebSite, count: int = 1) -> float:
    """Sightings, sent to the writer; when they were sent, seconds since 1970."""
    client = SiteClient(web.site.settings.run_dir)
    seen = [event(f"pages-{next(_KEYS)}", kind="unknown", camera="camera-0") for _ in range(count)]
    sent = time.time()
    client.ask(Record(seen))
    client.close()
    return sent


def _ahead_s(watched: Watched) -> float:
    """How much the browser's clock is ahead of ours, from the question that was answered fastest."""
    asked = []
    for _ in range(20):
        before = time.time()
        there = watched.page.evaluate(_NOW) / 1e3
        after = time.time()
        asked.append((after - before, there - (before + after) / 2))
    return float(min(asked)[1])


def _in_browser(pages: Pages, events: int) -> Figures:
    with pages.page() as watched:
        _see(pages.web)
        watched.open("events", ".row")
        watched.page.evaluate(_WATCH_ROWS)
        ahead_s, sent = _ahead_s(watched), []
        for number in range(1, events + 1):
            sent.append(_see(pages.web))
            watched.page.wait_for_function("count => window.rows.length >= count", arg=number)
        shown = watched.page.evaluate("window.rows")
        assert len(shown) == events, "each sighting is one row"
        return percentiles([there / 1e3 - ahead_s - here for there, here in zip(shown, sent, strict=True)])


@contextmanager
def _cold(pages: Pages, size: str, slower: int = 1) -> Iterator[Any]:
    """A page that nothing was loaded on, and that keeps nothing; so many times as slow."""
    with pages.page(size) as watched:
        session = watched.page.context.new_cdp_session(watched.page)
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
        yield watched.page


def _painted(pages: Pages, name: str) -> Figures:
    painted, content = [], []
    for _ in range(_LOADS):
        with _cold(pages, "phone", _SLOWER) as page:
            page.add_init_script(_WATCH_CONTENT.replace("SELECTOR", _CONTENT[name]))
            page.goto(f"{pages.web.address}/#/{name}")
            page.wait_for_function("() => window.content")
            content.append(page.evaluate("window.content"))
            painted.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    return {"slower": _SLOWER, "paint_ms": median(painted), "content_ms": median(content)}


def _people_page(pages: Pages) -> Figures:
    """Opened from Live by a click, and loaded anew; medians."""
    clicked, loaded = [], []
    with pages.page() as watched:
        for _ in range(_LOADS):
            watched.open("live", _CONTENT["live"])
            clicked.append(watched.page.evaluate(_OPEN_PEOPLE))
    for _ in range(_LOADS):
        with _cold(pages, "desk") as page:
            page.add_init_script(f"window.opened = ({_WATCH_CARDS})(0)")
            page.goto(f"{pages.web.address}/#/people")
            loaded.append(page.evaluate("window.opened"))
    return {
        "cards": clicked[0]["cards"],
        "opened_ms": median([one["drawn"] for one in clicked]),
        "opened_photos_ms": median([one["photos"] for one in clicked]),
        "loaded_ms": median([one["drawn"] for one in loaded]),
        "loaded_photos_ms": median([one["photos"] for one in loaded]),
    }


def _enrolled(folder: Path) -> Figures:
    """Enrolled from a file in one page, and named in another that shows Live all the time."""
    clip = portrait_clip(astronaut(), folder / "door.avi")
    camera = f'[cameras.door]\nsource = "{clip}"\nloop = true\nrealtime = true\n'
    took = []
    with web_site(folder, text=DLIB + camera) as web, browser() as opened:
        pages, admin = Pages(web, opened), web.visitor(Role.ADMIN)
        with pages.page() as wall:
            wall.open("live", ".tile .picture img")
            wall.page.wait_for_selector(".box", timeout=_JUDGED_MS)
            wall.page.evaluate(_WATCH_NAME)
            for number in range(_LOADS):
                name = f"Eileen {number}"
                with pages.page() as watched:
                    watched.open("enrol", "form.enrol")
                    watched.page.set_input_files("input.files", [str(astronaut())])
                    watched.page.wait_for_selector(".handed[aria-busy=false] .judged", timeout=_JUDGED_MS)
                    watched.page.fill(".whose input", name)
                    watched.page.click("text=Enrol 1 photo")
                    watched.page.wait_for_selector(f"h1:text-is('{name}')", timeout=_JUDGED_MS)
                    answered = watched.page.evaluate(_ANSWERED)
                wall.page.wait_for_function("name => window.named[name]", arg=name)
                took.append((wall.page.evaluate("name => window.named[name]", name) - answered) / 1e3)
                (person,) = admin.get("/api/v1/people")["people"]
                admin.ask("DELETE", f"/api/v1/people/{person['id']}").raise_for_status()
                wall.page.wait_for_selector(".box.named", state="detached")
    return {"times": len(took), "p50_ms": percentiles(took)["p50_ms"], "most_ms": round(1e3 * max(took), 1)}
