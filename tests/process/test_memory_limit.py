"""A hostile camera costs its own process, within a bound, and says why it is down."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.process.test_camera import CameraProcess, gallery, is_running, site  # noqa: F401  # fixtures
from tests.support.clips import picture
from tests.support.paths import ROOT
from tests.support.strict_camera import StrictCamera

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mappings on Linux only")
_MIB = 1 << 20


def huge_jpeg(side: int = 16000) -> bytes:
    """4 MB that are 768 MB once decoded."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (90, 60, 30)).save(file, "JPEG", quality=50)
    return file.getvalue()


@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize("shows", ["stream", "snapshot"])
def test_a_picture_that_is_far_too_large_costs_that_camera(site: Path, shows: str) -> None:  # noqa: F811  # the fixture
    """16000 × 16000: down with the reason, less than half a gigabyte at its peak, and well again with a real picture."""
    jpeg = huge_jpeg()
    with StrictCamera(
        site, "http", picture=lambda _: jpeg, shows="snapshot" if shows == "snapshot" else "stream"
    ) as server:
        (site / "site.toml").write_text(
            f'[recognition]\nmodel = "first"\ndet_size = 128\n[cameras.door]\nsource = "{server.url()}"\n'
        )
        with CameraProcess(site) as camera:
            stats = camera.wait_for(lambda stats: bool(stats.get("down_reason")), 60.0)
            assert "is too large" in stats["down_reason"]
            status = Path(f"/proc/{camera.process.pid}/status").read_text()
            peak = re.search(r"VmHWM:\s+(\d+) kB", status)
            assert peak
            assert int(peak[1]) * 1024 < 512 * _MIB
            server.picture = picture
            camera.wait_for(is_running, 60.0)


@pytest.mark.usefixtures("gallery")
def test_a_camera_has_a_bound_of_its_own(site: Path) -> None:  # noqa: F811  # the fixture
    """Once the engine is open a camera may take a gigabyte more of private memory."""
    with CameraProcess(site) as camera:
        camera.wait_for(is_running)
        process = psutil.Process(camera.process.pid)
        soft, _ = process.rlimit(psutil.RLIMIT_DATA)
        assert soft != psutil.RLIM_INFINITY
        assert 1 << 30 < soft < 3 << 30


def test_the_bound_is_on_private_memory_and_not_on_the_gallerys_mapping(tmp_path: Path) -> None:
    """An array too many is a MemoryError; a shared mapping and reserved addresses of any size are not counted."""
    program = (
        "import mmap, sys, numpy\n"
        "from shared.process.own_limits import may_allocate\n"
        "may_allocate(64 << 20)\n"
        "with open(sys.argv[1], 'r+b') as file:\n"
        "    shared = mmap.mmap(file.fileno(), 4 << 30)\n"
        "reserved = mmap.mmap(-1, 40 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=0)\n"
        "shared[0:1] = b'x'\n"
        "try:\n"
        "    numpy.ones(256 << 20, numpy.uint8)\n"
        "except MemoryError:\n"
        "    print('bounded')\n"
    )
    with (tmp_path / "block").open("wb") as file:
        file.truncate(4 << 30)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "block")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip  # options by kind
    assert done.stdout == "bounded\n", done.stderr
