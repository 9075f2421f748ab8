"""Requests on strangers: list them, and name one. Forgetting a stranger is in forgetting.py."""

from __future__ import annotations

from shared.errors import RefusedError
from shared.events import stranger_id, stranger_number
from shared.ipc.requests import strangers as stranger_requests
from shared.ipc.requests.strangers import NameStranger, StrangerNamed, StrangersPage
from shared.person_names import new_name_of
from shared.service.changes import Changes
from shared.store.erasure import knows_strangers
from shared.store.references import list_references
from shared.store.store import Store
from shared.strangers.strangers import Strangers

_MAX_PAGE = 1000


class StrangerRequests:
    """The requests on one store's strangers. Call those that change rows inside its transaction."""

    def __init__(self, strangers: Strangers, store: Store) -> None:
        self._strangers, self._store = strangers, store

    def listed(self, request: stranger_requests.Strangers) -> StrangersPage:
        """One stranger, or one page of them by id. Raises RefusedError for an id that is not kept."""
        if request.id is not None:
            number = stranger_number(request.id)
            if not self._strangers.is_kept(number):
                raise no_such_stranger(number)
            return StrangersPage(strangers=self._strangers.listed(number - 1, 1))
        after = 0 if request.after is None else stranger_number(request.after)
        limit = _MAX_PAGE if request.limit is None else min(request.limit, _MAX_PAGE)
        return StrangersPage(strangers=self._strangers.listed(after, limit))

    def name(self, request: NameStranger, changes: Changes) -> StrangerNamed:
        """Give a stranger's sightings to an enrolled person. Raises RefusedError if nobody of that name is enrolled."""
        person = new_name_of(request.person)
        # The stranger may be gone already: a camera that recognised the newly enrolled person has reported that they are the same.
        number = stranger_number(request.id)
        if not list_references(self._store, person, limit=1):
            raise RefusedError("nobody of that name", where=person, remedy="see: supervisor.py people")
        sightings = self._store.sightings.give_to(number, person)
        self._strangers.remove(number)
        # In the backup, too: `person` may be forgotten after the backup was restored, and these sightings with them.
        changes.backup.append(lambda backup: knows_strangers(backup) and backup.sightings.give_to(number, person))
        return StrangerNamed(unknown=stranger_id(number), person=person, sightings=sightings)


def no_such_stranger(number: int) -> RefusedError:
    """The refusal of an id that no kept stranger has."""
    return RefusedError(
        "no stranger of that id", where=stranger_id(number), remedy="see: supervisor.py people --unknown"
    )
