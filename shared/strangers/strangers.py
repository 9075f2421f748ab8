"""Strangers: people who were seen and are not enrolled. A stranger who comes back gets the same id again. The id reveals nothing.

A stranger has a number that is never given twice, and a few traces. A *trace* is the embedding, the quality and the picture of one
crop. Which stranger a track shows is decided once, at the track's first event: its traces are compared with all kept traces. If the
best cosine reaches `alike`, the cosine at which the camera names people, the track shows that trace's stranger; otherwise a new one.
All later events of the track belong to the same stranger and to the same visit.

How well this works, with insightface's small pack on lfw_mini's 30 people, one photo a visit (`tests/component/test_strangers.py`): no
id is given to two people, and 29 of the 30 people have a single id. A trial of the rule alone kept the first five photos of each
person, in that order and in 19 shuffled ones. At .45 no order mixed two people, at .42 one did, at .40 four did; at .50 only 27 people
had a single id. dlib's .945 splits more: 17 people had a single id, and a few orders mixed two people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import RollcallError, Say
from shared.events import Event, stranger_id
from shared.photos.kept import Kept
from shared.records import Stranger
from shared.store.store import Store
from shared.strangers.pictures import Pictures
from shared.strangers.traces import Offer, Trace, TraceIndex, offer_of

# With 5 traces of 512 numbers each this is 50 MB of the writer's memory. Beyond it, the stranger seen longest ago is removed.
MAX_STRANGERS = 5000
MAX_TRACES = 5
FOLDER = "strangers"  # in data_dir

_MAX_CAMERAS = 64  # remembered for each stranger
_ENDS_VISITS = frozenset({"camera_up", "camera_down"})


class _Kept(NamedTuple):
    id: int
    quality: float
    vector: NDArray[np.float32]
    photo: str


class Strangers:
    """The strangers of one store, and their pictures.

    Call what changes rows inside the store's transaction. Then call `settle` after the commit, or `undo` after a rollback.
    """

    def __init__(self, store: Store, data_dir: Path, keep_days: int, say: Say) -> None:
        """`keep_days`: strangers who were first seen longer ago are removed. 0: nothing of a stranger is kept, and none gets an id."""
        self._store, self._keep_days = store, keep_days
        self._execute = store.connection.execute
        self.pictures = Pictures(data_dir / FOLDER)
        self._index: tuple[str, TraceIndex] | None = None
        self._say, self._complained = say, False
        self._forgotten: set[tuple[str, int | None]] = set()  # (camera, track) of strangers forgotten while in view

    # --- events ------------------------------------------------------------------------------------------------

    def take(self, event: Event) -> int | None:
        """Process a new event. Returns the number of its stranger; None if it shows none. Give each event once.

        A sighting is worth more than its stranger's number. So if the stranger can't be kept (the folder can't be written, the traces
        are malformed), the sighting is kept without one.
        """
        mark = self.pictures.mark()
        try:
            with self._store.savepoint():
                return self._take(event)
        except (RollcallError, KeyError, TypeError, ValueError) as error:
            if not self._store.connection.in_transaction:
                raise  # a full disk rolled back everything
            self.undo(mark)
            self._complain(error)
            return None

    def _complain(self, error: Exception) -> None:
        if not self._complained:  # logged once, not for every stranger
            line = error.line() if isinstance(error, RollcallError) else f"malformed traces ({type(error).__name__})"
            self._say(f"a stranger could not be kept: {line}; strangers get no id until that is fixed")
        self._complained = True

    def _take(self, event: Event) -> int | None:
        kind, camera = event.event, event.camera
        if kind in _ENDS_VISITS:
            self._execute("DELETE FROM stranger_visits WHERE camera=?", (camera,))
            self._forgotten = {place for place in self._forgotten if place[0] != camera}
            return None
        if kind == "unknown" or (kind == "left" and event.verdict == "unknown"):
            return self._meet(event)
        if kind == "named" and event.person is not None:
            self._is_no_stranger(camera, event.track, event.person)
        elif kind == "left":
            self._end_visit(camera, event.track)
        return None

    def _meet(self, event: Event) -> int | None:
        offer = offer_of(event) if self._keep_days else None
        if offer is not None and self._store.fingerprint not in (None, offer.fingerprint):
            offer = None  # the gallery's model was switched, and this camera still uses the old one
        camera, track, time = event.camera, event.track, event.ended or event.time
        if (camera, track) in self._forgotten:  # the track's pictures were taken before the stranger was forgotten
            if event.event == "left":
                self._forgotten.discard((camera, track))
            return None
        if offer is not None and self._store.fact("alike") != str(offer.alike):
            self._store.set_fact("alike", str(offer.alike))
        number = self._visitor(camera, track)
        if number is None:
            if offer is None:
                return None
            number = self._find(offer) or self._new(event.started or time)
            self._execute("UPDATE strangers SET visits=visits+1 WHERE id=?", (number,))
            if track is not None:
                self._execute("INSERT INTO stranger_visits VALUES (?, ?, ?)", (camera, track, number))
        if event.event == "left":
            self._end_visit(camera, track)
        self._seen(number, camera, time)
        if offer is not None:
            self._keep_best(number, offer)
        return number

    def _is_no_stranger(self, camera: str, track: int | None, person: str) -> None:
        """A stranger's track got a name. If the stranger was seen in no other track, they are this person, and the stranger goes."""
        number = self._visitor(camera, track)
        self._end_visit(camera, track)
        if number is not None:
            (visits,) = self._execute("SELECT visits FROM strangers WHERE id=?", (number,)).fetchone()
            if visits == 1:
                self._store.sightings.give_to(number, person)
                self.remove(number)

    def _visitor(self, camera: str, track: int | None) -> int | None:
        row = self._execute(
            "SELECT stranger FROM stranger_visits WHERE camera=? AND track=?", (camera, track)
        ).fetchone()
        return None if row is None else int(row[0])

    def _end_visit(self, camera: str, track: int | None) -> None:
        self._execute("DELETE FROM stranger_visits WHERE camera=? AND track=?", (camera, track))

    def _find(self, offer: Offer) -> int | None:
        probes = np.stack([trace.embedding for trace in offer.traces])
        found = self._index_of(offer.fingerprint, probes.shape[1]).best(probes)
        return found[0] if found is not None and found[1] >= offer.alike else None

    def _new(self, time: str) -> int:
        cursor = self._execute(
            "INSERT INTO strangers(first_seen, last_seen, visits, cameras) VALUES (?, ?, 0, '[]')", (time, time)
        )
        number = int(cursor.lastrowid or 0)
        (count,) = self._execute("SELECT COUNT(*) FROM strangers").fetchone()
        for (oldest,) in self._execute(
            "SELECT id FROM strangers WHERE id<>? ORDER BY last_seen, id LIMIT ?",
            (number, max(0, count - MAX_STRANGERS)),
        ).fetchall():
            self.remove(oldest)
        return number

    def _seen(self, number: int, camera: str, time: str) -> None:
        (known,) = self._execute("SELECT cameras FROM strangers WHERE id=?", (number,)).fetchone()
        others = [other for other in json.loads(known) if other != camera]
        self._execute(
            "UPDATE strangers SET last_seen=MAX(last_seen, ?), cameras=? WHERE id=?",
            (time, json.dumps([*others[1 - _MAX_CAMERAS :], camera]), number),
        )

    # --- traces ------------------------------------------------------------------------------------------------

    def _keep_best(self, number: int, offer: Offer) -> None:
        """Keep the best traces, but of near-duplicates only the best: five different traces help more than one trace five times."""
        kept = list(self._traces(number, offer.fingerprint))
        for trace in offer.traces:
            rivals = [old for old in kept if float(old.vector @ trace.embedding) >= offer.nearly_same]
            if not rivals and len(kept) >= MAX_TRACES:
                rivals = [min(kept, key=lambda old: old.quality)]
            if any(old.quality >= trace.quality for old in rivals):
                continue
            self._drop_traces(rivals)
            kept = [old for old in kept if old not in rivals]
            kept.append(self._add_trace(number, offer.fingerprint, trace))

    def _traces(self, number: int, fingerprint: str) -> Iterator[_Kept]:
        for row_id, quality, blob, photo in self._execute(
            "SELECT id, quality, embedding, photo FROM stranger_traces WHERE stranger=? AND fingerprint=?",
            (number, fingerprint),
        ).fetchall():
            yield _Kept(row_id, quality, np.frombuffer(blob, "<f4"), photo)

    def _add_trace(self, number: int, fingerprint: str, trace: Trace) -> _Kept:
        index = self._index_of(fingerprint, len(trace.embedding))
        photo = self.pictures.write(number, trace.photo)
        cursor = self._execute(
            "INSERT INTO stranger_traces(stranger, fingerprint, quality, embedding, photo) VALUES (?, ?, ?, ?, ?)",
            (number, fingerprint, trace.quality, trace.embedding.astype("<f4").tobytes(), photo),
        )
        row_id = int(cursor.lastrowid or 0)
        index.add(row_id, number, trace.embedding)
        return _Kept(row_id, trace.quality, trace.embedding, photo)

    def _drop_traces(self, traces: list[_Kept]) -> None:
        for trace in traces:
            self._execute("DELETE FROM stranger_traces WHERE id=?", (trace.id,))
        self.pictures.doom(trace.photo for trace in traces)
        if self._index is not None:
            self._index[1].drop(trace.id for trace in traces)

    def _index_of(self, fingerprint: str, dim: int) -> TraceIndex:
        """All traces of this model in memory. They are read once; after that every change of the table is made here, too."""
        if self._index is None or self._index[0] != fingerprint or self._index[1].dim != dim:
            index = TraceIndex(dim)
            for row_id, number, blob in self._execute(
                "SELECT id, stranger, embedding FROM stranger_traces WHERE fingerprint=? AND LENGTH(embedding)=?",
                (fingerprint, 4 * dim),
            ):
                index.add(row_id, number, np.frombuffer(blob, "<f4"))
            self._index = fingerprint, index
        return self._index[1]

    # --- queries -----------------------------------------------------------------------------------------------

    def listed(self, after: int = 0, limit: int = 1000) -> list[Stranger]:
        """At most `limit` strangers with a number > `after`, by number. Their `photos`: paths relative to data_dir, the best first."""
        rows = self._execute(
            "SELECT id, first_seen, last_seen, visits, cameras FROM strangers WHERE id>? ORDER BY id LIMIT ?",
            (after, max(0, limit)),
        ).fetchall()
        return [
            Stranger(stranger_id(number), first, last, visits, json.loads(cameras), self._photos(number))
            for number, first, last, visits, cameras in rows
        ]

    def _photos(self, number: int) -> list[str]:
        rows = self._execute("SELECT photo FROM stranger_traces WHERE stranger=? ORDER BY quality DESC, id", (number,))
        return [f"{FOLDER}/{photo}" for (photo,) in rows]

    def is_kept(self, number: int) -> bool:
        """Whether there is a stranger with this number now."""
        return self._execute("SELECT 1 FROM strangers WHERE id=?", (number,)).fetchone() is not None

    def was_met(self, number: int) -> bool:
        """Whether this number was ever given to a stranger."""
        row = self._execute("SELECT seq FROM sqlite_sequence WHERE name='strangers'").fetchone()
        return row is not None and 0 < number <= row[0]

    def check(self) -> list[str]:
        """Pictures without a row, and rows without a picture, one line each."""
        known, present = self._known_photos(), self.pictures.present()
        return [f"{FOLDER}/{name}: a stranger's picture is missing" for name in sorted(known - present)] + [
            f"{FOLDER}/{name}: a picture that no stranger has" for name in sorted(present - known)
        ]

    def _known_photos(self) -> set[str]:
        return {photo for (photo,) in self._execute("SELECT photo FROM stranger_traces")}

    # --- removal -----------------------------------------------------------------------------------------------

    def forget(self, number: int) -> int:
        """As `remove`, and from now on ignore the tracks in which the stranger is in view. Returns how many pictures."""
        for camera, track in self._execute("SELECT camera, track FROM stranger_visits WHERE stranger=?", (number,)):
            self._forgotten.add((camera, track))
        return self.remove(number)

    def vectors_of(self, number: int) -> NDArray[np.float32]:
        """The embeddings (n, dim) of a stranger that are of the gallery's model."""
        size = 4 * (self._store.dim or 1)
        rows = self._execute(
            "SELECT embedding FROM stranger_traces WHERE stranger=? AND fingerprint=? AND LENGTH(embedding)=?",
            (number, self._store.fingerprint, size),
        ).fetchall()
        return np.frombuffer(b"".join(blob for (blob,) in rows), "<f4").reshape(-1, size // 4)

    def forget_like(self, vectors: NDArray[np.float32]) -> int:
        """Forget every stranger whose cosine with one of `vectors` (n, dim; unit L2 norm) reaches `alike`. Returns how many.

        `alike` is the last one that a camera sent: the cosine at which a stranger gets the same id again.
        """
        alike, fingerprint = self._store.fact("alike"), self._store.fingerprint
        gone = 0
        while alike and fingerprint and len(vectors):
            found = self._index_of(fingerprint, vectors.shape[1]).best(vectors)
            if found is None or found[1] < float(alike):
                break
            self.forget(found[0])
            self._store.sightings.forget_stranger(found[0])
            gone += 1
        return gone

    def remove(self, number: int) -> int:
        """Remove a stranger with embeddings and pictures. The sightings stay. Returns how many pictures."""
        photos = self._execute("SELECT id, photo FROM stranger_traces WHERE stranger=?", (number,)).fetchall()
        self._execute("DELETE FROM strangers WHERE id=?", (number,))
        self.pictures.doom(photo for _, photo in photos)
        if self._index is not None:
            self._index[1].drop(row_id for row_id, _ in photos)
        return len(photos)

    def purge(self, now: datetime | None = None) -> int:
        """Remove strangers first seen more than `keep_days` ago, however often they came back. Returns how many."""
        now = now or datetime.now(UTC)
        limit, today = now - timedelta(days=self._keep_days), f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"
        # A time in the future comes from a clock that was ahead. The stranger was seen by now, so `now` is the latest possible time.
        self._execute("UPDATE strangers SET first_seen=?1, last_seen=?1 WHERE first_seen>?1", (today,))
        rows = self._execute(
            "SELECT id FROM strangers WHERE ? OR first_seen<?",
            (not self._keep_days, limit.strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
        ).fetchall()
        for (number,) in rows:
            self.remove(number)
        return len(rows)

    def of_model_only(self, fingerprint: str) -> int:
        """Remove strangers without a trace of this model: it can't recognise them. Returns how many."""
        rows = self._execute(
            "SELECT id FROM strangers WHERE NOT EXISTS "
            "(SELECT 1 FROM stranger_traces t WHERE t.stranger=strangers.id AND t.fingerprint=?)",
            (fingerprint,),
        ).fetchall()
        for (number,) in rows:
            self.remove(number)
        return len(rows)

    def mend(self) -> set[str]:
        """Remove traces whose picture is missing, and strangers with no trace left, after a killed process or a lost disk write.

        Returns the names of all pictures that had a row, for `pictures.sweep`.
        """
        known = self._known_photos()
        if missing := known - self.pictures.present():
            for name in missing:
                self._execute("DELETE FROM stranger_traces WHERE photo=?", (name,))
            self._execute("DELETE FROM strangers WHERE id NOT IN (SELECT stranger FROM stranger_traces)")
            self._index = None
        return known

    # --- transactions ------------------------------------------------------------------------------------------

    def undo(self, mark: tuple[int, int] = (0, 0)) -> None:
        """To be called after the rows were rolled back to where `pictures.mark()` was `mark`."""
        self.pictures.undo(mark)
        self._index = None

    def settle(self) -> Kept:
        """To be called after the commit. Returns the pictures that are to be removed now."""
        return self.pictures.settle()
