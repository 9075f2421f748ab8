"""Deletes what other sites have deleted, and who was forgotten there."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from shared.service.changes import Changes
from shared.service.forgetting import Forgetting
from shared.store import people, synced, tombstones
from shared.store.store import Store
from shared.store.synced import SyncedReference
from shared.store.tombstones import Whose
from shared.sync.items import DeletedItem, ForgottenItem


class SharedDeletions:
    """The deletions of one store. Call everything inside the store's transaction."""

    def __init__(self, store: Store, forgetting: Forgetting) -> None:
        self._store, self._forgetting = store, forgetting

    def take_deleted(self, items: Iterable[DeletedItem], changes: Changes) -> int:
        """Apply tombstones of references. Returns how many are new."""
        versions = {one.id: one.version for one in items}
        new = versions.keys() - tombstones.deleted_among(self._store, versions)
        for uuid in sorted(new):
            tombstones.note_deleted(self._store, [uuid], versions[uuid])
        self._remove(new, changes)
        return len(new)

    def delete(self, uuids: Collection[str], changes: Changes) -> None:
        """Delete references for good, here and everywhere."""
        tombstones.note_deleted(self._store, sorted(uuids))
        self._remove(uuids, changes)

    def _remove(self, uuids: Collection[str], changes: Changes) -> None:
        for row_id, name, _ in synced.rows_of(self._store, uuids).values():
            self._forgetting.forget_reference(row_id, name, changes)
        people.drop_merged(self._store, uuids)

    def take_forgotten(self, item: ForgottenItem, changes: Changes) -> bool:
        """Apply the tombstone of a person: forget the person, but for references that were saved by somebody who knew of it. Returns
        whether it is new."""
        store, revision = self._store, item.version.revision
        meant = self._meant(item)
        rows = synced.rows_of(store, [one.uuid for one in meant])
        names = {name for _, name, _ in rows.values()}
        own_name = next((one.told.name for one in meant if one.told.person == item.person_id), None)
        stone = tombstones.Tombstone(
            item.id, tombstones.FORGOTTEN, 0, revision, item.version.origin, item.person_id, item.person_hash
        )
        if not tombstones.take_forgotten(store, stone, own_name):
            return False
        stay = {rows[one.uuid][1] for one in meant if one.knows >= revision and one.uuid in rows}
        older = {one.uuid for one in meant if one.knows < revision}
        self.delete({uuid for uuid in older if uuid not in rows or rows[uuid][1] in stay}, changes)
        for name in sorted((names - stay) | self._only_seen(item)):
            self._forgetting.forget_known(name, changes)
        return True

    def _meant(self, item: ForgottenItem) -> list[SyncedReference]:
        """The references of everybody whom a tombstone means: by the UUID, or by the hash of the name."""
        store = self._store
        persons = set() if item.person_id is None else {item.person_id}
        if item.person_hash is not None and store.sync_key is not None:
            told = [Whose("", name, user_id) for name, user_id in synced.told_names(store)]
            hashed = {one for one in told if self._is_hash_of(item, one)}
            persons |= synced.persons_called(store, [(one.name, one.user_id) for one in hashed])
        if not persons:
            return []
        shown = synced.around(store, persons).shown()
        mine = {shown[uuid] for uuid in persons if uuid in shown}
        return synced.references_of(store, {uuid for uuid, one in shown.items() if one in mine})

    def _is_hash_of(self, item: ForgottenItem, whose: Whose) -> bool:
        return any(tombstones.hash_of(self._store, text) == item.person_hash for text in whose.texts())

    def _only_seen(self, item: ForgottenItem) -> set[str]:
        """Those who have no reference here, but were seen."""
        if item.person_hash is None or self._store.sync_key is None:
            return set()
        return {
            name
            for name in self._store.sightings.people()
            if tombstones.hash_of(self._store, name) == item.person_hash and not people.has_person(self._store, name)
        }

    def not_forgotten(self, references: Collection[tuple[str, Whose, int]]) -> set[str]:
        """Those of these references (UUID, whose, knows) whose saver knew of all tombstones of their person."""
        newest = tombstones.known_of(self._store, {whose for _, whose, _ in references}, by_mark=False)
        return {uuid for uuid, whose, knows in references if newest.get(whose, 0) <= knows}
