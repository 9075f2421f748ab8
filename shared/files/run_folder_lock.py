"""Makes and locks a site's run folder at its start. At the stop it is unlocked, and removed if it was in memory."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

from shared.files.folder_lock import FolderLock
from shared.files.private_folder import make_private_folder
from shared.files.run_folder import is_in_memory, is_read_only, run_folder


def hold_run_folder(data_dir: Path, held: ExitStack) -> Path:
    """Make and lock the run folder of a site that starts, until `held` is closed. A folder in memory is removed then.

    Returns the folder. Raises LockedError if another site holds it, RollcallError if it can't be made.
    """
    own, run_dir = data_dir / "run", run_folder(data_dir)
    if is_in_memory(run_dir):
        make_private_folder(run_dir)
        _lock(run_dir, held)
        held.callback(shutil.rmtree, run_dir, ignore_errors=True)
        if is_read_only(data_dir):
            if own.is_dir():
                _lock(own, held)  # a site that was running when the disk became read-only holds its lock here
            return run_dir
        # A killed site left this folder, and the disk can be written again.
        shutil.rmtree(run_dir, ignore_errors=True)
    make_private_folder(own)
    _lock(own, held)
    return own


def _lock(folder: Path, held: ExitStack) -> None:
    lock = FolderLock(folder / "supervisor.lock")
    lock.acquire(0)
    held.callback(lock.close)
