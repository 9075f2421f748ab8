"""The text of site.toml without its secrets, for somebody who edits it from afar, and the secrets put back into what they send.

HIDDEN stands for a secret: the login of an address, its query, and the like. A value that comes back unchanged gets its secret back. So does
a source of the same camera with the same scheme, host and port. Anywhere else HIDDEN is a fault: whoever edits the text must not be able to
have a password sent to a host of their own.

Comments are read, too: a camera that is commented out has a password all the same. A comment that comes back unchanged gets its secret
back.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shared.errors import ConfigurationError, RollcallError
from shared.settings.sources import HIDDEN, masked_source, unmasked_source
from shared.settings.text import read_toml

Path = tuple[str | int, ...]  # of a value in the document: its keys, and its places in lists

# A string of TOML or a comment, whichever begins first. Longer delimiters first; an unclosed string ends with its line.
_PIECE = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}" + r'|"(?:[^"\\\n]|\\.)*(?:"|$)|' + r"'[^'\n]*(?:'|$)" + r"|\#[^\n]*",
    re.DOTALL | re.MULTILINE,
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}[^\s\"'<>]+")
# Keys that no section has; somebody may have put a password there, and the site then runs on with the file as it was before.
_SECRET_KEY = re.compile(r"\b(?:pass\w*|pwd|secret\w*|token)[\"']?\s*=\s*$", re.IGNORECASE)
_SECRET_IN_COMMENT = re.compile(r"\b((?:pass\w*|pwd|secret\w*|token)[\"']?\s*[=:]\s*)\S.*", re.IGNORECASE)


class _Piece(NamedTuple):
    start: int
    end: int
    raw: str

    @property
    def is_comment(self) -> bool:
        return self.raw.startswith("#")


@dataclass(frozen=True)
class _Secret:
    """A string with a secret: how it is written, its value, and its value without the secret."""

    raw: str
    value: str
    masked: str


def masked_text(text: str) -> str:
    """The text without its secrets. Also of a text that is not valid TOML."""
    return _replaced(text, {piece.start: masked for piece, masked in _masked_pieces(text)})


def unmasked_text(given: str, known: str, where: str) -> tuple[str, list[RollcallError]]:
    """The text `given`, which was made from `masked_text(known)`, with the secrets of `known`; and a fault for each place where HIDDEN stands for
    nothing. `where`: the file, for the faults.

    Both have to be TOML: raises tomllib.TOMLDecodeError or ConfigurationError.
    """
    faults: list[RollcallError] = []
    new: dict[int, str] = {}
    secrets, comments = _secrets_of(known, where), _comments_of(known)
    hidden = [piece for piece in _pieces(given) if HIDDEN in piece.raw]
    places = _places(given, [piece for piece in hidden if not piece.is_comment], where)
    for piece in hidden:
        if piece.is_comment:
            if found := comments.get(piece.raw):
                new[piece.start] = found.pop(0) if len(found) > 1 else found[0]
            else:
                faults.append(_fault(f"{where}: line {given.count(chr(10), 0, piece.start) + 1}", "a comment"))
            continue
        path = places.get(piece.start)
        secret = None if path is None else secrets.get(path)
        restored = None if secret is None else _restored(piece, secret, is_source=_is_source(path))
        if restored is None:
            faults.append(_fault(f"{where}: {_shown(path)}", "a value"))
        else:
            new[piece.start] = restored
    return _replaced(given, new), faults


def changed_secrets(before: str, after: str, where: str) -> list[str]:
    """Where `after` has another secret than `before`, or a new one, like "[cameras.door] source". The texts are whole, and valid."""
    old = {path: one.value for path, one in _secrets_of(before, where).items()}
    new = {path: one.value for path, one in _secrets_of(after, where).items()}
    return [_shown(path) for path, value in new.items() if old.get(path) != value]


def _restored(piece: _Piece, secret: _Secret, *, is_source: bool) -> str | None:
    value = _value_of(piece.raw)
    if value == secret.masked:
        return secret.raw
    whole = unmasked_source(value, secret.value) if is_source and value is not None else None
    return None if whole is None else _quoted(whole)


def _is_source(path: Path | None) -> bool:
    return path is not None and len(path) == 3 and (path[0], path[2]) == ("cameras", "source")


def _fault(where: str, what: str) -> RollcallError:
    return ConfigurationError(
        f"{HIDDEN} stands for a secret that {what} here does not have",
        where=where,
        got=HIDDEN,
        expected=f"{HIDDEN} only where it was, for the same camera, host and port",
        remedy="type the password",
    )


# -- pieces of a text -------------------------------------------------------------------------------------------------


def _pieces(text: str) -> Iterator[_Piece]:
    return (_Piece(found.start(), found.end(), found[0]) for found in _PIECE.finditer(text))


def _replaced(text: str, new: Mapping[int, str]) -> str:
    """The text with the pieces that begin at these places replaced."""
    parts, at = [], 0
    for piece in _pieces(text):
        if piece.start in new:
            parts += [text[at : piece.start], new[piece.start]]
            at = piece.end
    return "".join([*parts, text[at:]])


def _masked_pieces(text: str) -> Iterator[tuple[_Piece, str]]:
    """Each piece with a secret, and how it is written without."""
    for piece in _pieces(text):
        if piece.is_comment:
            masked = _ADDRESS.sub(lambda found: masked_source(found[0]), piece.raw)
            masked = _SECRET_IN_COMMENT.sub(rf"\1{HIDDEN}", masked)
            if masked != piece.raw:
                yield piece, masked
        elif (value := _masked_value(text, piece)) is not None:
            yield piece, _quoted(value)


def _masked_value(text: str, piece: _Piece) -> str | None:
    """A string's value without its secret; None: it has none."""
    value = _value_of(piece.raw)
    line = text[max(0, piece.start - 200) : piece.start]
    if value is None:  # it is no string of TOML: nobody knows what is in it
        return HIDDEN if "://" in piece.raw or "@" in piece.raw else None
    masked = HIDDEN if _SECRET_KEY.search(line) else masked_source(value)
    return None if masked == value else masked


def _value_of(raw: str) -> str | None:
    try:
        value = tomllib.loads(f"x = {raw}\n")["x"]
    except (tomllib.TOMLDecodeError, ValueError):
        return None
    return value if isinstance(value, str) else None


def _quoted(value: str) -> str:
    """A value as a string of TOML: JSON's strings are such, but for the character DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _secrets_of(text: str, where: str) -> dict[Path, _Secret]:
    masked = {piece.start: (piece, new) for piece, new in _masked_pieces(text) if not piece.is_comment}
    places = _places(text, [piece for piece, _ in masked.values()], where)
    return {
        places[start]: _Secret(piece.raw, _value_of(piece.raw) or "", _value_of(new) or "")
        for start, (piece, new) in masked.items()
        if start in places
    }


def _comments_of(text: str) -> dict[str, list[str]]:
    """The comments with a secret, by how they are shown."""
    found: dict[str, list[str]] = {}
    for piece, masked in _masked_pieces(text):
        if piece.is_comment:
            found.setdefault(masked, []).append(piece.raw)
    return found


def _places(text: str, pieces: list[_Piece], where: str) -> dict[int, Path]:
    """The path of each of these strings in the document, by where it begins. Without those that are keys."""
    if not pieces:
        return {}
    # Each is replaced by a text that the document does not have, and found again in what the parser makes of it.
    sign = next(sign for sign in (f"rollcall-{number}-" for number in range(len(text) + 1)) if sign not in text)
    numbered = _replaced(text, {piece.start: f'"{sign}{number}"' for number, piece in enumerate(pieces)})
    found = {value: path for path, value in _strings_in(read_toml(numbered, where)) if value.startswith(sign)}
    return {piece.start: found[f"{sign}{number}"] for number, piece in enumerate(pieces) if f"{sign}{number}" in found}


def _strings_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _strings_in(one, (*path, key))


def _shown(path: Path | None) -> str:
    if path is None:
        return "file"
    cut = 2 if path[0] == "cameras" and len(path) > 2 else 1
    section, rest = ".".join(map(str, path[:cut])), ".".join(map(str, path[cut:]))
    return f"[{section}] {rest}".strip()
