"""Requests of the exchange with other sites: what is to be sent, and what came.

What came is applied like this:
- a newer version of a reference or of a person's register takes the place of the one that is here (sync/hybrid_clock.py);
- a tombstone of a reference is final; one of a person removes the references whose saver did not know of it (store/tombstones.py). Whoever
  removes a reference for that sends a tombstone of it;
- who the people are follows from registers and references (sync/people_registers.py).

So it does not matter in which order it comes. Each batch is one transaction, and its position is stored with it. So a batch counts once,
and nothing is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from shared.errors import RefusedError
from shared.ipc.requests.base import Done
from shared.ipc.requests.forgetting import Forget, Forgotten
from shared.ipc.requests.sync import (
    BeginAnew,
    Outgoing,
    OutgoingBatch,
    RefusedItem,
    Resend,
    Sent,
    SetBack,
    SyncStanding,
    SyncStatus,
    TakeIn,
    TakenIn,
)
from shared.records import NewReference
from shared.service.changes import Changes
from shared.service.forgetting import Forgetting
from shared.service.people import PeopleRequests
from shared.service.references import ReferenceRequests
from shared.service.sync_deletions import SharedDeletions
from shared.service.sync_own import OwnChanges
from shared.service.sync_people import SharedPeople
from shared.store import change_times, people, sync_state, synced, tombstones
from shared.store.quarantine import note_refused
from shared.store.store import Store
from shared.store.sync_state import SyncState
from shared.store.synced import OwnReference, SyncedPerson, SyncedReference
from shared.store.tombstones import Whose
from shared.sync.hybrid_clock import Version, is_ahead, wins
from shared.sync.items import (
    DeletedItem,
    ForgottenItem,
    Item,
    PersonItem,
    ReferenceItem,
    item_of,
    name_of,
    name_of_item,
    sent_by,
)
from shared.sync.people_registers import Register, Shown, Told

_AT_ONCE = 1000  # rows of each kind that are looked at for one batch


class SyncRequests:
    """The requests on one store. Call those that write inside its transaction."""

    def __init__(
        self, store: Store, references: ReferenceRequests, people_requests: PeopleRequests, forgetting: Forgetting
    ) -> None:
        self._store, self._references = store, references
        self._forgetting = forgetting
        self._shared = SharedPeople(store, people_requests)
        self._deletions = SharedDeletions(store, forgetting)
        self._own = OwnChanges(store, self._shared, self._deletions)

    # --- what is to be sent ------------------------------------------------------------------------------------

    def outgoing(self, request: Outgoing, changes: Changes) -> OutgoingBatch:
        """The next batch: own changes in their order, whole up to `through`. Without a `next_lineage` there is nothing to send.

        A batch whose answer was lost is sent again first, up to the same change. Otherwise the hub would take this store for a copy.
        """
        store = self._store
        self._own.note(changes, _AT_ONCE)
        sync_state.go_back(store)
        state = sync_state.read_state(store)
        is_again = state.next_lineage != "" and not request.was_too_large
        items: list[Item] = []
        through = state.sent
        if store.fingerprint is not None:
            items, through = self._own_items(state, request.max_bytes, state.next_sent if is_again else None)
        if not items and not is_again:
            return OutgoingBatch(origin=state.origin, after=state.sent, through=state.sent, items=[])
        # The same mark for a batch that is cut smaller: whichever of the two the hub took, it goes on from there.
        lineage = state.next_lineage or sync_state.new_lineage()
        documents = [sent_by(state.origin, one.to_json()) for one in items]
        sync_state.write_state(store, next_lineage=lineage, next_sent=through)
        sync_state.note_under_way(store, {name_of_item(one): one["revision"] for one in documents})
        return OutgoingBatch(
            origin=state.origin,
            after=state.sent,
            through=through,
            lineage=state.lineage or None,
            next_lineage=lineage,
            items=documents,
        )

    def _own_items(self, state: SyncState, max_bytes: int, again: int | None) -> tuple[list[Item], int]:
        """Own changes that are not sent, at most so many bytes of JSON but at least one change; and the number that they reach to. `again`:
        only those up to this number, but all of them."""
        store, limit = self._store, _AT_ONCE if again is None else -1
        references = synced.own_references(store, state.sent, limit)
        gone = tombstones.own_tombstones(store, state.sent, limit)
        persons = synced.own_people(store, state.sent, limit)
        found: list[tuple[int, Item]] = [
            (one.noted.seq, _item_of_reference(one, store.fingerprint)) for one in references
        ]
        found += [(one.change_number, _item_of_stone(one, state.origin)) for one in gone]
        found += [(one.change_number, _item_of_person(one)) for one in persons]
        found.sort(key=lambda each: each[0])
        if again is not None:
            return [item for number, item in found if number <= again], again
        # What one of the three has beyond its page is not seen yet.
        pages = (
            [one.noted.seq for one in references],
            [one.change_number for one in gone],
            [one.change_number for one in persons],
        )
        through = min((page[-1] for page in pages if len(page) == _AT_ONCE), default=store.change_now)
        return _cut([each for each in found if each[0] <= through], through, max_bytes)

    def sent(self, request: Sent, changes: Changes) -> Done:  # noqa: ARG002  # as above
        """The hub has everything of the last batch. What it refused is noted with its reason, and not sent again until it changes."""
        store, state = self._store, sync_state.read_state(self._store)
        if request.through != state.next_sent or request.lineage != state.next_lineage:
            return Done()  # the answer to an earlier request
        refused = {one.what for one in request.refused}
        under_way = sync_state.take_under_way(store).items()
        taken = [revision for what, revision in under_way if what not in refused]
        change_times.note_seen(store.connection, max(taken, default=0))
        note_refused(store, [(one.what, one.reason) for one in request.refused], None)
        sync_state.write_state(store, sent=request.through, lineage=request.lineage, next_lineage="", next_sent=0)
        return Done()

    def resend(self, request: Resend, changes: Changes) -> Done:  # noqa: ARG002  # as above
        """The hub lacks changes after `after`: it was restored, or another one takes its place. They are sent again."""
        store, state = self._store, sync_state.read_state(self._store)
        if request.origin != state.origin:
            return Done()  # the answer to a batch of before this store was restored
        # Before it was restored it may have taken the batch, and given it to other sites; but nothing of a clock that was wrong.
        now_ms = change_times.time_ms(store.connection)
        taken = [one for one in sync_state.take_under_way(store).values() if not is_ahead(one, now_ms)]
        change_times.note_seen(store.connection, max(taken, default=0))
        synced.send_again(store, request.after)
        sync_state.write_state(store, sent=request.after, lineage=request.lineage or "", next_lineage="", next_sent=0)
        return Done()

    def set_back(self, request: SetBack, changes: Changes) -> Done:  # noqa: ARG002  # as above
        """The hub was restored from a backup, and lacks what was read of it, whose sites may be gone. All that came from elsewhere is sent again;
        what was lost there is read again if those sites send it."""
        store, state = self._store, sync_state.read_state(self._store)
        position = sync_state.lowered(state.position, request.behind)
        if request.hub == state.hub and position != state.position:
            synced.send_again(store, 0)
            sync_state.write_state(store, position=position)
        return Done()

    def begin_anew(self, request: BeginAnew, changes: Changes) -> Done:  # noqa: ARG002  # as above
        """This store is a copy, or was restored: it takes a new origin."""
        self._own.note(changes)
        sync_state.begin_anew(self._store)
        return Done()

    def forget(self, request: Forget, changes: Changes) -> Forgotten:
        """Forget a person or a photo, after own changes are noted. Somebody whose merger was undone has the other one's UUID until then, and
        would take them along at all sites."""
        if not sync_state.read_state(self._store).origin:
            return self._forgetting.forget(request, changes)
        self._own.note(changes)
        before = self._store.change_now
        answer = self._forgetting.forget(request, changes)
        self._own.note_blanked()
        tombstones.send_forgettings_last(self._store, before)
        return answer

    def state(self, request: SyncStatus) -> SyncStanding:  # noqa: ARG002  # it has no fields
        """How far the exchange has come."""
        state, store = sync_state.read_state(self._store), self._store
        (waiting,) = store.connection.execute("SELECT COUNT(*) FROM quarantine").fetchone()
        reasons = store.connection.execute(
            "SELECT reason, COUNT(*) FROM quarantine GROUP BY reason ORDER BY 2 DESC LIMIT 20"
        ).fetchall()
        return SyncStanding(
            origin=state.origin,
            hub=state.hub,
            position=state.position,
            noted=state.noted,
            change_number=store.change_number,
            fingerprint=store.fingerprint,
            quarantined=waiting,
            reasons=dict(reasons),
            has_key=store.sync_key is not None,
            exchanged_at=state.last_exchange,
            last_tombstone=tombstones.newest_own(store),
        )

    # --- what came ---------------------------------------------------------------------------------------------

    def take_in(self, request: TakeIn, changes: Changes) -> TakenIn:
        """Apply a batch that came from the hub, and note the position behind it."""
        store = self._store
        self._own.note(changes)
        items, refused, early = self._fit(request.items)
        stones = [one for one in items if isinstance(one, ForgottenItem)]
        persons = [one for one in items if isinstance(one, PersonItem)]
        references = [one for one in items if isinstance(one, ReferenceItem)]
        touched = self._around_all(persons, references)
        taken = self._take_persons(persons)
        if stones and persons:  # whose merger was undone goes alone
            self._shared.follow(synced.around(store, touched), changes)
        taken += sum(self._deletions.take_forgotten(one, changes) for one in stones)
        taken += self._deletions.take_deleted([one for one in items if isinstance(one, DeletedItem)], changes)
        new = self._newer(references, changes)
        taken += len(new)
        touched |= {_person_id(one) for one in new}
        self._note(new, 0)
        unsettled = synced.take_unsettled(store)
        shown = self._shared.follow(synced.around(store, touched | unsettled), changes)
        if new:
            self._save(new, [shown[_person_id(one)] for one in new], changes)
        self._shared.blank_empty(unsettled | tombstones.are_forgotten(store, [one.id for one in persons]))
        self._own.note_blanked()
        note_refused(store, [(one.what, one.reason) for one in refused], request.hub)
        self._lift_quarantine(items)
        sync_state.note_position(store, request.hub, request.after, request.position, early)
        return TakenIn(taken=taken, unchanged=len(items) - taken, refused=refused)

    def _fit(self, documents: Sequence[object]) -> tuple[list[Item], list[RefusedItem], list[int]]:
        """The items that can be used; why others can't; and the revisions of those that are too early for this site's clock."""
        items: list[Item] = []
        refused: list[RefusedItem] = []
        early: list[int] = []
        now_ms = change_times.time_ms(self._store.connection)
        fingerprint, dim = self._store.fingerprint, self._store.dim
        for document in documents:
            try:
                item = item_of(document)
                if item is None:
                    continue
                if isinstance(item, ReferenceItem):
                    _require_model(item, fingerprint, dim)
                newest = max(item.version.revision, item.knows if isinstance(item, ReferenceItem) else 0)
                if is_ahead(newest, now_ms):
                    early.append(newest)
                    raise RefusedError(
                        "it was made in the future", expected="a clock that is right, at that site and at this one"
                    )
                items.append(item)
            except RefusedError as error:
                refused.append(RefusedItem(what=name_of_item(document), reason=error.line()[:200]))
        change_times.note_seen(self._store.connection, max((one.version.revision for one in items), default=0))
        return items, refused, early

    def _around_all(self, persons: Sequence[PersonItem], references: Sequence[ReferenceItem]) -> set[str]:
        """Everybody who has to do with what is to change, as it is before."""
        known = synced.synced_references(self._store, [one.id for one in references])
        found = synced.around(self._store, {one.id for one in persons} | {one.told.person for one in known.values()})
        return {*found.registers, *(one.person for one in found.told), *(one.id for one in persons)}

    def _take_persons(self, items: Sequence[PersonItem]) -> int:
        """Note newer registers. Returns how many."""
        store = self._store
        known = {uuid: one.version for uuid, one in synced.synced_people(store, [one.id for one in items]).items()}
        before = dict(known)
        for item in items:
            if wins(item.version, known.get(item.id)):
                known[item.id] = item.version
                register = Register(item.id, item.person_name, item.user_id, item.merged_into)
                synced.note_person(store, SyncedPerson(register, item.version))
        return sum(known[uuid] != before.get(uuid) for uuid in known)

    # --- references that came ----------------------------------------------------------------------------------

    def _newer(self, items: Sequence[ReferenceItem], changes: Changes) -> list[ReferenceItem]:
        """Those that are newer than what is here, each once. Those whose person was forgotten meanwhile are deleted everywhere."""
        store = self._store
        known = {
            uuid: one.told.version for uuid, one in synced.synced_references(store, [one.id for one in items]).items()
        }
        deleted = tombstones.deleted_among(store, [one.id for one in items])
        newest: dict[str, ReferenceItem] = {}
        for item in items:
            if item.id not in deleted and wins(item.version, known.get(item.id)):
                newest[item.id] = item
                known[item.id] = item.version
        alive = self._deletions.not_forgotten([(one.id, _whose(one), one.knows) for one in newest.values()])
        self._deletions.delete(newest.keys() - alive, changes)
        return [one for one in newest.values() if one.id in alive]

    def _note(self, items: Sequence[ReferenceItem], change: int) -> None:
        told = [
            SyncedReference(one.id, change, Told(*_whose(one), one.version), one.knows, one.image_path) for one in items
        ]
        synced.note_references(self._store, told)

    def _save(self, items: Sequence[ReferenceItem], owners: Sequence[Shown], changes: Changes) -> None:
        """Save references, each of the person that is shown for it."""
        store = self._store
        known = people.person_rows(store, {one.name for one in owners})
        for owner in {one.name: one for one in owners if one.name not in known}.values():
            people.add(store, owner.uuid, owner.name, owner.user_id)
        rows = [
            NewReference(owner.name, None, owner.user_id, item.id) for item, owner in zip(items, owners, strict=True)
        ]
        self._references.add_as_given(rows, np.stack([item.vector for item in items]), changes)
        synced.still_synced(store, [one.id for one in items])

    # --- what can't be used ------------------------------------------------------------------------------------

    def _lift_quarantine(self, items: Sequence[Item]) -> None:
        """What could be used now is not in quarantine any more."""
        if self._store.connection.execute("SELECT 1 FROM quarantine LIMIT 1").fetchone() is not None:
            self._store.connection.executemany(
                "DELETE FROM quarantine WHERE what=?", [(name_of(one),) for one in items]
            )


def _require_model(item: ReferenceItem, fingerprint: str | None, dim: int | None) -> None:
    """A reference of another model can't be compared. One of a plain client does not say its model: then the dimension counts."""
    if fingerprint is None or item.model not in (None, fingerprint):
        raise RefusedError("of another model", got=(item.model or "none")[:12], expected=(fingerprint or "none")[:12])
    if len(item.vector) != dim:
        raise RefusedError("of another model", got=f"{len(item.vector)} numbers", expected=str(dim))


def _item_of_reference(one: OwnReference, model: str | None) -> ReferenceItem:
    noted, told = one.noted, one.noted.told
    return ReferenceItem(
        id=noted.uuid, version=told.version, seq=noted.seq, person_name=told.name, person_id=told.person, user_id=told.user_id,
        image_path=one.image_path, vector=np.frombuffer(one.embedding, "<f4"), model=model, knows=noted.knows,
        updated_at=one.updated_at,
    )  # fmt: skip  # one item


def _item_of_stone(stone: tombstones.Tombstone, origin: str) -> Item:
    version = Version(stone.revision, origin)
    if stone.kind == tombstones.DELETED:
        return DeletedItem(id=stone.uuid, version=version, seq=stone.change_number)
    return ForgottenItem(
        id=stone.uuid, version=version, seq=stone.change_number, person_id=stone.person, person_hash=stone.person_hash
    )


def _item_of_person(person: SyncedPerson) -> PersonItem:
    return PersonItem(
        id=person.register.uuid, version=person.version, seq=person.change_number, person_name=person.register.name,
        user_id=person.register.user_id, merged_into=person.register.merged_into,
    )  # fmt: skip  # one item


def _person_id(item: ReferenceItem) -> str:
    """The UUID of a reference's person. One of a plain client is a person of their own, whom the name unites with others."""
    return item.person_id or item.id


def _whose(item: ReferenceItem) -> Whose:
    return Whose(_person_id(item), item.person_name, item.user_id)


def _cut(found: list[tuple[int, Item]], through: int, max_bytes: int) -> tuple[list[Item], int]:
    """As many of these items as fit, and the change number that they reach to."""
    size = 0
    for place, (_, item) in enumerate(found):
        size += len(json.dumps(item.to_json()))
        if size > max_bytes and place:
            return [item for _, item in found[:place]], found[place - 1][0]
    return [item for _, item in found], through
