"""Fixtures that several test modules use."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.support.alone import Turn
from tests.support.site_process import SiteProcess
from tests.support.stores import site_settings

# Every user may make files here and reach what lies below; a folder for temporary files may be one user's alone.
_OPEN_TO_ALL = Path("/dev/shm" if sys.platform == "linux" else "/tmp")  # noqa: S108  # a random name is made in it

SmallDisk = Callable[[str, int], Path]
_TURN = Turn(Path(__file__))


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In each file those that are marked `alone` come last: they wait for the others once, and not each."""
    files = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in items))}
    items.sort(key=lambda item: (files[item.path], _is_alone(item)))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # first: a test's time limit does not run while it waits for its turn
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """A test that is marked `alone` runs while no other does."""
    _TURN.begin(_is_alone(item))
    try:
        return (yield)
    finally:
        _TURN.end(_is_alone(item), nextitem is not None and _is_alone(nextitem))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """`small_disk("name", kib)`: a file system of that size at tmp_path/name. Needs the right to mount."""
    mounted: list[Path] = []

    def mount(name: str, kib: int) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], check=False, capture_output=True
        )
        if done.returncode:
            pytest.skip("mounting a small file system needs root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """An empty folder that another user of this machine can reach, with a path short enough for a socket, wherever pytest has its
    temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="rollcall-test-", dir=_OPEN_TO_ALL))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SiteProcess]:
    """A running site without cameras, on the dlib engine. A module that needs another one has its own."""
    site_settings(tmp_path)
    with SiteProcess(tmp_path) as running:
        running.wait_until_ready()
        yield running
