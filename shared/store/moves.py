"""Kept photos that have to lie elsewhere, since their person has another name: noted with the rename itself, moved right after it.

So a process that is killed between the two leaves nothing behind: whoever opens the store next moves them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from shared.errors import RollcallError, Say, disk_fault
from shared.files.durable_folder import sync_folder
from shared.files.private_folder import make_private_folder
from shared.store.store import Store

_MAX_AT_ONCE = 10_000


def note_moves(store: Store, files: Iterable[tuple[str, str]]) -> None:
    """Inside the transaction that renames: each of these paths in data_dir, and its place from now on."""
    for path, place in files:
        # Moved already, but not yet: from where it really lies.
        earlier = store.connection.execute("SELECT path FROM pending_moves WHERE place=?", (path,)).fetchone()
        store.connection.execute("DELETE FROM pending_moves WHERE place=?", (path,))
        store.connection.execute(
            "INSERT OR REPLACE INTO pending_moves(place, path) VALUES (?, ?)", (place, earlier[0] if earlier else path)
        )


def finish_moves(store: Store, data_dir: Path, say: Say) -> str | None:
    """Move what is noted; a line when something is left, which the next start tries again. Folders that are empty then go."""
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
    try:
        with store.transaction():
            store.connection.executemany("DELETE FROM pending_moves WHERE place=?", done)
    except RollcallError as error:
        left = error.line()
    if not left:
        return None
    say(f"photos of somebody who was renamed could not be moved: {left}; the next start tries again")
    return f"{len(rows) - len(done)} photos could not be moved to their place: {left}"


def _move(data_dir: Path, source: Path, target: Path) -> None:
    if not os.path.lexists(source) or os.path.lexists(target):
        return  # moved before, or removed by somebody
    for folder in (
        data_dir / "faces",
        *reversed([one for one in target.parents if one.is_relative_to(data_dir / "faces")]),
    ):
        make_private_folder(folder)
    source.rename(target)
    sync_folder(target.parent)
    if not any(source.parent.iterdir()):
        source.parent.rmdir()
    sync_folder(source.parent if source.parent.exists() else source.parent.parent)


def _is_within_faces(path: str) -> bool:
    """Whether a noted path is one that we may have noted: a database can be anybody's."""
    parts = PurePosixPath(path).parts
    return len(parts) > 2 and parts[0] == "faces" and ".." not in parts
