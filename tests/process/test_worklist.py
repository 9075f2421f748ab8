"""The worklist of the people, in a running site: found beside it, answered, remembered."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from shared.ipc.client import SiteClient
from shared.ipc.requests.references import Save
from shared.photos.reading import read_photo
from shared.records import NewReference, Role
from shared.uuid7 import new_uuids
from tests.support.paths import FACES, needs_data, needs_dlib
from tests.support.site_process import command, command_json
from tests.support.vectors import noise, unit
from tests.support.web_site import Visitor, WebSite, web_site
from workers.recognition.face_picture import as_jpeg

pytestmark = needs_dlib
API = "/api/v1"


def save(web: WebSite, people: dict[str, NDArray[np.float32]]) -> None:
    """Save references, (n, 128) for each of these names."""
    names = [name for name, rows in people.items() for _ in rows]
    references = [NewReference(name, uuid=uuid) for name, uuid in zip(names, new_uuids(len(names)), strict=True)]
    client = SiteClient(web.site.settings.run_dir, patience_s=30)
    client.ask(Save(references, vectors=np.concatenate(list(people.values()))))
    client.close()


def photos(rng: np.random.Generator, centre: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """References of one person: cosines of some .97."""
    return unit(centre + noise(rng, count, 128) * np.float32(0.17))


def enrolled(web: WebSite) -> None:
    """Ten people who are nobody else; Ada under two names; Bo, of whose references one shows somebody else; Cy with one."""
    rng = np.random.default_rng(2)
    people = {f"person {n}": photos(rng, noise(rng, 1, 128), 3) for n in range(10)}
    ada = noise(rng, 1, 128)
    people |= {"Ada": photos(rng, ada, 3), "Ada Lovelace": photos(rng, ada, 3)}
    people["Bo"] = np.concatenate([photos(rng, noise(rng, 1, 128), 3), noise(rng, 1, 128)])
    save(web, people | {"Cy": noise(rng, 1, 128)})


def looked(web: WebSite, who: Visitor) -> dict[str, Any]:
    """The worklist, once it is of the people as they are."""
    found: dict[str, Any] = {}

    def is_there() -> bool:
        found.update(who.get(f"{API}/worklist"))
        return not found["looking"]

    web.site.wait_for(is_there, "worklist")
    assert found["fault"] is None
    return found


def pairs_of(page: dict[str, Any]) -> list[list[str]]:
    return [sorted(one["person"] for one in pair["people"]) for pair in page["pairs"]]


_ADAS = ["Ada", "Ada Lovelace"]


def test_different_is_remembered(tmp_path: Path) -> None:
    """A pair marked as different is gone at once, comes back when that is taken back, and stays away after a restart; `calibrate` takes it for
    two people, too. A repeated answer changes nothing. The command finds the same."""
    with web_site(tmp_path) as web:
        enrolled(web)
        operator = web.visitor(Role.OPERATOR, ["door"])
        page = looked(web, operator)
        assert pairs_of(page) == [_ADAS]
        assert [one["person"]["person"] for one in page["odd"]] == ["Bo"]
        assert ([one["person"] for one in page["single"]], page["single_found"]) == (["Cy"], 1)
        printed = command_json(tmp_path, "worklist")
        assert [pair["references"] for pair in printed["pairs"]] == [page["pairs"][0]["references"]]
        assert "one person under two names?" in command(tmp_path, "worklist").stdout
        one, other = (person["id"] for person in page["pairs"][0]["people"])
        where, body = f"{API}/people/{one}/different", {"person": other}
        assert operator.ask("POST", where, json={"person": one}).status_code == 409
        assert operator.ask("POST", where, json={"person": "nobody"}).status_code == 404
        key = {"Idempotency-Key": "different-1"}
        assert operator.ask("POST", where, json=body, headers=key).json() == {"already": False, "warning": None}
        assert operator.ask("POST", where, json=body, headers=key).json() == {"already": False, "warning": None}
        assert operator.ask("POST", where, json=body).json()["already"] is True
        assert pairs_of(operator.get(f"{API}/worklist")) == []
        assert operator.ask("DELETE", f"{API}/people/{other}/different/{one}").json()["already"] is False
        assert pairs_of(operator.get(f"{API}/worklist")) == [_ADAS]
        operator.ask("POST", where, json=body).raise_for_status()
    with web_site(tmp_path) as web:
        operator = web.visitor(Role.OPERATOR)
        page = looked(web, operator)
        assert (pairs_of(page), len(page["odd"])) == ([], 1)
        assert [pair["one_person"] for pair in command_json(tmp_path, "calibrate")["look_alikes"][:1]] == [False]


def test_what_is_answered_or_forgotten_is_gone_at_once(tmp_path: Path) -> None:
    """Merged: no pair, until that is undone. Set aside: not odd. Forgotten: in no answer, and what comes later is found by itself."""
    with web_site(tmp_path) as web:
        enrolled(web)
        admin = web.visitor(Role.ADMIN)
        page = looked(web, admin)
        one, other = (person["id"] for person in page["pairs"][0]["people"])
        admin.ask("POST", f"{API}/people/{one}/merge", json={"into": other}).raise_for_status()
        assert pairs_of(admin.get(f"{API}/worklist")) == []
        admin.ask("POST", f"{API}/people/undo").raise_for_status()
        assert pairs_of(looked(web, admin)) == [_ADAS]
        (odd,) = page["odd"]
        place = f"{API}/people/{odd['person']['id']}/references/{odd['reference']}"
        admin.ask("PATCH", place, json={"set_aside": "somebody else"}).raise_for_status()
        assert admin.get(f"{API}/worklist")["odd"] == []
        admin.ask("PATCH", place, json={"set_aside": None}).raise_for_status()
        assert [one["reference"] for one in looked(web, admin)["odd"]] == [odd["reference"]]
        for person in (odd["person"]["id"], one, page["single"][0]["id"]):
            admin.ask("DELETE", f"{API}/people/{person}").raise_for_status()
        left = admin.get(f"{API}/worklist")
        assert (left["pairs"], left["odd"], left["single"]) == ([], [], [])
        rng = np.random.default_rng(9)
        save(web, {"Dee": noise(rng, 1, 128)})
        assert [one["person"] for one in looked(web, admin)["single"]] == ["Dee"]


def test_what_is_right_is_remembered(tmp_path: Path) -> None:
    """An odd photo that is right is gone at once, from the command and from `calibrate` too, and after a restart. Taken back, it is there again,
    though nothing else has changed."""
    with web_site(tmp_path) as web:
        enrolled(web)
        operator = web.visitor(Role.OPERATOR)
        (odd,) = looked(web, operator)["odd"]
        person, reference = odd["person"], odd["reference"]
        place = f"{API}/people/{person['id']}/references/{reference}"
        assert "unlike the others" in command(tmp_path, "worklist").stdout
        assert len(command_json(tmp_path, "calibrate")["disagrees"]) == 1
        answer = operator.ask("PATCH", place, json={"right": True}).json()
        assert (answer["id"], answer["already"], answer["reason"]) == (reference, False, None)
        assert operator.ask("PATCH", place, json={"right": True}).json()["already"] is True
        for wrong in ({}, {"right": None}, {"right": True, "set_aside": None}, {"right": "perhaps"}):
            assert operator.ask("PATCH", place, json=wrong).status_code == 422
        assert operator.get(f"{API}/worklist")["odd"] == []
        told = {
            one["id"]: one["right_since"]
            for one in operator.get(f"{API}/people/{person['id']}/references")["references"]
        }
        assert told.pop(reference) == answer["right_since"]
        assert set(told.values()) == {None}
        assert command_json(tmp_path, "calibrate")["disagrees"] == []
    with web_site(tmp_path) as web:
        operator = web.visitor(Role.OPERATOR)
        assert looked(web, operator)["odd"] == []
        assert command_json(tmp_path, "worklist")["odd"] == []
        assert operator.ask("PATCH", place, json={"right": False}).json()["right_since"] is None
        assert [one["reference"] for one in looked(web, operator)["odd"]] == [reference]


@needs_data
def test_who_is_shown_from_one_side_only_is_told(tmp_path: Path) -> None:
    """Real photos, enrolled by command, by many processes, and by the web part: each reference tells its side, and the worklist who is shown
    from the left only, until a photo from the right is enrolled."""
    people = FACES / "lfw_dev" / "people"
    left = sorted((people / "Don_Nickles").iterdir())
    for photo in (*left, *sorted(people.glob("Aaron_*/*"))[:10]):
        (tmp_path / "photos" / photo.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / "photos" / photo.parent.name / photo.name)
    mirrored = read_photo(left[0])[:, ::-1]
    with web_site(tmp_path) as web:
        command_json(tmp_path, "enrol", str(tmp_path / "photos"))
        operator = web.visitor(Role.OPERATOR)
        listed = {one["person"]: one["id"] for one in operator.get(f"{API}/people")["people"]}
        person = listed["Don_Nickles"]
        place = f"{API}/people/{person}/references"
        assert [one["side"] for one in operator.get(place)["references"]] == ["left", "left"]
        assert "turned left, since" in command(tmp_path, "people", "Don_Nickles", "--references").stdout
        (told,) = (one for one in looked(web, operator)["one_sided"] if one["person"]["person"] == "Don_Nickles")
        assert (told["side"], told["missing"]) == ("left", ["front", "right"])
        assert "Don_Nickles (left)" in command(tmp_path, "worklist").stdout
        given = [("photo", ("photo", as_jpeg(np.ascontiguousarray(mirrored), 95)))]
        operator.session.post(f"{operator.address}{place}", files=given, timeout=150).raise_for_status()
        sides = [one["side"] for one in operator.get(place)["references"]]
        assert sides == ["left", "left", "right"]
        assert "Don_Nickles" not in [one["person"]["person"] for one in operator.get(f"{API}/worklist")["one_sided"]]
        assert "Don_Nickles" not in [one["person"]["person"] for one in looked(web, operator)["one_sided"]]


def test_a_search_ends_with_the_site(tmp_path: Path) -> None:
    """The web process is stopped while it runs: its child ends with it, and the site stops in order."""
    with web_site(tmp_path) as web:
        enrolled(web)
        operator = web.visitor(Role.OPERATOR)
        assert operator.get(f"{API}/worklist")["looking"] is True
        children = psutil.Process(web.site.child_pid("web")).children(recursive=True)
        assert children
        web.site.stop()
        gone, alive = psutil.wait_procs(children, timeout=10)
        assert (len(gone), alive) == (len(children), [])
