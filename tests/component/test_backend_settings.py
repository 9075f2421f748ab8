"""[backend]: its faults show no password, and the database's address is filled in."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigurationError, FaultList
from shared.settings.file import parse_settings
from shared.settings.schema import Settings

EVERYWHERE = "0.0.0.0"  # noqa: S104  # what is judged


def settings(**backend: object) -> Settings:
    return parse_settings({"backend": backend}, Path("/etc/site.toml"), environ={})


@pytest.mark.parametrize(
    "written", ["postgres://u:geheim@h/x", "geheim", ["geheim"], {"geheim": 1}, "mongodb://u:ge heim@h"]
)
def test_a_faulty_address_is_not_shown(written: object) -> None:
    """The fault names the key and what was expected, and nothing of the value."""
    with pytest.raises(FaultList) as caught:
        settings(mongodb_uri=written)
    (fault,) = caught.value.faults
    assert fault.where == "/etc/site.toml: [backend] mongodb_uri"
    assert "heim" not in fault.line()


@pytest.mark.parametrize(
    ("written", "filled"),
    [
        ("${MONGODB_URI}", "mongodb://u:p%40w@h/x"),
        ("mongodb+srv://rollcall:${WORD}@h.example/x", "mongodb+srv://rollcall:p%40%2Fw@h.example/x"),
        ("mongodb://h/x", "mongodb://h/x"),
    ],
)
def test_variables_are_filled_in(written: str, filled: str) -> None:
    """A whole address as it is; a password percent-encoded, since it is part of one."""
    environ = {"MONGODB_URI": "mongodb://u:p%40w@h/x", "WORD": "p@/w"}
    assert settings(mongodb_uri=written).mongodb_uri(environ) == filled


def test_a_credential_of_systemd_is_a_variable_too(tmp_path: Path) -> None:
    (tmp_path / "MONGODB_URI").write_text("mongodb://h/x\n", encoding="utf-8")
    assert settings().mongodb_uri({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "mongodb://h/x"
    with pytest.raises(ConfigurationError, match="MONGODB_URI"):
        settings().mongodb_uri({})


def test_nothing_travels_in_the_clear() -> None:
    """Beyond loopback it needs a certificate or a proxy; a certificate needs its key. Not enabled, nothing of this counts."""
    for fit in (
        {"host": EVERYWHERE, "proxies": ["10.0.0.2"]},
        {"host": EVERYWHERE, "certificate": "c", "key": "k"},
        {"host": "::1"},
    ):
        assert settings(enabled=True, **fit).backend.enabled
    assert settings(host=EVERYWHERE).backend.host
    for unfit, key in (({"host": EVERYWHERE}, "host"), ({"certificate": "c"}, "key"), ({"host": "unix:x"}, "host")):
        with pytest.raises(FaultList) as caught:
            settings(enabled=True, **unfit)
        assert caught.value.faults[0].where.endswith(f"[backend] {key}")


def test_only_the_backend_gets_its_section() -> None:
    """Other children's settings do not have the address, even if it is written out."""
    whole = settings(enabled=True, mongodb_uri="mongodb://u:geheim@h/x")
    assert "geheim" not in str(whole.for_child(sections=("web",)).to_json())
    again = Settings.from_json(whole.for_child(sections=("backend",)).to_json())
    assert again.backend == whole.backend
    assert "geheim" not in repr(whole)
