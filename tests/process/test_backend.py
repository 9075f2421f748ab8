"""A running backend on a real database: the plain wire of old clients, ours, tokens, limits. Real processes, real HTTP."""

from __future__ import annotations

import gzip
import json
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.support.hub import MODEL, Backend, Client, batch, deleted, now_revision, plain, reference, unit_vector
from tests.support.mongodb import mongodb, needs_mongodb
from tests.support.web_site import free_port

pytestmark = needs_mongodb


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Backend, Backend]]:
    """Two in front of one database."""
    folder = tmp_path_factory.mktemp("hub")
    with (
        mongodb(folder / "db") as uri,
        Backend(folder / "a", uri) as one,
        Backend(folder / "b", uri, "max_body_bytes = 200_000") as two,
    ):
        yield one, two


@pytest.fixture
def one(backends: tuple[Backend, Backend]) -> Client:
    return backends[0].client()


@pytest.fixture
def two(backends: tuple[Backend, Backend]) -> Client:
    """The other backend. It takes 200 kB at most."""
    return backends[1].client()


@pytest.fixture
def origin() -> str:
    return secrets.token_urlsafe(8)


_numbers = iter(range(1000, 10**6, 100))


@pytest.fixture
def first() -> int:
    """Numbers of references that no other test has: the hundred from here."""
    return next(_numbers)


def of(items: list[dict[str, Any]], first: int) -> dict[str, dict[str, Any]]:
    """Those of a test, by id."""
    wanted = {str(uuid.UUID(int=number)) for number in range(first, first + 100)}
    return {one["id"]: one for one in items if one["id"] in wanted}


# --- the plain wire --------------------------------------------------------------------------------------------------


def test_a_plain_client_gets_what_it_sent(one: Client, two: Client, first: int) -> None:
    """From either backend, with its own names of fields, and once, however often it is sent."""
    sent = [plain(first), plain(first + 1, image_path=None)]
    camel = {
        "personName": f"P{first + 2}",
        "embedding": plain(first + 2)["embedding"],
        "imagePath": "x.jpg",
        "userId": "u",
    }
    for client in (one, two, one):
        answer = client.push({"embeddings": [*sent, camel]})
        assert (answer["success"], answer["count"]) == (True, 3)
        assert isinstance(answer["message"], str)
    for client in (one, two):
        mine = {
            item["person_name"]: item
            for item in client.plain()
            if item["person_name"] in {f"P{first + n}" for n in range(3)}
        }
        assert len(mine) == 3
        for number in range(3):
            got = mine[f"P{first + number}"]
            assert set(got) == {"person_name", "embedding", "image_path", "user_id"}
            assert np.allclose(got["embedding"], unit_vector(first + number), atol=1e-6)
        assert mine[f"P{first + 2}"]["user_id"] == "u"
        assert mine[f"P{first + 1}"]["image_path"] is None
    assert len([item for item in one.plain() if item["person_name"] == f"P{first}"]) == 1


def test_a_changed_photo_replaces_the_earlier_one(one: Client, two: Client, first: int) -> None:
    """The same name and path with another vector is a new version of the same reference, through whichever backend it comes."""
    one.push({"embeddings": [plain(first)]})
    two.push({"embeddings": [plain(first, embedding=plain(first + 1)["embedding"])]})
    (mine,) = [item for item in one.plain() if item["person_name"] == f"P{first}"]
    assert np.allclose(mine["embedding"], unit_vector(first + 1), atol=1e-6)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"embeddings": 5}', b"[]", b"", b"no json", b'{"embeddings": [NaN]}', b"[" * 5000, b"\xff"]
)
def test_a_body_without_the_array_is_refused(one: Client, body: bytes) -> None:
    """400 in the plain form."""
    answer = one.ask("POST", "/face/sync-embeddings", data=body)
    assert answer.status_code == 400
    assert answer.json()["success"] is False
    assert isinstance(answer.json()["message"], str)


def test_a_plain_item_that_is_unfit_holds_up_no_other(one: Client, first: int) -> None:
    """It is named as refused, with the reason."""
    bad = plain(first, embedding=[0.0] * 128)
    answer = one.push({"embeddings": [bad, plain(first + 1), 5, plain(first + 2, person_name="")]})
    assert answer["count"] == 1
    assert [item["reason"] for item in answer["refused"]] == [
        "its embedding is zero", "is no object", "its person_name is empty",
    ]  # fmt: skip


def test_what_is_deleted_stays_deleted_for_plain_clients(one: Client, origin: str, first: int) -> None:
    """A plain client sends its whole list again and again. That brings nothing back."""
    one.push({"embeddings": [plain(first), plain(first + 1)]})
    mine = next(item for item in one.pull_all() if item.get("person_name") == f"P{first}")
    gone = {"kind": "deleted", "id": mine["id"], "revision": now_revision(), "seq": 1, "deleted": True}
    one.push(batch(origin, 0, [gone], None, "x"))
    assert one.push({"embeddings": [plain(first), plain(first + 1)]})["count"] == 1
    names = [item["person_name"] for item in one.plain()]
    assert f"P{first}" not in names
    assert f"P{first + 1}" in names


# --- ours ------------------------------------------------------------------------------------------------------------


def test_a_batch_is_there_for_everybody_and_a_page_goes_on(one: Client, two: Client, origin: str, first: int) -> None:
    """Sent to one backend, read from the other, in pages, each item once, in the order of seq. What the site sent is what others get."""
    start = two.pull_all()
    position = ""
    while (page := two.pull(position))["more"]:
        position = page["position"]
    position = page["position"]
    sent = [reference(first + n, 2 * n + 1) for n in range(7)]
    answer = one.push(batch(origin, 0, sent, None, "x"))
    assert (answer["count"], answer["seq"], answer["refused"]) == (7, 13, [])
    read: list[dict[str, Any]] = []
    while True:
        page = two.pull(position, limit=3)
        assert len(page["embeddings"]) <= 3
        read += page["embeddings"]
        position = page["position"]
        if not page["more"]:
            break
    assert [item["seq"] for item in read] == [1, 3, 5, 7, 9, 11, 13]
    for item, was in zip(read, sent, strict=True):
        assert item.pop("origin") == origin
        assert item.pop("updated_at").endswith("Z")
        assert item == was
    assert f"{origin}:13" in position
    assert two.pull(position)["embeddings"] == []
    assert len(two.pull_all()) == len(start) + 7


def test_the_readers_own_origin_is_left_out(one: Client, origin: str, first: int) -> None:
    """By naming a number of its own in the position; a page keeps it."""
    one.push(batch(origin, 0, [reference(first, 1)], None, "x"))
    others = one.pull_all()
    named = f"{origin}:{(1 << 53) - 1}"
    assert len(one.pull_all(named)) == len(others) - 1
    assert named in one.pull(named)["position"]


def test_other_models_are_left_out(one: Client, origin: str, first: int) -> None:
    """Of a reference under two models a reader gets its own model's; the position passes the other one."""
    other = "cd" * 32
    sent = [reference(first, 1), reference(first, 2, model=other), reference(first + 1, 3, model=other)]
    one.push(batch(origin, 0, sent, None, "x"))
    assert {item["model"] for item in of(one.pull_all(), first).values()} == {MODEL}
    assert len(of(one.pull_all(model=other), first)) == 2
    assert f"{origin}:3" in one.pull(limit=1000)["position"]


def test_the_newest_version_counts_whoever_sends_it_when(one: Client, two: Client, first: int) -> None:
    """Two sites change one reference. Whatever comes first, the greater revision is what a new reader gets, and only that is kept."""
    early, late = secrets.token_urlsafe(8), secrets.token_urlsafe(8)
    now = now_revision()
    one.push(batch(late, 0, [reference(first, 1, revision=now + 5, person_name="Late")], None, "x"))
    two.push(batch(early, 0, [reference(first, 1, revision=now + 4, person_name="Early")], None, "x"))
    (mine,) = [item for item in one.pull_all() if item["id"] == str(uuid.UUID(int=first))]
    assert mine["person_name"] == "Late"
    assert [item for item in one.plain() if item["person_name"] == "Early"] == []


def test_a_deletion_wins_over_every_save(one: Client, two: Client, first: int) -> None:
    """An older one, one of another model, and one that comes later with a greater revision. What stays has no name."""
    saving, deleting = secrets.token_urlsafe(8), secrets.token_urlsafe(8)
    two.push(batch(saving, 0, [reference(first, 1), reference(first, 2, model="cd" * 32)], None, "x"))
    one.push(batch(deleting, 0, [deleted(first, 1, revision=5)], None, "x"))
    two.push(batch(saving, 2, [reference(first, 3)], "x", "y"))
    for model in (MODEL, "cd" * 32):
        (mine,) = [item for item in one.pull_all(model=model) if item["id"] == str(uuid.UUID(int=first))]
        assert mine["kind"] == "deleted"
        assert "person_name" not in mine
    assert [item for item in two.plain() if item["person_name"] == f"P{first}"] == []


def test_a_batch_sent_again_is_there_once(one: Client, two: Client, origin: str, first: int) -> None:
    """Its answer was lost: the same answer comes again, from the other backend, too."""
    sent = batch(origin, 0, [reference(first, 1), reference(first + 1, 2)], None, "x")
    answers = [client.push(sent) for client in (one, two, one)]
    assert answers[0] == answers[1] == answers[2]
    assert len(of(one.pull_all(), first)) == 2


def test_a_gap_is_told(one: Client, origin: str, first: int) -> None:
    """A hub that has less than the site thinks says how far it is, and with which lineage; the site goes on from there."""
    one.push(batch(origin, 0, [reference(first, 1)], None, "x"))
    told = one.push(batch(origin, 5, [reference(first + 1, 6)], "y", "z"), expect=409)
    assert (told["success"], told["reason"], told["seq"], told["lineage"]) == (False, "gap", 1, "x")
    one.push(batch(origin, told["seq"], [reference(first + 1, 6)], told["lineage"], "z"))
    assert len(of(one.pull_all(), first)) == 2


def test_a_copy_of_a_store_is_found_out(one: Client, two: Client, origin: str, first: int) -> None:
    """It has a lineage that the hub has left behind. Nothing that it sends is stored; nor under an origin of another site."""
    one.push(batch(origin, 0, [reference(first, 1)], None, "x"))
    one.push(batch(origin, 1, [reference(first + 1, 2)], "x", "y"))
    told = two.push(batch(origin, 1, [reference(first + 2, 2)], "x", "other"), expect=409)
    assert (told["success"], told["reason"]) == (False, "fork")
    assert set(of(one.pull_all(), first)) == {str(uuid.UUID(int=first)), str(uuid.UUID(int=first + 1))}


def test_what_is_refused_is_named_and_holds_up_no_other(one: Client, origin: str, first: int) -> None:
    """A stamp of tomorrow, a wrong norm, a bad name. The origin's number goes on past them."""
    tomorrow = now_revision() + (86_400_000 << 10)
    sent = [
        reference(first, 1, revision=tomorrow),
        reference(first + 1, 2, dim=5),
        reference(first + 2, 3, person_name="a/b"),
        reference(first + 3, 4),
    ]
    answer = one.push(batch(origin, 0, sent, None, "x"))
    assert (answer["count"], answer["seq"]) == (1, 4)
    assert [item["id"] for item in answer["refused"]] == [str(uuid.UUID(int=first + n)) for n in range(3)]
    assert list(of(one.pull_all(), first)) == [str(uuid.UUID(int=first + 3))]


@pytest.mark.parametrize(
    "change",
    [{"origin": "short"}, {"after": -1}, {"after": 2, "through": 2}, {"through": 1 << 53}, {"through": True}, {"next_lineage": None},
     {"next_lineage": ""}, {"lineage": 5}],
)  # fmt: skip
def test_a_batch_that_is_none_is_refused(one: Client, origin: str, first: int, change: dict[str, Any]) -> None:
    """As a whole: 400, and nothing of it is stored."""
    one.push({**batch(origin, 0, [reference(first, 1)], None, "x"), **change}, expect=400)
    assert of(one.pull_all(), first) == {}


def test_nothing_new_is_a_small_answer_without_a_body(one: Client, origin: str, first: int) -> None:
    """304, under 1 KB each way; and 200 as soon as something is new."""
    one.push(batch(origin, 0, [reference(first, 1)], None, "x"))
    answer = one.ask("GET", "/face/all-embeddings", params={"position": "", "model": MODEL})
    while answer.json()["more"]:
        answer = one.ask("GET", "/face/all-embeddings", params={"position": answer.json()["position"], "model": MODEL})
    asked = {
        "params": {"position": answer.json()["position"], "model": MODEL},
        "headers": {"If-None-Match": answer.headers["ETag"]},
    }
    nothing = one.ask("GET", "/face/all-embeddings", **asked)
    assert (nothing.status_code, nothing.content) == (304, b"")
    assert sum(len(name) + len(value) + 4 for name, value in nothing.headers.items()) < 500
    one.push(batch(origin, 1, [reference(first + 1, 2)], "x", "y"))
    assert [item["seq"] for item in one.ask("GET", "/face/all-embeddings", **asked).json()["embeddings"]] == [2]


@pytest.mark.parametrize("writes", [0, 1])
def test_a_reader_waits_for_news(backends: tuple[Backend, Backend], origin: str, first: int, writes: int) -> None:
    """A change through the same backend or the other one is answered within 2 s. Without news the answer comes after the time."""
    reader, writer = backends[0].client(), backends[writes].client()
    position = ""
    while (page := reader.pull(position))["more"]:
        position = page["position"]
    position = page["position"]
    began = time.monotonic()
    assert reader.pull(position, wait=1)["embeddings"] == []
    assert 0.9 < time.monotonic() - began < 5
    got: list[tuple[float, Any]] = []
    waiting = threading.Thread(target=lambda: got.append((time.monotonic(), reader.pull(position, wait=30))))
    got.clear()

    def wait() -> None:
        page = reader.pull(position, wait=30)
        got.append((time.monotonic(), page))

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.5)  # it waits
    assert waiting.is_alive()
    writer.push(batch(origin, 0, [reference(first, 1)], None, "x"))
    written = time.monotonic()
    waiting.join(20)
    ((at, page),) = got
    assert [item["seq"] for item in page["embeddings"]] == [1]
    assert at - written < 2.0


def test_bodies_travel_packed(one: Client, origin: str, first: int) -> None:
    """gzip both ways: a request is unpacked, an answer packed where it is asked for."""
    body = gzip.compress(json.dumps(batch(origin, 0, [reference(first, 1)], None, "x")).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert one.ask("POST", "/face/sync-embeddings", data=body, headers=headers).json()["count"] == 1
    for path in ("/face/all-embeddings", "/face/all-embeddings?position="):
        packed = one.ask("GET", path, headers={"Accept-Encoding": "gzip"})
        bare = one.ask("GET", path, headers={"Accept-Encoding": "identity"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in bare.headers
        assert packed.json()["embeddings"] == bare.json()["embeddings"]
    for broken, status in ((body[:-9], 400), (b"nonsense", 400), (body + b"x", 400)):
        assert one.ask("POST", "/face/sync-embeddings", data=broken, headers=headers).status_code == status
    assert one.ask("POST", "/face/sync-embeddings", data=b"", headers={"Content-Encoding": "br"}).status_code == 415


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_beyond_the_limit_is_refused_and_the_answer_arrives(two: Client, packed: bool) -> None:
    """413 in the plain form, whether it is that large or becomes it when unpacked. Nothing is unpacked beyond the limit."""
    body = json.dumps({"embeddings": [], "filling": " " * (40_000_000 if packed else 1_000_000)}).encode()
    headers = {"Content-Type": "application/json"}
    if packed:
        body, headers = gzip.compress(body), {**headers, "Content-Encoding": "gzip"}
    answer = two.ask("POST", "/face/sync-embeddings", data=body, headers=headers)
    assert answer.status_code == 413
    assert answer.json()["success"] is False
    assert answer.json()["max_bytes"] == 200_000


@pytest.mark.parametrize(
    "query",
    ["position=x", "position=&limit=0", "position=&limit=1001", "position=&wait=56", "model=x", "position=&wait=nan"],
)
def test_parameters_that_do_not_fit_are_refused(one: Client, query: str) -> None:
    answer = one.ask("GET", f"/face/all-embeddings?{query}")
    assert answer.status_code == 400
    assert answer.json()["success"] is False


def test_what_is_not_there_is_answered_in_the_plain_form(one: Client) -> None:
    for method, path, status in (("GET", "/face/nothing", 404), ("DELETE", "/face/all-embeddings", 405)):
        answer = one.ask(method, path)
        assert (answer.status_code, answer.json()["success"]) == (status, False)


def test_each_site_is_told_who_has_read_what_it_sent(one: Client, origin: str, first: int) -> None:
    """Of its own origins, as far as the others have come."""
    one.push(batch(origin, 0, [deleted(first, 1)], None, "x"))
    one.pull(f"{origin}:1")
    (known,) = one.ask("GET", "/face/sites").json()["sites"]
    assert known["site"] == "local"
    assert f"{origin}:1" in known["confirmed"]
    assert known["seen_at"].endswith("Z")


# --- sightings -------------------------------------------------------------------------------------------------------


def sighting(number: int, **given: Any) -> dict[str, Any]:
    made = {
        "key": f"{secrets.token_hex(8)}-{number}", "id": number, "event": "named", "time": "2026-11-27T10:00:00.000Z", "camera": "door",
        "person": "Ada", "person_id": None, "person_hash": None, "score": 0.7, "box": [1, 2, 3, 4], "unknown": "stranger-3",
    }  # fmt: skip
    return {**made, **given}


def send_sightings(client: Client, origin: str, after: int, sightings: list[dict[str, Any]], expect: int = 200) -> Any:
    document = {"origin": origin, "after": after, "through": sightings[-1]["id"], "sightings": sightings}
    answer = client.ask("POST", "/sightings", json=document)
    assert answer.status_code == expect, answer.text
    return answer.json()


def sightings_of(client: Client, person: str) -> list[int]:
    found = client.ask("GET", "/sightings", params={"person": person}).json()["sightings"]
    return [one["id"] for one in found]


def test_sightings_are_there_once_and_in_order(one: Client, two: Client, origin: str) -> None:
    """However often and through whichever backend they are sent. Strangers, boxes and what nobody knows do not travel."""
    person = secrets.token_hex(4)
    sent = [sighting(number, person=person) for number in (1, 2, 5)]
    for client in (one, two, one):
        assert send_sightings(client, origin, 0, sent)["seq"] == 5
    send_sightings(two, origin, 5, [sighting(7, person=person)])
    assert sightings_of(one, person) == [1, 2, 5, 7]
    page = one.ask("GET", "/sightings", params={"person": person, "limit": 2}).json()
    assert [item["id"] for item in page["sightings"]] == [1, 2]
    assert page["more"] is True
    rest = two.ask("GET", "/sightings", params={"person": person, "after": page["position"]}).json()
    assert [item["id"] for item in rest["sightings"]] == [5, 7]
    assert rest["sightings"][0]["site"] == "local"
    assert not {"box", "unknown", "key"} & set(rest["sightings"][0])
    assert one.ask("GET", "/sightings", params={"person": person, "site": "elsewhere"}).json()["sightings"] == []
    assert send_sightings(one, origin, 9, [sighting(10)], expect=409)["reason"] == "gap"


def test_a_sighting_that_is_unfit_is_named(one: Client, origin: str) -> None:
    sent = [
        sighting(1, time="yesterday"),
        sighting(2, key=""),
        sighting(3, camera=None),
        sighting(4, score="x"),
        sighting(5),
    ]
    answer = send_sightings(one, origin, 0, sent)
    assert (answer["count"], len(answer["refused"])) == (1, 4)


def test_the_sightings_of_somebody_forgotten_are_gone(one: Client, two: Client, origin: str, first: int) -> None:
    """By the hash or the id of the person; also those that come late; not those of whoever was enrolled again since."""
    person, known = secrets.token_hex(4), secrets.token_hex(32)
    person_id = str(uuid.UUID(int=first))
    by_hash, by_id, other = (
        sighting(1, person=person, person_hash=known), sighting(2, person=person, person_id=person_id), sighting(3, person=person),
    )  # fmt: skip
    send_sightings(one, origin, 0, [by_hash, by_id, other])
    mark = {"kind": "forgotten", "id": str(uuid.uuid4()), "deleted": True, "person_hash": known, "person_id": person_id}
    forgotten = {**mark, "revision": now_revision(), "seq": 1}
    two.push(batch(origin, 0, [forgotten], None, "x"))
    assert sightings_of(one, person) == [3]
    late = [
        sighting(4, person=person, person_hash=known),
        sighting(5, person=person, person_hash=known, knows=forgotten["revision"]),
    ]
    send_sightings(one, origin, 3, late)
    assert sightings_of(two, person) == [3, 5]


# --- what it refuses, and how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Host": "evil.example:5000"},
        {"X-Forwarded-For": "192.0.2.7"},
    ],
)
def test_pages_in_a_browser_and_the_rest_of_the_world_are_not_answered(one: Client, headers: dict[str, str]) -> None:
    """A hub without tokens is for programs of its own machine."""
    answer = one.ask("GET", "/face/all-embeddings", headers=headers)
    assert answer.status_code in (401, 403)
    assert answer.json()["success"] is False


def test_it_stops_when_asked_and_lets_waiting_readers_go(tmp_path: Path) -> None:
    """A reader that waits gets its answer, and the process ends with 0. Another process takes over its origin for plain clients."""
    with mongodb(tmp_path / "db") as uri:
        with Backend(tmp_path / "a", uri) as backend:
            client = backend.client()
            client.push({"embeddings": [plain(1)]})
            position = client.pull()["position"]
            got: list[Any] = []
            waiting = threading.Thread(target=lambda: got.append(client.pull(position, wait=50)))
            waiting.start()
            waiting.join(0.5)
            assert waiting.is_alive()
            assert backend.stop() == 0
            waiting.join(10)
            assert got[0]["embeddings"] == []
        with Backend(tmp_path / "b", uri) as backend:
            client = backend.client()
            client.push({"embeddings": [plain(2)]})
            assert client.pull(position)["position"].split(":")[0] == position.split(":")[0]


def test_while_the_database_is_away_it_says_so(tmp_path: Path) -> None:
    """503 with Retry-After, in the plain form; nothing of the address but its host in the log. At the start: exit code 75."""
    port = free_port()
    uri = f"mongodb://somebody:geheim@127.0.0.1:{port}/x"
    backend = Backend(tmp_path / "a", uri).start()
    assert backend.process.wait(60) == 75
    assert f"127.0.0.1:{port}" in "".join(backend.log)
    assert "geheim" not in "".join(backend.log)
    assert len(backend.log) == 1


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        backend = Backend(tmp_path / "a", "mongodb://127.0.0.1:1/x")
        text = f"[backend]\nport = {taken.getsockname()[1]}\n"
        (tmp_path / "a" / "site.toml").write_text(text, encoding="utf-8")
        backend.start()
        assert backend.process.wait(60) == 75
        assert "listens there already" in "".join(backend.log)


def test_health_says_nothing_of_who_is_stored(one: Client) -> None:
    answer = requests.get(f"{one.address}/api/health", timeout=30)
    assert (answer.status_code, answer.json()) == (200, {"success": True, "status": "ok"})
