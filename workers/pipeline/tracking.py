"""Tracks: which detections of successive frames are one face.

A track's motion is taken as constant between the frames that are looked at. A detection is matched by where the track
should be and how large, and, where both have an embedding, by whether they look alike. An embedding that strongly
disagrees with the track's own forbids the match: two people who cross, or a cut that nobody noticed, never become one
track. Only where the place leaves no doubt is a turned head allowed to look like nobody.

Not every detection is embedded. In between the face's own small picture tells whether it is still the same: where that
changes, the caller is asked for an embedding, and until one agrees the track is only followed. If one disagrees, the
track ends where it was last sure.

The work loop asks `propose` first, to learn whose crop is worth embedding, and then calls `update` with what it got.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workers.recognition.engine import Appearance

Box = tuple[float, float, float, float]
Vector = NDArray[np.float32]

_REMEMBERED = 6  # embeddings a track is compared with
# Widths of the face a second: a person walking past at 1.4 m/s with a face of 16 cm makes 9.
_FASTEST = 9.0
_NEAR = 0.6  # widths a face may be off where it was expected before its embedding is asked for
_FARTHEST = 2.5  # widths it may be off with nothing but its place to go by
_FARTHEST_ALIKE = 8.0  # widths, when it looks like the track
_SIZE_CHANGE = 0.45  # natural logarithm; a face seldom grows or shrinks by more than 1.6 between two looks
# Correlation of two small pictures of a face, .2 to .4 s apart in three films: 93 % of one person's are above, 99 % of
# two people's below.
_SAME_PICTURE = 0.75
_LONGEST_EXTRAPOLATION_S = 0.6  # nobody keeps their speed for longer


class Observation(NamedTuple):
    """A detection as the tracker sees it. `embedding`: (dim,) float32 unit norm, or None. `clear`: a view from the
    front; two of those of one person are never strongly different."""

    box: Box
    embedding: Vector | None = None
    clear: bool = False
    picture: Vector | None = None  # `face_picture`'s


class Look(NamedTuple):
    """What a track looked like once."""

    embedding: Vector
    clear: bool


class Proposal(NamedTuple):
    """The track that a detection would join by its place, and whether only its embedding can tell: `doubtful` by its
    place, `changed` because the face's picture is another than at the last look."""

    track: Track | None
    doubtful: bool
    changed: bool = False


class Pair(NamedTuple):
    """A detection (its index) and the track that it belongs to."""

    track: Track
    face: int


@dataclass(eq=False)
class Track:
    """One face's way through frames. `box`: where it was seen last, at `last_s`; `seen`: in how many frames.

    `sure`: box, time and frames when it last was certainly this face. `cut_short`: it went back there, since what was
    followed from there on turned out to be somebody else.
    """

    number: int
    box: Box
    first_s: float
    last_s: float
    seen: int = 1
    velocity: tuple[float, float] = (0.0, 0.0)  # of the centre, pixels a second
    picture: Vector | None = None
    looks: deque[Look] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    sure: tuple[Box, float, int] = field(init=False)
    cut_short: bool = False

    def __post_init__(self) -> None:
        self.sure = self.box, self.last_s, self.seen

    def likeness(self, embedding: Vector | None) -> float | None:
        """The highest cosine with what the track looked like; None where one of them has no embedding."""
        if embedding is None or not self.looks:
            return None
        return max(float(np.dot(look.embedding, embedding)) for look in self.looks)

    def expected(self, time_s: float) -> tuple[float, float]:
        """Where the centre should be."""
        ahead_s = min(time_s - self.last_s, _LONGEST_EXTRAPOLATION_S)
        x, y = _centre(self.box)
        return x + self.velocity[0] * ahead_s, y + self.velocity[1] * ahead_s

    def is_same_picture(self, picture: Vector | None) -> bool:
        """Whether the face looks as it did at the last look; what is not known is taken for the same."""
        return picture is None or self.picture is None or float(picture @ self.picture) >= _SAME_PICTURE

    def revert(self) -> None:
        """What was followed since the track was last sure is somebody else."""
        self.box, self.last_s, self.seen = self.sure
        self.velocity = (0.0, 0.0)
        self.cut_short = True

    def follow(self, observation: Observation, time_s: float, *, alike: bool) -> None:
        """Take the detection in. `alike`: its embedding says that it is this face."""
        same = self.is_same_picture(observation.picture)
        elapsed_s = time_s - self.last_s
        if elapsed_s > 0:
            (x, y), (old_x, old_y) = _centre(observation.box), _centre(self.box)
            measured = (x - old_x) / elapsed_s, (y - old_y) / elapsed_s
            share = 1.0 if self.seen == 1 else 0.6
            self.velocity = (
                self.velocity[0] + share * (measured[0] - self.velocity[0]),
                self.velocity[1] + share * (measured[1] - self.velocity[1]),
            )
        was_sure = self.sure[1] == self.last_s
        self.box, self.last_s, self.seen = observation.box, time_s, self.seen + 1
        if alike or (same and was_sure):
            self.sure, self.cut_short = (self.box, self.last_s, self.seen), False
        if observation.picture is not None:
            self.picture = observation.picture
        self.remember(observation)

    def remember(self, observation: Observation) -> None:
        """Keep what was seen; a clear view is never pushed out by one that is not."""
        if observation.embedding is None:
            return
        if len(self.looks) == self.looks.maxlen and not observation.clear:
            unclear = [i for i, look in enumerate(self.looks) if not look.clear]
            if not unclear:
                return
            del self.looks[unclear[0]]
        self.looks.append(Look(observation.embedding, observation.clear))


class Tracker:
    """All tracks of one camera. Times are seconds on one clock and never run back."""

    def __init__(self, appearance: Appearance, *, lost_after_s: float = 1.5) -> None:
        self._appearance, self._lost_after_s = appearance, lost_after_s
        self._next_number = 1
        self.tracks: list[Track] = []

    def propose(self, boxes: Sequence[Box], time_s: float, pictures: Sequence[Vector] = ()) -> list[Proposal]:
        """For each detection, the track its place speaks for. `pictures`: their small pictures. Changes nothing."""
        pairs = self._by_place(boxes, time_s)
        proposals = []
        for i in range(len(boxes)):
            track = pairs.get(i)
            changed = track is not None and not track.is_same_picture(pictures[i] if pictures else None)
            proposals.append(Proposal(track, self._is_doubtful(i, track, boxes, time_s), changed))
        return proposals

    def update(self, observations: Sequence[Observation], time_s: float) -> list[Pair]:
        """Join every detection to a track, a new one where none fits; in the order of the detections."""
        by_place = self._by_place([observation.box for observation in observations], time_s)
        joined = {index: track for track, index in self._assign(observations, time_s)}
        for index, track in by_place.items():
            if track not in joined.values() and self._is_unlike(track, observations[index].embedding):
                track.revert()  # it was where it was expected to be, and is somebody else
        for index, observation in enumerate(observations):
            if index in joined:
                track = joined[index]
                alike, unlike = (test(track, observation.embedding) for test in (self._is_alike, self._is_unlike))
                # A turned head looks like nobody: what it looks like must not vouch for the next face at this place.
                seen = observation._replace(embedding=None) if unlike else observation
                track.follow(seen, time_s, alike=alike)
            else:
                joined[index] = self._begin(observation, time_s)
        return [Pair(joined[index], index) for index in range(len(observations))]

    def end_lost(self, time_s: float) -> list[Track]:
        """Take out and return the tracks that were not seen for too long."""
        return self._end(track for track in self.tracks if time_s - track.last_s > self._lost_after_s)

    def end_all(self) -> list[Track]:
        """Take out and return every track: at a cut, or when nothing more comes."""
        return self._end(self.tracks)

    def use_appearance(self, appearance: Appearance) -> None:
        """Go on with another model: all embeddings are dropped, which its own can't be compared with."""
        self._appearance = appearance
        for track in self.tracks:
            track.looks.clear()

    def _begin(self, observation: Observation, time_s: float) -> Track:
        track = Track(self._next_number, observation.box, time_s, time_s, picture=observation.picture)
        track.remember(observation)
        self._next_number += 1
        self.tracks.append(track)
        return track

    def _end(self, ending: Iterable[Track]) -> list[Track]:
        ended = list(ending)
        self.tracks = [track for track in self.tracks if track not in ended]
        return ended

    def _by_place(self, boxes: Sequence[Box], time_s: float) -> dict[int, Track]:
        return {index: track for track, index in self._assign([Observation(box) for box in boxes], time_s)}

    def _is_alike(self, track: Track, embedding: Vector | None) -> bool:
        likeness = track.likeness(embedding)
        return likeness is not None and likeness >= self._appearance.alike

    def _is_unlike(self, track: Track, embedding: Vector | None) -> bool:
        likeness = track.likeness(embedding)
        return likeness is not None and likeness < self._appearance.different

    def _assign(self, observations: Sequence[Observation], time_s: float) -> list[Pair]:
        """The cheapest pairs first, each track and each detection once."""
        boxes = [observation.box for observation in observations]
        options = []
        for track in self.tracks:
            for index, observation in enumerate(observations):
                cost = self._cost(track, observation, time_s)
                if cost is not None and not self._disagrees(track, index, observations, boxes, time_s):
                    options.append((cost, track.number, index, track))
        taken: set[int] = set()
        used: set[int] = set()
        pairs = []
        for _, number, index, track in sorted(options, key=lambda option: option[:3]):
            if number not in taken and index not in used:
                taken.add(number)
                used.add(index)
                pairs.append(Pair(track, index))
        return pairs

    def _cost(self, track: Track, observation: Observation, time_s: float) -> float | None:
        """How badly a detection fits a track; None: not at all."""
        alike = self._is_alike(track, observation.embedding)
        elapsed_s = max(time_s - track.last_s, 0.0)
        reach = min(_NEAR + _FASTEST * elapsed_s, _FARTHEST_ALIKE if alike else _FARTHEST)
        off = _distance(track, observation.box, time_s)
        grown = abs(float(np.log(_side(observation.box) / _side(track.box))))
        if off > reach or grown > _SIZE_CHANGE * (1 + elapsed_s):
            return None
        # Looking alike outweighs two widths of distance: people who cross are near each other, not alike.
        return off + grown - (2.0 if alike else 0.0)

    def _disagrees(
        self, track: Track, index: int, observations: Sequence[Observation], boxes: Sequence[Box], time_s: float
    ) -> bool:
        """Whether the detection looks so unlike the track that it can't be the same face."""
        if not self._is_unlike(track, observations[index].embedding):
            return False
        both_clear = observations[index].clear and any(look.clear for look in track.looks)
        return both_clear or self._is_doubtful(index, track, boxes, time_s)

    def _is_doubtful(self, index: int, track: Track | None, boxes: Sequence[Box], time_s: float) -> bool:
        """Whether place alone can't tell: far from where it was expected, or another face or track is as near."""
        box = boxes[index]
        if track is None:
            return any(_distance(other, box, time_s) < _FARTHEST_ALIKE for other in self.tracks)
        if _distance(track, box, time_s) > _NEAR:
            return True
        others = [other for other in self.tracks if other is not track]
        return any(_distance(other, box, time_s) < 2 * _NEAR for other in others) or any(
            _off(_centre(box), _centre(other), _side(box)) < 2 * _NEAR for i, other in enumerate(boxes) if i != index
        )


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _side(box: Box) -> float:
    """The side of a square of the box's area, pixels."""
    return max(1.0, float(np.sqrt(max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]))))


def _off(one: tuple[float, float], other: tuple[float, float], side: float) -> float:
    return float(np.hypot(one[0] - other[0], one[1] - other[1])) / side


def _distance(track: Track, box: Box, time_s: float) -> float:
    """How far a box is from where the track should be, in sides of the face."""
    return _off(track.expected(time_s), _centre(box), _side(track.box))
