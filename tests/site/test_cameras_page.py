"""The page Cameras in a real browser: a camera is tested, added, up seconds later, changed and removed; those that are down come first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Pages, Watched, browser, needs_browser
from tests.support.clips import picture
from tests.support.mjpeg_server import MjpegServer
from tests.support.paths import needs_dlib
from tests.support.rtsp_camera import RtspCamera, require_server, write_pictures
from tests.support.stores import DLIB
from tests.support.web_site import web_site

pytestmark = [needs_dlib, needs_browser]
_PASSWORD = "hunter-canary"  # noqa: S105  # made up


@pytest.fixture(scope="module")
def up() -> Iterator[MjpegServer]:
    with MjpegServer() as camera:
        yield camera


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, up: MjpegServer) -> Iterator[Pages]:
    cameras = f'[cameras.entrance]\nsource = "{up.url}"\n[cameras.yard]\nsource = "rtsp://127.0.0.1:1/stream"\n'
    with web_site(tmp_path_factory.mktemp("cameras"), text=DLIB + cameras) as web, browser() as opened:
        web.site.wait_for(lambda: web.site.status().get("cameras", {}).get("entrance", {}).get("up"), "camera")
        yield Pages(web, opened)


def add(watched: Watched, name: str, source: str) -> None:
    watched.page.click("header button.main")
    watched.page.fill("dialog input[name=name]", name)
    watched.page.fill("dialog input[name=source]", source)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["phone", "desk"])
def test_the_page_is_sound(pages: Pages, size: str, scheme: str) -> None:
    """The cards, the dialog with a picture, and that of a removal: axe finds nothing, the console is silent, nothing is wider than the screen."""
    with pages.page(size, scheme) as watched:
        watched.open("cameras", ".camera .frame img")
        assert watched.page.locator(".camera").first.get_attribute("data-camera") == "yard", "down comes first"
        found = watched.faults()
        watched.page.click("header button.main")
        watched.page.wait_for_selector("dialog[open] input")
        found += watched.faults()
        watched.page.keyboard.press("Escape")
        watched.page.wait_for_selector("dialog", state="detached")
        watched.page.click("[data-camera=yard] button.danger")
        watched.page.wait_for_selector("dialog .diff >> text=cameras.yard")
        found += watched.faults()
        too_wide = watched.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert (found, too_wide, watched.said, watched.foreign) == ([], False, [], [])


def test_a_camera_is_added_with_a_test_and_is_up_seconds_later(pages: Pages, tmp_path: Path) -> None:
    """A real RTSP camera with a password: its picture first, then its card; the password is in the file and nowhere in the page."""
    require_server()
    file = pages.web.site.folder / "site.toml"
    with (
        RtspCamera(write_pictures(tmp_path / "pictures", map(picture, range(24))), login=("viewer", _PASSWORD)) as rtsp,
        pages.page() as watched,
    ):
        watched.open("cameras", ".camera")
        add(watched, "gate", rtsp.url)
        watched.page.click("dialog button:text-is('Test')")
        watched.page.wait_for_selector("dialog .tested img")
        assert "h264" in watched.page.inner_text("dialog .tested")
        assert "gate" not in file.read_text(encoding="utf-8"), "a test changes nothing"
        watched.page.click("dialog button.main")
        watched.page.wait_for_selector("dialog .outcome >> text=Up")
        watched.page.click("dialog .actions button")
        watched.page.wait_for_selector("[data-camera=gate]:not(.down) .frame img")
        assert f'source = "{rtsp.url}"' in file.read_text(encoding="utf-8")
        watched.page.click("[data-camera=gate] button:text-is('Change')")
        watched.page.wait_for_function(
            "() => document.querySelector('dialog input[name=source]').value.includes('***')"
        )
        assert _PASSWORD not in watched.page.content()
        watched.page.click("dialog button:text-is('Test')")
        watched.page.wait_for_selector("dialog .tested img")
        assert watched.said == []


def test_what_can_not_be_added_is_told_at_its_field(pages: Pages) -> None:
    """A file, our own port, a name that is none; nothing is written, and the dialog stays."""
    file = pages.web.site.folder / "site.toml"
    before = file.read_bytes()
    with pages.page() as watched:
        watched.open("cameras", ".camera")
        add(watched, "evil", "/etc/passwd")
        for source in ("/etc/passwd", f"{pages.web.address}/metrics", "http://169.254.169.254/"):
            watched.page.fill("dialog input[name=source]", source)
            watched.page.click("dialog button.main")
            watched.page.wait_for_selector("#wrong-source >> text=this source can't be set from afar")
            watched.page.wait_for_selector("dialog input[name=source][aria-invalid=true]")
        watched.page.fill("dialog input[name=source]", "rtsp://127.0.0.1:1/nothing")
        watched.page.click("dialog button:text-is('Test')")
        watched.page.wait_for_selector("dialog [role=alert] >> text=connection refused")
        assert file.read_bytes() == before
        # 503: a card's picture, if the machine is too busy for one in time.
        assert [line for line in watched.said if "409" not in line and "503" not in line] == []


def test_a_camera_is_removed_with_the_keyboard_alone(pages: Pages) -> None:
    """Asked with its difference first, told afterwards, and its card is gone."""
    with pages.page() as watched:
        watched.open("cameras", "[data-camera=yard]")
        watched.page.locator("[data-camera=yard] button.danger").focus()
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_selector("dialog .diff >> text=cameras.yard")
        watched.page.locator("dialog button.main").focus()
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_selector("dialog .outcome >> text=stopped")
        watched.page.keyboard.press("Escape")
        watched.page.wait_for_selector("[data-camera=yard]", state="detached")
        assert "yard" not in (pages.web.site.folder / "site.toml").read_text(encoding="utf-8")
        assert watched.said == []
