"""What came of a composed scene, beside its truth: who was named for how long, who was called by another name, who was missed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.support.scenes import FRAMES_PER_S, Actor, Scene, Where

# A face counts in the truth while at least half of it can be seen.
_VISIBLE = 0.5


@dataclass
class Tally:
    """What came of a scene, or of several: seconds of people who are enrolled, and how many of them were named."""

    seconds: float = 0.0
    named_s: float = 0.0
    wrong: list[str] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)  # sightings where nobody is
    sightings: list[int] = field(default_factory=list)  # of each visit
    strangers: Counter[str] = field(default_factory=Counter)  # verdicts on strangers' sightings
    across_cuts: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.seconds += other.seconds
        self.named_s += other.named_s
        self.wrong += other.wrong
        self.ghosts += other.ghosts
        self.sightings += other.sightings
        self.strangers += other.strangers
        self.across_cuts += other.across_cuts

    def line(self) -> str:
        share = self.named_s / self.seconds if self.seconds else 1.0
        parts = f"{self.named_s:6.1f} of {self.seconds:6.1f} s named ({share:6.1%})  sightings {self.sightings}"
        return f"{parts}  strangers {dict(self.strangers)}  wrong {self.wrong}  ghosts {self.ghosts}"


def judge(scene: Scene, events: list[dict[str, Any]]) -> Tally:
    """Events against the truth. A person-second counts as named when a track that ended with that name covers it."""
    tally = Tally()
    left = [event for event in events if event["event"] == "left"]
    visits: Counter[Actor] = Counter()
    for event in events:
        actor = whose(scene, event)
        told = f"{scene.name} {event['media_time_s']} s: {event['event']} {event['person']}"
        if event["person"] is not None and (actor is None or actor.person != event["person"]):
            tally.wrong.append(f"{told}, is {actor and actor.photos[0].name}")
        if event["event"] != "left":
            continue
        if actor is None:
            tally.ghosts.append(told)
            continue
        visits[actor] += 1
        if actor.person is None:
            tally.strangers[event["verdict"]] += 1
    tally.sightings = [visits[actor] for actor in scene.actors]
    for cut_s in scene.cuts_s:
        over = [event for event in left if _began_s(event) < cut_s - 0.01 and event["media_time_s"] > cut_s + 0.01]
        tally.across_cuts += [f"{scene.name}: track {event['track']} over the cut at {cut_s} s" for event in over]
    _count_seconds(scene, left, tally)
    return tally


def _count_seconds(scene: Scene, left: list[dict[str, Any]], tally: Tally) -> None:
    named = [(event["person"], _began_s(event), event["media_time_s"]) for event in left if event["verdict"] == "named"]
    for number in range(scene.frames):
        time_s = number / FRAMES_PER_S
        for where in scene.truth(time_s):
            person = where.actor.person
            if person is None or where.visible < _VISIBLE:
                continue
            tally.seconds += 1 / FRAMES_PER_S
            if any(name == person and began - 0.01 <= time_s <= ended + 0.01 for name, began, ended in named):
                tally.named_s += 1 / FRAMES_PER_S


def _began_s(event: dict[str, Any]) -> float:
    return float(event["media_time_s"]) - float(event["duration_s"])


def whose(scene: Scene, event: dict[str, Any]) -> Actor | None:
    """The actor whose face the event's box is on; None where there is none."""
    x1, y1, x2, y2 = map(float, event["box"])
    x, y = (x1 + x2) / 2, (y1 + y2) / 2

    def off(where: Where) -> float:
        left, top, right, bottom = where.box
        return max(abs(x - (left + right) / 2) / (right - left), abs(y - (top + bottom) / 2) / (bottom - top))

    near = [where for where in scene.truth(event["media_time_s"]) if off(where) < 0.75]
    return min(near, key=off).actor if near else None
