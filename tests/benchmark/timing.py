"""What the gallery's benchmarks share: one thread each, fresh processes, and times as the reports have them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

from tests.support.paths import ROOT

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


def one_thread() -> None:
    """Keep BLAS and OpenMP to one thread; libraries look at this when they are loaded, so this process starts anew once."""
    if any(os.environ.get(key) != "1" for key in ONE_THREAD):
        os.environ.update(ONE_THREAD)
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # the very command line again


def spread(seconds: list[float]) -> dict[str, float]:
    """median, min and p90 in milliseconds."""
    times = np.array(seconds) * 1e3
    return {
        "median_ms": round(float(np.median(times)), 4),
        "min_ms": round(float(times.min()), 4),
        "p90_ms": round(float(np.percentile(times, 90)), 4),
    }


def in_fresh_process(module: str, *words: str, timeout_s: float = 600) -> Any:
    """The JSON that `python -m module words` prints last."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD},
        check=True,
        timeout=timeout_s,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout.splitlines()[-1])
