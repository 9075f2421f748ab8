"""Requests of the review: what is left to decide, beside whom it resembles; and the decisions that are no corrections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from shared.errors import RefusedError
from shared.events import stranger_number
from shared.ipc.requests.review import (
    Decided,
    DifferentPage,
    DifferentPeople,
    HeedStranger,
    IgnoreStranger,
    MarkDifferent,
    PairOfPeople,
    Review,
    ReviewItem,
    ReviewPage,
    UndoDifferent,
)
from shared.process.work_progress import beat
from shared.records import Person
from shared.service.changes import Changes
from shared.service.strangers import no_such_stranger
from shared.store import review
from shared.store.references import list_people, nearest_photo
from shared.store.resemblance import Search
from shared.store.review import Pair
from shared.store.sighting_crops import with_crops
from shared.store.sighting_probes import alike_of, probe_of
from shared.store.store import Store
from shared.strangers.strangers import Strangers

_MAX_STRANGERS = 100  # those seen last; each is searched for in the gallery, which takes milliseconds in a large one
_MAX_SIGHTINGS = 100
_LOOKED_THROUGH = 2000  # newest kept faces
_MAX_PAGE = 100
_MAX_DIFFERENT_PAGE = 5000
_TRACES = 2  # of a stranger, the best ones, are searched for


class ReviewRequests:
    """The requests on one store. Call those that change rows inside its transaction."""

    def __init__(self, store: Store, strangers: Strangers, search: Callable[[], Search | None]) -> None:
        """`search()`: the search in the published gallery, or None."""
        self._store, self._strangers, self._search = store, strangers, search

    def listed(self, request: Review) -> ReviewPage:
        """What is left to decide, those first whose score is nearest to that which names somebody: they teach most."""
        people = _Known(self._store)
        items = [*self._strangers_left(request, people), *self._sightings_left(request, people)]
        alike = alike_of(self._store) or 1.0
        items.sort(key=lambda one: 2.0 if one.score is None else abs(one.score - alike))
        listed = items[: max(0, min(request.limit, _MAX_PAGE))]
        return ReviewPage(items=[replace(one, reference=self._beside(one)) for one in listed])

    def _beside(self, item: ReviewItem) -> int | None:
        """The photo of its person that an item is shown beside: the one that resembles its face most."""
        if item.person is None:
            return None
        if item.stranger is not None:
            vectors = list(self._strangers.vectors_of(stranger_number(item.stranger.id))[:_TRACES])
        else:
            probe = probe_of(self._store, int(item.event["id"])) if item.event else None
            vectors = [] if probe is None else [probe.vector]
        return nearest_photo(self._store, item.person.person, np.stack(vectors)) if vectors else None

    def _strangers_left(self, request: Review, people: _Known) -> list[ReviewItem]:
        search, items = self._search(), []
        for number in review.newest_heeded(self._store, _MAX_STRANGERS):
            beat()
            (stranger,) = self._strangers.listed(number - 1, 1)
            if request.cameras is not None and not set(stranger.cameras) & set(request.cameras):
                continue
            person, score = self._nearest(number, search)
            items.append(ReviewItem(stranger=stranger, person=people.of(person), score=score))
        return items

    def _nearest(self, number: int, search: Search | None) -> tuple[str | None, float | None]:
        """The person whom a stranger resembles most, without those whom the stranger is known not to be."""
        if search is None:
            return None, None
        without = review.not_the_strangers(self._store, number)
        best: tuple[float, str] | None = None
        for vector in self._strangers.vectors_of(number)[:_TRACES]:
            found = search(np.ascontiguousarray(vector, np.float32), 1 + len(without))
            near = next(((score, name) for name, score in found if name not in without), None)
            best = max(filter(None, (best, near)), default=None)
        return (None, None) if best is None else (best[1], round(best[0], 4))

    def _sightings_left(self, request: Review, people: _Known) -> list[ReviewItem]:
        items = []
        found = review.newest_doubtful(self._store, _LOOKED_THROUGH, _MAX_SIGHTINGS)
        pictured = with_crops(self._store, [sighting for sighting, _ in found])
        for sighting, person in found:
            event = self._store.sightings.find(sighting)
            known = people.of(person)
            if event is None or known is None or (request.cameras is not None and event.camera not in request.cameras):
                continue
            shown = replace(event, crop=True if sighting in pictured else None)
            items.append(ReviewItem(event=shown.to_json(), person=known, score=event.score))
        return items

    # --- decisions ---------------------------------------------------------------------------------------------

    def mark_different(self, request: MarkDifferent, _: Changes) -> Decided:
        """Remember that two are not one person. Raises RefusedError if one of them is not there."""
        return Decided(already=not review.note_different(self._store, self._pair(request)))

    def different(self, request: DifferentPeople) -> DifferentPage:
        """One page of the pairs of people who are remembered as different."""
        found = review.different_people(self._store, request.after, max(0, min(request.limit, _MAX_DIFFERENT_PAGE)))
        return DifferentPage(pairs=[PairOfPeople(*one) for one in found])

    def undo_different(self, request: UndoDifferent, _: Changes) -> Decided:
        return Decided(already=not review.drop_different(self._store, self._pair(request)))

    def ignore(self, request: IgnoreStranger, _: Changes) -> Decided:
        """Let a stranger not come up any more. Raises RefusedError for an id that is not kept."""
        return Decided(already=not review.ignore(self._store, self._kept(request.id)))

    def heed(self, request: HeedStranger, _: Changes) -> Decided:
        return Decided(already=not review.heed(self._store, self._kept(request.id)))

    def _pair(self, request: MarkDifferent | UndoDifferent) -> Pair:
        if (request.stranger is None) == (request.other is None) or request.person == request.other:
            raise RefusedError("not two people", expected="a person, and a stranger or another person")
        for person_id in filter(None, (request.person, request.other)):
            if not list_people(self._store, person_id=person_id, limit=1):
                raise RefusedError("nobody of that id", where=person_id)
        stranger = None if request.stranger is None else self._kept(request.stranger)
        return Pair(request.person, stranger, request.other)

    def _kept(self, stranger: str) -> int:
        number = stranger_number(stranger)
        if not self._strangers.is_kept(number):
            raise no_such_stranger(number)
        return number


class _Known:
    """People by name, each read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[str, Person | None] = {}

    def of(self, name: str | None) -> Person | None:
        if name is None:
            return None
        if name not in self._found:
            self._found[name] = next(iter(list_people(self._store, person=name, limit=1)), None)
        return self._found[name]
