"""`people` lists somebody's references, sets one aside and brings it back, with the site running and without."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.gallery.reader import GalleryReader
from shared.ipc.client import site_is_running
from shared.records import NewReference
from shared.settings.schema import Settings
from shared.store.opening import open_read_only
from tests.support.paths import FACES, VIDEOS, needs_data, needs_dlib
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import enrol, write_site
from tests.support.stores import everything, files_of, site_settings
from tests.support.vectors import noise, unit

pytestmark = needs_dlib

_WRONG = "faces/Ada L/wrong one.jpg"
_PHOTOS = ("faces/Ada L/a.jpg", "faces/Ada L/b.jpg", _WRONG, "faces/Bo/a.jpg", None)


def _write_people(folder: Path) -> tuple[Settings, np.ndarray[Any, np.dtype[np.float32]]]:
    """A site without cameras, and the vectors: Ada has three photos, of which one shows Bo; Bo has one; Ada has a reference without a
    photo, too."""
    settings = site_settings(folder)
    ada, bo = noise(np.random.default_rng(2), 2, 128)
    spread = noise(np.random.default_rng(3), len(_PHOTOS), 128) * np.float32(0.3)
    vectors = unit(np.stack([ada, ada, bo, bo, ada]) + spread)
    for photo in filter(None, _PHOTOS):
        (settings.data_dir / photo).parent.mkdir(parents=True, exist_ok=True)
        (settings.data_dir / photo).write_bytes(b"pixels")
    with files_of(settings) as files:
        files.save([NewReference((photo or _WRONG).split("/")[1], photo) for photo in _PHOTOS], vectors)
    return settings, vectors


@pytest.fixture(params=[False, True], ids=["files", "running"])
def people_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """A site with people in it, that does not run, and one that runs. A clean stop and a sound gallery are its end."""
    settings, _ = _write_people(tmp_path)
    if not request.param:
        yield settings
    else:
        with SiteProcess(tmp_path, "--assume-model") as site:
            yield site.wait_until_ready().settings
            assert site.check() == []
            assert site.stop() == 0
    with files_of(settings) as files:
        assert files.check() == []


def _aside(settings: Settings) -> list[tuple[int, str]]:
    """The ids and reasons of what is set aside. Read beside whatever process has the gallery open."""
    store = open_read_only(settings.db_path)
    try:
        return store.connection.execute("SELECT embedding_id, reason FROM set_aside ORDER BY 1").fetchall()
    finally:
        store.close()


def _in_block(settings: Settings) -> list[int]:
    with GalleryReader(settings.run_dir) as reader:
        return sorted(int(row) for piece in reader.live_pieces() for row in piece.row_ids)


def test_a_reference_is_seen_set_aside_and_restored(people_site: Settings) -> None:
    """JSON and text tell the same: each reference with its scores, the one that shows Bo with a remark. Set aside, its reason is the remark
    without Bo's name; a running site's block is without it when the command ends, and has it again when it is restored."""
    folder = people_site.base
    running = site_is_running(people_site.run_dir)
    listed = command_json(folder, "people", "Ada L", "--references")
    assert (listed["person"], [one["photo"] for one in listed["references"]]) == ("Ada L", [*_PHOTOS[:3], None])
    assert [one["remark"] is not None for one in listed["references"]] == [False, False, True, False]
    wrong = listed["references"][2]
    assert (wrong["id"], wrong["looks_like"], wrong["set_aside"]) == (3, "Bo", None)
    assert wrong["other_score"] > wrong["score"]
    told = command(folder, "people", "Ada L", "--references").stdout.splitlines()
    assert len(told) == 4
    assert told[2].startswith(f"3  {_WRONG}, since {wrong['enrolled_at']}: own ")
    assert told[2].endswith(f"  {wrong['remark']}")
    assert told[3].startswith("5  no photo kept, since ")

    answer = command_json(folder, "people", "Ada L", "--set-aside", "wrong one.jpg")
    assert answer["reason"] == wrong["remark"].replace("to Bo", "to somebody else")
    since = answer.pop("since")
    assert answer == {
        "person": "Ada L", "id": 3, "photo": _WRONG, "reason": answer["reason"], "already": False, "in_use": 3, "right_since": None,
    }  # fmt: skip  # one document
    assert _aside(people_site) == [(3, answer["reason"])]
    assert not running or _in_block(people_site) == [1, 2, 4, 5]
    again = command_json(folder, "people", "Ada L", "--set-aside", _WRONG, "--reason", "another")
    assert again == {**answer, "since": since, "already": True}
    listed = command_json(folder, "people", "Ada L", "--references")["references"][2]
    assert listed == {**wrong, "set_aside": {"since": since, "reason": answer["reason"]}}
    assert "SET ASIDE since" in command(folder, "people", "Ada L", "--references").stdout.splitlines()[2]
    assert [one["set_aside"] for one in command_json(folder, "people")["people"]] == [1, 0]
    assert "4 references (1 set aside), since" in command(folder, "people").stdout
    if running:
        assert command_json(folder, "status")["gallery"]["set_aside"] == 1
        assert "5 references (1 set aside)" in command(folder, "status").stdout

    done = command(folder, "people", "Ada L", "--restore", str(people_site.data_dir / _WRONG))
    assert done.returncode == 0
    assert done.stdout == (
        f"{_WRONG} is used again; it was set aside since {since}: {answer['reason']}; 4 references of Ada L in use\n"
    )
    assert _aside(people_site) == []
    assert not running or _in_block(people_site) == [1, 2, 3, 4, 5]
    back = command_json(folder, "people", "Ada L", "--restore", "3")
    assert (back["already"], back["reason"], back["in_use"]) == (True, None, 4)
    assert command(folder, "people", "Ada L", "--restore", "3").stdout.startswith(f"{_WRONG} was not set aside")


def test_a_reference_is_right_until_that_is_taken_back(people_site: Settings) -> None:
    """JSON and text tell the same, and the list of references tells it. What the answer tells to type takes it back."""
    folder = people_site.base
    wrong = command_json(folder, "people", "Ada L", "--references")["references"][2]
    answer = command_json(folder, "people", "Ada L", "--right", "wrong one.jpg")
    since = answer["right_since"]
    assert answer == {
        "person": "Ada L", "id": 3, "photo": _WRONG, "reason": None, "since": None, "already": False, "in_use": 4, "right_since": since,
    }  # fmt: skip  # one document
    listed = command_json(folder, "people", "Ada L", "--references")["references"][2]
    assert listed == {**wrong, "right_since": since}
    assert (
        command(folder, "people", "Ada L", "--references")
        .stdout.splitlines()[2]
        .endswith(f"; said to be right since {since}")
    )
    assert command(folder, "people", "Ada L", "--right", "3").stdout.splitlines() == [
        f"{_WRONG} is right already: worklist and calibrate do not list it any more",
        f"to take that back: python supervisor.py people 'Ada L' --not-right '{_WRONG}'",
    ]
    done = command(folder, "people", "Ada L", "--not-right", str(people_site.data_dir / _WRONG))
    assert done.stdout == f"{_WRONG} is no longer said to be right: worklist and calibrate list it if it disagrees\n"
    again = command(folder, "people", "Ada L", "--not-right", "5").stdout
    assert again == "the reference 5 was not said to be right: worklist and calibrate list it if it disagrees\n"
    assert command_json(folder, "people", "Ada L", "--references")["references"][2] == wrong


def test_by_its_number_and_by_hand(people_site: Settings) -> None:
    """A reference without a photo has a number; where nothing stands out the reason is "by hand"; --reason has its own words. What the
    answer tells to type brings it back."""
    folder = people_site.base
    done = command(folder, "people", "Ada L", "--set-aside", "5")
    assert done.stdout.splitlines() == [
        "the reference 5 is set aside: by hand; 3 references of Ada L in use",
        "to use it again: python supervisor.py people 'Ada L' --restore 5",
    ]
    done = command(folder, "people", "Ada L", "--set-aside", "a.jpg", "--reason", " her sister ")
    assert done.stdout.splitlines() == [
        f"{_PHOTOS[0]} is set aside: her sister; 2 references of Ada L in use",
        f"to use it again: python supervisor.py people 'Ada L' --restore '{_PHOTOS[0]}'",
    ]
    assert _aside(people_site) == [(1, "her sister"), (5, "by hand")]
    assert command_json(folder, "people", "Ada L", "--restore", "5")["reason"] == "by hand"
    assert command_json(folder, "people", "Ada L", "--restore", str(_PHOTOS[0]))["in_use"] == 4


def test_it_stays_set_aside_when_the_site_starts_again(tmp_path: Path) -> None:
    """Set aside without a site, by a site, and found so by the next one."""
    settings, _ = _write_people(tmp_path)
    command_json(tmp_path, "people", "Ada L", "--set-aside", "1")
    for photo, left in (("2", [3, 4, 5]), ("3", [4, 5])):
        with SiteProcess(tmp_path, "--assume-model") as site:
            site.wait_until_ready()
            command_json(tmp_path, "people", "Ada L", "--set-aside", photo)
            assert _in_block(settings) == left
            assert site.check() == []
            assert site.stop() == 0
    assert [row for row, _ in _aside(settings)] == [1, 2, 3]


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """One gallery for everything that is refused: it stays as it was."""
    settings, _ = _write_people(tmp_path_factory.mktemp("unchanged"))
    before = everything(settings.db_path)
    yield settings
    assert everything(settings.db_path) == before


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("Nobody", "--references"), 1, "nobody of that name"),
        (("Nobody", "--set-aside", "1"), 1, "nobody of that name"),
        (("Nobody", "--restore", "1"), 1, "nobody of that name"),
        (("Ada L", "--set-aside", "other.jpg"), 1, "no such reference of that person"),
        (("Ada L", "--set-aside", "4"), 1, "no such reference of that person"),
        (("Bo", "--set-aside", "a.jpg"), 1, "forget the person instead"),
        (("Bo", "--set-aside", "a.jpg", "--reason", "x"), 1, "or enrol another photo first"),
        (("Ada L", "--set-aside", "1", "--reason", "x" * 201), 1, "1 to 200 characters"),
        (("Ada L", "--set-aside", "1", "--reason", ""), 1, "1 to 200 characters"),
        (("--references",), 2, "these options can't be combined"),
        (("--set-aside", "1"), 2, "these options can't be combined"),
        (("--restore", "1"), 2, "these options can't be combined"),
        (("Ada L", "--reason", "x"), 2, "these options can't be combined"),
        (("Ada L", "--restore", "1", "--reason", "x"), 2, "these options can't be combined"),
        (("Ada L", "--restore", "1", "--set-aside", "1"), 2, "these options can't be combined"),
        (("Ada L", "--references", "--unknown"), 2, "these options can't be combined"),
        (("Ada L", "--set-aside"), 2, "expected one argument"),
    ],
)
def test_what_can_not_be_is_refused(unchanged: Settings, words: tuple[str, ...], code: int, why: str) -> None:
    """The answer no is 1, a command line that makes no sense is 2; the reason stands on standard error, and nothing is changed."""
    done = command(unchanged.base, "people", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert why in done.stderr


def test_a_running_site_refuses_the_same(people_site: Settings) -> None:
    """With --json the reason and the code are one document on standard output."""
    before = everything(people_site.db_path)["set_aside"]
    for words, why in ((("Bo", "--set-aside", "4"), "forget the person"), (("Ada L", "--restore", "4"), "no such")):
        answer = command_json(people_site.base, "people", *words, expect=1)
        assert (answer["exit_code"], why in answer["error"][0]) == (1, True)
    assert everything(people_site.db_path)["set_aside"] == before


# --- with real faces ------------------------------------------------------------------------------------------------


def _person_with_a_wrong_photo(folder: Path) -> Path:
    """Enrol Ann with two photos of hers and one that shows Mike, and Mike with two others. Returns the wrong photo."""
    mike, ann = (sorted((FACES / "lfw_mini" / name).iterdir()) for name in ("Mike_Myers", "Jay_Garner"))
    for name, photos in (("Ann", [*ann[:2], mike[0]]), ("Mike", mike[1:3])):
        (folder / "photos" / name).mkdir(parents=True)
        for photo in photos:
            shutil.copyfile(photo, folder / "photos" / name / photo.name)
    enrol(folder, folder / "photos")
    return folder / "photos" / "Ann" / mike[0].name


def _who(folder: Path, photo: Path) -> Any:
    (face,) = command_json(folder, "identify", str(photo))["photos"][0]["faces"]
    return face["person"]


@needs_data
@pytest.mark.parametrize("runs", [False, True], ids=["files", "running"])
def test_the_photo_of_somebody_else_is_found_and_set_aside(tmp_path: Path, runs: bool) -> None:
    """What `enrol` and `calibrate` point out stands out among the references, too. Set aside, its face is Mike again, and `calibrate` says
    nothing more; enrolled again, also with another picture in its place, it stays set aside, and that is said with what brings it back."""
    write_site(tmp_path, {})
    wrong = _person_with_a_wrong_photo(tmp_path)
    with contextlib.ExitStack() as stack:
        if runs:
            stack.enter_context(SiteProcess(tmp_path)).wait_until_ready()
        assert _who(tmp_path, wrong) == "Ann"
        stored = f"faces/Ann/{wrong.name}"
        told = command(tmp_path, "calibrate").stdout
        assert stored in told
        assert "python supervisor.py people NAME --set-aside PHOTO" in told
        listed = command_json(tmp_path, "people", "Ann", "--references")["references"]
        assert [one["photo"] for one in listed if one["remark"]] == [stored]
        assert command_json(tmp_path, "people", "Ann", "--set-aside", stored)["in_use"] == 2
        assert _who(tmp_path, wrong) == "Mike"
        report = command_json(tmp_path, "calibrate")
        assert (report["references"], report["disagrees"]) == (4, [])
        again = command_json(tmp_path, "enrol", str(tmp_path / "photos"))
        assert (again["enrolled"], again["unchanged"]) == ([], 5)
        assert again["set_aside"] == [{"person": "Ann", "photo": str(wrong), "reference": stored}]
        line = f"{wrong} of Ann is set aside, and faces are not compared with it; to use it again: supervisor.py people Ann --restore {stored}"
        assert line in command(tmp_path, "enrol", str(tmp_path / "photos")).stderr.splitlines()
        assert _who(tmp_path, wrong) == "Mike"
        kept = tmp_path / "data" / stored
        shutil.copyfile(sorted((FACES / "lfw_mini" / "Mike_Myers").iterdir())[3], kept)
        anew = command_json(tmp_path, "enrol", str(kept), "--name", "Ann")
        assert len(anew["enrolled"]) == 1
        assert anew["set_aside"] == [{"person": "Ann", "photo": str(kept), "reference": stored}]
        command_json(tmp_path, "people", "Ann", "--restore", stored)
        assert _who(tmp_path, kept) == "Ann"


@needs_data
def test_cameras_follow_at_once(tmp_path: Path) -> None:
    """Somebody in view is named by a photo in a wrong folder: set aside, the camera goes by the right person's photo and names nobody by
    this one any more; restored, it is used again. The camera's process is the same all the time."""
    write_site(tmp_path, {"sofa": f'source = "{VIDEOS / "friends_in_video.mp4"}"\nloop = true'})
    in_view = FACES / "friends_enrol" / "Joey.png"
    (tmp_path / "photos" / "Ann").mkdir(parents=True)
    shutil.copyfile(in_view, tmp_path / "photos" / "Ann" / "wrong.png")
    other = min((FACES / "lfw_mini" / "Jay_Garner").iterdir())
    shutil.copyfile(other, tmp_path / "photos" / "Ann" / "right.jpg")
    enrol(tmp_path, tmp_path / "photos")
    with SiteProcess(tmp_path) as site:
        site.wait_for_event(60, event="named", person="Ann")
        pid = site.child_pid("sofa")
        command_json(tmp_path, "people", "Ann", "--set-aside", "wrong.png")
        # While Ann has the same picture, neither leads, and nobody is named.
        enrol(tmp_path, in_view)
        told = len(site.events)
        site.wait_for_event(60, after=told, event="named", person="Joey")
        assert not [one for one in site.events[told:] if one["event"] == "named" and one["person"] == "Ann"]
        command_json(tmp_path, "forget", "Joey")
        command_json(tmp_path, "people", "Ann", "--restore", "wrong.png")
        site.wait_for_event(60, after=len(site.events), event="named", person="Ann")
        assert site.child_pid("sofa") == pid
        assert site.check() == []
