"""Tracks: which detections in successive frames are the same face.

Between two searched frames a track is assumed to move at constant speed. A detection is matched to a track by the
expected place and size and, if both have an embedding, by the cosine. An embedding that strongly disagrees with the
track's own forbids the match. So two people who cross never become one track, nor do two people who stand at the same
place before and after a cut that was missed. There is one exception: if the place leaves no doubt, and the view is not
clear, the track goes on although the embedding disagrees, because a turned head resembles nobody.

Not every detection is embedded. For the others, the face's thumbnail shows whether it is still the same face. When the
thumbnail changes, `propose` asks for an embedding. Until an embedding agrees, the track is followed but not certain
("sure"). If an embedding disagrees, the track ends at the last detection that was certain.

Call `propose` first, to learn which crops are worth embedding, and then `update` with their embeddings.
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

_REMEMBERED = 6  # embeddings that a track keeps and is compared by
# Face widths per second: a person with a face of 16 cm who walks past at 1.4 m/s moves 9 widths.
_FASTEST = 9.0
_NEAR = 0.6  # widths from the expected place; a face farther off is embedded
_FARTHEST = 2.5  # widths from the expected place; a match by place alone reaches no farther
_FARTHEST_ALIKE = 8.0  # widths; the same if the embedding agrees
# Natural logarithm; between two detections a face seldom grows or shrinks by more than a factor of 1.6.
_SIZE_CHANGE = 0.45
# Correlation of two thumbnails of a face, .2 to .4 s apart in three films: 93 % of the pairs of one person lie above, 99 % of
# the pairs of two people below.
_SAME_THUMBNAIL = 0.75
_LONGEST_EXTRAPOLATION_S = 0.6  # nobody keeps their speed for longer


class Observation(NamedTuple):
    """One detection. `embedding`: (dim,) float32 of unit norm, or None. `clear`: a view from the front, sharp; two clear views
    of one person never differ strongly. `thumbnail`: from `face_thumbnail`, or None."""

    box: Box
    embedding: Vector | None = None
    clear: bool = False
    thumbnail: Vector | None = None


class View(NamedTuple):
    """An embedding that a track keeps."""

    embedding: Vector
    clear: bool


class Proposal(NamedTuple):
    """The track that a detection would join by its place alone, and whether an embedding is needed to be certain.

    `doubtful`: the place alone does not decide. `changed`: the thumbnail differs from the track's last one.
    """

    track: Track | None
    doubtful: bool
    changed: bool = False


class Pair(NamedTuple):
    """A detection (its index) and the track that it belongs to."""

    track: Track
    face: int


@dataclass(eq=False)
class Track:
    """One face's way through the frames. `box`: where it was detected last, at `last_s`; `seen`: in how many frames.

    `forgiven_s`: how long nobody looked since then.
    `sure`: box, time and frame count of the last detection that certainly was this face. `cut_short`: the track was set
    back to that detection, because the later ones turned out to be somebody else.
    """

    number: int
    box: Box
    first_s: float
    last_s: float
    seen: int = 1
    velocity: tuple[float, float] = (0.0, 0.0)  # of the centre, pixels a second
    thumbnail: Vector | None = None  # the last one
    views: deque[View] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    sure: tuple[Box, float, int] = field(init=False)
    cut_short: bool = False
    forgiven_s: float = 0.0

    def __post_init__(self) -> None:
        self.sure = self.box, self.last_s, self.seen

    def likeness(self, embedding: Vector | None) -> float | None:
        """The highest cosine of `embedding` with the track's own; None if either has none."""
        if embedding is None or not self.views:
            return None
        return max(float(np.dot(view.embedding, embedding)) for view in self.views)

    def expected(self, time_s: float) -> tuple[float, float]:
        """Where the centre should be at this time: x, y in pixels."""
        ahead_s = min(time_s - self.last_s, _LONGEST_EXTRAPOLATION_S)
        x, y = _centre(self.box)
        return x + self.velocity[0] * ahead_s, y + self.velocity[1] * ahead_s

    def is_same_thumbnail(self, thumbnail: Vector | None) -> bool:
        """Whether the thumbnail is like the track's last one. Also True if either is missing."""
        return thumbnail is None or self.thumbnail is None or float(thumbnail @ self.thumbnail) >= _SAME_THUMBNAIL

    def revert(self) -> None:
        """Set the track back to its last certain detection: the detections since then were somebody else."""
        self.box, self.last_s, self.seen = self.sure
        self.velocity = (0.0, 0.0)
        self.cut_short = True

    def follow(self, observation: Observation, time_s: float, *, alike: bool) -> None:
        """Add a detection. `alike`: its embedding agrees that it is this face."""
        same = self.is_same_thumbnail(observation.thumbnail)
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
        self.forgiven_s = 0.0
        if alike or (same and was_sure):
            self.sure, self.cut_short = (self.box, self.last_s, self.seen), False
        if observation.thumbnail is not None:
            self.thumbnail = observation.thumbnail
        self.remember(observation)

    def remember(self, observation: Observation) -> None:
        """Keep the detection's embedding, if it has one. An unclear view never replaces a clear one."""
        if observation.embedding is None:
            return
        if len(self.views) == self.views.maxlen and not observation.clear:
            unclear = [i for i, view in enumerate(self.views) if not view.clear]
            if not unclear:
                return
            del self.views[unclear[0]]
        self.views.append(View(observation.embedding, observation.clear))


class Tracker:
    """All tracks of one camera. Times are seconds on one clock and never run back.

    `lost_after_s`: a track that is not detected for longer than this has ended.
    """

    def __init__(self, appearance: Appearance, *, lost_after_s: float = 1.5) -> None:
        self._appearance, self._lost_after_s = appearance, lost_after_s
        self._next_number = 1
        self.tracks: list[Track] = []

    def propose(self, boxes: Sequence[Box], time_s: float, thumbnails: Sequence[Vector] = ()) -> list[Proposal]:
        """For each detection, the track that it would join by its place. `thumbnails`: one per box, or none. Changes nothing."""
        pairs = self._by_place(boxes, time_s)
        proposals = []
        for i in range(len(boxes)):
            track = pairs.get(i)
            changed = track is not None and not track.is_same_thumbnail(thumbnails[i] if thumbnails else None)
            proposals.append(Proposal(track, self._is_doubtful(i, track, boxes, time_s), changed))
        return proposals

    def update(self, observations: Sequence[Observation], time_s: float) -> list[Pair]:
        """Join every detection to a track; one that fits none begins a new track. Returns the pairs in the order of the detections."""
        by_place = self._by_place([observation.box for observation in observations], time_s)
        joined = {index: track for track, index in self._assign(observations, time_s)}
        for index, track in by_place.items():
            if track not in joined.values() and self._is_unlike(track, observations[index].embedding):
                track.revert()  # the face at the track's place is somebody else
        for index, observation in enumerate(observations):
            if index in joined:
                track = joined[index]
                alike, unlike = (test(track, observation.embedding) for test in (self._is_alike, self._is_unlike))
                # A turned head resembles nobody: its embedding is dropped, so that the next face here is not compared with it.
                seen = observation._replace(embedding=None) if unlike else observation
                track.follow(seen, time_s, alike=alike)
            else:
                joined[index] = self._begin(observation, time_s)
        return [Pair(joined[index], index) for index in range(len(observations))]

    def end_lost(self, time_s: float) -> list[Track]:
        """Remove and return the tracks that were not detected for `lost_after_s`, although somebody looked."""
        return self._end(
            track for track in self.tracks if time_s - track.last_s - track.forgiven_s > self._lost_after_s
        )

    def forgive(self, seconds: float) -> None:
        """Nobody could look for so long: for the present tracks, this time does not count."""
        for track in self.tracks:
            track.forgiven_s += seconds

    def end_all(self) -> list[Track]:
        """Remove and return every track: call it at a cut, or after the last frame."""
        return self._end(self.tracks)

    def use_appearance(self, appearance: Appearance) -> None:
        """Go on with another model. The old embeddings are dropped, since they can't be compared with the new model's."""
        self._appearance = appearance
        for track in self.tracks:
            track.views.clear()

    def _begin(self, observation: Observation, time_s: float) -> Track:
        track = Track(self._next_number, observation.box, time_s, time_s, thumbnail=observation.thumbnail)
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
        """Pairs of tracks and detections, by the lowest cost first; each track and each detection occurs at most once."""
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
        # An embedding that agrees outweighs two widths of distance: people who cross are near each other, but not alike.
        return off + grown - (2.0 if alike else 0.0)

    def _disagrees(
        self, track: Track, index: int, observations: Sequence[Observation], boxes: Sequence[Box], time_s: float
    ) -> bool:
        """Whether the detection's embedding differs so strongly from the track's that it can't be the same face."""
        if not self._is_unlike(track, observations[index].embedding):
            return False
        both_clear = observations[index].clear and any(view.clear for view in track.views)
        return both_clear or self._is_doubtful(index, track, boxes, time_s)

    def _is_doubtful(self, index: int, track: Track | None, boxes: Sequence[Box], time_s: float) -> bool:
        """Whether the place alone does not decide: it is far from the expected place, or another face or track is as near."""
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
    """How far a box is from where the track should be, in sides of the track's face."""
    return _off(track.expected(time_s), _centre(box), _side(track.box))
