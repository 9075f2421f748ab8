"""Requests that set a reference of a person aside, and that bring it back."""

from __future__ import annotations

from pathlib import Path

from shared.embeddings import require_sound
from shared.errors import RefusedError
from shared.ipc.requests.references import BringBack, ReferenceState, SetAside
from shared.records import Reference
from shared.service.changes import Changes
from shared.service.named_reference import named_reference, state_of
from shared.service.negatives import negative_step
from shared.store.corrections import meet
from shared.store.loading import stored_batches
from shared.store.references import uuid_of
from shared.store.saving import references_by_id
from shared.store.set_aside import Aside, aside_of, count_in_use, follow, put_aside, reason_of, take_back
from shared.store.store import Store


class SetAsideRequests:
    """The requests on one store. Call them inside its transaction. Block and backup follow after the commit."""

    def __init__(self, store: Store, data_dir: Path) -> None:
        self._store, self._data_dir = store, data_dir

    def set_aside(self, request: SetAside, changes: Changes) -> ReferenceState:
        """Set a reference aside. One that is set aside already is answered as done, with the reason that it has.

        Raises RefusedError if there is no such person or reference, or if it is the person's last one in use.
        """
        store, reason = self._store, reason_of(request.reason)
        found = named_reference(store, self._data_dir, request.person, request.photo)
        known = aside_of(store, found.id)
        if known is not None:
            return state_of(store, found, known, already=True)
        if count_in_use(store, found.person) == 1:
            raise RefusedError(
                "this is the last reference of that person that is in use",
                where=found.person,
                got=found.image_path or found.id,
                remedy=f"forget the person instead (supervisor.py forget '{found.person}'), or enrol another photo first",
            )
        aside = put_aside(store, found.id, reason)
        changes.steps.append([found.id])
        self._follow(found, aside, changes)
        return state_of(store, found, aside, already=False)

    def bring_back(self, request: BringBack, changes: Changes) -> ReferenceState:
        """Bring a reference back. One that is in use already is answered as done.

        Raises RefusedError if there is no such person or reference; UnsoundRowError if its row was damaged meanwhile.
        """
        store = self._store
        found = named_reference(store, self._data_dir, request.person, request.photo)
        known = aside_of(store, found.id)
        if known is None:
            return state_of(store, found, None, already=True)
        take_back(store, found.id)
        changes.steps.append(references_by_id(store, [found.id]))
        for batch in stored_batches(store, [found.id]):  # the rows in use were checked when they were loaded
            require_sound(batch, 0, batch.references)
            # As a reference that is saved: faces that were judged wrong and resemble it are its person's.
            changes.steps += negative_step(store, meet(store, batch.names, batch.references).narrowed)
        self._follow(found, None, changes)
        return state_of(store, found, known, already=False)

    def _follow(self, found: Reference, aside: Aside | None, changes: Changes) -> None:
        """Have the site's own backup follow, so that a site that goes on with it does not use the reference again by itself."""
        reference_uuid = uuid_of(self._store, found.id)
        changes.backup.append(lambda backup: follow(backup, reference_uuid, aside))
