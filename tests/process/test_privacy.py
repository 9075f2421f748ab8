"""What the journal, the terminal and other processes get to see of people and passwords."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clips import write_clip
from tests.support.paths import FACES, ROOT, SMALL_PACK, VIDEOS, needs_data
from tests.support.site_process import SUPERVISOR, SiteProcess, command, command_json
from tests.support.tiny_pack import write_pack


@needs_data
@pytest.mark.parametrize("way", ["journal", "--quiet"])
def test_the_journal_names_nobody(tmp_path: Path, way: str) -> None:
    """Where standard output is systemd's journal, or with --quiet, no person's name is printed or logged: not of a sighting, not of
    a photo that was refused, not of people who look alike. Camera, verdict and id are; `events` has the names."""
    (tmp_path / "site.toml").write_text(
        f'[recognition]\nmodel = "{SMALL_PACK.name}"\nmodels_dir = "{SMALL_PACK.parent}"\nfps = 2\n'
        f'[cameras.sofa]\nsource = "{VIDEOS / "friends_in_video.mp4"}"\nrealtime = false\n',
        encoding="utf-8",
    )
    people = [photo.stem for photo in (FACES / "friends_enrol").iterdir()]
    for photo in (FACES / "friends_enrol").iterdir():
        folder = tmp_path / "data" / "faces" / photo.stem
        folder.mkdir(parents=True)
        shutil.copyfile(photo, folder / photo.name)
        (folder / "torn.jpg").write_bytes(b"torn")
    log = tmp_path / "log"
    with log.open("wb") as output:
        found = os.fstat(output.fileno())
        quiet, stream = ([way], "1:1") if way == "--quiet" else ([], f"{found.st_dev}:{found.st_ino}")
        done = subprocess.run(
            [sys.executable, str(SUPERVISOR), "run", "--until-ended", *quiet],
            cwd=tmp_path, stdout=output, stderr=output, env={**os.environ, "JOURNAL_STREAM": stream}, timeout=170, check=False,
        )  # fmt: skip  # options by kind
    text = log.read_text(encoding="utf-8")
    assert done.returncode == 0, text
    assert "sofa" in text
    assert "named" in text
    assert "6 photos were skipped" in text
    assert [name for name in people if name in text] == []
    named = [event for event in _events(tmp_path) if event["event"] == "named"]
    assert {event["person"] for event in named} <= set(people)
    assert all(f"(event {event['id']})" in text for event in named)
    assert named


def _events(folder: Path) -> list[dict[str, object]]:
    lines = command(folder, "events", "--json").stdout.splitlines()
    return [json.loads(line) for line in lines]


_STEERING = "b\nrollcall: forged line\x1b]0;owned\x07\u202egpj"


def test_names_of_files_steer_no_terminal_and_forge_no_line(tmp_path: Path) -> None:
    """Control characters and marks of direction in a path are escaped in text and log; JSON has the path exactly."""
    (tmp_path / "site.toml").write_text('[recognition]\nengine = "dlib"\n', encoding="utf-8")
    folder = tmp_path / "data" / "faces" / "Ada"
    folder.mkdir(parents=True)
    photo = folder / f"{_STEERING}.jpg"
    photo.write_bytes(b"no picture")
    said = command(tmp_path, "enrol", str(folder.parent))
    everything = [said.stderr + said.stdout]
    answer = command_json(tmp_path, "enrol", str(folder.parent), expect=1)
    assert [Path(one["photo"]).name for one in answer["refused"]] == [photo.name]
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        assert site.stop() == 0
    everything.append("\n".join(site.log))
    for text in everything:
        assert "b\\x0arollcall: forged line\\x1b]0;owned\\x07\\u202egpj" in text
        assert not any(line.startswith("rollcall: forged") for line in text.splitlines())
        assert not set(text) & {"\x1b", "\x07", "\u202e"}


def test_a_child_gets_what_it_needs(tmp_path: Path) -> None:
    """A camera has its own source and variable, not the other's; writer and prepare have none; no process may dump its core."""
    write_pack(tmp_path / "data" / "models" / "first")
    write_clip(tmp_path / "clip.avi", 50)
    (tmp_path / "site.toml").write_text(
        '[recognition]\nmodel = "first"\ndet_size = 128\n'
        + "".join(
            f'[cameras.{name}]\nsource = "rtsp://viewer:${{{name.upper()}_WORD}}@127.0.0.1:9/{name}"\n'
            for name in ("one", "two")
        ),
        encoding="utf-8",
    )
    secrets = {"ONE_WORD": "first-secret", "TWO_WORD": "second-secret", "MONGODB_URI": "mongodb://u:third-secret@h"}
    with SiteProcess(tmp_path, **secrets) as site:
        prepare = _known_to(site.wait_for_child("prepare").pid)
        site.wait_until_ready()
        known = {name: _known_to(site.child_pid(name)) for name in ("writer", "one", "two")}
        limits = Path(f"/proc/{site.child_pid('one')}/limits").read_text(encoding="ascii")
        assert site.stop() == 0
    for text in (prepare, known["writer"]):
        assert not any(word in text for word in ("secret", "127.0.0.1:9"))
    assert "first-secret" in known["one"]
    assert "second-secret" not in known["one"]
    assert "127.0.0.1:9/two" not in known["one"]
    assert "second-secret" in known["two"]
    assert "third-secret" not in known["one"] + known["two"]
    assert ["Max", "core", "file", "size", "0", "0"] in [line.split()[:6] for line in limits.splitlines()]


def _known_to(pid: int) -> str:
    """A process's environment and standard input."""
    settings = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY)
    try:
        said = os.pread(settings, 1 << 20, 0)
    finally:
        os.close(settings)
    return (Path(f"/proc/{pid}/environ").read_bytes() + said).decode()


_LOOK = """
import ctypes, os, sys
from pathlib import Path
from shared.ipc import wire
from shared.process.private_memory import keep_memory_private
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as in a process that was started by this user
before = os.stat("/proc/self/environ").st_uid
keep_memory_private()
os.umask(0o077)
folder = Path(sys.argv[1]) / ("long" * 40)
folder.mkdir()
with wire.address(folder / "socket") as where:
    open(where, "w").close()
print(before, os.stat("/proc/self/environ").st_uid, os.getuid(), (folder / "socket").exists())
"""


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="being another user needs root")
def test_a_processs_memory_is_its_own(reachable: Path) -> None:
    """For its own user, too: /proc shows it as root's. What we need of /proc/self ourselves, as for long socket paths, still works."""
    os.chown(reachable, 65534, 65534)
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, str(reachable)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=reachable, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip  # options by kind
    assert done.stdout.split() == ["65534", "0", "65534", "True"], done.stderr
