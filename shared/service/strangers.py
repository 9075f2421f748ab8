"""What can be asked of the strangers: who they are, forget one, one is somebody."""

from __future__ import annotations

from typing import Any

from shared.errors import RefusedError
from shared.events import stranger_id, stranger_number
from shared.service.publication import Changes
from shared.store.erasure import Kept, knows_strangers
from shared.store.store import Store
from shared.strangers.strangers import Strangers

_AT_ONCE = 1000


class StrangerRequests:
    """The operations on one store's strangers; those that change rows are called inside its transaction."""

    def __init__(self, strangers: Strangers, store: Store) -> None:
        self._strangers, self._store = strangers, store

    def listed(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Strangers in the order of their ids, at most `limit` behind `after`; or the one whose `id` is given."""
        if arguments.get("id") is not None:
            return {"strangers": self._strangers.listed(self._known(arguments["id"]) - 1, 1)}
        after = 0 if arguments.get("after") is None else stranger_number(arguments["after"])
        return {"strangers": self._strangers.listed(after, min(int(arguments.get("limit", _AT_ONCE)), _AT_ONCE))}

    def forget(self, text: str, changes: Changes) -> tuple[dict[str, Any], Kept]:
        """Remove a stranger and every sighting of them, also from the site's own backup; the answer, and the pictures that are to go.

        Whoever was met once and is no more is forgotten. Raises RefusedError for an id that was never given.
        """
        number = stranger_number(text)
        kept = Kept(self._strangers.pictures.of(number))
        known = self._strangers.is_kept(number)
        self._strangers.forget(number)
        sightings = self._store.sightings.forget_stranger(number)
        if not (known or sightings or self._strangers.was_met(number)):
            raise _nobody(number)
        changes.doomed.append(kept)
        changes.backup.append(lambda backup: knows_strangers(backup) and backup.sightings.forget_stranger(number))
        already = not (known or sightings or kept)
        answer = {
            "unknown": stranger_id(number),
            "photos": len(kept.photos),
            "sightings": sightings,
            "already": already,
        }
        return answer, kept

    def name(self, text: str, person: str, changes: Changes) -> dict[str, Any]:
        """A stranger was enrolled as `person`: the sightings are theirs, and the stranger is no more. Raises RefusedError."""
        number = stranger_number(text)  # gone by now, perhaps: a camera that saw the person named has said so already
        if not self._store.references(person, limit=1):
            raise RefusedError("nobody of that name", where=person, remedy="see: supervisor.py people")
        sightings = self._store.sightings.give_to(number, person)
        self._strangers.remove(number)
        # `person` may be forgotten later, when the backup has come back
        changes.backup.append(lambda backup: knows_strangers(backup) and backup.sightings.give_to(number, person))
        return {"unknown": stranger_id(number), "person": person, "sightings": sightings}

    def _known(self, text: str) -> int:
        number = stranger_number(text)
        if not self._strangers.is_kept(number):
            raise _nobody(number)
        return number


def _nobody(number: int) -> RefusedError:
    return RefusedError(
        "no stranger of that id", where=stranger_id(number), remedy="see: supervisor.py people --unknown"
    )
