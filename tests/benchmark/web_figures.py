"""What the web part's benchmarks share: times as they report them, what processes take of a core, and how long something is looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import psutil

Figures = dict[str, Any]


def percentiles(seconds: Sequence[float]) -> Figures:
    """p50_ms and p95_ms."""
    p50, p95 = np.percentile(seconds, (50, 95)) * 1e3
    return {"p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1)}


def median(values: Sequence[float], digits: int = 1) -> float:
    return round(float(np.median(values)), digits)


def cpu_s(pids: Iterable[int]) -> float:
    """What these processes have taken of processors so far, seconds, in steps of 10 ms."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def cores_over(seconds: float, *groups: Sequence[int]) -> list[float]:
    """What each group of processes takes of one core, over so many seconds from now."""
    before, began = [cpu_s(one) for one in groups], time.monotonic()
    threading.Event().wait(seconds)
    spent_s = time.monotonic() - began
    return [(cpu_s(one) - used) / spent_s for one, used in zip(groups, before, strict=True)]


def pss_mb(pid: int) -> float:
    """PSS if it can be read, else resident memory: a process that keeps its memory private shows the latter only."""
    try:
        return round(psutil.Process(pid).memory_full_info().pss / 1e6, 1)
    except psutil.AccessDenied:
        return round(psutil.Process(pid).memory_info().rss / 1e6, 1)
