"""The page Review in a real browser, beside a camera that sees one person all the time."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from shared.events import iso_time
from shared.ipc.client import SiteClient
from shared.ipc.requests.sightings import Record
from shared.photos.reading import read_photo
from shared.records import Role
from tests.support.browser import Pages, Watched, browser, needs_browser
from tests.support.paths import astronaut, needs_dlib, six_faces
from tests.support.portraits import portrait_clip
from tests.support.stranger_events import seen, trace
from tests.support.vectors import noise
from tests.support.web_site import Visitor, WebSite, web_site
from workers.photos.embedding import embed_image

pytestmark = [needs_dlib, needs_browser]
API = "/api/v1"
_LONG_MS = 90_000
_KEYS = itertools.count()
_SITE = '[site]\nkeep_unknowns_days = 7\n[recognition]\nengine = "dlib"\n'


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("review")
    clip = portrait_clip(astronaut(), folder / "door.avi")
    camera = f'[cameras.door]\nsource = "{clip}"\nloop = true\nrealtime = true\n'
    with web_site(folder, text=_SITE + camera) as web, browser() as opened:
        yield Pages(web, opened)


@pytest.fixture
def admin(pages: Pages) -> Visitor:
    return pages.web.visitor(Role.ADMIN)


@pytest.fixture(autouse=True)
def nobody(pages: Pages) -> Iterator[None]:
    """Each test ends with an empty gallery, and without strangers."""
    yield
    visitor = pages.web.visitor(Role.ADMIN)
    for one in visitor.get(f"{API}/people")["people"]:
        visitor.ask("DELETE", f"{API}/people/{one['id']}").raise_for_status()
    for one in visitor.get(f"{API}/strangers")["strangers"]:
        visitor.ask("DELETE", f"{API}/strangers/{one['id']}").raise_for_status()


def enrol(visitor: Visitor, name: str) -> dict[str, Any]:
    answer = visitor.session.post(
        f"{visitor.address}{API}/people",
        files=[("photo", ("x", astronaut().read_bytes()))],
        data={"name": name},
        timeout=150,
    )
    answer.raise_for_status()
    person: dict[str, Any] = answer.json()["person"]
    return person


def record(web: WebSite, *events: dict[str, Any]) -> None:
    client = SiteClient(web.site.settings.run_dir, patience_s=30)
    client.ask(Record(list(events)))
    client.close()


def model_of(web: WebSite) -> dict[str, Any]:
    """What cameras send of their model."""
    from workers.models.opening import open_engine

    engine = open_engine(web.site.settings.engine_choice, det_size=640, threads=1)
    return {"fingerprint": engine.fingerprint, "alike": engine.threshold, "engine": engine}


def some_stranger(web: WebSite, seed: int) -> str:
    """Somebody else is seen at a camera that there is not; the id."""
    import io

    import numpy as np

    model = model_of(web)
    picture = io.BytesIO()
    Image.new("RGB", (80, 80), (90, 120, 40 * seed)).save(picture, "JPEG")
    vector = noise(np.random.default_rng(seed), 1, 128)[0]
    now = iso_time(time.time())
    record(web, seen(f"review-{next(_KEYS)}", trace(vector, photo=picture.getvalue()), camera="gate", track=seed, time=now,
                     fingerprint=model["fingerprint"], alike=model["alike"]))  # fmt: skip
    admin = web.visitor(Role.ADMIN)
    found = admin.get(f"{API}/strangers")["strangers"]
    made = str(next(one["id"] for one in reversed(found) if "gate" in one["cameras"]))
    # The door's camera may have met somebody in the moment before she was enrolled.
    for one in found:
        if one["id"] != made:
            admin.ask("DELETE", f"{API}/strangers/{one['id']}")
    return made


def doubtful(web: WebSite, person: str) -> None:
    """The face of the one at the door was nearly named."""
    model = model_of(web)
    vector = embed_image(model["engine"], read_photo(astronaut())).embedding
    now = iso_time(time.time())
    record(web, {
        "key": f"review-{next(_KEYS)}", "event": "left", "verdict": "uncertain", "time": now, "camera": "gate", "track": 1,
        "person": None, "user_id": None, "score": 0.9, "margin": 0.1, "frames": 2, "box": None, "media_time_s": None,
        "started": now, "ended": now, "duration_s": 1.0, "probe": base64.b64encode(vector.astype("<f4").tobytes()).decode(),
        "nearest": person, "clear": True, "fingerprint": model["fingerprint"], "alike": model["alike"],
    })  # fmt: skip


def wait_for_item(watched: Watched, text: str) -> None:
    watched.page.wait_for_selector(f".decide figcaption >> text={text}", timeout=_LONG_MS)


def test_a_correction_withholds_the_name_at_once(pages: Pages, admin: Visitor) -> None:
    """Somebody is named at the door; judged wrong on Review, with the keyboard, the name goes from the Live page, and comes back when that is
    taken back."""
    enrol(admin, "Eileen")
    doubtful(pages.web, "Eileen")
    with pages.page() as watched, pages.page() as live:
        live.open("live", ".tile .picture img")
        live.page.wait_for_selector(".box.named >> text=Eileen", timeout=_LONG_MS)
        watched.open("review", ".decide")
        wait_for_item(watched, "Uncertain")
        watched.page.keyboard.press("n")
        watched.page.wait_for_selector(".notices >> text=the name is withheld")
        live.page.wait_for_selector(".box.named", state="detached", timeout=15_000)
        watched.page.keyboard.press("u")
        wait_for_item(watched, "Uncertain")
        live.page.wait_for_selector(".box.named >> text=Eileen", timeout=_LONG_MS)
        assert (watched.said, live.said) == ([], [])


def test_a_stranger_becomes_a_person(pages: Pages, admin: Visitor) -> None:
    """The one at the door comes up by themselves; named with the keyboard alone, they are a person, and are named on the Live page."""
    pages.web.site.wait_for(lambda: admin.get(f"{API}/strangers")["strangers"], "stranger", deadline_s=60)
    with pages.page() as watched:
        watched.open("review", ".decide")
        watched.page.wait_for_selector(".decide .face.huge img")
        watched.page.keyboard.press("p")
        watched.page.wait_for_selector("dialog[open] input")
        assert watched.faults() == []
        watched.page.keyboard.type("Eileen Review")
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_selector(".notices >> text=This is Eileen Review now", timeout=_LONG_MS)
        assert [one["person"] for one in admin.get(f"{API}/people")["people"]] == ["Eileen Review"]
        watched.open("live", ".tile .picture img")
        watched.page.wait_for_selector(".box.named >> text=Eileen Review", timeout=_LONG_MS)
        assert watched.said == []


def test_a_stranger_joins_a_person_who_is_enrolled(pages: Pages, admin: Visitor) -> None:
    """*Yes* asks once more, since it can't be taken back: then the stranger's pictures are references of that person, and the sightings theirs."""
    pages.web.site.wait_for(lambda: admin.get(f"{API}/strangers")["strangers"], "stranger", deadline_s=60)
    photo = six_faces().read_bytes()
    faces = admin.session.post(f"{admin.address}{API}/assess", files=[("photo", ("x", photo))], timeout=150).json()[
        "photos"
    ][0]["faces"]
    box = ",".join(map(str, faces[1]["box"]))
    made = admin.session.post(
        f"{admin.address}{API}/people", files=[("photo", ("x", photo))], data={"name": "Ruby", "box": box}, timeout=150
    )
    assert made.status_code == 201, made.text
    with pages.page() as watched:
        watched.open("review", ".decide")
        wait_for_item(watched, "Ruby")
        watched.page.keyboard.press("y")
        watched.page.wait_for_selector("dialog[open] >> text=This is Ruby")
        assert admin.get(f"{API}/people")["people"][0]["references"] == 1, "nothing was done yet"
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_selector(".notices >> text=This is Ruby now", timeout=_LONG_MS)
        assert admin.get(f"{API}/people")["people"][0]["references"] > 1
        assert watched.said == []


def test_no_ignore_skip_and_undo_by_key(pages: Pages, admin: Visitor) -> None:
    """*No* leaves the pair alone for good, *ignore* the stranger, *skip* only for now; each but the last is taken back with U."""
    person = enrol(admin, "Eileen")
    one = some_stranger(pages.web, 1)

    def left() -> list[tuple[str, str | None]]:
        items = admin.get(f"{API}/review")["items"]
        found = [(one["stranger"]["id"], (one["person"] or {}).get("id")) for one in items if one["stranger"]]
        return [pair for pair in found if pair[0] == one]

    assert left() == [(one, person["id"])]
    with pages.page() as watched:
        press = watched.page.keyboard.press
        watched.open("review", ".decide")
        wait_for_item(watched, "Eileen")
        press("n")
        watched.page.wait_for_selector(".notices >> text=not proposed as one again")
        assert left() == [(one, None)]
        press("u")
        watched.page.wait_for_selector(".notices >> text=Taken back")
        wait_for_item(watched, "Eileen")
        assert left() == [(one, person["id"])]
        press("i")
        watched.page.wait_for_selector(".notices >> text=does not come up again")
        assert left() == []
        press("u")
        watched.page.wait_for_selector(".notices >> text=Taken back")
        wait_for_item(watched, "Eileen")
        press("s")
        watched.page.wait_for_selector("text=Nothing is left to decide")
        assert left() == [(one, person["id"])]
        assert watched.said == []


def test_a_swipe_answers_on_the_phone(pages: Pages, admin: Visitor) -> None:
    """To the left is no; a short one is nothing."""
    enrol(admin, "Eileen")
    some_stranger(pages.web, 2)
    with pages.page("phone", "dark") as watched:
        watched.open("review", ".decide")
        wait_for_item(watched, "Eileen")
        assert watched.faults() == []
        touch = watched.page.context.new_cdp_session(watched.page)

        def swipe(far: int) -> None:
            at = {"x": 200, "y": 200}
            touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
            for step in range(1, 6):
                moved = {"x": 200 + far * step // 5, "y": 200}
                touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [moved]})
            touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        swipe(-40)
        assert watched.page.locator(".notices p").count() == 0
        swipe(-150)
        watched.page.wait_for_selector(".notices >> text=not proposed as one again")
        assert watched.said == []
