"""A real browser on the pages of a site: signed in, watched for what it says and whom it asks, examined for accessibility."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.site_process import command_json
from tests.support.web_site import WebSite

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
needs_browser = pytest.mark.skipif(
    not CHROMIUM.exists() or find_spec("playwright") is None or find_spec("axe_playwright_python") is None,
    reason="needs Debian's chromium and the extra [browser-test]",
)
SIZES = {"phone": (390, 844), "desk": (1440, 900)}
WAIT_MS = 20_000


@contextmanager
def browser(*options: str) -> Iterator[Browser]:
    """`options`: further ones of Chromium's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without its sandbox, which root can't have; it opens nothing but our own pages.
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", *options])
        try:
            yield opened
        finally:
            opened.close()


class Pages:
    """The pages of one site in one browser, signed in once by a link."""

    def __init__(self, web: WebSite, opened: Browser, role: str = "admin") -> None:
        self.web, self._browser = web, opened
        context = opened.new_context()
        page = context.new_page()
        page.goto(command_json(web.site.folder, "web", "login", "--name", "Robin Hill", "--role", role)["url"])
        page.wait_for_selector("nav", timeout=WAIT_MS)
        assert "rc_" not in page.url, "the code is a secret"
        self._state: Any = context.storage_state()
        context.close()

    @contextmanager
    def page(
        self,
        size: str = "desk",
        scheme: Any = "light",
        *,
        signed_in: bool = True,
        language: str = "en-US",
        touch: bool = False,
    ) -> Iterator[Watched]:
        width, height = SIZES[size]
        context = self._browser.new_context(
            permissions=["camera"],
            storage_state=self._state if signed_in else None,
            viewport={"width": width, "height": height},
            has_touch=touch,
            color_scheme=scheme,
            reduced_motion="reduce",
            locale=language,
        )
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        try:
            yield Watched(page, self.web.address)
        finally:
            context.close()


class Watched:
    """One page. `said`: what the browser's console says; `foreign`: whom else the page asks."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self._address = page, address
        self.said: list[str] = []
        self.foreign: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if not request.url.startswith((f"{self._address}/", f"blob:{self._address}/")):
            self.foreign.append(request.url)

    def open(self, path: str, ready: str, pressed: str | None = None, query: str = "") -> None:
        """Go to a page, given as `events` or `people/ID`, until `ready` is to be seen. `pressed`: opens a dialog on it then."""
        self.page.goto(f"{self._address}/{query}#/{path}")
        self.page.reload()  # a change of the fragment alone loads nothing anew
        self.page.wait_for_selector(ready)
        if pressed:
            self.page.locator(pressed).first.click()
            self.page.wait_for_selector("dialog[open]")

    def is_too_wide(self) -> bool:
        """Whether the page is wider than the screen."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def faults(self) -> list[str]:
        """What axe finds, one line for each fault."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]
