"""Errors with everything that a person needs to fix them.

Every error contains what is wrong, where, what was found, what was expected, and the remedy. Its class has the exit code for a process
that ends on it. From the exit code the supervisor decides whether to restart the process (after sysexits.h: 70 EX_SOFTWARE, 75
EX_TEMPFAIL, 78 EX_CONFIG).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

EXIT_DONE = 0
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_BUG = 70
EXIT_TEMPORARY = 75
EXIT_CONFIGURATION = 78


class RollcallError(Exception):
    """The base of all errors that we raise on purpose. `exit_code`: the exit code of a process that ends on it."""

    exit_code = EXIT_BUG

    def __init__(self, what: str, *, where: str = "", got: object = None, expected: str = "", remedy: str = "") -> None:
        self.what, self.where, self.got, self.expected, self.remedy = what, where, got, expected, remedy
        super().__init__(self.line())

    def line(self) -> str:
        """The whole error on one line."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.got is not None:
            parts.append(f"got {self.got!r}" if not isinstance(self.got, str) else f"got {self.got}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.remedy:
            parts.append(f"remedy: {self.remedy}")
        return "; ".join(parts)


class RefusedError(RollcallError):
    """The answer is no, or this one input is refused. Work on other inputs goes on."""

    exit_code = EXIT_REFUSED


class UsageError(RollcallError):
    """The command line or a request makes no sense."""

    exit_code = EXIT_USAGE


class TemporaryError(RollcallError):
    """The next try may succeed. Examples: a full disk, a site that holds the lock, a writer that is being restarted."""

    exit_code = EXIT_TEMPORARY


class ConfigurationError(RollcallError):
    """Only a person can fix this; a restart would not help."""

    exit_code = EXIT_CONFIGURATION


class DamagedError(ConfigurationError):
    """SQLite reports that the database file is damaged."""


class FaultList(ConfigurationError):
    """Several configuration faults, reported together, one line each."""

    def __init__(self, faults: list[RollcallError]) -> None:
        self.faults = faults
        super().__init__("\n".join(fault.line() for fault in faults))


class ReadOnlyError(TemporaryError):
    """The disk is read-only. It may have become so after an error, and may be mounted writable again."""


def read_only_fault(where: Path | str) -> ReadOnlyError:
    """The error for a read-only disk."""
    return ReadOnlyError(
        "the disk is read-only, nothing can be stored",
        where=str(where),
        remedy="check the disk, then mount it writable",
    )


def damage_fault(path: Path | str, what: str) -> DamagedError:
    """The error for a damaged database. `what`: SQLite's message."""
    return DamagedError(
        "the database is damaged",
        where=str(path),
        got=what,
        remedy="start the site anew: it sets the file aside and runs from backup or photos; or: supervisor.py restore FILE",
    )


def disk_fault(error: OSError, where: Path | str = "") -> RollcallError:
    """The error for a file that could not be read or written, with a remedy. A full disk is temporary; a missing permission is not."""
    place = str(where or error.filename or "")
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TemporaryError(
            "the disk is full", where=place, got=reason, remedy="free some space and try again; nothing was lost"
        )
    if error.errno == errno.EROFS:
        return read_only_fault(place)
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigurationError(
            "permission to read or write is missing", where=place, got=reason, remedy="check owner and mode"
        )
    return TemporaryError(
        "the system could not read or write", where=place, got=reason, remedy="check the disk, then try again"
    )


Say = Callable[[str], None]  # prints or logs one line for the operator
