"""The rules for people's names: how a name is stored, which names look the same, and which names a new person can't have.

Two names that look the same on a screen must not be two people. Otherwise an operator who forgets one person would leave the other.
"""

from __future__ import annotations

import unicodedata

from shared.errors import RefusedError

MAX_NAME_CHARACTERS = 200
MAX_NAME_BYTES = 255  # a person is a folder in data/faces, and file systems count bytes

_ZERO_WIDTH_NON_JOINER, _ZERO_WIDTH_JOINER = "\u200c", "\u200d"
_VIRAMA = 9  # canonical combining class
# Characters that show nothing, though they are letters, marks or symbols: the rest of Unicode's Default_Ignorable_Code_Point, and the blank
# Braille pattern.
_BLANK = frozenset(
    map(
        chr,
        (
            0x034F,
            0x115F,
            0x1160,
            0x17B4,
            0x17B5,
            *range(0x180B, 0x1810),
            0x2800,
            0x3164,
            *range(0xFE00, 0xFE10),
            0xFFA0,
        ),
    )
)
_TAGS = range(0xE0000, 0xE1000)


def stored_name(text: str) -> str:
    """The form in which a name is stored: Unicode NFC, without spaces around it."""
    return text.strip() if text.isascii() else unicodedata.normalize("NFC", text).strip()


def name_key(text: str) -> str:
    """A key that is equal for names that look the same. It ignores NFC or NFD, spaces around the name, and invisible characters in it."""
    name = stored_name(text)
    if name.isascii():
        return name
    return stored_name("".join(character for at, character in enumerate(name) if not _is_unseen(name, at)))


def unfitness(name: str) -> str:
    """Why a stored name is unfit for a new person; empty if it is fit.

    A fit name can name a folder on every system, and shows all its characters. It has 1 to 200 characters and at most 255 bytes of UTF-8,
    no slash, no control characters or line ends, nothing invisible, and no dot in front (`.`, `..`, hidden files).
    """
    if not name:
        return "is empty"
    if len(name) > MAX_NAME_CHARACTERS:
        return f"has {len(name)} characters"
    if name.startswith(".") or "/" in name:
        return "starts with a dot" if name.startswith(".") else "contains a slash"
    # Cc: control characters; Cs: bytes that are no UTF-8; Zl and Zp: line ends, which would split a log line.
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        return "contains control characters or bytes that are not UTF-8"
    if unseen := invisible_in(name):
        return f"contains invisible characters, {unseen}"
    return "is too long for a folder" if len(name.encode()) > MAX_NAME_BYTES else ""


def invisible_in(name: str) -> str:
    """The Unicode name of the first invisible character in `name`; empty if there is none."""
    unseen = next((character for at, character in enumerate(name) if _is_unseen(name, at)), None)
    return "" if unseen is None else unicodedata.name(unseen, f"U+{ord(unseen):04X}")


def _is_unseen(name: str, at: int) -> bool:
    """Whether the character at this place is invisible and has no meaning there.

    The two zero-width joiners have a meaning in some scripts: both after a virama, and the non-joiner between Arabic letters (RFC 5892,
    appendix A.1 and A.2, the latter without its table of joining types).
    """
    character = name[at]
    if character in (_ZERO_WIDTH_NON_JOINER, _ZERO_WIDTH_JOINER):
        before, after = name[at - 1 : at], name[at + 1 : at + 2]
        if before and unicodedata.combining(before) == _VIRAMA:
            return False
        letters = before and after and {unicodedata.bidirectional(before), unicodedata.bidirectional(after)} == {"AL"}
        return not (character == _ZERO_WIDTH_NON_JOINER and letters)
    return unicodedata.category(character) == "Cf" or character in _BLANK or ord(character) in _TAGS


_MAX_NAME_BYTES = 1024
_MAX_TEXT_BYTES = 4096


def name_of(value: object) -> str:
    """`value`, if it can be the name of a stored person. Raises RefusedError if not."""
    if not isinstance(value, str) or not value.strip() or not _fits(value, _MAX_NAME_BYTES):
        raise RefusedError(
            "not a name", got=repr(value)[:80], expected=f"text of 1 to {_MAX_NAME_BYTES} bytes without NUL"
        )
    return value


def new_name_of(value: object) -> str:
    """`value` in the form in which it is stored (`stored_name`), if it can name a person and has no invisible characters.

    Raises RefusedError if not.
    """
    name = stored_name(name_of(value))
    if unseen := invisible_in(name):
        raise RefusedError(
            "the name contains invisible characters",
            got=f"{ascii(name)[:80]}: {unseen}",
            expected="only visible characters: two names that look the same would be two people",
            remedy="take the character out",
        )
    return name


def text_of(value: object) -> str | None:
    """`value`, if it is None or text that SQLite can store. Raises RefusedError if not."""
    if value is not None and (not isinstance(value, str) or not _fits(value, _MAX_TEXT_BYTES)):
        raise RefusedError(
            "not text", got=repr(value)[:80], expected=f"at most {_MAX_TEXT_BYTES} bytes of UTF-8 without NUL"
        )
    return value


def _fits(text: str, size: int) -> bool:
    try:
        return len(text.encode()) <= size and "\0" not in text
    except UnicodeEncodeError:  # half of a surrogate pair: bytes of a file name that are no UTF-8
        return False
