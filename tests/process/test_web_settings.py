"""The web process and the settings: it comes and goes with a reload, and without its libraries the rest of the site works."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import requests

from tests.support.site_process import SiteProcess
from tests.support.stores import DLIB
from tests.support.web_site import free_port

_ENDED_FOR_GOOD = "until its settings are mended"


def _settings(folder: Path, web: str) -> None:
    (folder / "site.toml").write_text(f"{DLIB}\n{web}", encoding="utf-8")


def _alive(port: int) -> str:
    return requests.get(f"http://127.0.0.1:{port}/livez", timeout=10).text


def test_a_reload_turns_it_on_moves_it_and_turns_it_off(tmp_path: Path) -> None:
    """SIGHUP, each time without a restart of the writer. It answers on the port of the settings, and nowhere else."""
    first, second = free_port(), free_port()
    _settings(tmp_path, "")
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        writer = site.child_pid("writer")
        _settings(tmp_path, f"[web]\nenabled = true\nport = {first}\n")
        site.process.send_signal(signal.SIGHUP)
        site.wait_for_log(f"web: listens on http://127.0.0.1:{first}")
        assert _alive(first) == "alive\n"
        _settings(tmp_path, f"[web]\nenabled = true\nport = {second}\n")
        site.process.send_signal(signal.SIGHUP)
        site.wait_for_log(f"web: listens on http://127.0.0.1:{second}")
        assert _alive(second) == "alive\n"
        with pytest.raises(requests.ConnectionError):
            _alive(first)
        web = site.child_pid("web")
        _settings(tmp_path, "")
        site.process.send_signal(signal.SIGHUP)
        site.wait_for_log("web: stopped: no longer configured")
        site.wait_for(lambda: not Path(f"/proc/{web}").exists(), "end of the web process")
        with pytest.raises(requests.ConnectionError):
            _alive(second)
        assert site.child_pid("writer") == writer
        assert site.stop() == 0


def test_without_its_libraries_the_site_goes_on(tmp_path: Path) -> None:
    """It ends with 78 and the command to type, once; the writer goes on. The site's state says that something is at fault."""
    missing = tmp_path / "missing" / "fastapi.py"
    missing.parent.mkdir()
    missing.write_text('raise ModuleNotFoundError("No module named \'fastapi\'", name="fastapi")\n', encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(missing.parent), os.environ.get("PYTHONPATH")]))
    _settings(tmp_path, f"[web]\nenabled = true\nport = {free_port()}\n")
    with SiteProcess(tmp_path, PYTHONPATH=path) as site:
        line = site.wait_for_log("its libraries are not installed")
        assert "no module fastapi" in line
        assert "pip install -c" in line
        assert "[web]'" in line
        site.wait_for_log(_ENDED_FOR_GOOD)
        assert site.status()["gallery"]["people"] == 0
        assert not [one for one in site.log if "Traceback" in one]
        assert sum("not installed" in one for one in site.log) == 1
        site.stop()
