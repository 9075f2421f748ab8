"""Cameras through the API: a test of a source before it is added, what must not be opened, and the figures of each camera. In running sites."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from PIL import Image

from shared.records import Role
from tests.support.clips import picture
from tests.support.mjpeg_server import MjpegServer
from tests.support.rtsp_camera import RtspCamera, require_server, write_pictures
from tests.support.stores import DLIB
from tests.support.strict_camera import StrictCamera
from tests.support.web_site import WebSite, web_site

API = "/api/v1"
_CANARY = "hunter-canary"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebSite]:
    text = f'{DLIB}[cameras.door]\nsource = "rtsp://viewer:{_CANARY}@127.0.0.1:1/stream"\nenabled = false\n'
    with web_site(tmp_path, text=text) as running:
        yield running


def try_out(web: WebSite, source: str, **given: Any) -> requests.Response:
    return web.visitor(Role.ADMIN).ask("POST", f"{API}/cameras/test", json={"source": source, **given})


def is_testing(web: WebSite) -> bool:
    """Whether the web process has a process that tests a source."""
    return bool(psutil.Process(web.site.child_pid("web")).children())


def test_a_source_is_opened_once_and_shown(web: WebSite, tmp_path: Path) -> None:
    """Motion JPEG and RTSP: the picture, its size, the rate, the codec, the faces; the process is gone afterwards, and no password was told."""
    with MjpegServer() as camera:
        answer = try_out(web, camera.url)
        assert answer.status_code == 200, answer.text
        found = answer.json()
    image = Image.open(io.BytesIO(base64.b64decode(found["picture"])))
    height, width = picture(0).shape[:2]
    assert (found["width"], found["height"], image.size, found["codec"]) == (width, height, (width, height), "mjpeg")
    assert (found["faces"], found["faces_fault"]) == ([], None)
    assert 5 < found["fps"] < 40
    require_server()
    with RtspCamera(write_pictures(tmp_path / "pictures", map(picture, range(24))), login=("viewer", _CANARY)) as rtsp:
        found = try_out(web, rtsp.url).json()
        assert (found["width"], found["codec"]) == (width, "h264")
        refused = try_out(web, rtsp.url_for("viewer", "wrong"))
        assert refused.status_code == 409
        assert "refused the login" in refused.json()["errors"][0]["got"]
    web.site.wait_for(lambda: not is_testing(web), "end of the process")
    assert "canary" not in "\n".join(web.site.log) + refused.text


def test_what_is_no_camera_is_not_opened(web: WebSite, tmp_path: Path) -> None:
    """Files, devices, our own port, link-local addresses: refused without a process. What a name leads to is looked at, too, and a redirect and a
    playlist lead nowhere."""
    port = web.address.rpartition(":")[2]
    sources = (
        "/etc/passwd", "file:///etc/passwd", "/dev/video0", "0", f"http://127.0.0.1:{port}/metrics", f"http://0:{port}/", "http://169.254.169.254/",
        f"http://[::ffff:7f00:1]:{port}/", "http://2852039166/", "concat:/etc/passwd", "ftp://127.0.0.1/", "rtsp://viewer:${HOME}@127.0.0.1/",
    )  # fmt: skip
    for source in sources[:10]:
        refused = try_out(web, source)
        assert refused.status_code == 409, (source, refused.text)
        assert refused.json()["errors"][0]["where"] == "source", source
    with StrictCamera(tmp_path, "http", answer=302) as camera:
        assert try_out(web, camera.url()).status_code == 409
    assert (
        try_out(web, "rtsp://127.0.0.1:1/x").json()["errors"][0]["got"]
        == "rtsp://127.0.0.1:1/x: port 1: connection refused"
    )
    assert try_out(web, "rtsp://127.0.0.1:1/x").status_code == 429


def test_a_stored_password_is_not_sent_elsewhere(web: WebSite, tmp_path: Path) -> None:
    """*** is that camera's password at that camera's place only."""
    with StrictCamera(tmp_path, "http", login=("viewer", _CANARY)) as camera:
        for given in (
            {"source": camera.url("***"), "camera": "door"},
            {"source": camera.url("***")},
            {"source": f"rtsp://***@127.0.0.1:{camera.port}/", "camera": "door"},
            {"source": "rtsp://***@127.0.0.1:1/stream", "camera": "other"},
            {"source": camera.url("viewer:${HOME}"), "camera": "door"},
        ):
            refused = try_out(web, **given)
            assert (refused.status_code, refused.json()["errors"][0]["where"]) == (409, "source"), given
        assert camera.requests == []
    own = try_out(web, "rtsp://***@127.0.0.1:1/stream", camera="door")
    assert own.json()["errors"][0]["got"].endswith("port 1: connection refused")
    assert _CANARY not in own.text


def test_a_stream_without_end_or_sense_disturbs_nobody(web: WebSite, tmp_path: Path) -> None:
    """One that hangs ends in words, the web part answers meanwhile, and a second test waits its turn."""
    with MjpegServer(most=0) as silent:
        answers: list[requests.Response] = []
        waiting = threading.Thread(target=lambda: answers.append(try_out(web, silent.url)))
        waiting.start()
        web.site.wait_for(lambda: is_testing(web), "start of the test")
        assert web.visitor(Role.VIEWER).get(f"{API}/cameras")["cameras"] == []
        assert try_out(web, silent.url).status_code == 503
        waiting.join(60)
    assert answers[0].status_code == 409, answers[0].text
    with StrictCamera(tmp_path, "http", shows="snapshot", picture=lambda _: b"\xff\xd8 no picture " * 1000) as odd:
        assert try_out(web, odd.url()).status_code == 409
    web.site.wait_for(lambda: not is_testing(web), "end of the process")


def test_a_camera_is_added_seconds_after_its_test(web: WebSite) -> None:
    """Through the settings, with no restart; its state has advice only once it saw enough faces; metrics count them."""
    admin = web.visitor(Role.ADMIN)
    with MjpegServer() as camera:
        change = {"section": "cameras", "camera": "yard", "key": "source", "value": camera.url}
        etag = admin.get(f"{API}/settings")["etag"]
        answer = admin.ask("PUT", f"{API}/settings", json={"changes": [change]}, headers={"If-Match": f'"{etag}"'})
        (result,) = answer.json()["processes"]
        assert (result["name"], result["change"], result["state"]) == ("yard", "started", "up"), answer.text
        (shown,) = web.site.wait_for(lambda: admin.get(f"{API}/cameras")["cameras"], "the camera")
        assert shown["placement"] == {
            "seen": 0, "needed": 20, "median_px": None, "advice": [],
            "refused": {"size": 0, "detector": 0, "pose": 0, "sharpness": 0, "brightness": 0},
        }  # fmt: skip
        metrics = admin.ask("GET", "/metrics").text
        assert 'rollcall_faces_refused_total{camera="yard",reason="size"} 0.0' in metrics
        assert "rollcall_config_last_reload_successful 1.0" in metrics
