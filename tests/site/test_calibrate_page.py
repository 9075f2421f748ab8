"""Calibrate in a real browser."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import Pages, browser, needs_browser
from tests.support.demo_site import demo_site
from tests.support.paths import needs_dlib

pytestmark = [needs_dlib, needs_browser]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with demo_site(tmp_path_factory.mktemp("calibrate")) as web, browser() as opened:
        yield Pages(web, opened)


def _settings(pages: Pages) -> dict[str, Any]:
    return tomllib.loads((pages.web.site.folder / "site.toml").read_text(encoding="utf-8"))


def test_the_threshold_moves_by_keyboard_and_by_pointer(pages: Pages) -> None:
    """It is measured on demand; what would happen is said in words, and what to set for it; on a phone it is as sound."""
    with pages.page("phone") as watched:
        page = watched.page
        watched.open("calibrate", ".calibrate button")
        page.click("text=Measure")
        page.wait_for_selector(".plot")
        assert "In force is the threshold" in page.inner_text(".calibrate")
        assert "strangers_named to" not in page.inner_text(".calibrate"), "this is in force"
        before = page.inner_text(".words b")
        page.focus("input[type=range]")
        for _ in range(12):
            page.keyboard.press("ArrowRight")
        page.wait_for_selector("text=Set strangers_named to")
        by_key = page.inner_text(".words b")
        assert by_key != before
        assert "Set strangers_named to 0." in page.inner_text(".calibrate")
        box = page.locator(".plot").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.5)
        by_pointer = page.inner_text(".words b")
        assert by_pointer not in (before, by_key)
        low = float(page.input_value("input[type=range]"))
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.5)
        page.mouse.up()
        assert float(page.input_value("input[type=range]")) > low
        assert watched.faults() == []
        assert not watched.is_too_wide()
        assert watched.said == []


def test_the_last_result_is_there_for_whoever_comes_later(pages: Pages) -> None:
    """Also for another browser, in its language."""
    with pages.page(language="de-DE", scheme="dark") as watched:
        watched.open("calibrate", ".calibrate button.main, .plot")
        if not watched.page.locator(".plot").count():
            watched.page.click(".calibrate button.main")
        watched.page.wait_for_selector(".plot")
        watched.open("calibrate", ".plot")
        assert "In Kraft ist die Schwelle" in watched.page.inner_text(".calibrate")
        assert watched.faults() == []


def test_an_admin_puts_the_threshold_into_the_settings(pages: Pages) -> None:
    """What will change is shown first; then the file has the risk, and the site runs by it."""
    with pages.page() as watched:
        page = watched.page
        watched.open("calibrate", ".calibrate button.main, .plot")
        if not page.locator(".plot").count():
            page.click(".calibrate button.main")
        page.wait_for_selector(".plot")
        page.focus("input[type=range]")
        for _ in range(12):
            page.keyboard.press("ArrowRight")
        risk = float(page.inner_text("text=Set strangers_named to").split()[3].rstrip("."))
        assert "strangers_named" not in _settings(pages)["recognition"]
        page.click("text=Set it")
        page.wait_for_selector(".diff")
        assert "\n+strangers_named = " in page.inner_text(".diff")
        page.click("text=Apply now")
        page.wait_for_selector(".outcome")
        assert _settings(pages)["recognition"]["strangers_named"] == risk
        page.click("dialog >> text=Close")
        page.wait_for_selector("dialog", state="detached")
        assert watched.said == []
