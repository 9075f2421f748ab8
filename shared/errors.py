"""Errors that reach the person who can mend them.

Every error says what is wrong, where, what was got, what was expected, and the remedy; its class carries the exit code, and
the exit code is the supervisor's restart policy (after sysexits.h: 70 EX_SOFTWARE, 75 EX_TEMPFAIL, 78 EX_CONFIG).
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
    """Base of every fault we raise on purpose; `exit_code` says what a process that ends on it exits with."""

    exit_code = EXIT_BUG

    def __init__(self, what: str, *, where: str = "", got: object = None, expected: str = "", remedy: str = "") -> None:
        self.what, self.where, self.got, self.expected, self.remedy = what, where, got, expected, remedy
        super().__init__(self.line())

    def line(self) -> str:
        """The whole fault on one line."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.got is not None:
            parts.append(f"got {self.got!r}" if not isinstance(self.got, str) else f"got {self.got}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.remedy:
            parts.append(f"remedy: {self.remedy}")
        return "; ".join(parts)


class RefusedError(RollcallError):
    """The answer is no, or this one input is refused; others go on."""

    exit_code = EXIT_REFUSED


class UsageError(RollcallError):
    """The command line asks for something that makes no sense."""

    exit_code = EXIT_USAGE


class TemporaryError(RollcallError):
    """May be gone on the next try: a full disk, a site that holds the lock, a writer that is being restarted."""

    exit_code = EXIT_TEMPORARY


class ConfigurationError(RollcallError):
    """Only a person can mend it; a restart would not."""

    exit_code = EXIT_CONFIGURATION


class DamagedError(ConfigurationError):
    """SQLite says that the database file is damaged."""


class FaultList(ConfigurationError):
    """Several configuration faults, reported together, one line each."""

    def __init__(self, faults: list[RollcallError]) -> None:
        self.faults = faults
        super().__init__("\n".join(fault.line() for fault in faults))


class ReadOnlyError(TemporaryError):
    """The disk is read-only: it may have become so after an error, and may be mounted writable again."""


def read_only_fault(where: Path | str) -> ReadOnlyError:
    return ReadOnlyError(
        "the disk is read-only, nothing can be stored",
        where=str(where),
        remedy="check the disk, then mount it writable",
    )


def damage_fault(path: Path | str, what: str) -> DamagedError:
    """That the database is damaged; `what`: SQLite's words."""
    return DamagedError(
        "the database is damaged",
        where=str(path),
        got=what,
        remedy="start the site anew: it sets the file aside and runs from backup or photos; or: supervisor.py restore FILE",
    )


def disk_fault(error: OSError, where: Path | str = "") -> RollcallError:
    """What a person can do about a file that could not be read or written: a full disk is temporary, a forbidden one is not."""
    place = str(where or error.filename or "")
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TemporaryError(
            "the disk is full", where=place, got=reason, remedy="free some space and try again; nothing was lost"
        )
    if error.errno == errno.EROFS:
        return read_only_fault(place)
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigurationError("may not be written or read", where=place, got=reason, remedy="check owner and mode")
    return TemporaryError("the system refused", where=place, got=reason, remedy="check the disk, then try again")


Say = Callable[[str], None]
