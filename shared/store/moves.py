"""Moves kept photos to another folder when their person gets another name.

The moves are noted in the same transaction as the rename, and done right after it. If the process is killed in between, the next
process that opens the store does them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from shared.errors import RollcallError, Say, disk_fault
from shared.files.durable_folder import sync_folder
from shared.files.private_folder import make_private_folder
from shared.store.references import StoredPhotoRows
from shared.store.store import Store

_MAX_AT_ONCE = 10_000


def note_moves(store: Store, files: Iterable[tuple[str, str]]) -> None:
    """Note moves, inside the transaction that renames. `files`: (path, new path) pairs, relative to data_dir."""
    for path, place in files:
        # An earlier move of this photo may not be done yet. Then the photo still lies at that move's path.
        earlier = store.connection.execute("SELECT path FROM pending_moves WHERE place=?", (path,)).fetchone()
        store.connection.execute("DELETE FROM pending_moves WHERE place=?", (path,))
        store.connection.execute(
            "INSERT OR REPLACE INTO pending_moves(place, path) VALUES (?, ?)", (place, earlier[0] if earlier else path)
        )


def finish_moves(store: Store, data_dir: Path, say: Say) -> str | None:
    """Do the noted moves, and remove folders that become empty. Returns a warning if something is left; the next start retries."""
    rows = store.connection.execute("SELECT path, place FROM pending_moves LIMIT ?", (_MAX_AT_ONCE,)).fetchall()
    if not rows:
        return None
    done, left = [], ""
    for path, place in rows:
        try:
            if _is_within_faces(path) and _is_within_faces(place):
                _move(data_dir, data_dir / path, data_dir / place)
            done.append((place,))
        except OSError as error:
            left = disk_fault(error, data_dir / "faces").line()
        except RollcallError as error:  # the folder can't be made private
            left = error.line()
    try:
        with store.transaction():
            store.connection.executemany("DELETE FROM pending_moves WHERE place=?", done)
    except RollcallError as error:
        left = error.line()
    if not left:
        return None
    say(f"photos of somebody who was renamed could not be moved: {left}; the next start tries again")
    return f"{len(rows) - len(done)} photos could not be moved to their place: {left}"


def drop_moves(store: Store, data_dir: Path, is_forgotten: Callable[[str], bool]) -> list[Path]:
    """Drop the noted moves to paths that are forgotten, inside the transaction. Returns the files that still lie where they were.

    They are removed with the other photos: left there, they would belong to nobody, and the next start would move them.
    """
    noted = store.connection.execute("SELECT path, place FROM pending_moves").fetchall()
    dropped = [(path, place) for path, place in noted if is_forgotten(place)]
    store.connection.executemany("DELETE FROM pending_moves WHERE place=?", [(place,) for _, place in dropped])
    rows = StoredPhotoRows(store)
    files = [data_dir / path for path, _ in dropped if _is_within_faces(path) and not rows.is_referred_to(path)]
    return [file for file in files if file.is_file() and file.resolve().is_relative_to((data_dir / "faces").resolve())]


def _move(data_dir: Path, source: Path, target: Path) -> None:
    if not os.path.lexists(source):
        return  # it was moved before, or somebody removed it
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "another file lies there", str(target))
    for folder in (
        data_dir / "faces",
        *reversed([parent for parent in target.parents if parent.is_relative_to(data_dir / "faces")]),
    ):
        make_private_folder(folder)
    source.rename(target)
    sync_folder(target.parent)
    if not any(source.parent.iterdir()):
        source.parent.rmdir()
    sync_folder(source.parent if source.parent.exists() else source.parent.parent)


def _is_within_faces(path: str) -> bool:
    """Whether a noted path can be one that we noted. Somebody else may have written the database."""
    parts = PurePosixPath(path).parts
    return len(parts) > 2 and parts[0] == "faces" and ".." not in parts
