"""The source of a camera's pictures, in three forms that are kept apart.

- The *text* is the value in site.toml. It may hold `${NAME}` and, against all advice, a password.
- The *shown* form is made from the text: variables stay unexpanded, and literal credentials are hidden.
- The *address* is the text with its variables filled in. It holds secrets. Only the capture gets it, and no code that prints.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

from shared.errors import ConfigurationError
from shared.settings.variables import VARIABLE, value_of, variables_in

Tls = Literal["verify", "insecure"]
Transport = Literal["tcp", "udp"]
_Value = Callable[[re.Match[str]], str]
_Encode = Callable[[str], str]
_EncodeAt = Callable[[str, str], str]

HIDDEN = "***"
_CUT = "…"
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_PATHS = ("/", "./", "../", "~")  # a text that begins with one of these is a file
_DEVICES = ("/dev/video", "/dev/v4l/")
# A scheme with the wrong number of slashes: FFmpeg would take "rtsp:/viewer:word@host" for a file of that name.
_BROKEN_ADDRESS = re.compile(r"(?:rtsps?|https?|rtmps?|rtp|udp|srt|mms[ht]?):", re.IGNORECASE)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|(?:[\w.~-]|\$\{\w+\})+)(?::(?:\d{1,5}|\$\{\w+\}))?")
# A login with nothing to hide: the user is plain text or a variable, and the password, if any, is a variable.
_OPEN_LOGIN = re.compile(r"(?:[A-Za-z0-9._~-]*|\$\{\w+\})(?::\$\{\w+\})?")
# Parts of a path or query that hold a secret. Some recorders take "/user=admin&password=…&channel=1".
_SECRET_KEY = re.compile(
    r"(?:pass|pwd|psw|passwd|password|pw|token|key|auth|secret|sig|signature|credential|session)[A-Za-z0-9]*=",
    re.IGNORECASE,
)
# Characters of a variable's value that stay as they are in a path. `?`, `#`, `%` and spaces would change its meaning.
_IN_PATH = "/!$&'()*+,;=:@~"
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))


class SourceKind(StrEnum):
    """`FILE` has an end. `DEVICE` is a camera at this machine. `STREAM` comes over the network."""

    FILE = "file"
    DEVICE = "device"
    STREAM = "stream"


@dataclass(frozen=True)
class Reached:
    """How a network camera is reached. `ca_file`: certificates that verify it over TLS; None: the system's."""

    tls: Tls = "verify"
    transport: Transport = "tcp"
    ca_file: Path | None = None


@dataclass(frozen=True)
class Source:
    """A source, ready to be opened.

    `address`: a path, a device index, or an address with its secrets; only for the capture. `shown`: the form that may be printed.
    """

    address: str | int = field(repr=False)
    shown: str
    kind: SourceKind
    reached: Reached = field(default_factory=Reached)

    @property
    def is_file(self) -> bool:
        return self.kind is SourceKind.FILE


@dataclass(frozen=True)
class Address:
    """The parts of a network address. `user` and `password` are percent-decoded; None: the address has no login."""

    scheme: str
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    host: str
    port: int | None
    path: str = field(repr=False)

    @property
    def has_tls(self) -> bool:
        return self.scheme in ("https", "rtsps")


@dataclass(frozen=True)
class _Parts:
    """`login`: without the @; None: the address has no login. `path`: begins with /, ? or #, or is empty."""

    scheme: str
    login: str | None
    host: str
    path: str


def resolve_source(
    text: str | int,
    where: str,
    *,
    base: Path | None = None,
    environ: Mapping[str, str] | None = None,
    reached: Reached | None = None,
) -> Source:
    """Fill in each ${NAME} of `text`, from the environment or, under systemd, from the credential file of that name.

    A variable holds the plain password. It is percent-encoded here if its place in the address needs that. A relative file is
    relative to `base`. Raises ConfigurationError if a variable is not set, or if the filled-in text is not a source. The error
    never holds a value.
    """
    if isinstance(text, int):
        return Source(text, show_source(text), SourceKind.DEVICE)
    text, shown = text.strip(), show_source(text)
    values = os.environ if environ is None else environ

    def value(match: re.Match[str]) -> str:
        return value_of(match.group(1), where, values)

    if parts := _split(text):
        address = _join(_filled_in(parts, value))
    elif parts := _split(whole := VARIABLE.sub(value, text).strip()):
        address = _join(_as_literal(parts))
    else:
        address = whole
    if fault := why_no_source(address):
        raise ConfigurationError(
            "is not a source",
            where=where,
            got=shown,
            expected=fault,
            remedy="correct it; ${NAME} stands for a password as it is, not percent-encoded",
        )
    if address.startswith(_DEVICES):
        return Source(address, shown, SourceKind.DEVICE)
    if not _split(address) or address.startswith("file://"):
        path = unquote(address.removeprefix("file://").removeprefix("localhost")) if "://" in address else address
        file = str((base or Path.cwd()) / Path(path).expanduser())
        return Source(file, shown if "${" in shown else file, SourceKind.FILE)
    return Source(address, shown, SourceKind.STREAM, reached or Reached())


def show_source(text: str | int) -> str:
    """The form of a source that may be shown: ${NAME} stays as it is, and literal credentials are hidden.

    Everything before the last @ counts as credentials. If the host is not valid, only the scheme is shown.
    """
    if isinstance(text, int):
        return f"/dev/video{text}"
    text = "".join(letter if letter.isprintable() else "?" for letter in text.strip())
    found = _ADDRESS.fullmatch(text)
    if not found:
        return _shown_without_scheme(text)
    scheme, rest = found.groups()
    if scheme.lower() == "file":
        return text
    login, at, place = _shown_login(rest)
    end = _end_of_host(place)
    if not _HOST.fullmatch(place[:end]):
        return f"{scheme}://{_CUT}"
    return f"{scheme}://{login}{at}{place[:end]}{_shown_path(place[end:])}"


def masked_source(text: str) -> str:
    """The form of a source that may be edited by somebody who does not know its secrets: as `show_source`, with HIDDEN for what is not shown.
    A source without secrets stays as it is."""
    shown = show_source(text)
    return text if shown == text.strip() else shown.replace(_CUT, HIDDEN)


def unmasked_source(given: str, known: str) -> str | None:
    """The source `given`, which was made from `masked_source(known)`, with the secrets of `known` put back.

    None if they must not be: they belong to another scheme, host or port, or `given` has been changed where they are.
    """
    if given == masked_source(known):
        return known
    new, old = _ADDRESS.fullmatch(given.strip()), _ADDRESS.fullmatch(known.strip())
    if new is None or old is None or new[1].lower() != old[1].lower():
        return None
    login, at, place = _cut_login(new[2])
    known_login, known_at, known_place = _cut_login(old[2])
    end, known_end = _end_of_host(place), _end_of_host(known_place)
    host, path, known_path = place[:end], place[end:], known_place[known_end:]
    if host.lower() != known_place[:known_end].lower() or not _HOST.fullmatch(host):
        return None
    if login == HIDDEN:
        login, at = known_login, known_at
    if HIDDEN in path:
        if path != _shown_path(known_path).replace(_CUT, HIDDEN):
            return None
        path = known_path
    return None if HIDDEN in login else f"{new[1]}://{login}{at}{host}{path}"


def place_of(text: str) -> tuple[str, str] | None:
    """Scheme and host with its port, in small letters, of a source that is an address. They say where its secrets go."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        return None
    place = _cut_login(found[2])[2]
    return found[1].lower(), place[: _end_of_host(place)].lower()


def hide_addresses(text: str) -> str:
    """Cut a message of FFmpeg, OpenCV or the system after the scheme of each address, since a password may follow."""
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*:/+)\S.*", rf"\1{_CUT}", text)


def variables_of(text: str | int) -> list[str]:
    """The names of the variables in a source."""
    return [] if isinstance(text, int) else variables_in(text)


def looks_like_file(text: str | int) -> bool:
    """Whether a source's text, with its variables unexpanded, names a file, and so has an end."""
    if isinstance(text, int):
        return False
    text = text.strip()
    return not text.startswith(_DEVICES) and (_split(text) is None or text.startswith("file://"))


def why_no_source(text: str) -> str | None:
    """What was expected, if a source's text is not valid; None if it can be opened. The text may be expanded or not. Holds no value."""
    text = text.strip()
    if not text:
        return "an address, a file or a device"
    if "\0" in text or any(not letter.isprintable() for letter in text):
        return "an address in one line of printable letters"
    if not _ADDRESS.fullmatch(text):
        return _why_no_file(text)
    if text.lower().startswith("file://"):
        return None if re.match(r"file://(?:localhost)?/", text) else "file:///path/to/the/file"
    parts = _split(text)
    return None if parts and _HOST.fullmatch(parts.host) else "scheme://user:password@host:port/path with a valid host"


def _why_no_file(text: str) -> str | None:
    """The same as `why_no_source`, for a text without `scheme://`."""
    if _BROKEN_ADDRESS.match(text):
        return "an address with two slashes after the scheme, such as rtsp://host/stream"
    if not text.startswith(_PATHS) and re.match(r"[^/]*:.*@", text):
        return "an address that begins with its scheme, such as rtsp://; a file of such a name begins with ./"
    return None


def parse_address(address: str) -> Address | None:
    """The parts of an expanded network address; None if it is not valid."""
    parts = _split(address)
    if parts is None or not _HOST.fullmatch(parts.host):
        return None
    host, colon, port = parts.host.rpartition(":") if not parts.host.endswith("]") else (parts.host, "", "")
    user = password = None
    if parts.login is not None:
        user, _, password = unquote(parts.login).partition(":")
    number = int(port) if colon and port.isdecimal() else None
    if number is not None and not 0 < number < 65536:
        return None
    return Address(parts.scheme, user, password, (host if colon else parts.host).strip("[]"), number, parts.path)


# -- parts ------------------------------------------------------------------------------------------------------------


def _split(text: str) -> _Parts | None:
    """The parts of an address; None if it has no scheme.

    A password may hold an unencoded /. Then the text before that / is not a valid host, and the last @ ends the login.
    """
    found = _ADDRESS.fullmatch(text)
    if not found:
        return None
    scheme, rest = found.groups()
    end = _end_of_host(rest)
    login, at, host = rest[:end].rpartition("@")
    path = rest[end:]
    if not at and "@" in rest and not _HOST.fullmatch(host):
        login, at, place = rest.rpartition("@")
        end = _end_of_host(place)
        host, path = place[:end], place[end:]
    return _Parts(scheme.lower(), login if at else None, host, path)


def _end_of_host(text: str) -> int:
    return next((i for i, letter in enumerate(text) if letter in "/?#"), len(text))


def _join(parts: _Parts) -> str:
    login = "" if parts.login is None else f"{parts.login}@"
    return f"{parts.scheme}://{login}{parts.host}{parts.path}"


def _filled_in(parts: _Parts, value: _Value) -> _Parts:
    """Fill in the variables of each part, encoded as that part needs it. Encode literal characters that an address can't hold."""
    login = None if parts.login is None else _fill(parts.login, value, _encode_login, lambda _, text: _quote_all(text))
    host, path = VARIABLE.sub(value, parts.host).strip(), _fill(parts.path, value, _encode_path, _encode_in_path)
    if "@" in host:  # the variable holds user, password and host
        brought, _, host = host.rpartition("@")
        login = _encode_login(brought)
    end = _end_of_host(host)
    return _Parts(parts.scheme, login, host[:end], _encode_path(host[end:]) + path)


def _as_literal(parts: _Parts) -> _Parts:
    login = None if parts.login is None else _encode_login(parts.login)
    return _Parts(parts.scheme, login, parts.host, _encode_path(parts.path))


def _fill(text: str, value: _Value, literal: _Encode, brought: _EncodeAt) -> str:
    """Fill in the variables of `text`. `literal` encodes the text between them. `brought` encodes each value, and gets the text before it."""
    done, at = "", 0
    for match in VARIABLE.finditer(text):
        done += literal(text[at : match.start()]) + brought(text[: match.start()], value(match))
        at = match.end()
    return done + literal(text[at:])


def _quote_all(text: str) -> str:
    """Percent-encode everything except letters, digits and -._~"""
    return quote(text, safe="", errors="surrogateescape")


def _encode_login(text: str) -> str:
    """Encode a literal login: characters that would end it, or that an address can't hold. Encoded characters stay as they are."""
    text = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text)
    return quote(text, safe="%:!$&'()*+,;=~", errors="surrogateescape")


def _encode_path(text: str) -> str:
    return quote(text, safe=_PRINTABLE, errors="surrogateescape")


def _encode_in_path(before: str, value: str) -> str:
    """Encode a variable's value in a path or a query. If it is a whole value of a query, all special characters are encoded."""
    if "?" in before and before.endswith("="):
        return _quote_all(value)
    return quote(value, safe=_IN_PATH, errors="surrogateescape")


# -- what is shown ----------------------------------------------------------------------------------------------------


def _shown_without_scheme(text: str) -> str:
    if _BROKEN_ADDRESS.match(text):
        return f"{text.partition(':')[0]}://{_CUT}"
    before, at, after = text.rpartition("@")
    return f"{HIDDEN}@{after}" if at and ":" in before and not text.startswith(_PATHS) else text


def _shown_login(rest: str) -> tuple[str, str, str]:
    """Split an address without its scheme at its last @: the login as it may be shown, the @, and the rest."""
    login, at, place = _cut_login(rest)
    return (login if not at or _OPEN_LOGIN.fullmatch(login) else HIDDEN), at, place


def _cut_login(rest: str) -> tuple[str, str, str]:
    """Split an address without its scheme at its last @: the login, the @, and the rest."""
    before, at, after = rest.rpartition("@")
    if not at or (":" not in before and "@" not in rest[: _end_of_host(rest)]):
        return "", "", rest  # such as host/path@2: it has no password
    return before, at, after


def _shown_path(path: str) -> str:
    """A path up to the first literal secret. The query is not shown, since it may hold a token."""
    path, question, _ = path.partition("?")
    at = 0
    while found := _SECRET_KEY.search(path, at):
        at = found.end()
        variable = VARIABLE.match(path, at)
        if not variable or path[variable.end() : variable.end() + 1] not in ("", "&", "/", ";", ",", "_", "#"):
            return path[:at] + _CUT
        at = variable.end()
    return path + ("?" + _CUT if question else "")
