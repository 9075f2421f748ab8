"""Requests on people: rename one, merge two into one, undo the last of these."""

from __future__ import annotations

from shared.errors import RefusedError
from shared.ipc.requests.people import Merge, Rename, Renamed, UndoPeople
from shared.person_names import name_of, new_name_of
from shared.service.changes import Changes
from shared.service.negatives import negative_step
from shared.service.references import contradiction
from shared.service.sightings import SightingRequests
from shared.store import people
from shared.store.corrections import narrow_of, not_of_but_like
from shared.store.moves import note_moves
from shared.store.people import Moved
from shared.store.references import vectors_of
from shared.store.saving import references_by_id
from shared.store.store import Store

_MAX_COMPARED = 200  # references of a merged person that are compared with the faces that were judged wrong
_MAX_WARNINGS = 5


class PeopleRequests:
    """The requests on one store's people. Call them inside its transaction. Block, files and backup follow after the commit."""

    def __init__(self, store: Store, sightings: SightingRequests) -> None:
        self._store, self._sightings = store, sightings

    def rename(self, request: Rename, changes: Changes) -> Renamed:
        """Rename a person. Raises RefusedError as store/people.py does."""
        person, new = name_of(request.person), new_name_of(request.new)
        moved = people.rename(self._store, person, new)
        self.follow(moved, changes)
        places = dict(moved.files)
        changes.backup.append(
            lambda backup: people.has_person(backup, person) and people.rename(backup, person, new, places)
        )
        return _answer(moved)

    def merge(self, request: Merge, changes: Changes) -> Renamed:
        """Merge two people into one. Raises RefusedError as store/people.py does."""
        person, into = name_of(request.person), name_of(request.into)
        warnings = self._contradictions(person, into)
        moved = people.merge(self._store, person, into)
        self.follow(moved, changes)
        changes.backup.append(lambda backup: _merge_in_backup(backup, moved))
        return _answer(moved).with_warnings(warnings)

    def _contradictions(self, person: str, into: str) -> list[str]:
        """Warnings of faces that were judged not to be one of the two, and look like the other: the two are to be one person."""
        found = [
            sighting
            for one, other in ((person, into), (into, person))
            for sighting in not_of_but_like(self._store, one, vectors_of(self._store, [other], _MAX_COMPARED))
        ]
        return [contradiction(sighting, into) for sighting in found[:_MAX_WARNINGS]]

    def undo(self, request: UndoPeople, changes: Changes) -> Renamed:
        """Undo the last rename or merge, or the named one. Raises RefusedError if it can't be undone."""
        names = None if request.before is None or request.person is None else (request.before, request.person)
        moved = people.undo(self._store, names)
        self.follow(moved, changes)
        changes.backup.append(lambda backup: _undo_in_backup(backup, moved))
        return _answer(moved)

    def follow(self, moved: Moved, changes: Changes) -> None:
        """Have block and photos follow what was done to a person's references."""
        if moved.removed:
            changes.steps.append(moved.removed)
        saved, references = references_by_id(self._store, [*moved.row_ids, *moved.restored])
        if references:
            changes.steps.append((saved, references))
        changes.steps += negative_step(self._store, narrow_of(self._store, [moved.person, moved.other]))
        note_moves(self._store, moved.files)
        changes.moves = True
        changes.people |= {moved.person, moved.other}
        self._sightings.forget_presence()


def _merge_in_backup(backup: Store, moved: Moved) -> None:
    if not people.has_person(backup, moved.person):
        return
    follow = people.merge if people.has_person(backup, moved.other) else people.rename
    follow(backup, moved.person, moved.other, dict(moved.files))


def _undo_in_backup(backup: Store, moved: Moved) -> None:
    """Undo a rename in the backup.

    Raises RefusedError for a merge, because a backup does not hold what undoing a merge needs. The caller then removes the backup, and
    another one is made.
    """
    if moved.undoes_merge:
        raise RefusedError("a merge can't be undone in a backup")
    if people.has_person(backup, moved.person):
        people.rename(backup, moved.person, moved.other, dict(moved.files))


def _answer(moved: Moved) -> Renamed:
    return Renamed(
        person=moved.other,
        before=moved.person,
        references=len(moved.row_ids) + len(moved.restored),
        kept_once=len(moved.removed),
        sightings=moved.sightings,
    )
