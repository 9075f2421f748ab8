"""The brake on guessing, with times that the test gives."""

from __future__ import annotations

from workers.serving import brake
from workers.serving.brake import Brake


def test_so_many_tries_then_a_wait() -> None:
    """Five tries at once; the sixth waits until the first of them is a minute old."""
    one = Brake(5, 60.0)
    for second in range(5):
        assert one.wait_s("here", second) == 0
        one.note("here", second)
    assert one.wait_s("here", 5) == 55
    assert one.wait_s("there", 5) == 0, "another address has its own tries"
    assert one.wait_s("here", 60) == 0


def test_very_many_addresses_take_little_memory() -> None:
    """Those that tried longest ago are forgotten first."""
    one = Brake(1, 60.0)
    for number in range(brake._MAX_ADDRESSES + 1):
        one.note(str(number), 0)
    assert len(one._tries) == brake._MAX_ADDRESSES
    assert one.wait_s("0", 1) == 0
    assert one.wait_s("1", 1) > 0


def test_an_ipv6_network_is_one_address() -> None:
    """Whoever has one of its addresses has 2^64."""
    one = Brake(1, 60.0)
    one.note("2001:db8::1", 0)
    assert one.wait_s("2001:db8::ffff:2", 1) > 0
    assert one.wait_s("2001:db8:0:1::1", 1) == 0
