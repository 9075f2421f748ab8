"""Requests on corrections: a person judges a sighting wrong or right, takes that back, lists what was judged.

*Wrong* withholds the face from its next match on, on every camera. *Right* notes that the name was right, or that a near miss was this
person, and with `learn` makes the face a reference. Recognition itself never adds one. Each verdict is told as a sighting `corrected`, so
that programs which acted on the first one learn of it. Forgetting a correction is in forgetting.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from shared.errors import RefusedError
from shared.events import Sighting
from shared.ipc.requests.corrections import Corrections, CorrectionsPage, Judged, Right, UndoCorrection, Undone, Wrong
from shared.records import Correction, NewReference
from shared.service.changes import Changes
from shared.service.negatives import negative_rows, negative_step
from shared.service.references import ReferenceRequests
from shared.service.sightings import SightingRequests
from shared.store.corrections import (
    RIGHT,
    WRONG,
    correction_of,
    list_corrections,
    note_correction,
    remove_corrections,
)
from shared.store.references import delete_learned, image_path_of
from shared.store.resemblance import Resembled, Search, is_alike, resembled
from shared.store.sighting_probes import Probe, probe_of
from shared.store.store import Store
from shared.uuid7 import new_uuids

_MAX_PAGE = 1000
_CAN_BE_JUDGED = ("named", "left")


class CorrectionRequests:
    """The requests on one store's corrections. Call those that change rows inside its transaction."""

    def __init__(
        self,
        store: Store,
        sightings: SightingRequests,
        references: ReferenceRequests,
        keep_days: int,
        search: Callable[[], Search | None],
    ) -> None:
        """`keep_days`: after how many days a correction expires. `search()`: the search in the published gallery, or None."""
        self._store, self._sightings, self._references = store, sightings, references
        self._keep_days, self._search = keep_days, search

    def wrong(self, request: Wrong, changes: Changes) -> Judged:
        """Judge a sighting wrong. One that was judged so before is answered as done.

        Raises RefusedError if nobody was named, not even nearly; if the face is no longer kept; or if the person is not enrolled any more.
        """
        known = correction_of(self._store, request.sighting)
        if known is not None and known.judged == WRONG:
            return self._answer(known, already=True)
        event, probe = self._require_probe(request.sighting)
        if known is not None:
            self._take_back(known, changes)
        own, other = self._resembled(probe, changes)
        _require_enrolled(own, probe)
        theirs = other if is_alike(self._store, other) else None
        made = self._made(event, WRONG, probe, against_all=theirs is None, reference=own.reference if own else None)
        note_correction(self._store, made, probe.vector)
        changes.steps += negative_step(self._store, [made.sighting])
        self._sightings.tell_correction(made, WRONG)
        answer = self._answer(made, replaced=known)
        return replace(answer, looks_like=theirs.person if theirs else None)

    def right(self, request: Right, changes: Changes) -> Judged:
        """Judge a sighting right. One that was judged so before is answered as done; its face can still be learned.

        Raises RefusedError as `wrong`; and if the face can't be learned.
        """
        known = correction_of(self._store, request.sighting)
        if known is not None and known.judged == RIGHT and (known.reference is not None or not request.learn):
            return self._answer(known, already=True)
        event, probe = self._require_probe(request.sighting)
        if known is not None:
            self._take_back(known, changes)
        reference, warning = self._learn(event, probe, changes) if request.learn else (None, None)
        made = self._made(event, RIGHT, probe, against_all=False, reference=reference)
        note_correction(self._store, made, None)
        self._sightings.tell_correction(made, RIGHT)
        return self._answer(made, replaced=known).with_warnings([warning] if warning else [])

    def undo(self, request: UndoCorrection, changes: Changes) -> Undone:
        """Take back what was judged of a sighting, with the reference that was learned from it. Raises RefusedError if nothing was."""
        known = correction_of(self._store, request.sighting)
        if known is None:
            raise RefusedError(
                "this event was not judged", where=_event(request.sighting), remedy="see: supervisor.py wrong --list"
            )
        unlearned = self._take_back(known, changes)
        self._sightings.tell_correction(known, "undone")
        return Undone(sighting=known.sighting, judged=known.judged, person=known.person, unlearned=unlearned)

    def listed(self, request: Corrections) -> CorrectionsPage:
        """One page of corrections, by the ids of their sightings."""
        return CorrectionsPage(corrections=list_corrections(self._store, request.after, min(request.limit, _MAX_PAGE)))

    # --- the steps ---------------------------------------------------------------------------------------------

    def _require_probe(self, sighting: int) -> tuple[Sighting, Probe]:
        where = _event(sighting)
        event, probe = self._store.sightings.find(sighting), probe_of(self._store, sighting)
        if event is None:
            was_there = 0 < sighting <= self._store.sightings.last_id()
            raise RefusedError(
                "the event is no longer kept" if was_there else "no such event",
                where=where,
                remedy="see: supervisor.py events --since 2h",
            )
        if event.event not in _CAN_BE_JUDGED or event.verdict == "unknown":
            raise RefusedError(
                "there is nothing to correct: it shows nobody who was named, or nearly",
                where=where,
                got=event.event,
                expected="an event named, or left",
            )
        if probe is None or probe.fingerprint != self._store.fingerprint:
            raise RefusedError(
                "its face is no longer kept" if event.person else "no face is kept of it, or it is no longer kept",
                where=where,
                expected="an event of the last [site] keep_crops_days, of the gallery's model, with a person or a near miss",
                remedy="correct a later event of the same face",
            )
        return event, probe

    def _resembled(self, probe: Probe, changes: Changes) -> tuple[Resembled | None, Resembled | None]:
        """The reference of the probe's person, and that of anybody else, that resemble it most. The gallery is searched as it is published:
        reading a million rows of the file takes seconds, in which the writer answers nobody."""
        before = changes.before or Changes()
        search = None if before.republish else self._search()
        return resembled(self._store, probe.vector, probe.person, search, before.saved)

    def _made(
        self, event: Sighting, judged: str, probe: Probe, *, against_all: bool, reference: int | None
    ) -> Correction:
        now = datetime.now(UTC)
        return Correction(
            event.id,
            judged,
            probe.person,
            event.camera,
            event.track,
            _time(now),
            _time(now + timedelta(days=self._keep_days)),
            against_all,
            True,
            reference,
        )

    def _learn(self, event: Sighting, probe: Probe, changes: Changes) -> tuple[int, str | None]:
        """Make the probe a reference of its person. Returns the reference's id, and a warning."""
        if not probe.clear:
            raise RefusedError(
                "the face can't be learned: its picture did not pass the quality gate",
                where=_event(event.id),
                expected="a sharp, bright face that looks at the camera",
                remedy="right without --learn, or enrol a photo",
            )
        own, other = self._resembled(probe, changes)
        _require_enrolled(own, probe)
        if own is not None and other is not None and other.score >= own.score:
            raise RefusedError(
                "the face can't be learned: it looks more like somebody else",
                where=_event(event.id),
                got=f"{other.person} ({other.score:.2f})",
                expected=f"{own.person} ({own.score:.2f})",
                remedy="right without --learn, or enrol a photo",
            )
        saved = self._references.add(
            [NewReference(probe.person, uuid=new_uuids(1)[0])], probe.vector.reshape(1, -1), changes
        )
        return saved.ids[0], saved.warning

    def _take_back(self, known: Correction, changes: Changes) -> int:
        """Delete a correction and what it did. Returns how many references were unlearned."""
        remove_corrections(self._store, [known.sighting])
        changes.steps.append(negative_rows([known.sighting]))
        if known.judged == WRONG or known.reference is None:
            return 0
        if not delete_learned(self._store, known.reference, known.person):
            return 0
        changes.steps.append([known.reference])
        return 1

    def _answer(self, known: Correction, *, already: bool = False, replaced: Correction | None = None) -> Judged:
        return Judged(
            sighting=known.sighting,
            judged=known.judged,
            person=known.person,
            already=already,
            replaced=replaced.judged if replaced is not None and replaced.judged != known.judged else None,
            against_all=known.against_all,
            reference=known.reference,
            photo=None if known.reference is None else image_path_of(self._store, known.reference),
            expires_at=known.expires_at,
        )


def _require_enrolled(own: Resembled | None, probe: Probe) -> None:
    if own is None:
        raise RefusedError("nobody of that name", where=probe.person, remedy="see: supervisor.py people")


def _event(sighting: int) -> str:
    return f"event {sighting}"


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S.%fZ}"
