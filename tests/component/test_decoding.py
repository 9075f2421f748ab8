"""What is decoded of real streams: little of an empty room, all of it where sizes tell nothing, and whoever walks through is seen."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.camera_streams import empty_stream, walk_stream
from tests.support.clips import source, wait_until
from tests.support.paths import VIDEOS, needs_data
from workers.capture import decode_policy
from workers.capture import decoding as decoding_module
from workers.capture.capture import Capture
from workers.capture.decode_policy import DecodePolicy
from workers.capture.decoding import Decoding, Packet, Stamp
from workers.capture.motion import Grey, has_moved
from workers.capture.video import Video

_FACE_PX = 40
_WALK = (14.0, 18.0)  # seconds of the stream
_X264 = ("libx264", "-preset", "veryfast", "-crf", "24")
_KEPT = ("libx264", "-preset", "veryfast", "-tune", "zerolatency", "-b:v", "2M", "-maxrate", "2M")
_X265 = (
    "libx265",
    "-preset",
    "ultrafast",
    "-crf",
    "26",
    "-x265-params",
    "log-level=none:bframes=0:scenecut=0:keyint=50:min-keyint=50",
)


@dataclass
class Played:
    """What came of a stream: seconds of the pictures that were shown, and how late each was, in seconds after its packet."""

    packets: int = 0
    decoded: int = 0
    shown: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    asleep_s: float = 0.0
    said: set[str] = field(default_factory=set)

    def longest_gap(self, begin_s: float, end_s: float) -> float:
        """Between two pictures that were shown of this span."""
        times = [begin_s, *(at for at in self.shown if begin_s <= at <= end_s), end_s]
        return max(later - earlier for earlier, later in pairwise(times))


def play(path: Path, *, lose: float = 0.0, min_face_px: int = _FACE_PX) -> Played:
    """Read a stream as if it came live. `lose`: this share of its packets never comes."""
    played, chance = Played(), random.Random(3)
    policy = DecodePolicy(min_face_px)
    video = Video(source(path), open_timeout_s=5.0, read_timeout_s=5.0)
    decoding = Decoding(video, policy)
    least_s = 1.0
    for packet, time_s in timed(video):
        played.packets += 1
        later_s = float(((packet.pts or 0) - (packet.dts or 0)) * packet.time_base)
        least_s = min(least_s, later_s)
        if played.packets > 1 and chance.random() < lose:
            continue
        stamp = Stamp(time_s, time_s + later_s - least_s, None)
        for picture in () if decoding.keeps(packet, stamp) else decoding.feed(packet, stamp):
            played.shown.append(picture.stamp.came_at)
            played.late.append(time_s - picture.stamp.came_at)
        played.asleep_s += policy.asleep / 25
        played.said.add(policy.why_always() or "")
    played.decoded = decoding.decoded
    video.close()
    return played


def timed(video: Video) -> Iterator[tuple[Packet, float]]:
    """The packets, 25 a second."""
    yield from ((packet, number / 25) for number, packet in enumerate(video.packets()))


def says(played: Played, text: str) -> bool:
    return any(text in said for said in played.said)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("h264.ts", (*_X264, "-tune", "zerolatency")),
        ("b-frames.ts", (*_X264, "-bf", "2")),
        ("b-frames.mp4", (*_X264, "-bf", "3", "-b_strategy", "0")),
        ("hevc.ts", _X265),
        ("main.ts", (*_X264, "-tune", "zerolatency", "-refs", "4")),
    ],
)
def test_an_empty_room_is_hardly_decoded_and_a_visitor_is_seen_whole(
    tmp_path: Path, name: str, codec: tuple[str, ...]
) -> None:
    """Asleep before the visit, awake within a fifth of a second, every picture of it shown, in order; then asleep again."""
    played = play(walk_stream(tmp_path / name, codec=codec, seconds=30.0))
    assert played.asleep_s > 9.0, played
    assert played.decoded < 0.75 * played.packets
    assert played.longest_gap(*_WALK) <= 0.2, "a picture of the visit is missing"
    assert played.shown[20:] == sorted(played.shown[20:]), "the order is known after some packets"
    assert max(played.late) <= 2.1, "what was passed over is decoded as soon as it is told"


def test_with_people_in_view_no_picture_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would follow from it. When they have gone, it goes on, and the stream falls asleep as after any motion."""
    compared: list[float] = []
    now_s = 0.0

    def counted(before: Grey, now: Grey) -> bool:
        compared.append(now_s)
        return has_moved(before, now)

    monkeypatch.setattr(decoding_module, "has_moved", counted)
    policy = DecodePolicy(_FACE_PX)
    stream = walk_stream(tmp_path / "h264.ts", codec=(*_X264, "-tune", "zerolatency"), seconds=30.0)
    video = Video(source(stream), open_timeout_s=5.0, read_timeout_s=5.0)
    decoding = Decoding(video, policy)
    asleep_from: list[float] = []
    for packet, now_s in timed(video):
        policy.people = 2.0 <= now_s < 8.0
        stamp = Stamp(now_s, now_s, None)
        for _ in () if decoding.keeps(packet, stamp) else decoding.feed(packet, stamp):
            pass
        asleep_from += [now_s] if policy.asleep else []
    video.close()
    assert [at for at in compared if at < 1.9]
    assert not [at for at in compared if 2.1 <= at < 8.0]
    assert [at for at in compared if 8.0 <= at < 10.0]
    assert 10.0 <= asleep_from[0] < 14.0


def test_who_comes_between_two_keyframes_is_seen_after_the_fact(tmp_path: Path) -> None:
    """The walk begins a second after a keyframe, with keyframes 4 s apart: the pictures since its beginning are there."""
    played = play(walk_stream(tmp_path / "walk.ts", keyframe_s=4.0, walks=(13.0,), seconds=20.0))
    assert played.asleep_s > 3.0
    assert played.longest_gap(13.0, 17.0) <= 0.2


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("keyframes", {"keyframe_s": 10.0}, "s apart"),
        ("kept", {"codec": (*_KEPT, "-bufsize", "1M")}, "vary too much"),
        ("filled", {"codec": (*_KEPT, "-bufsize", "80k", "-x264-params", "nal-hrd=cbr")}, ""),
        ("refresh", {"codec": (*_X264, "-tune", "zerolatency", "-intra-refresh", "1")}, ""),
        ("night", {"noise": 40}, ""),
    ],
)  # fmt: skip  # a stream a line
def test_where_sizes_tell_nothing_all_is_decoded(
    tmp_path: Path, name: str, options: dict[str, object], why: str
) -> None:
    """As without any of this, and the reason is said."""
    played = play(walk_stream(tmp_path / f"{name}.ts", **options))  # type: ignore[arg-type]  # by keyword
    assert played.longest_gap(*_WALK) <= 0.2
    assert played.decoded >= 0.98 * played.packets
    assert says(played, why)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("lamp", "eq=brightness='0.05*lt(mod(t,1.1),0.3)':eval=frame"),
        ("rain", "noise=c0s=60:c0f=t:all_seed=5,avgblur=sizeX=1:sizeY=6"),
        ("dusk", "eq=brightness='-0.01*t':eval=frame"),
    ],
)
def test_a_restless_picture_loses_nobody(tmp_path: Path, name: str, change: str) -> None:
    """A flickering lamp, rain, dusk: asleep or awake, who walks through is seen whole."""
    played = play(walk_stream(tmp_path / f"{name}.ts", change=change))
    assert played.longest_gap(*_WALK) <= 0.2


def test_lost_packets_cost_pictures_and_nothing_else(tmp_path: Path) -> None:
    """Two in a hundred never come: nothing fails, and the visit is seen."""
    played = play(walk_stream(tmp_path / "lossy.ts"), lose=0.02)
    assert played.longest_gap(*_WALK) <= 0.6


def test_another_size_is_learned_anew(tmp_path: Path) -> None:
    """The camera is set to another resolution while it is asleep: both visits are seen."""
    parts = [
        walk_stream(tmp_path / f"{size[0]}.ts", size=size, walks=(8.0,), seconds=14.0).read_bytes()
        for size in ((640, 360), (960, 540))
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    played = play(tmp_path / "joined.ts")
    assert played.longest_gap(8.0, 12.0) <= 0.2
    assert played.longest_gap(22.0, 26.0) <= 0.2
    assert played.asleep_s > 1.0


def test_only_what_is_larger_than_the_smallest_face_has_to_be_told(tmp_path: Path) -> None:
    """In noise that hides a face of 16 pixels one of 300 is told: it sleeps for the one who looks for no smaller ones."""
    path = walk_stream(tmp_path / "noise.ts", noise=14, walks=(99.0,), seconds=16.0)
    assert play(path, min_face_px=16).asleep_s == 0.0
    assert play(path, min_face_px=300).asleep_s > 4.0


def test_what_only_keyframes_show_is_decoded_from_where_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packet sizes tell nothing to the one who looks for huge faces, and keyframes of another size are overlooked. People come while
    keyframes are looked at rarely: at the next look, all is decoded since the group in which the first of them came."""
    monkeypatch.setattr(decode_policy, "_KEYFRAME_SHARE", 9.0)
    walks = tuple(float(at) for at in range(35, 71, 4))
    path = walk_stream(tmp_path / "walks.ts", walks=walks, seconds=71.0)
    played = play(path, min_face_px=1500)
    assert max(played.late) > 10.0, "several groups were kept"
    assert played.longest_gap(34.5, 70.0) <= 0.2
    assert not [at for at in played.shown if 27.0 < at < 33.0], "the groups before were decoded for nothing"


def test_a_capture_knows_a_stream_that_it_opens_again(tmp_path: Path) -> None:
    """A film that is looped: in its second lap it is asleep after some seconds, in the first it had to be learned."""
    path = empty_stream(tmp_path / "room.mp4", 640, 360, seconds=10, keyframe_s=2.0, noise=2)
    capture = Capture(source(path), loop=True, fps=5.0, min_face_px=_FACE_PX)
    capture.start()
    try:
        wait_until(lambda: capture.next_frame(0.2) and capture.status().decoding == "keyframes", "sleep", 30.0)
        wait_until(lambda: (frame := capture.next_frame(0.2)) is not None and frame.lap == 1, "second lap", 30.0)
        assert capture.status().decoding != "keyframes"
        began = time.monotonic()
        wait_until(lambda: capture.next_frame(0.2) is None or capture.status().decoding == "keyframes", "sleep", 30.0)
        assert time.monotonic() - began < 3.2, "learned anew, it takes four seconds and more"
    finally:
        capture.stop()


@needs_data
def test_a_reader_that_is_busy_is_no_fault_of_a_film_with_sound() -> None:
    """The work loop waits for longer than a stream may be silent: the sound that comes next does not end the film."""
    video = Video(source(VIDEOS / "friends_in_video.mp4"), open_timeout_s=5.0, read_timeout_s=0.2)
    packets = video.packets()
    for number, _ in zip(range(200), packets, strict=False):
        if number % 50 == 0:
            threading.Event().wait(0.3)
    assert number == 199
    video.close()
