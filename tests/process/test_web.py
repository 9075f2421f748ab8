"""The web process: who is let in, what the API says and does, the stream, the metrics; in a running site."""

from __future__ import annotations

import getpass
import hashlib
import http.client
import io
import itertools
import os
import re
import socket as sockets
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from openapi_spec_validator import validate
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance

from shared.events import Sighting
from shared.ipc.client import SiteClient
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.gallery import Info
from shared.ipc.requests.references import Save
from shared.ipc.requests.sightings import Record
from shared.ipc.requests.site import SiteStatus
from shared.records import NewReference, Role
from shared.status import CameraStatus, SiteSnapshot
from tests.support.paths import ROOT
from tests.support.site_process import SUPERVISOR, SiteProcess, command, command_json
from tests.support.sites import save_references
from tests.support.stores import DLIB, event
from tests.support.vectors import noise
from tests.support.web_site import Visitor, WebSite, free_port, read_stream, web_site
from workers.dashboard.counters import Counters
from workers.dashboard.description import as_text
from workers.dashboard.event_routes import MAX_STREAMS
from workers.dashboard.metrics import exposition
from workers.serving.gate import Seen
from workers.serving.secrets import new_secret

API = "/api/v1"
_OPEN = {"/livez", "/readyz", "/metrics"}
# What each route needs at least. A new route has to be added here.
_NEEDS = {
    ("POST", "/calibrate"): Role.OPERATOR,
    ("GET", "/jobs"): Role.OPERATOR,
    ("GET", "/jobs/{job_id}"): Role.OPERATOR,
    ("DELETE", "/jobs/{job_id}"): Role.OPERATOR,
    ("GET", "/about"): Role.OPERATOR,
    ("GET", "/models"): Role.OPERATOR,
    ("GET", "/support-bundle"): Role.ADMIN,
    ("GET", "/me"): Role.VIEWER,
    ("DELETE", "/session"): Role.VIEWER,
    ("GET", "/tokens"): Role.ADMIN,
    ("POST", "/tokens"): Role.ADMIN,
    ("DELETE", "/tokens/{access_id}"): Role.ADMIN,
    ("GET", "/people"): Role.OPERATOR,
    ("POST", "/people"): Role.OPERATOR,
    ("POST", "/assess"): Role.OPERATOR,
    ("POST", "/identify"): Role.OPERATOR,
    ("POST", "/people/{person_id}/references"): Role.OPERATOR,
    ("GET", "/people/{person_id}/references/{reference}/quality"): Role.OPERATOR,
    ("POST", "/cameras/{camera}/capture"): Role.OPERATOR,
    ("GET", "/worklist"): Role.OPERATOR,
    ("POST", "/people/{person_id}/different"): Role.OPERATOR,
    ("DELETE", "/people/{person_id}/different/{other_id}"): Role.OPERATOR,
    ("GET", "/people/{person_id}"): Role.OPERATOR,
    ("PATCH", "/people/{person_id}"): Role.OPERATOR,
    ("DELETE", "/people/{person_id}"): Role.ADMIN,
    ("POST", "/people/{person_id}/merge"): Role.OPERATOR,
    ("POST", "/people/undo"): Role.OPERATOR,
    ("GET", "/people/{person_id}/references"): Role.OPERATOR,
    ("GET", "/people/{person_id}/photo"): Role.OPERATOR,
    ("GET", "/people/{person_id}/export"): Role.ADMIN,
    ("GET", "/people/{person_id}/references/{reference}/photo"): Role.OPERATOR,
    ("PATCH", "/people/{person_id}/references/{reference}"): Role.OPERATOR,
    ("DELETE", "/people/{person_id}/references/{reference}"): Role.ADMIN,
    ("GET", "/strangers"): Role.OPERATOR,
    ("GET", "/strangers/{stranger_id}"): Role.OPERATOR,
    ("DELETE", "/strangers/{stranger_id}"): Role.ADMIN,
    ("GET", "/strangers/{stranger_id}/photo"): Role.OPERATOR,
    ("POST", "/strangers/{stranger_id}/name"): Role.OPERATOR,
    ("POST", "/strangers/{stranger_id}/merge"): Role.OPERATOR,
    ("POST", "/strangers/{stranger_id}/different"): Role.OPERATOR,
    ("DELETE", "/strangers/{stranger_id}/different/{person_id}"): Role.OPERATOR,
    ("POST", "/strangers/{stranger_id}/ignore"): Role.OPERATOR,
    ("DELETE", "/strangers/{stranger_id}/ignore"): Role.OPERATOR,
    ("GET", "/review"): Role.OPERATOR,
    ("GET", "/events"): Role.VIEWER,
    ("GET", "/events/stream"): Role.VIEWER,
    ("GET", "/events/{event_id}/crop"): Role.VIEWER,
    ("POST", "/events/{event_id}/verdict"): Role.OPERATOR,
    ("DELETE", "/events/{event_id}/verdict"): Role.OPERATOR,
    ("GET", "/corrections"): Role.OPERATOR,
    ("GET", "/settings"): Role.ADMIN,
    ("PUT", "/settings"): Role.ADMIN,
    ("POST", "/settings/validate"): Role.ADMIN,
    ("GET", "/settings/versions"): Role.ADMIN,
    ("GET", "/settings/versions/{number}"): Role.ADMIN,
    ("POST", "/settings/versions/{number}/revert"): Role.ADMIN,
    ("GET", "/status"): Role.OPERATOR,
    ("GET", "/cameras"): Role.VIEWER,
    ("POST", "/cameras/test"): Role.ADMIN,
    ("GET", "/live"): Role.VIEWER,
    ("GET", "/cameras/{camera}/frame.jpg"): Role.VIEWER,
    ("GET", "/cameras/{camera}/stream.mjpeg"): Role.VIEWER,
}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    """A site without cameras, with Ada, Bo and Cy."""
    with web_site(tmp_path_factory.mktemp("web")) as running:
        save_references(running.site, "Ada", "Bo", "Cy")
        yield running


def record(site: SiteProcess, *events: dict[str, Any]) -> None:
    client = SiteClient(site.settings.run_dir)
    client.ask(Record(list(events)))
    client.close()


_KEYS = itertools.count()


def seen(person: str | None = None, camera: str = "door", kind: str = "unknown") -> dict[str, Any]:
    return event(f"web-{next(_KEYS)}", person, "named" if person else kind, camera=camera)


# --- who is let in --------------------------------------------------------------------------------------------------


def _documented(web: WebSite) -> dict[tuple[str, str], Any]:
    paths = web.visitor(None).get("/openapi.json")["paths"]
    return {(method.upper(), path): route for path, routes in paths.items() for method, route in routes.items()}


def test_the_description_is_sound_and_has_every_route(web: WebSite) -> None:
    """OpenAPI 3.1, and the table above has each of its routes. docs/openapi.json is this description."""
    document = web.visitor(None).get("/openapi.json")
    validate(document)
    kept = (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")
    assert as_text(document) == kept, "write it anew: python -m workers.dashboard.description > docs/openapi.json"
    assert document["openapi"].startswith("3.1")
    known = {(method, API + path) for method, path in _NEEDS} | {("POST", f"{API}/session")}
    assert {one for one in _documented(web) if one[1] not in _OPEN} == known


def test_each_route_opens_to_its_role_and_those_above(web: WebSite) -> None:
    """Every route with every role: 401 without a token, 403 below the role, and neither from it on."""
    visitors = {role: web.visitor(role) for role in (None, *Role)}
    for (method, path), needed in _NEEDS.items():
        if path in ("/session", "/events/stream", "/live"):
            continue  # they end the session, and never end
        where = API + re.sub(r"{\w+}", "999", path)
        for role, visitor in visitors.items():
            status = visitor.ask(method, where, json={} if method in ("POST", "PATCH", "PUT") else None).status_code
            expected = 401 if role is None else 403 if not role.includes(needed) else None
            assert status == expected if expected else status not in (401, 403, 500), (method, path, role, status)


@pytest.mark.parametrize("token", ["", "nonsense", "rc_0123456789abcdef_" + "x" * 43])
def test_a_wrong_token_is_nobody(web: WebSite, token: str) -> None:
    answer = requests.get(f"{web.address}{API}/me", headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_link_signs_a_browser_in_once(web: WebSite) -> None:
    """`web login` prints it; its code gives a cookie that scripts can't read; a second use is refused; signing out ends it."""
    printed = command_json(web.site.folder, "web", "login", "--name", "Anna B", "--role", "operator", "--days", "1")
    assert printed["url"].startswith(f"{web.address}/login#rc_")
    code = printed["url"].partition("#")[2]
    browser = Visitor(web.address, None)
    answer = browser.ask("POST", f"{API}/session", json={"code": code})
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    signed_in = browser.get(f"{API}/me")
    assert (signed_in["role"], signed_in["label"]) == ("operator", "Anna B")
    again = Visitor(web.address, None)
    assert again.ask("POST", f"{API}/session", json={"code": code}).status_code == 403
    value = browser.session.cookies["rollcall"]
    assert browser.ask("DELETE", f"{API}/session").status_code == 204
    browser.session.cookies.set("rollcall", value)
    assert browser.ask("GET", f"{API}/me").status_code == 401


def test_a_link_without_a_name_has_that_of_whoever_types(web: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind sudo, of whoever called it; in the list of who may come in, too."""
    for caller, expected in (("anna", "anna"), (None, getpass.getuser())):
        monkeypatch.delenv("SUDO_USER", raising=False)
        if caller is not None:
            monkeypatch.setenv("SUDO_USER", caller)
        code = command_json(web.site.folder, "web", "login")["url"].partition("#")[2]
        browser = Visitor(web.address, None)
        browser.ask("POST", f"{API}/session", json={"code": code}).raise_for_status()
        assert browser.get(f"{API}/me")["label"] == expected


def test_a_password_signs_in_and_a_wrong_one_is_braked(tmp_path: Path) -> None:
    """Five tries a minute for an address, also those that succeed; then 429 with the time to wait, and the right password has to wait, too."""
    with web_site(tmp_path) as web:
        done = command(tmp_path, "web", "password", "ada", "--role", "viewer")
        assert done.returncode == 2, "an empty password"
        subprocess.run(
            [sys.executable, str(SUPERVISOR), "web", "password", "ada"], input="correct horse battery\n", text=True,
            cwd=tmp_path, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        browser = Visitor(web.address, None)

        def sign_in(password: str) -> requests.Response:
            return browser.ask("POST", f"{API}/session", json={"name": "ada", "password": password})

        assert sign_in("correct horse battery").status_code == 200
        assert browser.get(f"{API}/me")["label"] == "ada"
        codes = [sign_in("wrong horse battery").status_code for _ in range(5)]
        assert codes == [403] * 4 + [429]
        late = sign_in("correct horse battery")
        assert late.status_code == 429
        assert 0 < int(late.headers["retry-after"]) <= 60
        command_json(tmp_path, "web", "access", "--revoke", "ada")
        assert command_json(tmp_path, "web", "access")["accesses"] == []


def test_a_token_is_made_used_and_taken_back(web: WebSite) -> None:
    """Shown once, kept as a hash, valid at once and invalid within seconds; `web token` makes the same."""
    admin = web.visitor(Role.ADMIN)
    made = admin.ask("POST", f"{API}/tokens", json={"label": "hr", "days": 1}).json()
    program = Visitor(web.address, made["token"])
    assert program.get(f"{API}/me") == {
        "role": "viewer",
        "label": "hr",
        "cameras": None,
        "expires_at": made["access"]["expires_at"],
    }
    listed = admin.get(f"{API}/tokens")
    assert made["access"]["id"] in [one["id"] for one in listed["accesses"]]
    assert made["token"] not in str(listed)
    assert admin.ask("DELETE", f"{API}/tokens/{made['access']['id']}").status_code == 204
    assert program.ask("GET", f"{API}/me").status_code == 401
    assert admin.ask("DELETE", f"{API}/tokens/{made['access']['id']}").status_code == 404
    of_shell = Visitor(web.address, command_json(web.site.folder, "web", "token", "prometheus")["token"])
    assert of_shell.get(f"{API}/me")["label"] == "prometheus"


def test_what_a_browser_is_sent_from_elsewhere_is_refused(web: WebSite) -> None:
    """Another name of this machine, and a post of another site's page."""
    assert requests.get(f"{web.address}/livez", headers={"Host": "evil.example"}, timeout=10).status_code == 421
    answer = requests.post(
        f"{web.address}{API}/session", json={"code": "x"}, headers={"Origin": "http://evil.example"}, timeout=10
    )
    assert answer.status_code == 403


def test_no_secret_is_in_the_log_or_in_the_database(web: WebSite) -> None:
    made = web.visitor(Role.ADMIN).ask("POST", f"{API}/tokens", json={"label": "canary"}).json()["token"]
    Visitor(web.address, made).ask("GET", f"{API}/me")
    secret = made.split("_", 2)[2].encode()
    for path in web.site.settings.data_dir.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path
    assert secret.decode() not in "\n".join(web.site.log)


def _faults_of(operation: Any, visitor: Visitor) -> set[str]:
    """What is not described in the answers to some fifty requests of one operation."""
    told: set[str] = set()

    @given(case=operation.as_strategy())
    @hypothesis_settings(
        max_examples=50, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    def ask(case: Any) -> None:
        answer = case.call(base_url=visitor.address, session=visitor.session)
        try:
            # Whether somebody else changed it meanwhile is not to be seen from a request.
            may_refuse = [positive_data_acceptance] if answer.status_code in (412, 428) else []
            case.validate_response(answer, excluded_checks=may_refuse)
        except FailureGroup as group:
            told.update(f"{answer.status_code}: {one}"[:300] for one in group.exceptions)

    ask()
    return told


def test_whatever_is_sent_is_answered_as_the_description_says(tmp_path: Path) -> None:
    """Each operation with some fifty requests made from the description, fitting and unfitting: every status, header and document of an
    answer is described, and none is a fault of ours."""
    with web_site(tmp_path) as web:
        save_references(web.site, "Ada", "Bo")
        admin = web.visitor(Role.ADMIN)
        schema = schemathesis.openapi.from_dict(admin.get("/openapi.json"))
        told: dict[str, set[str]] = {}
        for found in schema.get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]  # the description is sound: another test validates it
            if operation.path.endswith(("/stream", "/live", ".mjpeg", "/support-bundle")) or (
                operation.method,
                operation.path,
            ) == (
                "delete",
                f"{API}/session",
            ):
                continue  # these never end, take seconds each, or end what we are signed in with
            if faults := _faults_of(operation, admin):
                told[f"{operation.method} {operation.path}"] = faults
        assert told == {}
        assert not [line for line in web.site.log if "failed" in line]


# --- people and sightings -------------------------------------------------------------------------------------------


def test_people_are_paged_renamed_merged_and_undone(tmp_path: Path) -> None:
    """By ids that stay when the name changes."""
    with web_site(tmp_path) as web:
        save_references(web.site, "Ada", "Bo", "Cy")
        operator = web.visitor(Role.OPERATOR)
        first = operator.get(f"{API}/people?limit=2")
        assert [one["person"] for one in first["people"]] == ["Ada", "Bo"]
        rest = operator.get(f"{API}/people?limit=2&after={first['next']}")
        assert ([one["person"] for one in rest["people"]], rest["next"]) == (["Cy"], None)
        ada, bo = (one["id"] for one in first["people"])
        answer = operator.ask("PATCH", f"{API}/people/{ada}", json={"name": "Ada / Lovelace <script>"})
        assert answer.status_code in (200, 409), answer.text  # a name that can be no folder's is refused
        operator.ask("PATCH", f"{API}/people/{ada}", json={"name": "Ada L"}).raise_for_status()
        assert operator.get(f"{API}/people/{ada}")["person"] == "Ada L"
        assert operator.ask("POST", f"{API}/people/{bo}/merge", json={"into": ada}).json()["person"] == "Ada L"
        assert operator.ask("GET", f"{API}/people/{bo}").status_code == 404
        change = operator.get(f"{API}/people?limit=1")["last_change"]
        assert (change["before"], change["person"], change["merged"]) == ("Bo", "Ada L", True)
        undo = {"before": "Bo", "person": "Somebody"}
        assert operator.ask("POST", f"{API}/people/undo", json=undo).status_code == 409
        assert operator.ask("POST", f"{API}/people/undo", json=undo | {"person": "Ada L"}).json()["person"] == "Bo"
        assert operator.ask("POST", f"{API}/people/undo").status_code == 409, "nothing is left"
        references = operator.get(f"{API}/people/{ada}/references")["references"]
        refused = operator.ask(
            "PATCH", f"{API}/people/{ada}/references/{references[0]['id']}", json={"set_aside": "blurred"}
        )
        assert refused.status_code == 409
        assert refused.json()["errors"][0]["remedy"].startswith("forget the person")
        admin = web.visitor(Role.ADMIN)
        assert admin.ask("DELETE", f"{API}/people/{ada}").json()["references"] == 1
        assert admin.ask("GET", f"{API}/people/{ada}").status_code == 404


def test_sightings_are_searched_newest_first(web: WebSite) -> None:
    """By person, camera and kind, in pages; a visitor of one camera sees no other."""
    record(web.site, seen("Ada"), seen("Bo", "yard"), seen(camera="yard"), seen("Ada", "yard"))
    viewer = web.visitor(Role.VIEWER)

    def listed(query: str, who: Visitor = viewer) -> list[tuple[Any, str]]:
        return [(one["person"], one["camera"]) for one in who.get(f"{API}/events?{query}")["events"]]

    assert listed("limit=4") == [("Ada", "yard"), (None, "yard"), ("Bo", "yard"), ("Ada", "door")]
    assert listed("person=Ada&limit=2") == [("Ada", "yard"), ("Ada", "door")]
    assert listed("camera=yard&event=named&limit=2") == [("Ada", "yard"), ("Bo", "yard")]
    page = viewer.get(f"{API}/events?limit=3")
    assert listed(f"limit=1&before={page['before']}") == [("Ada", "door")]
    of_door = web.visitor(Role.VIEWER, ["door"])
    assert set(listed("limit=100", of_door)) == {("Ada", "door")}
    assert listed("camera=yard", of_door) == []


def test_a_stream_is_resumed_without_a_hole(web: WebSite) -> None:
    """By `Last-Event-ID`: what came in between, then what comes, each once, with the document of `events`."""
    viewer = web.visitor(Role.VIEWER)
    record(web.site, seen("Ada"))
    last = viewer.get(f"{API}/events?limit=1")["events"][0]
    record(web.site, seen("Bo"), seen("Cy"))
    with viewer.ask("GET", f"{API}/events/stream", headers={"Last-Event-ID": str(last["id"])}, stream=True) as answer:
        pieces = (one for one in read_stream(answer) if one[0] != "status")
        assert [next(pieces)[2]["person"] for _ in range(2)] == ["Bo", "Cy"]
        record(web.site, seen("Ada"))
        kind, number, document = next(pieces)
        assert (kind, document["person"]) == ("named", "Ada")
        assert number == document["id"] == last["id"] + 3
        assert document == viewer.get(f"{API}/events?limit=1")["events"][0] | {"site": document["site"]}


def test_a_stream_tells_what_is_not_kept_any_more(web: WebSite) -> None:
    """Whoever comes back after sightings were deleted is told between which ids they miss some."""
    save_references(web.site, "Dee", seed=5)
    viewer = web.visitor(Role.VIEWER)
    record(web.site, seen("Ada"))
    last = viewer.get(f"{API}/events?limit=1")["events"][0]["id"]
    record(web.site, seen("Dee"), seen("Ada"))
    client = SiteClient(web.site.settings.run_dir)
    client.ask(Forget("Dee"))
    client.close()
    with viewer.ask("GET", f"{API}/events/stream?after={last}", stream=True) as answer:
        pieces = (one for one in read_stream(answer) if one[0] != "status")
        assert next(pieces) == ("gap", None, {"after": last, "before": last + 2})
        assert next(pieces)[2]["person"] == "Ada"


def test_a_stream_ends_when_its_token_is_taken_back(web: WebSite) -> None:
    admin = web.visitor(Role.ADMIN)
    made = admin.ask("POST", f"{API}/tokens", json={"label": "short"}).json()
    with Visitor(web.address, made["token"]).ask("GET", f"{API}/events/stream", stream=True) as answer:
        pieces = read_stream(answer)
        assert next(pieces)[0] == "status"
        admin.ask("DELETE", f"{API}/tokens/{made['access']['id']}")
        assert [one for one in pieces if one[0] != "status"] == [], "it ends within its next status"


def test_a_stream_too_many_is_told_and_comes_in_when_one_ends(web: WebSite) -> None:
    """With as many as may be open."""
    viewer = web.visitor(Role.VIEWER)
    web.site.wait_for(lambda: "rollcall_event_streams 0.0" in viewer.ask("GET", "/metrics").text, "end of earlier ones")
    streams = []
    try:
        for _ in range(MAX_STREAMS):
            streams.append(viewer.ask("GET", f"{API}/events/stream", stream=True))
            streams[-1].raw.read(1)  # an iterator of requests would close the connection when it is dropped
        with viewer.ask("GET", f"{API}/events/stream", stream=True) as refused:
            assert (refused.status_code, refused.headers.get("Retry-After")) == (503, "5")
            assert refused.json()["type"] == "urn:rollcall:problem:not-now"
        streams.pop().close()

        def is_let_in() -> bool:
            with viewer.ask("GET", f"{API}/events/stream", stream=True) as answer:
                return answer.status_code == HTTPStatus.OK

        web.site.wait_for(is_let_in, "a place")
    finally:
        for one in streams:
            one.close()


# --- photos ---------------------------------------------------------------------------------------------------------


def test_a_photo_is_shown_small_and_made_anew(tmp_path: Path) -> None:
    """As a JPEG without what else was in the file; 204 where none is kept, where it is no photo, and where a row names another file."""
    with web_site(tmp_path) as web:
        folder = web.site.settings.faces_dir / "Ada"
        folder.mkdir(parents=True)
        Image.effect_noise((2000, 1000), 50).save(folder / "1.png", pnginfo=_secret_text())
        (folder / "2.jpg").write_bytes(b"no photo")
        client = SiteClient(web.site.settings.run_dir)
        paths = ["faces/Ada/1.png", "faces/Ada/2.jpg", "marks.key", "../site.toml", None]
        (web.site.settings.data_dir / "marks.key").touch()
        vectors = noise(np.random.default_rng(0), len(paths), 128)
        client.ask(Save([NewReference("Ada", path) for path in paths], vectors=vectors))
        client.close()
        operator = web.visitor(Role.OPERATOR)
        (ada,) = operator.get(f"{API}/people")["people"]
        where = f"{API}/people/{ada['id']}"
        references = operator.get(f"{where}/references")["references"]
        answers = [operator.ask("GET", f"{where}/references/{one['id']}/photo") for one in references]
        assert [one.status_code for one in answers] == [200, 204, 204, 204, 204]
        small = Image.open(io.BytesIO(answers[0].content))
        assert (small.format, small.size) == ("JPEG", (320, 160))
        assert b"a secret" not in answers[0].content
        assert answers[0].headers["Cache-Control"] == "private, no-store"
        assert operator.ask("GET", f"{where}/photo").content == answers[0].content
        assert operator.ask("GET", f"{API}/people/nobody/photo").status_code == 404
        exported = web.visitor(Role.ADMIN).ask("GET", f"{where}/export")
        with zipfile.ZipFile(io.BytesIO(exported.content)) as archive:
            names = archive.namelist()
        assert sorted(names) == ["person.json", "photos/1.png", "photos/2.jpg", "sightings.json"]


def _secret_text() -> PngInfo:
    info = PngInfo()
    info.add_text("Comment", "a secret")
    return info


# --- faults, health, metrics ----------------------------------------------------------------------------------------


def test_a_request_that_does_not_fit_is_explained_without_its_values(web: WebSite) -> None:
    """Every fault with its place, as RFC 9457 has it; a body that is too large is refused unread."""
    answer = web.visitor(Role.ADMIN).ask(
        "POST", f"{API}/tokens", json={"label": "", "role": "emperor-canary", "more": 1}
    )
    assert answer.status_code == 422
    document = answer.json()
    assert document["type"] == "urn:rollcall:problem:unfit"
    assert {one["pointer"] for one in document["errors"]} == {"/body/label", "/body/role", "/body/more"}
    assert "canary" not in answer.text
    large = web.visitor(Role.ADMIN).ask("POST", f"{API}/tokens", data=b"x" * (2 << 20))
    assert large.status_code == 413
    assert web.visitor(Role.VIEWER).ask("GET", "/static/../web.py").status_code == 404


def test_health_tells_what_the_supervisor_knows(tmp_path: Path) -> None:
    """Ready with everything well; not ready with a camera that gives no frames, and which one only to those who are signed in."""
    camera = f'[cameras.door]\nsource = "rtsp://127.0.0.1:{free_port()}/nothing"\n'
    with web_site(tmp_path, text=DLIB + camera) as web:
        anybody, viewer = web.visitor(None), web.visitor(Role.VIEWER)
        assert anybody.ask("GET", "/livez").text == "alive\n"
        # The writer's copy of the state is a second behind.
        web.site.wait_for(lambda: anybody.ask("GET", "/readyz").text == "not ready: camera\n", "what is missing")
        assert anybody.ask("GET", "/readyz").status_code == 503
        assert anybody.ask("GET", "/readyz?verbose=1").status_code == 401
        assert viewer.ask("GET", "/readyz?verbose=1").json()["checks"]["camera:door"] is False
        (shown,) = viewer.get(f"{API}/cameras")["cameras"]
        assert (shown["name"], shown["word"]) == ("door", "down")
        assert "source" not in shown
    with web_site(tmp_path) as web:
        anybody = web.visitor(None)
        web.site.wait_for(lambda: anybody.ask("GET", "/readyz").text == "ready\n", "readiness")


def test_metrics_have_no_name_of_a_person(web: WebSite) -> None:
    """The families of the site, of the processes and of the requests; to this machine without a token."""
    record(web.site, seen("Ada"))
    text = web.visitor(None).ask("GET", "/metrics").text
    for line in (
        "rollcall_gallery_people 3.0",
        'rollcall_process_up{process="writer"} 1.0',
        "rollcall_store_writable 1.0",
        'rollcall_sightings_total{camera="door",event="named"}',
        "rollcall_build_info{",
    ):
        assert line in text
    assert "Ada" not in text
    assert f'route="{API}/events"' in text


# --- the process ----------------------------------------------------------------------------------------------------


def test_it_stops_in_time_with_open_streams(tmp_path: Path) -> None:
    """SIGTERM with streams that nobody reads: the site ends in order."""
    with web_site(tmp_path) as web:
        viewer = web.visitor(Role.VIEWER)
        streams = [viewer.ask("GET", f"{API}/events/stream", stream=True) for _ in range(5)]
        assert web.site.stop() == 0
        assert not [line for line in web.site.log if "killed" in line]
        for one in streams:
            one.close()


def test_it_is_replaced_when_it_falls_and_the_writer_too(tmp_path: Path) -> None:
    """A killed web process comes back; while the writer is replaced, answers are late or 503, and then right."""
    with web_site(tmp_path) as web:
        viewer = web.visitor(Role.VIEWER)
        os.kill(web.site.child_pid("web"), 9)
        web.site.wait_for_log("web: killed by SIGKILL; started again")
        web.site.wait_for(lambda: sum("web: listens on" in line for line in web.site.log) == 2, "second start")
        assert viewer.get(f"{API}/me")["role"] == "viewer"
        old = web.site.child_pid("writer")
        os.kill(old, 9)
        web.site.wait_for_new_pid("writer", old)
        web.site.wait_for(lambda: viewer.ask("GET", f"{API}/events").status_code == HTTPStatus.OK, "an answer")


def test_it_listens_on_a_socket_behind_a_proxy(tmp_path: Path) -> None:
    """`host = "unix:PATH"`: mode 0600, gone at the end; base_path and X-Forwarded headers are the proxy's."""
    path = tmp_path / "web.sock"
    (tmp_path / "site.toml").write_text(
        f'{DLIB}\n[web]\nenabled = true\nhost = "unix:web.sock"\nhosts = ["site.example"]\nbase_path = "/rollcall"\n',
        encoding="utf-8",
    )

    def ask(where: str, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("site.example")
        connection.sock = sockets.socket(sockets.AF_UNIX)
        connection.sock.connect(str(path))
        connection.request("GET", where, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        site.wait_for_log("web: listens on")
        assert path.stat().st_mode & 0o777 == 0o600
        assert ask("/rollcall/livez") == (200, "alive\n")
        assert ask("/livez") == (200, "alive\n"), "a proxy may also cut the base path off"
        assert ask(f"/rollcall{API}/me")[0] == 401
        assert site.stop() == 0
    assert not path.exists()


def test_tls_with_the_certificate_that_it_makes(tmp_path: Path) -> None:
    """`web certificate` makes it, 0600, and prints its fingerprint; the cookie is then for this host and TLS only."""
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    made = command_json(tmp_path, "web", "certificate")
    assert Path(made["key"]).stat().st_mode & 0o777 == 0o600
    port = free_port()
    (tmp_path / "site.toml").write_text(
        f'{DLIB}\n[web]\nenabled = true\nport = {port}\ncertificate = "{made["certificate"]}"\nkey = "{made["key"]}"\n',
        encoding="utf-8",
    )
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        site.wait_for_log(f"web: listens on https://127.0.0.1:{port}")
        shown = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))
        assert hashlib.sha256(shown).hexdigest() == made["sha256"].replace(":", "").lower()
        made = command_json(tmp_path, "web", "certificate")
        site.wait_for_log("certificate is in use")
        shown = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))
        assert hashlib.sha256(shown).hexdigest() == made["sha256"].replace(":", "").lower(), "renewed without a restart"
        url = command_json(tmp_path, "web", "login")["url"]
        assert url.startswith(f"https://127.0.0.1:{port}/login#")
        answer = requests.post(
            f"https://127.0.0.1:{port}{API}/session", json={"code": url.partition("#")[2]}, timeout=10,
            headers={"Sec-Fetch-Site": "same-origin"}, verify=made["certificate"],
        )  # fmt: skip
        assert answer.status_code == 200
        assert answer.headers["set-cookie"].startswith("__Host-rollcall=")
        assert "Secure" in answer.headers["set-cookie"]
        assert answer.headers["strict-transport-security"]


def test_a_link_needs_a_site_and_an_enabled_web_part(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    done = command(tmp_path, "web", "login")
    assert done.returncode == 78
    assert "enabled = true" in done.stderr
    (tmp_path / "site.toml").write_text(f"{DLIB}\n[web]\nenabled = true\n", encoding="utf-8")
    done = command(tmp_path, "web", "login")
    assert done.returncode == 1
    assert "no site runs" in done.stderr


def test_rules_and_board_name_metrics_that_there_are(web: WebSite) -> None:
    """Each metric in deploy/prometheus is one of the program's."""
    camera = CameraStatus(up=True, threshold=0.5, strangers_estimated=0.001, age_p50_ms=1.0, age_p95_ms=2.0)
    known = SiteStatus(
        site=SiteSnapshot("test", os.getpid(), True, 1.0, cameras={"door": camera}),
        gallery=SiteClient(web.site.settings.run_dir).ask(Info()),
    )
    counters = Counters()
    counters.take_sighting(Sighting.from_json({**seen("Ada"), "id": 1}))
    counters.take_answer(Seen("GET", "/", 200, 0.1))
    (web.site.settings.data_dir / "face_embeddings.backup.db").touch()
    told = {
        line.split("{")[0].split(" ")[0]
        for line in exposition(known, web.site.settings, counters, "1").decode().splitlines()
    }
    for path in (ROOT / "deploy" / "prometheus").iterdir():
        used = set(re.findall(r"\brollcall_[a-z_]+", path.read_text(encoding="utf-8")))
        assert used, path
        assert used - told == set(), path


def test_whoever_is_known_goes_on_while_somebody_guesses(tmp_path: Path) -> None:
    """Sixty wrong tokens from an address within a minute: from there a new one has to wait, and who is signed in does not."""
    with web_site(tmp_path) as web:
        known, late = web.visitor(Role.VIEWER), web.visitor(Role.VIEWER)
        assert known.get(f"{API}/me")["role"] == "viewer"
        guesses = [Visitor(web.address, new_secret().shown).ask("GET", f"{API}/me").status_code for _ in range(61)]
        assert guesses == [401] * 60 + [429]
        assert late.ask("GET", f"{API}/me").status_code == 429
        assert known.get(f"{API}/me")["role"] == "viewer"
