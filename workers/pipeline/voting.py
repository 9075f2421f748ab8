"""The vote over one track's crops: who it is, and whether it is alive.

A crop names a person when its score reaches the threshold and its best person leads the second by the margin. A track is
*named* when all of this holds:
- at least `votes` of its crops name the same person;
- these crops have at least a quarter of the quality of all its crops;
- they have at least twice the quality of the crops that name any one other person;
- the clear crops that show somebody else have less than twice their quality. A clear crop is one that is good enough to
  count against a name.

The crops also count as one set: the *mean* of their embeddings, weighted by quality. What is accidental in a crop cancels out in it. So a
track is named, too, when the mean of at least `votes` crops names a person, and the crops that are most like this person have at least half
of the quality of all its crops, and more than half of that of the clear crops that show somebody else. Of strangers, no more reach a
score with the mean of their crops than with one photo; the mean is of all crops since the track began, so that it settles and is not tried anew
again and again. (164 people of LFW, two photos each, against 877 enrolled people with one: at the threshold that one stranger in a thousand
reaches, 93 % are named if both photos have to reach it, 98 % if their mean has to.)

A track is *unknown* when it has a clear crop, and no crop, clear or not, nor their mean, comes within a margin of the threshold. Without
a clear crop nobody is unknown, since a turned head resembles nobody. An unknown track is reported after a second, and with
`votes` clear crops. Everything else is *uncertain*: no good crop, crops that contradict each other, a score without its
margin, a near miss.

Only the latest crops vote; otherwise a stranger who stays for minutes would collect `votes` lucky crops in time. The
crops that gave a name are kept beside them, so that a person who turns away keeps the name. A name is withdrawn
- when clear crops that show somebody else have twice the quality of its own;
- when too few of the kept crops still match the person after the gallery has changed;
- when liveness is required, and the face no longer counts as alive.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.gallery.match import Candidate
from shared.settings.camera_task import LivenessMode
from workers.recognition.working_point import WorkingPoint, lead

Verdict = Literal["named", "uncertain", "unknown"]
Report = Literal["named", "withdrawn", "unknown"]

_MIN_WINDOW = 12  # how many of the latest crops vote; 4 * `votes`, if that is more
_MIN_SHARE = 0.25  # of the total quality of all crops: the person's crops must have at least this share
_OUTWEIGH = 2.0
_MEAN_SHARE = 0.5  # of the total quality: the crops that are most like the person whom the mean names
# Margins below the threshold. A clear crop that scores less speaks against the person; a person's own crops score so low only
# if they are not clear, with few exceptions.
_FAR_MARGINS = 2.0
_UNKNOWN_AFTER_S = 1.0  # a face that has just come in gets time to turn to the camera


@dataclass(frozen=True)
class Rules(WorkingPoint):
    """A working point, and `votes`: how many crops must agree on a name. `own_from`: where the model's own default threshold lies; a crop
    of the person scores near it or higher, however high the threshold rises with the gallery."""

    votes: int
    own_from: float = 1.0

    @property
    def far_below(self) -> float:
        """A clear crop that scores less speaks against the person."""
        return min(self.threshold, self.own_from) - _FAR_MARGINS * self.margin


class Decision(NamedTuple):
    """A verdict on a track. `score` and `margin` are those of its best crop, or of the crops' mean if `by_mean`: that gave the name. `margin`
    is None if no second person matched.

    `person` and `user_id` are None unless the verdict is *named*. `agreed`: the score that as many crops reach as must agree on a name;
    that is what the decision was made on. With fewer crops it is the lowest of them.
    """

    verdict: Verdict
    person: str | None = None
    user_id: str | None = None
    score: float | None = None
    margin: float | None = None
    agreed: float | None = None
    by_mean: bool = False


@dataclass(frozen=True, eq=False)
class Crop:
    """One embedded crop. `embedding`: (dim,) float32; kept, to be matched again when the gallery changes. `quality`: 0 to 1.
    `candidates`: the best person and the second, from the last match, without those who are known not to be shown
    (`WorkingPoint.standing`). `clear`: good enough to count against a name. `picture`: the face as a JPEG, if pictures are kept."""

    quality: float
    embedding: NDArray[np.float32]
    candidates: Sequence[Candidate] = ()
    clear: bool = True
    picture: bytes | None = field(default=None, repr=False)

    @property
    def score(self) -> float | None:
        return self.candidates[0].score if self.candidates else None

    @property
    def margin(self) -> float | None:
        return lead(self.candidates)

    def names(self, rules: Rules) -> str | None:
        """The person that this crop alone names, or None."""
        return rules.names(self.candidates)

    def is_most_like(self, person: str | None) -> bool:
        """Whether nobody else is more like this crop, however low the score is."""
        return bool(self.candidates) and self.candidates[0].person == person

    def refutes(self, person: str, rules: Rules) -> bool:
        """Whether it is a clear crop of somebody other than `person`: it matches another best, or nobody, or scores far below the
        threshold."""
        if not self.clear:
            return False
        if self.score is None:
            return True
        return self.candidates[0].person != person or self.score < rules.far_below

    def is_near(self, rules: Rules) -> bool:
        """Whether it is near a name, see WorkingPoint.is_near."""
        return rules.is_near(self.candidates)


def decide(crops: Sequence[Crop], rules: Rules, mean: Crop | None = None) -> Decision:
    """The verdict on these crops, however few they are. `mean`: that of the track's crops, if there are enough."""
    if not crops:
        return Decision("uncertain")
    leader = _leader(crops, rules)
    if leader is not None:
        return _named(leader, crops, rules)
    if mean is not None and (leader := _leader_by_mean(crops, mean, rules)) is not None:
        return _named_by_mean(leader, mean)
    best = max(crops, key=_score)
    near = any(crop.is_near(rules) for crop in crops) or (mean is not None and mean.is_near(rules))
    verdict: Verdict = "unknown" if any(crop.clear for crop in crops) and not near else "uncertain"
    return Decision(verdict, None, None, best.score, best.margin, _agreed(crops, rules))


def _score(crop: Crop) -> float:
    return -2.0 if crop.score is None else crop.score


def _agreed(crops: Iterable[Crop], rules: Rules) -> float | None:
    falling = sorted((crop for crop in crops if crop.score is not None), key=_score, reverse=True)
    return falling[: rules.votes][-1].score if falling else None


def _leader(crops: Sequence[Crop], rules: Rules) -> str | None:
    """The person that the crops agree on, or None."""
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
    own = _own(ranked[0], crops, rules)
    if not fair_share or weights[ranked[0]] < _OUTWEIGH * second or _is_refuted(ranked[0], crops, own, rules):
        return None
    return ranked[0]


def _leader_by_mean(crops: Sequence[Crop], mean: Crop, rules: Rules) -> str | None:
    """The person that the crops' mean names and that enough of them are most like, or None."""
    person = mean.names(rules)
    if person is None:
        return None
    own = _own(person, crops, rules, by_mean=True)
    fair_share = sum(crop.quality for crop in own) >= _MEAN_SHARE * sum(crop.quality for crop in crops)
    return person if fair_share and not _is_refuted(person, crops, own, rules) else None


def _own(person: str | None, crops: Iterable[Crop], rules: Rules, *, by_mean: bool = False) -> list[Crop]:
    """The crops that speak for a person: those that name them. If the mean gives the name, those that are most like them and do not speak
    against them."""
    if by_mean:
        return [crop for crop in crops if crop.is_most_like(person) and not crop.refutes(str(person), rules)]
    return [crop for crop in crops if crop.names(rules) == person]


def _is_refuted(person: str, crops: Iterable[Crop], own: Iterable[Crop], rules: Rules) -> bool:
    """Whether the clear crops of somebody else among `crops` outweigh, two to one, those that speak for the person."""
    against = sum(crop.quality for crop in crops if crop.refutes(person, rules))
    support = sum(crop.quality for crop in own)
    return against >= _OUTWEIGH * support - 1e-9  # sums of equal weights differ in the last bit


def _named(person: str, crops: Iterable[Crop], rules: Rules) -> Decision:
    naming = [crop for crop in crops if crop.names(rules) == person]
    best = max(naming, key=_score)
    return Decision("named", person, best.candidates[0].user_id, best.score, best.margin, _agreed(naming, rules))


def _named_by_mean(person: str, mean: Crop) -> Decision:
    return Decision("named", person, mean.candidates[0].user_id, mean.score, mean.margin, mean.score, by_mean=True)


class News(NamedTuple):
    """Something to report about a track. For `withdrawn`, `decision` holds the person reported before and the verdict now."""

    report: Report
    decision: Decision


@dataclass(eq=False)
class Ballot:
    """The votes on who one track is, and what was reported about it. Times are seconds on the track's clock."""

    rules: Rules
    started_s: float
    total: int = 0  # how many good crops were counted so far
    # The name; stands until crops show somebody else, or the gallery no longer supports it.
    named: Decision | None = None
    told: Decision | None = None  # the last report that still stands: a name, or unknown
    evidence: list[Crop] = field(default_factory=list)  # the crops that gave the name
    recent: deque[Crop] = field(default_factory=deque)  # the latest crops
    mean: Crop | None = None  # of all crops, as it was last matched
    _sum: NDArray[np.float32] | None = None  # of the embeddings, each times its quality
    _summed: int = 0

    def __post_init__(self) -> None:
        self.recent = deque(maxlen=max(_MIN_WINDOW, 4 * self.rules.votes))

    def add(self, crop: Crop) -> None:
        """Count a good crop that was already matched."""
        self.recent.append(crop)
        self.total += 1
        weighted = np.float32(crop.quality) * crop.embedding
        self._sum = weighted if self._sum is None else self._sum + weighted
        self._summed += 1
        self._conclude()

    def mean_probe(self) -> NDArray[np.float32] | None:
        """The mean of the crops' embeddings, (dim,) float32 of unit L2 norm, if it can bring a name; `take_mean` takes what it matches."""
        if self.named is not None or self._sum is None or self._summed < max(2, self.rules.votes):
            return None
        norm = np.linalg.norm(self._sum)
        return (self._sum / norm).astype(np.float32) if norm > 0 else None

    def take_mean(self, embedding: NDArray[np.float32], candidates: Sequence[Candidate]) -> None:
        """Count the mean of the crops, with what it matches now."""
        self.mean = Crop(1.0, embedding, candidates)
        self._conclude()

    def crops(self) -> list[Crop]:
        """Every crop that is kept."""
        kept = {id(crop): crop for crop in (*self.evidence, *self.recent)}
        return list(kept.values())

    def matched(self) -> list[Crop]:
        """All that was matched and has to be again when the gallery changes: the kept crops, then the mean if there is one."""
        return self.crops() if self.mean is None else [*self.crops(), self.mean]

    def rematch(self, answers: Sequence[Sequence[Candidate]], rules: Rules) -> None:
        """Vote anew after the gallery has changed. `answers`: what each of `matched()` matches in it, in that order. `rules`: those that
        follow from the changed gallery, with as many votes as before."""
        self.rules = rules
        renewed = {
            id(crop): replace(crop, candidates=answer) for crop, answer in zip(self.matched(), answers, strict=True)
        }
        self.evidence = [renewed[id(crop)] for crop in self.evidence]
        self.recent = deque((renewed[id(crop)] for crop in self.recent), self.recent.maxlen)
        self.mean = None if self.mean is None else renewed[id(self.mean)]
        if self.named is not None:
            person = str(self.named.person)
            still = _own(person, self.crops(), rules)
            if len(still) >= rules.votes:
                self.named = _named(person, still, rules)
            else:
                self.recent = deque(self.crops(), self.recent.maxlen)
                self.named, self.evidence = None, []
        self._conclude()

    @property
    def votes(self) -> int:
        """How many of the kept crops name the same person: the one that most of them name."""
        names = [name for crop in self.crops() if (name := crop.names(self.rules)) is not None]
        return max(Counter(names).values(), default=0)

    @property
    def disputed(self) -> bool:
        """Whether the latest crop shows somebody other than the track's person."""
        if self.named is None or self.named.person is None or not self.recent:
            return False
        latest = self.recent[-1].names(self.rules)
        return latest not in (None, self.named.person) or self.recent[-1].refutes(self.named.person, self.rules)

    def deciding_crop(self, decision: Decision) -> Crop | None:
        """The crop that decided: of a name the one that names the person best, of a near miss the one that came nearest. If the crops' mean
        gave the name, it has the mean's embedding. None if there is none, as for *unknown*."""
        if decision.verdict == "named":
            decided = _own(decision.person, self.crops(), self.rules, by_mean=decision.by_mean)
        else:
            decided = [crop for crop in self.crops() if decision.verdict == "uncertain" and crop.is_near(self.rules)]
        best = max(decided, key=lambda crop: crop.score or 0.0, default=None)
        if best is None or not decision.by_mean or self.mean is None:
            return best
        return replace(best, embedding=self.mean.embedding, candidates=self.mean.candidates)

    def decision(self, *, withheld: bool = False) -> Decision:
        """The verdict now; once the track has ended, it is final. `withheld`: a name must not be given (yet)."""
        decision = self.named or decide(list(self.recent), self.rules, self.mean)
        if withheld and decision.verdict == "named":
            return Decision("uncertain", None, None, decision.score, decision.margin, decision.agreed)
        return decision

    def news(self, time_s: float, *, withheld: bool = False) -> list[News]:
        """What to report now, in order: a name, another name, a name that is withdrawn, or, after enough crops and time,
        unknown. Each is returned once."""
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
        decision = decide(list(self.recent), self.rules, self.mean)
        if decision.verdict != "named":
            self._withdraw_if_refuted()
            return
        # One crop that names the person better says more about the name than the crops' mean; the mean says nothing new about it.
        is_better = self.named is not None and not decision.by_mean and (decision.score or 0) > (self.named.score or 0)
        if self.named is None or decision.person != self.named.person or is_better:
            self.named = decision
            own = _own(decision.person, self.crops(), self.rules, by_mean=decision.by_mean)
            own.sort(key=lambda crop: -(crop.score or 0.0))
            self.evidence = own[: self.rules.votes]

    def _withdraw_if_refuted(self) -> None:
        """Take the name away if clear crops show somebody else. The mean begins anew, since its crops are of two people then."""
        if self.named is None or self.named.person is None:
            return
        own = _own(self.named.person, self.crops(), self.rules, by_mean=self.named.by_mean)
        if _is_refuted(self.named.person, self.recent, own, self.rules):
            self.named, self.evidence = None, []
            self.mean, self._sum, self._summed = None, None, 0


LiveVerdict = Literal["live", "spoof", "unsure"]


_LIVE_FROM = 0.8  # the addon's default threshold
_SPOOF_BELOW = 0.5  # below, the face is more likely a picture than alive
_MIN_SCORES = 3
_LATEST_SCORES = 9


class LiveVote:
    """The vote on whether one track's face is alive.

    The mean of the latest nine scores decides: *live* from .8 up, which is the addon's own threshold; *spoof* below .5;
    *unsure* between them, and while there are fewer than three scores.
    """

    def __init__(self) -> None:
        self._scores: deque[float] = deque(maxlen=_LATEST_SCORES)

    def add(self, score: float | None) -> None:
        """Count a good crop's score, 0 to 1. None (the model could not judge it) is not counted."""
        if score is not None:
            self._scores.append(score)

    @property
    def score(self) -> float | None:
        """The mean, 0 to 1; None before the first score."""
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
        """Whether this track must not get a name: in mode `require` it gets none before the verdict is *live*."""
        return mode == "require" and self.verdict != "live"

    @staticmethod
    def is_worthless(mode: LivenessMode, score: float | None) -> bool:
        """Whether a crop must not vote on the name: in mode `require`, a crop votes only if its own score is .5 or more."""
        return mode == "require" and (score is None or score < _SPOOF_BELOW)

    def to_json(self) -> dict[str, str | float | None]:
        """The form in which a sighting carries it."""
        score = self.score
        return {"verdict": self.verdict, "score": None if score is None else round(score, 4)}
