"""The status that the web process asks the writer for, on behalf of many."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from shared.ipc.client import NoAnswerError
from shared.settings.file import load_settings
from tests.support.stores import DLIB
from workers.dashboard.counters import Counters
from workers.dashboard.doorkeeper import Doorkeeper
from workers.dashboard.live_views import LiveViews
from workers.dashboard.photo_desk import PhotoDesk
from workers.dashboard.sighting_feed import SightingFeed
from workers.dashboard.site import Site
from workers.dashboard.writer_link import WriterLink

_ASKING = 20


def test_while_the_writer_is_away_nobody_waits_in_turn(tmp_path: Path) -> None:
    """Each ask is tried for two seconds. Twenty who ask at once are told after the first try that there is no status."""
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    settings = load_settings(tmp_path / "site.toml")

    async def ask() -> list[object]:
        writer, counters = WriterLink(settings.run_dir), Counters()
        feed = SightingFeed(settings.run_dir, writer, counters.take_sighting)
        site = Site(
            settings, writer, Doorkeeper(writer), feed, counters, LiveViews(settings.run_dir), PhotoDesk(settings)
        )
        try:
            return list(await asyncio.gather(*(site.status() for _ in range(_ASKING)), return_exceptions=True))
        finally:
            writer.close()

    began = time.monotonic()
    told = asyncio.run(asyncio.wait_for(ask(), 60))
    assert [type(one) for one in told] == [NoAnswerError] * _ASKING
    assert time.monotonic() - began < 8
