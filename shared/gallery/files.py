"""The block's files of one site in the shared-memory folder: which there are, and which go. Other people's are passed over."""

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
from shared.files.folder_lock import identity
from shared.files.run_folder import memory_folder, site_prefix
from shared.gallery.block import HEAD_SIZE, Head, parse_head

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


_NAMED_IN = "block"  # in the run folder
_TOKEN = re.compile(r"[0-9a-f]{32}")


def shm_folder(run_dir: Path) -> Path:
    """Where the block's files lie for the site with this run folder."""
    return memory_folder() or run_dir


def block_folder(run_dir: Path) -> Path:
    """The folder of the site's block. Raises FileNotFoundError when there is none."""
    link = run_dir / _NAMED_IN
    try:
        token = str(link.readlink())
    except OSError as error:
        if error.errno == errno.EINVAL:  # no link
            raise _not_ours(link) from error
        raise
    if link.lstat().st_uid not in (os.geteuid(), run_dir.stat().st_uid):
        raise _not_ours(link)
    if not _TOKEN.fullmatch(token):
        raise FileNotFoundError(errno.ENOENT, "no token of a gallery block", str(run_dir / _NAMED_IN))
    return shm_folder(run_dir) / f"{site_prefix(run_dir)}{token}"


def new_block_folder(run_dir: Path) -> Path:
    """Make a folder for the site's block, and say in the run folder which. Only for the writer. Raises OSError."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    folder = shm_folder(run_dir) / f"{site_prefix(run_dir)}{token}"
    folder.mkdir(mode=0o700)
    half = run_dir / f".{_NAMED_IN}.new"
    half.unlink(missing_ok=True)
    half.symlink_to(token)
    half.replace(run_dir / _NAMED_IN)
    return folder


def forget_block_folder(run_dir: Path) -> None:
    """The site has no block any more. Where the disk has become read-only the link stays, and leads nowhere."""
    try:
        (run_dir / _NAMED_IN).unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise


def head_path(run_dir: Path) -> Path:
    return block_folder(run_dir) / "head"


def segment_path(run_dir: Path, generation: int) -> Path:
    return block_folder(run_dir) / f"g{generation}"


def is_ours(found: os.stat_result, run_dir: Path) -> bool:
    """Whether a file or folder belongs to the site's user, and nobody else may write or read it."""
    return found.st_uid in (os.geteuid(), run_dir.stat().st_uid) and not found.st_mode & 0o077


def open_ours(run_dir: Path, path: Path, flags: int) -> int:
    """A descriptor of a file of the block. Raises FileNotFoundError when it is not there, or not ours; OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not is_ours(os.fstat(folder), run_dir):
            raise _not_ours(path.parent)
        # Without O_NONBLOCK the opening of a FIFO would wait for somebody at its other end.
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(path.name, flags, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a FIFO
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
    """The current head, or None when this site has no block."""
    try:
        descriptor = open_ours(run_dir, head_path(run_dir), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return parse_head(os.pread(descriptor, HEAD_SIZE, 0))
    finally:
        os.close(descriptor)
