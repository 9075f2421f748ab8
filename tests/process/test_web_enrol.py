"""Photos handed in to the web part: judged, recognised, enrolled, refused; and what the web process is spared."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from shared.ipc.desk import Assess
from shared.photos.reading import decode_photo
from shared.records import Role
from tests.support.paths import astronaut, needs_dlib, no_faces, six_faces
from tests.support.web_site import Visitor, WebSite, web_site
from workers.dashboard import photo_desk

pytestmark = needs_dlib
API = "/api/v1"
_HOSTILE = "\u202etxt.gpj<script>alert(1)</script>"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    with web_site(tmp_path_factory.mktemp("enrol")) as running:
        yield running


@pytest.fixture(scope="module")
def operator(web: WebSite) -> Visitor:
    return web.visitor(Role.OPERATOR)


def send(visitor: Visitor, path: str, *photos: bytes, name: str = "x.jpg", **fields: Any) -> requests.Response:
    files = [("photo", (name, photo)) for photo in photos]
    return visitor.session.post(f"{visitor.address}{API}/{path}", files=files, data=fields, timeout=150)


def faces_of(visitor: Visitor, photo: bytes, **fields: Any) -> list[dict[str, Any]]:
    answer = send(visitor, "assess", photo, **fields)
    assert answer.status_code == 200, answer.text
    faces: list[dict[str, Any]] = answer.json()["photos"][0]["faces"]
    return faces


def pss_mb(pid: int) -> float:
    """The memory that a process takes, with its share of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def kept_files(web: WebSite) -> set[str]:
    data = web.site.settings.data_dir
    return {str(one.relative_to(data)) for one in (data / "faces").rglob("*") if one.is_file()}


def test_a_photo_is_judged_and_nothing_is_stored(web: WebSite, operator: Visitor) -> None:
    """Each part with its value and what was measured; a dark copy says what to do. No file and no row comes of it."""
    (face,) = [one for one in faces_of(operator, astronaut().read_bytes()) if one["proposed"]]
    assert face["fit"]
    assert {part["part"] for part in face["parts"]} == {"size", "detector", "sharpness", "brightness"}
    assert Image.open(io.BytesIO(base64.b64decode(face["picture"]))).size[0] <= 160
    dark = io.BytesIO()
    Image.open(astronaut()).convert("RGB").point(lambda level: int(level * 0.08)).save(dark, "PNG")
    (bad,) = [one for one in faces_of(operator, dark.getvalue()) if one["proposed"]]
    assert not bad["fit"]
    (light,) = [part for part in bad["parts"] if part["part"] == "brightness"]
    assert (light["value"], light["what"]) == (0, "the face is too dark")
    assert light["remedy"] == "take a photo in even light"
    assert faces_of(operator, no_faces().read_bytes()) == []
    assert kept_files(web) == set()
    assert operator.get(f"{API}/people")["people"] == []


def test_somebody_is_enrolled_recognised_and_found_again(web: WebSite, operator: Visitor) -> None:
    """One photo enrols; the photo again changes nothing; another person's photo under that name is refused; who looks alike is told."""
    photo = astronaut().read_bytes()
    assert send(operator, "people", photo, name="../Ada.jpg").status_code == 422, "the file's name is no person's"
    fields = {"name": "Eileen Collins", "user_id": "e-1"}
    files = [("photo", ("../../../etc/passwd", photo))]
    made = operator.session.post(f"{web.address}{API}/people", files=files, data=fields, timeout=150)
    assert made.status_code == 201, made.text
    person = made.json()["person"]
    assert (person["person"], person["user_id"], person["references"]) == ("Eileen Collins", "e-1", 1)
    (kept,) = kept_files(web)
    assert kept.startswith("faces/Eileen Collins/web-"), "the name under which it came is not looked at"
    assert (web.site.settings.data_dir / kept).stat().st_mode & 0o777 == 0o600
    again = operator.session.post(f"{web.address}{API}/people", files=files, data=fields, timeout=150)
    assert again.json()["photos"] == [{"enrolled": False, "unchanged": True, "set_aside": False, "fault": None}]
    other = operator.session.post(
        f"{web.address}{API}/people", files=[("photo", ("x", six_faces().read_bytes()))], data=fields, timeout=150
    )
    assert (other.status_code, other.json()["detail"]) == (409, "somebody of that name is enrolled already")
    found = send(operator, "identify", photo).json()["photos"][0]["faces"]
    assert {one["person"] for one in found} >= {"Eileen Collins"}
    (face,) = [one for one in faces_of(operator, photo) if one["proposed"]]
    assert face["look_alikes"] == [{"person": "Eileen Collins", "score": 1.0}]
    (face,) = [one for one in faces_of(operator, photo, person=person["id"]) if one["proposed"]]
    assert (face["look_alikes"], face["likeness"]) == ([], 1.0)
    references = f"{API}/people/{person['id']}/references"
    (reference,) = operator.get(references)["references"]
    judged = operator.get(f"{references}/{reference['id']}/quality")
    assert [one["parts"] for one in judged["faces"] if one["proposed"]] == [face["parts"]]
    assert operator.ask("GET", f"{references}/{reference['id'] + 1}/quality").status_code == 404


def test_of_several_faces_one_is_chosen(web: WebSite, operator: Visitor) -> None:
    """None is proposed, and without a choice the photo is refused; with one it is enrolled, cut down to that face. Then that face is proposed."""
    photo = six_faces().read_bytes()
    faces = faces_of(operator, photo)
    assert (len(faces), [one for one in faces if one["proposed"]]) == (6, [])

    def enrol(**fields: str) -> requests.Response:
        data = {"name": "Ruby Heart", **fields}
        return operator.session.post(
            f"{web.address}{API}/people", files=[("photo", ("x", photo))], data=data, timeout=150
        )

    refused = enrol()
    assert refused.status_code == 409
    assert refused.json()["errors"][0]["pointer"] == "/body/photo/0"
    nowhere = enrol(box="1,1,20,20")
    assert nowhere.json()["detail"] == "the photo has no face there"
    made = enrol(box=",".join(map(str, faces[1]["box"])))
    assert made.status_code == 201, made.text
    (kept,) = [one for one in kept_files(web) if "Ruby" in one]
    (alone,) = [one for one in faces_of(operator, (web.site.settings.data_dir / kept).read_bytes()) if one["proposed"]]
    assert alone["look_alikes"][0]["score"] > 0.99
    proposed = [one["box"] for one in faces_of(operator, photo, person=made.json()["person"]["id"]) if one["proposed"]]
    assert proposed == [faces[1]["box"]]


def test_a_photo_of_an_iphone_is_enrolled_as_jpeg(web: WebSite, operator: Visitor) -> None:
    """HEIC is read; what is kept is a JPEG without the place where it was taken, which every later version reads."""
    pillow_heif = pytest.importorskip("pillow_heif")
    written = io.BytesIO()
    with Image.open(astronaut()) as photo:
        exif = photo.getexif()
        exif[0x010E] = "canary-of-the-place"
        pillow_heif.from_pillow(photo.convert("RGB")).save(written, quality=95, exif=exif.tobytes())
    assert b"canary-of-the-place" in written.getvalue()
    made = operator.session.post(
        f"{web.address}{API}/people", files=[("photo", ("IMG_1.HEIC", written.getvalue()))],
        data={"name": "Phone"}, timeout=150,
    )  # fmt: skip
    assert made.status_code == 201, made.text
    (kept,) = [one for one in kept_files(web) if "Phone" in one]
    assert kept.endswith(".jpg")
    content = (web.site.settings.data_dir / kept).read_bytes()
    assert b"canary" not in content
    assert decode_photo(content)[0].shape == (512, 512, 3)


def _bomb() -> bytes:
    """A PNG of some kilobytes that says it has 60,000 × 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = (60_000).to_bytes(4, "big")
    head = chunk(b"IHDR", side + side + b"\x08\x02\x00\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("photo", "told"),
    [
        (_bomb(), "too large"),
        (astronaut().read_bytes()[:40_000] if astronaut().exists() else b"", "damaged or cut short"),
        (b"<script>alert(1)</script>" * 10, "is not a photo"),
        (b"", "is not a photo"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "damaged or cut short"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(200), "the format is not read"),
    ],
)
def test_what_is_no_photo_is_refused_with_a_reason(operator: Visitor, photo: bytes, told: str) -> None:
    """A bomb, half a photo, a script, nothing, a broken HEIC, a video: each is told what it is, in `assess` and when it is enrolled."""
    answer = send(operator, "assess", photo, name=_HOSTILE)
    assert answer.status_code == 200, answer.text
    fault = answer.json()["photos"][0]["fault"]
    assert told in fault["what"]
    files = [("photo", (_HOSTILE, photo))]
    refused = operator.session.post(
        f"{operator.address}{API}/people", files=files, data={"name": "Nobody"}, timeout=150
    )
    assert refused.status_code == 409
    assert told in refused.json()["errors"][0]["what"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("../../etc/passwd", 409), ("/etc/passwd", 409), (".hidden", 409), ("x" * 300, 409), ("x" * 301, 422), ("", 422), ("  ", 409),
        ("Ada\u202egpj", 409), ("Ada\nBo", 409), ("a\0b", 409),
    ],
)  # fmt: skip
def test_a_hostile_name_is_refused(web: WebSite, operator: Visitor, name: str, status: int) -> None:
    """A path, a name that is too long, invisible or turning characters, line ends: refused with what a name may be; no folder is made."""
    before = kept_files(web)
    answer = operator.session.post(
        f"{web.address}{API}/people",
        files=[("photo", ("x", astronaut().read_bytes()))],
        data={"name": name},
        timeout=150,
    )
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["expected"]
    assert kept_files(web) == before


def test_a_script_as_a_name_is_only_a_name(web: WebSite, operator: Visitor) -> None:
    """`<script>` without a slash is a fit name, shown as text; it is a folder like another."""
    answer = operator.session.post(
        f"{web.address}{API}/people", files=[("photo", ("x", astronaut().read_bytes()))], data={"name": "<script>"},
        timeout=150,
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    assert answer.json()["person"]["person"] == "<script>"


def test_a_form_beyond_its_limits_is_refused(web: WebSite, operator: Visitor) -> None:
    """No form, no photo, a field that there is not, a box that is none, 51 photos, a photo of 21 MB: refused with a place."""
    url = f"{web.address}{API}/assess"
    small = ("photo", ("x", b"x"))
    told = {
        "no form": operator.session.post(url, json={}, timeout=60),
        "no photo": operator.session.post(url, files=[("person", (None, ""))], timeout=60),
        "unknown field": operator.session.post(url, files=[small, ("colour", (None, "blue"))], timeout=60),
        "half a form": operator.session.post(
            url, data=b"--b\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"x\"\r\n\r\nabc",
            headers={"Content-Type": "multipart/form-data; boundary=b"}, timeout=60,
        ),
        "long field": operator.session.post(url, files=[small, ("person", (None, "x" * 5000))], timeout=60),
        "51 photos": operator.session.post(url, files=[small] * 51, timeout=60),
        "21 MB": operator.session.post(url, files=[("photo", ("x", bytes(21 << 20)))], timeout=60),
        "box": operator.session.post(
            f"{web.address}{API}/people", files=[small], data={"name": "A", "box": "1,2,3"}, timeout=60
        ),
    }  # fmt: skip
    assert {what: one.status_code for what, one in told.items()} == {
        "no form": 422, "no photo": 422, "unknown field": 422, "half a form": 422, "long field": 413, "51 photos": 413, "21 MB": 413,
        "box": 422,
    }  # fmt: skip
    assert all(one.json()["errors"][0]["expected"] for one in told.values())


def test_the_web_process_holds_no_photo(web: WebSite, operator: Visitor) -> None:
    """After three photos of 19 MB it has not grown by one; no file of them is left; and the process that looked at them is another one."""
    pid = web.site.child_pid("web")
    send(operator, "assess", b"x")
    before = pss_mb(pid)
    photos = [b"\x89PNG\r\n\x1a\n" + bytes(19 << 20)] * 3
    assert send(operator, "assess", *photos).status_code == 200
    assert pss_mb(pid) < before + 10
    images = [one for one in web.site.settings.data_dir.rglob("*") if one.is_file() and not one.is_symlink()]
    assert not [
        one for one in images if one.open("rb").read(8) == b"\x89PNG\r\n\x1a\n" and one.stat().st_size > 1 << 20
    ]


def test_a_process_that_dies_is_replaced(web: WebSite, operator: Visitor) -> None:
    """The one that looks at photos is killed: the next photo is looked at by a new one."""
    assert faces_of(operator, astronaut().read_bytes())
    os.kill(desk_of(web), signal.SIGKILL)
    answers = [send(operator, "assess", astronaut().read_bytes()).status_code for _ in range(2)]
    assert answers[1] == 200
    assert answers[0] in (200, 503)


def desk_of(web: WebSite) -> int:
    """The process id of the one that looks at photos."""
    import psutil

    (found,) = [
        one.pid for one in psutil.Process(web.site.child_pid("web")).children() if "desk" in " ".join(one.cmdline())
    ]
    return found


def test_a_viewer_hands_in_nothing(web: WebSite) -> None:
    """Neither to be judged nor to be enrolled."""
    viewer = web.visitor(Role.VIEWER)
    assert send(viewer, "assess", b"x").status_code == 403
    assert send(viewer, "people", b"x").status_code == 403


def test_the_process_ends_when_nobody_needs_it(web: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started for the first photo, stays while it is needed, and is gone when nobody has needed it for a while."""
    one = photo_desk.PhotoDesk(web.site.settings)

    async def look() -> None:
        with astronaut().open("rb") as photo:
            assert (await one.ask(Assess(), photo.fileno())).faces

    assert one.pid is None
    asyncio.run(look())
    pid = one.pid
    assert pid is not None
    one.end_if_idle()
    assert one.pid == pid, "it was needed a moment ago"
    monkeypatch.setattr(photo_desk, "_IDLE_S", 0.0)
    one.end_if_idle()
    web.site.wait_for(lambda: one.pid is None and not Path(f"/proc/{pid}").exists(), "end of the process")
    one.close()
