"""Keeps the people who are here as all sites know them: `people` and the names of references follow what is known (sync/people_registers.py)."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable

from shared.service.changes import Changes
from shared.service.people import PeopleRequests
from shared.store import people, synced
from shared.store.people import Moved
from shared.store.store import Store
from shared.store.synced import Around
from shared.sync.people_registers import Shown, root_of

_TEMPORARY_BYTES = 6
_NAME_ROOM = 100  # characters of a name that stay in a temporary one

_Wanted = dict[str, dict[Shown, list[int]]]  # by the name here: whom each reference (row id) belongs to


class SharedPeople:
    """The people of one store. Call everything inside the store's transaction."""

    def __init__(self, store: Store, requests_of_people: PeopleRequests) -> None:
        self._store, self._people = store, requests_of_people

    def follow(self, found: Around, changes: Changes) -> dict[str, Shown]:
        """Give the references of these people to whom they belong, and the people their names, UUIDs and user ids. Returns these people."""
        shown = found.shown()
        wanted: _Wanted = defaultdict(dict)
        for row in found.rows:
            wanted[row.name].setdefault(shown[row.person], []).append(row.id)
        moving = {name: targets for name, targets in wanted.items() if any(one.name != name for one in targets)}
        if moving:
            self._move(moving, changes)
        self._settle({one for targets in wanted.values() for one in targets}, changes)
        return shown

    def blank_empty(self, persons: Collection[str]) -> None:
        """Delete the names in the registers of those of these people who have no reference any more, at any site that is known of."""
        if not persons:
            return
        found = synced.around(self._store, persons)
        alive = {root_of(found.registers, one.person) for one in found.told}
        empty = {root_of(found.registers, uuid) for uuid in persons} - alive
        gone = {uuid for uuid in found.registers if root_of(found.registers, uuid) in empty}
        synced.blank(self._store, gone - people.uuids_among(self._store, gone))

    # --- names -------------------------------------------------------------------------------------------------

    def _move(self, moving: _Wanted, changes: Changes) -> None:
        was_called = {name: name for name in moving}
        to_come = {shown.name for targets in moving.values() for shown in targets}
        for name in list(moving):
            if name in to_come and all(shown.name != name for shown in moving[name]):
                # Somebody else is to get this name. This person has another one for a moment.
                aside = f"{name[:_NAME_ROOM]} {secrets.token_hex(_TEMPORARY_BYTES)}"
                self._give_all(name, aside, None, changes)
                moving[aside], was_called[aside] = moving.pop(name), name
        for name, targets in moving.items():
            stays = self._who_stays(name, targets)
            for shown, row_ids in targets.items():
                if shown != stays:
                    self._give_rows(name, row_ids, shown.name, changes)
            if stays.name != name:
                self._give_all(name, stays.name, was_called[name], changes)

    def _who_stays(self, name: str, targets: Iterable[Shown]) -> Shown:
        """Of several people whom the references of one belong to, the one who keeps the sightings."""
        uuid = people.person_row(self._store, name).uuid
        return min(targets, key=lambda shown: (shown.name != name, shown.uuid != uuid, shown.uuid))

    def _give_rows(self, name: str, row_ids: list[int], other: str, changes: Changes) -> None:
        untouched = synced.as_synced(self._store, row_ids)
        people.drop_undo(self._store, [name, other])
        moved = people.give_rows(self._store, name, row_ids, other)
        self._people.follow(moved, changes)
        places = dict(moved.files)
        changes.backup.append(lambda backup: people.give_rows(backup, name, row_ids, other, places))
        synced.still_synced(self._store, untouched)

    def _give_all(self, name: str, other: str, former: str | None, changes: Changes) -> None:
        row_ids = people.row_ids(self._store, name)
        untouched = synced.as_synced(self._store, row_ids)
        moved = people.give_all(self._store, name, other, former)
        self._people.follow(moved, changes)
        places = dict(moved.files)
        changes.backup.append(lambda backup: _give_all_in_backup(backup, moved, former, places))
        synced.still_synced(self._store, untouched)

    # --- UUIDs and user ids ------------------------------------------------------------------------------------

    def _settle(self, shown: Collection[Shown], changes: Changes) -> None:
        store = self._store
        rows = people.person_rows(store, [one.name for one in shown])
        others = [one for one in shown if rows[one.name].uuid != one.uuid]
        for one in others:  # two may have each other's
            people.set_uuid(store, one.name, secrets.token_hex(_TEMPORARY_BYTES))
        for one in others:
            people.set_uuid(store, one.name, one.uuid)
        user_ids = {one.name: one.user_id for one in shown if rows[one.name].user_id != one.user_id}
        if user_ids:
            people.give_user_ids(store.connection, user_ids)
            people.settle_user_ids(store.connection, user_ids)
            changes.people |= user_ids.keys()


def _give_all_in_backup(backup: Store, moved: Moved, former: str | None, places: dict[str, str]) -> None:
    if people.has_person(backup, moved.person):
        people.give_all(backup, moved.person, moved.other, former, places)
