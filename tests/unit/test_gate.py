"""The gate: which requests pass, whom it takes for the caller, what every answer carries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from shared.settings.schema import WebSettings
from workers.serving.gate import Gate, Seen


async def _application(scope: Scope, receive: Receive, send: Send) -> None:
    caller = scope["state"]["caller"]
    await PlainTextResponse(f"{caller.address} {caller.is_secure}")(scope, receive, send)


def ask(gate: Gate, method: str = "GET", peer: str = "127.0.0.1", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of the answer to one request. `_` in a header's name stands for `-`."""
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": "localhost:8480"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http", "method": method, "path": "/", "query_string": b"", "client": (peer, 1), "headers":
        [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    asyncio.run(gate(scope, receive, send))
    start = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], start, b"".join(one.get("body", b"") for one in sent[1:]).decode()


def gate(seen: list[Seen] | None = None, **web: Any) -> Gate:
    return Gate(_application, WebSettings(enabled=True, **web), (seen if seen is not None else []).append)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8480", 200), ("127.0.0.1", 200), ("[::1]:8480", 200), ("Site.Example:8480", 200),
        ("evil.example", 421), ("localhost.evil.example:8480", 421), ("", 421), ("[::1", 421),
    ],
)  # fmt: skip
def test_only_known_names_are_answered(host: str, status: int) -> None:
    """A page that has its own name point at this machine (DNS rebinding) is refused."""
    assert ask(gate(hosts=["site.example"]), host=host)[0] == status


@pytest.mark.parametrize("written", ["2001:db8::7", "[2001:DB8:0::7]"])
def test_an_address_of_ipv6_is_known_as_browsers_write_it(written: str) -> None:
    assert ask(gate(hosts=[written]), host="[2001:db8::7]:8480")[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "none"}, 403),
        ({"origin": "http://localhost:8480"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"sec_fetch_site": "cross-site", "origin": "http://localhost:8480"}, 403),
        ({"authorization": "Bearer rc_x"}, 200),
    ],
)
def test_what_changes_something_comes_from_our_pages_or_has_a_token(headers: dict[str, str], status: int) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert ask(gate(), method, **headers)[0] == status
    assert ask(gate(), **headers)[0] == 200, "reading is free of that"


@pytest.mark.parametrize(
    ("peer", "passed", "caller"),
    [
        ("192.0.2.9", "", "192.0.2.9 True"),
        ("192.0.2.9", "198.51.100.1", "192.0.2.9 True"),  # no proxy of ours: not believed
        ("10.0.0.2", "198.51.100.1", "198.51.100.1 True"),
        ("10.0.0.2", "203.0.113.5, 198.51.100.1, 10.0.0.3", "198.51.100.1 True"),  # what the browser itself claimed
        ("10.0.0.2", "", "10.0.0.2 True"),
        ("::ffff:192.0.2.9", "198.51.100.1", "192.0.2.9 True"),  # a socket for IPv6 shows IPv4 so
        ("::ffff:10.0.0.2", "::ffff:198.51.100.1", "198.51.100.1 True"),
    ],
)
def test_who_calls_through_a_proxy(peer: str, passed: str, caller: str) -> None:
    """Only a proxy that is named is believed, and of the addresses only the last one that is no proxy's."""
    headers = {"x_forwarded_for": passed, "x_forwarded_proto": "https"}
    one = gate(proxies=["10.0.0.0/24"], certificate="c.pem", key="k.pem")
    assert ask(one, peer=peer, **headers)[2] == caller


def test_every_answer_closes_what_browsers_leave_open() -> None:
    """Also a refusal. HSTS over TLS only: over HTTP it means nothing."""
    for headers in ({}, {"host": "evil.example"}):
        _, answer, _ = ask(gate(), **headers)
        assert "default-src 'none'" in answer["content-security-policy"]
        assert "frame-ancestors 'none'" in answer["content-security-policy"]
        assert answer["x-content-type-options"] == "nosniff"
        assert answer["referrer-policy"] == "no-referrer"
        assert answer["cache-control"] == "no-store"
        assert len(answer["x-request-id"]) == 16
        assert "strict-transport-security" not in answer
    assert "strict-transport-security" in ask(gate(certificate="c.pem", key="k.pem"))[1]


def test_a_fault_of_ours_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """The text of an error may hold what somebody sent. The place stays."""
    seen: list[Seen] = []

    async def broken(*_: Any) -> None:
        raise ValueError(" ".join(["what", "somebody", "sent"]))

    one = Gate(broken, WebSettings(), seen.append)
    with pytest.raises(IndexError):  # nothing was sent: the application's own handler answers such faults
        ask(one)
    assert "ValueError" in caplog.text
    assert "test_gate" in caplog.text
    assert "what somebody sent" not in caplog.text
    assert seen[0].status == 0


@pytest.mark.parametrize(
    ("web", "peer", "headers", "status"),
    [
        ({}, "127.0.0.1", {}, 200),
        ({}, "192.0.2.9", {}, 403),
        ({"proxies": ["10.0.0.2"]}, "192.0.2.9", {"x_forwarded_proto": "https"}, 403),  # past the proxy
        ({"proxies": ["10.0.0.2"]}, "10.0.0.2", {}, 200),
        ({"certificate": "c.pem", "key": "k.pem"}, "192.0.2.9", {}, 200),
        ({"host": "unix:web.sock"}, "", {}, 200),
    ],
)
def test_nothing_travels_the_network_in_the_clear(
    web: dict[str, Any], peer: str, headers: dict[str, str], status: int
) -> None:
    """Another machine is answered over TLS, or through a proxy that is named."""
    assert ask(gate(**web), peer=peer, **headers)[0] == status


@pytest.mark.parametrize(
    ("web", "peer", "headers", "is_local"),
    [
        ({}, "127.0.0.1", {}, True),
        ({}, "127.0.0.1", {"x_forwarded_for": "192.0.2.9"}, False),  # a proxy that nobody named
        ({}, "127.0.0.1", {"via": "1.1 proxy"}, False),
        ({"proxies": ["127.0.0.1"]}, "127.0.0.1", {}, False),
        ({"host": "unix:web.sock"}, "", {}, False),
    ],
)
def test_what_came_through_a_proxy_is_not_local(
    web: dict[str, Any], peer: str, headers: dict[str, str], is_local: bool
) -> None:
    seen: list[bool] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["state"]["caller"].is_local)
        await PlainTextResponse("")(scope, receive, send)

    ask(Gate(look, WebSettings(enabled=True, **web), lambda _: None), peer=peer, **headers)
    assert seen == [is_local]
