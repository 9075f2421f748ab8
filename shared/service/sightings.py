"""What can be asked of sightings: record, list; and what is past its time goes."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta

from shared.errors import RefusedError, RollcallError, Say
from shared.events import Event, Sighting
from shared.ipc import requests
from shared.photos.kept import remove
from shared.presence import WITHIN_S, Presence
from shared.service.changes import Changes
from shared.store import people
from shared.store.marks import drop_old_marks
from shared.store.retention import ClockWatch
from shared.store.store import Store
from shared.strangers.strangers import Strangers

_MAX_EVENTS = 5000
_CLOCK = "clock"  # a fact: what a trusted clock showed last


class SightingRequests:
    """The operations on one store's sightings; those that change rows are called inside its transaction."""

    def __init__(self, store: Store, strangers: Strangers, site: str, say: Say) -> None:
        self._store, self._strangers, self._site, self._say = store, strangers, site, say
        self._presence: Presence | None = None
        self.new: list[Sighting] = []  # of the group of writes that is being carried out

    def record(self, request: requests.Record, _: Changes) -> requests.Recorded:
        presence = self._presence = self._presence or self._who_is_here()
        sound, faults = [], []
        for document in request.events:
            try:
                sound.append(Event.from_json(document))
            except RefusedError as error:
                faults.append(error.what)
        if request.events and not sound:
            raise RefusedError("no sighting can be kept", got=faults[0])
        kept = self._store.sightings.record(sound, self._site, self._strangers, presence)
        self.new += kept
        return requests.Recorded(recorded=len(kept), refused=faults)

    def _who_is_here(self) -> Presence:
        """From the last minutes' sightings: also a writer that takes another's place knows who was seen where."""
        presence = Presence()
        since = (datetime.now(UTC) - timedelta(seconds=WITHIN_S)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for sighting in self._store.sightings.since(since=since, limit=_MAX_EVENTS):
            presence.take(sighting)
        return presence

    def forget_presence(self) -> None:
        """Somebody was forgotten: who is where is found anew from the sightings that are left."""
        self._presence = None

    def listed(self, request: requests.Sightings) -> requests.SightingsPage:
        found = self.since(request.after_id, request.since, min(request.limit, _MAX_EVENTS))
        return requests.SightingsPage(events=found, last_id=self._store.sightings.last_id())

    def since(self, after_id: int, since: str | None, limit: int) -> list[Sighting]:
        """Kept sightings, oldest first. Rows that can't be read are passed over, and each is said once."""
        sightings = self._store.sightings
        known = set(sightings.unreadable)
        found = sightings.since(after_id, since, limit)
        if new := sightings.unreadable - known:
            self._say(f"{len(new)} stored sightings can't be read and are passed over, the first is number {min(new)}")
        return found


class Retention:
    """Deletes sightings, strangers and marks past their time, where the clock can be trusted."""

    def __init__(self, store: Store, strangers: Strangers, keep_days: int, keep_unknowns_days: int, say: Say) -> None:
        self._store, self._strangers, self._say = store, strangers, say
        self._keep_days, self._keep_unknowns_days = keep_days, keep_unknowns_days
        self._clock: ClockWatch | None = None

    def purge(self, now: datetime | None = None, elapsed_s: float | None = None) -> bool:
        """Whether anything was deleted: until the WAL is emptied it is in it. On a full disk it waits.

        `now`, `elapsed_s`: as for ClockWatch.trusts; None: this machine's.
        """
        now = now or datetime.now(UTC)
        self._clock = self._clock or ClockWatch(self._known_clock())
        trusted = self._clock.trusts(now, _elapsed_s() if elapsed_s is None else elapsed_s)
        deleted = 0
        try:
            with self._store.transaction():
                if trusted or not self._keep_days:  # what is not to be kept at all needs no clock
                    deleted += self._store.sightings.purge(self._keep_days, now)
                if trusted or not self._keep_unknowns_days:
                    deleted += self._strangers.purge(now)
                if trusted:
                    deleted += drop_old_marks(self._store, now)
                    deleted += people.drop_old_undo(self._store, now)
                    self._note_clock(now)
                pictures = self._strangers.mend()
        except RollcallError as error:
            self._strangers.undo()
            self._say(f"old sightings could not be deleted: {error.line()}")
            return False
        for one in remove(self._strangers.settle()):
            self._say(f"could not be removed: {one.path}: {one.reason}")
        self._strangers.pictures.sweep(pictures)
        return bool(deleted)

    def _note_clock(self, now: datetime) -> None:
        """Once an hour, what a trusted clock shows: a later start compares its own with it."""
        known = self._store.fact(_CLOCK)
        if known is None or not timedelta(0) <= now - datetime.fromisoformat(known) < timedelta(hours=1):
            self._store.set_fact(_CLOCK, now.isoformat())

    def _known_clock(self) -> datetime | None:
        known = self._store.fact(_CLOCK)
        if known is not None:
            return datetime.fromisoformat(known)
        if not self._store.sightings.first_id() and not self._strangers.listed(limit=1):
            return datetime.now(UTC)  # nothing is kept that a wrong clock could delete
        return self._store.sightings.last_recorded()


def _elapsed_s() -> float:
    """Seconds that nobody sets; on Linux they go on while the machine sleeps, as the wall clock does."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()
