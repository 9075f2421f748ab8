"""The web process while the writer hangs or is away, and while somebody floods it with requests."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
import requests

from shared.ipc import wire
from shared.records import Role
from shared.settings.file import load_settings
from tests.support.clips import wait_until, write_clip
from tests.support.flood import PER_SECOND
from tests.support.paths import ROOT
from tests.support.site_process import SiteProcess
from tests.support.stalled_readers import FILLING, fill, stalled_readers
from tests.support.stores import DLIB
from tests.support.tiny_pack import write_pack
from tests.support.web_site import Visitor, WebSite, free_port, web_site

_ENDS_WITHIN_S = 3.0
_WATCH_S = 10.0
_LOOKS_PER_S = 5


@contextmanager
def _hung_writer(folder: Path) -> Iterator[None]:
    """A socket where the writer's should be. It takes connections, and never answers."""
    run_dir = load_settings(folder / "site.toml").run_dir
    run_dir.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener, wire.address(wire.socket_path(run_dir)) as address:
        listener.bind(address)
        listener.listen()
        yield


@contextmanager
def _no_writer(folder: Path) -> Iterator[None]:
    load_settings(folder / "site.toml").run_dir.mkdir(parents=True, mode=0o700)
    yield


@pytest.mark.parametrize("writer", [_hung_writer, _no_writer])
def test_without_a_writer_it_lives_and_ends_in_time(
    tmp_path: Path, writer: Callable[[Path], AbstractContextManager[None]]
) -> None:
    """It starts, says that it lives and that the site is not ready, and obeys SIGTERM at once."""
    port = free_port()
    (tmp_path / "site.toml").write_text(f"{DLIB}\n[web]\nenabled = true\nport = {port}\n", encoding="utf-8")
    with writer(tmp_path):
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.web", "--config", str(tmp_path / "site.toml")], cwd=ROOT
        )
        try:
            wait_until(lambda: _listens(port), "web process that listens")
            assert requests.get(f"http://127.0.0.1:{port}/livez", timeout=2).text == "alive\n"
            answer = requests.get(f"http://127.0.0.1:{port}/readyz", timeout=9)
            assert (answer.status_code, answer.text) == (503, "not ready: writer\n")
            process.send_signal(signal.SIGTERM)
            assert process.wait(_ENDS_WITHIN_S) == 0
        finally:
            process.kill()
            process.wait()


def test_it_ends_in_time_with_streams_that_nobody_reads(tmp_path: Path) -> None:
    """SIGTERM to the process itself, with streams that are full to the brim beside one that is read: exit 0 within three seconds."""
    port = free_port()
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    (tmp_path / "web.toml").write_text(f"{DLIB}\n[web]\nenabled = true\nport = {port}\n", encoding="utf-8")
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.web", "--config", str(tmp_path / "web.toml")], cwd=ROOT
        )
        try:
            wait_until(lambda: _listens(port), "web process that listens")
            web = WebSite(site, f"http://127.0.0.1:{port}")
            viewer = web.visitor(Role.VIEWER)
            wait_until(lambda: _is_followed(viewer), "writer that is followed")
            with stalled_readers(web, 20), viewer.ask("GET", "/api/v1/events/stream", stream=True) as reader:
                fill(web, range(FILLING))
                _read_until(reader, f'"track":{FILLING - 1},'.encode())
                process.send_signal(signal.SIGTERM)
                assert process.wait(_ENDS_WITHIN_S) == 0
        finally:
            process.kill()
            process.wait()


def _read_until(answer: requests.Response, text: bytes) -> None:
    last = b""
    for part in answer.iter_content(None):
        if text in last + part:
            return
        last = part[-len(text) :]
    raise AssertionError(f"the stream ended before {text!r}")


def _is_followed(viewer: Visitor) -> bool:
    with viewer.ask("GET", "/api/v1/events/stream", stream=True) as answer:
        return answer.status_code == HTTPStatus.OK


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[WebSite]:
    """A site with one camera that plays a clip in real time, and its web part."""
    write_pack(tmp_path / "data" / "models" / "tiny")
    clip = write_clip(tmp_path / "clip.avi", 1000)
    text = (
        f'[recognition]\nmodel = "tiny"\nfps = {_LOOKS_PER_S}\n'
        f'[cameras.door]\nsource = "{clip}"\nrealtime = true\nloop = true\n'
    )
    with web_site(tmp_path, text=text) as web:
        web.site.wait_for_event(event="camera_up")
        yield web


def _looked_at(web: WebSite) -> tuple[int, float]:
    """How many frames the camera has looked at, and when that was said: a second is between two of its heartbeats."""
    last = _looks(web)
    wait_until(lambda: _looks(web) > last, "camera that looks at frames")
    return _looks(web), time.monotonic()


def _looks(web: WebSite) -> int:
    return int(web.site.status()["cameras"]["door"]["looked_at"])


@pytest.mark.alone
def test_a_flood_costs_no_camera_a_frame(busy: WebSite) -> None:
    """A thousand requests a second: each is refused or served, and the camera looks as often as it should."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.flood", busy.address.rpartition(":")[2], str(_WATCH_S)],
        cwd=ROOT, stdout=subprocess.PIPE,
    ) as flood:  # fmt: skip  # options by kind
        before, began = _looked_at(busy)
        after, ended = before, began
        while flood.poll() is None:
            after, ended = _looked_at(busy)
        output, _ = flood.communicate(timeout=60)
    statuses = {int(status): count for status, count in json.loads(output).items()}
    assert sum(statuses.values()) > PER_SECOND * _WATCH_S / 50, "the flood reached it"
    assert set(statuses) <= {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
    assert after - before >= 0.8 * _LOOKS_PER_S * (ended - began), f"{statuses}, {ended - began:.1f} s"
