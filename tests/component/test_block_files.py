"""The block's files beside other people's: nobody else on the machine can stop a site, stand in for its gallery, or be hurt by it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.errors import RollcallError, TemporaryError
from shared.files.private_folder import make_private_folder
from shared.files.run_folder import site_prefix
from shared.gallery.files import block_folder, head_path, remove_left_behind, segment_path
from shared.gallery.publisher import Batch, GalleryPublisher
from shared.gallery.reader import GalleryReader
from shared.records import NewReference
from shared.service.publication import BlockKeeper
from tests.support.paths import ROOT, needs_dlib
from tests.support.site_process import SiteProcess
from tests.support.stores import keep, site_settings, store_in
from tests.support.vectors import noise

_DIM = 16
_OTHER = 65534
_NOT_READ = "no gallery block yet"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user's files are made by root")


def as_other(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python `code` as another user of this machine."""
    change = f"import os; os.setgroups([]); os.setgid({_OTHER}); os.setuid({_OTHER})\n"
    words = [sys.executable, "-c", change + code, *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def memory(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared-memory folder in which everybody may write, as /dev/shm is."""
    folder = reachable / "shm"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setenv("ROLLCALL_SHM_DIR", str(folder))
    return folder


@pytest.fixture
def run_dir(tmp_path: Path, memory: Path) -> Iterator[Path]:
    assert memory.is_dir()
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    yield folder
    remove_left_behind(folder)


def publisher_of(run_dir: Path, *names: str) -> GalleryPublisher:
    publisher = GalleryPublisher(run_dir, _DIM, "test/none", "f" * 64)
    vectors = noise(np.random.default_rng(0), len(names), _DIM)
    publisher.publish_all(len(names), [Batch(range(1, len(names) + 1), names, [None] * len(names), vectors)])
    return publisher


# What somebody who knows the site's path can make before and while it runs: the names of earlier versions, of the next
# generations, of folders with a guessed token, each as a file, a folder, a FIFO or a link to somebody's file.
_LITTER = """
import os, sys
folder, prefix, target = sys.argv[1:]
kinds = (lambda p: open(p, "x").close(), os.mkdir, os.mkfifo, lambda p: os.symlink(target, p))
for n, stem in enumerate(("head", "g1", "g2", "g999", "g\u00b2", "g" + "9" * 40, "g-1", "", "0" * 32, "f" * 32)):
    kinds[n % 4](os.path.join(folder, prefix + stem))
    for k, kind in enumerate(kinds):
        kind(os.path.join(folder, f"{prefix}{stem}-{k}"))
"""


@needs_root
def test_other_peoples_files_are_passed_over(run_dir: Path, memory: Path, tmp_path: Path) -> None:
    """Files, folders, FIFOs and links that another user puts under every name that can be guessed: a site starts, its writer is
    replaced, it stops, and nothing of theirs was touched, opened or removed."""
    treasure = tmp_path / "treasure"
    treasure.write_bytes(b"gold")
    done = as_other(_LITTER, str(memory), site_prefix(run_dir), str(treasure))
    assert done.returncode == 0, done.stderr
    theirs = {path: path.lstat().st_mtime_ns for path in memory.iterdir()}
    assert len(theirs) > 40
    first = publisher_of(run_dir, "Ada")
    with GalleryReader(run_dir) as reader:
        again = as_other(
            _LITTER.replace('"head"', '"block-head"'), str(memory), site_prefix(run_dir) + "x", str(treasure)
        )
        assert again.returncode == 0, again.stderr
        first.close()
        second = publisher_of(run_dir, "Ada", "Bo")
        assert reader.refresh()
        assert reader.count_live() == 2
    second.remove_block()
    second.close()
    assert remove_left_behind(run_dir) == 0
    assert {path: path.lstat().st_mtime_ns for path in theirs} == theirs
    assert treasure.read_bytes() == b"gold"


@needs_root
def test_nobody_else_reads_or_changes_the_block(run_dir: Path) -> None:
    """Another user can't list the block's folder, nor open, make, rename or remove a file in it, though the names are known."""
    publisher = publisher_of(run_dir, "Ada")
    folder = block_folder(run_dir)
    around = as_other("import os, sys; print(os.listdir(sys.argv[1]))", str(folder.parent))
    assert folder.name in around.stdout, around.stderr
    for code in (
        "os.listdir(f)", "open(f + '/head', 'rb')", "open(f + '/g999', 'x')", "os.unlink(f + '/head')",
        "os.rename(f, f + 'x')", "os.rmdir(f)", "os.symlink('/etc/passwd', f + '/g2')", "os.mkfifo(f + '/g2')",
    ):  # fmt: skip
        done = as_other(f"import os, sys; f = sys.argv[1]; {code}", str(folder))
        assert "PermissionError" in done.stderr, (code, done.stderr)
    assert publisher.check() == []
    publisher.remove_block()
    publisher.close()


@needs_root
@pytest.mark.parametrize("what", ["head", "segment", "folder", "token"])
def test_a_block_that_is_not_ours_is_not_read(run_dir: Path, reachable: Path, what: str) -> None:
    """Files that belong to another user, are open to others, have a second name, or are links: no reader takes them, and a writer
    that starts makes new ones."""
    publisher = publisher_of(run_dir, "Mallory")
    publisher.close()
    path = {
        "head": head_path(run_dir),
        "segment": segment_path(run_dir, publisher.generation),
        "folder": block_folder(run_dir),
        "token": run_dir / "block",
    }[what]
    aside = reachable / "aside"
    if what == "token":
        os.chown(path, _OTHER, _OTHER, follow_symlinks=False)
    else:
        os.chown(path, _OTHER, _OTHER)
    with pytest.raises(RollcallError, match=_NOT_READ) if what != "segment" else pytest.raises(TemporaryError):
        GalleryReader(run_dir)
    if what in ("head", "segment"):
        os.chown(path, 0, 0)
        GalleryReader(run_dir).close()
        path.chmod(0o644)
        with pytest.raises(TemporaryError):
            GalleryReader(run_dir)
        path.chmod(0o600)
        aside.hardlink_to(path)
        with pytest.raises(TemporaryError):
            GalleryReader(run_dir)
        path.unlink()
        path.symlink_to(aside)
        with pytest.raises(TemporaryError):
            GalleryReader(run_dir)
        path.unlink()
        os.mkfifo(path, 0o600)
        with pytest.raises(TemporaryError):
            GalleryReader(run_dir)
    fresh = publisher_of(run_dir, "Ada")
    with GalleryReader(run_dir) as reader:
        assert reader.person(0) == "Ada"
    fresh.remove_block()
    fresh.close()
    assert not (run_dir / "block").is_symlink()


def test_what_a_killed_site_left_is_swept(run_dir: Path, memory: Path) -> None:
    """Blocks of writers that were killed, also those whose token was lost, and files of versions before: all gone at the next start;
    nothing else is."""
    for _ in range(2):
        publisher_of(run_dir, "Ada").close()
        (run_dir / "block").unlink()
    publisher_of(run_dir, "Ada").close()
    (memory / f"{site_prefix(run_dir)}head").touch(0o600)
    (memory / f"{site_prefix(run_dir)}g7").touch(0o600)
    (memory / "rollcall-000000000000-g1").touch(0o600)
    assert remove_left_behind(run_dir) == 3
    assert [path.name for path in memory.iterdir()] == ["rollcall-000000000000-g1"]
    assert list(run_dir.iterdir()) == []


@needs_dlib
def test_it_is_swept_before_the_store_is_opened(tmp_path: Path, memory: Path) -> None:
    """What a killed site left in memory is gone also where the store then can't be opened: it needs that memory itself, to be opened."""
    settings = site_settings(tmp_path)
    with store_in(settings.data_dir) as store:
        store.set_fact("schema_version", "99")
    make_private_folder(settings.run_dir)
    publisher_of(settings.run_dir, "Ada").close()
    assert list(memory.iterdir())
    words = [sys.executable, "-m", "workers", "prepare", "--config", str(tmp_path / "site.toml")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78, done.stderr
    assert "newer Rollcall" in done.stderr
    assert list(memory.iterdir()) == []


@pytest.mark.parametrize("what", ["head", "segment", "folder", "token", "all", "replaced"])
def test_files_that_disappear_come_back(run_dir: Path, tmp_path: Path, what: str) -> None:
    """The head, a segment, the folder or the way to it removed while a site runs: a reader that is there and one that comes find
    the gallery within moments, published anew, and it was said."""
    said: list[str] = []
    with store_in(tmp_path / "data") as store:
        keep(store, noise(np.random.default_rng(0), 2, _DIM), NewReference("Ada"), NewReference("Bo"))
        publisher = GalleryPublisher(run_dir, _DIM, "", "")
        keeper = BlockKeeper(store, publisher, said.append)
        keeper.publish_everything()
        with GalleryReader(run_dir) as reader:
            head, segment, folder = (
                head_path(run_dir),
                segment_path(run_dir, publisher.generation),
                block_folder(run_dir),
            )
            if what in ("head", "all"):
                head.unlink()
            if what in ("segment", "all"):
                segment.unlink()
            if what == "folder":
                shutil.rmtree(folder)
            if what in ("token", "all"):
                (run_dir / "block").unlink()
            if what == "replaced":
                data = head.read_bytes()
                head.unlink()
                head.write_bytes(data)
                head.chmod(0o600)
            keeper.tick(time.monotonic() + 5)
            assert len(said) == 1
            assert "WERE REMOVED" in said[0]
            keep(store, noise(np.random.default_rng(7), 1, _DIM), NewReference("Cy"))
            keeper.doubt()
            keeper.tick(time.monotonic() + 10)
            with GalleryReader(run_dir) as late:
                assert late.count_live() == 3
            reader._check_head_file_at = 0.0  # as if a second had passed
            assert reader.refresh()
            assert reader.count_live() == 3
            assert not folder.exists() or block_folder(run_dir) == folder
        assert keeper.check() == []
        keeper.tick(time.monotonic() + 20)
        assert len(said) == 1
        publisher.remove_block()
        publisher.close()


@needs_dlib
def test_a_site_heals_its_block_and_check_sees_it(tmp_path: Path, memory: Path) -> None:
    """Files of a running site removed by a tidy administrator: the site says so and publishes anew by the same writer, and `check`
    is clean afterwards."""
    site_settings(tmp_path)
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        writer = site.child_pid("writer")
        shutil.rmtree(block_folder(site.settings.run_dir))
        site.wait_for_log("WERE REMOVED", 30)
        site.wait_for(lambda: len(site.segments()) == 2, "a new head and generation", 30)
        assert site.check() == []
        assert site.child_pid("writer") == writer
        assert site.stop() == 0
    assert list(memory.iterdir()) == []
