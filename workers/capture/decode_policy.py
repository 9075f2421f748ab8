"""Decides, packet by packet, whether a video is decoded. It has no clock and no I/O.

Between two keyframes a video sends only what changed. So while nothing moves its packets are small, and their sizes tell
motion without decoding. While a scene is quiet, only keyframes are decoded, and the packets since the last one are kept.
When the sizes leave the stream's own recent distribution, or a keyframe differs from the one before, the kept packets are
decoded after the fact. Then everything is decoded until the scene is quiet again.

Many streams do not tell motion by their sizes, because of a constant bitrate, noise or keyframes that are far apart. They are
decoded throughout, and `why_always` says why. The decision rests on the sizes' spread and on what a face would add:

- Sizes depend on the place after the keyframe: an encoder makes up for its faults in the first packets. So each is compared
  with the median of its place. In a 720p stream with noise of 2 grey levels this halves the spread.
- A face that crosses, with hair and collar twice as wide as the face, adds .28 to .45 of what its area takes in a keyframe
  (measured: H.264, 720p, faces of 40 to 120 pixels, without noise and with 2 grey levels of it). We count on .25.
- `_SURE` spreads of the sizes must be less than that; otherwise the noise would hide a face of `min_face_px`.

That is checked: a keyframe that differs though no size told, or a second of a group that is decoded now and then to see what was
passed over. A motion that was missed is not lost, since its group is decoded then. But after it, everything is decoded for a while.

A keyframe of a large picture costs as much as many small packets (1080p: 40 ms, 4K HEVC: 190 ms). So as long as keyframes show
nothing new, they are looked at ever more rarely, up to one in `_LONGEST_LOOK_S`, and all packets since the last look are kept. A
keyframe of another size than those before is looked at whenever it comes.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from math import log2
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Packets whose mean size is looked at, without the largest of them: three tell a large rise early, twelve a small one. A single
# large packet is no motion: even a still scene has one now and then, six times as large as a face's.
_WINDOWS = ((3, 1), (6, 1), (12, 2))
_JUMP_FACES = 4.0  # but a single packet that is larger by so many faces is
_WINDOW_S = 0.5  # a window is not longer than this
_REMEMBERED = 400  # quiet packets whose sizes are remembered: 16 s at 25 a second
_PLACES = 16  # half octaves of the number of packets since the keyframe: up to 180 and more
_MANY_AT_A_PLACE, _RARE_MORE = (
    16,
    1.5,
)  # where fewer sizes are known, the largest of them and half as much again is expected
_LEAST = 75  # so many are needed for a judgement
_SURE = 5.0  # spreads above the median that count as motion
_MOST_SURE = 12.0  # after wakes for nothing
_MORE_SURE = 1.2
_FACE_SHARE = 0.25  # of a keyframe's bytes for the same area
_FACE_AREA = 4.6  # face widths squared: head, hair and collar
# So small a spread of large packets is no scene: the camera fills them up.
_FILLED_SPREAD, _FILLED_FACES = 0.01, 20.0
# Keyframes 4 s apart, and what the network adds: to each distance, and to their mean.
_MOST_GROUP_S, _MOST_APART_S = 6.0, 4.5
_MOST_GROUP_BYTES = 24 << 20
# Looks at keyframes: every one, then one in so many seconds, doubled each time nothing is found. Where the sizes would just tell a
# face, `_LONGEST_LOOK_S` is the shorter one.
_FIRST_LOOK_S = 4.0
_LONGEST_LOOK_S, _LONGEST_SURE_LOOK_S = 8.0, 30.0
_SHOWN_EVERY_S = 4.0  # while somebody looks at the pictures, but not longer than keyframes are apart
_SURELY = 0.5  # of a face's bytes: sizes that tell so little are sure to tell a face
_MOST_KEPT_BYTES = 8 << 20  # by a keyframe that is not looked at; then it is
_KEYFRAME_SHARE = 0.02  # of a keyframe's bytes: one that differs by more, and by more than the others do, is looked at
# Of a keyframe's bytes: a stream that is opened again is another one if its keyframe differs by more.
_SAME_KEYFRAME = 0.2
_SLACK_S = 0.5  # keyframes don't come to the millisecond
_QUIET_S = 2.0  # without motion and people, before sleep
_NEVER = float("-inf")
Floats = NDArray[np.float64]
# Checks of what was passed over: a second of a group after so long, then twice as long, and so on.
_FIRST_CHECK_S, _LAST_CHECK_S = 20.0, 600.0
_FIRST_DISTRUST_S, _LAST_DISTRUST_S = 60.0, 3600.0


_PLACE_OF = [0, *(min(_PLACES - 1, int(2 * log2(count))) for count in range(1, 400))]


class Action(Enum):
    """What to do with a packet.

    `DECODE`: decode it. `KEEP`: keep it; it may be a keyframe. `LOOK`: a keyframe; decode it by itself and call `looked`. `WAKE`: decode
    what was kept and then this packet.
    """

    DECODE = "decode"
    KEEP = "keep"
    LOOK = "look"
    WAKE = "wake"


class Look(Enum):
    """What follows from a keyframe. `SLEEP`: what is kept begins with it. `CHECK`: first decode a second of what was kept, and call
    `checked`. `WAKE`: decode what was kept, from where it differs, then go on from this keyframe."""

    SLEEP = "sleep"
    CHECK = "check"
    WAKE = "wake"


class _Size(NamedTuple):
    """A packet between two keyframes: how far it is from its keyframe, and its bytes."""

    place: int
    size_bytes: int


class _Limit(NamedTuple):
    """Of one window: `left_out`: so many of the largest don't count; `most`: if the others are larger than expected by more bytes on
    average, something moves."""

    packets: int
    left_out: int
    most: float


class DecodePolicy:
    """Decides for one stream. Times are seconds on one clock; they may stand still, but not run back."""

    def __init__(self, min_face_px: int, *, always: str | None = None) -> None:
        """`min_face_px`: the width of the smallest face that matters. `always`: why everything is decoded whatever is seen."""
        self._face_px, self._given = min_face_px, always
        self._always = always
        # Set from outside: somebody is in view; the pictures are shown, so that keyframes are looked at more often.
        self.people = self.shown = False
        self.told_s = 0.0  # how long the latest motion had been there, as far as is known, when the sizes told it
        self._checks_s, self._distrust_s, self._distrust_until = _FIRST_CHECK_S, _FIRST_DISTRUST_S, _NEVER
        self._distrust_why = ""
        self._sure = _SURE
        self.restart()

    def restart(self) -> None:
        """The stream begins, or has changed its size: nothing is known of it."""
        self.asleep = False
        self._pixels = 0
        self._quiet: deque[_Size] = deque(maxlen=_REMEMBERED)
        self._since: list[_Size] = []  # since the last picture, or in the kept group
        self._count = 0  # packets since the keyframe
        self._expected, self._well_known = [0.0] * _PLACES, [False] * _PLACES
        self._excess: deque[float] = deque(maxlen=_WINDOWS[-1][0])  # bytes above the expected, of the latest packets
        self._keyframes: deque[tuple[float, int]] = deque(maxlen=4)  # time and size
        self._seen_s = _NEVER  # the latest packet
        self._steps: deque[float] = deque(maxlen=250)
        self._groups: deque[int] = deque(maxlen=3)  # packets from one keyframe to the next
        self._stamp_s: float | None = None  # the latest keyframe's own
        self._distances: deque[float] = deque(maxlen=3)  # of keyframes, by their own stamps
        self._moved_s: float | None = None  # the latest motion; None: no picture yet
        self._limits: list[_Limit] = []
        self._jump = self._least = float("inf")  # of the limits' bytes, the lowest
        self._group_bytes = self._kept_bytes = 0  # since the latest keyframe; since the latest look
        self._woken_s: float | None = None  # woken by sizes, and no picture has shown a motion since
        self._check_at: float | None = None
        self._looked_at, self._look_s, self._longest_look_s = _NEVER, _FIRST_LOOK_S, _LONGEST_LOOK_S
        # A keyframe's bytes before the stream was opened again, until its first keyframe has come.
        self._known_keyframe: float | None = None
        self._unfit = "" if self._always is None else self._always

    def reopened(self) -> None:
        """The same source was opened again, with the same codec. What is known of it holds if its first keyframe is as large as before."""
        self.asleep, self._always = False, self._given
        if self._keyframes:
            self._known_keyframe = median(size for _, size in self._keyframes)
        self._since, self._count, self._seen_s = [], 0, _NEVER
        self._keyframes.clear()
        self._excess.clear()
        self._moved_s = self._woken_s = self._check_at = self._stamp_s = None
        self._unfit = "" if self._always is None else self._always

    # -- what it says -------------------------------------------------------------------------------------------------

    def why_always(self) -> str | None:
        """Why everything is decoded, in words. None: it is decoded on demand, or not enough is known yet."""
        return self._unfit or None

    @property
    def step_s(self) -> float:
        """Seconds from one packet to the next, on average; 0.0: not known."""
        return sum(self._steps) / len(self._steps) if self._steps else 0.0

    # -- packets ------------------------------------------------------------------------------------------------------

    def packet(self, time_s: float, size: int, *, keyframe: bool, stamp_s: float | None = None) -> Action:
        """The next packet, in the order of decoding. `stamp_s`: a keyframe's own stamp, if it has one."""
        if self._always is not None:
            return Action.DECODE
        if self._seen_s != _NEVER:
            self._steps.append(time_s - self._seen_s)
        self._seen_s = time_s
        if keyframe:
            self._follow_stamps(stamp_s)
            return self._keyframe(time_s, size)
        self._count += 1
        place = _PLACE_OF[self._count] if self._count < len(_PLACE_OF) else _PLACES - 1
        self._since.append(_Size(place, size))
        if not self.asleep:
            self._since = self._since[-_REMEMBERED:]
            return Action.DECODE
        self._group_bytes += size
        self._kept_bytes += size
        if self.people or self._group_bytes > _MOST_GROUP_BYTES or self._keyframe_is_late(time_s):
            return self._wake(time_s, by_size=False)
        if self._tells(place, size):
            return self._wake(time_s, by_size=True)
        return Action.KEEP

    def _tells(self, place: int, size: int) -> bool:
        """Whether this packet, with those before it, is larger than expected. At a place that is not known well, if it is far larger."""
        excess = size - self._expected[place]
        if excess > self._jump:
            self.told_s = self.step_s
            return True
        if not self._well_known[place]:
            return False
        self._excess.append(excess)
        if excess <= self._least:
            return False  # no mean exceeds its limit by this packet
        latest = list(self._excess)
        for packets, left_out, most in self._limits:
            counted = packets - left_out
            if len(latest) >= packets and sum(sorted(latest[-packets:])[:counted]) > counted * most:
                self.told_s = packets * self.step_s
                return True
        return False

    def _keyframe(self, time_s: float, size: int) -> Action:
        known, self._known_keyframe = self._known_keyframe, None
        if known is not None and abs(size - known) > _SAME_KEYFRAME * known:
            self.restart()
        if self._keyframes:
            self._groups.append(self._count + 1)
        unlike = self._is_unlike(size)
        self._keyframes.append((time_s, size))
        self._count = 0
        if self.asleep:
            self._group_bytes = size
            self._kept_bytes += size
            look = unlike or self.people or self._kept_bytes > _MOST_KEPT_BYTES or self._look_is_due(time_s)
            return Action.LOOK if look else Action.KEEP
        self._judge(time_s)
        if self._is_quiet(time_s) and not self._unfit and self._limits:
            self._sleep(time_s, size)
        return Action.DECODE

    def _follow_stamps(self, stamp_s: float | None) -> None:
        """Note how far this keyframe is from the one before by the stream's own clock."""
        if stamp_s is not None and self._stamp_s is not None and stamp_s > self._stamp_s:
            self._distances.append(stamp_s - self._stamp_s)
        self._stamp_s = stamp_s

    def _keyframe_is_late(self, time_s: float) -> bool:
        """Whether the latest keyframe is long ago: by when packets came, and by how many came, if their own clock is known."""
        if time_s - self._keyframes[-1][0] <= _MOST_GROUP_S:
            return False
        if not self._distances or not self._groups:
            return True
        return self._count * median(self._distances) > _MOST_GROUP_S * median(self._groups)

    def _apart_s(self) -> float:
        """How far keyframes are apart. On a machine that falls behind packets come slowly; then the stamps are right."""
        apart_s = median(self._groups) * self.step_s if self._groups else 0.0  # steadier than when keyframes came
        return min(apart_s, median(self._distances)) if self._distances else apart_s

    def _is_unlike(self, size: int) -> bool:
        """Whether a keyframe differs in size from those before."""
        sizes = [before for _, before in self._keyframes]
        return bool(sizes) and abs(size - sum(sizes) / len(sizes)) > max(
            _KEYFRAME_SHARE * size, 2 * (max(sizes) - min(sizes))
        )

    def _look_is_due(self, time_s: float) -> bool:
        if self._check_at is not None and time_s >= self._check_at:
            return True
        if self.shown and time_s + self._apart_s() - self._looked_at > _SHOWN_EVERY_S + _SLACK_S:
            return True  # with the next keyframe it would be too late
        return time_s - self._looked_at > self._look_s - _SLACK_S

    def _is_quiet(self, time_s: float) -> bool:
        return not self.people and self._moved_s is not None and time_s - self._moved_s >= _QUIET_S

    def _sleep(self, time_s: float, size: int) -> None:
        if self._woken_s is not None:  # the last wake was for nothing
            self._sure = min(_MOST_SURE, self._sure * _MORE_SURE)
            self._woken_s = None
            self._judge(time_s)
            if self._unfit:
                return
        self.asleep, self._group_bytes, self._kept_bytes, self._since = True, size, size, []
        self._looked_at, self._look_s = time_s, _FIRST_LOOK_S
        self._excess.clear()
        if self._check_at is None:
            self._check_at = time_s + self._checks_s

    def _wake(self, time_s: float, *, by_size: bool) -> Action:
        self.asleep, self._since = False, []
        self._moved_s = time_s  # counts as motion until pictures have been seen
        self._woken_s = time_s if by_size else None
        self.told_s = self.told_s if by_size else _WINDOW_S
        return Action.WAKE

    # -- pictures -----------------------------------------------------------------------------------------------------

    def picture(self, time_s: float, *, moved: bool, pixels: int) -> None:
        """A picture was decoded and compared with an earlier one. Call it at the cadence, while everything is decoded."""
        if self._pixels not in (0, pixels):
            self.restart()
        self._pixels = pixels
        since, self._since = self._since, []
        if moved or self._moved_s is None:
            self._moved_s = time_s
        if moved:
            self._woken_s = None
        elif not self.people and time_s - self._moved_s >= _QUIET_S / 2:
            self._quiet.extend(since)

    def looked(self, time_s: float, *, moved: bool, pixels: int, whole: bool) -> Look:
        """A keyframe was decoded by itself, and compared with the one before. `whole`: it gave a picture without faults."""
        if not whole:
            self._unfit = self._always = "its keyframes can't be decoded by themselves"
            return self._after_look(Look.WAKE, time_s)
        if pixels != self._pixels:
            self.restart()
            return Look.WAKE
        if moved:
            self._distrust(time_s, "a motion was not told by the sizes")
            return self._after_look(Look.WAKE, time_s)
        if self.people:
            return self._after_look(Look.WAKE, time_s)
        self._quiet.extend(self._since)
        check = self._check_at is not None and time_s >= self._check_at
        self._judge(time_s)
        if self._unfit:
            return self._after_look(Look.WAKE, time_s)
        self._since = []
        self._group_bytes = self._kept_bytes = self._keyframes[-1][1]
        self._looked_at, self._look_s = time_s, min(self._longest_look_s, 2 * self._look_s)
        return Look.CHECK if check else Look.SLEEP

    def _after_look(self, look: Look, time_s: float) -> Look:
        self._wake(time_s, by_size=False)
        return look

    def checked(self, time_s: float, *, moved: bool) -> None:
        """A second of what was passed over has been decoded. `moved`: its pictures differ from the keyframe before."""
        if moved:
            self._distrust(time_s, "a motion was not told by the sizes")
            self._wake(time_s, by_size=False)
            return
        self._distrust_s = _FIRST_DISTRUST_S
        self._checks_s = min(_LAST_CHECK_S, 2 * self._checks_s)
        self._check_at = time_s + self._checks_s

    # -- judgement ----------------------------------------------------------------------------------------------------

    def _distrust(self, time_s: float, why: str) -> None:
        self._distrust_until, self._distrust_why = time_s + self._distrust_s, why
        self._distrust_s = min(_LAST_DISTRUST_S, 2 * self._distrust_s)
        self._checks_s, self._check_at = _FIRST_CHECK_S, None
        self._quiet.clear()
        self._unfit = why

    def _judge(self, time_s: float) -> None:
        """Set `_unfit` and `_limits` by what is known of the stream."""
        if self._always is not None:
            return
        self._limits = []
        if time_s < self._distrust_until:
            self._unfit = self._distrust_why
            return
        apart_s = self._apart_s()
        if apart_s > _MOST_APART_S:
            self._unfit = f"its keyframes are {apart_s:.0f} s apart"
            return
        if not self._groups or len(self._quiet) < _LEAST or not self._pixels:
            self._unfit = "" if self._unfit.startswith("its keyframes") else self._unfit
            return
        self._unfit = self._weigh(np.array(self._quiet, np.float64))

    def _expect(self, places: Floats, sizes: Floats) -> Floats:
        """Set the expected size of each place. Returns by how much sizes exceed it, at the places that are known well."""
        excess = np.full(len(sizes), np.nan)
        known = float(np.max(sizes))
        for place in range(_PLACES):
            here = places == place
            count = int(np.count_nonzero(here))
            self._well_known[place] = count >= _MANY_AT_A_PLACE
            if self._well_known[place]:
                known = float(np.median(sizes[here]))
                excess[here] = sizes[here] - known
            elif count:
                known = _RARE_MORE * float(np.max(sizes[here]))
            self._expected[place] = known
        known_well: Floats = excess[~np.isnan(excess)]
        return known_well

    def _weigh(self, quiet: Floats) -> str:
        """Make the limits. `quiet`: place and size of each packet (n, 2). Returns why the sizes tell nothing; empty: they do."""
        keyframe = float(np.median([size for _, size in self._keyframes]))
        face = _FACE_SHARE * _FACE_AREA * self._face_px**2 * keyframe / self._pixels
        step_s = self.step_s
        excess = self._expect(quiet[:, 0], quiet[:, 1])
        usual = float(np.median(quiet[:, 1]))
        if len(excess) < _LEAST // 2:
            return ""
        clearest = float("inf")
        spread = _spread(excess)
        if usual > _FILLED_FACES * face and spread < _FILLED_SPREAD * usual:
            return "its packets all have one size: a constant bitrate, filled up"
        self._jump = max(_JUMP_FACES * face, 2 * self._sure * spread)
        for packets, left_out in _WINDOWS:
            if packets * step_s > _WINDOW_S:
                break
            windows = np.sort(np.lib.stride_tricks.sliding_window_view(excess, packets), axis=1)
            means: Floats = windows[:, : packets - left_out].mean(axis=1)
            least = self._sure * _spread(means)
            clearest = min(clearest, least)
            self._limits.append(_Limit(packets, left_out, float(np.median(means)) + max(least, face / 2)))
        self._least = min((limit.most for limit in self._limits), default=float("inf"))
        self._longest_look_s = _LONGEST_SURE_LOOK_S if clearest <= _SURELY * face else _LONGEST_LOOK_S
        if clearest > face:
            self._limits = []
            return f"its packets' sizes vary too much to tell a face of {self._face_px} pixels: noise, or a bitrate that is kept"
        return ""


def _spread(values: Floats) -> float:
    """The standard deviation, as the median deviation or the upper twentieth has it, whichever is larger."""
    middle, high = (float(value) for value in np.percentile(values, (50, 95)))
    return max(1.4826 * float(np.median(np.abs(values - middle))), (high - middle) / 1.645)
