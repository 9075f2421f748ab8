"""Finds a site's run folder. It contains what the site's processes and commands share: the socket, the supervisor's lock, the link to
the gallery block.

It is data_dir/run. On a read-only disk nothing can be made there, so the site uses a folder in memory instead. It uses that folder until
it stops, even if the disk can be written again, so that commands find the site there.

Everybody may make folders in memory, and so could take a name that the site needs. Therefore the name is computed from the path and the
marks' key, which nobody else can read. Somebody could still see the name while the site runs, and take it later. Then the site uses the
next of several names.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from shared.errors import ConfigurationError, RollcallError, disk_fault
from shared.files.mark_key import read_key
from shared.ipc import wire

_IN_MEMORY = "rollcall-run-"
_PREFIX_LETTERS = 12
_SECRET_LETTERS = 16
_NAME_IN_MEMORY = re.compile(rf"{_IN_MEMORY}[0-9a-f]{{{_PREFIX_LETTERS}}}-[0-9a-f]{{{_SECRET_LETTERS}}}")
_PLACES = 16  # names for one site; somebody else can take a name only after seeing it in use
_ANSWER_S = 2.0


def memory_folder() -> Path | None:
    """The folder for files in memory; None if the system has none."""
    if chosen := os.environ.get("ROLLCALL_SHM_DIR"):
        return Path(chosen)
    memory = Path("/dev/shm")  # noqa: S108  # POSIX shared memory on Linux; our files in it are 0600
    return memory if sys.platform == "linux" and memory.is_dir() else None


def site_prefix(run_dir: Path) -> str:
    """The beginning of the names of the site's block folders. It is the same for both places of the run folder."""
    if is_in_memory(run_dir):
        return f"rollcall-{run_dir.name.removeprefix(_IN_MEMORY)[:_PREFIX_LETTERS]}-"
    return f"rollcall-{hashlib.sha256(os.fsencode(run_dir.resolve())).hexdigest()[:_PREFIX_LETTERS]}-"


def is_in_memory(run_dir: Path) -> bool:
    """Whether this is a folder in memory that replaces data_dir/run."""
    return _NAME_IN_MEMORY.fullmatch(run_dir.name) is not None and run_dir.parent == memory_folder()


def is_read_only(folder: Path) -> bool:
    """Whether the file system of `folder` is mounted read-only, or became read-only after an error."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def run_folder(data_dir: Path) -> Path:
    """The run folder of the site that runs on `data_dir`, or of the next site that starts there.

    Raises ConfigurationError if the disk is read-only and others have taken all names that the folder in memory can have.
    """
    own, memory = data_dir / "run", memory_folder()
    if memory is None:
        return own
    places = {place: _lstat(place) for place in _places(data_dir, memory)}
    for place, found in places.items():
        if found is not None and _is_of_site(found, data_dir):
            return place
    if not is_read_only(data_dir) or _answers(own):
        return own
    free = [place for place, found in places.items() if found is None]
    if not free:
        raise _in_the_way(next(iter(places)))
    return free[0]


def _places(data_dir: Path, memory: Path) -> Iterator[Path]:
    """The possible paths of the site's folder in memory, in the order in which they are searched and used.

    Paths made without the marks' key come last. A site that started before there was a key is there, even after its writer made one.
    """
    prefix = hashlib.sha256(os.fsencode((data_dir / "run").resolve())).hexdigest()[:_PREFIX_LETTERS]
    try:
        key = read_key(data_dir / "face_embeddings.db")
    except RollcallError:
        key = None
    for secret in ["", *filter(None, [key])][::-1]:
        for number in range(_PLACES):
            what = f"rollcall run folder {prefix} {number}".encode()
            digest = hmac.new(secret.encode(), what, hashlib.sha256).hexdigest()
            yield memory / f"{_IN_MEMORY}{prefix}-{digest[:_SECRET_LETTERS]}"


def _answers(run_dir: Path) -> bool:
    """Whether a running site answers in this run folder. It does if it ran before its disk became read-only."""
    try:
        wire.connect(run_dir, _ANSWER_S).close()
    except (TimeoutError, BlockingIOError):
        return True  # it runs, but so many processes are waiting for it that it accepts no connection now
    except OSError:
        return False
    return True


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _is_of_site(found: os.stat_result, data_dir: Path) -> bool:
    site = _lstat(data_dir)
    return _is_of(found, {os.geteuid()} | ({site.st_uid} if site else set()))


def _is_of(found: os.stat_result, owners: set[int]) -> bool:
    """Whether this is a folder of one of these users to which nobody else has access."""
    return stat.S_ISDIR(found.st_mode) and found.st_uid in owners and not found.st_mode & 0o077


def _in_the_way(folder: Path) -> ConfigurationError:
    return ConfigurationError(
        "the data folder's disk is read-only, and something that is not this site's is in the place of its run folder",
        where=str(folder),
        expected="nothing, or a folder of the site's user with mode 0700, there or under another of its names",
        remedy="remove it, or mount the disk writable",
    )


def make_run_folder(run_dir: Path) -> None:
    """Make the folder in memory that replaces data_dir/run. Raises ConfigurationError, or the RollcallError of `disk_fault`."""
    try:
        run_dir.mkdir(mode=0o700)
    except FileExistsError as error:
        found = _lstat(run_dir)
        if found is None or not _is_of(found, {os.geteuid()}):
            raise _in_the_way(run_dir) from error
    except OSError as error:
        raise disk_fault(error, run_dir) from error
