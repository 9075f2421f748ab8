"""What can be set from afar, by an admin in a browser, and what only in the file, by whoever owns the machine.

Only in the file: what opens a path or a device, what listens, where the gallery is sent, and the model, which is switched by a command. And a
secret of the file goes only where the file sends it: a variable, too, can be used only for the scheme, host and port for which the file uses
it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from shared.errors import ConfigurationError, RollcallError
from shared.settings.sources import HIDDEN, masked_source, parse_address, place_of, variables_of
from shared.settings.variables import variables_in

Document = Mapping[str, Any]

_SCHEMES = ("rtsp", "rtsps", "http", "https")
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_IN_FILE = "set it in the file, on the site's machine, and reload the site"
_BY_COMMAND = "type on the site's machine: python supervisor.py models use NAME"
# Sections and keys that can't be set from afar, and the remedy.
_SECTIONS = ("web", "backend")
_KEYS: dict[tuple[str, str], str] = {
    ("site", "data_dir"): _IN_FILE,
    ("recognition", "models_dir"): _IN_FILE,
    ("recognition", "engine"): _BY_COMMAND,
    ("recognition", "model"): _BY_COMMAND,
    **{("sync", key): _IN_FILE for key in ("backend", "token_file", "key_file", "ca_file", "insecure")},
}
_CAMERA_KEYS = ("ca_file",)


def why_not_settable(section: str, key: str) -> str | None:
    """The remedy, if a setting can't be set from afar. `section`: "cameras" for any camera."""
    if section in _SECTIONS or (section == "cameras" and key in _CAMERA_KEYS):
        return _IN_FILE
    return _KEYS.get((section, key))


def needs_restart(section: str) -> bool:
    """Whether a setting of this section is in force only once the site was started again: a reload does not take it."""
    return section == "site"


def change_faults(
    before: Document, after: Document, given: Document, *, own_ports: Collection[int], where: str
) -> list[RollcallError]:
    """A fault for each change that can't be made from afar. `before`, `after`: the file's documents, with their secrets. `given`: `after` as it
    was sent, with HIDDEN for secrets that it keeps. `own_ports`: on which this site listens. `where`: the file."""
    faults = locked_faults(before, after, where)
    cameras, was_sent = _table(before, "cameras"), _table(given, "cameras")
    for name in _table(after, "cameras"):
        was, now = _table(cameras, name), _table(_table(after, "cameras"), name)
        faults += _camera_faults(f"{where}: [cameras.{name}]", was, now, own_ports)
        keeps = HIDDEN in str(_table(was_sent, name).get("source"))
        faults += _secret_faults(f"{where}: [cameras.{name}]", was, now, cameras, keeps_secret=keeps)
    return faults


def locked_faults(before: Document, after: Document, where: str) -> list[RollcallError]:
    """As `change_faults`, of everything but cameras."""
    return [
        _locked(f"{where}: [{section}] {key}".strip(), _IN_FILE if section in _SECTIONS else _KEYS[section, key])
        for section, key in _locked_changes(before, after)
    ]


def _locked_changes(before: Document, after: Document) -> Iterator[tuple[str, str]]:
    for section in _SECTIONS:
        old, new = before.get(section), after.get(section)
        if old != new:
            either = {**_table(before, section), **_table(after, section)}
            keys = [key for key in either if _table(before, section).get(key) != _table(after, section).get(key)]
            yield from ((section, key) for key in keys or [""])
    for section, key in _KEYS:
        if _table(before, section).get(key) != _table(after, section).get(key):
            yield section, key


def _camera_faults(where: str, was: Document, now: Document, own_ports: Collection[int]) -> Iterator[RollcallError]:
    for key in _CAMERA_KEYS:
        if was.get(key) != now.get(key):
            yield _locked(f"{where} {key}", _IN_FILE)
    source = now.get("source")
    if source != was.get("source") and isinstance(source, str | int):
        fault = source_fault(source, own_ports, f"{where} source")
        if fault is not None:
            yield fault


def _secret_faults(
    where: str, was: Document, now: Document, all_before: Document, *, keeps_secret: bool
) -> Iterator[RollcallError]:
    """Secrets of the file that would go to another place, or to whoever answers in the camera's place."""
    source = now.get("source")
    if not isinstance(source, str):
        return
    known = [_table(all_before, name) for name in all_before]
    used = {
        (variable, place_of(one["source"]))
        for one in known
        if isinstance(one.get("source"), str)
        for variable in variables_of(one["source"])
    }
    unknown = [name for name in variables_in(source) if (name, place_of(source)) not in used]
    if unknown:
        yield ConfigurationError(
            "a variable goes only where the file sends it",
            where=f"{where} source",
            got="${" + unknown[0] + "}",
            expected="a variable that the file uses for this scheme, host and port",
            remedy=f"type the password, or {_IN_FILE}",
        )
    keeps_secret = keeps_secret or (bool(variables_in(source)) and not unknown)
    if keeps_secret and now.get("tls", "verify") == "insecure" != was.get("tls", "verify"):
        yield ConfigurationError(
            "the stored password would go to any machine that answers",
            where=f"{where} tls",
            got="insecure",
            expected="verify",
            remedy=f"type the password, too, or {_IN_FILE}",
        )


def source_fault(source: str | int, own_ports: Collection[int], where: str) -> RollcallError | None:
    """Why a source can't be set from afar; None if it can. Asks no name server: a name is resolved when it is opened."""
    address = parse_address(source) if isinstance(source, str) else None
    if address is None and isinstance(source, str) and (place := place_of(source)) is not None:
        if place[0] in _SCHEMES and variables_in(source):
            return None  # its host is a variable that the file uses already
        return _no_source(where, "not an address that can be read")
    if address is None or address.scheme not in _SCHEMES:
        return _no_source(where, "a file, a device, or another kind of address")
    try:
        found = socket.getaddrinfo(address.host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        found = []
    numbers = [str(one[4][0]) for one in found]
    if address.host.lower().rstrip(".") in ("localhost", "ip6-localhost"):
        numbers = ["127.0.0.1"]
    port = address.port or _PORTS[address.scheme]
    for number in numbers:
        if why := why_not_reached(number, port, own_ports):
            return _no_source(where, f"{masked_source(source) if isinstance(source, str) else source}: {why}")
    return None


def why_not_reached(number: str, port: int, own_ports: Collection[int]) -> str | None:
    """Why an address is not connected to from afar; None if it may be. `number`: an IP address."""
    given = ipaddress.ip_address(number.partition("%")[0])
    ip = getattr(given, "ipv4_mapped", None) or given
    if ip.is_link_local or ip.is_multicast or (ip.is_reserved and not ip.is_loopback):
        return "an address that no camera has (link-local, multicast or reserved)"
    if port in own_ports and (ip.is_loopback or ip.is_unspecified or _is_of_this_machine(ip)):
        return "a port of this site itself"
    return "an address that no camera has (0.0.0.0)" if ip.is_unspecified else None


def _is_of_this_machine(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        try:
            one.connect((str(ip), 9))  # sends nothing: the system only chooses the way
        except OSError:
            return False
        return str(one.getsockname()[0]) == str(ip)


def _no_source(where: str, got: str) -> RollcallError:
    return ConfigurationError(
        "this source can't be set from afar",
        where=where,
        got=got,
        expected="rtsp://, rtsps://, http:// or https:// of a camera",
        remedy=_IN_FILE,
    )


def _locked(where: str, remedy: str) -> RollcallError:
    return ConfigurationError(
        "this can't be set from afar", where=where, got="another value", expected="the file's", remedy=remedy
    )


def _table(document: Any, key: str) -> Document:
    found = document.get(key) if isinstance(document, Mapping) else None
    return found if isinstance(found, Mapping) else {}
