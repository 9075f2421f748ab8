"""The supervisor's loop: what hangs is ended in its time, and nothing that fails for a moment holds up or ends the site."""

from __future__ import annotations

import itertools
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from shared.status import CameraStatus, ChildState
from shared.supervision.child_kinds import CAMERA, WRITER
from shared.supervision.child_process import ChildProcess
from tests.support.clips import wait_until, write_clip
from tests.support.paths import FACES, needs_data
from tests.support.site_process import SUPERVISOR, SiteProcess, command, command_json
from tests.support.tiny_pack import write_pack

_LOADING = "shared.supervision.child_process.LOADING_TIMEOUT_S"
_KINDS = "shared.supervision.child_kinds"
_HEARTBEAT = "shared.supervision.child_process.HEARTBEAT_TIMEOUT_S"


class Manager:
    """systemd's end of the notify socket: every datagram, with when it came."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(self.address)
        self.told: list[tuple[float, str]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._closing:
            if select.select([self._channel], [], [], 0.1)[0]:
                self.told.append((time.monotonic(), self._channel.recv(4096).decode()))

    def times(self, word: str) -> list[float]:
        return [at for at, text in list(self.told) if word in text]

    def close(self) -> None:
        self._closing = True
        self._thread.join(5)
        self._channel.close()


@pytest.fixture
def manager(reachable: Path) -> Iterator[Manager]:
    one = Manager(reachable / "notify")
    yield one
    one.close()


@pytest.fixture
def empty_site(tmp_path: Path) -> Path:
    """A site without cameras, on the engine that needs no files."""
    (tmp_path / "site.toml").write_text('[recognition]\nengine = "dlib"\n', encoding="utf-8")
    return tmp_path


def write_cameras(folder: Path, **cameras: str) -> None:
    """site.toml with looped cameras on one clip, each with further lines."""
    sections = "".join(
        f'[cameras.{name}]\nsource = "clip.avi"\nloop = true\n{more}\n' for name, more in cameras.items()
    )
    (folder / "site.toml").write_text(f'[recognition]\nmodel = "first"\ndet_size = 128\n{sections}', encoding="utf-8")


@pytest.fixture
def camera_site(tmp_path: Path) -> Path:
    write_pack(tmp_path / "data" / "models" / "first")
    write_clip(tmp_path / "clip.avi", 50)
    write_cameras(tmp_path, one="", two="", three="")
    return tmp_path


def _handles_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["prepare", "writer"])
def test_a_hang_at_the_start_is_killed_and_ends_in_75(empty_site: Path, manager: Manager, kind: str) -> None:
    """prepare, or the writer while it loads, is stopped: it is killed within its deadline, which earns no time from systemd, and
    the site ends with 75 and a line that says so."""
    site = SiteProcess(empty_site, NOTIFY_SOCKET=manager.address)
    site.with_limits({_LOADING: 12.0, "supervisor._EXTEND_EVERY_S": 0.0})
    with site:
        site.wait_for_child(kind).suspend()
        began = time.monotonic()
        assert site.wait(40) == 75
        assert time.monotonic() - began < 20
        assert "no progress" in site.wait_for_log(f"{kind}: no progress for ")
        assert "the site can't begin without it" in site.wait_for_log(f"{kind}: killed by SIGKILL")
    assert [at for at in manager.times("EXTEND_TIMEOUT") if at > began + 1.0] == []


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["prepare", "writer"])
def test_sigterm_ends_a_site_whose_start_hangs(empty_site: Path, kind: str) -> None:
    """SIGTERM while prepare or the loading writer hangs: killed after its grace, and the exit code says that it was not in order."""
    limits = {f"{_KINDS}:PREPARE.stop_grace_s": 2.0, f"{_KINDS}:WRITER.stop_grace_s": 2.0}
    with SiteProcess(empty_site).with_limits(limits) as site:
        child = site.wait_for_child(kind)
        wait_until(
            lambda: _handles_sigterm(child.pid), "handler of its own"
        )  # before, SIGTERM ends it also where it hangs
        child.suspend()
        began = time.monotonic()
        assert site.stop(20) == 75, site.log
        assert time.monotonic() - began < 8
        assert site.wait_for_log(f"{kind}: did not stop within its grace; killed")


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["prepare", "writer"])
def test_sigterm_ends_a_start_at_once(empty_site: Path, kind: str) -> None:
    """SIGTERM while prepare or the writer works at the start: both obey, and the site ends with 0."""
    with SiteProcess(empty_site) as site:
        site.wait_for_child(kind)
        began = time.monotonic()
        assert site.stop(20) == 0
        assert time.monotonic() - began < 8


@pytest.mark.parametrize("kind", ["prepare", "writer"])
def test_a_signal_is_no_exit_code(empty_site: Path, kind: str) -> None:
    """A child that the site can't begin without is killed from outside: the site ends with 70, not with a negative code or 0."""
    with SiteProcess(empty_site) as site:
        site.wait_for_child(kind).kill()
        assert site.wait(30) == 70
        assert site.wait_for_log(f"{kind}: killed by SIGKILL")


@needs_data
def test_progress_of_prepare_earns_time(empty_site: Path, manager: Manager) -> None:
    """While photos are enrolled at the first start, each of them is progress that systemd hears of."""
    photos = sorted((FACES / "friends_enrol").iterdir())
    for person in ("Ada", "Bo", "Cy", "Di", "Eve"):
        folder = empty_site / "data" / "faces" / person
        folder.mkdir(parents=True)
        for number, photo in enumerate(photos):
            (folder / f"{number}{photo.suffix}").write_bytes(photo.read_bytes())
    site = SiteProcess(empty_site, NOTIFY_SOCKET=manager.address).with_limits({"supervisor._EXTEND_EVERY_S": 0.0})
    with site:
        site.wait_for_log("enrolled 30 photos")
        enrolled = time.monotonic()
        site.wait_until_ready()
        assert site.stop() == 0
    assert len([at for at in manager.times("EXTEND_TIMEOUT") if at < enrolled]) >= 4


@pytest.mark.alone
def test_cameras_that_hang_do_not_hold_up_a_reload(camera_site: Path, manager: Manager) -> None:
    """Two cameras hang and are changed, one is changed and one new: these start at once, the two are killed after one grace
    and not two, and the watchdog hears of the supervisor all the time."""
    site = SiteProcess(camera_site, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="1000000")
    site.with_limits({f"{_KINDS}:CAMERA.stop_grace_s": 4.0})
    with site:
        site.wait_until_ready()
        old = {name: site.child_pid(name) for name in ("one", "two", "three")}
        for name in ("one", "two"):
            psutil.Process(old[name]).suspend()
        write_cameras(camera_site, one="fps = 4", two="fps = 4", three="fps = 4", four="")
        began = time.monotonic()
        site.sighup()
        site.wait_for_new_pid("three", old["three"])
        assert site.child_pid("four")
        assert time.monotonic() - began < 3.5, "it did not wait for those that hang"
        for name in ("one", "two"):
            site.wait_for_new_pid(name, old[name])
        assert time.monotonic() - began < 8.5, "one grace for both"
        ended = time.monotonic()
        assert site.status()["cameras"]["one"]["restarts"] == 0, "the new settings begin anew"
        assert site.stop() == 0
    beats = [at for at in manager.times("WATCHDOG=1") if began <= at <= ended]
    assert max(later - earlier for earlier, later in itertools.pairwise(beats)) < 2.0


def test_a_spawn_that_fails_is_tried_again(camera_site: Path) -> None:
    """No descriptor is left when a camera has to be started again: said, tried again, and nothing else falls."""
    with SiteProcess(camera_site) as site:
        site.wait_until_ready()
        supervisor = psutil.Process(site.process.pid)
        one, two = site.child_pid("one"), site.child_pid("two")
        before = supervisor.rlimit(resource.RLIMIT_NOFILE)
        supervisor.rlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        psutil.Process(one).kill()
        assert "tried again in" in site.wait_for_log("one: can't be started: Too many open files")
        supervisor.rlimit(resource.RLIMIT_NOFILE, before)
        site.wait_for_new_pid("one", one)
        site.wait_for(lambda: site.status()["cameras"]["one"]["state"] == "running", "camera one running")
        assert site.child_pid("two") == two
        assert site.stop() == 0


_SIGNAL_DURING_IMPORTS = """
import os, runpy, signal, sys
class HangUp:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ("filelock", "pydantic", "workers.commands.run"):
            os.kill(os.getpid(), int(os.environ.get("TEST_SIGNAL", signal.SIGHUP)))
sys.meta_path.insert(0, HangUp)
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_sighup_in_the_first_moments_is_a_reload(empty_site: Path) -> None:
    """SIGHUP while the program imports, and to each child as soon as there is one: the site runs, and then reloads."""
    site = SiteProcess(empty_site)
    site._program = ["-c", _SIGNAL_DURING_IMPORTS, str(SUPERVISOR)]
    with site:
        for kind in ("prepare", "writer"):
            site.wait_for_child(kind).send_signal(signal.SIGHUP)
        site.wait_until_ready()
        site.wait_for_log("reloaded")
        assert site.wait_for(lambda: site.status().get("writer"), "status")["restarts"] == 0
        assert site.stop() == 0
    assert not any("ended" in line or "killed" in line for line in site.log)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_command_still_dies_of_a_signal(empty_site: Path, number: signal.Signals) -> None:
    """A command that runs no site ends when its terminal does, or when it is told to, also when that was while it imported."""
    words = [sys.executable, "-c", _SIGNAL_DURING_IMPORTS, str(SUPERVISOR), "people"]
    environment = {**os.environ, "TEST_SIGNAL": str(int(number))}
    words = ["env", "--default-signal", *words]  # whoever runs the tests may be deaf to SIGHUP, as under nohup
    done = subprocess.run(words, cwd=empty_site, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == -number


def test_sigterm_in_the_first_moments_is_a_stop(empty_site: Path) -> None:
    """SIGTERM while the program imports: nothing is begun, and it ends with 0."""
    words = [sys.executable, "-c", _SIGNAL_DURING_IMPORTS, str(SUPERVISOR), "run"]
    environment = {**os.environ, "TEST_SIGNAL": str(int(signal.SIGTERM))}
    done = subprocess.run(words, cwd=empty_site, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert b"prepare" not in done.stderr


@pytest.mark.alone
def test_a_pause_of_the_machine_restarts_nothing(camera_site: Path) -> None:
    """All processes stand still for longer than a heartbeat may be away, and go on: each keeps its process."""
    with SiteProcess(camera_site).with_limits({_HEARTBEAT: 3.0, "supervisor._LATE_S": 1.0}) as site:
        site.wait_until_ready()
        names = ("writer", "one", "two", "three")
        before = [site.child_pid(name) for name in names]
        everybody = [psutil.Process(site.process.pid), *site.children()]
        for process in everybody:
            process.suspend()
        threading.Event().wait(6.0)  # the pause itself
        for process in everybody:
            process.resume()
        site.wait_for_log("the machine stood still for")
        beat = site.status()["cameras"]["one"]["frames"]
        site.wait_for(lambda: site.status()["cameras"]["one"]["frames"] > beat, "frames after the pause")
        assert [site.child_pid(name) for name in names] == before
        assert site.stop() == 0


def test_status_check_and_systemd_say_which_camera_is_down(camera_site: Path, manager: Manager) -> None:
    """A camera without pictures, and one whose process fell, are down: since when and why, in JSON, in text, in `check` and in
    systemd's line, where only cameras that are up count; another is up, with its ages."""
    write_cameras(camera_site, one="", two="")
    text = (camera_site / "site.toml").read_text(encoding="utf-8")
    (camera_site / "site.toml").write_text(
        text + '[cameras.dead]\nsource = "rtsp://127.0.0.1:9/live"\n', encoding="utf-8"
    )
    with SiteProcess(camera_site, NOTIFY_SOCKET=manager.address) as site:
        site.wait_until_ready()
        cameras = site.wait_for(lambda: _where(site, one="up", two="up", dead="down"), "two up and one down")
        assert cameras["one"].age_p50_ms is not None
        assert cameras["one"].down_since is None
        assert "refused" in cameras["dead"].down_reason
        began = datetime.fromisoformat(cameras["dead"].down_since)
        assert 0 <= (datetime.now(UTC) - began).total_seconds() < 60
        assert manager.told[-1][1] == "STATUS=2 of 3 cameras up" or manager.times("STATUS=2 of 3 cameras up")
        said = command(camera_site, "status").stdout
        assert "2 of 3 cameras up" in said
        assert f"dead             down     since {cameras['dead'].down_since}: " in said
        faults = command_json(camera_site, "check", expect=1)["faults"]
        assert any("[cameras.dead]" in fault and "refused" in fault and "since" in fault for fault in faults)
        for _ in range(3):  # so often that it waits for seconds
            psutil.Process(site.child_pid("one")).kill()
            cameras = site.wait_for(lambda: _where(site, one="down"), "camera one down")
            assert "its process killed by SIGKILL; started again in" in cameras["one"].down_reason
            site.wait_for(lambda: _where(site, one="up"), "camera one up")
        assert site.stop() == 0


def _where(site: SiteProcess, **words: str) -> dict[str, CameraStatus] | None:
    """The site's cameras, when they are as these words say."""
    found = {name: CameraStatus.from_json(camera) for name, camera in site.status().get("cameras", {}).items()}
    return found if words.items() <= {name: camera.word for name, camera in found.items()}.items() else None


@pytest.mark.alone
def test_a_block_goes_with_a_site_whose_writer_is_down(empty_site: Path) -> None:
    """The site stops while its writer waits for its restart: no vector stays in shared memory, and the exit code is 75."""
    with SiteProcess(empty_site) as site:
        site.wait_until_ready()
        assert site.segments()
        psutil.Process(site.child_pid("writer")).kill()
        site.wait_for_log("writer: killed by SIGKILL; started again in")
        assert site.stop() == 75
        assert site.segments() == []


def test_a_writer_that_falls_while_it_stops_is_no_good_end(empty_site: Path) -> None:
    """Killed by somebody else once it was asked to stop: what it had not stored may be lost, so the site ends in 75 and says why."""
    with SiteProcess(empty_site) as site:
        site.wait_until_ready()
        writer = psutil.Process(site.child_pid("writer"))
        writer.suspend()
        wait_until(lambda: writer.status() == psutil.STATUS_STOPPED, "the writer to stand still")
        site.process.send_signal(signal.SIGTERM)
        wait_until(lambda: _waits_for_sigterm(writer.pid), "SIGTERM to the writer")
        writer.kill()
        assert site.wait(30) == 75
        site.wait_for_log("writer: killed by SIGKILL while it stopped")


def _waits_for_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    pending = int(status.partition("ShdPnd:")[2].split()[0], 16)
    return bool(pending >> (signal.SIGTERM - 1) & 1)


def test_a_childs_words_reach_no_further() -> None:
    """What a child may write to its channel: only a heartbeat is progress, and nothing of it raises."""
    child = ChildProcess("one", CAMERA, [], {})
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    child.channel = ours
    with theirs:
        theirs.send(b'{"state":"loading"}\n')
        assert child.read_heartbeats()
        heard = child.heard_at
        for line in (
            b"[" * 5000,
            b"\xff\xfe",
            b"17",
            b'{"state":"waiting"}',
            b'{"state":[]}',
            b'{"state":{}}',
            b'{"a":[[]]}',
            b"[]",
        ):
            theirs.send(line + b"\n")
            assert child.read_heartbeats()
        many = ",".join(f'"k{number}":1' for number in range(200))
        theirs.send(f"{{{many}}}\n".encode())
        assert child.read_heartbeats()
        assert (child.heard_at, child.said.state) == (heard, ChildState.LOADING)
    assert not child.read_heartbeats(), "the other side is closed"
    ours.close()


def test_settings_of_any_length_reach_a_child_that_does_not_read() -> None:
    """A start returns at once, however long the settings are: nothing waits for the child to read them."""
    child = ChildProcess("one", WRITER, [], {"long": "x" * (1 << 20)}, output=os.open(os.devnull, os.O_WRONLY))
    child.start()
    try:
        assert child.running
    finally:
        child.kill(time.monotonic())
        assert child.process is not None
        child.process.wait(10)
        child.reap(time.monotonic())
