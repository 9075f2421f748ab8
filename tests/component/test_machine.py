"""What of the machine a process may use, as its affinity and control groups of both versions leave it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.process.machine import usable_cpus, usable_memory_bytes
from tests.support.paths import ROOT

_ASK = "from shared.process.machine import *; print(usable_cpus(), usable_memory_bytes())"


def ask(*before: str) -> tuple[int, int]:
    """What a process says that was started behind the words `before`."""
    done = subprocess.run(
        [*before, sys.executable, "-c", _ASK], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    cpus, memory = done.stdout.split()
    return int(cpus), int(memory)


def test_without_limits_all_of_the_machine() -> None:
    """At least one processor, no more than there are; memory at most what the system has."""
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))
    assert 0 < usable_memory_bytes() <= psutil.virtual_memory().total


def test_affinity_counts() -> None:
    """Bound to one processor of several, a process may use one."""
    assert ask("taskset", "-c", str(min(os.sched_getaffinity(0))))[0] == 1


@pytest.fixture
def group_one() -> Iterator[str]:
    """A real control group of version 1 for processors; the word that runs something in it."""
    group = Path("/sys/fs/cgroup/cpu") / f"rollcall-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no control group of version 1 can be made here")
    (group / "cpu.cfs_period_us").write_text("100000", encoding="ascii")
    (group / "cpu.cfs_quota_us").write_text("100000", encoding="ascii")
    yield str(group / "cgroup.procs")
    group.rmdir()


def test_a_real_quota_counts(group_one: str) -> None:
    """In a group that has one processor's worth of time, a process may use one, whatever its affinity."""
    assert ask("sh", "-c", f'echo $$ > {group_one} && exec "$@"', "sh")[0] == 1


def fake_proc(folder: Path, cgroup: str, mounts: list[tuple[str, Path, str, str]]) -> Path:
    """A process's folder as the kernel writes it. `mounts`: root, mount point, kind, options."""
    (folder / "cgroup").write_text(cgroup, encoding="ascii")
    lines = [
        f"30 23 0:26 {root} {point} rw,nosuid - {kind} cgroup rw,{options}" for root, point, kind, options in mounts
    ]
    (folder / "mountinfo").write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + "\n".join(lines) + "\n", encoding="ascii"
    )
    return folder


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text + "\n", encoding="ascii")


def test_groups_of_version_two(tmp_path: Path) -> None:
    """The narrowest limit on the way up counts: a slice's quota, a service's memory, file pages that can be given back."""
    mount = tmp_path / "cg"
    service = mount / "system.slice" / "rollcall.service"
    write(
        service,
        cpu_max="max 100000",
        memory_max="1000000",
        memory_current="700000",
        memory_stat="anon 1\ninactive_file 50000",
    )
    write(mount / "system.slice", cpu_max="100000 200000", memory_max="max", memory_current="900000")
    proc = fake_proc(tmp_path, "0::/system.slice/rollcall.service\n", [("/", mount, "cgroup2", "nsdelegate")])
    assert usable_cpus(proc) == 1
    assert usable_memory_bytes(proc) == 350_000


def test_groups_of_version_one_in_a_container(tmp_path: Path) -> None:
    """Where only the container's own group is mounted, its limits count; no limit is told by -1 and a huge number."""
    cpu, memory = tmp_path / "cpu", tmp_path / "memory"
    write(cpu)
    (cpu / "cpu.cfs_quota_us").write_text("-1", encoding="ascii")
    (cpu / "cpu.cfs_period_us").write_text("100000", encoding="ascii")
    write(memory)
    (memory / "memory.limit_in_bytes").write_text("2000000", encoding="ascii")
    (memory / "memory.usage_in_bytes").write_text("1500000", encoding="ascii")
    (memory / "memory.stat").write_text("total_inactive_file 100000\n", encoding="ascii")
    proc = fake_proc(
        tmp_path,
        "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
        [("/docker/abc", cpu, "cgroup", "cpu,cpuacct"), ("/docker/abc", memory, "cgroup", "memory")],
    )
    assert usable_cpus(proc) == len(os.sched_getaffinity(0))
    assert usable_memory_bytes(proc) == 600_000
