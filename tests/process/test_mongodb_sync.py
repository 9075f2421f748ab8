"""The original program's functions of workers/mongodb_sync.py, the sync process of a running site, and `supervisor.py sync`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from shared import embedding_db
from shared.errors import RefusedError
from shared.settings.file import load_settings
from tests.support.clips import wait_until
from tests.support.plain_server import PlainServer
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import save_references
from workers import mongodb_sync

_DLIB = '[recognition]\nengine = "dlib"\n'


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with PlainServer() as one:
        yield one


@pytest.fixture
def folder(tmp_path: Path, server: PlainServer) -> Iterator[Path]:
    """A site that has run once, so that its gallery has a model."""
    _write(tmp_path, server, enabled=False)
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        save_references(site, "Ada", "Bo")
    embedding_db.use_site(load_settings(tmp_path / "site.toml"))
    yield tmp_path
    mongodb_sync.stop_sync()
    embedding_db.use_site(None)


def _write(folder: Path, server: PlainServer, *, enabled: bool, more: str = "") -> None:
    text = f'{_DLIB}[sync]\nenabled = {str(enabled).lower()}\nbackend = "{server.address}/api"\n{more}'
    (folder / "site.toml").write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("folder")
def test_one_exchange_by_hand(server: PlainServer) -> None:
    """manual_sync() is True once everything is there, False if the server is away; the status tells when it was."""
    before = mongodb_sync.get_sync_status()
    assert before["running"] is False
    assert before["enabled"] is False
    assert before["last_sync"] is None
    assert before["interval_seconds"] == 300
    assert before["sqlite_count"] == 2
    assert mongodb_sync.manual_sync() is True
    assert {one["person_name"] for one in server.items.values()} == {"Ada", "Bo"}
    after = mongodb_sync.get_sync_status()
    assert after["last_sync"] is not None
    assert after["last_sync"].endswith("Z")
    server.answer = lambda handler: handler.say(503, {"success": False, "message": "later"})
    assert mongodb_sync.manual_sync() is False
    assert mongodb_sync.get_sync_status()["sqlite_count"] == 2


@pytest.mark.usefixtures("folder")
def test_a_server_that_keeps_nothing_is_no_success(server: PlainServer) -> None:
    """manual_sync() is False, and no time of an exchange is noted."""
    server.keeps = False
    assert mongodb_sync.manual_sync() is False
    assert mongodb_sync.get_sync_status()["last_sync"] is None


def test_start_and_stop(folder: Path, server: PlainServer) -> None:
    """start_sync() does nothing unless it is enabled, needs a running site, and exchanges from then on; stop_sync() ends it."""
    mongodb_sync.start_sync()
    assert mongodb_sync.get_sync_status()["running"] is False
    _write(folder, server, enabled=True, more="interval_s = 0.2\n")
    embedding_db.use_site(load_settings(folder / "site.toml"))
    with pytest.raises(RefusedError, match="no site runs"):
        mongodb_sync.start_sync()
    _write(folder, server, enabled=False)
    with SiteProcess(folder) as site:
        site.wait_until_ready()
        mongodb_sync.start_sync()
        mongodb_sync.start_sync()
        assert mongodb_sync.get_sync_status()["running"] is True
        wait_until(lambda: len(server.items) == 2, "both at the server")
        server.keep(
            {"person_name": "Cy", "embedding": [float(x) for x in _vector(3)], "image_path": None, "user_id": None}
        )
        wait_until(lambda: mongodb_sync.get_sync_status()["sqlite_count"] == 3, "the third here")
        mongodb_sync.stop_sync()
        assert mongodb_sync.get_sync_status()["running"] is False


def test_the_process_of_a_site(folder: Path, server: PlainServer) -> None:
    """Enabled by a reload: the process runs, a local change goes up at once, `status` shows it, a kill is mended, and disabled it is gone."""
    with SiteProcess(folder) as site:
        site.wait_until_ready()
        assert "sync" not in site.status()["processes"]
        _write(folder, server, enabled=True)
        site.sighup()
        wait_until(lambda: len(server.items) == 2, "both at the server")
        wait_until(lambda: site.status()["processes"]["sync"]["last_sync"], "an exchange")
        assert mongodb_sync.get_sync_status()["running"] is True
        save_references(site, "Di", seed=4)
        wait_until(lambda: len(server.items) == 3, "the new one at the server", 10)
        shown = command(folder, "status").stdout
        assert "sync: up" in shown
        assert "lists only" in shown
        old = site.child_pid("sync")
        psutil.Process(old).kill()
        site.wait_for_new_pid("sync", old)
        save_references(site, "Ed", seed=5)
        wait_until(lambda: len(server.items) == 4, "the next at the server", 60)
        _write(folder, server, enabled=False)
        site.sighup()
        wait_until(lambda: "sync" not in site.status()["processes"], "the end of it")
        assert site.check() == []


def test_settings_that_can_not_be_used_stop_only_the_exchange(folder: Path, server: PlainServer) -> None:
    """A token file that is not there: the site runs, the process gives up with its reason, and mended it runs."""
    _write(folder, server, enabled=True, more='token_file = "token"\n')
    with SiteProcess(folder) as site:
        site.wait_until_ready()
        site.wait_for_log("[sync] token_file")
        wait_until(lambda: site.status()["processes"]["sync"]["state"] == "failed", "that it gave up")
        save_references(site, "Di", seed=4)
        (folder / "token").write_text("rc_1_x", encoding="utf-8")
        (folder / "token").chmod(0o600)
        _write(folder, server, enabled=True, more='token_file = "token"\ninterval_s = 200\n')
        site.sighup()
        wait_until(lambda: len(server.items) == 3, "all at the server")


def test_the_command(folder: Path) -> None:
    """`sync` prints what went each way, with exit code 1 if it is not whole; the same while the site runs. Variables win over the file."""
    answer = command_json(folder, "sync")
    assert answer["whole"] is True
    assert (answer["sent"], answer["unshown"]) == (2, 0)
    with PlainServer(keeps=False) as other:
        refused = command(folder, "sync", "--json", BACKEND_API=f"{other.address}/api")
        assert refused.returncode == 1
        assert json.loads(refused.stdout)["unshown"] == 2
        assert other.seen[0][1].partition("?")[0] == "/api/face/all-embeddings"
    with SiteProcess(folder) as site:
        site.wait_until_ready()
        text = command(folder, "sync")
        assert text.returncode == 0
        assert "sent 0" in text.stdout
        away = command(folder, "sync", BACKEND_API="http://127.0.0.1:9/api")
        assert away.returncode == 75
        assert "127.0.0.1:9" in away.stderr


def test_the_key_is_made_once(folder: Path, server: PlainServer) -> None:
    """`sync --make-key` writes 64 hex digits that nobody else can read, and refuses to replace them; without a file in the settings it says so."""
    assert command(folder, "sync", "--make-key").returncode == 78
    _write(folder, server, enabled=False, more='key_file = "sync.key"\n')
    answer = command_json(folder, "sync", "--make-key")
    path = Path(answer["key_file"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(path.read_text())) == 32
    assert command(folder, "sync", "--make-key").returncode == 78


def test_a_key_that_comes_later_is_used(folder: Path, server: PlainServer) -> None:
    """A reload with a key file starts the writer again, and the site has its key."""
    with SiteProcess(folder) as site:
        site.wait_until_ready()
        old = site.status()["writer"]["pid"]
        _write(folder, server, enabled=True, more='key_file = "sync.key"\n')
        command_json(folder, "sync", "--make-key")
        site.sighup()
        wait_until(lambda: site.status().get("writer", {}).get("pid") not in (None, old), "another writer")
        wait_until(lambda: site.status().get("processes", {}).get("sync", {}).get("has_key"), "the key")


def _vector(seed: int) -> Any:
    vector = np.random.default_rng(seed).normal(size=128)
    return (vector / np.linalg.norm(vector)).astype(np.float32)
