"""How many processors and how much memory of the machine a process may use, by its CPU affinity and its control groups.

Control groups exist in two versions. Older systemd and containers mount version 1, everything else version 2. The limits of the
process's own group and of all groups above it count.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc/self")


def usable_cpus(proc: Path = _PROC) -> int:
    """How many processors this process may keep busy, by its affinity and its groups' quotas, rounded up. At least 1.

    `proc`: the process's folder in /proc.
    """
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in _groups(proc, "cpu") if (quota := _cpu_quota(group)) is not None]
    return max(1, min([affine, *(-int(-quota // 1) for quota in quotas)]))


def usable_memory_bytes(proc: Path = _PROC) -> int:
    """How many bytes of memory this process may still take: what the system has available, but no more than its groups permit."""
    import psutil

    left = [room for group in _groups(proc, "memory") if (room := _memory_room(group)) is not None]
    return max(0, min([int(psutil.virtual_memory().available), *left]))


def _cpu_quota(group: Path) -> float | None:
    """How many processors the group may use in each period, as a fraction; None if there is no limit."""
    quota, period = _numbers(group / "cpu.max") or (None, None)
    if quota is None:
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def _memory_room(group: Path) -> int | None:
    """How many bytes are left below the group's limit. Unused file pages count as free. None if there is no limit."""
    names = ("memory.max", "memory.current", "inactive_file")
    if not (group / names[0]).exists():
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    limit, used = _number(group / names[0]), _number(group / names[1])
    if limit is None or used is None:
        return None
    return limit - used + _statistic(group / "memory.stat", names[2])


def _groups(proc: Path, controller: str) -> Iterator[Path]:
    """The process's control groups for `controller`, from its own one up to the highest that is visible here."""
    ours: dict[str, str] = {}
    for line in _lines(proc / "cgroup"):
        _, controllers, path = line.split(":", 2)
        ours |= dict.fromkeys(controllers.split(","), path)
    for line in _lines(proc / "mountinfo"):
        left, _, right = line.partition(" - ")
        _, _, _, root, mounted_at, *_ = left.split(" ")
        kind, _, options = right.split(" ", 2)
        name = "" if kind == "cgroup2" else controller
        if kind not in ("cgroup", "cgroup2") or name not in ours or (name and name not in options.split(",")):
            continue
        path = ours[name]
        inside = path.removeprefix(root) if root != "/" and path.startswith(root) else path
        group = Path(mounted_at) / inside.strip("/")
        for folder in (group, *group.parents):
            yield folder
            if folder == Path(mounted_at):
                break


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # there is no /proc, or the group was removed: then it limits nothing
        return []


def _numbers(path: Path) -> tuple[int | None, ...]:
    return tuple(int(word) if word.lstrip("-").isdecimal() else None for line in _lines(path) for word in line.split())


def _number(path: Path) -> int | None:
    return (_numbers(path) or (None,))[0]


def _statistic(path: Path, name: str) -> int:
    values = dict(line.split(" ", 1) for line in _lines(path) if " " in line)
    return int(values.get(name, "0"))
