"""What a line may hold that people read: nothing that steers a terminal or forges a line, and in the journal no person's name."""

from __future__ import annotations

import logging
import os
import re
import sys

QUIET_VARIABLE = "ROLLCALL_QUIET"  # set for the children of `run --quiet`
# Control characters, the marks that turn the direction of text, and half of a surrogate pair (a byte of a file name that is no UTF-8).
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# In data/faces a folder is named after its person, who may be called O'Brien or Duke of York: nothing tells where the name ends.
_PERSONS_FOLDER = re.compile(r"([/\\]|\b)faces([/\\]).+")


def printable(text: str) -> str:
    r"""`text` on one line, with what steers a terminal as an escape like \x1b."""
    return _STEERING.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def goes_to_journal(descriptor: int) -> bool:
    """Whether systemd has connected a descriptor to its journal: $JOURNAL_STREAM names it by device and inode."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def names_are_withheld(descriptor: int = 2) -> bool:
    """Whether what is written there may name nobody: `run --quiet`, or the journal, which keeps what `forget` removes elsewhere."""
    return os.environ.get(QUIET_VARIABLE) == "1" or goes_to_journal(descriptor)


class LogFormatter(logging.Formatter):
    """One line a record, whatever names and paths hold; a traceback follows on its own lines."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return for_log(super().formatMessage(record))


def for_log(text: str) -> str:
    """`text` as a line of the log."""
    line = printable(text)
    return _PERSONS_FOLDER.sub(r"\1faces\2(name withheld)", line) if names_are_withheld() else line


def start_logging() -> None:
    """Our processes log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
