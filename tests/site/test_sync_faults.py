"""A backend that is slow, silent or wrong costs the cameras nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.clips import wait_until
from tests.support.paths import FACES, VIDEOS, needs_data
from tests.support.plain_server import PlainHandler, PlainServer
from tests.support.site_process import SiteProcess
from tests.support.sites import enrol, people_of, write_site

pytestmark = needs_data
_PHASE_S = 8.0


def _looked_at(site: SiteProcess) -> int:
    count: int = site.status()["cameras"]["sofa"]["looked_at"]
    return count


def _rate(site: SiteProcess) -> float:
    """How often a second the camera looks, over some seconds."""
    before, pause = _looked_at(site), threading.Event()
    pause.wait(_PHASE_S)  # the measurement's own time
    return (_looked_at(site) - before) / _PHASE_S


@pytest.mark.alone
def test_the_cameras_do_not_notice(tmp_path: Path) -> None:
    """While the backend answers HTML, or takes requests and never answers, the camera looks as often as before, and everything is caught up
    once it answers again."""
    ended = threading.Event()

    def html(handler: PlainHandler) -> None:
        body = b"<html>sign in to the network</html>"
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with PlainServer() as server:
        write_site(tmp_path, {"sofa": f'source = "{VIDEOS / "friends_in_video.mp4"}"\nloop = true'})
        with (tmp_path / "site.toml").open("a", encoding="utf-8") as file:
            file.write(f'[sync]\nenabled = true\ninterval_s = 0.5\nbackend = "{server.address}/api"\n')
        enrol(tmp_path, FACES / "friends_enrol" / "Joey.png")
        with SiteProcess(tmp_path) as site:
            site.wait_for_event(60, event="named", person="Joey")
            wait_until(lambda: len(server.items) == 1, "Joey at the server")
            before = _rate(site)
            answers: dict[str, Any] = {"HTML": html, "silence": lambda _: ended.wait(300)}
            rates = {}
            for name, answer in answers.items():
                server.answer = answer
                rates[name] = _rate(site) / before
            ended.set()
            print({name: round(ratio, 3) for name, ratio in rates.items()}, f"of {before:.2f}/s")
            assert min(rates.values()) > 0.9
            assert site.status()["processes"]["sync"]["down_reason"]
            enrol(tmp_path, FACES / "friends_enrol" / "Ross.png")
            assert people_of(tmp_path) == {"Joey", "Ross"}
            server.answer = None
            wait_until(lambda: len(server.items) == 2, "Ross at the server", 150)
            assert site.check() == []
