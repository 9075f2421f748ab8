"""`forget` means it: repeated it is done, nothing of a killed process is left, what stays is named and tried again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import RefusedError, RollcallError
from shared.ipc.requests.base import Answer
from shared.ipc.requests.forgetting import Forget, Forgotten
from shared.ipc.requests.references import Delete, Deleted, Save, Saved
from shared.person_names import name_key, stored_name, unfitness
from shared.photos.kept import Kept
from shared.records import NewReference
from shared.store.copying import copy_to
from shared.store.marks import is_marked
from shared.store.opening import backup_path, open_read_only
from shared.store.references import list_people
from shared.store.removals import note_removals
from tests.support.live_folders import files_under
from tests.support.paths import ROOT
from tests.support.site_process import SUPERVISOR, SiteProcess, command, command_json
from tests.support.stores import (
    FailingConnection,
    bytes_under,
    event,
    failing_store,
    files_of,
    keep,
    record,
    rows,
    service_of,
    site_settings,
    store_in,
    vectors,
)
from tests.support.vectors import noise

_NFC, _NFD = "Zo\u00eb", "Zoe\u0308"
_TWINS = (_NFC, _NFD, f" {_NFC}", f"{_NFD}\t", "Zo\u200b\u00eb")


# --- names ----------------------------------------------------------------------------------------------------------


def test_twins_of_a_name_are_forgotten_with_it(tmp_path: Path) -> None:
    """Rows, sightings, photos and the backup's rows of a name in NFC, in NFD, with spaces around and with a letter that nobody sees:
    forgotten in one, and named; a name that only looks like it a little stays."""
    with store_in(tmp_path) as store:
        keep(store, vectors(6), *(NewReference(f"P{i}", f"{i}.jpg") for i in range(6)))
        with store.transaction():
            for i, name in enumerate((*_TWINS, "Zoe")):
                store.connection.execute("UPDATE embeddings SET person_name=? WHERE id=?", (name, i + 1))
            record(store, [event(f"{i}", name) for i, name in enumerate(_TWINS)], "s")
        for folder in (_NFC, _NFD):
            (tmp_path / "faces" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "faces" / folder / "1.jpg").write_bytes(b"x")
        copy_to(store, backup_path(store.path))
        answer = service_of(store, tmp_path).ask(Forget(_NFC))
        assert (answer.references, answer.sightings) == (5, 5)
        assert sorted(answer.spelt_otherwise) == sorted(_TWINS[1:])
        assert [one.person for one in list_people(store)] == ["Zoe"]
        assert list((tmp_path / "faces").iterdir()) == []
        backup = open_read_only(backup_path(store.path))
        assert [one.person for one in list_people(backup)] == ["Zoe"]
        backup.close()
        assert all(is_marked(store, name) for name in _TWINS)


def test_every_save_stores_one_form_and_nothing_invisible(tmp_path: Path) -> None:
    """NFD and spaces become NFC without; a name with a character that nobody sees is refused, in a save and on the command line."""
    with store_in(tmp_path) as store:
        service = service_of(store, tmp_path)

        def save(name: str) -> Answer | RollcallError:
            return service.write([Save([NewReference(name, "a")], vectors=vectors(1))])[0]

        assert [save(name) for name in (_NFC, _NFD, f" {_NFC} ")] == [
            Saved(ids=[1], updated=updated) for updated in (0, 1, 1)
        ]
        assert [one.person for one in list_people(store)] == [_NFC]
        refused = save("Zo\u200b\u00eb")
        assert isinstance(refused, RefusedError)
        assert "ZERO WIDTH SPACE" in refused.line()
        assert "\u200b" not in refused.line()
        (answer,) = service.write([Delete(_NFD)])
        assert answer == Deleted(deleted=1)


@pytest.mark.parametrize(
    ("name", "fit"),
    [
        ("Ada\u00ad", False),
        ("\u202eadA", False),
        ("A\u200dda", False),
        ("A\u3164da", False),
        ("Ada\ufe0f", False),
        (
            "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
            True,
        ),  # a Persian name, written with a non-joiner between its halves
        ("\u0dc1\u0dca\u200d\u0dbb\u0dd3", True),  # Sinhala, a joiner after the virama
        ("Åsa Grünwald-O'Neill", True),
    ],
)
def test_invisible_characters_but_those_that_belong_to_a_script(name: str, fit: bool) -> None:
    """What nobody sees is refused; the joiners stay where a script needs them."""
    name = stored_name(name)
    assert (unfitness(name) == "") == fit
    assert (name_key(name) == name) == fit
    assert name_key(unicodedata.normalize("NFD", name)) == name_key(name)


# --- whose photo ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["faces/../faces/Alice/1.jpg", "faces/Alice/1.jpg", "faces/Mallory/../Alice/2.jpg", "./faces/Alice.jpg"]
)
def test_a_row_of_one_person_removes_no_photo_of_another(tmp_path: Path, path: str) -> None:
    """Whatever path a row names, and however it writes it: in data/faces only what is the person's own goes."""
    for photo in ("Alice/1.jpg", "Alice/2.jpg", "Alice.jpg", "Mallory/1.jpg"):
        (tmp_path / "faces" / photo).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "faces" / photo).write_bytes(b"x")
    with store_in(tmp_path) as store:
        keep(store, vectors(2), NewReference("Alice", "faces/Alice/1.jpg"), NewReference("Mallory", path))
        answer = service_of(store, tmp_path).ask(Forget("Mallory"))
        assert (answer.references, answer.photos) == (1, 1)
    assert sorted(str(one.relative_to(tmp_path)) for one in (tmp_path / "faces").rglob("*.jpg")) == [
        "faces/Alice.jpg",
        "faces/Alice/1.jpg",
        "faces/Alice/2.jpg",
    ]


def test_a_photo_that_another_row_names_in_another_way_stays(tmp_path: Path) -> None:
    """Paths are compared by where they lead, not by how they are written."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "both.jpg").write_bytes(b"x")
    with store_in(tmp_path) as store:
        keep(store, vectors(2), NewReference("Ada", "old/both.jpg"), NewReference("Bo", "old/../old/both.jpg"))
        service = service_of(store, tmp_path)
        assert service.ask(Forget("Ada")).photos == 0
        assert (tmp_path / "old" / "both.jpg").exists()
        service.ask(Forget("Bo"))
        assert not (tmp_path / "old" / "both.jpg").exists()


# --- repeated, and cut short ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("running", [False, True])
def test_a_repeated_forget_is_done(tmp_path: Path, running: bool) -> None:
    """A person, one photo by its stored path or file name: the second time it is done already, with exit 0; nobody ever heard of is
    refused with 1, and so is a photo that there never was."""
    settings = site_settings(tmp_path)
    photos = [f"faces/Ada/{i}.jpg" for i in range(3)]
    for path in photos:
        (settings.data_dir / path).parent.mkdir(parents=True, exist_ok=True)
        (settings.data_dir / path).write_bytes(path.encode())
    with files_of(settings) as files:
        keep(
            files.store,
            noise(np.random.default_rng(1), 4, 128),
            *(NewReference("Ada", path) for path in photos),
            NewReference("Bo"),
        )
    site = SiteProcess(tmp_path, "--assume-model").start().wait_until_ready() if running else None
    try:
        for named in (photos[0], "1.jpg"):
            first = command_json(tmp_path, "forget", "Ada", "--photo", named)
            assert (first["references"], first["photos"], first["already"]) == (1, 1, False)
            again = command_json(tmp_path, "forget", "Ada", "--photo", named)
            assert (again["references"], again["photos"], again["already"]) == (0, 0, True)
        assert command(tmp_path, "forget", "Ada", "--photo", "9.jpg").returncode == 1
        first = command_json(tmp_path, "forget", "Ada")
        assert (first["references"], first["already"], first["not_removed"]) == (1, False, [])
        again = command_json(tmp_path, "forget", "Ada")
        assert (again["references"], again["already"], again["not_removed"]) == (0, True, [])
        assert {"journal", "sudo", "backups", "folders"} <= {
            word for line in again["out_of_reach"] for word in line.replace("'s", "").replace(",", "").split()
        }
        told = command(tmp_path, "forget", "Ada")
        assert (told.returncode, "already" in told.stdout, "sudo" in told.stdout) == (0, True, True)
        assert command(tmp_path, "forget", "Nobody").returncode == 1
    finally:
        if site is not None:
            site.stop()


_KILLED = """
import os, signal, sys
from shared.service import forgetting
from shared.store import erasure
from shared.settings.file import load_settings
from shared.service.access import SiteAccess
from pathlib import Path
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
with SiteAccess(load_settings(Path(sys.argv[1])), print) as site:
    for module in (forgetting, erasure):
        if hasattr(module, sys.argv[2]):
            setattr(module, sys.argv[2], kill)
    site.forget("Ada Lovelace")
"""


@pytest.mark.parametrize("at", ["remove", "change_backup"])
def test_killed_after_the_commit_the_next_process_finishes(tmp_path: Path, at: str) -> None:
    """Between the commit and the photos, between the photos and the backup: whoever opens the gallery next leaves no byte of her, and
    `forget` again is done. Folders in her folder go, too."""
    settings = site_settings(tmp_path)
    photo = settings.data_dir / "faces" / "Ada Lovelace" / "1.jpg"
    deep = photo.parent / "2024" / "June" / "2.jpg"
    deep.parent.mkdir(parents=True)
    for one in (photo, deep):
        one.write_bytes(b"pixels of her")
    (photo.parent / "2024" / "empty").mkdir()
    vector = noise(np.random.default_rng(1), 2, 128)
    with files_of(settings) as files:
        keep(files.store, vector, NewReference("Ada Lovelace", "faces/Ada Lovelace/1.jpg"), NewReference("Bo"))
        copy_to(files.store, backup_path(files.store.path))
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "site.toml"), at], cwd=ROOT, check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert command_json(tmp_path, "people")["people"][0]["person"] == "Bo"
    for name, content in bytes_under(settings.data_dir, tmp_path / "copy").items():
        assert b"Lovelace" not in content, name
        assert vector[0].tobytes()[:48] not in content, name
        assert b"pixels of her" not in content, name
    assert not photo.parent.exists()
    assert command_json(tmp_path, "forget", "Ada Lovelace")["already"] is True


def test_a_commit_that_fails_leaves_the_backup_as_it_is(tmp_path: Path) -> None:
    """The answer says that nothing was done: then the person is still in the backup too."""
    path = tmp_path / "face_embeddings.db"
    with store_in(tmp_path) as store:
        keep(store, vectors(2), NewReference("Ada"), NewReference("Bo"))
        copy_to(store, backup_path(path))
    refused = 0
    for fails_at in range(1, 200):
        store, connection = failing_store(path, FailingConnection, fails_at)
        (answer,) = service_of(store, tmp_path).write([Forget("Ada")])
        connection.disarm()
        if isinstance(answer, RollcallError):
            refused += 1
            backup = open_read_only(backup_path(path))
            assert [one.person for one in list_people(backup)] == ["Ada", "Bo"]
            backup.close()
        store.close()
        if not isinstance(answer, RollcallError):
            break
    assert refused > 10
    backup = open_read_only(backup_path(path))
    assert [one.person for one in list_people(backup)] == ["Bo"]
    backup.close()


# --- files that stay ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _immutable(path: Path) -> Iterator[Callable[[], None]]:
    """A file that not even root may remove; called, it can be again."""

    def let_go() -> None:
        subprocess.run(["chattr", "-i", str(path)], check=False, capture_output=True)

    done = (
        subprocess.run(["chattr", "+i", str(path)], check=False, capture_output=True)
        if shutil.which("chattr")
        else None
    )
    if done is None or done.returncode:
        pytest.skip("to make a file immutable needs root and a file system that has that")
    try:
        yield let_go
    finally:
        let_go()


def _site_with_a_photo(folder: Path) -> Path:
    settings = site_settings(folder)
    photo = settings.data_dir / "faces" / "Ada" / "1.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"pixels of her")
    with files_of(settings) as files:
        keep(
            files.store,
            noise(np.random.default_rng(1), 2, 128),
            NewReference("Ada", "faces/Ada/1.jpg"),
            NewReference("Bo"),
        )
    return photo


def test_a_photo_that_stays_is_75_and_named_until_it_is_gone(tmp_path: Path) -> None:
    """Exit 75 with the file, also when repeated; `check` names it; once it can be removed a repeated `forget` does, and is 0."""
    photo = _site_with_a_photo(tmp_path)
    with _immutable(photo) as let_go:
        for _ in range(2):
            answer = command_json(tmp_path, "forget", "Ada", expect=75)
            assert (answer["photos"], answer["already"]) == (0, False)
            assert str(photo) in answer["not_removed"]
        told = command(tmp_path, "forget", "Ada")
        assert (told.returncode, f"NOT REMOVED: {photo}" in told.stderr) == (75, True)
        assert any("faces/Ada/1.jpg" in line for line in command_json(tmp_path, "check", expect=1)["faults"])
        let_go()
        answer = command_json(tmp_path, "forget", "Ada")
    assert answer["not_removed"] == []
    assert not photo.parent.exists()
    assert b"faces/Ada" not in b"".join(bytes_under(tmp_path / "data", tmp_path / "copy").values())


def test_a_site_that_starts_tries_again_and_names_nobody(tmp_path: Path) -> None:
    """What could not be removed is tried at the start; its log has no name in it."""
    photo = _site_with_a_photo(tmp_path)
    with _immutable(photo) as let_go:
        command_json(tmp_path, "forget", "Ada", expect=75)
        with SiteProcess(tmp_path, "--assume-model") as site:
            site.wait_until_ready()
            site.wait_for_log("can't be removed")
            assert photo.exists()
        assert not [line for line in site.log if "Ada" in line]
        let_go()
        with SiteProcess(tmp_path, "--assume-model") as site:
            site.wait_until_ready()
            assert not photo.parent.exists()


def test_a_running_site_tries_again_once_a_minute(tmp_path: Path) -> None:
    """By itself, and no file of somebody who was enrolled again meanwhile."""
    said: list[str] = []
    with store_in(tmp_path) as store:
        for name in ("Ada", "Bo"):
            (tmp_path / "faces" / name).mkdir(parents=True)
            (tmp_path / "faces" / name / "1.jpg").write_bytes(b"x")
            keep(store, vectors(1), NewReference(name, f"faces/{name}/1.jpg"))
        service = service_of(store, tmp_path, said)
        with (
            _immutable(tmp_path / "faces" / "Ada" / "1.jpg") as let_ada,
            _immutable(tmp_path / "faces" / "Bo" / "1.jpg") as let_bo,
        ):
            for answer in service.write([Forget(name) for name in ("Ada", "Bo")]):
                assert isinstance(answer, Forgotten)
                assert len(answer.not_removed) == 2  # the photo, and its folder
            keep(store, vectors(1), NewReference("Bo", "faces/Bo/1.jpg"))
            let_ada()
            let_bo()
            now = time.monotonic()
            service.tick(now)
        assert not (tmp_path / "faces" / "Ada").exists()
        assert (tmp_path / "faces" / "Bo" / "1.jpg").exists()
        assert rows(store, "SELECT * FROM pending_removals") == []
        assert not [line for line in said if "Ada" in line or "Bo" in line]


def test_a_copy_tells_of_no_file_that_is_still_to_go(tmp_path: Path) -> None:
    """The path of a photo that could not be removed yet has the person's name: a backup has none of these paths."""
    copy = tmp_path / "copy.db"
    with store_in(tmp_path) as store:
        with store.transaction():
            note_removals(store, tmp_path, Kept([tmp_path / "faces" / "Canary" / "1.jpg"]))
        copy_to(store, copy)
        assert rows(store, "SELECT path FROM pending_removals") == [("faces/Canary/1.jpg",)]
    assert b"Canary" not in copy.read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could leave files among another user's")
@pytest.mark.parametrize("words", [("enrol", "photos"), ("people",), ("restore", "b.db"), ("run",)])
def test_root_is_refused_in_another_users_folder(tmp_path: Path, words: tuple[str, ...]) -> None:
    """What root would leave among the service's files, the service could not remove; the refusal says what to type."""
    settings = site_settings(tmp_path)
    with files_of(settings) as files:
        keep(files.store, noise(np.random.default_rng(1), 1, 128), NewReference("Bo"))
        copy_to(files.store, tmp_path / "b.db")
    (tmp_path / "photos" / "Ada").mkdir(parents=True)
    (tmp_path / "photos" / "Ada" / "1.jpg").write_bytes(b"x")
    for path in (settings.data_dir, *settings.data_dir.rglob("*")):
        os.chown(path, 3001, 3001)
    done = command(tmp_path, *words)
    assert done.returncode == 78, done.stderr
    assert "sudo -u '#3001'" in done.stderr
    assert {path.stat().st_uid for path in settings.data_dir.rglob("*")} == {3001}


# --- what a killed process left -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.float32]]:
    """A data folder to copy, with Ada Lovelace and then 40,000 others, so that a copy of it takes its time; her vector."""
    folder = tmp_path_factory.mktemp("crowded")
    rng = np.random.default_rng(1)
    ada = noise(rng, 1, 128)
    with files_of(site_settings(folder)) as files:
        keep(files.store, ada, NewReference("Ada Lovelace"))
        keep(files.store, noise(rng, 40_000, 128), *(NewReference(f"P{i}", f"{i}.jpg") for i in range(40_000)))
    return folder / "data", ada


@pytest.mark.parametrize(
    ("what", "running"),
    [
        ("backup inside", False),
        ("backup outside", False),
        ("backup outside", True),
        ("restore", False),
        ("restore", True),
    ],
)
def test_a_copy_that_was_killed_is_swept(
    tmp_path: Path, crowded: tuple[Path, NDArray[np.float32]], what: str, running: bool
) -> None:
    """A whole gallery in `restore`'s or `backup`'s unfinished file, also in a folder elsewhere: the next `forget` leaves no byte of
    her anywhere."""
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    settings = site_settings(tmp_path)
    template, ada = crowded
    shutil.copytree(template, data)
    elsewhere.mkdir()
    if what == "restore":
        with files_of(settings) as files:
            copy_to(files.store, elsewhere / "b.db")
    words = {
        "backup inside": ("backup", str(data / "mine.db")),
        "backup outside": ("backup", str(elsewhere / "mine.db")),
        "restore": ("restore", str(elsewhere / "b.db")),
    }[what]
    site = SiteProcess(tmp_path, "--assume-model").start().wait_until_ready() if running else None
    try:
        before = {*files_under(data), *elsewhere.iterdir()}
        process = subprocess.Popen([sys.executable, str(SUPERVISOR), *words], cwd=tmp_path, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not (left := _holding_rows({*files_under(data), *elsewhere.iterdir()} - before)):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[1]
        process.kill()
        process.communicate()
        assert any(path.exists() for path in left)
        (elsewhere / "b.db").unlink(missing_ok=True)
        answer = command_json(tmp_path, "forget", "Ada Lovelace")
        assert answer["other_copies"] == []
        assert not [path for path in left if path.exists()]
    finally:
        if site is not None:
            site.stop()
    for folder in (data, elsewhere):
        for name, content in bytes_under(folder, tmp_path / "copy").items():
            assert b"Lovelace" not in content, name
            assert ada.tobytes()[:48] not in content, name


def _holding_rows(paths: set[Path]) -> list[Path]:
    """Those of the new files that hold more than a page; the others come and go."""
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_size > 100_000:
                found.append(path)
    return found


def test_what_else_may_hold_a_person_is_named(tmp_path: Path) -> None:
    """Copies set aside, databases of any name, photos outside faces; not the site's own files, and nothing that is not there."""
    with store_in(tmp_path) as store:
        keep(store, vectors(1), NewReference("Ada", "faces/Ada/1.jpg"))
        copy_to(store, backup_path(store.path))
        (tmp_path / "faces" / "Ada").mkdir(parents=True)
        (tmp_path / "faces" / "Ada" / "1.jpg").write_bytes(b"x")
        for name in (
            "face_embeddings.db.damaged-X",
            "notes.txt",
            "old/album/ada.png",
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        sqlite3.connect(tmp_path / "old" / "mine").execute("CREATE TABLE t(x)").connection.close()
        assert service_of(store, tmp_path).ask(Forget("Ada")).other_copies == [
            "face_embeddings.db.damaged-X",
            "old/album/ada.png",
            "old/mine",
        ]


def test_a_copy_that_is_swept_while_it_is_made_is_tried_again(
    tmp_path: Path, crowded: tuple[Path, NDArray[np.float32]]
) -> None:
    """Somebody is forgotten while a backup is made beside the running site: it ends as temporary, and no file of it is left."""
    site_settings(tmp_path)
    shutil.copytree(crowded[0], tmp_path / "data")
    with SiteProcess(tmp_path, "--assume-model") as site:
        site.wait_until_ready()
        words = [sys.executable, str(SUPERVISOR), "backup", "mine.db"]
        process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while not _holding_rows({*tmp_path.glob(".*")}):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[1]
        process.send_signal(signal.SIGSTOP)
        command_json(tmp_path, "forget", "P7")
        process.send_signal(signal.SIGCONT)
        assert "try again" in process.communicate(timeout=30)[1]
        assert process.returncode == 75
    assert {path.name for path in tmp_path.iterdir()} == {"data", "site.toml"}
