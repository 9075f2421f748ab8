"""The page Enrol in a real browser, beside a camera that sees the person who is enrolled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shared.records import Role
from tests.support.browser import Pages, Watched, browser, needs_browser
from tests.support.paths import astronaut, needs_dlib, six_faces
from tests.support.portraits import portrait_clip, webcam_file
from tests.support.stores import DLIB
from tests.support.web_site import WebSite, web_site

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytestmark = [needs_dlib, needs_browser]
API = "/api/v1"
_JUDGED_MS = 90_000  # the process that looks at photos has to start first
_NAMED_MS = 30_000
_JUDGED = ".handed[aria-busy=false] .judged"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("enrol")
    clip = portrait_clip(astronaut(), folder / "door.avi")
    webcam = webcam_file(astronaut(), folder / "webcam.y4m")
    camera = f'[cameras.door]\nsource = "{clip}"\nloop = true\nrealtime = true\n'
    fake = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={webcam}",
    ]
    with web_site(folder, text=DLIB + camera) as web, browser(*fake) as opened:
        yield Pages(web, opened)


@pytest.fixture(autouse=True)
def nobody(pages: Pages) -> Iterator[None]:
    """Each test begins and ends with an empty gallery."""
    yield
    admin = pages.web.visitor(Role.ADMIN)
    for one in admin.get(f"{API}/people")["people"]:
        admin.ask("DELETE", f"{API}/people/{one['id']}").raise_for_status()


def person_of(web: WebSite) -> str:
    (one,) = web.visitor(Role.ADMIN).get(f"{API}/people")["people"]
    return str(one["id"])


def hand_in(watched: Watched, *photos: Path) -> None:
    watched.page.set_input_files("input.files", [str(one) for one in photos])


def enrol_as(watched: Watched, name: str) -> None:
    watched.page.fill(".whose input", name)
    watched.page.click("text=Enrol 1 photo")
    watched.page.wait_for_selector(f"h1:text-is('{name}')", timeout=_JUDGED_MS)


def is_named_live(watched: Watched, name: str) -> None:
    watched.open("live", ".tile .picture img")
    watched.page.wait_for_selector(f".box.named >> text={name}", timeout=_NAMED_MS)


def test_a_person_enrolled_from_a_file_is_named_on_the_camera(pages: Pages) -> None:
    """Judged before anything is stored; then enrolled, and named on the Live page within seconds."""
    with pages.page() as watched:
        watched.open("enrol", "form.enrol")
        hand_in(watched, astronaut())
        watched.page.wait_for_selector(_JUDGED, timeout=_JUDGED_MS)
        assert watched.page.locator(".handed .quality .good").count() == 4
        assert pages.web.visitor(Role.ADMIN).get(f"{API}/people")["people"] == []
        enrol_as(watched, "Eileen Collins")
        is_named_live(watched, "Eileen Collins")
        assert watched.said == []


def test_a_person_enrolled_from_a_webcam_is_named_on_the_camera(pages: Pages) -> None:
    """The browser's webcam is shown, one picture of it is taken and enrolled."""
    with pages.page() as watched:
        watched.open("enrol", "form.enrol")
        watched.page.click("button:text-is('Webcam')")
        watched.page.click("text=Take the photo")
        watched.page.wait_for_selector(_JUDGED, timeout=_JUDGED_MS)
        enrol_as(watched, "Eileen Webcam")
        is_named_live(watched, "Eileen Webcam")
        assert watched.said == []


def test_a_person_enrolled_at_a_camera_is_named_there(pages: Pages) -> None:
    """The best crops of the one who stands there come with their verdict, and nothing is stored before they are enrolled."""
    with pages.page() as watched:
        watched.open("enrol", "form.enrol")
        watched.page.click("button:text-is('At a camera')")
        watched.page.wait_for_selector("dialog .picture img", timeout=_JUDGED_MS)
        assert watched.faults() == []
        watched.page.click("dialog >> text=Start")
        watched.page.wait_for_selector(_JUDGED, timeout=_JUDGED_MS)
        assert pages.web.visitor(Role.ADMIN).get(f"{API}/people")["people"] == []
        watched.page.fill(".whose input", "Eileen Door")
        watched.page.locator(".enrol .end button").click()
        watched.page.wait_for_selector("h1:text-is('Eileen Door')", timeout=_JUDGED_MS)
        is_named_live(watched, "Eileen Door")


def test_cameras_that_become_known_later_are_seen(pages: Pages) -> None:
    """Whoever is faster than the first answer about the site still sees the camera, without another click."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    with pages.page() as watched:
        watched.page.route("**/events?limit=1", hold)
        watched.open("enrol", "form.enrol")
        watched.page.click("button:text-is('At a camera')")
        watched.page.wait_for_selector("dialog .empty")
        held[-1].continue_()  # an earlier one is of a page that was loaded anew
        watched.page.wait_for_selector("dialog .picture img")


def test_of_several_faces_one_is_chosen_by_keyboard(pages: Pages) -> None:
    """A photo of six people: nobody is proposed; one is chosen with the keyboard alone, and enrolled. Added to a person later, their own face is
    proposed."""
    with pages.page() as watched:
        watched.open("enrol", "form.enrol")
        hand_in(watched, six_faces())
        watched.page.wait_for_selector(".which label >> nth=5", timeout=_JUDGED_MS)
        assert watched.page.locator(".judged").count() == 0
        watched.page.locator(".which input").first.focus()
        watched.page.keyboard.press("ArrowRight")
        watched.page.wait_for_selector(".judged")
        watched.page.locator(".whose input").focus()
        watched.page.keyboard.type("Ruby")
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_selector("h1:text-is('Ruby')", timeout=_JUDGED_MS)
        watched.open(f"enrol/{person_of(pages.web)}", "form.enrol .chosen")
        hand_in(watched, six_faces())
        watched.page.wait_for_selector(_JUDGED, timeout=_JUDGED_MS)
        assert watched.page.locator(".which input").nth(1).is_checked()
        watched.page.wait_for_selector("text=Like Ruby's references")
        assert watched.said == []


@pytest.mark.parametrize(("size", "scheme"), [("phone", "dark"), ("desk", "light")])
def test_the_page_is_sound_with_photos(pages: Pages, size: str, scheme: str) -> None:
    """Empty, and with a good photo, one of several faces and one that is none: axe finds nothing, and nothing is wider than the screen."""
    none = pages.web.site.folder / "none.jpg"
    none.write_bytes(b"<script>alert(1)</script>")
    with pages.page(size, scheme) as watched:
        watched.open("enrol", "form.enrol")
        assert watched.faults() == []
        hand_in(watched, astronaut(), six_faces(), none)
        watched.page.wait_for_selector(".handed[aria-busy=false] >> nth=2", timeout=_JUDGED_MS)
        watched.page.wait_for_selector(".handed >> text=is not a photo")
        assert watched.faults() == []
        assert not watched.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert (watched.said, watched.foreign) == ([], [])
