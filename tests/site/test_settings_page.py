"""The page Settings in a real browser: faults at their fields, a difference before anything is written, secrets that stay, two admins, versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Pages, Watched, browser, needs_browser
from tests.support.paths import needs_dlib
from tests.support.stores import DLIB
from tests.support.web_site import web_site

pytestmark = [needs_dlib, needs_browser]
_PASSWORD = "hunter-canary"  # noqa: S105  # made up
_TEXT = f"""\
# The head office.
{DLIB}
fps = 4.0  # enough
[cameras.door]  # the front
source = "rtsp://viewer:{_PASSWORD}@127.0.0.1:1/stream"
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with web_site(tmp_path_factory.mktemp("settings"), text=_TEXT) as web, browser() as opened:
        yield Pages(web, opened)


@pytest.fixture
def file(pages: Pages) -> Path:
    return pages.web.site.folder / "site.toml"


def open_group(watched: Watched, name: str) -> None:
    watched.page.locator(f"summary:has-text('{name}')").click()


def change(watched: Watched, field: str, value: str) -> None:
    watched.page.fill(f"#f{field}", value)
    watched.page.keyboard.press("Tab")


def apply(watched: Watched) -> None:
    watched.page.click(".apply button.main:not(:disabled)")
    watched.page.wait_for_selector("dialog[open] .diff")
    watched.page.click("dialog button.main")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["phone", "desk"])
def test_the_page_is_sound(pages: Pages, size: str, scheme: str) -> None:
    """With a group open, with a fault, with a difference: axe finds nothing, the console is silent, nothing is wider than the screen."""
    with pages.page(size, scheme) as watched:
        watched.open("settings", ".group")
        found = watched.faults()
        open_group(watched, "Recognition")
        change(watched, "_recognition_fps", "400")
        watched.page.wait_for_selector(".field.wrong")
        found += watched.faults()
        change(watched, "_recognition_fps", "3")
        watched.page.wait_for_selector(".apply button.main:not(:disabled)")
        watched.page.click(".apply button.main")
        watched.page.wait_for_selector("dialog .diff")
        found += watched.faults()
        too_wide = watched.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert (found, too_wide, watched.said, watched.foreign) == ([], False, [], [])


def test_a_wrong_setting_is_shown_at_its_field_and_nothing_is_written(pages: Pages, file: Path) -> None:
    """Two at once, each in words at its place; it can't be applied; what is locked says where it is set."""
    before = file.read_bytes()
    with pages.page() as watched:
        watched.open("settings", ".group")
        open_group(watched, "Recognition")
        change(watched, "_recognition_fps", "400")
        change(watched, "_recognition_threshold", "high")
        watched.page.wait_for_selector(".field.wrong >> nth=1")
        told = watched.page.locator(".field.wrong").all_inner_texts()
        assert [("less than or equal to 60" in one, "number" in one) for one in told] in (
            [(False, True), (True, False)],
            [(True, False), (False, True)],
        )
        assert watched.page.locator(".apply button.main").is_disabled()
        assert watched.page.locator("#f_recognition_model").is_disabled()
        assert "fps = 400" in watched.page.input_value("textarea")
        assert file.read_bytes() == before
        assert watched.said == []


def test_a_password_stays_hidden_and_survives(pages: Pages, file: Path) -> None:
    """Nowhere in the page; after a change of another key of that camera it is in the file as it was, and the comments with it."""
    with pages.page() as watched:
        watched.open("settings", ".group")
        open_group(watched, "door")
        assert watched.page.input_value("#f_cameras_door_source") == "rtsp://***@127.0.0.1:1/stream"
        change(watched, "_cameras_door_votes", "2")
        apply(watched)
        watched.page.wait_for_selector("dialog .outcome >> text=door")
        assert _PASSWORD not in watched.page.content()
        text = file.read_text(encoding="utf-8")
        assert f'source = "rtsp://viewer:{_PASSWORD}@127.0.0.1:1/stream"\nvotes = 2\n' in text
        assert "[cameras.door]  # the front\n" in text
        watched.page.click("dialog .actions button")
        watched.page.wait_for_selector("dialog", state="detached")
        change(watched, "_cameras_door_source", "rtsp://***@192.0.2.66/stream")
        watched.page.wait_for_selector(".field.wrong >> text=type the password")
        assert file.read_text(encoding="utf-8") == text
        assert watched.said == []


def test_two_tabs_conflict(pages: Pages, file: Path) -> None:
    """The second is told, writes nothing, and has the other's change after it has loaded anew."""
    with pages.page() as one, pages.page() as other:
        for watched, votes in ((one, "4"), (other, "5")):
            watched.open("settings", ".group")
            open_group(watched, "Recognition")
            change(watched, "_recognition_votes", votes)
            watched.page.wait_for_selector(".apply button.main:not(:disabled)")
        apply(one)
        one.page.wait_for_selector("dialog .outcome")
        apply(other)
        other.page.wait_for_selector("dialog >> text=Somebody else changed the settings")
        assert "votes = 4" in file.read_text(encoding="utf-8")
        other.page.click("dialog >> text=Load anew")
        other.page.wait_for_function("() => document.querySelector('textarea').value.includes('votes = 4')")
        assert [line for line in other.said if "412" not in line] == []


def test_a_version_is_taken_back_with_the_keyboard_alone(pages: Pages, file: Path) -> None:
    """A setting is changed, applied and taken back without a mouse; the focus is where it was."""
    before = file.read_text(encoding="utf-8")
    with pages.page() as watched:
        watched.open("settings", ".group")
        press = watched.page.keyboard.press
        listed = watched.page.locator(".versions li").count()
        watched.page.locator("summary:has-text('Recognition')").focus()
        press("Enter")
        watched.page.wait_for_selector("#f_recognition_min_face_px")
        watched.page.locator("#f_recognition_min_face_px").focus()
        watched.page.keyboard.type("64")
        press("Tab")
        watched.page.wait_for_selector(".apply button.main:not(:disabled)")
        watched.page.locator(".apply button.main").focus()
        press("Enter")
        watched.page.wait_for_selector("dialog .diff")
        watched.page.locator("dialog button.main").focus()
        press("Enter")
        watched.page.wait_for_selector("dialog .outcome")
        assert "min_face_px = 64" in file.read_text(encoding="utf-8")
        press("Escape")
        watched.page.wait_for_selector("dialog", state="detached")
        watched.page.wait_for_selector(f".versions li >> nth={listed}")
        back = watched.page.locator(".versions button").first
        back.focus()
        press("Enter")
        watched.page.wait_for_selector("dialog .diff >> text=min_face_px")
        watched.page.locator("dialog button.main").focus()
        press("Enter")
        watched.page.wait_for_selector("dialog .outcome")
        assert file.read_text(encoding="utf-8") == before
        press("Escape")
        watched.page.wait_for_selector("dialog", state="detached")
        assert watched.said == []


def test_the_text_is_edited_checked_and_shown_in_the_form(pages: Pages) -> None:
    """A fault of the text has its place, and one without a field stands below; discarded, the text is the file's again."""
    with pages.page() as watched:
        watched.open("settings", ".group")
        text = watched.page.input_value("textarea")
        watched.page.fill("textarea", text.replace("fps = 4.0", "fps = 2.0\nvotse = 1"))
        assert watched.page.locator(".apply button.main").is_disabled(), "it is not checked yet"
        watched.page.click(".apply button:text-is('Check')")
        watched.page.wait_for_selector(".elsewhere >> text=unknown key")
        open_group(watched, "Recognition")
        assert watched.page.input_value("#f_recognition_fps") == "2"
        watched.page.fill("textarea", "[site\n")
        watched.page.click(".apply button:text-is('Check')")
        watched.page.wait_for_selector(".elsewhere >> text=is not valid TOML")
        watched.page.click(".apply button:text-is('Discard')")
        watched.page.wait_for_function("text => document.querySelector('textarea').value === text", arg=text)
        assert watched.said == []


def test_the_help_is_in_the_language_of_the_page(pages: Pages) -> None:
    """The names of settings stay; what they do is told in German, and found by a German word."""
    with pages.page(language="de-DE") as watched:
        watched.open("settings", ".group")
        watched.page.fill("input[type=search]", "Schwelle")
        watched.page.wait_for_selector(".field")
        assert "strangers_named" in watched.page.inner_text(".desk")
        assert "folgt die Schwelle" in watched.page.inner_text(".desk")
