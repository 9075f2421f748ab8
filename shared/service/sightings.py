"""Requests on sightings: record and list them. Also deletes what is kept no longer."""

from __future__ import annotations

import base64
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from shared.errors import RefusedError, RollcallError, Say
from shared.events import Event, Sighting, iso_time, stranger_number
from shared.ipc.requests.sightings import (
    CropFound,
    FindCrop,
    FindSightings,
    Record,
    Recorded,
    Sightings,
    SightingsFound,
    SightingsPage,
)
from shared.photos.kept import remove
from shared.presence import WITHIN_S, Presence
from shared.records import Correction
from shared.service.changes import Changes
from shared.settings.schema import SiteSettings
from shared.store import people
from shared.store.accesses import drop_expired
from shared.store.corrections import list_corrections, purge_corrections
from shared.store.marks import drop_old_marks
from shared.store.references import user_id_of
from shared.store.retention import ClockWatch
from shared.store.sighting_crops import (
    crop_of,
    drop_crops_beyond_limit,
    drop_lost_crops,
    keep_crop,
    purge_crops,
    with_crops,
)
from shared.store.sighting_probes import drop_beyond_limit, keep_probe, purge_probes
from shared.store.sightings import Span
from shared.store.store import Store
from shared.strangers.strangers import Strangers

_MAX_EVENTS = 5000
_LIMIT_AFTER = 500  # probes that were kept
_CLOCK = "clock"  # a fact: what a trusted clock showed last


class SightingRequests:
    """The requests on one store's sightings. Call those that change rows inside its transaction."""

    def __init__(self, store: Store, strangers: Strangers, site: SiteSettings, say: Say) -> None:
        self._store, self._strangers, self._site, self._say = store, strangers, site.name, say
        self._keep_crops_days, self._keep_unknowns_days = site.keep_crops_days, site.keep_unknowns_days
        self._probes_kept = 0  # since the number of probes was limited last
        self._presence: Presence | None = None
        self.new: list[Sighting] = []  # added by the current group of writes

    def record(self, request: Record, _: Changes) -> Recorded:
        """Keep events as sightings. Unsound events are refused, each by itself. Raises RefusedError if all are."""
        presence = self._presence = self._presence or self._stored_presence()
        sound, faults = [], []
        for document in request.events:
            try:
                sound.append(Event.from_json(document))
            except RefusedError as error:
                faults.append(error.what)
        if request.events and not sound:
            raise RefusedError("no sighting can be kept", got=faults[0])
        kept = self._store.sightings.record(sound, self._site, self._strangers.take, presence.take)
        with_crop = self._keep_faces(kept)
        self.new += [
            replace(one, probe=None, traces=None, picture=None, crop=True if one.id in with_crop else None)
            for one in kept
        ]
        return Recorded(recorded=len(kept), refused=faults)

    def _keep_faces(self, kept: Sequence[Sighting]) -> set[int]:
        """Keep the embeddings and pictures that decided these sightings. None of somebody who was deleted meanwhile, and no picture that
        could not be found again by an embedding. Returns the ids of those that have a picture now."""
        if not self._keep_crops_days:
            return set()
        now, with_crop = datetime.now(UTC), set()
        for sighting in kept:
            has_face = self._keep_probe(sighting, now) or sighting.unknown is not None
            wanted = has_face and (sighting.person is not None or self._keep_unknowns_days > 0)
            if wanted and sighting.picture and keep_crop(self._store, sighting.id, sighting.picture, now):
                with_crop.add(sighting.id)
        if self._probes_kept >= _LIMIT_AFTER:
            drop_beyond_limit(self._store)
            drop_crops_beyond_limit(self._store)
            self._probes_kept = 0
        return with_crop

    def _keep_probe(self, sighting: Sighting, now: datetime) -> bool:
        person = None if sighting.nearest is None else self._store.sightings.current_person(sighting.nearest)
        is_kept = person is not None and keep_probe(self._store, sighting.id, sighting, person, now)
        self._probes_kept += is_kept
        return is_kept

    def tell_correction(self, correction: Correction, judged: str) -> None:
        """Store and report a sighting which says what was judged of an earlier one."""
        self.new.append(
            self._store.sightings.add(
                Sighting(
                    id=0,
                    key=uuid.uuid4().hex,
                    event="corrected",
                    time=iso_time(time.time()),
                    site=self._site,
                    camera=correction.camera,
                    track=correction.track,
                    person=correction.person,
                    user_id=user_id_of(self._store, correction.person),
                    corrects=correction.sighting,
                    judged=judged,
                )
            )
        )

    def _stored_presence(self) -> Presence:
        """Who was seen where, from the sightings of the last minutes. So a writer that replaces another one knows it, too."""
        presence = Presence()
        since = (datetime.now(UTC) - timedelta(seconds=WITHIN_S)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for sighting in self._store.sightings.since(since=since, limit=_MAX_EVENTS):
            presence.take(sighting)
        return presence

    def forget_presence(self) -> None:
        """Forget who was seen where, because a person was forgotten. It is read anew from the sightings that are left."""
        self._presence = None

    def listed(self, request: Sightings) -> SightingsPage:
        """One page of kept sightings, oldest first, and the last id given out."""
        found = self.since(request.after_id, request.since, min(request.limit, _MAX_EVENTS))
        return SightingsPage(events=found, last_id=self._store.sightings.last_id())

    def found(self, request: FindSightings) -> SightingsFound:
        """One page of kept sightings, newest first."""
        events, before_id = self._store.sightings.found(
            request.before_id,
            request.after_id,
            request.person,
            request.cameras,
            request.kinds,
            max(0, min(request.limit, _MAX_EVENTS)),
            Span(request.since, request.until),
            None if request.unknown is None else stranger_number(request.unknown),
        )
        return SightingsFound(events=self._marked(events), before_id=before_id)

    def crop(self, request: FindCrop) -> CropFound:
        """The picture of the face that decided a sighting, if it is still kept."""
        sighting = self._store.sightings.find(request.sighting)
        jpeg = None if sighting is None else crop_of(self._store, request.sighting)
        if sighting is None or jpeg is None:
            return CropFound(camera=None, jpeg=None)
        return CropFound(camera=sighting.camera, jpeg=base64.b64encode(jpeg).decode())

    def _marked(self, found: list[Sighting]) -> list[Sighting]:
        """The sightings with their `crop`."""
        having = with_crops(self._store, [one.id for one in found])
        return [replace(one, crop=True) if one.id in having else one for one in found]

    def since(self, after_id: int, since: str | None, limit: int) -> list[Sighting]:
        """Kept sightings, oldest first. Rows that can't be read are left out, and each is logged once."""
        sightings = self._store.sightings
        known = set(sightings.unreadable)
        found = sightings.since(after_id, since, limit)
        if new := sightings.unreadable - known:
            self._say(f"{len(new)} stored sightings can't be read and are left out, the first is number {min(new)}")
        return self._marked(found)


class Purged(NamedTuple):
    """Whether anything was deleted; then the WAL holds it until it is emptied. `corrections`: sightings whose correction was deleted."""

    anything: bool
    corrections: list[int]


class Retention:
    """Deletes sightings, probes, crops, corrections, strangers, deletion marks and notes for undoing that are kept no longer, if the clock can be
    trusted."""

    def __init__(self, store: Store, strangers: Strangers, site: SiteSettings, say: Say) -> None:
        self._store, self._strangers, self._site, self._say = store, strangers, site, say
        self._clock: ClockWatch | None = None

    def purge(self, now: datetime | None = None, elapsed_s: float | None = None) -> Purged:
        """Delete what is kept no longer.

        `now`, `elapsed_s`: as for ClockWatch.trusts; None: this machine's. On a full disk nothing is deleted until the next call.
        """
        now = now or datetime.now(UTC)
        self._clock = self._clock or ClockWatch(self._known_clock())
        trusted = self._clock.trusts(now, _elapsed_s() if elapsed_s is None else elapsed_s)
        deleted, site = 0, self._site
        corrections: list[int] = []
        try:
            with self._store.transaction():
                if trusted or not site.keep_sightings_days:  # keeping nothing at all needs no clock
                    deleted += self._store.sightings.purge(site.keep_sightings_days, now)
                if trusted or not site.keep_unknowns_days:
                    deleted += self._strangers.purge(now)
                if trusted or not site.keep_crops_days:
                    deleted += purge_probes(self._store, site.keep_crops_days, now)
                deleted += purge_crops(self._store, site.keep_crops_days, site.keep_unknowns_days, now, trusted=trusted)
                deleted += (
                    drop_beyond_limit(self._store) + drop_crops_beyond_limit(self._store) + drop_lost_crops(self._store)
                )
                if trusted:
                    corrections = purge_corrections(self._store, site.keep_corrections_days, now)
                    deleted += drop_old_marks(self._store, now)
                    drop_expired(self._store, now)
                    deleted += people.drop_old_undo(self._store, now)
                    self._note_clock(now)
                pictures = self._strangers.mend()
        except RollcallError as error:
            self._strangers.undo()
            self._say(f"old sightings could not be deleted: {error.line()}")
            return Purged(False, [])
        for one in remove(self._strangers.settle()):
            self._say(f"could not be removed: {one.path}: {one.reason}")
        self._strangers.pictures.sweep(pictures)
        return Purged(bool(deleted or corrections), corrections)

    def _note_clock(self, now: datetime) -> None:
        """Once an hour, note what a trusted clock shows. A later start compares its own clock with it."""
        known = self._store.fact(_CLOCK)
        if known is None or not timedelta(0) <= now - datetime.fromisoformat(known) < timedelta(hours=1):
            self._store.set_fact(_CLOCK, now.isoformat())

    def _known_clock(self) -> datetime | None:
        known = self._store.fact(_CLOCK)
        if known is not None:
            return datetime.fromisoformat(known)
        kept = self._strangers.listed(limit=1) or list_corrections(self._store, 0, 1)
        if not kept and not self._store.sightings.first_id():
            return datetime.now(UTC)  # there is nothing that a wrong clock could delete
        return self._store.sightings.last_recorded()


def _elapsed_s() -> float:
    """Seconds of a clock that nobody can set. On Linux it also counts while the machine sleeps, as the wall clock does."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()
