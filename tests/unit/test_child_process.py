"""The supervisor's side of a child, without one: its heartbeat, its state, when it hangs, how it stops. Times are given."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from shared.status import CameraStatus, ChildState
from shared.supervision.child_kinds import CAMERA, WRITER
from shared.supervision.child_process import HEARTBEAT_TIMEOUT_S, LOADING_TIMEOUT_S, ChildProcess


class _Process:
    """What subprocess.Popen is to a child: signals are noted, the exit code is given."""

    pid = 4711

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.code: int | None = None

    def send_signal(self, number: int) -> None:
        self.signals.append(number)

    def poll(self) -> int | None:
        return self.code


class Pair:
    """A child that runs since second 0, and the other end of its channel."""

    def __init__(self) -> None:
        self.child = ChildProcess("one", CAMERA, [], {})
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.process = _Process()
        self.child.channel = ours
        self.child.process = self.process  # type: ignore[assignment]  # a stand-in with what is asked of it
        self.child.allow_for_pause(0.0, 0.0)

    def tell(self, **stats: Any) -> None:
        self.theirs.send(json.dumps(stats).encode() + b"\n")
        assert self.child.read_heartbeats()

    def heard_at(self, now: float) -> None:
        """As if the last heartbeat had come at `now`."""
        self.child.allow_for_pause(now, 0.0)


@pytest.fixture
def pair() -> Iterator[Pair]:
    one = Pair()
    yield one
    one.theirs.close()
    if one.child.channel is not None:
        one.child.channel.close()


def test_its_state_is_what_it_says_until_it_is_asked_to_stop(pair: Pair) -> None:
    """Starting without a word, then loading, running; stopping once asked, whatever it says."""
    seen = [pair.child.state]
    for state in (ChildState.LOADING, ChildState.RUNNING):
        pair.tell(state=state)
        seen.append(pair.child.state)
    pair.child.ask_to_stop(5.0)
    pair.tell(state=ChildState.RUNNING)
    seen.append(pair.child.state)
    assert seen == [ChildState.STARTING, ChildState.LOADING, ChildState.RUNNING, ChildState.STOPPING]


def test_figures_add_up(pair: Pair) -> None:
    """A heartbeat replaces what it names and leaves the rest."""
    pair.tell(state=ChildState.RUNNING, frames=3, faces=1)
    pair.tell(frames=4)
    shown = pair.child.status(1.0)
    assert isinstance(shown, CameraStatus)
    assert (shown.frames, shown.faces, shown.pid, shown.state) == (4, 1, 4711, ChildState.RUNNING)


def test_a_line_in_two_pieces_is_one(pair: Pair) -> None:
    """What came of a line waits for its end."""
    pair.theirs.send(b'{"state":"run')
    assert pair.child.read_heartbeats()
    assert pair.child.said == CameraStatus()
    pair.theirs.send(b'ning"}\n')
    assert pair.child.read_heartbeats()
    assert pair.child.state is ChildState.RUNNING


@pytest.mark.parametrize(
    ("state", "limit_s"),
    [(None, LOADING_TIMEOUT_S), (ChildState.LOADING, LOADING_TIMEOUT_S), (ChildState.RUNNING, HEARTBEAT_TIMEOUT_S)],
)
def test_silence_has_a_limit(pair: Pair, state: ChildState | None, limit_s: float) -> None:
    """A child that runs proves progress within 10 s, one that starts or loads within 180 s."""
    if state is not None:
        pair.tell(state=state)
    pair.heard_at(100.0)
    assert not pair.child.is_stuck(100.0 + limit_s)
    assert pair.child.is_stuck(100.1 + limit_s)


def test_what_stops_or_was_killed_is_not_stuck(pair: Pair) -> None:
    """It has its grace instead, and is killed once."""
    pair.heard_at(0.0)
    pair.child.ask_to_stop(1.0)
    assert not pair.child.is_stuck(1e6)
    assert not pair.child.is_overdue(1.0 + CAMERA.stop_grace_s - 0.1)
    assert pair.child.is_overdue(1.0 + CAMERA.stop_grace_s)
    pair.child.kill(9.0)
    assert pair.child.was_killed
    assert not pair.child.is_overdue(1e6)
    assert pair.process.signals == [15, 9]


def test_a_pause_of_the_machine_counts_for_nothing(pair: Pair) -> None:
    """Its silence begins anew, and its grace is longer by the pause."""
    pair.tell(state=ChildState.RUNNING)
    pair.child.ask_to_stop(0.0)
    pair.child.allow_for_pause(500.0, 500.0)
    assert not pair.child.is_overdue(500.0)
    assert pair.child.is_overdue(500.0 + CAMERA.stop_grace_s)


def test_one_that_fell_waits_and_one_that_was_asked_does_not(pair: Pair) -> None:
    """The restart is planned by the policy; a stop plans none."""
    pair.process.code = 70
    assert pair.child.reap(10.0) == 70
    assert pair.child.state is ChildState.WAITING
    assert pair.child.restart_at is not None
    assert 10.75 <= pair.child.restart_at <= 11.25
    assert pair.child.reap(11.0) is None, "told once"


@pytest.mark.parametrize(("code", "state"), [(0, ChildState.STOPPED), (78, ChildState.FAILED), (75, ChildState.FAILED)])
def test_how_a_stop_ends(pair: Pair, code: int, state: ChildState) -> None:
    """Stopped, or failed: it is not started again in either."""
    pair.child.ask_to_stop(1.0)
    pair.process.code = code
    assert pair.child.reap(2.0) == code
    assert (pair.child.state, pair.child.restart_at) == (state, None)


def test_a_restart_begins_anew(pair: Pair) -> None:
    """New settings: asked to stop, started again at once when it has ended, and what went before does not count."""
    pair.child.policy.failures = 5
    pair.child.restart(1.0)
    planned = [pair.child.restart_at]
    pair.process.code = 0
    assert pair.child.reap(3.0) == 0
    assert [*planned, pair.child.restart_at] == [None, 3.0]
    assert (pair.child.policy.failures, pair.child.restarts) == (0, 0)


def test_its_file_at_its_end_is_not_a_stop(pair: Pair) -> None:
    """A camera whose file has ended says so before it ends."""
    pair.tell(state=ChildState.ENDED)
    pair.process.code = 0
    pair.child.reap(1.0)
    assert pair.child.state is ChildState.ENDED


def test_a_writer_is_started_again_whatever_its_code() -> None:
    """Without it nothing is kept: also after 0 and 78."""
    child = ChildProcess("writer", WRITER, [], {})
    process = _Process()
    for code in (0, 78, -9):
        child.process, process.code = process, code  # type: ignore[assignment]  # as above
        assert child.reap(0.0) == code
        assert child.state is ChildState.WAITING
