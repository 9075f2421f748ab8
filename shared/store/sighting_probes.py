"""The table of probes: for a sighting that named somebody, or nearly did, the embedding that decided it.

With its probe, a sighting can be judged wrong or right later (corrections.py). A probe is kept as long as the settings say, and never for
longer than its sighting. Nothing is kept of a face that came near nobody, and copies of the database hold no probes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import NORM_TOLERANCE, cosines, from_text
from shared.errors import RefusedError
from shared.events import Event
from shared.person_names import name_key
from shared.process.work_progress import beat
from shared.store.store import Store

MAX_PROBES = 50_000  # with 512 numbers each: 100 MB of the file
ALIKE = "alike"  # a fact: the cosine at which the cameras' model counts two faces as one person's
_AHEAD = timedelta(days=1)  # the clock may have been ahead by up to this when a probe was written
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class Probe:
    """What is kept of one sighting. `vector` (dim,) float32 of unit L2 norm; `person`: who was named, or whom the face resembles most."""

    fingerprint: str
    vector: NDArray[np.float32]
    person: str
    clear: bool


def keep_probe(store: Store, sighting: int, event: Event, person: str, now: datetime) -> bool:
    """Keep the probe of an event that was stored as `sighting`. Returns whether it was kept.

    It is not kept if it is malformed, or of another model than the gallery's. `person`: what the event's person is called now.
    """
    if event.probe is None or event.fingerprint is None or event.fingerprint != store.fingerprint:
        return False
    try:
        vector = from_text(event.probe, "probe")
    except (RefusedError, ValueError):
        return False
    if len(vector) != store.dim or event.alike is None or not 0 < event.alike < 1:
        return False
    store.connection.execute(
        "INSERT OR REPLACE INTO sighting_probes VALUES (?, ?, ?, ?, ?, ?)",
        (sighting, event.fingerprint, vector.astype("<f4").tobytes(), person, int(bool(event.clear)), _time(now)),
    )
    if store.fact(ALIKE) != str(event.alike):
        store.set_fact(ALIKE, str(event.alike))
    return True


def probe_of(store: Store, sighting: int) -> Probe | None:
    """The probe of a sighting, if it is still kept."""
    row = store.connection.execute(
        "SELECT fingerprint, embedding, person, clear FROM sighting_probes WHERE sighting=?", (sighting,)
    ).fetchone()
    return None if row is None else Probe(row[0], np.frombuffer(row[1], "<f4"), row[2], bool(row[3]))


def alike_of(store: Store) -> float | None:
    """The cosine at which two faces count as one person's. None if no camera has sent it yet."""
    known = store.fact(ALIKE)
    return None if known is None else float(known)


def drop_beyond_limit(store: Store) -> int:
    """Delete the oldest probes beyond MAX_PROBES. Returns how many."""
    return store.connection.execute(
        "DELETE FROM sighting_probes WHERE kept_at<="
        "(SELECT kept_at FROM sighting_probes ORDER BY kept_at DESC LIMIT 1 OFFSET ?)",
        (MAX_PROBES,),
    ).rowcount


def purge_probes(store: Store, keep_days: int, now: datetime) -> int:
    """Delete the probes that were kept more than `keep_days` ago. Returns how many. One that is dated ahead counts from now."""
    limit, ahead = _time(now - timedelta(days=keep_days)), _time(now + _AHEAD)
    store.connection.execute("UPDATE sighting_probes SET kept_at=? WHERE kept_at>?", (_time(now), ahead))
    return store.connection.execute("DELETE FROM sighting_probes WHERE ? OR kept_at<?", (not keep_days, limit)).rowcount


def forget_probe(store: Store, sighting: int) -> int:
    """Delete the probe of one sighting. Returns how many there were."""
    return store.connection.execute("DELETE FROM sighting_probes WHERE sighting=?", (sighting,)).rowcount


def forget_probes_of(store: Store, person: str) -> int:
    """Delete the probes of a person, in every spelling of the name. Returns how many."""
    wanted = name_key(person)
    names = store.connection.execute("SELECT DISTINCT person FROM sighting_probes").fetchall()
    return sum(
        store.connection.execute("DELETE FROM sighting_probes WHERE person=?", (name,)).rowcount
        for (name,) in names
        if name_key(name) == wanted
    )


def forget_probes_like(store: Store, vectors: NDArray[np.float32], alike: float) -> int:
    """Delete the probes whose cosine with one of `vectors` (n, dim; unit L2 norm) reaches `alike`. Returns how many."""
    found = sightings_like(store, "sighting_probes", vectors, alike)
    return store.connection.execute(
        "DELETE FROM sighting_probes WHERE sighting IN (SELECT value FROM json_each(?))", (json.dumps(found),)
    ).rowcount


def probes_of_model_only(store: Store, fingerprint: str) -> int:
    """Delete the probes of other models. Returns how many."""
    return store.connection.execute("DELETE FROM sighting_probes WHERE fingerprint<>?", (fingerprint,)).rowcount


def sightings_like(store: Store, table: str, vectors: NDArray[np.float32], alike: float) -> list[int]:
    """The sightings in `table` whose embedding reaches `alike` with one of `vectors` (n, dim; unit L2 norm)."""
    found: list[int] = []
    last = 0
    while rows := store.connection.execute(
        f"SELECT sighting, embedding FROM {table} WHERE sighting>? AND LENGTH(embedding)=? ORDER BY sighting LIMIT ?",  # noqa: S608  # our own tables
        (last, 4 * vectors.shape[1], _ROWS_AT_ONCE),
    ).fetchall():
        beat()
        known = np.frombuffer(b"".join(blob for _, blob in rows), "<f4").reshape(len(rows), -1)
        close = cosines(known, vectors).max(axis=1) >= alike
        found += [sighting for (sighting, _), is_close in zip(rows, close.tolist(), strict=True) if is_close]
        last = rows[-1][0]
    return found


def unsound_embeddings(store: Store, table: str) -> list[int]:
    """The sightings in `table` whose embedding is of the gallery's model and can't be used."""
    rows = store.connection.execute(
        f"SELECT sighting, embedding FROM {table} WHERE embedding IS NOT NULL AND fingerprint=? ORDER BY sighting",  # noqa: S608  # our own tables
        (store.fingerprint,),
    )
    return [sighting for sighting, blob in rows if not is_sound(blob, store.dim or 0)]


def is_sound(blob: object, dim: int) -> bool:
    """Whether this is an embedding of `dim` numbers with unit norm."""
    if not isinstance(blob, bytes) or len(blob) != 4 * dim or not dim:
        return False
    return bool(abs(float(np.linalg.norm(np.frombuffer(blob, "<f4"))) - 1) < NORM_TOLERANCE)


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S.%fZ}"
