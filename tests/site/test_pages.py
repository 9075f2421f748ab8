"""The pages in a real browser, on the demo's cameras and people."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.ipc.client import SiteClient
from shared.ipc.requests.sightings import Record
from shared.records import Role
from tests.support.browser import Pages, Watched, browser, needs_browser
from tests.support.demo_site import demo_site
from tests.support.paths import needs_dlib
from tests.support.stores import event
from tests.support.web_site import WebSite

pytestmark = [needs_dlib, needs_browser]
API = "/api/v1"
_KEYS = itertools.count()
_WITH_PICTURE = ".tile .picture img"
_WITH_FACE = ".row .face img"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with demo_site(tmp_path_factory.mktemp("pages")) as web, browser() as opened:
        yield Pages(web, opened)


def people_of(web: WebSite) -> dict[str, dict[str, Any]]:
    return {one["person"]: one for one in web.visitor(Role.ADMIN).get(f"{API}/people")["people"]}


def seen(web: WebSite, *people: str) -> list[int]:
    """Somebody is named at a camera that there is not, without a picture; the ids of these sightings."""
    client = SiteClient(web.site.settings.run_dir, patience_s=30)
    client.ask(Record([event(f"pages-{next(_KEYS)}", one, "named", camera="gate") for one in people]))
    client.close()
    found = web.visitor(Role.ADMIN).get(f"{API}/events?camera=gate&limit={len(people)}")["events"]
    return [one["id"] for one in found]


def shown_ids(watched: Watched) -> list[int]:
    return [int(one) for one in watched.page.eval_on_selector_all(".row", "rows => rows.map(row => row.dataset.id)")]


def views_of(web: WebSite) -> dict[str, tuple[str, str, str | None]]:
    """Every page and dialog, by name: its path, what is there once it is shown, and what is pressed then to open the dialog."""
    person = next(iter(people_of(web).values()))["id"]
    views: dict[str, tuple[str, str, str | None]] = {
        "live": ("live", _WITH_PICTURE, None),
        "one camera": ("live", _WITH_PICTURE, ".tile button"),
        "events": ("events", _WITH_FACE, None),
        "one event": ("events", _WITH_FACE, ".row.named button"),
        "people": ("people", ".cards img", None),
        "review": ("review", ".decide .face.huge img", None),
        "enrol": ("enrol", "form.enrol", None),
        "enrol at a camera": ("enrol", "form.enrol", ".drop .actions button >> nth=-1"),
        "enrol more": (f"enrol/{person}", ".chosen img", None),
        "person": (f"people/{person}", ".photos img", None),
        "quality": (f"people/{person}", ".photos img", ".photos li button >> nth=1"),
        "rename": (f"people/{person}", ".photos img", ".person .actions button >> nth=0"),
        "merge": (f"people/{person}", ".photos img", ".person .actions button >> nth=1"),
        "forget": (f"people/{person}", ".photos img", "button.danger"),
        "more": ("more", ".further select", None),
        "calibrate": ("calibrate", ".calibrate button", None),
        "about": ("about", ".models li", None),
        "cameras": ("cameras", ".camera .frame img", None),
        "add a camera": ("cameras", ".camera", "header button.main"),
        "settings": ("settings", ".group", None),
    }
    return views


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["phone", "desk"])
def test_every_page_is_sound(pages: Pages, size: str, scheme: str) -> None:
    """On a phone and on a desk, in light and dark: axe finds nothing, the console is silent, nobody else is asked, and nothing is wider than the
    screen."""
    views = views_of(pages.web)
    found: dict[str, list[str]] = {}
    with pages.page(size, scheme) as watched:
        for name, (path, ready, pressed) in views.items():
            watched.open(path, ready, pressed)
            found[name] = watched.faults() + (["wider than the screen"] if watched.is_too_wide() else [])
        assert {name: faults for name, faults in found.items() if faults} == {}
        assert (watched.said, watched.foreign) == ([], [])
    with pages.page(size, scheme, signed_in=False) as watched:
        watched.page.goto(pages.web.address)
        watched.page.wait_for_selector("form")
        assert watched.faults() == []
        assert [one for one in watched.said if "401" not in one] == []


def test_the_wall_shows_who_is_there(pages: Pages) -> None:
    """All cameras with names in words and in their boxes; one of them large, with score, lead and votes; pictures go on coming."""
    with pages.page() as watched:
        watched.open("live", f"{_WITH_PICTURE} >> nth=1")
        watched.page.wait_for_selector(".box.named")
        watched.page.wait_for_selector(".tile .there")
        watched.page.locator(".tile button").first.click()
        watched.page.wait_for_selector(".large .track")
        facts = watched.page.locator(".large .track").first.inner_text()
        assert re.search(r"Score\s+\d\.\d\d\s+Lead\s+\S+\s+Votes\s+\d of 3", facts), facts
        picture = watched.page.locator(".large .picture img")
        before = picture.get_attribute("src")
        watched.page.wait_for_function(
            "before => document.querySelector('.large .picture img').src !== before", arg=before
        )
        watched.page.keyboard.press("Escape")
        watched.page.wait_for_selector("dialog", state="detached")
        assert watched.said == []


_NAMES_ABOVE = """async (boxes) => {
  const { namesAbove } = await import(new URL('static/live.js', document.baseURI));
  const tracks = boxes.map((box, track) => ({ track, box }));
  return namesAbove({ tracks, width: 1000, height: 1000 }).map((one) => one.track).sort();
}"""


@pytest.mark.parametrize(
    ("boxes", "above"),
    [
        ([(100, 300, 200, 400)], []),
        ([(100, 300, 200, 400), (300, 310, 400, 410)], [1]),
        ([(300, 310, 400, 410), (100, 300, 200, 400), (500, 300, 600, 400)], [0]),  # from the left: below, above, below
        ([(100, 300, 200, 400), (500, 300, 600, 400)], []),  # far apart
        ([(100, 300, 200, 400), (200, 500, 300, 600)], []),  # not in one line
        ([(400, 300, 500, 400), (650, 300, 750, 400)], [1]),  # at the right, a name ends with its box
        ([(100, 870, 200, 960)], [0]),  # none leaves the picture
        ([(100, 20, 200, 400), (300, 20, 400, 410)], []),  # no room above: they overlap, within the picture
        ([(100, 300, 200, 400), (200, 300, 300, 400), (300, 300, 400, 400)], [1]),  # no room at all for the third
    ],
)
def test_no_name_on_the_wall_covers_another(pages: Pages, boxes: list[tuple[int, ...]], above: list[int]) -> None:
    """Names are below the boxes, and above where they would cover one that is there."""
    with pages.page() as watched:
        watched.open("live", _WITH_PICTURE)
        assert watched.page.evaluate(_NAMES_ABOVE, boxes) == above


def test_while_a_page_is_hidden_nothing_is_asked_for(pages: Pages) -> None:
    """No wall is open then, and none of sightings; shown again, both go on."""
    viewer = pages.web.visitor(Role.VIEWER)

    def open_ones() -> tuple[str, ...]:
        text = viewer.ask("GET", "/metrics").text
        return tuple(re.findall(r"^rollcall_(?:live_viewers|event_streams) (\d+)", text, re.M))

    hide = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    with pages.page() as watched:
        watched.open("live", _WITH_PICTURE)
        pages.web.site.wait_for(lambda: open_ones() == ("1", "1"), "streams")
        watched.page.evaluate(hide, True)
        pages.web.site.wait_for(lambda: open_ones() == ("0", "0"), "end of the streams")
        watched.page.evaluate(hide, False)
        pages.web.site.wait_for(lambda: open_ones() == ("1", "1"), "streams")


def focused(watched: Watched) -> str:
    return str(watched.page.evaluate("document.activeElement.innerText || document.activeElement.ariaLabel || ''"))


def test_the_keyboard_is_enough(pages: Pages) -> None:
    """The first stop leads past the navigation; a sighting is opened, judged and closed, and the focus is where it was."""
    with pages.page() as watched:
        watched.open("live", _WITH_PICTURE)
        press = watched.page.keyboard.press
        press("Tab")
        assert focused(watched) == "Skip to the content"
        press("Tab")
        press("Tab")
        assert focused(watched) == "Events"
        press("Enter")
        watched.page.wait_for_selector(_WITH_FACE)
        watched.page.select_option("select >> nth=0", "named")
        watched.page.wait_for_selector(".row.named .face img")
        row = watched.page.locator(".row.named button").last.element_handle()
        row.focus()
        press("Enter")
        watched.page.wait_for_selector("dialog[open]")
        for _ in range(4):
            if focused(watched) == "Yes, right":
                break
            press("Tab")
        press("Enter")
        watched.page.wait_for_selector("dialog >> text=Noted: it was right.")
        press("Escape")
        watched.page.wait_for_selector("dialog", state="detached")
        assert row.evaluate("one => one === document.activeElement")
        press("Enter")
        watched.page.wait_for_selector("dialog[open]")
        watched.page.locator("dialog button[aria-label=Close]").focus()
        press("Enter")
        watched.page.wait_for_selector("dialog", state="detached")
        assert row.evaluate("one => one === document.activeElement")
        assert watched.said == []


def test_a_lost_connection_comes_back_without_a_hole(pages: Pages) -> None:
    """The web process is killed, and people are seen meanwhile. The page says that it is lost; then it has every sighting, each once, in
    order."""
    web = pages.web
    name = next(iter(people_of(web)))
    with pages.page() as watched:
        seen(web, name)
        watched.open("events", ".row")
        watched.page.fill("input[type=search]", name)
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_selector(".row >> text=gate")
        (first,) = seen(web, name)
        watched.page.wait_for_selector(f".row[data-id='{first}']")
        os.kill(web.site.child_pid("web"), 9)
        watched.page.wait_for_selector(".lost")
        client = SiteClient(web.site.settings.run_dir)
        client.ask(Record([event(f"pages-{next(_KEYS)}", name, "named", camera="gate") for _ in range(20)]))
        client.close()
        watched.page.wait_for_selector(".lost", state="detached")
        (last,) = seen(web, name)
        watched.page.wait_for_selector(f".row[data-id='{last}']")
        ids = shown_ids(watched)
        wanted = web.visitor(Role.ADMIN).get(f"{API}/events?person={name}&event=named&after={first - 1}")["events"]
        assert [one for one in ids if first <= one <= last] == [one["id"] for one in wanted if one["id"] <= last]
        assert len(set(ids)) == len(ids)


def test_filters_show_only_what_fits(pages: Pages) -> None:
    """By kind, by camera and by day, also for what comes later."""
    name = next(iter(people_of(pages.web)))
    with pages.page() as watched:
        watched.open("events", _WITH_FACE)
        watched.page.select_option("select >> nth=0", "unknown")
        watched.page.wait_for_selector(".row.unknown")
        assert watched.page.locator(".row:not(.unknown)").count() == 0
        (later,) = seen(pages.web, name)
        watched.page.select_option("select >> nth=0", "named")
        watched.page.wait_for_selector(f".row[data-id='{later}']")
        assert watched.page.locator(".row:not(.named)").count() == 0
        watched.page.fill("input[type=date]", "2020-01-31")
        watched.page.wait_for_selector(".empty")
        today = watched.page.evaluate("new Date().toLocaleDateString('sv')")
        watched.page.fill("input[type=date]", today)
        watched.page.wait_for_selector(".row.named")
        assert watched.page.locator(f".row[data-id='{later}']").count() == 0, "it is of another day"
        watched.page.select_option("select >> nth=0", "all")
        watched.page.select_option("select >> nth=1", "lounge")
        watched.page.wait_for_selector(".row >> text=lounge")
        assert watched.page.locator(".row >> text=corridor").count() == 0


def test_a_person_is_renamed_merged_and_brought_back(pages: Pages) -> None:
    """Each change is undone from its notice; a reference is set aside and brought back."""
    names = list(people_of(pages.web))
    one, other = names[:2]
    with pages.page() as watched:
        page = watched.page
        watched.open(f"people/{people_of(pages.web)[one]['id']}", ".photos img")
        page.click("button:text-is('Rename')")
        page.fill("dialog input", "Someone <b>Else")
        page.click("dialog button.main")
        page.wait_for_selector("h1:text-is('Someone <b>Else')")
        page.click(".notices button")
        page.wait_for_selector(f"h1:text-is('{one}')")
        page.locator(".photos button").first.click()
        page.wait_for_selector(".photos .aside")
        assert people_of(pages.web)[one]["set_aside"] == 1
        page.click("button:text-is('Bring back')")
        page.wait_for_selector(".photos .aside", state="detached")
        page.click("button:text-is('Merge')")
        page.fill("dialog input", other[:3])
        page.click(f"dialog .choose >> text={other}")
        page.wait_for_selector(f"h1:text-is('{other}')")
        assert one not in people_of(pages.web)
        page.click(".notices button")
        page.wait_for_selector(f"h1:text-is('{one}')")
        assert list(people_of(pages.web)) == names
        assert watched.said == []


def test_people_offers_to_undo_the_last_change_and_says_which(pages: Pages) -> None:
    """Only while there is one, and also if its name is a long word."""
    one = next(iter(people_of(pages.web)))
    long, undo = "Some" + "body" * 40, ".top button"
    with pages.page("phone") as watched:
        watched.open("people", ".cards li")
        assert watched.page.locator(undo).count() == 0
        person = people_of(pages.web)[one]["id"]
        change = pages.web.visitor(Role.ADMIN).ask("PATCH", f"{API}/people/{person}", json={"name": long})
        change.raise_for_status()
        watched.page.reload()
        watched.page.wait_for_selector(undo)
        assert watched.page.inner_text(undo) == f"Undo: {one} → {long}"
        assert not watched.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        watched.page.click(undo)
        watched.page.wait_for_selector(undo, state="detached")
        assert one in people_of(pages.web)
        assert watched.said == []


def test_an_export_has_everything_of_a_person(pages: Pages, tmp_path: Path) -> None:
    """Facts, photos, sightings and their pictures, as a ZIP file."""
    import json
    import zipfile

    person = list(people_of(pages.web).values())[1]
    with pages.page() as watched:
        watched.open(f"people/{person['id']}", ".photos img")
        with watched.page.expect_download() as download:
            watched.page.click("a:text-is('Export')")
        download.value.save_as(tmp_path / "person.zip")
    with zipfile.ZipFile(tmp_path / "person.zip") as archive:
        names = archive.namelist()
        facts = json.loads(archive.read("person.json"))
        sightings = json.loads(archive.read("sightings.json"))
    assert facts["person"]["person"] == person["person"]
    assert sum(one.startswith("photos/") for one in names) == person["references"] == len(facts["references"])
    assert {one["person"] for one in sightings} == {person["person"]}
    assert sum(one.startswith("crops/") for one in names) == sum("crop" in one for one in sightings) > 0


def test_forget_removes_every_picture(pages: Pages) -> None:
    """Typed and confirmed in the browser: nothing of the person is in the list, none of the pictures is handed out, no row is shown."""
    web = pages.web
    name = list(people_of(web))[-1]
    admin = web.visitor(Role.ADMIN)
    with pages.page() as watched:
        watched.open(f"people/{people_of(web)[name]['id']}", ".photos img")
        with_crop = [
            one["id"] for one in admin.get(f"{API}/events?person={name}&limit=1000")["events"] if one.get("crop")
        ]
        assert with_crop
        watched.page.click("button.danger")
        assert watched.page.locator("dialog button.danger").is_disabled()
        watched.page.fill("dialog input", name)
        watched.page.click("dialog button.danger")
        watched.page.wait_for_selector(".notices >> text=is forgotten")
        assert name not in people_of(web)
        assert {admin.ask("GET", f"{API}/events/{one}/crop").status_code for one in with_crop} == {404}
        watched.open("events", _WITH_FACE)
        assert watched.page.locator(f".row >> text={name}").count() == 0


def test_all_sightings_of_one_who_is_seen(pages: Pages) -> None:
    """From one sighting to all of that person; of a stranger with the API's filter. What comes later is filtered, too."""
    with pages.page() as watched:
        page = watched.page
        watched.open("events", _WITH_FACE)
        page.locator(".row.named button").first.click()
        name = page.inner_text("dialog h2")
        page.click(f"text=All sightings of {name}")
        page.wait_for_selector("dialog", state="detached")
        page.wait_for_selector(".row.named")
        assert set(page.locator(".row .what b").all_inner_texts()) == {name}
        assert page.input_value("input[type=search]") == name
    assert pages.web.visitor(Role.VIEWER).get(f"{API}/events?unknown=stranger-9")["events"] == []
    assert pages.web.visitor(Role.VIEWER).ask("GET", f"{API}/events?unknown=9").status_code == 422
