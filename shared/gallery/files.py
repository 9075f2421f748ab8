"""The files of one site's gallery block: make their folder, find it, open files safely, remove what is left behind.

Files that belong to another site or another user are never touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from shared.errors import RollcallError
from shared.files.identity import identity
from shared.files.run_folder import memory_folder, site_prefix
from shared.gallery.block import HEAD_SIZE, Head, parse_head
from shared.gallery.tail import Tail

_SEGMENT = re.compile(r"g(0|[1-9][0-9]{0,17})")
_FLAT = re.compile(r"head|g[0-9]{1,18}")  # file names of older versions, which used no folder


def claim_block(run_dir: Path) -> tuple[Head, int]:
    """Take over the block folder of an earlier writer, or make a new one. Only for the holder of the site's lock.

    Returns the head found there and the highest generation number found. Readers may still follow that head, so the new writer counts
    on from both. Raises OSError.
    """
    if not _is_usable(run_dir):
        new_block_folder(run_dir)
    try:
        head = read_head(run_dir)
    except RollcallError:
        # A head of another format version: no reader of this version uses it, and none should find it beside the new files.
        head = None
        head_path(run_dir).unlink(missing_ok=True)
    head = head or Head(0, 0, 0, 0, 0, 0, Tail())
    return head, max([head.generation, *(generation for _, generation in _segments(block_folder(run_dir)))])


def _is_usable(run_dir: Path) -> bool:
    """Whether there is a block folder that a writer of this site made, and its head, if there is one, is ours too."""
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
    """Remove all generations but `keep`: a killed writer can leave some."""
    for path, generation in _segments(block_folder(run_dir)):
        if generation != keep:
            path.unlink(missing_ok=True)


def remove_left_behind(run_dir: Path) -> int:
    """Remove every block of this site, at a start after a kill. Only for the holder of the site's lock.

    Returns how many generations were removed.
    """
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
        with contextlib.suppress(OSError):  # another program of our own user made a folder in it
            path.unlink()
    with contextlib.suppress(OSError):  # not empty then, for the same reason
        folder.rmdir()
    return segments


def remove_block(run_dir: Path) -> None:
    """Remove the block at a clean stop, when no process reads it any more."""
    with contextlib.suppress(FileNotFoundError):
        _remove_folder(block_folder(run_dir))
    forget_block_folder(run_dir)


_LINK = "block"  # in the run folder; its target is the token
_TOKEN = re.compile(r"[0-9a-f]{32}")


def shm_folder(run_dir: Path) -> Path:
    """The folder that holds the block folder of the site with this run folder."""
    return memory_folder() or run_dir


def block_folder(run_dir: Path) -> Path:
    """The site's block folder. Raises FileNotFoundError if there is none."""
    link = run_dir / _LINK
    try:
        token = str(link.readlink())
    except OSError as error:
        if error.errno == errno.EINVAL:  # no link
            raise _not_ours(link) from error
        raise
    if link.lstat().st_uid not in (os.geteuid(), run_dir.stat().st_uid):
        raise _not_ours(link)
    if not _TOKEN.fullmatch(token):
        raise FileNotFoundError(errno.ENOENT, "no token of a gallery block", str(run_dir / _LINK))
    return shm_folder(run_dir) / f"{site_prefix(run_dir)}{token}"


def new_block_folder(run_dir: Path) -> Path:
    """Make a new block folder, and point the link in the run folder at it. Only for the writer. Raises OSError."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    folder = shm_folder(run_dir) / f"{site_prefix(run_dir)}{token}"
    folder.mkdir(mode=0o700)
    half = run_dir / f".{_LINK}.new"
    half.unlink(missing_ok=True)
    half.symlink_to(token)
    half.replace(run_dir / _LINK)
    return folder


def forget_block_folder(run_dir: Path) -> None:
    """Remove the link in the run folder. On a disk that has become read-only the link stays, and leads nowhere."""
    try:
        (run_dir / _LINK).unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise


def head_path(run_dir: Path) -> Path:
    """The path of the head. Raises FileNotFoundError if there is no block."""
    return block_folder(run_dir) / "head"


def segment_path(run_dir: Path, generation: int) -> Path:
    """The path of a generation's segment. Raises FileNotFoundError if there is no block."""
    return block_folder(run_dir) / f"g{generation}"


def is_ours(found: os.stat_result, run_dir: Path) -> bool:
    """Whether a file or folder belongs to the site's user, and nobody else may read or write it."""
    return found.st_uid in (os.geteuid(), run_dir.stat().st_uid) and not found.st_mode & 0o077


def open_ours(run_dir: Path, path: Path, flags: int) -> int:
    """Open a file of the block and return its descriptor. Raises FileNotFoundError if it is missing or not ours, or another OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not is_ours(os.fstat(folder), run_dir):
            raise _not_ours(path.parent)
        # Without O_NONBLOCK, opening a FIFO would wait until another process opens its other end.
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(path.name, flags, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # ELOOP: it is a link; ENXIO: it is a FIFO
                raise _not_ours(path) from error
            error.filename = str(path)
            raise
    finally:
        os.close(folder)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or not is_ours(found, run_dir):
        os.close(descriptor)
        raise _not_ours(path)
    return descriptor


def _not_ours(path: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "there is a file that the site's writer did not make", str(path))


def read_head(run_dir: Path) -> Head | None:
    """The current head. None if this site has no block, or no head that can be read. Raises ConfigurationError as parse_head."""
    try:
        descriptor = open_ours(run_dir, head_path(run_dir), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return parse_head(os.pread(descriptor, HEAD_SIZE, 0))
    finally:
        os.close(descriptor)
