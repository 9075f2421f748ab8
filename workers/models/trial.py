"""Runs a model pack once, in a process of its own: a graph of unknown origin may crash its process, or take all its memory.

`python -m workers.models.trial FOLDER` prints the fault; it prints nothing when the pack runs. Since the trial is a process,
the caller does not load 200 MB of libraries that only workers need.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from shared.errors import EXIT_DONE, RollcallError
from shared.process.own_limits import lower_limit
from shared.supervision.child import die_with_parent, run_child
from shared.supervision.child_process import bare_environment

_DEADLINE_S = 120.0
_CPU_S = 120
# How much memory a pack may allocate: for libraries and working memory, and a multiple of its files' size, since a session holds
# the weights more than once.
_MIN_BYTES = 768 << 20
_TIMES_FILES = 6
_MAX_FAULT = 300


def fault_of_pack(folder: Path) -> str:
    """Run the pack in `folder` once. Returns the fault in words, or an empty string if it ran."""
    words = [sys.executable, "-m", "workers.models.trial", os.fspath(folder)]
    try:
        done = subprocess.run(
            words,
            env=bare_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_DEADLINE_S:.0f} s"
    fault = done.stdout.decode("utf-8", "replace").strip()[:_MAX_FAULT]
    if done.returncode == EXIT_DONE:
        return fault
    return fault or f"the process that ran it died: exit code {done.returncode}"


def main() -> int:
    """The child process: detect faces in a blank picture, and embed a crop of noise. A pack that says itself how its input is made also has to
    tell the people of a photo apart. Prints the fault, if there is one."""
    die_with_parent()
    folder = Path(sys.argv[1])
    size = sum(file.stat().st_size for file in folder.iterdir())
    most = _MIN_BYTES + _TIMES_FILES * size
    for what, limit in ((resource.RLIMIT_DATA, most), (resource.RLIMIT_CPU, _CPU_S), (resource.RLIMIT_CORE, 0)):
        lower_limit(what, limit)

    from workers.models.smoke import fault_in, group_photo
    from workers.recognizer_arcface import ArcFaceEngine

    try:
        engine = ArcFaceEngine(folder, det_size=640, threads=1)
        engine.detect(np.full((240, 320, 3), 127, np.uint8))
        engine.embed([np.random.default_rng(0).integers(0, 255, (112, 112, 3)).astype(np.uint8)])
        if engine.is_described and (picture := group_photo()) is not None:
            sys.stdout.write(fault_in(engine, picture))
    except RollcallError as error:
        sys.stdout.write(error.what if error.got is None else f"{error.what}: {error.got}")
    except MemoryError:
        sys.stdout.write(f"it takes more than {most >> 20} MiB")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(run_child(main))
