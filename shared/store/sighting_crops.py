"""The table of crops: for a sighting that shows a face, the picture that decided it.

A crop is kept only while the face can be found again when its person is forgotten: with the sighting's probe (sighting_probes.py), or with
the stranger that it shows. It is kept as long as the settings say, and never for longer than its sighting. Copies of the database hold no
crops.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from shared.store.store import Store

MAX_BYTES = 256 << 20  # of all crops together: some 50,000
_MAX_CROP_BYTES = 32 << 10
_AHEAD = timedelta(days=1)  # the clock may have been ahead by up to this when a crop was written
_BEGIN, _END = b"\xff\xd8\xff", b"\xff\xd9"  # of a JPEG


class KeptCrops(NamedTuple):
    """How many crops are kept, and their size."""

    crops: int
    size_bytes: int


def keep_crop(store: Store, sighting: int, picture: str, now: datetime) -> bool:
    """Keep the crop of a sighting. `picture`: a JPEG in base64. Returns whether it was kept; a malformed one is not."""
    try:
        jpeg = base64.b64decode(picture, validate=True)
    except (binascii.Error, ValueError):
        return False
    if not (jpeg.startswith(_BEGIN) and jpeg.endswith(_END)) or len(jpeg) > _MAX_CROP_BYTES:
        return False
    store.connection.execute(
        "INSERT OR REPLACE INTO sighting_crops(sighting, kept_at, size_bytes, jpeg) VALUES (?, ?, ?, ?)",
        (sighting, _time(now), len(jpeg), jpeg),
    )
    return True


def crop_of(store: Store, sighting: int) -> bytes | None:
    """The crop of a sighting, a JPEG, if it is still kept."""
    row = store.connection.execute("SELECT jpeg FROM sighting_crops WHERE sighting=?", (sighting,)).fetchone()
    return None if row is None else bytes(row[0])


def with_crops(store: Store, sightings: Sequence[int]) -> set[int]:
    """Those of the sightings that have a crop."""
    rows = store.connection.execute(
        "SELECT sighting FROM sighting_crops WHERE sighting IN (SELECT value FROM json_each(?))",
        (json.dumps(sightings),),
    )
    return {sighting for (sighting,) in rows}


def kept_crops(store: Store) -> KeptCrops:
    """How many crops are kept, and their size."""
    row = store.connection.execute("SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM sighting_crops").fetchone()
    return KeptCrops(int(row[0]), int(row[1]))


def drop_crops_beyond_limit(store: Store) -> int:
    """Delete the oldest crops beyond MAX_BYTES. Returns how many."""
    if kept_crops(store).size_bytes <= MAX_BYTES:
        return 0
    return store.connection.execute(
        "DELETE FROM sighting_crops WHERE sighting IN (SELECT sighting FROM (SELECT sighting, "
        "SUM(size_bytes) OVER (ORDER BY kept_at DESC, sighting DESC) AS up_to_here FROM sighting_crops) WHERE up_to_here>?)",
        (MAX_BYTES,),
    ).rowcount


def drop_lost_crops(store: Store) -> int:
    """Delete the crops that can't be found again when their person is forgotten: the sighting has no probe any more, and no stranger.

    Returns how many.
    """
    return store.connection.execute(
        "DELETE FROM sighting_crops WHERE sighting NOT IN (SELECT sighting FROM sighting_probes) AND sighting NOT IN "
        "(SELECT sightings.id FROM sightings JOIN strangers ON strangers.id=sightings.stranger)"
    ).rowcount


def purge_crops(store: Store, keep_days: int, keep_unknowns_days: int, now: datetime, *, trusted: bool) -> int:
    """Delete the crops that were kept more than `keep_days` ago, or without a person more than `keep_unknowns_days` ago. 0 keeps none;
    without `keep_days` none of either. Returns how many. One that is dated ahead counts from now.

    `trusted`: whether the clock can be trusted; if not, only what is not kept at all is deleted.
    """
    if trusted:
        ahead = _time(now + _AHEAD)
        store.connection.execute("UPDATE sighting_crops SET kept_at=? WHERE kept_at>?", (_time(now), ahead))
    deleted = 0
    for days, whose in ((keep_days, "NOT NULL"), (keep_unknowns_days if keep_days else 0, "NULL")):
        if days and not trusted:
            continue
        limit = _time(now - timedelta(days=days))
        deleted += store.connection.execute(
            f"DELETE FROM sighting_crops WHERE (? OR kept_at<?) AND sighting IN (SELECT id FROM sightings WHERE person IS {whose})",  # noqa: S608  # constants
            (not days, limit),
        ).rowcount
    return deleted


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S.%fZ}"
