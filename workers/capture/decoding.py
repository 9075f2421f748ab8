"""Decodes a video as `DecodePolicy` decides: keeps the packets since the last keyframe, and decodes them after the fact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from workers.capture.cadence import Cadence
from workers.capture.decode_policy import Action, DecodePolicy, Look
from workers.capture.motion import MOTION_SIZE, Grey, has_moved
from workers.capture.video import Video

Packet: TypeAlias = "av.Packet[VideoStream]"  # PyAV's class takes no brackets at run time

_COARSE = (2 * MOTION_SIZE[0], 2 * MOTION_SIZE[1])  # single pixels are picked, then averaged: half the noise
_COMPARED_A_SECOND = 5.0
_REFERENCE_S = 2.0  # so old is the picture that others are compared with, at most: a slow motion adds up
# Of a kept group, pictures from so long before the sizes told a motion. A small face needs up to .8 s to be told.
_BEFORE_S = 2.0
_CHECKED_S = 1.0  # of a group that was passed over; decoding all of it would cost a third of a core's second at 1080p


class Stamp(NamedTuple):
    """A packet's times. `read_at`: when it came, monotonic seconds. `came_at`: the same for its picture, which is later where pictures
    are shown in another order than they are decoded. `media_s`: its picture's media time, see Frame."""

    read_at: float
    came_at: float
    media_s: float | None


class Picture(NamedTuple):
    """A decoded picture, still FFmpeg's. `late`: it was decoded after the fact."""

    frame: VideoFrame
    stamp: Stamp
    late: bool


class Decoding:
    """One open video and what is kept of it. `decoded`: how many pictures were decoded."""

    def __init__(self, video: Video, policy: DecodePolicy | None) -> None:
        """`policy`: None decodes everything, and compares nothing."""
        self._video, self._policy = video, policy
        self._group: list[Packet] = []
        self._compared = Cadence(_COMPARED_A_SECOND)
        self._reference: Grey | None = None
        self._reference_s = float("-inf")
        self._last = Stamp(0.0, 0.0, None)
        self._action = Action.DECODE
        self.decoded = 0

    def keeps(self, packet: Packet, stamp: Stamp) -> bool:
        """Take the next packet. Whether it is only kept; if not, call `feed` with it."""
        packet.opaque = self._last = stamp
        if self._policy is None:
            return False
        self._action = self._policy.packet(stamp.read_at, packet.size, keyframe=packet.is_keyframe)
        if self._action is Action.KEEP:
            self._group.append(packet)
            return True
        return False

    def feed(self, packet: Packet, stamp: Stamp) -> Iterator[Picture]:
        """The pictures to show now that this packet came, in the order of their times."""
        policy, action = self._policy, self._action
        if policy is None:
            yield from self._decode(packet, stamp)
        elif action is Action.LOOK:
            yield from self._look(policy, packet, stamp)
        elif action is Action.WAKE:
            yield from self._decode_group(stamp.read_at - _BEFORE_S)
            yield from self._followed(policy, self._decode(packet, stamp, late=True))
        else:
            yield from self._followed(policy, self._decode(packet, stamp))
            if policy.asleep:  # this keyframe begins the first kept group
                yield from self._followed(policy, self._decode(None, stamp))
                self._group = [packet]

    def finish(self) -> Iterator[Picture]:
        """The pictures that are still in the decoder when the source has ended."""
        if self._policy is None or not self._policy.asleep:
            yield from self._decode(None, self._last)

    def _decode(self, packet: Packet | None, stamp: Stamp, *, late: bool = False) -> Iterator[Picture]:
        for frame in self._video.decode(packet):
            self.decoded += 1
            own = frame.opaque if isinstance(frame.opaque, Stamp) else stamp
            yield Picture(frame, own, late)

    def _followed(self, policy: DecodePolicy, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """The same pictures. Some of them are compared, and the policy is told what was seen."""
        for picture in pictures:
            time_s = picture.stamp.came_at
            if self._compared.due(time_s):
                grey = self._grey(picture.frame)
                moved = self._reference is not None and has_moved(self._reference, grey)
                if self._reference is None or moved or time_s - self._reference_s >= _REFERENCE_S:
                    self._reference, self._reference_s = grey, time_s
                policy.picture(time_s, moved=moved, pixels=picture.frame.width * picture.frame.height)
            yield picture

    def _look(self, policy: DecodePolicy, packet: Packet, stamp: Stamp) -> Iterator[Picture]:
        """A keyframe while asleep: decode it by itself, and compare it with the one before."""
        pictures = [*self._decode(packet, stamp), *self._decode(None, stamp)]
        frame = pictures[-1].frame if pictures else None
        grey = None if frame is None else self._grey(frame)
        look = policy.looked(
            stamp.read_at,
            moved=grey is not None and self._reference is not None and has_moved(self._reference, grey),
            pixels=0 if frame is None else frame.width * frame.height,
            whole=frame is not None and not frame.is_corrupt,
        )
        if look is Look.CHECK:
            policy.checked(stamp.read_at, moved=self._group_moves())
        if look is Look.WAKE or not policy.asleep:
            yield from self._decode_group(float("-inf"))
            yield from self._followed(policy, self._decode(packet, stamp, late=True))
            return
        self._group, self._reference, self._reference_s = [packet], grey, stamp.came_at
        yield from pictures

    def _group_moves(self) -> bool:
        """Whether any picture of the kept group's first second differs from its keyframe."""
        compared, moves = Cadence(_COMPARED_A_SECOND), False
        until_s = self._reference_s + _CHECKED_S
        first = [one for one in self._group if isinstance(one.opaque, Stamp) and one.opaque.came_at <= until_s]
        for packet in [*first, None]:
            for frame in self._video.decode(packet):
                self.decoded += 1
                if not moves and isinstance(frame.opaque, Stamp) and compared.due(frame.opaque.came_at):
                    moves = self._reference is not None and has_moved(self._reference, self._grey(frame))
        return moves

    def _decode_group(self, from_s: float) -> Iterator[Picture]:
        """The kept group's pictures that came at `from_s` or later and were not shown yet."""
        group, self._group = self._group, []
        begun_s = max(
            from_s, group[0].opaque.came_at + 1e-6 if group and isinstance(group[0].opaque, Stamp) else from_s
        )
        for packet in group:
            for frame in self._video.decode(packet):
                self.decoded += 1
                if isinstance(frame.opaque, Stamp) and frame.opaque.came_at >= begun_s:
                    yield Picture(frame, frame.opaque, late=True)

    def _grey(self, frame: VideoFrame) -> Grey:
        coarse = self._video.grey(frame, _COARSE)
        return np.asarray(cv2.resize(coarse, MOTION_SIZE, interpolation=cv2.INTER_AREA), np.float32)
