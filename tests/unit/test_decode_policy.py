"""What is decoded of a stream, decided from packet sizes, keyframes and what pictures have shown."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from workers.capture.decode_policy import Action, DecodePolicy, Look

_PIXELS = 1280 * 720
_FACE = 60  # pixels; with the keyframes below it adds some 240 bytes
_KEYFRAME = 66_000


@dataclass
class Camera:
    """A stream of 25 packets a second and its policy. `size` gives a packet's bytes from its number since the keyframe."""

    policy: DecodePolicy
    keyframe_s: float = 2.0
    moving: bool = False
    hidden: bool = False  # something moves that only a check finds
    size: Callable[[int], int] = lambda place: 200 + 200 // place
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    time_s: float = 0.0
    count: int = 0
    keyframe_bytes: int = _KEYFRAME
    slow: float = 1.0  # by this factor packets come later than they were sent
    stamps: bool = False
    checks: list[float] = field(default_factory=list)

    def run(self, seconds: float) -> Iterator[Action]:
        """What is decided on each packet; a picture of every fifth one that is decoded is compared."""
        per_group = round(self.keyframe_s * 25)
        for _ in range(round(seconds * 25)):
            place = self.count % per_group
            noise = self.chance.randrange(-15, 16)
            size = self.keyframe_bytes if place == 0 else max(1, self.size(place) + noise)
            stamp_s = self.count / 25 if self.stamps and place == 0 else None
            action = self.policy.packet(self.time_s, size, keyframe=place == 0, stamp_s=stamp_s)
            if action is Action.LOOK:
                look = self.policy.looked(self.time_s, moved=self.moving, pixels=_PIXELS, whole=True)
                if look is Look.CHECK:
                    self.checks.append(self.time_s)
                    self.policy.checked(self.time_s, moved=self.hidden)
            elif action is not Action.KEEP and self.count % 5 == 0:
                self.policy.picture(self.time_s, moved=self.moving, pixels=_PIXELS)
            self.count += 1
            self.time_s = self.slow * self.count / 25
            yield action

    def asleep_within(self, seconds: float) -> float:
        """Let it run until the policy sleeps; returns the time."""
        for _ in self.run(seconds):
            if self.policy.asleep:
                return self.time_s
        raise AssertionError(f"awake after {seconds} s: {self.policy.why_always()}")

    def looks_within(self, seconds: float) -> list[float]:
        """When keyframes were looked at; it stays asleep."""
        looks = [self.time_s for action in self.run(seconds) if action is Action.LOOK]
        assert self.policy.asleep
        return looks

    def wakes_by_look_within(self, seconds: float) -> bool:
        """Whether a look ends its sleep; it runs no further."""
        return any(action is Action.LOOK and not self.policy.asleep for action in self.run(seconds))

    def wake_after(self, seconds: float) -> float | None:
        """How long it took to wake; None: it did not."""
        began_s = self.time_s
        for action in self.run(seconds):
            if action is Action.WAKE:
                return self.time_s - began_s
        return None


def camera(**options: object) -> Camera:
    return Camera(DecodePolicy(_FACE), **options)  # type: ignore[arg-type]  # a test's own fields


def asleep(**options: object) -> Camera:
    """A camera that has slept for some groups, now in the middle of one."""
    one = camera(**options)
    one.asleep_within(20.0)
    list(one.run(7.5 * one.keyframe_s))
    assert one.policy.asleep
    return one


def test_a_quiet_stream_is_asleep_after_some_seconds_and_then_only_keyframes_are_decoded() -> None:
    """Everything until enough is known; then keyframes are looked at, ever more rarely, and all else is kept."""
    one = camera()
    assert one.asleep_within(20.0) <= 8.0
    looks = [time_s for time_s in one.looks_within(300.0) if time_s not in one.checks]
    steps = [later - earlier for earlier, later in pairwise(looks)]
    assert steps[0] == pytest.approx(8.0, abs=0.1)
    assert max(steps) == pytest.approx(30.0, abs=0.1)
    assert len(looks) <= 14
    assert one.policy.why_always() is None


def test_where_the_sizes_would_just_tell_a_face_keyframes_are_looked_at_more_often() -> None:
    """A stream with more noise: asleep, but a keyframe every eight seconds."""
    chance = random.Random(2)
    one = camera(size=lambda place: 300 + 200 // place + chance.randrange(400))
    one.asleep_within(20.0)
    steps = [later - earlier for earlier, later in pairwise(one.looks_within(60.0))]
    assert max(steps) == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize(("keyframe_s", "step_s"), [(1.0, 4.0), (2.0, 4.0), (2.4, 2.4), (3.0, 3.0), (4.0, 4.0)])
def test_while_somebody_looks_on_a_keyframe_is_looked_at_every_four_seconds(keyframe_s: float, step_s: float) -> None:
    """Or sooner, where the next one would come later. Nothing else is decoded for that, and afterwards they are looked at more rarely again."""
    one = asleep(keyframe_s=keyframe_s)
    one.policy.shown = True
    list(one.run(2 * step_s))
    looks = one.looks_within(40.0)
    assert [later - earlier for earlier, later in pairwise(looks)] == pytest.approx(
        [step_s] * (len(looks) - 1), abs=0.1
    )
    assert len(looks) >= 9
    one.policy.shown = False
    assert len(one.looks_within(40.0)) <= 6


def test_a_keyframe_of_another_size_is_looked_at() -> None:
    """Whenever it comes: what it shows may differ."""
    one = asleep()
    one.looks_within(60.0)
    assert len(one.looks_within(6.0)) == 0
    one.keyframe_bytes = round(1.05 * _KEYFRAME)
    assert one.looks_within(2.1) == [pytest.approx(one.time_s, abs=2.1)]


def test_many_bytes_are_not_kept_without_a_look() -> None:
    """Large keyframes are looked at before a camera's kept packets take much memory."""
    one = camera(keyframe_bytes=3 << 20)
    one.asleep_within(20.0)
    steps = [later - earlier for earlier, later in pairwise(one.looks_within(60.0))]
    assert max(steps) == pytest.approx(4.0, abs=0.1), "the third keyframe would be too much"


def test_a_face_wakes_it_within_some_packets() -> None:
    """What a face of `min_face_px` adds is told by the sizes, and something large by its first packet."""
    one = asleep()
    calm = one.size
    one.size = lambda place: calm(place) + 240
    told_s = one.wake_after(2.0) or 9.0
    assert told_s <= 0.2
    assert one.policy.told_s == pytest.approx(0.12), "the shortest window"
    one = asleep()
    one.size = lambda place: calm(place) + 2000
    assert one.wake_after(2.0) == pytest.approx(1 / 25)
    assert one.policy.told_s == pytest.approx(1 / 25)


def test_awake_it_decodes_everything_until_the_scene_is_quiet_for_a_while() -> None:
    """As long as something moves, and two seconds more; then from a keyframe on it sleeps again."""
    one = asleep()
    calm = one.size
    one.size, one.moving = (lambda place: calm(place) + 500), True
    assert one.wake_after(1.0) is not None
    assert set(one.run(5.0)) == {Action.DECODE}
    one.size, one.moving = calm, False
    quiet_s = one.time_s
    assert 1.8 <= one.asleep_within(6.0) - quiet_s <= 2.0 + one.keyframe_s + 0.1


def test_with_people_in_view_it_does_not_sleep() -> None:
    """Somebody who sits still moves nothing; whoever sees to it that people are known needs pictures."""
    one = asleep()
    one.policy.people = True
    assert one.wake_after(1.0) == pytest.approx(1 / 25)
    assert set(one.run(20.0)) == {Action.DECODE}
    one.policy.people = False
    one.asleep_within(6.0)


def test_a_keyframe_that_differs_wakes_it_and_the_sizes_are_not_trusted_for_a_while() -> None:
    """A motion that the sizes did not tell: everything is decoded for a minute, then for two; it is said why."""
    one = asleep()
    for least_s in (60.0, 120.0):
        one.moving = True
        assert one.wakes_by_look_within(30.1)
        one.moving = False
        began_s = one.time_s
        list(one.run(4.0))
        assert "not told by the sizes" in (one.policy.why_always() or "")
        assert one.asleep_within(200.0) - began_s >= least_s - 5.0


def test_what_was_passed_over_is_checked_ever_more_rarely() -> None:
    """A group after 20 s, 40 s, 80 s, … up to ten minutes."""
    one = asleep()
    list(one.run(3600.0))
    steps = [later - earlier for earlier, later in pairwise(one.checks)]
    assert steps[:3] == pytest.approx([40.0, 80.0, 160.0], abs=3.0)
    assert steps[-1] == pytest.approx(600.0, abs=3.0)


def test_a_check_that_finds_a_motion_ends_the_sleep() -> None:
    """Somebody went by without a trace in the sizes."""
    one = asleep()
    one.hidden = True
    list(one.run(30.0))
    assert not one.policy.asleep
    assert one.policy.why_always()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keyframe_s": 10.0}, "10 s apart"),
        ({"size": lambda place: 10_000 + 3000 * (place % 2)}, "vary too much"),
        ({"size": lambda place: random.Random(place * 7919).randrange(100, 3000)}, "vary too much"),
        ({"size": lambda _: 20_000}, "one size"),
    ],
    ids=["far keyframes", "constant bitrate", "noise", "filled up"],
)
def test_where_sizes_tell_nothing_everything_is_decoded_and_that_is_said(options: dict[str, object], said: str) -> None:
    """The reason is in `status`."""
    one = camera(**options)
    assert set(one.run(60.0)) == {Action.DECODE}
    assert said in (one.policy.why_always() or "")


def test_a_smaller_face_needs_a_calmer_stream() -> None:
    """A setting of 200 pixels sleeps where one of 30 can't."""
    chance = random.Random(2)
    for face_px, sleeps in ((200, True), (30, False)):
        one = Camera(DecodePolicy(face_px), size=lambda _: 300 + chance.randrange(200))
        list(one.run(30.0))
        assert one.policy.asleep is sleeps


def test_keyframes_that_give_no_picture_end_it_for_good() -> None:
    """Periodic intra refresh: what is marked as a keyframe is only the beginning of one."""
    one = asleep()
    assert one.policy.packet(one.time_s, round(1.1 * _KEYFRAME), keyframe=True) is Action.LOOK
    assert one.policy.looked(one.time_s, moved=False, pixels=_PIXELS, whole=False) is Look.WAKE
    assert set(one.run(40.0)) == {Action.DECODE}
    assert "by themselves" in (one.policy.why_always() or "")


def test_another_size_of_picture_begins_anew() -> None:
    """Nothing of what was learned holds. A keyframe of the same picture size ends no sleep."""
    for pixels, look in ((_PIXELS, Look.SLEEP), (2 * _PIXELS, Look.WAKE)):
        one = asleep()
        assert one.policy.packet(one.time_s, round(1.1 * _KEYFRAME), keyframe=True) is Action.LOOK
        assert one.policy.looked(one.time_s, moved=False, pixels=pixels, whole=True) is look
        assert one.policy.asleep is (look is Look.SLEEP)


def test_keyframes_that_stay_away_wake_it() -> None:
    """The group of a stream whose keyframes end is not kept for ever: by time, and by bytes."""
    one = asleep()
    one.keyframe_s = 1e6
    assert (one.wake_after(10.0) or 99.0) <= 6.1
    chance = random.Random(2)
    big = Camera(DecodePolicy(2000), size=lambda _: 300_000 + chance.randrange(30_000), keyframe_s=4.0)
    big.asleep_within(20.0)
    assert big.wake_after(10.0) == pytest.approx((24 << 20) / 315_000 / 25, abs=0.2)


def test_what_is_to_be_decoded_always_is() -> None:
    """Set by hand: no packet is looked at."""
    one = Camera(DecodePolicy(_FACE, always="set by hand"))
    assert set(one.run(60.0)) == {Action.DECODE}
    assert one.policy.why_always() == "set by hand"


def test_what_is_known_of_a_stream_outlives_a_reconnect() -> None:
    """Asleep again after two quiet seconds; a keyframe of another size means that the stream is learned anew."""
    one = asleep()
    for keyframe, least_s, most_s in ((_KEYFRAME, 1.9, 2.1), (2 * _KEYFRAME, 5.0, 7.0)):
        one.policy.reopened()
        assert not one.policy.asleep
        one.keyframe_bytes = keyframe
        one.count = 50 * (one.count // 50 + 1)  # a stream begins with a keyframe
        one.time_s = began_s = one.count / 25
        assert least_s <= one.asleep_within(20.0) - began_s <= most_s


def test_a_stream_that_is_opened_again_may_have_whole_keyframes() -> None:
    """Somebody has switched off intra refresh in the camera."""
    one = asleep()
    one.policy.packet(100.0, _KEYFRAME, keyframe=True)
    one.policy.looked(100.0, moved=False, pixels=_PIXELS, whole=False)
    one.policy.reopened()
    one.time_s = 101.0
    one.asleep_within(20.0)


def test_a_machine_that_falls_behind_does_not_take_keyframes_for_far_apart() -> None:
    """Packets are read at half their rate; by their own stamps keyframes are 4 s apart, so it sleeps, which lets it catch up."""
    for stamps, sleeps in ((True, True), (False, False)):
        one = camera(keyframe_s=4.0, slow=2.0, stamps=stamps)
        list(one.run(40.0))
        assert one.policy.asleep is sleeps
