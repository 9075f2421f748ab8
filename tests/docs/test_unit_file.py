"""The unit in deploy/ and what speaks to systemd: real systemd-analyze, real datagram sockets."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import errors
from shared.supervision.systemd_notify import notify, watchdog_interval_s
from tests.support.paths import ROOT

UNIT, HUB_UNIT = ROOT / "deploy" / "rollcall.service", ROOT / "deploy" / "rollcall-backend.service"
UNITS = [UNIT, HUB_UNIT]
both_units = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)

ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(
    ANALYZE is None, reason="systemd-analyze is not installed (Debian: apt install systemd)"
)


def _lines(unit: Path) -> list[str]:
    return unit.read_text(encoding="utf-8").splitlines()


def _values(directive: str, unit: Path = UNIT) -> list[str]:
    return [line.partition("=")[2] for line in _lines(unit) if line.startswith(f"{directive}=")]


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "cat"}
    return subprocess.run(
        [str(ANALYZE), *arguments], env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@needs_analyze
@both_units
def test_the_unit_is_clean_to_systemd(unit: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about the unit once the paths it names exist."""
    installed = tmp_path / "opt" / "rollcall"
    interpreter = installed / ".venv" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text("#!/bin/sh\n", encoding="ascii")
    interpreter.chmod(0o755)
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace("/opt/rollcall", str(installed)), encoding="utf-8")
    done = _analyze("verify", "--man=no", "--recursive-errors=no", str(copy))
    # The machine's own units may have faults of their own; only ours matter.
    assert [line for line in (done.stdout + done.stderr).splitlines() if "rollcall" in line] == []
    assert done.returncode == 0, done.stderr


@both_units
def test_processes_may_lower_their_own_limits(unit: Path) -> None:
    """The unit's last word on the call that sets limits is that it is allowed: photos and streams are read within some."""
    filters = _values("SystemCallFilter", unit)
    assert filters.index("~@privileged @resources") < filters.index("prlimit64")


@needs_analyze
def test_verify_would_see_a_fault(tmp_path: Path) -> None:
    """The check above is not blind: a misspelt directive and a missing program are both reported."""
    copy = tmp_path / "rollcall.service"
    text = UNIT.read_text(encoding="utf-8").replace("/opt/rollcall", str(tmp_path / "nowhere"))
    copy.write_text(text.replace("OOMPolicy=", "OOMPolizy="), encoding="utf-8")
    done = _analyze("verify", "--man=no", "--recursive-errors=no", str(copy))
    assert "OOMPolizy" in done.stderr
    assert "not executable" in done.stderr


@needs_analyze
@both_units
def test_exposure_is_two_or_better(unit: Path) -> None:
    """`systemd-analyze security --offline=true` scores the unit 2.0 or better."""
    done = _analyze("security", "--offline=true", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found.group(1)) <= 2.0


def test_cameras_on_usb_stay_allowed() -> None:
    """Hardening leaves /dev/videoN readable: no private /dev, the device class allowed, the group joined."""
    assert _values("PrivateDevices") == []
    assert _values("DevicePolicy") == ["closed"]
    assert _values("DeviceAllow") == ["char-video4linux rw"]
    assert _values("SupplementaryGroups") == ["video"]


@both_units
def test_every_directive_is_explained(unit: Path) -> None:
    """Above each directive, also one that is commented out, stands a comment that says why."""
    lines = _lines(unit)
    for number, line in enumerate(lines):
        if re.match(r"#?[A-Z][A-Za-z]+=", line):
            above = lines[number - 1]
            assert above.startswith("# "), f"line {number + 1} is not explained: {line}"
            assert len(above) > 12, f"line {number + 1} is explained by a fragment: {above}"


@both_units
def test_restart_policy_follows_the_exit_codes(unit: Path) -> None:
    """A configuration fault stays down; crashes, hangs and temporary faults are restarted, for ever."""
    assert _values("RestartPreventExitStatus", unit) == [str(errors.EXIT_CONFIGURATION)]
    assert _values("Restart", unit) == ["on-failure"]
    assert _values("StartLimitIntervalSec", unit) == ["0"]


def test_the_supervisor_speaks_to_systemd() -> None:
    """It says when the site is ready, and stops its children itself."""
    assert (_values("Type"), _values("KillMode")) == (["notify"], ["mixed"])


def test_nothing_is_written_outside_the_state_directory() -> None:
    """The file system is read-only but for /var/lib/rollcall; what it writes there is for its own user only."""
    assert _values("ProtectSystem") == ["strict"]
    assert _values("ReadWritePaths") == []
    assert (_values("StateDirectory"), _values("StateDirectoryMode")) == (["rollcall"], ["0700"])
    assert _values("UMask") == ["0077"]


def test_the_hub_owns_no_file_and_its_password_is_a_credential() -> None:
    """It writes nothing, does not see the gallery of a site beside it, and nobody reads the database's password in its command."""
    assert _values("ProtectSystem", HUB_UNIT) == ["strict"]
    assert _values("DynamicUser", HUB_UNIT) == ["yes"]
    assert _values("StateDirectory", HUB_UNIT) == _values("ReadWritePaths", HUB_UNIT) == []
    assert "-/var/lib/rollcall" in _values("InaccessiblePaths", HUB_UNIT)[0].split()
    assert _values("LoadCredential", HUB_UNIT) == ["MONGODB_URI:/etc/rollcall-credentials/MONGODB_URI"]
    assert "mongodb" not in _values("ExecStart", HUB_UNIT)[0]


_NO_WRITABLE_CODE = """
import ctypes, sys
# PR_SET_MDWE (65), PR_MDWE_REFUSE_EXEC_GAIN (1), Linux 6.3: what MemoryDenyWriteExecute= asks of the kernel.
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:
    sys.exit(77)
import mmap
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    sys.exit(77)
except PermissionError:
    pass
import av, cv2, numpy, numkong, onnxruntime, setproctitle, sqlite3
ones = numpy.ones((64, 64), numpy.float32)
assert (ones @ ones)[0, 0] == 64
assert cv2.resize(numpy.zeros((32, 32, 3), numpy.uint8), (8, 8)).shape == (8, 8, 3)
picture = av.VideoFrame.from_ndarray(numpy.zeros((64, 64, 3), numpy.uint8), format="bgr24").reformat(format="yuv420p")
encoder = av.CodecContext.create("mpeg4", "w")
encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 64, 64, "yuv420p", 25
packets = encoder.encode(picture) + encoder.encode(None)
assert av.CodecContext.create("mpeg4", "r").decode(packets[0])
assert onnxruntime.get_available_providers()
try:
    import dlib
except ImportError:
    sys.exit(0)
dlib.get_frontal_face_detector()(numpy.zeros((120, 120, 3), numpy.uint8))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="MemoryDenyWriteExecute= is Linux's")
def test_the_libraries_run_without_writable_code() -> None:
    """numpy, OpenCV, FFmpeg, onnxruntime, numkong and dlib work in a process that may not have writable executable memory."""
    assert _values("MemoryDenyWriteExecute") == ["yes"]
    done = subprocess.run(
        [sys.executable, "-c", _NO_WRITABLE_CODE], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode == 77:
        pytest.skip("this kernel does not enforce PR_SET_MDWE (Linux 6.3)")
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, reachable: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """systemd's end of the socket, and the environment it would give a service."""
    name = str(reachable / "notify") if request.param == "file" else f"@rollcall-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("\0" + name[1:] if name[0] == "@" else name)
        channel.settimeout(10)
        yield channel, {"NOTIFY_SOCKET": name}


def test_notify_is_one_datagram(manager: tuple[socket.socket, dict[str, str]]) -> None:
    """All assignments of a call arrive together, a line each, over a path as over an abstract socket."""
    channel, environ = manager
    assert notify("READY=1", "STATUS=2 cameras run", environ=environ)
    assert channel.recv(4096) == b"READY=1\nSTATUS=2 cameras run"


def test_a_full_or_missing_socket_stops_nobody(manager: tuple[socket.socket, dict[str, str]], reachable: Path) -> None:
    """A manager that does not read, or is gone, costs neither time nor an exception: the answer is False."""
    _, environ = manager
    answers = {notify("WATCHDOG=1", environ=environ) for _ in range(5000)}
    assert answers == {True, False}  # True until the queue is full, then False at once
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": str(reachable / "gone")})


def test_outside_systemd_nothing_happens() -> None:
    """Without $NOTIFY_SOCKET, or with one of an unknown kind, notify does nothing and says so; there is no watchdog."""
    assert not notify("READY=1", environ={})
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": "vsock:2:1234"})
    assert not notify(environ={"NOTIFY_SOCKET": "/run/systemd/notify"})
    assert watchdog_interval_s({}) is None


def test_watchdog_interval_is_half_of_the_deadline() -> None:
    """Half of WATCHDOG_USEC, for the process that WATCHDOG_PID names, or any when it names none; nonsense is none."""
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000"}) == 15.0
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}) == 15.0
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, pid=2) is None
    assert watchdog_interval_s({"WATCHDOG_USEC": "0"}) is None
    assert watchdog_interval_s({"WATCHDOG_USEC": "soon"}) is None
