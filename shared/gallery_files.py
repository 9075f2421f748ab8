"""The block's files of one site in the shared-memory folder: which there are, and which go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shared.errors import RollcallError
from shared.gallery_block import Head, head_path, read_head, shm_folder, site_prefix


def left_behind(run_dir: Path) -> tuple[Head, int]:
    """The head of a writer that is gone, and the last generation there was.

    Readers may still follow that head, so sequence and generation go on from there.
    """
    try:
        head = read_head(run_dir)
    except RollcallError:
        # Another format version: nobody of ours can be reading it, nor should anybody find it beside what comes.
        head = None
        head_path(run_dir).unlink(missing_ok=True)
    head = head or Head(0, 0, 0, 0, 0, 0)
    return head, max([head.generation, *(generation for _, generation in _segments(run_dir))])


def _segments(run_dir: Path) -> Iterator[tuple[Path, int]]:
    prefix = site_prefix(run_dir) + "g"
    for path in shm_folder(run_dir).glob(prefix + "*"):
        number = path.name.removeprefix(prefix)
        if number.isdigit():
            yield path, int(number)


def sweep(run_dir: Path, keep: int) -> None:
    """Remove generations that a killed writer left."""
    for path, generation in _segments(run_dir):
        if generation != keep:
            path.unlink(missing_ok=True)


def remove_left_behind(run_dir: Path) -> int:
    """Remove every file of this site's block; for a start after a kill, under the site's lock. How many there were."""
    gone = [path for path, _ in _segments(run_dir)]
    for path in [*gone, head_path(run_dir)]:
        path.unlink(missing_ok=True)
    return len(gone)
