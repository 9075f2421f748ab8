"""What a camera's stages cost, as `status` shows it."""

from __future__ import annotations

import pytest

from workers.pipeline import stages
from workers.pipeline.stages import DecodeCost, Stages


class _Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.now, self.cpu = 1000.0, 5.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.cpu


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(stages, "time", clock)
    return clock


def test_time_and_share_of_a_core(clock: _Clock) -> None:
    """Five searches in ten seconds, each 40 ms of which 30 are the processor's: 40 ms, .015 core. Two crops each: half as long each."""
    measured = Stages(clock.thread_time)
    for _ in range(5):
        clock.now += 1.96
        with measured.measured("detect"):
            clock.now, clock.cpu = clock.now + 0.04, clock.cpu + 0.03
        with measured.measured("embed", 2):
            clock.now, clock.cpu = clock.now + 0.02, clock.cpu + 0.02
    figures = measured.latest()
    assert figures["detect_ms"] == pytest.approx(40)
    assert figures["detect_cores"] == pytest.approx(0.15 / 10.1, abs=1e-4)
    assert figures["embed_ms"] == pytest.approx(10)
    assert (figures["match_ms"], figures["match_cores"]) == (None, 0.0)


def test_only_the_last_minute_counts(clock: _Clock) -> None:
    """A camera that was busy an hour ago costs nothing now."""
    measured = Stages(clock.thread_time)
    with measured.measured("detect"):
        clock.now, clock.cpu = clock.now + 1, clock.cpu + 1
    clock.now += 3600
    assert measured.latest()["detect_cores"] == 0.0
    with measured.measured("detect"):
        clock.now, clock.cpu = clock.now + 0.5, clock.cpu + 0.3
    assert measured.latest()["detect_ms"] == pytest.approx(500)
    assert measured.latest()["detect_cores"] == pytest.approx(0.3 / 60)


def test_nothing_is_counted_for_nothing(clock: _Clock) -> None:
    """Frames without a crop are no pieces of embedding."""
    measured = Stages(clock.thread_time)
    with measured.measured("embed", 0):
        clock.now += 0.1
    assert measured.latest()["embed_ms"] is None


def test_decoding_is_that_of_its_thread() -> None:
    """From two readings: 100 pictures, 2 s of processor time, 20 s."""
    cost = DecodeCost()
    assert cost.latest(0.0, 1.0, 50) == {"decode_ms": None, "decode_cores": None}
    assert cost.latest(20.0, 3.0, 150) == {"decode_ms": 20.0, "decode_cores": 0.1}
    assert cost.latest(21.0, None, 150) == {"decode_ms": None, "decode_cores": None}
    assert cost.latest(200.0, 5.0, 150) == {"decode_ms": None, "decode_cores": None}, "all else is older than a minute"
