"""A machine for one test: the system's real systemd is the first process of fresh namespaces, and Rollcall is installed there.

The root is an overlay over the real one. Changes of files are kept in memory and disappear with the machine. It has only a loopback
network, and its own processes, shared memory and /tmp. What the kernel shares between namespaces (sysctls, devices) is read-only
there.
"""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.live_folders import folders_under
from tests.support.paths import ROOT

INSTALLED = "/opt/rollcall"
PYTHON = f"{INSTALLED}/.venv/bin/python"
STATE = "/var/lib/rollcall"
CONFIG = "/etc/rollcall/site.toml"

_BOOT_S = 60.0
_SYSTEMD = next((path for path in ("/lib/systemd/systemd", "/usr/lib/systemd/systemd") if Path(path).exists()), None)
_TOOLS = ("setpriv", "unshare", "nsenter", "script", "mount", "journalctl", "systemctl", "runuser", "ldconfig")

# Packages that only tests and linters use: a quarter of a gigabyte.
_OF_TESTS = ("faiss*", "usearch*", "matplotlib*", "mypy*", "ruff*", "pip*", "hypothesis*", "fonttools*", "fontTools")

# $1: an empty folder. $2: the pseudo-terminal that is systemd's console.
_BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/changes" "$1/work" "$1/root" "$1/cgroup"
mount -t cgroup2 cgroup2 "$1/cgroup"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount --bind "$1/cgroup" sys/fs/cgroup
for folder in run tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do touch "dev/$device"; mount --bind "/dev/$device" "dev/$device"; done
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch dev/console
mount --bind "$2" dev/console
exec chroot . /usr/bin/env -i container=rollcall-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    SYSTEMD=1 "$3" --system --unit=sysinit.target
"""


def why_not() -> str | None:
    """Why no machine can be booted here; None: one can."""
    if sys.platform != "linux" or _SYSTEMD is None:
        return "systemd is not installed (Debian: apt install systemd)"
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "booting a machine in namespaces needs root"
    if _cgroup2() is None:
        return "no cgroup2 file system is mounted"
    tried = subprocess.run(["unshare", "-mpCiun", "--fork", "true"], capture_output=True, text=True, check=False)
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else None


class Machine:
    """A booted machine; `booted` makes one."""

    def __init__(self, leader: int) -> None:
        """`leader`: the pid, outside, of its first process."""
        self._leader = leader

    @property
    def root(self) -> Path:
        """Its file system, seen from outside."""
        return Path(f"/proc/{self._leader}/root")

    def run(
        self, *words: str, user: str = "root", timeout_s: float = 120.0, expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """A command on the machine, to its end; it must end with `expect` (None: with anything)."""
        as_user = [] if user == "root" else ["runuser", "-u", user, "--"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0"]
        done = subprocess.run(
            ["nsenter", "--target", str(self._leader), "--all", "--root", "--wd", *clean, *as_user, *words],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if expect is not None:
            assert done.returncode == expect, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def rollcall(
        self, *words: str, timeout_s: float = 120.0, expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """`supervisor.py WORDS` as the service's user, as docs/operating.md types it."""
        return self.run(
            PYTHON,
            f"{INSTALLED}/supervisor.py",
            *words,
            "--config",
            CONFIG,
            user="rollcall",
            timeout_s=timeout_s,
            expect=expect,
        )

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit, as `systemctl show` has them."""
        printed = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names)).stdout
        return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)

    def journal(self, unit: str) -> str:
        """Everything that the journal has of a unit, each line with its priority and identifier."""
        return self.run("journalctl", "--unit", unit, "--no-pager", "--output=short-monotonic").stdout

    def write(self, path: str, content: str | bytes, mode: int = 0o644, owner: str = "root") -> None:
        """A file on the machine."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        if owner != "root":
            self.run("chown", f"{owner}:{owner}", path)


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """A machine that has reached sysinit.target; `folder`: an empty one, for its files. It is killed in the end."""
    group = _own_cgroup()
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "boot.sh"
    script.write_text(_BOOT, encoding="utf-8")
    mounted = folder / "machine"
    mounted.mkdir()
    inside = (
        f'echo $$ > "{group}/cgroup.procs" && exec unshare -mpCiun --fork --kill-child '
        f'bash "{script}" "{mounted}" "$(tty)" {_SYSTEMD}'
    )
    console = (folder / "console.log").open("wb")
    process = subprocess.Popen(
        # When the test run is killed, the machine goes with it.
        ["setpriv", "--pdeathsig", "KILL", "script", "--quiet", "--flush", "--command", inside, "/dev/null"],
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
        start_new_session=True,
    )
    try:
        yield Machine(_wait_for_boot(process, group, folder / "console.log"))
    finally:
        for pid in _members(group):
            _kill(pid)
        process.kill()
        process.wait(10)
        console.close()
        _remove_cgroup(group)


def install(machine: Machine) -> None:
    """Rollcall below /opt/rollcall with a service user and its folders, as the README's installation leaves it.

    The interpreter and its packages are those of this test run, laid where the service may read them.
    """
    base, version = Path(sys.base_prefix), f"python{sysconfig.get_python_version()}"
    machine.run("mkdir", "-p", f"{INSTALLED}/.venv/bin", f"{INSTALLED}/.venv/lib/{version}", "/opt/python")
    _lay(machine, base, "/opt/python")
    for library in base.glob(
        "lib/libpython*.so*"
    ):  # found by its path in /root otherwise, which the service can't read
        shutil.copy2(library, machine.root / "usr/local/lib" / library.name)
    machine.run("ldconfig")
    _lay(machine, Path(sysconfig.get_path("purelib")), f"{INSTALLED}/.venv/lib/{version}/site-packages")
    machine.write(f"{INSTALLED}/.venv/pyvenv.cfg", f"home = /opt/python/bin\nversion = {sys.version.split()[0]}\n")
    machine.run("ln", "-s", f"/opt/python/bin/{version}", PYTHON)
    for name in ("pyproject.toml", "README.md", "supervisor.py"):
        shutil.copy2(ROOT / name, machine.root / INSTALLED.lstrip("/") / name)
    for name in ("shared", "workers"):
        shutil.copytree(
            ROOT / name,
            machine.root / INSTALLED.lstrip("/") / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    machine.run("chmod", "-R", "a+rX", INSTALLED)
    machine.run("useradd", "--system", "--user-group", "--home-dir", STATE, "--shell", "/usr/sbin/nologin", "rollcall")
    machine.run("install", "-d", "-o", "rollcall", "-g", "rollcall", "-m", "0750", "/etc/rollcall")
    machine.run("install", "-d", "-o", "rollcall", "-g", "rollcall", "-m", "0700", STATE)
    shutil.copy2(ROOT / "deploy" / "rollcall.service", machine.root / "etc/systemd/system/rollcall.service")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "basic.target")  # D-Bus, through which systemd-run asks


def _lay(machine: Machine, source: Path, target: str) -> None:
    """A copy of `source` in the machine: a folder of the real root may be one that its services must not see."""
    shutil.copytree(
        source,
        machine.root / target.lstrip("/"),
        symlinks=True,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__", "test", "include", "share", *_OF_TESTS, *_others(source)),
    )


def _others(source: Path) -> list[str]:
    """Packages of the base interpreter, which the environment of the tests does not see either."""
    own = {Path(folder).resolve() for folder in site.getsitepackages()}
    return ["site-packages", "dist-packages"] if source.resolve() not in own else []


def _wait_for_boot(process: subprocess.Popen[bytes], group: Path, log: Path) -> int:
    """The pid of the first process, once its systemd has started what a machine starts."""
    deadline = time.monotonic() + _BOOT_S
    while time.monotonic() < deadline:
        leader = _first_process(group)
        if leader is not None:
            machine = Machine(leader)
            state = machine.run("systemctl", "is-system-running", "--wait", expect=None, timeout_s=_BOOT_S)
            if state.stdout.strip() in ("running", "degraded"):
                return leader
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"systemd did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _first_process(group: Path) -> int | None:
    for pid in _members(group):
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
            is_systemd = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == "systemd"
        except OSError:
            continue
        inner = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
        if is_systemd and inner[-1:] == ["1"]:
            return pid
    return None


def _cgroup2() -> Path | None:
    """Where a cgroup2 file system is mounted."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    return next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)


def _own_cgroup() -> Path:
    """A new cgroup, so that the machine's systemd arranges nobody else's processes."""
    top = _cgroup2()
    assert top is not None  # else no machine can be booted, as why_not says
    group = top / f"rollcall-test-{os.getpid()}-{time.monotonic_ns()}"
    group.mkdir()
    return group


def _members(group: Path) -> list[int]:
    found: list[int] = []
    for folder in folders_under(group):
        with _suppressed():
            text = (folder / "cgroup.procs").read_text(encoding="ascii")
            found += [int(line) for line in text.split() if line != "0"]
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def _remove_cgroup(group: Path) -> None:
    deadline = time.monotonic() + 10
    while group.exists() and time.monotonic() < deadline:
        for folder in reversed(folders_under(group)):
            with _suppressed():
                folder.rmdir()


@contextmanager
def _suppressed() -> Iterator[None]:
    """A cgroup may be gone already; one whose last process is still going away can't be removed yet."""
    try:
        yield
    except OSError:
        return
