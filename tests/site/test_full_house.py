"""Live in a browser while all places are taken."""

from __future__ import annotations

from pathlib import Path

from tests.site.test_live_views import full_house
from tests.support.browser import Pages, browser, needs_browser
from tests.support.demo_site import demo_site
from tests.support.paths import needs_dlib

pytestmark = [needs_dlib, needs_browser]


def test_the_page_says_that_it_waits_for_a_place(tmp_path: Path) -> None:
    """And shows the wall by itself when there is one."""
    with demo_site(tmp_path) as web, browser() as opened:
        pages = Pages(web, opened)
        with full_house(web) as walls, pages.page() as watched:
            watched.open("live", "text=A place is waited for")
            walls.pop().close()
            walls.pop().close()
            watched.page.wait_for_selector(".tile .picture img")
            assert watched.page.locator("text=A place is waited for").count() == 0
