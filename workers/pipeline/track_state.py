"""What is known about one track beyond its place: its votes, its best crops, its liveness, and what was reported about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.settings.camera_task import LivenessMode
from workers.pipeline.best_crops import BestCrops
from workers.pipeline.tracking import Track
from workers.pipeline.voting import Ballot, Crop, Decision, LiveVote, News, Rules

_CONFIRM_S = 3.0  # between two embeddings of a track that has its name, while its thumbnail stays the same
_UNDECIDED_S = 0.5  # between two embeddings of a track that has no name after many crops
# A track that has no name so long after its first detection, and is not near one, counts as settled: its face is searched for less
# often.
_SETTLES_AFTER_S = 3.0
# A detection is certain if it is sure to be the same face as before. If the last certain detection is longer ago than this when the
# track ends, the track is cut short: it ends at that detection.
_MAX_FOLLOWED_S = 5.0


@dataclass(eq=False)
class TrackState:
    """One track from its start to its end."""

    track: Track
    ballot: Ballot
    started_at: float  # wall clock
    liveness: LivenessMode = "off"
    ended_at: float = 0.0  # wall clock, of the last detection
    media_time_s: float | None = None  # of the last detection
    embedded_s: float = float("-inf")  # when a crop was embedded last, on the track's clock
    best_crops: BestCrops = field(default_factory=BestCrops)
    live: LiveVote = field(default_factory=LiveVote)
    refused: Sequence[str] = ()  # the parts of quality for which the newest crop could not be used
    width_px: float = 0.0  # the face's largest
    _used: bool = False  # one of its pictures could be used
    _reasons: Counter[str] = field(default_factory=Counter)
    _sure: tuple[float, float | None] = (0.0, None)  # wall time and media time of the last certain detection

    def see(self, wall_time: float, media_time_s: float | None) -> None:
        """The track was detected in a frame of these times; the tracker has already been updated."""
        self.ended_at, self.media_time_s = wall_time, media_time_s
        if self.track.sure[1] == self.track.last_s or not self._sure[0]:
            self._sure = wall_time, media_time_s

    def judge(self, width_px: float, refused: Sequence[str]) -> None:
        """A picture of the face was judged: its width, and the parts of quality that refused it."""
        self.refused = refused
        self.width_px = max(self.width_px, width_px)
        self._used = self._used or not refused
        self._reasons.update(refused)

    @property
    def why_never_used(self) -> str | None:
        """The part of quality that refused most pictures of this face; None: one could be used."""
        return None if self._used or not self._reasons else self._reasons.most_common(1)[0][0]

    def end(self) -> None:
        """The track is over. It ended at its last detection; or, if the face may have become another one, at its last certain one."""
        if not self.track.cut_short and self.track.last_s - self.track.sure[1] > _MAX_FOLLOWED_S:
            self.track.revert()
        if self.track.cut_short:
            self.ended_at, self.media_time_s = self._sure

    def wants_crop(self, time_s: float, rules: Rules) -> bool:
        """Whether one more embedding is worth its cost now."""
        since_s = time_s - self.embedded_s
        if self.ballot.named is not None:
            return since_s >= _CONFIRM_S or self.ballot.disputed or self._waits_for_life()
        if self.ballot.total < 3 * rules.votes or since_s >= _UNDECIDED_S:
            return True
        return self._is_on_edge(rules)

    def _is_on_edge(self, rules: Rules) -> bool:
        """Whether the track is so near to a name that the next crop may decide it."""
        mean = [] if self.ballot.mean is None else [self.ballot.mean]
        return any((crop.score or 0.0) >= rules.threshold - 2 * rules.margin for crop in (*self.ballot.recent, *mean))

    def is_undecided(self, time_s: float, rules: Rules) -> bool:
        """Whether the next frame may bring a verdict, or change it."""
        if self.ballot.named is not None:
            return self.ballot.disputed or self._waits_for_life()
        return time_s - self.track.first_s < _SETTLES_AFTER_S or self._is_on_edge(rules)

    def _waits_for_life(self) -> bool:
        return self.liveness != "off" and self.live.undecided

    def decision(self) -> Decision:
        """The verdict now. While liveness withholds the name, the verdict is *uncertain*."""
        return self.ballot.decision(withheld=self.live.withholds_name(self.liveness))

    def deciding_crop(self, decision: Decision) -> Crop | None:
        """The crop that decided; None while liveness withholds the name: then it is not the face that decides."""
        withheld = self.live.withholds_name(self.liveness)
        return None if withheld else self.ballot.deciding_crop(decision)

    def news(self, time_s: float) -> list[News]:
        """What is to be reported now, in order."""
        return self.ballot.news(time_s, withheld=self.live.withholds_name(self.liveness))

    def begin_anew(self, rules: Rules) -> None:
        """Start voting anew with another model: old embeddings are worthless. What was reported stays known."""
        self.ballot = Ballot(rules, self.ballot.started_s, told=self.ballot.told)
        self.embedded_s = float("-inf")
        self.best_crops.clear()
