"""Strangers on the command line and before real cameras: listed, named, forgotten, with the site running and without."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.photos.reading import read_photo
from shared.service.access import SiteAccess
from shared.settings.file import load_settings
from tests.support.paths import FACES, SMALL_PACK, VIDEOS, needs_data
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import enrol, write_site
from tests.support.stores import rows, silent, store_in
from tests.support.stranger_events import seen, trace
from workers.photos.embedding import embed_image
from workers.recognizer_arcface import ArcFaceEngine


def _visit(folder: Path, *photos: Path, key: str = "k", track: int = 1, blank: bool = False) -> Any:
    """A stranger with these photos is seen, as a camera would tell; the id, or None."""
    settings = load_settings(folder / "site.toml")
    engine = ArcFaceEngine(SMALL_PACK, det_size=640, threads=2)
    traces = []
    for photo in photos:
        image = read_photo(photo)
        embedding = embed_image(engine, image).embedding
        done, jpeg = cv2.imencode(".jpg", np.zeros_like(image) if blank else image)
        assert done
        traces.append(trace(embedding, 0.9, jpeg.tobytes()))
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}"  # who was seen long ago is let go when the gallery is opened
    event = seen(key, *traces, track=track, time=now, fingerprint=engine.fingerprint, alike=engine.threshold)
    with SiteAccess(settings, silent, create=True) as site:
        site.record([event])
        events = [*site.sightings()]
    return events[-1].unknown


def _photos(person: str) -> list[Path]:
    return sorted((FACES / "lfw_mini" / person).iterdir())


@needs_data
@pytest.mark.parametrize("running", [False, True])
def test_a_stranger_is_listed_named_and_known(tmp_path: Path, running: bool) -> None:
    """`people --unknown`, `enrol --unknown ID --name NAME`, `identify`: with the site running and without; then `forget NAME`
    takes the sightings of the stranger along."""
    folder = write_site(tmp_path, {}, keep_unknowns_days=7)
    photos = _photos("Kofi_Annan")
    site = SiteProcess(folder).start().wait_until_ready() if running else None
    try:
        number = _visit(folder, *photos[:3])
        (one,) = command_json(folder, "people", "--unknown")["unknown"]
        assert (one["id"], one["visits"], one["cameras"]) == (number, 1, ["door"])
        assert Path(one["photo"]).is_file()
        answer = command_json(folder, "enrol", "--unknown", number, "--name", "Kofi")
        assert (len(answer["enrolled"]), answer["unknown"], answer["sightings"]) == (3, number, 1)
        assert command_json(folder, "people", "--unknown") == {"unknown": []}
        assert not Path(one["photo"]).exists()
        assert len(list((tmp_path / "data" / "faces" / "Kofi").iterdir())) == 3
        (face,) = command_json(folder, "identify", str(photos[4]))["photos"][0]["faces"]
        assert face["person"] == "Kofi"
        if site is not None:
            assert site.check() == []
        assert command_json(folder, "forget", "Kofi")["sightings"] == 1
    finally:
        if site is not None:
            site.stop()


@needs_data
def test_a_site_that_does_not_ask_keeps_no_stranger(tmp_path: Path) -> None:
    """By default a sighting of nobody known is kept without an id: no embedding, no picture, nobody in the list."""
    folder = write_site(tmp_path, {})
    (folder / "site.toml").write_text(
        (folder / "site.toml").read_text(encoding="utf-8").replace("keep_unknowns_days = 0\n", ""), encoding="utf-8"
    )
    assert _visit(folder, *_photos("Li_Peng")[:2]) is None
    assert command_json(folder, "people", "--unknown") == {"unknown": []}
    assert not (folder / "data" / "strangers").exists()
    with store_in(folder / "data") as store:
        assert rows(store, "SELECT COUNT(*) FROM stranger_traces") == [(0,)]


@needs_data
def test_pictures_that_give_no_reference_name_nobody(tmp_path: Path) -> None:
    """Refused with the reasons, and the stranger is kept with every picture."""
    folder = write_site(tmp_path, {}, keep_unknowns_days=7)
    number = _visit(folder, *_photos("Li_Peng")[:1], blank=True)
    done = command(folder, "enrol", "--unknown", number, "--name", "Li")
    assert done.returncode == 1
    assert "no face was found" in done.stderr
    (one,) = command_json(folder, "people", "--unknown")["unknown"]
    assert Path(one["photo"]).is_file()
    assert command_json(folder, "people") == {"people": []}


@needs_data
def test_a_stranger_is_forgotten_in_one_command(tmp_path: Path) -> None:
    """By the id or its number; a second time it is done already; an id that was never given is nobody's."""
    folder = write_site(tmp_path, {}, keep_unknowns_days=7)
    number = _visit(folder, *_photos("Li_Peng")[:2])
    answer = command_json(folder, "forget", "--unknown", number)
    assert (answer["unknown"], answer["photos"], answer["sightings"]) == (number, 2, 1)
    again = command_json(folder, "forget", "--unknown", number.removeprefix("stranger-"))
    assert (again["already"], again["photos"], again["sightings"], again["not_removed"]) == (True, 0, 0, [])
    done = command(folder, "forget", "--unknown", "stranger-99")
    assert (done.returncode, "no stranger of that id" in done.stderr) == (1, True)
    assert "no strangers are kept" in command(folder, "people", "--unknown").stdout


@needs_data
def test_six_strangers_on_two_cameras_are_six(tmp_path: Path) -> None:
    """A clip with six people of whom nobody is enrolled, on two cameras, run twice: each has one id on both and the second time
    (one more id is let pass), and no id's pictures show two people."""
    body = f'source = "{VIDEOS / "friends_in_video.mp4"}"\nrealtime = false'
    folder = write_site(tmp_path, {"door": body, "yard": body}, keep_unknowns_days=7)
    for _ in range(2):
        done = command(folder, "run", "--until-ended", "--json", timeout_s=180)
        assert done.returncode == 0, done.stderr
        assert not {"traces", "fingerprint", "alike"} & {
            key for line in done.stdout.splitlines() for key in json.loads(line)
        }
    strangers = command_json(folder, "people", "--unknown")["unknown"]
    assert 6 <= len(strangers) <= 7
    assert sum(set(one["cameras"]) == {"door", "yard"} and one["visits"] >= 4 for one in strangers) >= 6
    enrol(folder, FACES / "friends_enrol")
    found = command_json(folder, "identify", *map(str, sorted((tmp_path / "data" / "strangers").iterdir())))["photos"]
    shown: dict[str, set[str]] = {}
    for photo in found:
        names = {face["person"] for face in photo["faces"] if face["person"]}
        if len(photo["faces"]) == 1:
            shown.setdefault(Path(photo["path"]).name.rpartition("-")[0], set()).update(names)
    assert all(len(names) <= 1 for names in shown.values()), shown
    assert len(set().union(*shown.values())) == 6
    assert command_json(folder, "check")["faults"] == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("enrol",), 2),
        (("enrol", "--unknown", "stranger-1"), 2),
        (("enrol", "x.jpg", "--unknown", "stranger-1", "--name", "Ada"), 2),
        (("forget",), 2),
        (("forget", "Ada", "--unknown", "stranger-1"), 2),
        (("forget", "--unknown", "stranger-1", "--photo", "x.jpg"), 2),
        (("forget", "--unknown", "the stranger"), 1),
    ],
)
def test_what_is_asked_wrongly(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    """Usage faults are 2, an id that is none is refused with 1."""
    write_site(tmp_path, {})
    with store_in(tmp_path / "data"):
        pass
    done = command(tmp_path, *words)
    assert done.returncode == code, done.stderr
