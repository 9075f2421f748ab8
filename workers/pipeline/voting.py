"""The verdict: what the crops of one track, taken together, say about who it is.

A crop names somebody when its score reaches the threshold and its best person is ahead of the second by the margin. A
track is *named* when `votes` of its crops name the same person, they are a fair share of its crops, their quality
outweighs whatever speaks for anybody else by two to one, and clear crops that show somebody else do not outweigh them.
It is *unknown* when there were enough crops and none of them came within a margin of being named; only clear ones count
there, since a turned head looks like nobody. Everything between is *uncertain*, an answer of its own: no good crop,
crops that contradict each other, a score without its margin, a near miss.

The latest crops count (a stranger who stands about for minutes would otherwise collect `votes` lucky ones), and those
that gave the name are kept, so that the name does not hang on whoever turned away since. It is withdrawn when clear crops
that show somebody else outweigh them by two to one, and when the gallery no longer bears it out.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.settings.schema import LivenessMode
from workers.recognition.working_point import WorkingPoint, lead

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shared.gallery.match import Candidate

Verdict = Literal["named", "uncertain", "unknown"]
Report = Literal["named", "withdrawn", "unknown"]

_MIN_WINDOW = 12  # crops
_MIN_SHARE = 0.25  # of the crops' weight that must speak for the person
_OUTWEIGH = 2.0
_FAR_MARGINS = 2.0  # below the threshold; a person's own crops come as low as that, but seldom when they are clear
_UNKNOWN_AFTER_S = 1.0  # a face that has just come in is given time to turn to the camera


@dataclass(frozen=True)
class Rules(WorkingPoint):
    """A working point, and `votes`: crops that must agree."""

    votes: int


class Decision(NamedTuple):
    """`score`, `margin`: of the crop that speaks best; `margin` is None where there is no second person."""

    verdict: Verdict
    person: str | None = None
    user_id: str | None = None
    score: float | None = None
    margin: float | None = None


@dataclass(frozen=True, eq=False)
class Crop:
    """One embedded crop. `embedding`: (dim,) float32, kept to match again when the gallery changes. `quality`: 0 to 1.
    `candidates`: the best person and the second, as matched last. `clear`: good enough to count against a name."""

    quality: float
    embedding: NDArray[np.float32]
    candidates: Sequence[Candidate] = ()
    clear: bool = True

    @property
    def score(self) -> float | None:
        return self.candidates[0].score if self.candidates else None

    @property
    def margin(self) -> float | None:
        return lead(self.candidates)

    def names(self, rules: Rules) -> str | None:
        """The person this crop names by itself."""
        return rules.names(self.candidates)

    def refutes(self, person: str, rules: Rules) -> bool:
        """Whether it shows clearly that this is not `person`: it looks most like another, or is far below the threshold."""
        if not self.clear or self.score is None:
            return False
        return self.candidates[0].person != person or self.score < rules.threshold - _FAR_MARGINS * rules.margin

    def is_near(self, rules: Rules) -> bool:
        """Whether it came within a margin of the threshold: too close to call it a stranger's."""
        return self.score is not None and self.score >= rules.threshold - rules.margin


def decide(crops: Sequence[Crop], rules: Rules) -> Decision:
    """The verdict on these crops alone, however few."""
    if not crops:
        return Decision("uncertain")
    leader = _leader(crops, rules)
    if leader is not None:
        return _named(leader, crops, rules)
    best = max(crops, key=lambda crop: crop.score if crop.score is not None else -2.0)
    unlike = any(crop.clear for crop in crops) and not any(crop.is_near(rules) for crop in crops)
    verdict: Verdict = "unknown" if unlike else "uncertain"
    return Decision(verdict, None, None, best.score, best.margin)


def _leader(crops: Sequence[Crop], rules: Rules) -> str | None:
    """The person the crops agree on, or None."""
    weights: defaultdict[str, float] = defaultdict(float)
    counts: defaultdict[str, int] = defaultdict(int)
    for crop in crops:
        if person := crop.names(rules):
            weights[person] += crop.quality
            counts[person] += 1
    ranked = sorted(weights, key=lambda person: (-weights[person], person))
    if not ranked or counts[ranked[0]] < rules.votes:
        return None
    second = weights[ranked[1]] if len(ranked) > 1 else 0.0
    fair_share = weights[ranked[0]] >= _MIN_SHARE * sum(crop.quality for crop in crops)
    if not fair_share or weights[ranked[0]] < _OUTWEIGH * second or _is_refuted(ranked[0], crops, crops, rules):
        return None
    return ranked[0]


def _is_refuted(person: str, crops: Iterable[Crop], supporting: Iterable[Crop], rules: Rules) -> bool:
    """Whether `crops` that show somebody else outweigh those of `supporting` that name the person."""
    against = sum(crop.quality for crop in crops if crop.refutes(person, rules))
    support = sum(crop.quality for crop in supporting if crop.names(rules) == person)
    return against >= _OUTWEIGH * support - 1e-9  # sums of equal weights differ in the last bit


def _named(person: str, crops: Iterable[Crop], rules: Rules) -> Decision:
    best = max((crop for crop in crops if crop.names(rules) == person), key=lambda crop: crop.score or 0.0)
    return Decision("named", person, best.candidates[0].user_id, best.score, best.margin)


class News(NamedTuple):
    """Something to report of a track. With `withdrawn`, `decision` has the person it was and the verdict it is now."""

    report: Report
    decision: Decision


@dataclass(eq=False)
class Ballot:
    """All that is known about who one track is. Times are seconds on the track's clock."""

    rules: Rules
    started_s: float
    total: int = 0  # good crops ever
    named: Decision | None = None  # stands until crops name somebody else, or the gallery no longer holds it
    told: Decision | None = None  # what was last reported and still stands: a name, or unknown
    evidence: list[Crop] = field(default_factory=list)  # the crops that gave the name
    recent: deque[Crop] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.recent = deque(maxlen=max(_MIN_WINDOW, 4 * self.rules.votes))

    def add(self, crop: Crop) -> None:
        """Count a good crop, already matched."""
        self.recent.append(crop)
        self.total += 1
        self._conclude()

    def crops(self) -> list[Crop]:
        """Everything that is kept, in the order of `rematch`'s answer."""
        kept = {id(crop): crop for crop in (*self.evidence, *self.recent)}
        return list(kept.values())

    def rematch(self, answers: Sequence[Sequence[Candidate]]) -> None:
        """Take in what `crops()` match in the changed gallery."""
        renewed = {
            id(crop): replace(crop, candidates=answer) for crop, answer in zip(self.crops(), answers, strict=True)
        }
        self.evidence = [renewed[id(crop)] for crop in self.evidence]
        self.recent = deque((renewed[id(crop)] for crop in self.recent), self.recent.maxlen)
        if self.named is not None:
            still = [crop for crop in self.crops() if crop.names(self.rules) == self.named.person]
            if len(still) < self.rules.votes:
                self.recent = deque(self.crops(), self.recent.maxlen)
                self.named, self.evidence = None, []
            else:
                self.named = _named(str(self.named.person), still, self.rules)
        self._conclude()

    @property
    def disputed(self) -> bool:
        """Whether the latest crop shows somebody other than the track's person."""
        if self.named is None or self.named.person is None or not self.recent:
            return False
        latest = self.recent[-1].names(self.rules)
        return latest not in (None, self.named.person) or self.recent[-1].refutes(self.named.person, self.rules)

    def decision(self, *, withheld: bool = False) -> Decision:
        """The verdict as things stand; at a track's end, the verdict. `withheld`: a name must not go out (yet)."""
        decision = self.named or decide(list(self.recent), self.rules)
        if withheld and decision.verdict == "named":
            return Decision("uncertain", None, None, decision.score, decision.margin)
        return decision

    def news(self, time_s: float, *, withheld: bool = False) -> list[News]:
        """What to report now, in order: a name, another name, a name that no longer stands, or, once there were crops and
        time enough, unknown."""
        decision = self.decision(withheld=withheld)
        news = []
        if decision.verdict == "named":
            if self.told is None or self.told.person != decision.person:
                news.append(News("named", decision))
                self.told = decision
            return news
        if self.told is not None and self.told.verdict == "named" and self.total >= self.rules.votes:
            gone = decision._replace(person=self.told.person, user_id=self.told.user_id)
            news.append(News("withdrawn", gone))
            self.told = None
        if decision.verdict == "unknown" and self.told is None and self._is_time_for_unknown(time_s):
            news.append(News("unknown", decision))
            self.told = decision
        return news

    def _is_time_for_unknown(self, time_s: float) -> bool:
        clear = sum(crop.clear for crop in self.recent)
        return time_s - self.started_s >= _UNKNOWN_AFTER_S and clear >= self.rules.votes

    def _conclude(self) -> None:
        decision = decide(list(self.recent), self.rules)
        if decision.verdict != "named":
            named = self.named and self.named.person
            if named is not None and _is_refuted(named, self.recent, self.crops(), self.rules):
                self.named, self.evidence = None, []
            return
        if (
            self.named is None
            or decision.person != self.named.person
            or (decision.score or 0) > (self.named.score or 0)
        ):
            self.named = decision
            naming = [crop for crop in self.crops() if crop.names(self.rules) == decision.person]
            naming.sort(key=lambda crop: -(crop.score or 0.0))
            self.evidence = naming[: self.rules.votes]


LiveVerdict = Literal["live", "spoof", "unsure"]


_LIVE_FROM = 0.8  # the addon's default threshold
_SPOOF_BELOW = 0.5  # more likely a picture than not
_MIN_SCORES = 3
_LATEST_SCORES = 9


class LiveVote:
    """What the crops of one track, taken together, say about whether it is alive.

    The mean of the latest nine scores decides, three at least: *live* from .8 up, the addon's own threshold; *spoof*
    below .5; between them, and before there are three, *unsure*.
    """

    def __init__(self) -> None:
        self._scores: deque[float] = deque(maxlen=_LATEST_SCORES)

    def add(self, score: float | None) -> None:
        """Count a good crop's score; None (not to be told) counts for nothing."""
        if score is not None:
            self._scores.append(score)

    @property
    def score(self) -> float | None:
        """The mean, 0 to 1; None before the first."""
        return sum(self._scores) / len(self._scores) if self._scores else None

    @property
    def verdict(self) -> LiveVerdict:
        score = self.score
        if score is None or len(self._scores) < _MIN_SCORES or _SPOOF_BELOW <= score < _LIVE_FROM:
            return "unsure"
        return "live" if score >= _LIVE_FROM else "spoof"

    @property
    def undecided(self) -> bool:
        """Whether more crops may still bring a verdict."""
        return self.verdict == "unsure" and len(self._scores) < _LATEST_SCORES

    def withholds_name(self, mode: LivenessMode) -> bool:
        """Whether a name must not be given to this track: `require` gives none before the verdict is *live*."""
        return mode == "require" and self.verdict != "live"

    @staticmethod
    def is_worthless(mode: LivenessMode, score: float | None) -> bool:
        """Whether a crop must not vote on the name: `require` takes none that is not likely alive by itself."""
        return mode == "require" and (score is None or score < _SPOOF_BELOW)

    def to_json(self) -> dict[str, str | float | None]:
        """For a sighting."""
        score = self.score
        return {"verdict": self.verdict, "score": None if score is None else round(score, 4)}
