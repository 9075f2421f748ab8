"""Makes private folders, with mode 0700. Keeps root from writing files in another user's folder."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

from shared.errors import (
    ConfigurationError,
    disk_fault,
)
from shared.files.run_folder import is_in_memory, make_run_folder


def require_own(folder: Path) -> None:
    """Raise ConfigurationError if this process runs as root and `folder` exists and belongs to another user.

    That user could neither read nor remove what root writes there.
    """
    if os.geteuid() != 0 or not folder.exists() or (owner := folder.stat().st_uid) == 0:
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:  # the user is unknown on this system, as it happens in a container
        name = f"#{owner}"
    raise ConfigurationError(
        "root must not write files in another user's folder: the site could not remove them when somebody is forgotten",
        where=str(folder),
        got="this command as root",
        expected=f"as {name}, whose folder it is",
        remedy=f"type: sudo -u '{name}' and the same command",
    )


def make_private_folder(folder: Path) -> None:
    """Create `folder` with mode 0700. If it exists, is ours and is open to others, set that mode. Raises RollcallError."""
    if is_in_memory(folder):
        make_run_folder(folder)
        return
    require_own(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
        if found.st_mode & 0o077 and found.st_uid == os.geteuid():
            folder.chmod(0o700)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_fault(error, folder) from error
        raise ConfigurationError(
            "the data folder can't be used",
            where=str(folder),
            got=error.strerror or str(error),
            expected="a writable folder",
            remedy="check the mount (read-only?), its free space and its owner, or set another [site] data_dir",
        ) from error
