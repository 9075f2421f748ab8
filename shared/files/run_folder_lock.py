"""A site's run folder from its start to its stop: made, locked, and removed again where it stood in memory."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

from shared.files.folder_lock import FolderLock
from shared.files.private_folder import make_private_folder
from shared.files.run_folder import is_in_memory, is_read_only, run_folder


def hold_run_folder(data_dir: Path, held: ExitStack) -> Path:
    """Have the run folder of a site that starts, locked until `held` is closed; one in memory is removed then.

    Raises LockedError when another site holds it, and RollcallError when there can't be one.
    """
    own, run_dir = data_dir / "run", run_folder(data_dir)
    if is_in_memory(run_dir):
        make_private_folder(run_dir)
        _lock(run_dir, held)
        held.callback(shutil.rmtree, run_dir, ignore_errors=True)
        if is_read_only(data_dir):
            if own.is_dir():
                _lock(own, held)  # where a site that was running when the disk became read-only has its lock
            return run_dir
        shutil.rmtree(run_dir, ignore_errors=True)  # of a site that was killed, and the disk can be written again
    make_private_folder(own)
    _lock(own, held)
    return own


def _lock(folder: Path, held: ExitStack) -> None:
    lock = FolderLock(folder / "supervisor.lock")
    lock.acquire(0)
    held.callback(lock.close)
