"""Requests of the exchange: sightings for the hub. They go up in order. Strangers, pictures and embeddings stay here."""

from __future__ import annotations

import json
from typing import Any

from shared.events import Sighting
from shared.ipc.requests.base import Done
from shared.ipc.requests.sync import Exchanged, OutgoingSightings, OutgoingSightingsBatch, SentSightings
from shared.service.changes import Changes
from shared.store import people, sync_state, tombstones
from shared.store.store import Store
from shared.store.tombstones import Whose

_PAGE = 500
_MOST_PAGES = 20  # of strangers alone, in one request
_STAY_HERE = ("box", "liveness", "unknown", "also_at", "site")


class SightingsUp:
    """The requests on one store. Call those that write inside its transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def outgoing(self, request: OutgoingSightings, changes: Changes) -> OutgoingSightingsBatch:  # noqa: ARG002  # as above
        """The next batch: the sightings of enrolled people, whole up to `through`, at most so many bytes as JSON but at least one."""
        state = sync_state.begin(self._store)
        after = state.sightings_sent
        through = max(after, sync_state.read_number(self._store, "sightings_scanned"))
        found: list[dict[str, Any]] = []
        for _ in range(_MOST_PAGES):
            page = self._store.sightings.since(through, None, _PAGE)
            found, through = self._within(page, through, request.max_bytes)
            if found or len(page) < _PAGE:
                break
        if not found:
            sync_state.write_state(self._store, sightings_scanned=through)
            through = after
        return OutgoingSightingsBatch(origin=state.origin, after=after, through=through, sightings=found)

    def _within(self, page: list[Sighting], through: int, max_bytes: int) -> tuple[list[dict[str, Any]], int]:
        """As many of these sightings as fit, as documents, and the id that they reach to."""
        found: list[dict[str, Any]] = []
        size = 0
        known: dict[str, dict[str, Any]] = {}
        keys = self._store.sightings.keys(through, page[-1].id) if page else {}
        for sighting in page:
            document = self._document(sighting, known)
            size += 0 if document is None else len(json.dumps(document)) + 1
            if found and size > max_bytes:
                break
            if document is not None:
                found.append({**document, "key": keys[sighting.id]})
            through = sighting.id
        return found, through

    def _document(self, sighting: Sighting, known: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
        """A sighting as the hub gets it; None if it shows nobody who is enrolled. `known`: what was found of people already."""
        name = None if sighting.person is None else self._store.sightings.current_person(sighting.person)
        if name is None:
            return None
        if name not in known:
            row = people.person_row(self._store, name)
            whose = Whose(row.uuid, name, row.user_id)
            known[name] = {
                "person": name,
                "person_id": row.uuid,
                "person_hash": tombstones.hash_of(self._store, name),
                "knows": tombstones.known_of(self._store, [whose], by_mark=True).get(whose, 0),
            }
        shown = {field: value for field, value in sighting.to_json().items() if field not in _STAY_HERE}
        return {**shown, **known[name]}

    def sent(self, request: SentSightings, changes: Changes) -> Done:  # noqa: ARG002  # as all requests that write
        """The hub has the sightings up to this id."""
        sync_state.write_state(self._store, sightings_sent=request.through, sightings_scanned=request.through)
        return Done()

    def exchanged(self, request: Exchanged, changes: Changes) -> Done:  # noqa: ARG002  # as above
        """Remember when the last exchange came to its end."""
        sync_state.write_state(self._store, last_exchange=request.at)
        return Done()
