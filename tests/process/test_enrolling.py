"""`enrol` and a first start with whatever lies in a folder of photos: each is enrolled, refused or passed over by name."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.support.paths import FACES, astronaut, needs_data, needs_dlib, six_faces
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.stores import DLIB, site_settings

pytestmark = needs_dlib

_GPS, _DESCRIPTION, _ORIENTATION = 0x8825, 0x010E, 0x0112


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    return tmp_path


def one_face(path: Path, turned: float = 0.0, **options: Any) -> Path:
    """A photo of one person, and of another with every angle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Pillow.open(astronaut()) as photo:
        photo.convert("RGB").rotate(turned).save(path, **options)
    return path


def another_face(path: Path, number: int) -> Path:
    """A photo of one of the six people at the table."""
    lefts = (20, 230, 410, 690, 840, 1070)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Pillow.open(six_faces()) as photo:
        top = 40 if number == 4 else 140 if number == 1 else 260
        photo.crop((lefts[number], top, lefts[number] + 200, top + 220)).resize((400, 440)).save(path, quality=95)
    return path


def reasons(answer: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {Path(one["photo"]).name: one["reason"] for one in answer["refused"]}


def strange_entries(folder: Path) -> set[str]:
    """What nobody can read, beside photos: a FIFO, a socket, a device, a link to nowhere, names that are no text; their names."""
    os.mkfifo(folder / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path is short
        listener.bind("socket.jpg")
        os.chdir(here)
    shutil.copyfile(six_faces(), os.fsencode(folder) + b"/M\xfcller.jpg")
    (folder / "zero.jpg").touch()
    names = {"fifo.jpg", "socket.jpg", "M\\xfcller.jpg", "zero.jpg"}
    if os.geteuid() == 0:
        os.mknod(folder / "device.jpg", 0o20600, os.makedev(1, 5))  # /dev/zero, which never ends
        names.add("device.jpg")
    return names


def test_what_can_not_be_read_is_refused_and_the_rest_is_enrolled(site: Path) -> None:
    """FIFOs, sockets, devices and bytes that are no name, in a folder of photos: refused within seconds, Ada and Bo enrolled."""
    one_face(site / "photos" / "Ada" / "a.jpg")
    strange = strange_entries(site / "photos" / "Ada")
    (Path(os.fsdecode(os.fsencode(site / "photos") + b"/J\xf6rg"))).mkdir()
    one_face(Path(os.fsdecode(os.fsencode(site / "photos") + b"/J\xf6rg/b.jpg")))
    long_name = "b" * 251 + ".jpg"
    another_face(site / "photos" / "Bo" / long_name, 0)
    answer = command_json(site, "enrol", "photos", expect=1, timeout_s=60)
    assert {one["person"] for one in answer["enrolled"]} == {"Ada", "Bo"}
    assert set(reasons(answer)) == strange | {"b.jpg"}
    assert "not a regular file" in reasons(answer)["fifo.jpg"]
    assert "not UTF-8" in reasons(answer)["M\\xfcller.jpg"]
    kept = sorted(path.name for path in (site / "data" / "faces").rglob("*.jpg"))
    assert kept == ["a.jpg", "b" * 180 + ".jpg"]
    again = command_json(site, "enrol", "photos", expect=1, timeout_s=60)
    assert again["unchanged"] == 2


def test_a_first_start_goes_on_past_what_can_not_be_read(site: Path) -> None:
    """The same in data/faces: the site starts, says what it skipped, and has Ada."""
    one_face(site / "data" / "faces" / "Ada" / "a.jpg")
    (site / "data").chmod(0o700)
    strange = strange_entries(site / "data" / "faces" / "Ada")
    os.mkfifo(site / "data" / "faces" / "loose.jpg")
    with SiteProcess(site) as running:
        running.wait_until_ready()
        assert running.status()["gallery"]["references"] == 1
        assert running.stop() == 0
    for name in strange | {"loose.jpg"}:
        assert any("skipped" in line and name in line for line in running.log), name


def without_rights(*words: str) -> tuple[str, ...]:
    """The words that run a command as a user who may not read everything."""
    if os.geteuid():
        return words
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed, and root reads everything")
    caps = "-dac_override,-dac_read_search"
    return ("setpriv", "--bounding-set", caps, "--inh-caps", caps, *words)


def test_what_may_not_be_read_is_refused_by_name(site: Path) -> None:
    """A photo, a person's folder and a folder that can be listed but not entered: each refused with its path, Ada enrolled."""
    import sys

    from tests.support.site_process import SUPERVISOR

    one_face(site / "photos" / "Ada" / "a.jpg")
    closed = one_face(site / "photos" / "Ada" / "closed.jpg", 3)
    for name, mode in (("Bo", 0o000), ("Cy", 0o400)):
        another_face(site / "photos" / name / "x.jpg", 0)
        (site / "photos" / name).chmod(mode)
    closed.chmod(0)
    words = without_rights(sys.executable, str(SUPERVISOR), "enrol", "photos")
    done = subprocess.run(words, cwd=site, capture_output=True, text=True, timeout=60, check=False)
    for name in ("Bo", "Cy"):
        (site / "photos" / name).chmod(0o700)
    assert done.returncode == 1, done.stderr
    assert "enrolled 1 photo of 1 person" in done.stdout
    for told in ("photos/Ada/closed.jpg", "photos/Bo", "photos/Cy"):
        assert any(told in line and "Permission denied" in line for line in done.stderr.splitlines()), (
            told,
            done.stderr,
        )


def test_kept_photos_tell_nothing_but_the_picture(site: Path) -> None:
    """Position, description and comment of a photo are not in data/faces; its turn is; the original is known again."""
    tags = Pillow.Exif()
    tags[_ORIENTATION], tags[_DESCRIPTION] = 6, "HR file 4711"
    tags.get_ifd(_GPS).update({1: "N", 2: (52.0, 31.0, 7.0)})
    original = one_face(site / "photos" / "Ada" / "a.jpg", 90, exif=tags, comment="HR file 4711")
    assert b"4711" in original.read_bytes()
    assert command_json(site, "enrol", "photos")["enrolled"]
    kept = site / "data" / "faces" / "Ada" / "a.jpg"
    assert b"4711" not in kept.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600
    with Pillow.open(kept) as photo:
        assert dict(photo.getexif()) == {_ORIENTATION: 6}
    assert command_json(site, "enrol", "photos")["unchanged"] == 1
    (site / "data" / "face_embeddings.db").unlink()
    with SiteProcess(site) as running:
        running.wait_until_ready()
        assert running.stop() == 0
    assert command_json(site, "enrol", "photos")["unchanged"] == 1


def test_rows_and_marks_of_whole_files_still_hold(site: Path) -> None:
    """A row that knows the digest of the whole file, as older versions wrote it: unchanged; its mark, once forgotten, keeps the
    photo out of a first start."""
    import hashlib
    import sqlite3

    original = one_face(site / "photos" / "Ada" / "a.jpg", comment="HR file 4711")
    command_json(site, "enrol", "photos")
    old = hashlib.sha256(original.read_bytes()).hexdigest()
    shutil.copyfile(original, site / "data" / "faces" / "Ada" / "a.jpg")
    connection = sqlite3.connect(site / "data" / "face_embeddings.db")
    with connection:
        connection.execute("UPDATE reference_facts SET photo_digest=?", (old,))
    connection.close()
    assert command_json(site, "enrol", "photos")["unchanged"] == 1
    another_face(site / "more" / "Ada" / "b.jpg", 0)
    command_json(site, "enrol", "more")
    command_json(site, "forget", "Ada", "--photo", "a.jpg")
    command_json(site, "forget", "Ada", "--photo", "b.jpg")
    (site / "data" / "faces" / "Ada").mkdir(exist_ok=True)
    shutil.copyfile(original, site / "data" / "faces" / "Ada" / "a.jpg")
    with SiteProcess(site) as running:
        running.wait_until_ready()
        assert running.status()["gallery"]["references"] == 0
        assert running.stop() == 0


def test_what_is_kept_is_what_was_embedded(site: Path) -> None:
    """A photo is read once: with its file replaced by another's at every chance, the kept copy is always the embedded one."""
    ada, mallory = one_face(site / "ada.jpg").read_bytes(), another_face(site / "mallory.jpg", 0).read_bytes()
    target = site / "photos" / "Ada" / "a.jpg"
    target.parent.mkdir(parents=True)
    target.write_bytes(ada)
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    import sys

    from tests.support.site_process import SUPERVISOR

    trace = site / "trace.txt"
    words = [
        strace,
        "-f",
        "-qq",
        "-o",
        str(trace),
        "-e",
        "trace=openat,open",
        sys.executable,
        str(SUPERVISOR),
        "enrol",
        "photos",
    ]
    done = subprocess.run(words, cwd=site, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    opened = [line for line in trace.read_text(errors="replace").splitlines() if "photos/Ada/a.jpg" in line]
    assert len(opened) == 1, opened
    assert mallory != ada


def test_a_kept_photo_is_on_the_disk_before_its_row(site: Path) -> None:
    """Of the photo, its folder and the database: the photo's and the folder's fsync come before the transaction's."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    import sys

    from tests.support.site_process import SUPERVISOR

    one_face(site / "photos" / "Ada" / "a.jpg")
    trace = site / "trace.txt"
    words = [strace, "-f", "-qq", "-y", "-o", str(trace), "-e", "trace=fsync,fdatasync,rename,renameat,renameat2"]
    done = subprocess.run(
        [*words, sys.executable, str(SUPERVISOR), "enrol", "photos"],
        cwd=site,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = trace.read_text(errors="replace").splitlines()

    def first(what: str, path: str, after: int = 0) -> int:
        return next(at for at, line in enumerate(calls) if at >= after and what in line and path in line)

    renamed = first("rename", "data/faces/Ada/a.jpg")
    assert first("sync(", ".new>") < renamed
    folder = first("sync(", "data/faces/Ada>", renamed)
    row = first("sync(", "face_embeddings.db", folder)
    assert renamed < folder < row


def test_a_copy_of_a_refused_photo_is_refused_too(site: Path) -> None:
    """Nobody's photo twice: both are refused, and neither counts as enrolled already."""
    (site / "photos" / "Ada").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Pillow.fromarray(np.full((300, 300, 3), 90, np.uint8)).save(site / "photos" / "Ada" / name)
    answer = command_json(site, "enrol", "photos", expect=1)
    assert (answer["enrolled"], answer["unchanged"]) == ([], 0)
    assert set(reasons(answer)) == {"a.png", "b.png"}


def test_what_is_passed_over_is_named_and_counted(site: Path) -> None:
    """A folder in a person's folder, a link that leads out, other files: named, and no reason to end with 1."""
    one_face(site / "photos" / "Ada" / "a.jpg")
    another_face(site / "photos" / "Ada" / "deeper" / "b.jpg", 0)
    (site / "photos" / "Ada" / "notes.txt").write_text("x", encoding="utf-8")
    another_face(site / "elsewhere" / "c.jpg", 1)
    (site / "photos" / "Cy").symlink_to(site / "elsewhere")
    answer = command_json(site, "enrol", "photos")
    assert {Path(one["path"]).name: one["reason"].split(" (")[0] for one in answer["skipped"]} == {
        "deeper": "a folder inside a person's folder",
        "notes.txt": "no photo by its name",
        "Cy": "a link that leads out of the folder",
    }
    done = command(site, "enrol", "photos")
    assert "3 skipped: photos/Cy (a link" in done.stderr
    (site / "none").mkdir()
    (site / "none" / "film.mp4").touch()
    done = command(site, "enrol", "none")
    assert done.returncode == 1
    assert "film.mp4 (no photo by its name (.mp4))" in done.stderr


def test_rare_suffixes_and_none_are_photos(site: Path) -> None:
    """.jpe, .mpo with its second picture, a JPEG without a suffix: enrolled, and kept under a name that says what they are."""
    one_face(site / "photos" / "Ada" / "a.jpe", format="JPEG")
    another_face(site / "photos" / "Bo" / "b.jpg", 0).rename(site / "photos" / "Bo" / "b")
    with Pillow.open(another_face(site / "cy.jpg", 3)) as first:
        out = io.BytesIO()
        first.save(out, "MPO", save_all=True, append_images=[first.copy()])
    (site / "photos" / "Cy").mkdir()
    (site / "photos" / "Cy" / "c.mpo").write_bytes(out.getvalue())
    (site / "photos" / "Cy" / "d.jxl").write_bytes(b"\xff\x0a")
    answer = command_json(site, "enrol", "photos", expect=1)
    assert {one["person"] for one in answer["enrolled"]} == {"Ada", "Bo", "Cy"}
    assert "export it as JPEG" in reasons(answer)["d.jxl"]
    assert sorted(path.name for path in (site / "data" / "faces").rglob("*.*")) == ["a.jpe", "b.jpg", "c.mpo"]


def test_a_sideways_photo_is_turned(site: Path) -> None:
    """A photo that lies on its side and does not say so gives the reference that it gives upright, and so after `models use`."""
    upright = one_face(site / "upright.jpg")
    for degrees in (90, 180, 270):
        with Pillow.open(upright) as photo:
            (site / "photos" / f"Turned{degrees}").mkdir(parents=True)
            photo.rotate(degrees, expand=True).save(site / "photos" / f"Turned{degrees}" / "a.png")
    answer = command_json(site, "enrol", "photos")
    assert len(answer["enrolled"]) == 3
    (face,) = command_json(site, "identify", "upright.jpg")["photos"][0]["faces"]
    assert [round(one["score"], 2) for one in face["candidates"]] == [1.0, 1.0, 1.0]


def test_a_persons_own_folder_is_no_folder_of_people(site: Path) -> None:
    """`enrol photos/Ada`, `enrol photos/*`: photos of one person under several file names are refused with what to type; names
    that a camera gave are refused at once; what is typed then works."""
    for number, name in enumerate(("front", "left", "right")):
        one_face(site / "photos" / "Ada" / f"{name}.jpg", 2 * number)
    refused = command_json(site, "enrol", "photos/Ada", expect=1)
    assert refused["enrolled"] == []
    assert set(reasons(refused)) == {"front.jpg", "left.jpg", "right.jpg"}
    assert "supervisor.py enrol photos/Ada --name Ada" in reasons(refused)["left.jpg"]
    assert not list((site / "data").rglob("*.jpg"))
    another_face(site / "photos" / "Bo" / "IMG_0815.jpg", 0)
    numbered = command_json(site, "enrol", "photos/Bo", expect=1)
    assert "its name is a camera's" in reasons(numbered)["IMG_0815.jpg"]
    assert "supervisor.py enrol photos/Bo --name Bo" in reasons(numbered)["IMG_0815.jpg"]
    assert len(command_json(site, "enrol", "photos/Ada", "--name", "Ada")["enrolled"]) == 3
    assert len(command_json(site, "enrol", "photos/Bo", "--name", "Bo")["enrolled"]) == 1


def test_a_file_in_a_persons_place_costs_that_person_alone(site: Path) -> None:
    """data/faces/Ada is a file, a photo without a suffix even: Ada is refused with what is in the way, Bo is enrolled."""
    (site / "data" / "faces").mkdir(parents=True)
    (site / "data").chmod(0o700)
    one_face(site / "data" / "faces" / "Ada.jpg").rename(site / "data" / "faces" / "Ada")
    one_face(site / "photos" / "Ada" / "a.jpg", 2)
    another_face(site / "photos" / "Bo" / "b.jpg", 0)
    answer = command_json(site, "enrol", "photos", expect=1)
    assert [one["person"] for one in answer["enrolled"]] == ["Bo"]
    assert "data/faces/Ada is in the way" in reasons(answer)["a.jpg"]


def test_names_that_only_look_alike_are_refused(tmp_path: Path) -> None:
    """A letter that nobody sees makes no second Ada; a joiner within a Persian name is a letter of it."""
    from workers.photos.naming import people_in

    names = ("Ada\u200b", "\ufeffAda", "A\u202eda", "Ada\u200d", "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "Ada")
    found = people_in([tmp_path / f"{name}.jpg" for name in names])
    assert [person for person, _ in found.pairs] == list(names[4:])
    assert len(found.refused) == 4
    assert all("invisible characters" in reason for _, reason in found.refused)


def test_a_folder_of_people_is_one(site: Path) -> None:
    """Photos of different people right in a folder are still of those they are named after, also by numbers of their own."""
    for number, name in enumerate(("Ada", "1001", "Cy Young")):
        another_face(site / "photos" / f"{name}.jpg", (0, 3, 5)[number])
    answer = command_json(site, "enrol", "photos")
    assert {one["person"] for one in answer["enrolled"]} == {"Ada", "1001", "Cy Young"}


@pytest.mark.parametrize(
    ("stem", "camera"),
    [
        *((name, True) for name in ("IMG_1234", "DSC00012", "PXL_20260131_080012345", "20260131_080012", "WhatsApp Image 2026-01-31 at 08.00.12")),
        *((name, True) for name in ("P1040388", "image (3)", "2026-01-31 08.00.12", "IMG-20260131-WA0001", "photo1", "GOPR0042")),
        *((name, False) for name in ("Ada", "1001", "Ada 2", "Sam 2", "Penny Ante", "P. 12", "Dsc", "Image", "Ada 2026")),
    ],
)  # fmt: skip  # names read better in rows
def test_camera_names_are_told_from_peoples(tmp_path: Path, stem: str, camera: bool) -> None:
    """What phones, cameras and messengers call a file is no person; names and people's numbers are."""
    from workers.photos.naming import people_in

    found = people_in([tmp_path / f"{stem}.jpg"])
    assert bool(found.refused) == camera
    assert people_in([tmp_path / f"{stem}.jpg"], name="Ada").refused == []


@needs_data
def test_no_folder_of_different_people_is_taken_for_one(tmp_path: Path) -> None:
    """The test data's people, one photo each under the person's name in one folder: all that are fit are enrolled."""
    from tests.support.sites import write_site

    write_site(tmp_path, {})
    for person in sorted((FACES / "lfw_mini").iterdir()):
        first = sorted(person.iterdir())[0]
        (tmp_path / "photos").mkdir(exist_ok=True)
        shutil.copyfile(first, tmp_path / "photos" / f"{person.name}.jpg")
    done = command(tmp_path, "enrol", "photos", timeout_s=150)
    assert "show one person" not in done.stderr
    assert signal.SIGKILL not in (-done.returncode,)


@needs_dlib
def test_first_fill_says_who_looks_like_whom(tmp_path: Path) -> None:
    """A gallery made from data/faces at the start warns as enrol does: one photo and its mirror image under two names."""
    site_settings(tmp_path)
    for name, mirrored in (("Ada", False), ("Bo", True)):
        folder = tmp_path / "data" / "faces" / name
        folder.mkdir(parents=True)
        with Pillow.open(astronaut()) as photo:
            shown = photo.convert("RGB")
            (shown.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT) if mirrored else shown).save(folder / "1.png")
    with SiteProcess(tmp_path) as site:
        assert "Bo/1.png of Bo looks like Ada" in site.wait_for_log("of Bo looks like")
        site.wait_until_ready()
        assert any("of Ada looks like Bo" in line for line in site.log)
