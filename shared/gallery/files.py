"""The block's files of one site in the shared-memory folder: which there are, and which go. Other people's are passed over."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from shared.errors import RollcallError
from shared.files.folder_lock import identity
from shared.files.run_folder import site_prefix
from shared.gallery.block import (
    Head,
    block_folder,
    forget_block_folder,
    head_path,
    is_ours,
    new_block_folder,
    open_ours,
    read_head,
    shm_folder,
)

_SEGMENT = re.compile(r"g(0|[1-9][0-9]{0,17})")
_FLAT = re.compile(r"head|g[0-9]{1,18}")  # how versions before the folder called them


def claim_block(run_dir: Path) -> tuple[Head, int]:
    """See that there is a folder for the block: that of a writer that is gone, or a new one. Only for the holder of the site's lock.

    The head that is there, and the last generation there was: readers may still follow that head, so sequence and generation go
    on from there. Raises OSError.
    """
    if not _is_usable(run_dir):
        new_block_folder(run_dir)
    try:
        head = read_head(run_dir)
    except RollcallError:
        # Another format version: nobody of ours can be reading it, nor should anybody find it beside what comes.
        head = None
        head_path(run_dir).unlink(missing_ok=True)
    head = head or Head(0, 0, 0, 0, 0, 0)
    return head, max([head.generation, *(generation for _, generation in _segments(block_folder(run_dir)))])


def _is_usable(run_dir: Path) -> bool:
    """Whether there is a folder that a writer of this site made, and a head in it, if any, that is ours too."""
    try:
        folder = block_folder(run_dir)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or not is_ours(found, run_dir):
            return False
        if identity(folder / "head") is not None:
            os.close(open_ours(run_dir, folder / "head", os.O_RDWR))
    except OSError:
        return False
    return True


def _segments(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in folder.iterdir():
        if found := _SEGMENT.fullmatch(path.name):
            yield path, int(found.group(1))


def sweep(run_dir: Path, keep: int) -> None:
    """Remove generations that a killed writer left."""
    for path, generation in _segments(block_folder(run_dir)):
        if generation != keep:
            path.unlink(missing_ok=True)


def remove_left_behind(run_dir: Path) -> int:
    """Remove every block of this site; for a start after a kill, under the site's lock. How many generations there were."""
    segments = 0
    for path in shm_folder(run_dir).glob(site_prefix(run_dir) + "*"):
        with contextlib.suppress(FileNotFoundError):
            found = path.lstat()
            if not is_ours(found, run_dir):
                continue
            if stat.S_ISDIR(found.st_mode):
                segments += _remove_folder(path)
            elif _FLAT.fullmatch(path.name.removeprefix(site_prefix(run_dir))):
                path.unlink()
    forget_block_folder(run_dir)
    return segments


def _remove_folder(folder: Path) -> int:
    segments = 0
    for path in folder.iterdir():
        segments += _SEGMENT.fullmatch(path.name) is not None
        with contextlib.suppress(OSError):  # somebody of our own user made a folder in it
            path.unlink()
    with contextlib.suppress(OSError):  # the same
        folder.rmdir()
    return segments


def remove_block(run_dir: Path) -> None:
    """Take the block away at a clean stop, when nobody reads it any more."""
    with contextlib.suppress(FileNotFoundError):
        _remove_folder(block_folder(run_dir))
    forget_block_folder(run_dir)
