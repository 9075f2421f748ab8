"""Who sends a request: the program itself, or the browser or program behind a proxy that is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

from shared.settings.schema import LOOPBACK

_PASSED_ON = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "via", "x-real-ip")


class Caller(NamedTuple):
    """Who sends a request: the address of the program or of the browser behind a trusted proxy, and whether it speaks TLS. `is_local`: it
    is a program of this machine, and no proxy stands between. `in_the_clear`: it is another machine, and what it sends is not encrypted."""

    address: str
    is_secure: bool
    is_local: bool = False
    in_the_clear: bool = False


class Callers:
    """Finds the caller of each request."""

    def __init__(self, proxies: Sequence[str], *, has_tls: bool, is_behind_socket: bool = False) -> None:
        """`proxies`: the addresses or networks of those that are believed. `has_tls`: this server has a certificate. `is_behind_socket`: it
        listens on a Unix socket; whoever may open that is a proxy that the site's user lets in."""
        self._proxies = [ip_network(one) for one in proxies]
        self._is_behind_socket, self._is_secure = is_behind_socket, has_tls

    def of(self, scope: Scope, headers: Headers) -> Caller:
        """Who sends a request."""
        peer = scope.get("client")
        address = "unknown" if self._is_behind_socket or not peer else _plain(str(peer[0]))
        if not (self._is_behind_socket or self._is_proxy(address)):
            # A proxy that nobody named says of itself that it passes something on.
            is_passed_on = any(name in headers for name in _PASSED_ON)
            is_here = address in LOOPBACK
            return Caller(address, self._is_secure, is_here and not is_passed_on, not (is_here or self._is_secure))
        # Each proxy adds the address that it was called from. The last one that is no proxy of ours is the caller.
        passed = [_plain(one.strip()) for one in ",".join(headers.getlist("x-forwarded-for")).split(",") if one.strip()]
        outside = [one for one in passed if not self._is_proxy(one)]
        is_secure = self._is_secure or headers.get("x-forwarded-proto") == "https"
        return Caller(outside[-1][:64] if outside else address, is_secure)

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in one for one in self._proxies)


def _plain(address: str) -> str:
    """An address as people write it: a socket for IPv6 that takes IPv4 too shows ::ffff:192.0.2.7."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(getattr(found, "ipv4_mapped", None) or found)


def caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller
