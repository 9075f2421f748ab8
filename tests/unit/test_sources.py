"""Sources: what is opened, what is shown, and that nothing that is shown holds a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigurationError, FaultList
from shared.settings.file import load_settings
from shared.settings.sources import (
    SourceKind,
    hide_addresses,
    looks_like_file,
    parse_address,
    resolve_source,
    show_source,
    variables_of,
)

WORD = "s3crEt"
HOSTILE = ["p#ss", "a/b", "a?b", "50%", "100%41", "me@home", "two words", "a:b", "[x]", "é€", '"q"', "a&b=c", "tab\tin"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://viewer:${PW}@192.0.2.1:554/s", "rtsp://viewer:${PW}@192.0.2.1:554/s"),
        ("rtsp://${USER}:${PW}@h/s?channel=1", "rtsp://${USER}:${PW}@h/s?…"),
        (f"rtsp://viewer:{WORD}@h/s", "rtsp://***@h/s"),
        (f"rtsp://viewer:a/{WORD}@h/s", "rtsp://***@h/s"),
        (f"rtsp://viewer:a?{WORD}#@h/s", "rtsp://***@h/s"),
        (f"rtsp://viewer:12/{WORD}@h/s", "rtsp://***@h/s"),
        (f"rtsp://viewer:a@b {WORD}@h/s", "rtsp://***@h/s"),
        (f"rtsp://viewer:{WORD}${{PW}}@h/s", "rtsp://***@h/s"),
        (f" \trtsp://viewer:{WORD}@h/s ", "rtsp://***@h/s"),
        (f"rtsp:/viewer:{WORD}@h", "rtsp://…"),
        (f"rtsp://{WORD} {WORD}", "rtsp://…"),
        (f"viewer:{WORD}@h", "***@h"),
        (f"rtsp://h/user=admin&password={WORD}&channel=1", "rtsp://h/user=admin&password=…"),
        ("rtsp://h/user=admin&password=${PW}&channel=1", "rtsp://h/user=admin&password=${PW}&channel=1"),
        (f"rtsp://h/user=admin_pwd={WORD}/a", "rtsp://h/user=admin_pwd=…"),
        (f"http://h/x;token={WORD}", "http://h/x;token=…"),
        (f"http://h/x?auth={WORD}", "http://h/x?…"),
        ("rtsp://h/a@2", "rtsp://h/a@2"),
        ("${CAMERA}", "${CAMERA}"),
        ("clips/a@b.mp4", "clips/a@b.mp4"),
        (0, "/dev/video0"),
    ],
)
def test_what_is_shown_of_a_source(text: str | int, shown: str) -> None:
    """Variables unexpanded, host and path where they are plain; never a literal password, whatever letters it has."""
    assert show_source(text) == shown
    assert WORD not in shown


@pytest.mark.parametrize("word", HOSTILE)
def test_a_variable_is_the_password_as_it_is(word: str) -> None:
    """Encoded once, where it stands in the login; what is opened has it back letter for letter."""
    found = resolve_source("rtsp://${U}:${P}@h:8554/s", "test", environ={"U": "viewer", "P": word})
    address = parse_address(str(found.address))
    assert address is not None
    assert (address.user, address.password, address.host, address.port) == ("viewer", word, "h", 8554)
    assert word not in repr(found)


def test_encoding_is_done_once_and_only_where_it_belongs() -> None:
    """What stands in site.toml encoded stays so; a query's value is a form's, a path's keeps what paths may hold."""
    values = {"P": "a/b c&d%", "CAM": "rtsp://u:p%23@h/s", "HOST": "u:p#/@h:1/live"}
    opened = {
        text: str(resolve_source(text, "test", environ=values).address)
        for text in ("rtsp://u:p%23w@h/s", "rtsp://u:p#w@h/s", "http://h/x?k=${P}", "http://h/p=${P}/x", "${CAM}")
    }
    assert list(opened.values()) == [
        "rtsp://u:p%23w@h/s",
        "rtsp://u:p%23w@h/s",
        "http://h/x?k=a%2Fb%20c%26d%25",
        "http://h/p=a/b%20c&d%25/x",
        "rtsp://u:p%23@h/s",
    ]
    assert resolve_source("${CAM}", "test", environ=values).shown == "${CAM}"


def test_files_and_devices_are_told_from_streams(tmp_path: Path) -> None:
    """A file relative to the settings, a file:// address, a device by index or by its lasting name."""
    base = tmp_path / "base"
    kinds = {
        text: resolve_source(text, "test", base=base)
        for text in ("clip.avi", "file:///srv/a%20b.avi", "/dev/v4l/by-id/usb-cam-index0", "/dev/video3", 2)
    }
    assert [found.kind for found in kinds.values()] == [SourceKind.FILE] * 2 + [SourceKind.DEVICE] * 3
    assert kinds["clip.avi"].address == str(base / "clip.avi")
    assert kinds["file:///srv/a%20b.avi"].address == "/srv/a b.avi"
    assert looks_like_file("clip.avi")
    assert not looks_like_file("/dev/v4l/by-id/usb-cam-index0")
    assert variables_of("rtsp://${A}:${B}@h") == ["A", "B"]


@pytest.mark.parametrize(
    "text",
    [
        f'source = "rtsp:/u:{WORD}@h"',
        f'source = "u:{WORD}@h"',
        f'source = "rtsp://u:p@{WORD} {WORD}"',
        f'source = "file://{WORD}/x"',
        f'source = ["rtsp://u:{WORD}@h"]',
        f'source = {{ url = "rtsp://u:{WORD}@h" }}',
        'source = "${MADE}"',
    ],
)
@pytest.mark.parametrize("head", ["[cameras.door]", "[[cameras.door]]"])
def test_no_fault_of_a_source_holds_it(tmp_path: Path, head: str, text: str) -> None:
    """Wrong in whatever way, as a text, list, table or array of tables: key and type are named, the value is not."""
    (tmp_path / "site.toml").write_text(f"{head}\n{text}\n")
    with pytest.raises((FaultList, ConfigurationError)) as raised:
        settings = load_settings(tmp_path / "site.toml")
        settings.source_of("door", {"MADE": f"rtsp://u:{WORD}@h h/{WORD}"})
    assert WORD not in str(raised.value) + repr(raised.value.__cause__)
    assert "cameras" in str(raised.value)


def test_no_fault_holds_an_address_that_stands_elsewhere(tmp_path: Path) -> None:
    """Right under [cameras], as a camera's name, in another key: not shown either."""
    secret = f'"rtsp://u:{WORD}/{WORD}@h"'
    for text in (
        f"[cameras]\nentrance = {secret}",
        f"[cameras.{secret}]\nsource = 0",
        f"cameras = [{secret}]",
        f"[cameras.door]\nsource = 0\nfps = {secret}",
        f"[recognition]\nengine = {secret}",
    ):
        (tmp_path / "site.toml").write_text(text)
        with pytest.raises(FaultList) as raised:
            load_settings(tmp_path / "site.toml")
        assert WORD not in str(raised.value), text


def test_text_of_others_loses_its_addresses() -> None:
    """Whatever stands after a scheme is cut off, spaces and all."""
    told = f"can't open rtsp://u:a {WORD}@h/s: timeout\nand https://h?x={WORD}\nplain"
    assert hide_addresses(told) == "can't open rtsp://…\nand https://…\nplain"
