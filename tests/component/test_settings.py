"""What may lie in site.toml's place, who may write it, and what the environment says instead."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from shared.errors import ConfigurationError, FaultList
from shared.settings.file import find_config, load_settings
from tests.support.site_process import SiteProcess, command

_SOUND = '[recognition]\nengine = "dlib"\n'
_OTHER = 12345  # a user that is not us


def _write(text: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text if isinstance(text, bytes) else text.encode())


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 8 << 30)


def _remove(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()


def _refused(site: SiteProcess, times: int) -> bool:
    return sum("reload refused: the site goes on" in line for line in site.log) == times


_BAD: dict[str, Callable[[Path], object]] = {
    "nested brackets": _write("x = " + "[" * 3000 + "]" * 3000),
    "nested brackets that are read": _write("[recognition]\nvotes = " + "[" * 150 + "]" * 150),
    "an integer of 5000 digits": _write("x = " + "9" * 5000),
    "an integer of 4000 digits for a float": _write("[recognition]\nthreshold = " + "9" * 4000),
    "a hexadecimal integer of 9000 digits": _write("[recognition]\nvotes = 0x" + "f" * 9000),
    "a path with a NUL": _write('[recognition]\nmodels_dir = "a\\u0000b"'),
    "a home of nobody": _write('[site]\ndata_dir = "~nobody-of-that-name/x"'),
    "its own folder as data folder": _write('[site]\ndata_dir = "."'),
    "a FIFO": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "8 GiB": _sparse,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "UTF-16": _write(codecs.BOM_UTF16_LE + _SOUND.encode("utf-16-le")),
    "no text": _write(b"\xff\xff\xff"),
}


@pytest.mark.parametrize("what", _BAD)
def test_whatever_lies_there_is_refused_in_words(tmp_path: Path, what: str) -> None:
    """No such file hangs who reads it or raises anything but a fault with its path."""
    path = tmp_path / "site.toml"
    _BAD[what](path)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert str(path) in caught.value.line()
    assert len(caught.value.line()) < 1000


def test_a_start_ends_with_78_and_a_reload_is_refused(tmp_path: Path) -> None:
    """At the start each kind is exit code 78; at SIGHUP it is refused and the site goes on with what it has."""
    path = tmp_path / "site.toml"
    for what in ("nested brackets", "a FIFO"):
        _BAD[what](path)
        done = command(tmp_path, "run")
        assert done.returncode == 78, done.stderr
        assert "Traceback" not in done.stderr
        path.unlink()
    path.write_text(_SOUND, encoding="utf-8")
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        for count, make in enumerate(_BAD.values(), 1):
            _remove(path)
            make(path)
            site.sighup()
            site.wait_for(partial(_refused, site, count), f"refusal {count}")
        _remove(path)
        path.write_text(_SOUND, encoding="utf-8")
        site.sighup()
        site.wait_for_log("reloaded")
        assert site.status()["writer"]["restarts"] == 0
        assert site.stop() == 0


@pytest.mark.parametrize(
    "text", ["\ufeff" + _SOUND, _SOUND.replace("\n", "\r\n"), "\ufeff" + _SOUND.replace("\n", "\r\n")]
)
def test_editors_ways_to_save_are_read(tmp_path: Path, text: str) -> None:
    """A byte order mark and Windows' line ends are no fault."""
    (tmp_path / "site.toml").write_bytes(text.encode())
    assert load_settings(tmp_path / "site.toml").recognition.engine == "dlib"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
@pytest.mark.parametrize("owner, mode, named, word", [
    (_OTHER, 0o600, False, "belongs to"),
    (0, 0o666, False, "everybody may write it"),
    (0, 0o666, True, "everybody may write it"),
    (0, 0o644, False, None),
    (_OTHER, 0o640, True, None),
])  # fmt: skip  # a table
def test_settings_that_others_decide_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, named: bool, word: str | None
) -> None:
    """A site.toml that was only found must be ours or root's and closed to others; a named one closed to everybody."""
    path = tmp_path / "site.toml"
    path.write_text(_SOUND, encoding="utf-8")
    path.chmod(mode)
    os.chown(path, owner, 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROLLCALL_CONFIG", raising=False)
    if word is None:
        assert find_config(str(path) if named else None) == path
        return
    with pytest.raises(ConfigurationError) as caught:
        find_config(str(path) if named else None)
    assert word in caught.value.line()
    assert not (tmp_path / "data").exists()


def test_the_environment_is_checked_with_the_file(tmp_path: Path) -> None:
    """What the environment says is put into the document first: all faults at once, each by its variable, and read as the file's."""
    path = tmp_path / "site.toml"
    path.write_text('[sync]\ninterval_s = 60\nbackend = "not a url"\n[site]\nname = 3\n', encoding="utf-8")
    environ = {"MONGODB_SYNC_ENABLED": "perhaps", "MONGODB_SYNC_INTERVAL": "-1"}
    with pytest.raises(FaultList) as caught:
        load_settings(path, environ)
    places = {fault.where for fault in caught.value.faults}
    assert places == {
        "$MONGODB_SYNC_ENABLED", "$MONGODB_SYNC_INTERVAL", f"{path}: [sync] backend", f"{path}: [site] name",
    }  # fmt: skip  # two of each
    path.write_text('[sync]\nbackend = "not a url"\n', encoding="utf-8")
    environ = {"MONGODB_SYNC_ENABLED": "Yes", "MONGODB_SYNC_INTERVAL": "30", "BACKEND_API": "https://hub.example/api"}
    sync = load_settings(path, environ).sync
    assert (sync.enabled, sync.interval_s, sync.backend) == (True, 30.0, "https://hub.example/api")
    assert load_settings(None, {}).sync.backend == "http://localhost:5000/api"


@pytest.mark.parametrize(
    "address", ["hub", "ftp://hub/api", "http://", "http://hub:port/", "http://u:p@hub/", "http://a b/"]
)
def test_a_backend_is_an_http_address(address: str) -> None:
    """Anything else is refused, and a password in it is not printed."""
    with pytest.raises(FaultList) as caught:
        load_settings(None, {"BACKEND_API": address})
    assert caught.value.faults[0].where == "$BACKEND_API"
    assert "u:p" not in caught.value.line()
