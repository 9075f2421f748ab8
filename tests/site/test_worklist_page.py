"""The worklist of the page People in a real browser, on the demo's people."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.ipc.client import SiteClient
from shared.ipc.requests.references import Save
from shared.records import NewReference, Role
from shared.uuid7 import new_uuids
from tests.site.test_pages import people_of
from tests.support.browser import Pages, browser, needs_browser
from tests.support.demo_site import demo_site
from tests.support.paths import needs_dlib
from tests.support.site_process import SiteProcess
from tests.support.vectors import noise, unit

pytestmark = [needs_dlib, needs_browser]
API = "/api/v1"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with demo_site(tmp_path_factory.mktemp("worklist")) as web, browser() as opened:
        yield Pages(web, opened)


@pytest.fixture(scope="module")
def worklist(pages: Pages) -> list[str]:
    """Something is worth a look: one person under two names, a photo of somebody else, somebody with one picture, somebody who is
    turned to the left in both photos. The first name, its twin, and whose the odd photo is."""
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

    _save_turned(pages.web.site, "Sid", photos[lone][:2])

    def is_found() -> bool:
        found = admin.get(f"{API}/worklist")
        return all(found[kind] for kind in ("pairs", "odd", "single", "one_sided")) and not found["looking"]

    pages.web.site.wait_for(is_found, "worklist")
    return [one, twin, odd]


def _save_turned(site: SiteProcess, name: str, photos: list[Path]) -> None:
    """Save references of `name` whose heads are turned to the left. Their photos are others', which the pages show, and nothing embeds."""
    data = site.settings.data_dir
    kept = [data / "faces" / name / one.name for one in photos]
    kept[0].parent.mkdir(mode=0o700)
    for photo, place in zip(photos, kept, strict=True):
        shutil.copy(photo, place)
    rows = [
        NewReference(name, str(place.relative_to(data)), uuid=uuid, photo_digest=uuid, turn=-0.3)
        for place, uuid in zip(kept, new_uuids(len(kept)), strict=True)
    ]
    rng = np.random.default_rng(3)
    vectors = unit(noise(rng, 1, 128) + noise(rng, 2, 128) * np.float32(0.1))
    client = SiteClient(site.settings.run_dir, patience_s=30)
    client.ask(Save(rows, vectors=vectors))
    client.close()


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


def test_whoever_is_turned_to_one_side_is_one_step_from_enrol(pages: Pages, worklist: list[str]) -> None:
    """With the sides that are missing; each reference of the person tells its own. One that is right tells so, and that can be taken back there."""
    assert worklist
    admin, sid = pages.web.visitor(Role.ADMIN), people_of(pages.web)["Sid"]["id"]
    first = admin.get(f"{API}/people/{sid}/references")["references"][0]["id"]
    with pages.page() as watched:
        page = watched.page
        watched.open("people", ".worklist .look")
        page.wait_for_selector(".worklist h3 >> text=All photos from one side")
        page.click(".worklist a >> text=Sid · from the front · turned right")
        page.wait_for_selector("form.enrol .chosen >> text=Sid")
        admin.ask("PATCH", f"{API}/people/{sid}/references/{first}", json={"right": True}).raise_for_status()
        watched.open(f"people/{sid}", ".photos li >> nth=1")
        assert page.locator(".photos li >> text=turned left").count() == 2
        assert (watched.faults(), watched.is_too_wide()) == ([], False)
        page.click(".photos button[aria-pressed=true] >> text=It is right")
        page.wait_for_selector(".notices >> text=Taken back")
        page.wait_for_selector(".photos button[aria-pressed]", state="detached")
        assert watched.said == []
