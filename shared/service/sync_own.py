"""Notes own changes as all sites will know them: whatever people did here to references and people since the last time.

Whoever is enrolled, renamed, merged or deleted here changes the tables of the gallery only. From what these are now, and from what was noted
before, follows what is to be sent: references with what they tell of their people, registers (sync/people_registers.py) and tombstones. Each
is noted once, with its revision, and is sent as it was noted. Nothing that comes is applied before own changes are noted. So nothing
that was done here is overwritten before others can know of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from shared.person_names import name_key
from shared.service.changes import Changes
from shared.service.sync_deletions import SharedDeletions
from shared.service.sync_people import SharedPeople
from shared.store import change_times, people, sync_state, synced, tombstones
from shared.store.store import Store
from shared.store.synced import Around, ChangedReference, SyncedPerson, SyncedReference
from shared.store.tombstones import Whose
from shared.sync import hybrid_clock
from shared.sync.hybrid_clock import OLDEST, Version
from shared.sync.people_registers import Register, Shown, Told, root_of


@dataclass(frozen=True)
class _Person:
    """Somebody of whom references were changed here, as they are now. `before`: as whom all sites know them so far; None: nobody knew them."""

    uuid: str
    name: str
    user_id: str | None
    references: list[ChangedReference]
    before: Shown | None

    @property
    def own_name(self) -> str:
        """The name without the user id that a site puts behind it where somebody else has the same name."""
        return self.before.own_name if self.before is not None and self.before.name == self.name else self.name


class OwnChanges:
    """The own changes of one store. Call everything inside the store's transaction."""

    def __init__(self, store: Store, shared: SharedPeople, deletions: SharedDeletions) -> None:
        self._store, self._shared, self._deletions = store, shared, deletions

    def note(self, changes: Changes, limit: int = -1) -> None:
        """Note own changes: all of them, or those of so many references and a few more."""
        store = self._store
        state = sync_state.begin(store)
        self._give_revisions()
        change_times.mend_times(store.connection)
        if not state.next_lineage:  # a batch that has no answer yet may be at the hub as it was sent
            self._mend(state.origin)
        found, noted = synced.changed_references(store, state.noted, limit)
        deleted = tombstones.deleted_among(store, [one.uuid for one in found])
        if deleted:  # it was deleted elsewhere, and comes from a backup, or was saved once more
            self._deletions.delete(deleted, changes)
            found = [one for one in found if one.uuid not in deleted]
        unsettled = synced.take_unsettled(store)
        touched = unsettled | {one.person for one in found} | {one.known.told.person for one in found if one.known}
        if touched:
            touched |= {
                told for name in people.names_of_uuids(store, unsettled) for told in synced.persons_of(store, name)
            }
            before = synced.around(store, touched)
            self._note_people(found, before, state.origin, changes)
            self._note_user_ids(touched)
            self._shared.blank_empty(unsettled)
            self._shared.follow(
                synced.around(store, {*touched, *before.registers, *(one.person for one in before.told)}), changes
            )
        self.note_blanked()
        self._give_revisions()
        sync_state.write_state(store, noted=noted)
        change_times.drop_noted(store.connection, noted)

    def note_blanked(self) -> None:
        """Note registers whose names were deleted."""
        for register in synced.blanked(self._store):
            self._write(register, None, is_blanked=True)

    def _give_revisions(self) -> None:
        """Give all changes a revision that were made up to now, and write it to the tombstones."""
        change_times.note_time(self._store.connection, self._store.change_now)
        tombstones.note_revisions(self._store)

    def _mend(self, origin: str) -> None:
        """Note anew what was noted while the clock was ahead of now, in the same order. No other site has taken it."""
        store = self._store
        ahead = synced.ahead(store, hybrid_clock.newest_possible(change_times.time_ms(store.connection)))
        references, registers, stones = ahead
        if not any(ahead):
            return
        first = change_times.newest(store.connection)
        references.sort(key=lambda one: (one.told.version, one.seq))
        mended = [
            replace(
                one, told=replace(one.told, version=Version(first + place, origin)), knows=min(one.knows, first + place),
                seq=store.next_change(),
            )
            for place, one in enumerate(references)
        ]  # fmt: skip  # one call
        last = first + len(mended)
        synced.note_references(store, mended)
        for one in registers:
            synced.note_person(store, replace(one, version=Version(last, origin), change_number=store.next_change()))
        tombstones.note_anew(store, stones, last)
        change_times.note_revision(store.connection, store.change_now, last)
        # Of references that were noted since, another one can be the newest now, and tell who its person is.
        synced.note_unsettled(store, {one.told.person for one in mended} | {one.register.uuid for one in registers})

    # --- people ------------------------------------------------------------------------------------------------

    def _note_people(self, found: list[ChangedReference], before: Around, origin: str, changes: Changes) -> None:
        shown = before.shown()
        by_person: dict[str, list[ChangedReference]] = defaultdict(list)
        for one in found:
            by_person[one.person].append(one)
        persons = [
            _Person(uuid, references[0].name, references[0].user_id, references, _before(references, shown))
            for uuid, references in by_person.items()
        ]
        self._note_references(persons, origin, changes)
        for person in persons:
            revision = max(
                change_times.revision_of(self._store.connection, one.change_number) for one in person.references
            )
            self._note_mergers(person, before, shown, revision)
            self._note_name(person, before, shown, revision)

    def _note_mergers(self, person: _Person, before: Around, shown: dict[str, Shown], revision: int) -> None:
        """Note who was merged into this person, or that this person's merger was undone."""
        into = before.registers[person.uuid].merged_into if person.uuid in before.registers else None
        if into is not None:
            for one in before.registers.values():
                if one.uuid == person.uuid:
                    self._write(Register(one.uuid, person.own_name, person.user_id), revision)
                elif one.merged_into == into and one.name is not None and name_key(one.name) == name_key(person.name):
                    self._write(replace(one, merged_into=None), revision)
        came_from = {
            shown[one.known.told.person] for one in person.references if one.known and one.known.told.person in shown
        }
        gone = {one for one in came_from if one.uuid != person.uuid and one != shown.get(person.uuid)}
        still_here = people.uuids_among(self._store, {one.uuid for one in gone})
        for former in gone:
            if former.uuid not in still_here:
                for register in _roots(before, shown, former):
                    if register.uuid != person.uuid:
                        self._write(replace(register, merged_into=person.uuid), revision)

    def _note_name(self, person: _Person, before: Around, shown: dict[str, Shown], revision: int) -> None:
        """Note that the person was renamed."""
        known = shown.get(person.uuid)
        is_root = root_of(before.registers, person.uuid) == person.uuid
        if known is not None and is_root and known.name != person.name:
            for register in _roots(before, shown, known):
                self._write(replace(register, name=person.name), revision)

    def _note_user_ids(self, uuids: Collection[str]) -> None:
        """Note the user ids of these people as they are here, where they do not follow from what is noted."""
        store = self._store
        rows = people.person_rows(store, people.names_of_uuids(store, uuids)).values()
        told = {row.name: synced.persons_of(store, row.name) for row in rows}
        after = synced.around(store, set().union(*told.values()))
        shown = after.shown()
        for row in rows:
            for root in sorted({root_of(after.registers, uuid) for uuid in told[row.name]}):
                register = after.registers.get(root, Register(root, None))
                is_other = shown[root].user_id != row.user_id
                if is_other and (row.user_id is not None or register.user_id is not None):
                    name = register.name or shown[root].own_name
                    self._write(replace(register, name=name, user_id=row.user_id), None)

    def _write(self, register: Register, revision: int | None, *, is_blanked: bool = False) -> None:
        """Note a register that is to be sent, unless it is so already. `revision`: of the change; None: it is made now."""
        store = self._store
        known = synced.synced_people(store, [register.uuid]).get(register.uuid)
        if known is not None and known.register == register and not is_blanked:
            return
        origin = sync_state.read_state(store).origin
        version = Version(revision or 0, origin)
        if revision is None or (known is not None and version <= known.version):
            least = 0 if known is None else known.version.revision + 1
            version = Version(max(change_times.newest(store.connection), least), origin)
        synced.note_person(store, SyncedPerson(register, version, store.next_change()))

    # --- references --------------------------------------------------------------------------------------------

    def _note_references(self, persons: Iterable[_Person], origin: str, changes: Changes) -> None:
        store = self._store
        whose = {
            one.uuid: Whose(person.uuid, person.own_name, person.user_id)
            for person in persons
            for one in person.references
        }
        marked = tombstones.known_of(store, whose.values(), by_mark=True)
        noted: list[SyncedReference] = []
        for one in (one for person in persons for one in person.references):
            its = whose[one.uuid]
            revision = change_times.revision_of(store.connection, one.change_number)
            knows = (
                one.known.knows
                if one.known is not None and (revision == OLDEST or one.known.told.person == its.person)
                else 0
            )
            if revision > OLDEST:
                knows = max(knows, marked.get(its, 0))
            version = Version(revision, origin)
            if one.known is not None and revision > OLDEST and version <= one.known.told.version:
                version = Version(
                    max(change_times.newest(store.connection), one.known.told.version.revision + 1), origin
                )
            told = Told(*its, version)
            noted.append(SyncedReference(one.uuid, one.change_number, told, knows, one.image_path, store.next_change()))
        synced.note_references(store, noted)
        # What comes from a backup is of somebody who can have been forgotten since.
        old = [one for one in noted if one.told.version.revision == OLDEST]
        known = self._deletions.not_forgotten([(one.uuid, whose[one.uuid], one.knows) for one in old])
        self._deletions.delete([one.uuid for one in old if one.uuid not in known], changes)


def _before(references: list[ChangedReference], shown: dict[str, Shown]) -> Shown | None:
    """As whom a person was shown, of whom these references are."""
    one = references[0]
    told = [shown[each.known.told.person] for each in references if each.known and each.known.told.person in shown]
    candidates = [*([shown[one.person]] if one.person in shown else []), *told]
    return next((each for each in candidates if each.name == one.name), candidates[0] if candidates else None)


def _roots(found: Around, shown: dict[str, Shown], person: Shown) -> list[Register]:
    """The registers of those whom a person is made of, without those who were merged into one of them."""
    return [
        found.registers.get(uuid, Register(uuid, person.own_name, person.user_id))
        for uuid, one in sorted(shown.items())
        if one == person and root_of(found.registers, uuid) == uuid
    ]
