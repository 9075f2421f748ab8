"""Files of somebody who was forgotten that are to be removed, noted with the deletion itself and crossed off once they are gone.

So a process that is killed between the two, and a disk that refuses, leave nothing behind for good: the next process, and the
running site once a minute, tries again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from shared.photos.kept import Kept, Left
from shared.store.references import is_referred_to
from shared.store.store import Store

_MAX_AT_ONCE = 1000


def note_removals(store: Store, data_dir: Path, kept: Kept) -> None:
    """Inside the transaction that deletes the rows: these are to go."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    rows = [(name, now) for path in (*kept.photos, *kept.folders) if (name := _name(data_dir, path)) is not None]
    store.connection.executemany("INSERT OR IGNORE INTO pending_removals VALUES (?, ?)", rows)


def cross_off(store: Store, data_dir: Path, kept: Iterable[Kept], left: Iterable[Left]) -> None:
    """Inside a transaction: what was noted and is gone is done with, what is left is noted."""
    for one in kept:
        names = [(_name(data_dir, path),) for path in (*one.photos, *one.folders)]
        store.connection.executemany("DELETE FROM pending_removals WHERE path=?", names)
    for stays in left:
        note_removals(store, data_dir, Kept([stays.path]))


def pending(store: Store) -> list[str]:
    """What could not be removed yet: paths in data_dir, what lies in a folder before the folder."""
    rows = store.connection.execute("SELECT path FROM pending_removals ORDER BY path DESC LIMIT ?", (_MAX_AT_ONCE,))
    return [path for (path,) in rows if isinstance(path, str)]


def try_again(store: Store, data_dir: Path) -> tuple[Kept, list[Left]]:
    """Try to remove what is pending: what is done with, which the caller crosses off, and what is left.

    Somebody can have been enrolled again meanwhile: a photo that a reference is of stays, and a folder goes only when it is empty.
    """
    done = Kept()
    left: list[Left] = []
    for name in pending(store):
        path = data_dir / name
        if _is_ours(name) and not is_referred_to(store, name) and os.path.lexists(path):
            try:
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink()
            except OSError as error:
                used_again = error.errno == errno.ENOTEMPTY and not any(one.path.is_relative_to(path) for one in left)
                if not used_again:
                    left.append(Left(path, error.strerror or str(error)))
                    continue
        done.photos.append(path)
    return done, left


def _is_ours(name: str) -> bool:
    """Whether a noted path is one that `forget` may have noted: a database can be anybody's."""
    from shared.photos.reading import is_photo_name

    parts = Path(name).parts
    return not Path(name).is_absolute() and ".." not in parts and (parts[:1] == ("faces",) or is_photo_name(Path(name)))


def _name(data_dir: Path, path: Path) -> str | None:
    """A path as it is noted; None for one that can't be: outside data_dir, or bytes that are no text."""
    for home in (data_dir, data_dir.resolve()):
        if path.is_relative_to(home):
            name = path.relative_to(home).as_posix()
            return name if _is_text(name) else None
    return None


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
