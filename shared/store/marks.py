"""Deletion marks: whoever was deleted stays out of the gallery, whatever old folder or backup names them."""

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
    """Keyed hash of a name or photo digest, as deletion marks keep it. Raises ConfigurationError when the key is gone."""
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
    """Delete marks that are older than MARKS_KEPT, or count one that is dated ahead from now on; how many were."""
    limit, ahead, today = (f"{one:%Y-%m-%d %H:%M:%S}" for one in (now - MARKS_KEPT, now + timedelta(days=1), now))
    store.connection.execute("UPDATE deletion_marks SET deleted_at=? WHERE deleted_at>?", (today, ahead))
    return store.connection.execute("DELETE FROM deletion_marks WHERE deleted_at<?", (limit,)).rowcount


def mark_photo(store: Store, name: str, image_path: str) -> None:
    """Have `is_photo_marked` know a deleted photo of a person by its path."""
    leave_mark(store, None, mark_of(store, name), mark_of(store, path_mark(image_path)), whole=False)


def is_photo_marked(store: Store, name: str, known_by: str) -> bool:
    """Whether this photo of a person was deleted and not enrolled again since."""
    row = store.connection.execute(
        "SELECT 1 FROM deletion_marks WHERE person_mark=? AND photo_mark=? LIMIT 1",
        (mark_of(store, name), mark_of(store, known_by)),
    ).fetchone()
    return row is not None


# How long a mark keeps somebody out: a backup should not be kept for longer. It is personal data itself, so it has an end.
MARKS_KEPT = timedelta(days=3 * 365)


def path_mark(image_path: str) -> str:
    """What a mark knows a deleted photo by when nobody has its bytes any more; no digest looks like it."""
    return f"path:{image_path}"
