"""The demo's two cameras, its people and its strangers as a running site, for tests that look at it from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tomlkit

from tests.support.web_site import WebSite, web_site
from workers.demo.scene import make_scene


@contextmanager
def demo_site(folder: Path, web: str = "") -> Iterator[WebSite]:
    """The site in `folder`, whose clips play in a loop. It listens, and both cameras are up, when this returns. `web`: lines of [web]."""
    content = make_scene(folder / "data").settings(loop=True)
    del content["web"]
    with web_site(folder, web, tomlkit.dumps(content)) as running:
        running.site.wait_for(
            lambda: all(one["up"] for one in running.site.status().get("cameras", {"": {"up": False}}).values()),
            "cameras",
        )
        yield running
