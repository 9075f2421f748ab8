"""The table of corrections: sightings that a person judged wrong or right.

A wrong one keeps the face that is not the person's. While its model is the gallery's, that face competes in every match like a stranger
with a name of its own, and is never shown as a name (service/publication.py puts it into the block):
- with everybody, if it resembles nobody else who is enrolled;
- with the wrong person only, if it resembles somebody else, who must be named by it.

"Resembles" means that the cosine with a reference reaches `alike`, which cameras send with their probes. A correction has an expiry, and
outlives its sighting. The face is that of somebody who may not be enrolled: it is in the site's backups, and is never synced.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import cosines
from shared.errors import RefusedError
from shared.person_names import name_key
from shared.records import Correction
from shared.store import schema
from shared.store.sighting_probes import (
    alike_of,
    forget_probes_like,
    forget_probes_of,
    is_sound,
    sightings_like,
    unsound_embeddings,
)
from shared.store.store import Store

WRONG, RIGHT = "wrong", "right"
MAX_CORRECTIONS = 10_000
_AHEAD = timedelta(days=1)  # the clock may have been ahead by up to this when a correction was made
_MAX_FAULTS = 20
_COLUMNS = "sighting, verdict, person, camera, track, made_at, expires_at, against_all, fingerprint, embedding IS NOT NULL, reference"


@dataclass(frozen=True, eq=False)
class Negative:
    """The face of a sighting that was judged wrong. `person`: whose it is not. `vector` (dim,) float32 of unit L2 norm."""

    sighting: int
    person: str
    against_all: bool
    vector: NDArray[np.float32]


# --- one correction -------------------------------------------------------------------------------------------------


def correction_of(store: Store, sighting: int) -> Correction | None:
    """The correction of a sighting; None if it was not judged."""
    row = store.connection.execute(f"SELECT {_COLUMNS} FROM corrections WHERE sighting=?", (sighting,)).fetchone()  # noqa: S608  # a constant
    return None if row is None else _correction(store, row)


def list_corrections(store: Store, after: int, limit: int) -> list[Correction]:
    """At most `limit` corrections of sightings with an id > `after`, in the order of the ids."""
    rows = store.connection.execute(
        f"SELECT {_COLUMNS} FROM corrections WHERE sighting>? ORDER BY sighting LIMIT ?",  # noqa: S608  # a constant
        (after, max(0, limit)),
    ).fetchall()
    return [_correction(store, row) for row in rows]


def _correction(store: Store, row: Sequence[Any]) -> Correction:
    sighting, verdict, person, camera, track, made_at, expires_at, against_all, fingerprint, has_face, reference = row
    in_effect = verdict == RIGHT or (bool(has_face) and fingerprint == store.fingerprint)
    return Correction(
        sighting, verdict, person, camera, track, made_at, expires_at, bool(against_all), in_effect, reference
    )


def note_correction(store: Store, made: Correction, face: NDArray[np.float32] | None) -> None:
    """Store a correction in place of an earlier one of the same sighting. `face` (dim,): of a wrong one, of the gallery's model.

    Raises RefusedError if there are too many corrections.
    """
    (count,) = store.connection.execute(
        "SELECT COUNT(*) FROM corrections WHERE sighting<>?", (made.sighting,)
    ).fetchone()
    if count >= MAX_CORRECTIONS:
        raise RefusedError(
            "too many corrections",
            got=count,
            expected=f"fewer than {MAX_CORRECTIONS}",
            remedy="take some back: supervisor.py wrong --list, wrong --undo EVENT_ID",
        )
    store.connection.execute(
        "INSERT OR REPLACE INTO corrections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            made.sighting,
            made.judged,
            made.person,
            made.camera,
            made.track,
            made.made_at,
            made.expires_at,
            None if face is None else store.fingerprint,
            None if face is None else face.astype("<f4").tobytes(),
            int(made.against_all),
            made.reference,
        ),
    )
    store.next_change()


def remove_corrections(store: Store, sightings: Sequence[int]) -> list[int]:
    """Delete the corrections of these sightings. Returns those that had one. A database of an older version has none."""
    if not _is_there(store):
        return []
    chosen = json.dumps(list(sightings))
    found = store.connection.execute(
        "SELECT sighting FROM corrections WHERE sighting IN (SELECT value FROM json_each(?))", (chosen,)
    ).fetchall()
    store.connection.execute("DELETE FROM corrections WHERE sighting IN (SELECT value FROM json_each(?))", (chosen,))
    if found:
        store.next_change()
    return [sighting for (sighting,) in found]


def _is_there(store: Store) -> bool:
    """Whether the database has this table. A backup of an older version has none."""
    return "corrections" in schema.tables(store.connection)


# --- the faces ------------------------------------------------------------------------------------------------------


def negatives(store: Store, sightings: Sequence[int] | None = None) -> list[Negative]:
    """The sound faces of the gallery's model that are withheld: all, or those of these sightings. In the order of the sightings."""
    chosen = "" if sightings is None else "AND sighting IN (SELECT value FROM json_each(?2))"
    values = (store.fingerprint,) if sightings is None else (store.fingerprint, json.dumps(list(sightings)))
    rows = store.connection.execute(
        "SELECT sighting, person, against_all, embedding FROM corrections "  # noqa: S608  # a constant
        f"WHERE verdict='wrong' AND fingerprint=?1 AND embedding IS NOT NULL {chosen} ORDER BY sighting",
        values,
    ).fetchall()
    return [
        Negative(sighting, person, bool(against_all), np.frombuffer(blob, "<f4"))
        for sighting, person, against_all, blob in rows
        if is_sound(blob, store.dim or 0)
    ]


def count_negatives(store: Store) -> int:
    """How many faces are withheld."""
    return len(negatives(store))


class Met(NamedTuple):
    """What new references do to corrections. `narrowed`: sightings whose face now competes with the wrong person only.
    `contradicted`: (sighting, person) of faces that resemble a new reference of the very person whose they are not."""

    narrowed: list[int]
    contradicted: list[tuple[int, str]]


def meet(store: Store, names: Sequence[str], vectors: NDArray[np.float32]) -> Met:
    """Compare new references, `vectors` (n, dim) of unit L2 norm and their people's `names` (n), with the faces that are withheld.

    A face that resembles a new reference of somebody else is that person's: it is narrowed to the wrong person, or the other one could
    not be named.
    """
    known, alike = negatives(store), alike_of(store)
    if not known or alike is None or not len(vectors):
        return Met([], [])
    close = cosines(np.stack([one.vector for one in known]), vectors) >= alike
    narrowed, contradicted = [], []
    for one, row in zip(known, close, strict=True):
        resembling = {names[place] for place in np.flatnonzero(row).tolist()}
        if one.person in resembling:
            contradicted.append((one.sighting, one.person))
        if one.against_all and resembling - {one.person}:
            narrowed.append(one.sighting)
    _narrow(store, narrowed)
    return Met(narrowed, contradicted)


def not_of_but_like(store: Store, person: str, vectors: NDArray[np.float32]) -> list[int]:
    """The sightings whose face was judged not to be `person`'s, and resembles one of `vectors` (n, dim; unit L2 norm)."""
    alike = alike_of(store)
    if alike is None or not len(vectors):
        return []
    close = set(sightings_like(store, "corrections", vectors, alike))
    return [one.sighting for one in negatives(store) if one.person == person and one.sighting in close]


def _narrow(store: Store, sightings: Sequence[int]) -> None:
    if sightings:
        store.connection.execute(
            "UPDATE corrections SET against_all=0 WHERE sighting IN (SELECT value FROM json_each(?))",
            (json.dumps(list(sightings)),),
        )
        store.next_change()


# --- people ---------------------------------------------------------------------------------------------------------


class OfPerson(NamedTuple):
    """Sightings of a person: those with a correction, and those with a probe."""

    corrections: list[int]
    probes: list[int]


def of_person(store: Store, name: str) -> OfPerson:
    """The corrections and probes of exactly this name."""
    if not _is_there(store):
        return OfPerson([], [])
    return OfPerson(
        *(
            [row for (row,) in store.connection.execute(f"SELECT sighting FROM {table} WHERE person=?", (name,))]  # noqa: S608  # our own tables
            for table in ("corrections", "sighting_probes")
        )
    )


def give(store: Store, name: str, given: OfPerson) -> None:
    """Give corrections and probes to the person who is called `name` now."""
    if not _is_there(store):
        return
    for table, sightings in zip(("corrections", "sighting_probes"), given, strict=True):
        store.connection.execute(
            f"UPDATE {table} SET person=? WHERE sighting IN (SELECT value FROM json_each(?))",  # noqa: S608  # our own tables
            (name, json.dumps(sightings)),
        )


def narrow_of(store: Store, names: Iterable[str]) -> list[int]:
    """The sightings whose face competes with one of these people only."""
    rows = store.connection.execute(
        "SELECT sighting FROM corrections WHERE verdict='wrong' AND NOT against_all AND person IN (SELECT value FROM json_each(?))",
        (json.dumps(list(names)),),
    )
    return [sighting for (sighting,) in rows]


class Gone(NamedTuple):
    """What was forgotten: sightings that had a correction, and how many probes."""

    corrections: Sequence[int] = ()
    probes: int = 0


def forget_of(store: Store, person: str) -> Gone:
    """Delete the corrections and probes of a person, in every spelling of the name."""
    if not _is_there(store):
        return Gone()
    wanted = name_key(person)
    rows = store.connection.execute("SELECT sighting, person FROM corrections").fetchall()
    probes = forget_probes_of(store, person)
    return Gone(remove_corrections(store, [sighting for sighting, name in rows if name_key(name) == wanted]), probes)


def forget_like(store: Store, vectors: NDArray[np.float32]) -> Gone:
    """Delete the corrections and probes whose face resembles one of `vectors` (n, dim; unit L2 norm)."""
    alike = alike_of(store)
    if not _is_there(store) or alike is None or not len(vectors):
        return Gone()
    probes = forget_probes_like(store, vectors, alike)
    return Gone(remove_corrections(store, sightings_like(store, "corrections", vectors, alike)), probes)


# --- the model, time, soundness -------------------------------------------------------------------------------------


def faces_of_model_only(store: Store, fingerprint: str) -> int:
    """Delete the faces of other models: there is no photo to embed anew. The corrections stay listed. Returns how many faces."""
    gone = store.connection.execute(
        "UPDATE corrections SET embedding=NULL, fingerprint=NULL WHERE fingerprint<>?", (fingerprint,)
    ).rowcount
    if gone:
        store.next_change()
    return gone


def purge_corrections(store: Store, keep_days: int, now: datetime) -> list[int]:
    """Delete corrections that have expired, or were made more than `keep_days` ago. Returns their sightings.

    One that is dated ahead counts from now.
    """
    today, ahead, limit, ends = (
        f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"
        for time in (now, now + _AHEAD, now - timedelta(days=keep_days), now + timedelta(days=keep_days))
    )
    store.connection.execute("UPDATE corrections SET made_at=?, expires_at=? WHERE made_at>?", (today, ends, ahead))
    rows = store.connection.execute(
        "SELECT sighting FROM corrections WHERE expires_at<? OR made_at<?", (today, limit)
    ).fetchall()
    return remove_corrections(store, [sighting for (sighting,) in rows]) if rows else []


def faults(store: Store) -> list[str]:
    """Corrections and probes that can't be used, one line each, at most 20."""
    lines = [
        f"the {what} of event {sighting} is unsound; remedy: supervisor.py forget --wrong {sighting}"
        for table, what in (("corrections", "face in the correction"), ("sighting_probes", "kept face"))
        for sighting in unsound_embeddings(store, table)
    ]
    lines += [
        f"the correction of event {sighting} is neither wrong nor right"
        for (sighting,) in store.connection.execute(
            "SELECT sighting FROM corrections WHERE verdict NOT IN ('wrong', 'right') OR against_all NOT IN (0, 1)"
        )
    ]
    return lines[:_MAX_FAULTS]
