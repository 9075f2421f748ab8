"""A file's own time goes on through whatever its packets' stamps do."""

from __future__ import annotations

import pytest

from workers.capture.timeline import Timeline


def shown(stamps: list[float], timeline: Timeline | None = None) -> list[float]:
    """The media times of packets without B-frames."""
    timeline = timeline or Timeline()
    return [timeline.at(stamp, stamp)[1] for stamp in stamps]


def test_a_file_starts_at_zero_wherever_its_stamps_do() -> None:
    """A recording cut out of a longer one begins at its own first picture."""
    assert shown([1000.0, 1000.04, 1000.08]) == pytest.approx([0.0, 0.04, 0.08])


def test_one_stray_stamp_neither_hides_nor_delays_a_picture() -> None:
    """Ten hours ahead for one packet: each picture still follows the one before by a step."""
    stamps = [i / 10 + (36000.0 if i == 60 else 0.0) for i in range(120)]
    assert shown(stamps) == pytest.approx([i / 10 for i in range(120)])


def test_joined_recordings_follow_each_other() -> None:
    """The second begins at its own zero: a new timeline, one step after the first."""
    assert shown([i / 10 for i in range(50)] * 2) == pytest.approx([i / 10 for i in range(100)])


def test_wrapped_stamps_go_on() -> None:
    """The 33 bits of a transport stream's clock are used up after 26.5 hours."""
    wrap_s = 2**33 / 90000
    assert shown([(wrap_s - 1 + i / 10) % wrap_s for i in range(20)]) == pytest.approx([i / 10 for i in range(20)])


def test_b_frames_keep_their_own_times() -> None:
    """Packets come as they are decoded, their pictures are shown in another order: no jump."""
    timeline = Timeline()
    packets = [(-0.08, 0.0), (-0.04, 0.12), (0.0, 0.04), (0.04, 0.08)]
    times = [timeline.at(decoded_s, shown_s) for decoded_s, shown_s in packets]
    assert [media_s for _, media_s in times] == pytest.approx([0.0, 0.12, 0.04, 0.08])
    assert [decoded_s for decoded_s, _ in times] == pytest.approx([-0.08, -0.04, 0.0, 0.04])


def test_a_stamp_for_display_that_can_not_be_is_left_out() -> None:
    """No stamp at all, or one hours away from the packet's other stamp: the other one counts."""
    timeline = Timeline()
    assert [timeline.at(i / 10, stamp)[1] for i, stamp in enumerate((None, 7200.0, 0.2))] == pytest.approx(
        [0.0, 0.1, 0.2]
    )


def test_a_lap_follows_by_one_mean_step() -> None:
    """A looped file's time rises through each lap; a file of one picture has 25 a second."""
    timeline = Timeline()
    first = shown([0.0, 0.1, 0.2], timeline)
    timeline.restart()
    assert first + shown([0.0, 0.1, 0.2], timeline) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    single = Timeline()
    shown([0.0], single)
    single.restart()
    assert shown([0.0], single) == pytest.approx([0.04])
