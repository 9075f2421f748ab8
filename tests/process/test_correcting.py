"""`wrong` and `right` on the command line and before real cameras, with the site running and without."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.photos.reading import read_photo
from shared.store.opening import open_store
from tests.support.paths import FACES, needs_data
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import enrol, write_site
from tests.support.stores import rows, silent, store_in

_ENROLLED = ("Kofi_Annan", "Meryl_Streep")


def _photos(person: str) -> list[Path]:
    return sorted((FACES / "lfw_mini" / person).iterdir())


def _site(folder: Path, photo: Path, recognition: str = "") -> Path:
    """Two people enrolled from a photo each, and two cameras that see `photo`, again and again for three seconds."""
    image = read_photo(photo)
    clip = folder / "face.avi"
    writer = cv2.VideoWriter(
        str(clip), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 5, (image.shape[1], image.shape[0])
    )
    assert writer.isOpened()
    for shift in range(15):
        writer.write(np.roll(image, shift % 3, axis=1))
    writer.release()
    camera = f'source = "{clip}"\nloop = true'
    write_site(folder, {"door": camera, "yard": camera}, recognition)
    for name in _ENROLLED:
        target = folder / "people" / name
        target.mkdir(parents=True)
        (target / "1.jpg").write_bytes(_photos(name)[0].read_bytes())
    enrol(folder, folder / "people")
    return folder


def _named(folder: Path, photo: Path) -> Any:
    (face,) = command_json(folder, "identify", str(photo))["photos"][0]["faces"]
    return face["person"], face["verdict"]


@needs_data
def test_a_face_that_was_judged_wrong_is_withheld_on_every_camera(tmp_path: Path) -> None:
    """With cameras that see it: the other camera withdraws the name, `identify` names nobody, and whoever else is enrolled stays
    known; taken back, both name again. Nothing is restarted, and no event shows the face."""
    photo = _photos("Kofi_Annan")[2]
    folder = _site(tmp_path, photo)
    with SiteProcess(folder) as site:
        pids = [site.child_pid(name) for name in ("door", "yard")]
        event = site.wait_for_event(60, event="named", camera="door", person="Kofi_Annan")
        site.wait_for_event(60, event="named", camera="yard", person="Kofi_Annan")
        assert _named(folder, photo) == ("Kofi_Annan", "named")
        answer = command_json(folder, "wrong", str(event["id"]))
        assert (answer["judged"], answer["person"], answer["against_all"]) == ("wrong", "Kofi_Annan", True)
        assert _named(folder, photo) == (None, "unknown")
        assert _named(folder, _photos("Meryl_Streep")[0]) == ("Meryl_Streep", "named")
        told = site.wait_for_event(60, event="corrected", corrects=event["id"])
        assert (told["judged"], told["camera"], told["track"]) == ("wrong", "door", event["track"])
        after = len(site.events)
        for name in ("door", "yard"):
            left = site.wait_for_event(60, after=after, event="left", camera=name, verdict="unknown")
            assert left["person"] is None
        seen = [one for one in site.events if one["id"] > told["id"] and one["event"] == "named"]
        assert seen == []
        assert site.check() == []
        assert [one["sighting"] for one in command_json(folder, "wrong", "--list")["corrections"]] == [event["id"]]
        after = len(site.events)
        assert command_json(folder, "wrong", "--undo", str(event["id"]))["judged"] == "wrong"
        assert _named(folder, photo) == ("Kofi_Annan", "named")
        for name in ("door", "yard"):
            site.wait_for_event(60, after=after, event="named", camera=name, person="Kofi_Annan")
        assert [site.child_pid(name) for name in ("door", "yard")] == pids
        assert site.check() == []
        private = {"probe", "nearest", "clear", "fingerprint", "alike"}
        assert not [one for one in site.events if private & one.keys()]
        assert site.stop() == 0


@needs_data
def test_a_near_miss_is_learned_by_hand(tmp_path: Path) -> None:
    """With a threshold that the face just misses: `right --learn` makes it a reference, and the face is named from then on. Without a
    site everything is the same: listed, judged again, taken back, forgotten."""
    photo = _photos("Kofi_Annan")[2]
    folder = _site(tmp_path, photo, "threshold = 0.99\nmargin = 0.2")
    (face,) = command_json(folder, "identify", str(photo))["photos"][0]["faces"]
    text = (folder / "site.toml").read_text(encoding="utf-8")
    just_above = round(face["score"] + 0.08, 3)
    (folder / "site.toml").write_text(text.replace("threshold = 0.99", f"threshold = {just_above}"), encoding="utf-8")
    with SiteProcess(folder) as site:
        event = site.wait_for_event(60, event="left", camera="door", verdict="uncertain")
        assert (event["person"], _named(folder, photo)[0]) == (None, None)
        answer = command_json(folder, "right", str(event["id"]), "--learn")
        assert (answer["judged"], answer["person"]) == ("right", "Kofi_Annan")
        assert answer["reference"] is not None
        other = site.wait_for_event(60, event="named", camera="yard", person="Kofi_Annan")
        assert _named(folder, photo)[0] == "Kofi_Annan"
        assert site.stop() == 0
    number = str(event["id"])
    assert "judged right already" in command(folder, "right", number, "--learn").stdout
    replaced = command_json(folder, "wrong", number)
    assert (replaced["judged"], replaced["replaced"]) == ("wrong", "right")
    assert _named(folder, photo)[0] is None
    assert "withheld from everybody" in command(folder, "wrong", "--list").stdout
    told = command(folder, "events").stdout
    assert f"(event {number})" in told
    assert f"event {number} was judged wrong" in told
    assert command_json(folder, "forget", "--wrong", number)["already"] is False
    refused = command(folder, "wrong", number)
    assert (refused.returncode, "no longer kept" in refused.stderr) == (1, True)
    assert "nothing was corrected" in command(folder, "wrong", "--list").stdout
    assert command(folder, "right", str(other["id"])).returncode == 0
    assert re.search(
        r"^and 1 correction, \d+ faces? kept", command(folder, "forget", "Kofi_Annan").stdout, re.MULTILINE
    )
    answer = command_json(folder, "forget", "Meryl_Streep")
    assert (answer["corrections"], answer["probes"]) == (0, 0)
    assert command_json(folder, "check")["faults"] == []


@needs_data
def test_a_site_that_keeps_no_crops_can_t_be_corrected(tmp_path: Path) -> None:
    """keep_crops_days = 0: cameras send no embedding, and `wrong` says that none is kept."""
    folder = _site(tmp_path, _photos("Kofi_Annan")[2])
    text = (folder / "site.toml").read_text(encoding="utf-8")
    (folder / "site.toml").write_text(text.replace("[site]\n", "[site]\nkeep_crops_days = 0\n"), encoding="utf-8")
    with SiteProcess(folder) as site:
        event = site.wait_for_event(60, event="named")
        refused = command(folder, "wrong", str(event["id"]))
        assert (refused.returncode, "no longer kept" in refused.stderr) == (1, True)
        assert site.stop() == 0
    store = open_store(folder / "data" / "face_embeddings.db", silent)
    assert rows(store, "SELECT COUNT(*) FROM sighting_probes") == [(0,)]
    store.close()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("wrong",), 2),
        (("wrong", "7", "--list"), 2),
        (("wrong", "Ada"), 2),
        (("right",), 2),
        (("wrong", "7"), 1),
        (("right", "7"), 1),
        (("wrong", "--undo", "7"), 1),
        (("forget", "--wrong", "7"), 1),
        (("forget", "Ada", "--wrong", "7"), 2),
        (("forget", "--wrong", "7", "--photo", "x.jpg"), 2),
    ],
)
def test_what_is_asked_wrongly(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    """Usage faults are 2; an event that there is not is refused with 1."""
    write_site(tmp_path, {})
    with store_in(tmp_path / "data"):
        pass
    done = command(tmp_path, *words)
    assert done.returncode == code, done.stderr
