"""Decodes a video as `DecodePolicy` decides: keeps the packets since the last look at a keyframe, and decodes them after the fact."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
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
# Of what was kept, pictures from so long before the sizes told a motion; where they would have to be decoded from a keyframe still
# earlier, only from that keyframe which came before the motion, with this much to spare: a small face needs up to .8 s to be told.
_BEFORE_S, _SPARE_S = 2.0, 0.3
_CHECKED_S = 1.0  # of what was passed over; decoding a group of 4 s would cost half a core's second at 1080p


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


class _Kept(NamedTuple):
    """A packet that is kept, and its times."""

    packet: Packet
    stamp: Stamp


class Decoding:
    """One open video and what is kept of it. `decoded`: how many pictures were decoded."""

    def __init__(self, video: Video, policy: DecodePolicy | None) -> None:
        """`policy`: None decodes everything, and compares nothing."""
        self._video, self._policy = video, policy
        self._kept: list[_Kept] = []  # begins with the keyframe that was looked at
        self._compared = Cadence(_COMPARED_A_SECOND)
        self._reference: Grey | None = None
        self._reference_s = float("-inf")
        self._last = Stamp(0.0, 0.0, None)
        self._action = Action.DECODE
        self.decoded = 0

    def keeps(self, packet: Packet, stamp: Stamp) -> bool:
        """Take the next packet. Whether it is only kept; if not, call `feed` with it."""
        self._last = stamp
        if self._policy is None:
            return False
        keyframe = packet.is_keyframe
        own_s = packet.dts * self._video.tick_s if keyframe and packet.dts is not None else None
        self._action = self._policy.packet(stamp.read_at, packet.size, keyframe=keyframe, stamp_s=own_s)
        if self._action is Action.KEEP:
            self._kept.append(_Kept(packet, stamp))
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
            begin = self._latest_group(stamp.read_at - policy.told_s - _SPARE_S)
            yield from self._decode_kept(begin, stamp.read_at - _BEFORE_S)
            yield from self._followed(policy, self._decode(packet, stamp, late=True))
        else:
            yield from self._followed(policy, self._decode(packet, stamp))
            if policy.asleep:  # what is kept begins with this keyframe
                yield from self._followed(policy, self._decode(None, stamp))
                self._kept = [_Kept(packet, stamp)]

    def finish(self) -> Iterator[Picture]:
        """The pictures that are still in the decoder when the source has ended."""
        if self._policy is None or not self._policy.asleep:
            yield from self._decode(None, self._last)

    def _decode(self, packet: Packet | None, stamp: Stamp, *, late: bool = False) -> Iterator[Picture]:
        if packet is not None and packet.opaque is not stamp:  # PyAV forgets what is set twice
            packet.opaque = stamp  # it comes back with the picture
        for frame in self._video.decode(packet):
            self.decoded += 1
            own = frame.opaque if isinstance(frame.opaque, Stamp) else stamp
            yield Picture(frame, own, late)

    def _followed(self, policy: DecodePolicy, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """The same pictures. Some of them are compared, and the policy is told what was seen."""
        for picture in pictures:
            time_s = picture.stamp.came_at
            if self._compared.due(time_s):
                # With people in view everything is decoded whatever moves, and comparing costs a twentieth of the decoding.
                moved = policy.people or self._moved_since_reference(picture.frame, time_s)
                if policy.people:
                    self._reference = None
                policy.picture(time_s, moved=moved, pixels=picture.frame.width * picture.frame.height)
            yield picture

    def _moved_since_reference(self, frame: VideoFrame, time_s: float) -> bool:
        grey = self._grey(frame)
        moved = self._reference is not None and has_moved(self._reference, grey)
        if self._reference is None or moved or time_s - self._reference_s >= _REFERENCE_S:
            self._reference, self._reference_s = grey, time_s
        return moved

    # -- asleep -------------------------------------------------------------------------------------------------------

    def _look(self, policy: DecodePolicy, packet: Packet, stamp: Stamp) -> Iterator[Picture]:
        """A keyframe while asleep: decode it by itself, and compare it with the one that was looked at before."""
        pictures = self._alone(packet, stamp)
        frame = pictures[-1].frame if pictures else None
        grey = None if frame is None else self._grey(frame)
        look = policy.looked(
            stamp.read_at,
            moved=grey is not None and self._differs(grey),
            pixels=0 if frame is None else frame.width * frame.height,
            whole=frame is not None and not frame.is_corrupt,
        )
        if look is Look.CHECK:
            policy.checked(stamp.read_at, moved=self._kept_moves())
        if look is Look.WAKE or not policy.asleep:
            yield from self._decode_kept(self._group_before_change(), float("-inf"))
            yield from self._followed(policy, self._decode(packet, stamp, late=True))
            return
        self._kept, self._reference, self._reference_s = [_Kept(packet, stamp)], grey, stamp.came_at
        yield from pictures

    def _alone(self, packet: Packet, stamp: Stamp) -> list[Picture]:
        """The picture of a keyframe that is decoded by itself; none or more if it is no whole one."""
        return [*self._decode(packet, stamp), *self._decode(None, stamp)]

    def _differs(self, grey: Grey) -> bool:
        return self._reference is not None and has_moved(self._reference, grey)

    def _kept_moves(self) -> bool:
        """Whether any picture of the first second of what is kept differs from its keyframe."""
        compared, moves = Cadence(_COMPARED_A_SECOND), False
        until_s = self._reference_s + _CHECKED_S
        first = [one for one in self._kept if one.stamp.came_at <= until_s]
        for packet, stamp in [*first, (None, self._last)]:
            for picture in self._decode(packet, stamp):
                if not moves and compared.due(picture.stamp.came_at):
                    moves = self._differs(self._grey(picture.frame))
        return moves

    def _keyframes(self) -> list[int]:
        """Where in what is kept the keyframes are."""
        return [number for number, one in enumerate(self._kept) if one.packet.is_keyframe]

    def _latest_group(self, before_s: float) -> int:
        """Where in what is kept the latest group begins that came before `before_s`; the first one if none did."""
        return max((at for at in self._keyframes() if self._kept[at].stamp.came_at <= before_s), default=0)

    def _group_before_change(self) -> int:
        """Where in what is kept the group begins in which the picture changed: the one before the first keyframe that differs."""
        keyframes = self._keyframes()
        for before, at in pairwise(keyframes):
            pictures = self._alone(*self._kept[at])
            if not pictures or self._differs(self._grey(pictures[-1].frame)):
                return before
        return keyframes[-1] if keyframes else 0

    def _decode_kept(self, begin: int, from_s: float) -> Iterator[Picture]:
        """The pictures of what was kept, from the place `begin` on, that came at `from_s` or later and were not shown yet."""
        kept, self._kept = self._kept, []
        for number in range(begin, len(kept)):
            for picture in self._decode(*kept[number], late=True):
                if picture.stamp.came_at >= from_s and picture.stamp is not kept[0].stamp:
                    yield picture

    def _grey(self, frame: VideoFrame) -> Grey:
        coarse = self._video.grey(frame, _COARSE)
        return np.asarray(cv2.resize(coarse, MOTION_SIZE, interpolation=cv2.INTER_AREA), np.float32)
