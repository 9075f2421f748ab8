"""What is worth a look in the gallery, for the page People. The command `worklist` finds it, in a process of its own; here it is kept, as ids and
scores, until the gallery changes, and joined with who these are now.

So whoever is forgotten is in no answer from that moment on, and two that were merged or marked as different are no pair any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from shared.errors import RollcallError
from shared.ipc.requests.references import ReferencesFound
from shared.records import Person, Side
from shared.settings.schema import Settings
from workers.dashboard.commands import answer_of

_log = logging.getLogger("web")
_WAIT_S = 900.0
# After a search comes a rest: at least so long, and so many times as long as the search took. So a gallery that changes all the time costs at
# most a fifth of the time.
_LEAST_REST_S = 2.0
_RESTS = 4.0


class AlikePair(BaseModel):
    """Two people who look like one. `people`, `references`: in the same order; the references are the most similar ones, with the cosine
    `score`."""

    people: tuple[Person, Person]
    references: tuple[int, int]
    score: float


class OddReference(BaseModel):
    """A reference that disagrees with its person. `nearest`: the most similar other one of that person, with the cosine `score`. `other`: who
    resembles it most among all others, by which reference, and the cosine; null: there is nobody else."""

    person: Person
    reference: int
    nearest: int
    score: float
    other: Person | None
    other_reference: int | None
    other_score: float | None


class OneSidedPerson(BaseModel):
    """Somebody whose photos all show the same `side`. `missing`: the sides of which a photo would help."""

    person: Person
    side: Side
    missing: list[Side]


class WorklistPage(BaseModel):
    """`pairs`: people who look like one under two names, the closest first. `odd`: references that disagree with their person, the worst first.
    `single`: people with one picture only, or copies of one, the newest first; `single_found`: how many there are. `one_sided`: people who are
    turned to one side in all photos, the newest first, with `one_sided_found`. `compared`: how many of
    the `references` were searched: in a very large gallery a sample. `looking`: the people have changed since, ask again in a few seconds.
    `fault`: why nothing can be found."""

    pairs: list[AlikePair]
    odd: list[OddReference]
    single: list[Person]
    single_found: int
    one_sided: list[OneSidedPerson]
    one_sided_found: int
    references: int
    compared: int
    looking: bool
    fault: str | None


@dataclass(frozen=True)
class Findings:
    """What the command found, without names. `change_number`: up to where the gallery had changed."""

    change_number: int
    document: dict[str, Any]

    @property
    def ids(self) -> list[int]:
        """Every reference that is named."""
        found = self.document
        pairs = [one for pair in found["pairs"] for one in pair["references"]]
        odd = [one[name] for one in found["odd"] for name in ("reference", "nearest", "other")]
        return sorted(
            {
                one
                for one in (
                    *pairs,
                    *odd,
                    *self.document["right"],
                    *(one["reference"] for kind in ("single", "one_sided") for one in found[kind]),
                )
                if one is not None
            }
        )

    def is_used_up(self, page: WorklistPage, known: ReferencesFound) -> bool:
        """Whether a search would find more, although the gallery is the same: all pairs are answered, and there can be others; or a reference
        is no longer said to be right."""
        taken_back = {one.id for one in known.references if one.right_since is None}
        return bool(self.document["more_pairs"] and not page.pairs) or not taken_back.isdisjoint(self.document["right"])


def page_of(
    found: Findings | None, known: ReferencesFound, *, limit: int, looking: bool, fault: str | None
) -> WorklistPage:
    """What was found, as far as it still stands, with who these are now. `limit`: at most so many of each kind."""
    if found is None:
        return WorklistPage(
            pairs=[],
            odd=[],
            single=[],
            single_found=0,
            one_sided=[],
            one_sided_found=0,
            references=0,
            compared=0,
            looking=looking,
            fault=fault,
        )
    document, people = found.document, {one.person: one for one in known.people}
    in_use = {one.id: people[one.person] for one in known.references if one.set_aside_since is None}
    right = {one.id for one in known.references if one.right_since is not None}
    single, one_sided = _single(document["single"], in_use), _one_sided(document["one_sided"], in_use)
    return WorklistPage(
        pairs=_pairs(document["pairs"], in_use, {frozenset(one) for one in known.different})[:limit],
        odd=_odd([one for one in document["odd"] if one["reference"] not in right], in_use)[:limit],
        single=single[:limit],
        single_found=document["single_found"] - (len(document["single"]) - len(single)),
        one_sided=one_sided[:limit],
        one_sided_found=document["one_sided_found"] - (len(document["one_sided"]) - len(one_sided)),
        references=document["references"],
        compared=document["compared"],
        looking=looking,
        fault=fault,
    )


def _single(found: list[Any], in_use: dict[int, Person]) -> list[Person]:
    known = ((in_use.get(one["reference"]), one["copies"]) for one in found)
    single = [one for one, copies in known if one is not None and one.references - one.set_aside <= copies]
    return list({one.person: one for one in single}.values())


def _one_sided(found: list[Any], in_use: dict[int, Person]) -> list[OneSidedPerson]:
    """Whoever has more or fewer references in use than when they were looked at may have other sides by now."""
    known = ((in_use.get(one["reference"]), Side(one["side"]), one["references"]) for one in found)
    return [
        OneSidedPerson(person=person, side=side, missing=[one for one in Side if one is not side])
        for person, side, count in known
        if person is not None and person.references - person.set_aside == count
    ]


def _pairs(found: list[Any], in_use: dict[int, Person], different: set[frozenset[str]]) -> list[AlikePair]:
    pairs, seen = [], set(different)
    for one in found:
        first, second = (in_use.get(reference) for reference in one["references"])
        if first is None or second is None or first.id is None or second.id is None:
            continue
        both = frozenset((first.id, second.id))
        if len(both) == 2 and both not in seen:
            seen.add(both)
            pairs.append(AlikePair(people=(first, second), references=tuple(one["references"]), score=one["score"]))
    return pairs


def _odd(found: list[Any], in_use: dict[int, Person]) -> list[OddReference]:
    odd = []
    for one in found:
        person, nearest = in_use.get(one["reference"]), in_use.get(one["nearest"])
        if person is None or nearest is not person:
            continue
        other = None if one["other"] is None else in_use.get(one["other"])
        if other is person:  # merged meanwhile: what it resembled is its person's now
            continue
        odd.append(
            OddReference(
                person=person,
                reference=one["reference"],
                nearest=one["nearest"],
                score=one["score"],
                other=other,
                other_reference=None if other is None else one["other"],
                other_score=None if other is None else one["other_score"],
            )
        )
    return odd


class WorklistKeeper:
    """Keeps what was found, and has it found anew. Use it from one event loop."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self.found: Findings | None = None
        self.fault: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._not_before = 0.0

    def refresh(self, change_number: int, *, used_up: bool) -> bool:
        """Start a search if what was found is of another state of the gallery, or is used up, and none runs. Returns whether something newer
        is to come."""
        if self._task is not None:
            return True
        is_new = self.found is not None and self.found.change_number == change_number and not used_up
        if is_new:
            return False
        if self._clock() >= self._not_before:
            self._task = asyncio.create_task(self._search())
            self._task.add_done_callback(self._end)
        return True

    async def _search(self) -> None:
        begun = self._clock()
        try:
            document = await answer_of(self._settings, "worklist", timeout_s=_WAIT_S)
            self.found, self.fault = Findings(int(document.pop("change_number") or 0), document), None
        except RollcallError as error:
            self.fault = error.line()
            _log.warning("worklist: %s", self.fault)
        now = self._clock()
        self._not_before = now + max(_LEAST_REST_S, _RESTS * (now - begun))

    def _end(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is not None:  # a bug
            _log.error("the search for the worklist failed", exc_info=task.exception())

    async def close(self) -> None:
        """End the search, if one runs."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
