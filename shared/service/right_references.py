"""Requests by which somebody says that a reference is right, although it disagrees with its person; and that list such references."""

from __future__ import annotations

from pathlib import Path

from shared.ipc.requests.references import MarkReference, ReferenceState, RightPage, RightReferences
from shared.service.changes import Changes
from shared.service.named_reference import named_reference, state_of
from shared.store.references import uuid_of
from shared.store.right_references import drop_right, follow, mark_right, right_ids
from shared.store.set_aside import aside_of
from shared.store.store import Store

_MAX_PAGE = 10_000


class RightReferenceRequests:
    """The requests on one store. Call `mark` inside its transaction."""

    def __init__(self, store: Store, data_dir: Path) -> None:
        self._store, self._data_dir = store, data_dir

    def mark(self, request: MarkReference, changes: Changes) -> ReferenceState:
        """Remember that a reference is right, or take that back. Raises RefusedError if there is no such person or reference."""
        store = self._store
        found = named_reference(store, self._data_dir, request.person, request.photo)
        already = (found.right_since is not None) is request.right
        if not already:
            since = mark_right(store, found.id) if request.right else None
            if since is None:
                drop_right(store, [found.id])
            reference_uuid = uuid_of(store, found.id)
            changes.backup.append(lambda backup: follow(backup, reference_uuid, since))
        return state_of(store, found, aside_of(store, found.id), already=already)

    def listed(self, request: RightReferences) -> RightPage:
        """One page of the ids of references that are marked as right."""
        limit = max(0, min(request.limit, _MAX_PAGE))
        return RightPage(ids=right_ids(self._store, request.after, limit))
