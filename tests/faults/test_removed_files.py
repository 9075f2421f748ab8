"""Files removed under a running site: it says so, mends what can be mended, and loses nothing that was acknowledged."""

from __future__ import annotations

import os
import shutil

import pytest

from shared.errors import TemporaryError
from shared.settings.file import load_settings
from tests.support.paths import needs_dlib
from tests.support.site_process import SiteProcess, command
from tests.support.sites import people_of, save_references

pytestmark = needs_dlib
_PARTS = ("", "-wal", "-shm")


def test_the_database_removed_is_written_anew(site: SiteProcess) -> None:
    """`rm data/face_embeddings.db*`: within a second it is said, everything acknowledged is written back, and the site goes on."""
    save_references(site, "Ada", "Bo")
    database = site.settings.db_path
    for part in _PARTS:
        database.with_name(database.name + part).unlink(missing_ok=True)
    site.wait_for_log("THE DATABASE WAS REMOVED")
    site.wait_for_log("written anew")
    site.wait_for(database.exists, "the database")
    save_references(site, "Cy", seed=1)
    assert people_of(site.folder) == {"Ada", "Bo", "Cy"}
    assert site.check() == []
    assert site.stop() == 0
    assert people_of(site.folder) == {"Ada", "Bo", "Cy"}
    assert database.stat().st_mode & 0o777 == 0o600


def test_another_file_in_place_of_the_database_is_not_overwritten(site: SiteProcess) -> None:
    """A file that somebody put where the database was: nothing is acknowledged any more, the answer is 75 with the remedy, the file
    stays as it is; moved away, what was open comes back."""
    save_references(site, "Ada")
    database = site.settings.db_path
    database.rename(database.with_name("aside.db"))
    database.with_name("aside.db").unlink()
    database.write_bytes(b"somebody's")
    site.wait_for_log("another file is in the place of the database")
    with pytest.raises(TemporaryError, match="another file"):
        save_references(site, "Bo")
    assert people_of(site.folder) == {"Ada"}
    assert database.read_bytes() == b"somebody's"
    database.unlink()
    site.wait_for_log("written anew")
    save_references(site, "Bo")
    assert people_of(site.folder) == {"Ada", "Bo"}
    assert site.stop() == 0


@pytest.mark.parametrize("parts", [(), _PARTS[1:]], ids=["the file", "with what lies beside it"])
def test_the_database_put_back_is_written_again(site: SiteProcess, parts: tuple[str, ...]) -> None:
    """Moved aside, another file in its place, and moved back: what is sent is stored again, nothing acknowledged is lost, and the
    way in which the site says that it stores nothing is gone."""
    save_references(site, "Ada")
    database = site.settings.db_path
    elsewhere, strangers = database.parent / "elsewhere", database.parent / "somebody's"
    elsewhere.mkdir()
    strangers.write_bytes(b"somebody's")
    os.link(database, elsewhere / database.name)
    strangers.replace(database)
    beside = [database.name + part for part in parts]
    for name in beside:
        (database.parent / name).rename(elsewhere / name)
    site.wait_for_log("another file is in the place of the database")
    assert "another file" in site.status()["gallery"]["nothing_stored"]
    for name in [*beside, database.name]:
        (elsewhere / name).replace(database.parent / name)
    site.wait_for_log("the database is back")
    save_references(site, "Bo", seed=1)
    assert people_of(site.folder) == {"Ada", "Bo"}
    assert site.status()["gallery"]["nothing_stored"] is None
    assert site.check() == []
    site.kill()
    assert people_of(site.folder) == {"Ada", "Bo"}


def test_the_wal_removed_loses_nothing(site: SiteProcess) -> None:
    """`rm data/*-wal`: what was acknowledged and lay in it alone is in the database, also when the whole site is killed then."""
    save_references(site, "Ada")
    database = site.settings.db_path
    database.with_name(database.name + "-wal").unlink()
    site.wait_for_log("WAL WAS REMOVED")
    site.wait_for_log("the writer starts again")
    save_references(site, "Bo", seed=1)
    assert people_of(site.folder) == {"Ada", "Bo"}
    assert site.check() == []
    site.kill()
    assert people_of(site.folder) == {"Ada", "Bo"}


@pytest.mark.parametrize("what", ["socket", "run"])
def test_the_way_to_the_site_is_made_anew(site: SiteProcess, what: str) -> None:
    """The socket or the whole of data/run removed: commands and cameras find the site again, the gallery included."""
    save_references(site, "Ada")
    run_dir, writer = site.settings.run_dir, site.child_pid("writer")
    if what == "run":
        shutil.rmtree(run_dir)
    else:
        (run_dir / "rollcall.sock").unlink()
    site.wait_for_log("THE SITE'S SOCKET WAS REMOVED")
    site.wait_for((run_dir / "rollcall.sock").exists, "the socket")
    if what == "run":
        site.wait_for((run_dir / "block").is_symlink, "the way to the block")
        site.wait_for(lambda: len(site.segments()) == 2, "the block")
    assert people_of(site.folder) == {"Ada"}
    assert site.check() == []
    assert site.child_pid("writer") == writer
    second = command(site.folder, "run")
    assert (second.returncode, "already running" in second.stderr) == (75, True), second.stderr
    assert run_dir.stat().st_mode & 0o777 == 0o700
    assert site.stop() == 0
    assert not (run_dir / "rollcall.sock").exists()


def test_without_its_lock_files_a_site_is_still_alone(site: SiteProcess) -> None:
    """`rm data/*.lock data/run/*.lock`, then `run` at once, or a command that would open the files: refused with 75, also when the
    socket is gone too; the lock file is made anew."""
    settings = load_settings(site.folder / "site.toml")
    locks = [*settings.data_dir.glob("*.lock"), *settings.run_dir.glob("*.lock")]
    assert locks
    for lock in [*locks, settings.run_dir / "rollcall.sock"]:
        lock.unlink()
    second = command(site.folder, "run")
    assert second.returncode == 75, second.stderr
    site.wait_for_log("THE LOCK FILE WAS REMOVED")
    site.wait_for(settings.db_path.with_name(settings.db_path.name + ".lock").exists, "the lock file")
    save_references(site, "Ada")
    assert people_of(site.folder) == {"Ada"}
    assert site.check() == []
    assert site.stop() == 0
