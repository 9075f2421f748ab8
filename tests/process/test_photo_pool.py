"""The processes that read photos: one that dies or takes too long costs one photo, and none takes more than it may."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image as Pillow

from shared.errors import RefusedError
from shared.photos.reading import Photo, load_photo, read_scaled
from shared.settings.schema import Settings
from tests.support.paths import ROOT, astronaut, needs_dlib, six_faces
from tests.support.site_process import SUPERVISOR, command_json
from tests.support.stores import DLIB, site_settings
from workers.photos.pool import PhotoProcesses, PhotoReader, embed_photos
from workers.photos.process import Limits

_DECODE = {"embed": False, "limits": Limits().to_json()}


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    """Fourteen different photos of one face."""
    with Pillow.open(astronaut()) as whole:
        for number in range(14):
            whole.convert("RGB").rotate(number - 7).save(tmp_path / f"{number:02}.jpg")
    return [load_photo(path) for path in sorted(tmp_path.glob("*.jpg"))]


def children() -> list[psutil.Process]:
    """The pool's processes among our own, which call themselves "rollcall: photos"; who has worked most comes first."""
    found = [one for one in psutil.Process().children() if "photo" in " ".join(one.cmdline())]
    return sorted(found, key=lambda one: -sum(one.cpu_times()[:2]))


def test_pixels_come_as_if_they_were_decoded_here() -> None:
    """A photo through a process of its own: the same pixels, the same scale; the process is gone afterwards."""
    with PhotoReader() as reader:
        image, scale = reader.read_scaled(six_faces())
        assert len(children()) == 1
    expected, expected_scale = read_scaled(six_faces())
    assert (image.tobytes(), image.shape, scale) == (expected.tobytes(), expected.shape, expected_scale)
    assert children() == []


@needs_dlib
def test_a_process_that_reads_photos_holds_no_secret(tmp_path: Path) -> None:
    """A camera's password and systemd's folder of credentials in the command's environment are not in theirs, by strace."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    trace = tmp_path / "trace.txt"
    traced = ("strace", "-f", "-qq", "-v", "-s", "4096", "-o", str(trace), "-e", "trace=execve")
    done = subprocess.run(
        [*traced, sys.executable, str(SUPERVISOR), "identify", str(six_faces())],
        cwd=tmp_path,
        env={**os.environ, "ENTRANCE_PASSWORD": "hunter2", "CREDENTIALS_DIRECTORY": "/run/credentials/x"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    assert any("hunter2" in call and "identify" in call for call in calls)
    (started,) = [call for call in calls if '"workers.photos.process"' in call]
    assert "ORT_DISABLE_TELEMETRY=1" in started
    assert "hunter2" not in started
    assert "CREDENTIALS_DIRECTORY" not in started


def killing(photos: list[Photo], at: int) -> Iterator[Photo]:
    """The photos; before the `at`-th is taken, a process that has one in hand is killed as the OOM killer would."""
    for number, photo in enumerate(photos):
        if number == at:
            busy = children()[0]
            busy.send_signal(signal.SIGKILL)
        yield photo


@needs_dlib
def test_a_process_that_is_killed_costs_one_photo(photos: list[Photo], tmp_path: Path) -> None:
    """SIGKILL to one of two processes: at most its photo is refused, by name and with the signal; all others are embedded."""
    from workers.recognizer_dlib import DlibEngine

    engine = DlibEngine(det_size=640)
    settings: Settings = site_settings(tmp_path, DLIB)
    results = list(embed_photos(settings, engine, killing(photos, 6), len(photos)))
    assert sorted(result.photo.path.name for result in results) == [photo.path.name for photo in photos]
    refused = [result for result in results if result.embedding is None]
    assert len(refused) == 1
    assert "the process that read this photo died; got signal 9, Killed (out of memory?)" in str(refused[0].reason)
    assert children() == []


@pytest.mark.alone
def test_a_process_that_hangs_costs_one_photo(photos: list[Photo]) -> None:
    """A process that stands still: its photo is refused after the time limit, and the rest is read by another one."""
    limits = Limits(time_s=1.0)

    def stopping() -> Iterator[Photo]:
        for number, photo in enumerate(photos[:4]):
            if number == 2:
                children()[0].send_signal(signal.SIGSTOP)
            yield photo

    with PhotoProcesses(1, _DECODE, limits) as pool:
        answers = list(pool.run(stopping()))
    refused = [answer for _, answer in answers if isinstance(answer, RefusedError)]
    assert len(answers) == 4
    assert len(refused) == 1
    assert "takes too long to read; expected 1 s" in str(refused[0])


def slow_photo(path: Path) -> Photo:
    """A progressive JPEG of 28 megapixels that is gone over 480 times: seconds of work."""
    whole = io.BytesIO()
    Pillow.new("L", (5600, 5000), 90).save(whole, "JPEG", progressive=True)
    data = whole.getvalue()
    last = data.rindex(b"\xff\xda")
    path.write_bytes(data[:-2] + data[last:-2] * 470 + data[-2:])
    return load_photo(path)


@pytest.mark.alone
def test_processor_time_is_limited(tmp_path: Path, photos: list[Photo]) -> None:
    """A photo that takes more processor time than it may is refused, and those after it are read; nothing waits for it."""
    limits = Limits(cpu_s=1)
    first = {"embed": False, "limits": limits.to_json()}
    with PhotoProcesses(1, first, limits) as pool:
        answers = dict(pool.run([slow_photo(tmp_path / "slow.jpeg"), photos[0]]))
    refusal, read = answers.values()
    assert "takes too long to read; expected 1 s of processor time" in str(refusal)
    assert not isinstance(read, RefusedError)


def wide_tiff(width: int, height: int) -> bytes:
    """A TIFF of 64-bit numbers, which take eight bytes a pixel, in a few kilobytes."""
    strip = zlib.compress(bytes(width * height * 4), 9)
    tags = [(256, 4, width), (257, 4, height), (258, 3, 32), (259, 3, 8), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, len(strip)), (339, 3, 3)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif"])
def test_memory_is_limited_whatever_the_decoder_does(tmp_path: Path, name: str, photos: list[Photo]) -> None:
    """With room for less than the photo takes, it is refused, its process lives, and its peak stays below the bound."""
    path = tmp_path / name
    if name == "a.tif":
        path.write_bytes(wide_tiff(6000, 5000))
    else:
        Pillow.new("RGBA", (6000, 5000)).save(path, lossless=True)
    room = 60 << 20
    first = {"embed": False, "limits": Limits(decoder_bytes=room).to_json()}
    with PhotoProcesses(1, first, Limits()) as pool:
        (_, before), *_ = list(pool.run(photos[:1]))
        assert not isinstance(before, RefusedError)
        (process,) = children()
        usual = process.memory_info().rss
        ((_, answer),) = list(pool.run([load_photo(path)]))
        assert isinstance(answer, RefusedError), "refused"
        peak = int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[0]) << 10
        assert peak < usual + room + (40 << 20)
        ((_, after),) = list(pool.run(photos[:1]))
        assert not isinstance(after, RefusedError)
        assert children() == [process]


def test_the_largest_photo_of_each_format_fits(tmp_path: Path) -> None:
    """30 megapixels of WebP, PNG and TIFF are read within the limits that hold by default."""
    (tmp_path / "a.tif").write_bytes(wide_tiff(6000, 5000))
    Pillow.new("RGBA", (6000, 5000)).save(tmp_path / "a.webp", lossless=True)
    Pillow.new("RGBA", (6000, 5000)).save(tmp_path / "a.png", compress_level=1)
    with PhotoReader() as reader:
        for name in ("a.tif", "a.webp", "a.png"):
            assert reader.read_scaled(tmp_path / name)[0].shape == (2500, 3000, 3)


@needs_dlib
def test_limits_that_may_not_be_set_are_no_reason_to_stop(photos: list[Photo], tmp_path: Path) -> None:
    """Where a sandbox refuses the system call, as a stricter unit may: all photos are enrolled, without those bounds."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    (tmp_path / "people" / "Ada").mkdir(parents=True)
    for photo in photos:
        photo.path.rename(tmp_path / "people" / "Ada" / photo.path.name)
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    refusing = ("strace", "-f", "-qq", "-o", os.devnull, "-e", "inject=prlimit64:error=EPERM")
    words = [*refusing, sys.executable, str(SUPERVISOR), "enrol", "people"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)
    assert "enrolled 14 photos of 1 person; 0 refused" in done.stdout, done.stderr


@needs_dlib
def test_an_enrolment_goes_on_when_a_process_is_killed(photos: list[Photo], tmp_path: Path) -> None:
    """`enrol` itself: one of its processes is killed, the command ends with 1 or 0 and names each photo it could not take."""
    folder = tmp_path / "people" / "Ada"
    folder.mkdir(parents=True)
    for photo in photos:
        photo.path.rename(folder / photo.path.name)
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    enrolment = subprocess.Popen(
        [sys.executable, str(SUPERVISOR), "enrol", "people", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    parent, killed = psutil.Process(enrolment.pid), None
    while enrolment.poll() is None and killed is None:
        for one in parent.children():
            if "photos" in " ".join(one.cmdline()) and one.memory_info().rss > 80 << 20:  # its engine is open
                one.kill()
                killed = one
    out, err = enrolment.communicate(timeout=120)
    assert killed is not None, err
    assert enrolment.returncode in (0, 1), err
    answer = command_json(tmp_path, "enrol", "people")
    assert answer["unchanged"] + len(answer["enrolled"]) == len(photos), (out, answer)
