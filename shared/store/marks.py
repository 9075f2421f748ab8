"""Deletion marks: they keep a deleted person or photo out of the gallery when an old folder or a backup still has it.

A mark is a keyed hash of a name or of a photo's digest, so that it reveals neither.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta

from shared.errors import (
    ConfigurationError,
)
from shared.files.mark_key import key_path, read_key
from shared.person_names import name_key
from shared.store.store import Store
from shared.uuid7 import new_uuids


def mark_of(store: Store, text: str) -> str:
    """The keyed hash of a name or photo digest, as deletion marks store it. Raises ConfigurationError if the key is missing."""
    if store._mark_key is None:
        key = read_key(store.path)
        if key is None:
            raise ConfigurationError(
                "the key of the deletion marks is gone",
                where=str(key_path(store.path)),
                remedy="put it back from where it went, or start the site anew: it makes another one",
            )
        store._mark_key = key.encode()
    return hmac.new(store._mark_key, name_key(text).encode(), hashlib.sha256).hexdigest()


def leave_mark(
    store: Store, reference_uuid: str | None, person_mark: str, photo_mark: str | None, *, whole: bool
) -> None:
    """Store a deletion mark. `whole`: it stands for the whole person, not only for one reference."""
    store.connection.execute(
        "INSERT OR REPLACE INTO deletion_marks(uuid, person_mark, photo_mark, whole_person, change_number) VALUES (?, ?, ?, ?, ?)",
        (reference_uuid or new_uuids(1)[0], person_mark, photo_mark, int(whole), store.next_change()),
    )


def is_marked(store: Store, name: str, photo_digest: str | None = None) -> bool:
    """Whether this person, or this photo of theirs, was deleted and not enrolled again since."""
    row = store.connection.execute(
        "SELECT 1 FROM deletion_marks WHERE person_mark=? AND (whole_person OR photo_mark=?) LIMIT 1",
        (mark_of(store, name), mark_of(store, photo_digest or "")),
    ).fetchone()
    return row is not None


def drop_old_marks(store: Store, now: datetime) -> int:
    """Delete marks older than MARKS_KEPT. Returns how many. A mark with a time in the future gets the time `now`."""
    limit, ahead, today = (f"{time:%Y-%m-%d %H:%M:%S}" for time in (now - MARKS_KEPT, now + timedelta(days=1), now))
    store.connection.execute("UPDATE deletion_marks SET deleted_at=? WHERE deleted_at>?", (today, ahead))
    return store.connection.execute("DELETE FROM deletion_marks WHERE deleted_at<?", (limit,)).rowcount


def mark_photo(store: Store, name: str, image_path: str) -> None:
    """Leave a mark for a deleted photo of a person, by its path (`path_mark`)."""
    leave_mark(store, None, mark_of(store, name), mark_of(store, path_mark(image_path)), whole=False)


def is_photo_marked(store: Store, name: str, known_by: str) -> bool:
    """Whether this photo of a person was deleted and not enrolled again since. `known_by`: its digest, or its `path_mark`."""
    row = store.connection.execute(
        "SELECT 1 FROM deletion_marks WHERE person_mark=? AND photo_mark=? LIMIT 1",
        (mark_of(store, name), mark_of(store, known_by)),
    ).fetchone()
    return row is not None


# How long a mark is kept, and with it how long a deleted person is kept out. No backup should be kept for longer. A mark is personal
# data itself, so it must have an end.
MARKS_KEPT = timedelta(days=3 * 365)


def path_mark(image_path: str) -> str:
    """Identifies a deleted photo by its path, for use when its bytes are gone. It can't be confused with a digest."""
    return f"path:{image_path}"
