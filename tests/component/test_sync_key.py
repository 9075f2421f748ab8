"""The key that sites share, and other secrets in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.files.secret_file import read_secret
from shared.service.sync_key import make_sync_key, read_sync_key, sync_key_or_none
from shared.settings.file import load_settings
from shared.settings.schema import Settings


def _settings(folder: Path, text: str = 'key_file = "sync.key"') -> Settings:
    (folder / "site.toml").write_text(f"[sync]\n{text}\n", encoding="utf-8")
    return load_settings(folder / "site.toml")


def test_a_new_key(tmp_path: Path) -> None:
    """32 random bytes that only the owner can read; a second one does not replace it; without a setting there is none."""
    settings = _settings(tmp_path)
    make_sync_key(tmp_path / "sync.key")
    assert (tmp_path / "sync.key").stat().st_mode & 0o777 == 0o600
    key = read_sync_key(settings)
    assert key is not None
    assert len(key) == 32
    with pytest.raises(ConfigurationError, match="already"):
        make_sync_key(tmp_path / "sync.key")
    assert read_sync_key(settings) == key
    assert read_sync_key(_settings(tmp_path, "")) is None


@pytest.mark.parametrize(
    "text",
    ["", "secretword", "zz" * 32, "ab" * 31, "ab" * 32 + "\nmore"],
    ids=["nothing", "a word", "no hex", "short", "two lines"],
)
def test_what_is_no_key(tmp_path: Path, text: str) -> None:
    """A fault that names the file and not its content; where forgetting must work in any case, it is said and there is no key."""
    (tmp_path / "sync.key").write_text(text, encoding="utf-8")
    (tmp_path / "sync.key").chmod(0o600)
    settings = _settings(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        read_sync_key(settings)
    assert not text or text not in caught.value.line()
    said: list[str] = []
    assert sync_key_or_none(settings, said.append) is None
    assert len(said) == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_secret_that_others_can_read(tmp_path: Path, mode: int) -> None:
    """Refused, with the remedy."""
    path = tmp_path / "token"
    path.write_text("secret", encoding="utf-8")
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_secret(path, "[sync] token_file")


def test_a_secret_in_one_line(tmp_path: Path) -> None:
    """The line's end is not part of it."""
    path = tmp_path / "token"
    path.write_text("secret\n", encoding="utf-8")
    path.chmod(0o600)
    assert read_secret(path, "[sync] token_file") == "secret"
