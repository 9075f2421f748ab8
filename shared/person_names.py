"""What a person's name is, wherever one comes in: how it is stored, which ones look the same, and which can't be new.

Two names that nobody can tell apart on a screen must not be two people: whoever forgets one would leave the other.
"""

from __future__ import annotations

import unicodedata

from shared.errors import RefusedError

MAX_NAME_CHARACTERS = 200
MAX_NAME_BYTES = 255  # a person is a folder in data/faces, and file systems count bytes

_ZERO_WIDTH_NON_JOINER, _ZERO_WIDTH_JOINER = "\u200c", "\u200d"
_VIRAMA = 9  # canonical combining class
# What is shown as nothing though it is a letter, a mark or a symbol: the rest of Unicode's Default_Ignorable_Code_Point, and the
# blank Braille pattern.
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
    """The name as it is stored: Unicode NFC, no space around it."""
    return text.strip() if text.isascii() else unicodedata.normalize("NFC", text).strip()


def name_key(text: str) -> str:
    """Equal for names that look the same: NFC or NFD, spaces around them, characters in them that nobody sees."""
    name = stored_name(text)
    if name.isascii():
        return name
    return stored_name("".join(one for at, one in enumerate(name) if not _is_unseen(name, at)))


def unfitness(name: str) -> str:
    """What makes a stored name unfit for a new person; empty when nothing does.

    Fit is what can name a folder everywhere and is seen as it is: 1 to 200 characters and at most 255 bytes of UTF-8, no slash, no
    control characters or line ends, nothing invisible, no dot in front (`.`, `..`, and what is hidden).
    """
    if not name:
        return "is empty"
    if len(name) > MAX_NAME_CHARACTERS:
        return f"has {len(name)} characters"
    if name.startswith(".") or "/" in name:
        return "starts with a dot" if name.startswith(".") else "contains a slash"
    # Cc: control characters, Cs: bytes that are no UTF-8, Zl and Zp: line ends, which tear log lines apart.
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        return "contains control characters or bytes that are not UTF-8"
    if unseen := invisible_in(name):
        return f"contains characters that nobody sees, {unseen}"
    return "is too long for a folder" if len(name.encode()) > MAX_NAME_BYTES else ""


def invisible_in(name: str) -> str:
    """The first character that nobody sees, by its Unicode name; empty when there is none."""
    unseen = next((one for at, one in enumerate(name) if _is_unseen(name, at)), None)
    return "" if unseen is None else unicodedata.name(unseen, f"U+{ord(unseen):04X}")


def _is_unseen(name: str, at: int) -> bool:
    """Whether the character at this place shows nothing, and means nothing where it stands.

    The two joiners are part of how some names are written: after a virama, and the non-joiner between Arabic letters (RFC 5892,
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
    """`value`, when it can name a person. Raises RefusedError."""
    if not isinstance(value, str) or not value.strip() or not _fits(value, _MAX_NAME_BYTES):
        raise RefusedError(
            "not a name", got=repr(value)[:80], expected=f"text of 1 to {_MAX_NAME_BYTES} bytes without NUL"
        )
    return value


def new_name_of(value: object) -> str:
    """`value` as a person's name is stored (NFC, no space around), when it can name one. Raises RefusedError."""
    name = stored_name(name_of(value))
    if unseen := invisible_in(name):
        raise RefusedError(
            "the name contains characters that nobody sees",
            got=f"{ascii(name)[:80]}: {unseen}",
            expected="a name that is seen as it is: two that look the same would be two people",
            remedy="take the character out",
        )
    return name


def text_of(value: object) -> str | None:
    """`value`, when it is text or nothing. Raises RefusedError."""
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
