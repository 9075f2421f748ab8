"""What the cameras see, through the web part of a running site: a wall in one stream, pictures for other programs."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import requests

from shared.records import Role
from tests.support.demo_site import demo_site
from tests.support.paths import needs_dlib
from tests.support.web_site import Visitor, WebSite
from workers.dashboard.live_views import MAX_VIEWERS
from workers.demo.painting import HEIGHT, WIDTH

pytestmark = needs_dlib
API = "/api/v1"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    with demo_site(tmp_path_factory.mktemp("live")) as running:
        yield running


def shots(answer: requests.Response) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The pieces of a wall: head and JPEG. Without those that only say that it goes on."""
    while len(lengths := answer.raw.read(8)) == 8:
        head_size, jpeg_size = struct.unpack("<II", lengths)
        head, jpeg = json.loads(answer.raw.read(head_size)), answer.raw.read(jpeg_size)
        if "camera" in head:
            yield head, jpeg


@contextmanager
def full_house(web: WebSite) -> Iterator[list[requests.Response]]:
    """So many walls as may be open, of one camera in small."""
    viewer = web.visitor(Role.VIEWER)
    name = viewer.get(f"{API}/cameras")["cameras"][0]["name"]
    web.site.wait_for(lambda: "rollcall_live_viewers 0.0" in viewer.ask("GET", "/metrics").text, "end of earlier ones")
    walls: list[requests.Response] = []
    try:
        for _ in range(MAX_VIEWERS):
            walls.append(web.visitor(Role.VIEWER).ask("GET", f"{API}/live?cameras={name}:8", stream=True))
            next(shots(walls[-1]))
        yield walls
    finally:
        for one in walls:
            one.close()


def size_of(jpeg: bytes) -> tuple[int, ...]:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)).shape[:2]


def test_a_wall_shows_all_cameras_with_who_is_there(web: WebSite) -> None:
    """In one stream, each in its size, in order; somebody who is named is named there, with the votes."""
    names = [one["name"] for one in web.visitor(Role.VIEWER).get(f"{API}/cameras")["cameras"]]
    large, small = names
    with web.visitor(Role.VIEWER).ask("GET", f"{API}/live?cameras={large}:2,{small}:4", stream=True) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        seen: dict[str, list[int]] = {large: [], small: []}
        named: list[dict[str, Any]] = []
        for head, jpeg in shots(answer):
            if not jpeg:
                continue
            divide = 2 if head["camera"] == large else 4
            assert size_of(jpeg) == (HEIGHT // divide, WIDTH // divide)
            assert (head["width"], head["height"]) == (WIDTH, HEIGHT)
            seen[head["camera"]].append(head["number"])
            named += [track for track in head["tracks"] if track["person"]]
            if min(map(len, seen.values())) >= 3 and named:
                break
    assert all(numbers == sorted(set(numbers)) for numbers in seen.values())
    assert named[0]["votes"] >= named[0]["votes_needed"] == 3
    assert len(named[0]["box"]) == 4


def test_who_sees_one_camera_sees_only_that(web: WebSite) -> None:
    """In the stream without names, and by name: the other is not there."""
    own, other = (one["name"] for one in web.visitor(Role.VIEWER).get(f"{API}/cameras")["cameras"])
    viewer = web.visitor(Role.VIEWER, [own])
    with viewer.ask("GET", f"{API}/live", stream=True) as answer:
        pieces = shots(answer)
        assert {next(pieces)[0]["camera"] for _ in range(3)} == {own}
    for path in (
        f"live?cameras={own},{other}",
        f"cameras/{other}/frame.jpg",
        f"cameras/{other}/stream.mjpeg",
        "live?cameras=none",
    ):
        assert viewer.ask("GET", f"{API}/{path}").status_code == 404, path
    for path in (f"live?cameras={own}:3", "live?cameras=,", f"cameras/{own}/frame.jpg?divide=3"):
        assert viewer.ask("GET", f"{API}/{path}").status_code == 422, path


def test_other_programs_get_pictures(web: WebSite) -> None:
    """One whole frame; and frame after frame as multipart."""
    viewer = web.visitor(Role.VIEWER)
    (first, _) = viewer.get(f"{API}/cameras")["cameras"]
    answer = viewer.ask("GET", f"{API}/cameras/{first['name']}/frame.jpg")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert size_of(answer.content) == (HEIGHT, WIDTH)
    with viewer.ask("GET", f"{API}/cameras/{first['name']}/stream.mjpeg?divide=8", stream=True) as motion:
        kind, _, boundary = motion.headers["Content-Type"].partition("; boundary=")
        assert kind == "multipart/x-mixed-replace"
        for _ in range(3):
            head = motion.raw.readline() + motion.raw.readline() + motion.raw.readline() + motion.raw.readline()
            assert head.startswith(f"--{boundary}\r\nContent-Type: image/jpeg\r\n".encode())
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            assert size_of(motion.raw.read(length)) == (HEIGHT // 8, WIDTH // 8)
            motion.raw.readline()


def test_nobody_is_asked_while_nobody_looks(web: WebSite) -> None:
    """With the last viewer the web process leaves the cameras' sockets."""
    process, viewer = psutil.Process(web.site.child_pid("web")), web.visitor(Role.VIEWER)

    def sockets() -> int:
        return len(process.net_connections("unix"))

    def are_counted(viewers: int) -> bool:
        return f"rollcall_live_viewers {viewers}.0" in viewer.ask("GET", "/metrics").text

    web.site.wait_for(lambda: are_counted(0), "end of earlier viewers")
    before = sockets()
    with web.visitor(Role.VIEWER).ask("GET", f"{API}/live", stream=True) as answer:
        next(shots(answer))
        assert are_counted(1)
        assert sockets() == before + 2
    web.site.wait_for(lambda: are_counted(0), "end of the viewer")
    web.site.wait_for(lambda: sockets() == before, "end of the connections")


def test_a_camera_that_comes_back_is_seen_again(web: WebSite) -> None:
    """While its process is replaced the wall says that there is no picture, and then goes on."""
    name = web.visitor(Role.VIEWER).get(f"{API}/cameras")["cameras"][0]["name"]
    with web.visitor(Role.VIEWER).ask("GET", f"{API}/live?cameras={name}:8", stream=True) as answer:
        pieces = shots(answer)
        assert next(pieces)[1]
        psutil.Process(web.site.child_pid(name)).kill()
        without = next(head for head, jpeg in pieces if not jpeg)
        assert without == {"camera": name, "number": None}
        assert next(jpeg for _, jpeg in pieces if jpeg)


def test_a_stream_ends_when_its_token_is_taken_back(web: WebSite) -> None:
    admin = web.visitor(Role.ADMIN)
    made = admin.ask("POST", f"{API}/tokens", json={"label": "short"}).json()
    with Visitor(web.address, made["token"]).ask("GET", f"{API}/live", stream=True) as answer:
        pieces = shots(answer)
        next(pieces)
        admin.ask("DELETE", f"{API}/tokens/{made['access']['id']}")
        assert sum(1 for _ in pieces) < 200, "it ends within ten seconds"


def test_a_viewer_too_many_is_told_and_comes_in_when_one_leaves(web: WebSite) -> None:
    """With as many as may look on: of every kind, the next is told to ask again soon; with one less there is a place."""
    viewer = web.visitor(Role.VIEWER)
    name = viewer.get(f"{API}/cameras")["cameras"][0]["name"]
    with full_house(web) as walls:
        for path in (f"live?cameras={name}", f"cameras/{name}/frame.jpg", f"cameras/{name}/stream.mjpeg"):
            with viewer.ask("GET", f"{API}/{path}", stream=True) as answer:  # one that is let in never ends
                assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5"), path
                assert answer.json()["type"] == "urn:rollcall:problem:not-now"
        walls.pop().close()
        path = f"{API}/cameras/{name}/frame.jpg"
        web.site.wait_for(lambda: viewer.ask("GET", path).status_code == 200, "a place")


def test_the_site_stops_with_viewers(tmp_path: Path) -> None:
    """Open walls end, and so does the process, with exit code 0."""
    with demo_site(tmp_path) as web:
        walls = [web.visitor(Role.VIEWER).ask("GET", f"{API}/live", stream=True) for _ in range(5)]
        for one in walls:
            next(shots(one))
        assert web.site.stop() == 0
        assert not [line for line in web.site.log if "killed" in line]
        for one in walls:
            one.close()
    assert not list((tmp_path / "data" / "run").glob("camera-*"))
