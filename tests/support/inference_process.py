"""The inference process by itself, as the supervisor starts it; and one that dies at a step of its work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.settings.schema import Settings
from tests.support.channel_process import ChannelProcess
from tests.support.paths import ROOT
from workers.recognition.remote_engine import RemoteEngine

# Counts each step between a request and its answer, and kills the process at one of them: `kill -9`, over a slot that is half written.
_DIES = f"""
import os, signal, struct, sys
sys.path.insert(0, {str(ROOT)!r})
last = int(sys.argv.pop(1))
from shared.inference import link, slot
from workers import inference
steps = 0
def step():
    global steps
    steps += 1
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)
def stepwise(owner, name):
    whole = getattr(owner, name)
    def run(*arguments):
        step()
        found = whole(*arguments)
        step()
        return found
    setattr(owner, name, run)
def write(self, results):
    at = 0
    for result in results:
        for half in (result.reshape(-1)[: result.size // 2], result.reshape(-1)[result.size // 2 :]):
            self._results[at : at + half.size] = half
            at += half.size
            step()
def conclude(self, answer):
    head = (answer.session, answer.sequence, answer.outcome, *answer.rows, answer.width, 0, answer.busy_s)
    raw = slot._ANSWER.pack(*head)
    for start in range(0, len(raw), 12):
        self._memory[slot._ANSWER_AT + start : slot._ANSWER_AT + start + len(raw[start : start + 12])] = raw[start : start + 12]
        step()
stepwise(slot.Slot, "request")
slot.Slot.write, slot.Slot.conclude = write, conclude
stepwise(link, "ring")
from shared.supervision.child import run_child
sys.exit(run_child(inference.main))
"""

# Runs out of memory at a run of a model, as onnxruntime says it.
_RUNS_OUT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
left = int(sys.argv.pop(1))
import onnxruntime
run = onnxruntime.InferenceSession.run
def running_out(self, *arguments):
    global left
    left -= 1
    if left < 0:
        raise RuntimeError("Failed to allocate memory for requested buffer of size 411041792")
    return run(self, *arguments)
onnxruntime.InferenceSession.run = running_out
from workers import inference
from shared.supervision.child import run_child
sys.exit(run_child(inference.main))
"""


class InferenceProcess(ChannelProcess):
    """`python -m workers.inference`. `dies_at`: the step at which it kills itself. `runs_out_at`: the run of a model for which it has no
    memory."""

    def __init__(self, folder: Path, dies_at: int | None = None, runs_out_at: int | None = None) -> None:
        program = ["-m", "workers.inference"] if dies_at is None else ["-c", _DIES, str(dies_at)]
        if runs_out_at is not None:
            program = ["-c", _RUNS_OUT, str(runs_out_at)]
        super().__init__(folder, *program, "--settings-stdin")

    def wait_until_ready(self) -> InferenceProcess:
        self.wait_for(lambda status: status.get("state") == "running")
        return self


class Patience:
    """What a camera does while it waits. `waits`: how often it was asked to; `before_waiting`: is called then. `stopping`: the camera was asked
    to stop."""

    def __init__(self, before_waiting: Callable[[], None] = lambda: None) -> None:
        self.waits, self.stopping, self._before = 0, threading.Event(), before_waiting

    def wait(self, timeout_s: float) -> bool:
        self.waits += 1
        self._before()
        return self.stopping.wait(min(timeout_s, 0.02))


def joined(settings: Settings, waiting: Patience | None = None, **options: Any) -> RemoteEngine:
    """A camera's engine at the inference process of these settings."""
    given = {"det_size": settings.recognition.det_size, "first_patience_s": 30.0, **options}
    return RemoteEngine(settings.run_dir, settings.model_label, waiting=waiting or Patience(), **given)
