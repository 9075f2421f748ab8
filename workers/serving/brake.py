"""A brake on guessing: so many tries in so many seconds for each address. Pure: the caller gives the time."""

from __future__ import annotations

from collections import OrderedDict, deque
from ipaddress import IPv6Address

_MAX_ADDRESSES = 4096


class Brake:
    """Counts tries by address."""

    def __init__(self, most: int, within_s: float) -> None:
        self._most, self._within_s = most, within_s
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str, now: float) -> float:
        """How long this address has to wait before another try; 0 if it may try now."""
        tries = self._tries.get(_network(address))
        if tries is None or len(tries) < self._most:
            return 0.0
        return max(0.0, tries[0] + self._within_s - now)

    def note(self, address: str, now: float) -> None:
        """Note a try. Of very many addresses those that tried longest ago are forgotten."""
        tries = self._tries.setdefault(_network(address), deque(maxlen=self._most))
        self._tries.move_to_end(_network(address))
        tries.append(now)
        while len(self._tries) > _MAX_ADDRESSES:
            self._tries.popitem(last=False)


def _network(address: str) -> str:
    """What counts as one address: of IPv6 the first 64 bits, since whoever has one of these has them all."""
    try:
        return str(int(IPv6Address(address)) >> 64)
    except ValueError:
        return address
