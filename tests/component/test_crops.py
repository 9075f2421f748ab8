"""Pictures of sightings: which are kept, for how long, in which total size, and that they go with their person."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.gallery.files import remove_left_behind
from shared.ipc.requests.corrections import ForgetCorrection
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.gallery import Info
from shared.ipc.requests.model import Stage, SwitchModel
from shared.ipc.requests.people import Merge
from shared.ipc.requests.sightings import FindCrop, FindSightings, Record, Sightings
from shared.ipc.requests.strangers import ForgetStranger
from shared.model_id import ModelId
from shared.store import sighting_crops
from shared.store.copying import copy_to
from shared.store.references import list_references
from tests.component.test_corrections import ADA, BO, MODEL, Site, like
from tests.support.stores import bytes_under, everything, rows, store_in
from tests.support.stranger_events import seen, trace
from tests.support.vectors import noise

Vector = NDArray[np.float32]


def jpeg(mark: str, size: int = 0) -> bytes:
    """What passes for a JPEG, with a mark that can be looked for."""
    return b"\xff\xd8\xff\xe0" + f"a picture of {mark}".encode().ljust(size, b".") + b"\xff\xd9"


def text_of(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def stranger_seen(site: Site, vector: Vector, picture: bytes, track: int = 900) -> int:
    """A stranger with this face is seen; the id of the event."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}"
    event = seen(
        f"s{track}", trace(vector), time=now, track=track, fingerprint=MODEL, alike=0.45, picture=text_of(picture)
    )
    site.ask(Record([event]))
    return site.store.sightings.last_id()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """As in test_corrections, and strangers are kept for two days."""
    data = tmp_path / "data"
    data.mkdir()
    with store_in(data) as store:
        one = Site(data, store, keep_unknowns_days=2)
        one.enrol()
        yield one
        assert one.service.check() == []
        one.publisher.close()
    remove_left_behind(data / "run")


def with_pictures(site: Site) -> list[int]:
    return [sighting for (sighting,) in rows(site.store, "SELECT sighting FROM sighting_crops ORDER BY 1")]


def near_miss(site: Site, vector: Vector, picture: bytes) -> int:
    fields: dict[str, Any] = {"event": "left", "verdict": "uncertain", "nearest": "Ada", "picture": text_of(picture)}
    return site.seen(vector, None, **fields)


def test_a_picture_is_kept_beside_its_sighting(site: Site) -> None:
    """It is handed out with the sighting's camera; lists and followers learn of it, and none of them holds it."""
    event = site.seen(like(ADA, 0.6), picture=text_of(jpeg("Ada")))
    bare = site.seen(like(ADA, 0.6))
    found = site.ask(FindCrop(event))
    assert (found.camera, base64.b64decode(found.jpeg or "")) == ("door", jpeg("Ada"))
    assert (site.ask(FindCrop(bare)).jpeg, site.ask(FindCrop(10_000)).camera) == (None, None)
    assert [one.crop for one in site.service.new_sightings] == [None]
    for shown in (site.ask(Sightings()).events, site.ask(FindSightings()).events[::-1]):
        assert [(one.id, one.crop) for one in shown] == [(event, True), (bare, None)]
        assert "picture" not in str([one.to_json() for one in shown])
    assert "crop" not in str(rows(site.store, "SELECT document FROM sightings"))
    info = site.ask(Info())
    assert (info.crops, info.crop_bytes) == (1, len(jpeg("Ada")))


def test_followers_learn_of_the_picture(site: Site) -> None:
    """What is passed on says that there is one, and does not hold it."""
    site.seen(like(ADA, 0.6), picture=text_of(jpeg("Ada")))
    (passed,) = site.service.new_sightings
    assert (passed.crop, passed.picture) == (True, None)


@pytest.mark.parametrize(
    "picture",
    ["not base64!", text_of(b"GIF89a"), text_of(jpeg("cut")[:-2]), text_of(jpeg("large", 40_000))],
    ids=["text", "gif", "cut", "large"],
)
def test_what_is_no_small_jpeg_is_not_kept(site: Site, picture: str) -> None:
    """The sighting is."""
    event = site.seen(like(ADA, 0.6), picture=picture)
    assert site.store.sightings.find(event) is not None
    assert with_pictures(site) == []


def test_no_picture_without_an_embedding_that_finds_it(site: Site) -> None:
    """Of another model, of nobody who is enrolled, of a stranger without a trace."""
    picture = text_of(jpeg("nobody"))
    site.seen(like(ADA, 0.6), fingerprint="e" * 64, picture=picture)
    site.seen(like(ADA, 0.6), None, event="left", verdict="uncertain", nearest="Nobody", picture=picture)
    site.ask(Record([seen("bare", track=5, picture=picture)]))
    assert with_pictures(site) == []


def test_pictures_go_when_their_time_is_over(site: Site) -> None:
    """Of people after keep_crops_days, of all others after keep_unknowns_days; a clock that has just jumped deletes nothing."""
    named = site.seen(like(ADA, 0.6), picture=text_of(jpeg("Ada")))
    missed = near_miss(site, like(ADA, 0.44), jpeg("a near miss"))
    stranger = stranger_seen(site, noise(np.random.default_rng(5), 1, 64)[0], jpeg("a stranger"))
    assert with_pictures(site) == [named, missed, stranger]
    now = datetime.now(UTC)
    site.service.purge(now, 0.0)
    site.service.purge(now + timedelta(days=400), 10.0)
    left = []
    for day in (0, 1, 3, 5, 6, 8):
        site.service.purge(now + timedelta(days=day), 20.0 + 86400.0 * day)
        left.append(with_pictures(site))
    assert left == [[named, missed, stranger]] * 2 + [[named]] * 3 + [[]]
    assert site.store.sightings.find(named) is not None


@pytest.mark.parametrize(("crops_days", "unknowns_days", "kept"), [(7, 0, 1), (0, 7, 0), (7, 7, 3)])
def test_a_site_that_keeps_none_keeps_none(tmp_path: Path, crops_days: int, unknowns_days: int, kept: int) -> None:
    """keep_crops_days = 0: no picture at all; keep_unknowns_days = 0: only of people who were named. What is there goes at the start."""
    with store_in(tmp_path) as store:
        for turn, days in enumerate(((7, 7), (crops_days, unknowns_days))):
            one = Site(tmp_path, store, keep_crops_days=days[0], keep_unknowns_days=days[1])
            if not with_pictures(one) and not list_references(store):
                one.enrol()
            one.seen(like(ADA, 0.6), key=f"n{turn}", picture=text_of(jpeg("Ada")))
            one.seen(
                like(ADA, 0.44),
                None,
                key=f"m{turn}",
                event="left",
                verdict="uncertain",
                nearest="Ada",
                picture=text_of(jpeg("?")),
            )
            stranger_seen(one, noise(np.random.default_rng(5), 1, 64)[0], jpeg("a stranger"), track=900 + turn)
            one.publisher.close()
        before = 3 if crops_days and unknowns_days else 1 if crops_days else 0
        assert len(with_pictures(one)) == before + kept
    remove_left_behind(tmp_path / "run")


def test_the_oldest_pictures_go_when_they_take_too_much(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are kept, within the total size."""
    events = [site.seen(like(ADA, 0.6), picture=text_of(jpeg(str(number), 1000))) for number in range(5)]
    monkeypatch.setattr(sighting_crops, "MAX_BYTES", 3 * len(jpeg("0", 1000)) + 10)
    site.service.purge()
    assert with_pictures(site) == events[2:]


def test_forget_leaves_no_picture_of_a_person(site: Site, tmp_path: Path) -> None:
    """Also where the name was another's, where nobody was named, and of a stranger who is this person: no byte of it is left on the disk.
    Others keep theirs."""
    rng = np.random.default_rng(7)
    own = site.seen(like(ADA, 0.6), picture=text_of(jpeg("Ada herself")))
    taken_for_bo = site.seen(like(ADA, 0.7, seed=2), "Bo", picture=text_of(jpeg("Ada as Bo")))
    missed = near_miss(site, like(ADA, 0.5, seed=3), jpeg("Ada nearly"))
    stranger = stranger_seen(site, like(ADA, 0.6, seed=4), jpeg("Ada unknown"))
    other = site.seen(like(BO, 0.6), "Bo", picture=text_of(jpeg("Bo")))
    other_stranger = stranger_seen(site, noise(rng, 1, 64)[0], jpeg("somebody"), track=901)
    assert len(with_pictures(site)) == 6
    site.ask(Forget("Ada"))
    assert with_pictures(site) == [other, other_stranger]
    assert {site.ask(FindCrop(one)).jpeg for one in (own, taken_for_bo, missed, stranger)} == {None}
    for name, content in bytes_under(site.folder, tmp_path / "copy").items():
        assert b"a picture of Ada" not in content, name


def test_a_picture_goes_with_a_stranger_and_with_a_face(site: Site) -> None:
    """`forget --unknown` and `forget --wrong`."""
    face = site.seen(like(ADA, 0.6), picture=text_of(jpeg("Ada")))
    stranger_seen(site, noise(np.random.default_rng(5), 1, 64)[0], jpeg("a stranger"))
    site.ask(ForgetStranger("stranger-1"))
    assert with_pictures(site) == [face]
    site.ask(ForgetCorrection(face))
    assert with_pictures(site) == []


def test_a_picture_follows_its_person(site: Site) -> None:
    """Merged into Bo, it is forgotten with Bo."""
    site.seen(like(ADA, 0.6), picture=text_of(jpeg("Ada")))
    site.ask(Merge("Ada", "Bo"))
    assert len(with_pictures(site)) == 1
    site.ask(Forget("Bo"))
    assert with_pictures(site) == []


def test_with_the_model_the_pictures_go(site: Site) -> None:
    """No embedding could find them any more."""
    site.seen(like(ADA, 0.6), picture=text_of(jpeg("Ada")))
    references = list_references(site.store)
    changes = [one.change_number or 0 for one in references]
    other = noise(np.random.default_rng(1), 3, 16)
    site.ask(Stage([one.id for one in references], changes, "e" * 64, vectors=other))
    site.ask(SwitchModel(ModelId.parse("test/other", "e" * 64, 16), []))
    assert with_pictures(site) == []


def test_no_copy_has_pictures(site: Site, tmp_path: Path) -> None:
    """Neither rows nor bytes."""
    site.seen(like(ADA, 0.6), picture=text_of(jpeg("Ada")))
    copy_to(site.store, tmp_path / "copy.db")
    assert everything(tmp_path / "copy.db")["sighting_crops"] == []
    assert b"a picture of Ada" not in (tmp_path / "copy.db").read_bytes()
