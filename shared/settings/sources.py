"""Where a camera's pictures come from: the text in site.toml, what is opened, and what may be shown.

Three things that are kept apart. The *text* is what site.toml says; it may hold `${NAME}` and, against all advice, a password.
What is *shown* is made from the text: variables stay unexpanded, literal credentials are hidden. The *address* is the text with
its variables filled in; it holds secrets, is handed to the capture, and to nothing that prints.
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

Tls = Literal["verify", "insecure"]
Transport = Literal["tcp", "udp"]
_Value = Callable[[re.Match[str]], str]
_Encode = Callable[[str], str]
_EncodeAt = Callable[[str, str], str]

HIDDEN = "***"
_CUT = "…"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_PATHS = ("/", "./", "../", "~")  # what begins so is a file, whatever letters follow
_DEVICES = ("/dev/video", "/dev/v4l/")
# A scheme with the wrong number of slashes: FFmpeg would take "rtsp:/viewer:word@host" for a file of that name.
_BROKEN_ADDRESS = re.compile(r"(?:rtsps?|https?|rtmps?|rtp|udp|srt|mms[ht]?):", re.IGNORECASE)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|(?:[\w.~-]|\$\{\w+\})+)(?::(?:\d{1,5}|\$\{\w+\}))?")
# User and password of variables only, or a plain user before a password that is one: nothing to hide.
_OPEN_LOGIN = re.compile(r"(?:[A-Za-z0-9._~-]*|\$\{\w+\})(?::\$\{\w+\})?")
# Parts of a path or query that hold a secret, as recorders take them: "/user=admin&password=…&channel=1".
_SECRET_KEY = re.compile(
    r"(?:pass|pwd|psw|passwd|password|pw|token|key|auth|secret|sig|signature|credential|session)[A-Za-z0-9]*=",
    re.IGNORECASE,
)
_IN_PATH = (
    "/!$&'()*+,;=:@~"  # what a variable may bring into a path as it is; `?`, `#`, `%` and spaces would end or bend it
)
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))


class SourceKind(StrEnum):
    """`FILE` has an end. `DEVICE` is a camera at this machine. `STREAM` comes over the network."""

    FILE = "file"
    DEVICE = "device"
    STREAM = "stream"


@dataclass(frozen=True)
class Reached:
    """How a network camera is reached. `ca_file`: the certificates that it is verified by over TLS; None: the system's."""

    tls: Tls = "verify"
    transport: Transport = "tcp"
    ca_file: Path | None = None


@dataclass(frozen=True)
class Source:
    """A source as it is opened. `address`: a path, an index or an address with its secrets, for the capture alone.

    `shown`: how it is printed.
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
    """The parts of a network address. `user` and `password` are decoded; None: the address has no login."""

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
    """`login` without its @; None: there is none. `path` begins with its /, ? or #, or is empty."""

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
    """`text` with each ${NAME} filled in, from the environment or, under systemd, from a credential file of that name.

    A variable's value is the password as it is: it is percent-encoded here, where its place in the address needs that. A
    relative file is relative to `base`. Raises ConfigurationError, which never holds a value, for an unset name or when
    what comes out is no address.
    """
    if isinstance(text, int):
        return Source(text, show_source(text), SourceKind.DEVICE)
    text, shown = text.strip(), show_source(text)
    values = os.environ if environ is None else environ

    def value(match: re.Match[str]) -> str:
        return _value_of(match.group(1), where, values)

    if parts := _split(text):
        address = _join(_filled_in(parts, value))
    elif parts := _split(whole := _VARIABLE.sub(value, text).strip()):
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
    """What may be shown of a source: site.toml's text with ${NAME} as it stands, and literal credentials hidden.

    Credentials are all that stands before the last @, whatever it is; of what is no address only the scheme is shown.
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


def hide_addresses(text: str) -> str:
    """A text of FFmpeg, OpenCV or the system with every address in it cut off: what follows a scheme may be a password."""
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*:/+)\S.*", rf"\1{_CUT}", text)


def variables_of(text: str | int) -> list[str]:
    """The names of the variables in a source."""
    return [] if isinstance(text, int) else _VARIABLE.findall(text)


def looks_like_file(text: str | int) -> bool:
    """Whether a source's text, its variables unexpanded, names a file: something with an end."""
    if isinstance(text, int):
        return False
    text = text.strip()
    return not text.startswith(_DEVICES) and (_split(text) is None or text.startswith("file://"))


def why_no_source(text: str) -> str | None:
    """What a source's text, expanded or not, would have to be, when it is none; None: it can be tried. Holds no value."""
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
    """For a text without `scheme://`."""
    if _BROKEN_ADDRESS.match(text):
        return "an address with two slashes after the scheme, such as rtsp://host/stream"
    if not text.startswith(_PATHS) and re.match(r"[^/]*:.*@", text):
        return "an address that begins with its scheme, such as rtsp://; a file of such a name begins with ./"
    return None


def parse_address(address: str) -> Address | None:
    """The parts of an expanded network address; None when it is none."""
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
    """The parts of an address; None: it has no scheme. A password with a raw / is seen by the host that it leaves."""
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
    """Each part with its variables' values, encoded as that part needs it, and what stands there literally mended."""
    login = None if parts.login is None else _fill(parts.login, value, _encode_login, lambda _, text: _quote_all(text))
    host, path = _VARIABLE.sub(value, parts.host).strip(), _fill(parts.path, value, _encode_path, _encode_in_path)
    if "@" in host:  # the variable brings user, password and host
        brought, _, host = host.rpartition("@")
        login = _encode_login(brought)
    end = _end_of_host(host)
    return _Parts(parts.scheme, login, host[:end], _encode_path(host[end:]) + path)


def _as_literal(parts: _Parts) -> _Parts:
    login = None if parts.login is None else _encode_login(parts.login)
    return _Parts(parts.scheme, login, parts.host, _encode_path(parts.path))


def _fill(text: str, value: _Value, literal: _Encode, brought: _EncodeAt) -> str:
    """`text` with `literal` over what stands there, and `brought`, which is told what stands before, over each value."""
    done, at = "", 0
    for match in _VARIABLE.finditer(text):
        done += literal(text[at : match.start()]) + brought(text[: match.start()], value(match))
        at = match.end()
    return done + literal(text[at:])


def _quote_all(text: str) -> str:
    """`text` percent-encoded, but for letters, digits and -._~"""
    return quote(text, safe="", errors="surrogateescape")


def _encode_login(text: str) -> str:
    """A literal login: what is encoded already stays, what would end it or is no part of an address is encoded."""
    text = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text)
    return quote(text, safe="%:!$&'()*+,;=~", errors="surrogateescape")


def _encode_path(text: str) -> str:
    return quote(text, safe=_PRINTABLE, errors="surrogateescape")


def _encode_in_path(before: str, value: str) -> str:
    """A variable's value in a path or query; in a query, as a whole value, it is encoded as forms are."""
    if "?" in before and before.endswith("="):
        return _quote_all(value)
    return quote(value, safe=_IN_PATH, errors="surrogateescape")


def _value_of(name: str, where: str, values: Mapping[str, str]) -> str:
    if name in values:
        return values[name]
    folder = values.get("CREDENTIALS_DIRECTORY")
    if folder and (file := Path(folder) / name).is_file():
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                "a credential can't be read",
                where=where,
                got=f"{file}: {'not UTF-8 text' if isinstance(error, ValueError) else error.strerror}",
                expected="one line of text",
                remedy="write it anew",
            ) from None
    raise ConfigurationError(
        "a variable in source is not set",
        where=where,
        got="${" + name + "}",
        expected="an environment variable or a systemd credential of that name",
        remedy=f"export {name}=…, or LoadCredential={name}:… in the unit",
    )


# -- what is shown ----------------------------------------------------------------------------------------------------


def _shown_without_scheme(text: str) -> str:
    if _BROKEN_ADDRESS.match(text):
        return f"{text.partition(':')[0]}://{_CUT}"
    before, at, after = text.rpartition("@")
    return f"{HIDDEN}@{after}" if at and ":" in before and not text.startswith(_PATHS) else text


def _shown_login(rest: str) -> tuple[str, str, str]:
    """Login, @ and what follows them, of an address without its scheme: by the last @ in all of it."""
    before, at, after = rest.rpartition("@")
    if not at:
        return "", "", rest
    if ":" not in before and "@" not in rest[: _end_of_host(rest)]:
        return "", "", rest  # host/path@2: nothing of it is a password
    return (before if _OPEN_LOGIN.fullmatch(before) else HIDDEN), at, after


def _shown_path(path: str) -> str:
    """A path up to the first literal secret; a query not at all: tokens travel there."""
    path, question, _ = path.partition("?")
    at = 0
    while found := _SECRET_KEY.search(path, at):
        at = found.end()
        variable = _VARIABLE.match(path, at)
        if not variable or path[variable.end() : variable.end() + 1] not in ("", "&", "/", ";", ",", "_", "#"):
            return path[:at] + _CUT
        at = variable.end()
    return path + ("?" + _CUT if question else "")
