"""Who is let in for some cameras sees nothing of the others, and can let nobody in who does. In a running site."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from shared.ipc.client import SiteClient
from shared.ipc.requests.gallery import Info
from shared.ipc.requests.sightings import Record
from shared.records import Role
from tests.support.site_process import command
from tests.support.sites import save_references
from tests.support.stores import DLIB, event
from tests.support.vectors import noise
from tests.support.web_site import Visitor, WebSite, free_port, read_stream, web_site

API = "/api/v1"
_KEYS = itertools.count()
_JPEG = b"\xff\xd8\xff\xe0 a face \xff\xd9"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    """A site with the cameras door and yard, which give no frames, and with Ada, who is seen on both at once."""
    cameras = "".join(
        f'[cameras.{name}]\nsource = "rtsp://127.0.0.1:{free_port()}/{name}"\n' for name in ("door", "yard")
    )
    with web_site(tmp_path_factory.mktemp("web"), text=DLIB + cameras) as running:
        save_references(running.site, "Ada")
        see(running, "yard")
        see(running, "door")
        yield running


def see(web: WebSite, camera: str, **fields: Any) -> None:
    client = SiteClient(web.site.settings.run_dir)
    client.ask(Record([event(f"cameras-{next(_KEYS)}", "Ada", "named", camera=camera) | fields]))
    client.close()


def face_of(web: WebSite) -> dict[str, Any]:
    """A face as a camera sends it with a name."""
    client = SiteClient(web.site.settings.run_dir)
    gallery = client.ask(Info())
    client.close()
    vector = noise(np.random.default_rng(3), 1, gallery.dim or 0)[0].astype("<f4")
    probe = base64.b64encode(vector.tobytes()).decode()
    return {"probe": probe, "nearest": "Ada", "clear": True, "fingerprint": gallery.fingerprint, "alike": 0.5}


def of_door(web: WebSite, role: Role) -> Visitor:
    return web.visitor(role, ["door"])


def test_the_state_of_other_cameras_is_not_told(web: WebSite) -> None:
    """In status, in readiness, and in the metrics, which are of all cameras."""
    web.site.wait_for(lambda: len(web.visitor(Role.ADMIN).get(f"{API}/cameras")["cameras"]) == 2, "both cameras")
    operator = of_door(web, Role.OPERATOR)
    assert set(operator.get(f"{API}/status")["site"]["cameras"]) == {"door"}
    checks = operator.ask("GET", "/readyz?verbose=1").json()["checks"]
    assert {one for one in checks if one.startswith("camera")} == {"camera:door"}
    assert operator.ask("GET", "/metrics").status_code == 403
    assert web.visitor(Role.VIEWER).ask("GET", "/metrics").status_code == 200


def test_where_else_somebody_is_is_not_told(web: WebSite) -> None:
    """A sighting names the other camera on which the person is now; in the list and in the stream."""

    def also_at(one: dict[str, Any]) -> list[str]:
        return [place["camera"] for place in one.get("also_at") or ()]

    assert also_at(web.visitor(Role.VIEWER).get(f"{API}/events?limit=1")["events"][0]) == ["yard"]
    viewer = of_door(web, Role.VIEWER)
    (shown,) = viewer.get(f"{API}/events?limit=1")["events"]
    assert also_at(shown) == []
    assert "yard" not in str(shown)
    with viewer.ask("GET", f"{API}/events/stream?after=0", stream=True) as answer:
        document = next(document for kind, _, document in read_stream(answer) if kind == "named")
    assert document == shown


def test_the_pictures_of_other_cameras_are_not_shown(web: WebSite) -> None:
    """That of an own camera is, as a JPEG that no browser keeps; a program that has it is told so."""
    shown = {}
    for camera in ("door", "yard"):
        see(web, camera, picture=base64.b64encode(_JPEG).decode(), **face_of(web))
        (event,) = web.visitor(Role.VIEWER).get(f"{API}/events?limit=1")["events"]
        assert event["crop"] is True
        shown[camera] = f"{API}/events/{event['id']}/crop"
    viewer = of_door(web, Role.VIEWER)
    assert viewer.ask("GET", shown["yard"]).status_code == 404
    answer = viewer.ask("GET", shown["door"])
    assert (answer.status_code, answer.content) == (200, _JPEG)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Cache-Control"] == "private, no-store"
    again = viewer.ask("GET", shown["door"], headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert viewer.ask("GET", f"{API}/events/1/crop").status_code == 404
    client = SiteClient(web.site.settings.run_dir)
    assert client.ask(Info()).crops == 2
    client.close()
    assert "pictures of sightings: 2, 0.0 MB" in command(web.site.folder, "status").stdout


def test_a_token_sees_no_more_than_who_makes_it(web: WebSite) -> None:
    """Without cameras it gets those of its maker; other cameras are refused."""
    admin = of_door(web, Role.ADMIN)

    def make(**given: Any) -> Any:
        return admin.ask("POST", f"{API}/tokens", json={"label": "hr", "role": "admin", **given})

    assert make().json()["access"]["cameras"] == ["door"]
    assert make(cameras=["door"]).json()["access"]["cameras"] == ["door"]
    assert make(cameras=["door", "yard"]).status_code == 403
    everything = web.visitor(Role.ADMIN).ask("POST", f"{API}/tokens", json={"label": "hr"}).json()
    assert everything["access"]["cameras"] is None
