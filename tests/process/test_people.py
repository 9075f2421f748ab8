"""`people` changes who is who: renamed, merged, taken back, with the site running and without, and killed at any step."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from shared.errors import TemporaryError
from shared.gallery.reader import GalleryReader
from shared.ipc.client import SiteClient, site_is_running
from shared.ipc.requests.base import Request
from shared.ipc.requests.gallery import Info
from shared.ipc.requests.people import Merge, Rename, UndoPeople
from shared.records import NewReference
from shared.service.access import RunningSite, SiteAccess
from shared.settings.file import load_settings
from shared.settings.schema import Settings
from shared.store.copying import copy_to
from shared.store.opening import backup_path, open_read_only
from shared.store.references import list_people, list_references
from tests.support.paths import FACES, ROOT, VIDEOS, needs_data, needs_dlib
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import enrol, people_of, write_site
from tests.support.stores import bytes_under, files_of, silent, site_settings
from tests.support.vectors import noise
from tests.support.writer_process import WriterProcess

pytestmark = needs_dlib

_ADA, _ZED = "Ada Lovelace", "Zed Quill"
_RENAME, _MERGE, _UNDO = (_ADA, "--rename", _ZED), (_ADA, "--merge-into", "Bo"), ("--undo",)
_CHANGES: list[tuple[str, Request[Any]]] = [("rename", Rename(_ADA, _ZED)), ("merge", Merge(_ADA, "Bo"))]
_PHOTOS = {f"faces/{_ADA}/a.jpg": "same", f"faces/{_ADA}/b.jpg": "b", "faces/Bo/a.jpg": "same", "faces/Bo/c.jpg": "c"}


def _seen(person: str, track: int) -> dict[str, Any]:
    """That somebody was named, as a camera reports it."""
    time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}"  # an old sighting is deleted when the gallery is opened
    when = {"time": time, "camera": "door", "track": track}
    return {"key": f"k{track}", "event": "named", "person": person, **when}


def _write_people(folder: Path) -> Settings:
    """A site without cameras: Ada and Bo have one photo in common, Cy has none; two sightings, and the site's own backup."""
    settings = site_settings(folder)
    for path in _PHOTOS:
        (settings.data_dir / path).parent.mkdir(parents=True, exist_ok=True)
        (settings.data_dir / path).write_bytes(f"pixels of {path.split('/')[1]}: {path[-5:]}".encode())
    new = [
        NewReference(path.split("/")[1], path, "e-1" if _ADA in path else None, photo_digest=digest)
        for path, digest in _PHOTOS.items()
    ]
    with files_of(settings) as files:
        files.save([*new, NewReference("Cy")], noise(np.random.default_rng(3), len(new) + 1, 128))
        files.record([_seen(_ADA, 1), _seen("Bo", 2)])
        copy_to(files.store, backup_path(files.store.path))
    return settings


class _State(NamedTuple):
    """What a gallery holds. `people`: name, user id, number of references; `references`: id, person, photo; `sightings`: person, track."""

    people: list[tuple[str, str | None, int]]
    references: list[tuple[int, str, str | None]]
    sightings: list[tuple[str | None, int | None]]
    photos: dict[str, str]

    def fits(self) -> bool:
        """Whether each photo that a row refers to is there, and lies in the folder of its person."""
        kept = [(person, path) for _, person, path in self.references if path is not None]
        return all(path in self.photos and path.startswith(f"faces/{person}/") for person, path in kept)


def _state(settings: Settings) -> _State:
    """Read beside whatever process has the gallery open."""
    store = open_read_only(settings.db_path)
    try:
        people = [(one.person, one.user_id, one.references) for one in list_people(store)]
        references = [(one.id, one.person, one.image_path) for one in list_references(store)]
        sightings = [(one.person, one.track) for one in store.sightings.since()]
    finally:
        store.close()
    photos = {
        path.relative_to(settings.data_dir).as_posix(): path.read_text(encoding="utf-8")
        for path in settings.faces_dir.rglob("*")
        if path.is_file()
    }
    return _State(people, references, sightings, photos)


def _in_backup(settings: Settings) -> set[str] | None:
    """Who is in the site's own backup; None when there is no backup."""
    if not backup_path(settings.db_path).exists():
        return None
    backup = open_read_only(backup_path(settings.db_path))
    try:
        return {one.person for one in list_people(backup)}
    finally:
        backup.close()


def _in_block(settings: Settings) -> set[str]:
    with GalleryReader(settings.run_dir) as reader:
        return {name for piece in reader.live_pieces() for name in piece.names}


@pytest.fixture(params=[False, True], ids=["files", "running"])
def people_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """A site with people in it, that does not run, and one that runs. A clean stop and a sound gallery are its end."""
    settings = _write_people(tmp_path)
    if not request.param:
        yield settings
    else:
        with SiteProcess(tmp_path, "--assume-model") as site:
            yield site.wait_until_ready().settings
            assert site.check() == []
            assert site.stop() == 0
    with files_of(settings) as files:
        assert files.check() == []


# --- done and taken back --------------------------------------------------------------------------------------------


def test_a_rename_is_answered_and_taken_back(people_site: Settings) -> None:
    """JSON and text tell the same. Rows, photos, sightings, backup and a running site's block have the new name when the command ends; a
    sighting under the new name comes to it; undone, all of it has the old name."""
    folder, before = people_site.base, _state(people_site)
    answer = command_json(folder, "people", *_RENAME)
    assert answer == {"person": _ZED, "before": _ADA, "references": 2, "kept_once": 0, "sightings": 1}
    running = site_is_running(people_site.run_dir)
    if running:
        assert _in_block(people_site) == {_ZED, "Bo", "Cy"}
    with SiteAccess(people_site, silent) as site:
        site.record([_seen(_ZED, 3)])
    after = _state(people_site)
    assert after.people == [("Bo", None, 2), ("Cy", None, 1), (_ZED, "e-1", 2)]
    assert after.sightings == [(_ZED, 1), ("Bo", 2), (_ZED, 3)]
    assert after.fits()
    assert after.photos[f"faces/{_ZED}/a.jpg"] == before.photos[f"faces/{_ADA}/a.jpg"]
    assert not (people_site.faces_dir / _ADA).exists()
    assert _in_backup(people_site) == {_ZED, "Bo", "Cy"}
    done = command(folder, "people", *_UNDO)
    assert (done.returncode, done.stdout) == (0, f"{_ZED} is {_ADA} now: 2 references, 2 sightings\n")
    assert _state(people_site) == before._replace(sightings=[*before.sightings, (_ADA, 3)])
    assert _in_backup(people_site) == {_ADA, "Bo", "Cy"}
    if running:
        assert _in_block(people_site) == {_ADA, "Bo", "Cy"}
    done = command(folder, "people", *_RENAME)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{_ADA} is {_ZED} now: 2 references, 2 sightings",
        "to take it back, for 30 days: python supervisor.py people --undo",
    ]
    answer = command_json(folder, "people", *_UNDO)
    assert answer == {"person": _ADA, "before": _ZED, "references": 2, "kept_once": 0, "sightings": 2}
    assert people_of(folder) == {_ADA, "Bo", "Cy"}


def test_a_merge_is_answered_and_taken_back(people_site: Settings) -> None:
    """The reference that both have is kept once, no photo is lost, and the user id goes along; undone, everything is as it was."""
    folder, before = people_site.base, _state(people_site)
    answer = command_json(folder, "people", *_MERGE)
    assert answer == {"person": "Bo", "before": _ADA, "references": 1, "kept_once": 1, "sightings": 1}
    after = _state(people_site)
    assert after.people == [("Bo", "e-1", 3), ("Cy", None, 1)]
    assert after.sightings == [("Bo", 1), ("Bo", 2)]
    assert after.fits()
    assert sorted(after.photos.values()) == sorted(before.photos.values())
    assert not (people_site.faces_dir / _ADA).exists()
    assert _in_backup(people_site) == {"Bo", "Cy"}
    if running := site_is_running(people_site.run_dir):
        assert _in_block(people_site) == {"Bo", "Cy"}
    done = command(folder, "people", *_UNDO)
    assert (done.returncode, done.stdout) == (0, f"Bo is {_ADA} now: 2 references, 1 sighting\n")
    assert _state(people_site) == before
    if running:
        assert _in_block(people_site) == {_ADA, "Bo", "Cy"}
    done = command(folder, "people", *_MERGE)
    assert done.stdout.splitlines() == [
        f"{_ADA} is Bo now: 1 reference, 1 sighting; 1 that both had are kept once",
        "to take it back, for 30 days: python supervisor.py people --undo",
    ]
    answer = command_json(folder, "people", *_UNDO)
    assert answer == {"person": _ADA, "before": "Bo", "references": 2, "kept_once": 0, "sightings": 1}


@needs_data
def test_cameras_use_the_new_name_at_once(tmp_path: Path) -> None:
    """Somebody in view is renamed: `identify` knows the new name when the command ends, the camera names nobody by the old name any
    more, sightings kept before have the new name, and no process is replaced."""
    write_site(tmp_path, {"sofa": f'source = "{VIDEOS / "friends_in_video.mp4"}"\nloop = true'})
    photo = FACES / "friends_enrol" / "Joey.png"
    enrol(tmp_path, photo)
    with SiteProcess(tmp_path) as site:
        site.wait_for_event(60, event="named", person="Joey")
        pid = site.child_pid("sofa")
        answer = command_json(tmp_path, "people", "Joey", "--rename", "Joseph")
        assert answer["sightings"] >= 1
        (face,) = command_json(tmp_path, "identify", str(photo))["photos"][0]["faces"]
        assert (face["person"], face["verdict"]) == ("Joseph", "named")
        kept = [json.loads(line) for line in command(tmp_path, "events", "--json").stdout.splitlines()]
        assert {one["person"] for one in kept if one["person"]} == {"Joseph"}
        told = len(site.events)
        named = site.wait_for_event(60, after=told, event="named", person="Joseph")
        site.wait_for_event(60, after=told, event="left", track=named["track"], person="Joseph")
        assert not [one for one in site.events if one["id"] > kept[-1]["id"] and one["person"] == "Joey"]
        assert site.child_pid("sofa") == pid
        assert site.check() == []


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """One gallery for everything that is refused: it stays as it was."""
    settings = _write_people(tmp_path_factory.mktemp("unchanged"))
    before = _state(settings)
    yield settings
    assert _state(settings) == before


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("Nobody", "--rename", "X"), 1, "nobody of that name"),
        ((_ADA, "--rename", "Bo"), 1, "another person has that name"),
        ((_ADA, "--rename", " Bo "), 1, "another person has that name"),
        ((_ADA, "--rename", _ADA), 1, "the person already has that name"),
        ((_ADA, "--rename", "../Bo"), 1, "starts with a dot"),
        ((_ADA, "--rename", "Ada/Bo"), 1, "contains a slash"),
        ((_ADA, "--merge-into", "Nobody"), 1, "nobody of that name"),
        (("Nobody", "--merge-into", _ADA), 1, "nobody of that name"),
        ((_ADA, "--merge-into", _ADA), 1, "the same person"),
        (_UNDO, 1, "there is nothing to undo"),
        ((_ADA,), 2, "these options can't be combined"),
        (("--rename", "X"), 2, "these options can't be combined"),
        ((_ADA, "--rename", "X", "--merge-into", "Bo"), 2, "these options can't be combined"),
        ((_ADA, "--undo"), 2, "these options can't be combined"),
        ((_ADA, "--rename", "X", "--undo"), 2, "these options can't be combined"),
        ((_ADA, "--rename"), 2, "expected one argument"),
    ],
)
def test_what_can_not_be_is_refused(unchanged: Settings, words: tuple[str, ...], code: int, why: str) -> None:
    """The answer no is 1, a command line that makes no sense is 2; the reason stands on standard error, and nothing is changed."""
    done = command(unchanged.base, "people", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert why in done.stderr


def test_a_running_site_refuses_the_same(people_site: Settings) -> None:
    """With --json the reason and the code are one document on standard output; what the error proposes works."""
    folder, before = people_site.base, _state(people_site)
    for words, why in ((("Nobody", "--rename", "X"), "nobody of that name"), (_UNDO, "there is nothing to undo")):
        answer = command_json(folder, "people", *words, expect=1)
        assert (answer["exit_code"], why in answer["error"][0]) == (1, True)
    answer = command_json(folder, "people", _ADA, "--rename", "Bo", expect=1)
    assert f"people '{_ADA}' --merge-into 'Bo'" in answer["error"][0]
    assert _state(people_site) == before
    assert command_json(folder, "people", *_MERGE)["kept_once"] == 1


@pytest.mark.parametrize("way", [_RENAME, _MERGE], ids=["rename", "merge"])
def test_whoever_was_forgotten_or_changed_again_is_not_brought_back(tmp_path: Path, way: tuple[str, ...]) -> None:
    """Undone is the last change of a person; an earlier one, and one of somebody forgotten since, is nothing to undo, exit 1."""
    settings = _write_people(tmp_path)
    name = way[-1]
    command_json(tmp_path, "people", *way)
    command_json(tmp_path, "people", name, "--rename", "Later")
    assert command_json(tmp_path, "people", *_UNDO)["person"] == name
    done = command(tmp_path, "people", *_UNDO)
    assert (done.returncode, "there is nothing to undo" in done.stderr) == (1, True)
    command_json(tmp_path, "people", name, "--rename", "Later")
    command_json(tmp_path, "forget", "Later")
    done = command(tmp_path, "people", *_UNDO)
    assert (done.returncode, "there is nothing to undo" in done.stderr) == (1, True)
    assert people_of(tmp_path) == {"Bo", "Cy"} - {name}
    assert _state(settings).fits()


# --- forgotten ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [_RENAME, _MERGE], ids=["rename", "merge"])
def test_forgetting_removes_every_trace_of_both_names(
    people_site: Settings, tmp_path: Path, way: tuple[str, ...]
) -> None:
    """In no file of the data folder, WAL, backup and file names included, is a byte of either name, of a reference or of a photo, also of
    the reference that was kept once."""
    folder, name = people_site.base, way[-1]
    references = noise(np.random.default_rng(3), 5, 128)
    others = {"rename": references[2:], "merge": references[4:]}["merge" if way is _MERGE else "rename"]
    answer = command_json(folder, "people", *way)
    with SiteAccess(people_site, silent) as site:
        site.record([_seen(name, 3)])
    forgotten = command_json(folder, "forget", name)
    assert (forgotten["references"], forgotten["not_removed"]) == (
        answer["references"] + (2 if way is _MERGE else 0),
        [],
    )
    assert forgotten["sightings"] == (3 if way is _MERGE else 2)
    held = bytes_under(people_site.data_dir, tmp_path / "copy")
    assert any(one.endswith("backup.db") for one in held)
    for file, content in held.items():
        for trace in (b"Lovelace", b"Quill", b"pixels of Ada", *(one.tobytes()[:48] for one in references[:2])):
            assert trace not in content, (file, trace)
            assert trace.decode("latin-1") not in file
        if way is _MERGE:
            assert b"faces/Bo" not in content, file
            assert b"pixels of Bo" not in content, file
    for one in others:
        assert one.tobytes() in b"".join(held.values()), "everybody else is there"


@pytest.mark.parametrize("way", [_RENAME, _MERGE], ids=["rename", "merge"])
def test_an_older_backup_does_not_bring_back_who_was_forgotten_under_another_name(
    tmp_path: Path, way: tuple[str, ...]
) -> None:
    """Nothing of the person as they were called in the backup, also no reference that was kept once."""
    _write_people(tmp_path)
    command_json(tmp_path, "backup", str(tmp_path / "old.db"))
    command_json(tmp_path, "people", *way)
    command_json(tmp_path, "forget", way[-1])
    command_json(tmp_path, "restore", str(tmp_path / "old.db"))
    assert people_of(tmp_path) == ({"Cy"} if way is _MERGE else {"Bo", "Cy"})


# --- killed ---------------------------------------------------------------------------------------------------------

# Has a child do the change in a folder and die (SIGKILL) at the Nth statement or call that changes files. One line in, one line out.
_KILLED = """
import json, os, signal, sqlite3, sys
from pathlib import Path
from shared.service.access import SiteAccess
from shared.settings.file import load_settings
from shared.store import connection

left = 0

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

class Dying(sqlite3.Connection):
    def execute(self, *arguments):
        step()
        return super().execute(*arguments)

    def executemany(self, *arguments):
        step()
        return super().executemany(*arguments)

def hear(event, arguments):
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "open"):
        step()

connection.connect.__defaults__ = (Dying,)
sys.addaudithook(hear)
for line in sys.stdin:
    folder, operation, names, dies_at = json.loads(line)
    child = os.fork()
    if child == 0:
        with SiteAccess(load_settings(Path(folder) / "site.toml"), lambda line: None) as site:
            left = dies_at
            getattr(site, operation)(*names)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.parametrize(
    ("before", "operation", "names"),
    [
        (None, "rename", (_ADA, _ZED)),
        (None, "merge", (_ADA, "Bo")),
        (_RENAME, "undo_people", ()),
        (_MERGE, "undo_people", ()),
    ],
    ids=["rename", "merge", "undo-rename", "undo-merge"],
)
def test_killed_at_any_step_it_is_done_or_not_begun(
    tmp_path: Path, before: tuple[str, ...] | None, operation: str, names: tuple[str, ...]
) -> None:
    """A process without a site, killed at its 1st, 2nd, 3rd … step until it passes: the next process finds the old state or the new one,
    whole, with every photo in its place; the backup has the same people, or is gone."""
    template = tmp_path / "template"
    template.mkdir()
    settings = _write_people(template)
    if before is not None:
        command_json(template, "people", *before)
    old, found = _state(settings), []
    words = [sys.executable, "-c", _KILLED]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for dies_at in range(1, 1000):
            folder = tmp_path / str(dies_at)
            shutil.copytree(template, folder)
            server.stdin.write(json.dumps([str(folder), operation, names, dies_at]) + "\n")
            server.stdin.flush()
            code = int(server.stdout.readline())
            assert code in (0, -signal.SIGKILL)
            settings = load_settings(folder / "site.toml")
            with files_of(settings) as files:
                assert files.check() == []
                found.append(_state(settings))
                assert found[-1].fits()
                assert _in_backup(settings) in (None, {name for name, *_ in found[-1].people})
            shutil.rmtree(folder)
            if code == 0:
                break
        server.stdin.close()
    new = found[-1]
    assert new != old
    changes = found.index(new)
    assert found == [old] * changes + [new] * (len(found) - changes)
    assert changes > 10, "before the commit"
    assert len(found) - changes > 5, "after it"


def test_the_writer_is_killed_around_renames_and_merges(tmp_path: Path) -> None:
    """40 changes of a running site, the writer killed at a random moment of about half of them: what was answered is done, and what was not
    answered is done wholly or not at all. Once a request may have been carried out, the client does not repeat it: a second undo would
    take back the change before."""
    settings, chance = _write_people(tmp_path), random.Random(4)
    known = {"": _state(settings)}  # by what was done last
    writer = WriterProcess(tmp_path)
    client = SiteClient(settings.run_dir, patience_s=30)
    kills = 0
    try:
        for turn in range(40):
            old = _state(settings)
            way, request = ("", UndoPeople()) if old != known[""] else _CHANGES[turn // 2 % 2]
            killer = threading.Timer(chance.uniform(0, 0.03), writer.kill)
            if is_killed := turn >= 4 and chance.random() < 0.5:
                killer.start()
                kills += 1
            try:
                client.ask(request)
            except TemporaryError as error:
                assert "may have been done" in error.line()  # the other outcome is no error
                wanted = [old, known[way]]
            else:
                if way not in known:
                    known[way] = _state(settings)
                wanted = [known[way]]
            if is_killed:
                killer.join()
            client.ask(Info())  # once the writer that took the dead one's place answers, photos are moved
            assert _state(settings) in wanted
            fresh = RunningSite(settings)
            assert fresh.check() == []
            fresh.close()
        assert kills > 10
        assert writer.starts > kills // 2
    finally:
        client.close()
        code = writer.close()
    assert code == 0
    assert all(one.fits() for one in known.values())
