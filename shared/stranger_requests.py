"""What can be asked of the strangers: who they are, forget one, one is somebody."""

from __future__ import annotations

from typing import Any

from shared.errors import RefusedError
from shared.store import Store
from shared.store_erasing import forget_stranger_in_backup, name_in_backup, other_copies
from shared.store_opening import Say, backup_path
from shared.store_strangers import Strangers
from shared.stranger_ids import stranger_id, stranger_number

_AT_ONCE = 1000


class StrangerRequests:
    """The operations on one store's strangers; those that change rows are called inside its transaction."""

    def __init__(self, strangers: Strangers, store: Store, say: Say) -> None:
        self._strangers, self._store, self._say = strangers, store, say

    def listed(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Strangers in the order of their ids, at most `limit` behind `after`; or the one whose `id` is given."""
        if arguments.get("id") is not None:
            return {"strangers": self._strangers.listed(self._known(arguments["id"]) - 1, 1)}
        after = 0 if arguments.get("after") is None else stranger_number(arguments["after"])
        return {"strangers": self._strangers.listed(after, min(int(arguments.get("limit", _AT_ONCE)), _AT_ONCE))}

    def forget(self, text: str) -> dict[str, Any]:
        """Remove a stranger and every sighting of them, also in the site's own backup. Raises RefusedError."""
        number = stranger_number(text)
        known = self._strangers.is_kept(number)
        photos, sightings = self._strangers.forget(number), self._store.sightings.forget_stranger(number)
        if not known and not sightings:
            raise _nobody(number)
        forget_stranger_in_backup(backup_path(self._store.path), number, self._say)
        return {
            "unknown": stranger_id(number),
            "photos": photos,
            "sightings": sightings,
            "other_copies": other_copies(self._store.path),
        }

    def name(self, text: str, person: str) -> dict[str, Any]:
        """A stranger was enrolled as `person`: the sightings are theirs, and the stranger is no more. Raises RefusedError."""
        number = stranger_number(text)  # gone by now, perhaps: a camera that saw the person named has said so already
        if not self._store.references(person, limit=1):
            raise RefusedError("nobody of that name", where=person, remedy="see: supervisor.py people")
        sightings = self._store.sightings.give_to(number, person)
        self._strangers.remove(number)
        name_in_backup(backup_path(self._store.path), number, person, self._say)
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
