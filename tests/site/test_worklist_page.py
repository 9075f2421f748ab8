"""The worklist of the page People in a real browser, on the demo's people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.records import Role
from tests.site.test_pages import people_of
from tests.support.browser import Pages, browser, needs_browser
from tests.support.demo_site import demo_site
from tests.support.paths import needs_dlib

pytestmark = [needs_dlib, needs_browser]
API = "/api/v1"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with demo_site(tmp_path_factory.mktemp("worklist")) as web, browser() as opened:
        yield Pages(web, opened)


@pytest.fixture(scope="module")
def worklist(pages: Pages) -> list[str]:
    """Something is worth a look: one person under two names, a photo of somebody else, somebody with one picture. The first name, its twin, and
    whose the odd photo is."""
    faces = pages.web.site.settings.data_dir / "faces"
    photos = {one.name: sorted(one.iterdir()) for one in sorted(faces.iterdir())}
    one, odd, other, lone = list(photos)[:4]
    admin, ids = pages.web.visitor(Role.ADMIN), people_of(pages.web)
    twin = f"{one} Junior"

    def hand_in(path: str, files: list[Path], **fields: str) -> None:
        given = [("photo", ("photo", file.read_bytes())) for file in files]
        address = f"{admin.address}{API}/{path}"
        admin.session.post(address, files=given, data=fields, timeout=150).raise_for_status()

    hand_in("people", photos[one][:3], name=twin)
    hand_in("people", photos[lone][:1], name="Solo")
    hand_in(f"people/{ids[odd]['id']}/references", photos[other][:1])

    def is_found() -> bool:
        found = admin.get(f"{API}/worklist")
        return bool(found["pairs"] and found["odd"] and found["single"] and not found["looking"])

    pages.web.site.wait_for(is_found, "worklist")
    return [one, twin, odd]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["phone", "desk"])
def test_the_worklist_is_sound(pages: Pages, worklist: list[str], size: str, scheme: str) -> None:
    """On a phone and on a desk, in light and dark, also with the dialog: axe finds nothing, the console is silent, nobody else is asked, and
    nothing is wider than the screen."""
    with pages.page(size, scheme) as watched:
        watched.open("people", ".worklist .look img")
        assert (watched.faults(), watched.is_too_wide()) == ([], False)
        shown = watched.page.locator(".look").count()
        assert shown == (1 if size == "phone" else 3)
        if size == "phone":
            watched.page.click(".worklist .more button")
            watched.page.wait_for_selector(".look >> nth=2")
        watched.page.click(f".look:has-text('{worklist[1]}') button >> text=Same person")
        watched.page.wait_for_selector("dialog[open]")
        assert (watched.faults(), watched.is_too_wide()) == ([], False)
        assert (watched.said, watched.foreign) == ([], [])


def test_the_worklist_is_answered_with_the_keyboard(pages: Pages, worklist: list[str]) -> None:
    """Two names of one person: marked as different, taken back, merged under the name that is chosen, taken back. A photo of somebody else is
    right, and that is taken back; it is set aside, and that is taken back. Whoever has one picture is one step from Enrol."""
    one, twin, odd = worklist
    with pages.page() as watched:
        page = watched.page
        press = page.keyboard.press
        watched.open("people", ".worklist .look")
        page.locator(f".look:has-text('{twin}') button >> text=Different").focus()
        press("Enter")
        page.wait_for_selector(".notices >> text=not proposed as one again")
        page.wait_for_selector(f".look:has-text('{twin}')", state="detached")
        page.wait_for_function("document.activeElement.id === 'worklist'")
        page.locator(".notices button").focus()
        press("Enter")
        page.wait_for_selector(f".look:has-text('{twin}')")
        page.locator(f".look:has-text('{twin}') button >> text=Same person").focus()
        press("Enter")
        page.wait_for_selector("dialog >> text=Which name stays?")
        page.locator(f"dialog .choose button:has-text('{one}') >> nth=0").focus()
        press("Enter")
        page.wait_for_selector(f".notices >> text={twin} is {one} now.")
        page.wait_for_selector("dialog", state="detached")
        assert twin not in people_of(pages.web)
        page.wait_for_selector(f".cards >> text={twin}", state="detached")
        page.click(".notices button")
        page.wait_for_selector(f".look:has-text('{twin}')", timeout=60_000)
        page.locator(f".look:has-text('Is this {odd}?') button >> text=It is right").focus()
        press("Enter")
        page.wait_for_selector(".notices >> text=it was right")
        page.wait_for_selector(f".look:has-text('Is this {odd}?')", state="detached")
        page.wait_for_function("document.activeElement.id === 'worklist'")
        page.click(".notices button")
        page.wait_for_selector(f".look:has-text('Is this {odd}?')", timeout=60_000)
        page.click(f".look:has-text('Is this {odd}?') button >> text=Set aside")
        page.wait_for_selector(f".look:has-text('Is this {odd}?')", state="detached")
        assert people_of(pages.web)[odd]["set_aside"] == 1
        page.click(".notices button")
        page.wait_for_selector(f".look:has-text('Is this {odd}?')", timeout=60_000)
        page.click(".worklist h3 + .actions a >> text=Solo")
        page.wait_for_selector("form.enrol .chosen >> text=Solo")
        assert watched.said == []
