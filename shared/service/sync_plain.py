"""Requests of the exchange with a server that knows the plain wire only: it has a list of references, and no versions and no deletions.

- What it has and this site never had is taken in, as if it had been enrolled here.
- What this site has and the server's list does not is sent.
- Nothing is ever deleted because of it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime

import numpy as np

from shared.embeddings import unit_vector
from shared.errors import RefusedError
from shared.ipc.requests.base import Counted, Done
from shared.ipc.requests.sync import (
    CountUnshown,
    OutgoingPlain,
    PlainBatch,
    RefusedItem,
    SentPlain,
    TakeInPlain,
    TakenIn,
)
from shared.records import NewReference
from shared.service.changes import Changes
from shared.service.references import ReferenceRequests
from shared.store import people, plain_items, sync_state
from shared.store.marks import is_marked
from shared.store.plain_items import PlainItem, Unsent
from shared.store.quarantine import note_refused
from shared.store.store import Store
from shared.sync.plain_wire import PlainReference, plain_reference_of

_PAGE = 500  # references that are looked at for one batch
_NAMESPACE = uuid.UUID("0c6b2f0a-52cf-5b19-8f7e-3d5c0a6d9b41")
_PLAIN = "a plain server"
_SAME = 0.9999  # cosine: the same embedding, written with fewer digits


class PlainSyncRequests:
    """The requests on one store. Call those that write inside its transaction."""

    def __init__(self, store: Store, references: ReferenceRequests) -> None:
        self._store, self._references = store, references

    def take_in(self, request: TakeInPlain, changes: Changes) -> TakenIn:
        """Take in some items of the server's list. What was here once and is gone, and people who were forgotten, are not taken again."""
        this_round = self._round(begins=request.begins)
        given: dict[str, PlainReference] = {}
        refused: list[RefusedItem] = []
        for document in request.items:
            try:
                one = plain_reference_of(document)
                self._require_fit(one)
                given.setdefault(plain_items.identity_of_reference(self._store, one), one)
            except RefusedError as error:
                refused.append(RefusedItem(what=_what(document), reason=error.line()[:200]))
        known = plain_items.known_items(self._store, list(given))
        notes = [
            PlainItem(one.identity, one.uuid, one.change_number, this_round, one.sent_at) for one in known.values()
        ]
        fresh = {identity: one for identity, one in given.items() if identity not in known}
        taken = 0
        for identity, one in fresh.items():
            note, is_new = self._take(identity, one, this_round, changes)
            notes.append(note)
            taken += is_new
        plain_items.note_items(self._store, notes)
        note_refused(self._store, [(one.what, one.reason) for one in refused], _PLAIN)
        return TakenIn(taken=taken, unchanged=len(request.items) - len(refused) - taken, refused=refused)

    def _round(self, *, begins: bool) -> int:
        """The number of the list that is being read: higher with each one."""
        this_round = sync_state.read_number(self._store, "plain_round") + begins
        sync_state.write_state(self._store, plain_round=this_round)
        return this_round

    def _require_fit(self, one: PlainReference) -> None:
        dim = self._store.dim
        if dim is not None and len(one.vector) != dim:
            raise RefusedError("of another model", got=f"{len(one.vector)} numbers", expected=str(dim))

    def _take(self, identity: str, one: PlainReference, this_round: int, changes: Changes) -> tuple[PlainItem, bool]:
        """Take in one item that was never here. Returns its row, and whether a reference was saved."""
        store = self._store
        made = str(uuid.uuid5(_NAMESPACE, identity))
        if is_marked(store, one.person_name):
            return PlainItem(identity, made, None, this_round), False
        if (same := self._same_reference(one)) is not None:
            return PlainItem(identity, same.uuid, same.change_number, this_round), False
        name = self._name_for(one)
        self._references.add([NewReference(name, None, one.user_id, made)], one.vector[np.newaxis], changes)
        return PlainItem(identity, made, plain_items.change_of(store, made), this_round), True

    def _same_reference(self, one: PlainReference) -> Unsent | None:
        """The reference of this person that has the item's photo, or its embedding."""
        if not people.has_person(self._store, one.person_name):
            return None
        for reference in plain_items.references_of(self._store, one.person_name):
            if one.image_path is not None and reference.image_path == one.image_path:
                return reference
            vector = unit_vector(np.frombuffer(reference.embedding, "<f4"), one.person_name)
            if float(vector @ one.vector) >= _SAME:
                return reference
        return None

    def _name_for(self, one: PlainReference) -> str:
        """The name to save an item under: its own, unless somebody of that name has another user id."""
        if one.user_id is None or not people.has_person(self._store, one.person_name):
            return one.person_name
        known = people.person_row(self._store, one.person_name).user_id
        return one.person_name if known in (None, one.user_id) else f"{one.person_name} ({one.user_id})"

    # --- what is to be sent ------------------------------------------------------------------------------------

    def outgoing(self, request: OutgoingPlain) -> PlainBatch:
        """The next references that the server's last list did not have, at most so many bytes as JSON but at least one; in the order of their
        change numbers, from `after` on. None left: `items` is empty."""
        this_round = sync_state.read_number(self._store, "plain_round")
        after, size = request.after, 0
        items: list[dict[str, object]] = []
        while page := plain_items.references_after(self._store, after, _PAGE):
            for one in plain_items.to_send(self._store, page, this_round, datetime.now(UTC)):
                vector = unit_vector(np.frombuffer(one.embedding, "<f4"), one.person_name)
                item = PlainReference(one.person_name, vector, one.image_path, one.user_id).to_json()
                size += len(json.dumps(item, separators=(",", ":"))) + 1
                if items and size > request.max_bytes:
                    return PlainBatch(items=items, through=after)
                items.append(item)
                after = one.change_number
            after = page[-1].change_number
            if items:
                break
        return PlainBatch(items=items, through=after)

    def sent(self, request: SentPlain, changes: Changes) -> Done:  # noqa: ARG002  # as all requests that write
        """The server took the references of the batch with change numbers above `after`, up to `through`."""
        this_round, now = sync_state.read_number(self._store, "plain_round"), datetime.now(UTC)
        after = request.after
        while page := plain_items.references_after(self._store, after, _PAGE):
            within = [one for one in page if one.change_number <= request.through]
            plain_items.note_sent(self._store, plain_items.to_send(self._store, within, this_round, now), now)
            if len(within) < len(page):
                break
            after = page[-1].change_number
        return Done()

    def count_unshown(self, _: CountUnshown) -> Counted:
        """How many references are here that the server's last list did not have."""
        this_round = sync_state.read_number(self._store, "plain_round")
        return Counted(count=plain_items.count_unshown(self._store, this_round))


def _what(document: object) -> str:
    """A name for an item that can't be used: the server gives none."""
    return f"plain item {hashlib.sha256(json.dumps(document, default=str).encode()).hexdigest()[:12]}"
