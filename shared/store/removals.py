"""The list of files that have to be removed because somebody was forgotten.

Files are noted in the same transaction as the deletion, and crossed off when they are removed. So nothing stays for good if the process
is killed in between, or if the disk refuses: the next process retries, and so does the running site once a minute.
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
    """Note files and folders that are to be removed. Call it inside the transaction that deletes the rows."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    rows = [(name, now) for path in (*kept.photos, *kept.folders) if (name := _name(data_dir, path)) is not None]
    store.connection.executemany("INSERT OR IGNORE INTO pending_removals VALUES (?, ?)", rows)


def cross_off(store: Store, data_dir: Path, kept: Iterable[Kept], left: Iterable[Left]) -> None:
    """Cross off what is removed, `kept`, and note what could not be removed, `left`. Call it inside a transaction."""
    for removed in kept:
        names = [(_name(data_dir, path),) for path in (*removed.photos, *removed.folders)]
        store.connection.executemany("DELETE FROM pending_removals WHERE path=?", names)
    for stays in left:
        note_removals(store, data_dir, Kept([stays.path]))


def pending(store: Store) -> list[str]:
    """What could not be removed yet: paths relative to data_dir, the contents of a folder before the folder."""
    rows = store.connection.execute("SELECT path FROM pending_removals ORDER BY path DESC LIMIT ?", (_MAX_AT_ONCE,))
    return [path for (path,) in rows if isinstance(path, str)]


def try_again(store: Store, data_dir: Path) -> tuple[Kept, list[Left]]:
    """Try to remove what is pending. Returns what is done, which the caller crosses off, and what could not be removed.

    The person may be enrolled again by now. So a photo that a reference was made from stays, and a folder goes only if it is empty.
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
                used_again = error.errno == errno.ENOTEMPTY and not any(old.path.is_relative_to(path) for old in left)
                if not used_again:
                    left.append(Left(path, error.strerror or str(error)))
                    continue
        done.photos.append(path)
    return done, left


def _is_ours(name: str) -> bool:
    """Whether a noted path can be one that `forget` noted. Somebody else may have written the database."""
    from shared.photos.reading import is_photo_name

    parts = Path(name).parts
    return not Path(name).is_absolute() and ".." not in parts and (parts[:1] == ("faces",) or is_photo_name(Path(name)))


def _name(data_dir: Path, path: Path) -> str | None:
    """A path in the form in which it is noted. None if it can't be noted: it is outside data_dir, or its bytes are no text."""
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
