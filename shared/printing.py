"""Makes text safe to print and to log: nothing in it may control a terminal or fake a line, and the journal gets no person's name."""

from __future__ import annotations

import logging
import os
import re
import sys

QUIET_VARIABLE = "ROLLCALL_QUIET"  # set for the children of `run --quiet`
# Control characters, the marks that change the direction of text, and halves of surrogate pairs (bytes of a file name that are no UTF-8).
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# A folder in data/faces is named after its person. A name may contain quotes and spaces (O'Brien, Duke of York), so its end can't be
# found, and the rest of the line is withheld.
_PERSONS_FOLDER = re.compile(r"([/\\]|\b)faces([/\\]).+")


def printable(text: str) -> str:
    r"""`text` on one line. Characters that control a terminal become escapes like \x1b."""
    return _STEERING.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def goes_to_journal(descriptor: int) -> bool:
    """Whether a descriptor is connected to systemd's journal. $JOURNAL_STREAM contains the journal's device and inode."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def names_are_withheld(descriptor: int = 2) -> bool:
    """Whether no person's name may be written to `descriptor`: under `run --quiet`, or if it goes to the journal, from which `forget`
    can remove nothing."""
    return os.environ.get(QUIET_VARIABLE) == "1" or goes_to_journal(descriptor)


class LogFormatter(logging.Formatter):
    """Formats each record as one line, whatever names and paths contain. A traceback follows on its own lines."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return for_log(super().formatMessage(record))


def for_log(text: str) -> str:
    """`text` as one line for the log, safe to print, and without the paths of people's folders where names are withheld."""
    line = printable(text)
    return _PERSONS_FOLDER.sub(r"\1faces\2(name withheld)", line) if names_are_withheld() else line


def start_logging() -> None:
    """Set up logging to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
