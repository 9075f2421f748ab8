"""The inference process dies at any step of its work, over slots that are half written: no camera gets another's answer, or an old one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.support.inference_process import InferenceProcess, Patience, joined
from tests.support.tiny_pack import write_pack
from workers.recognizer_arcface import ArcFaceEngine

_CAMERAS, _REQUESTS = 3, 4
# Steps of one answer: two of reading the request, two halves of its results, six pieces of its head, two of the bell.
_STEPS_OF_ONE = 12


class Succession:
    """An inference process, and its successor when it has died, as the supervisor makes one. `dies_at`: each one's own step."""

    def __init__(self, folder: Path, dies_at: int) -> None:
        self._folder, self._dies_at, self._lock = folder, dies_at, threading.Lock()
        self.deaths = 0
        self.process = InferenceProcess(folder, dies_at)

    def look_after(self) -> None:
        """Replace it if it has died. Only its first successors die, too."""
        with self._lock:
            if self.process.process.poll() is not None:
                assert self.process.process.returncode == -9, self.process.output()
                self.deaths += 1
                self.process.__exit__(None, None, None)
                self.process = InferenceProcess(self._folder, self._dies_at if self.deaths < 2 else None)

    def end(self) -> None:
        self.process.__exit__(None, None, None)


@pytest.mark.parametrize("first", range(1, 13))
def test_death_at_any_step(tmp_path: Path, first: int) -> None:
    """Three cameras ask at once for embeddings of crops that nobody else has. The process kills itself at a step, and so does its successor:
    at each step of the first answer, and of later ones, when slots already hold older answers. Every answer is the right one."""
    write_pack(tmp_path / "data" / "models" / "first")
    (tmp_path / "data" / "run").mkdir(mode=0o700)
    (tmp_path / "site.toml").write_text('[recognition]\nmodel = "first"\ndet_size = 128\nshared_engine = true\n')
    local = ArcFaceEngine(tmp_path / "data" / "models" / "first", det_size=128, threads=1)
    succession = Succession(tmp_path, first + _STEPS_OF_ONE * (first % 4))

    def camera(number: int) -> tuple[int, float]:
        chance = np.random.default_rng(number)
        remote = joined(succession.process.settings, Patience(succession.look_after))
        wrong = 0
        for _ in range(_REQUESTS):
            crops = list(chance.integers(0, 255, (int(chance.integers(1, 8)), 112, 112, 3)).astype(np.uint8))
            wrong += not np.array_equal(remote.embed(crops), local.embed(crops))
        remote.close()
        return wrong, remote.take_away_s()

    try:
        with ThreadPoolExecutor(_CAMERAS) as pool:
            done = list(pool.map(camera, range(_CAMERAS)))
    finally:
        succession.end()
    assert sum(wrong for wrong, _ in done) == 0
    assert succession.deaths >= 1
    assert any(away_s > 0 for _, away_s in done), "a camera that waited knows for how long"
