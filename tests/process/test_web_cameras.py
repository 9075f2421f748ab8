"""Who is let in for some cameras sees nothing of the others, and can let nobody in who does. In a running site."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from shared.ipc.client import SiteClient
from shared.ipc.requests import Record
from shared.records import Role
from tests.support.sites import save_references
from tests.support.stores import DLIB, event
from tests.support.web_site import Visitor, WebSite, free_port, read_stream, web_site

API = "/api/v1"
_KEYS = itertools.count()


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


def see(web: WebSite, camera: str) -> None:
    client = SiteClient(web.site.settings.run_dir)
    client.ask(Record([event(f"cameras-{next(_KEYS)}", "Ada", "named", camera=camera)]))
    client.close()


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
