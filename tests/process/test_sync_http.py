"""The client of the backend over real HTTP: deadlines, redirects, certificates, and what becomes of the token."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ConfigurationError
from shared.settings.file import load_settings
from tests.support.plain_server import PlainServer
from tests.support.sync_site import SyncSite
from workers.serving.certificate import make_certificate
from workers.sync import backend_client
from workers.sync.backend_client import BackendClient, PlainList, Target, target_of
from workers.sync.faults import BackendFault, BatchRefusedError, NotLetInError

_TOKEN = f"rc_0123456789abcdef_{'secret' * 7}s"


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with PlainServer() as one:
        yield one


def _client(server: PlainServer, **more: Any) -> BackendClient:
    return BackendClient(Target(f"{server.address}/api", _TOKEN, **more))


def _ask(client: BackendClient) -> list[Any]:
    answer = client.page("", "ab" * 32, 0.0, None)
    assert isinstance(answer, PlainList)
    return list(answer.items)


def test_the_token_goes_to_the_backend(server: PlainServer) -> None:
    """As a bearer token, at the address of the settings, which is never lengthened by a second /api."""
    assert _ask(_client(server)) == []
    method, path, headers = server.seen[0]
    assert (method, path.partition("?")[0]) == ("GET", "/api/face/all-embeddings")
    assert headers["Authorization"] == f"Bearer {_TOKEN}"


def test_a_netrc_does_not_replace_the_token(
    server: PlainServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login in ~/.netrc for this host is not sent."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password secret\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    _ask(_client(server))
    assert server.seen[0][2]["Authorization"] == f"Bearer {_TOKEN}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_not_followed(server: PlainServer, status: int) -> None:
    """Neither the request nor the token go there, whatever the redirect is; the error says where it pointed, without its path."""
    with PlainServer() as other:

        def answer(handler: Any) -> None:
            handler.say(status, {}, Location=f"{other.address}/api/face/all-embeddings?secret")

        server.answer = answer
        with pytest.raises(NotLetInError) as caught:
            _ask(_client(server))
        assert other.seen == []
        assert "secret" not in caught.value.line()


def test_a_redirect_within_the_backend_is_followed(server: PlainServer) -> None:
    """308 to another path of the same origin."""

    def answer(handler: Any) -> None:
        if handler.path.startswith("/api/"):
            handler.say(308, {}, Location=handler.path.replace("/api/", "/v2/"))
        else:
            handler.say(200, {"success": True, "embeddings": [{"a": 1}]})

    server.answer = answer
    assert _ask(_client(server)) == [{"a": 1}]
    assert [path.partition("?")[0] for _, path, _ in server.seen] == [
        "/api/face/all-embeddings",
        "/v2/face/all-embeddings",
    ]


def test_redirects_in_a_circle_end(server: PlainServer) -> None:
    """After a few of them it is a fault."""
    server.answer = lambda handler: handler.say(307, {}, Location=handler.path)
    with pytest.raises(BackendFault):
        _ask(_client(server))
    assert len(server.seen) <= 5


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, NotLetInError),
        (403, NotLetInError),
        (404, NotLetInError),
        (400, BatchRefusedError),
        (413, BatchRefusedError),
        (422, BatchRefusedError),
        (408, BackendFault),
        (429, BackendFault),
        (500, BackendFault),
        (502, BackendFault),
        (503, BackendFault),
    ],
)
def test_what_a_status_means(server: PlainServer, status: int, kind: type[Exception]) -> None:
    """401, 403 and 404 are a matter of the settings; other 4xx of what was sent; the rest passes. The token is in no message."""
    server.answer = lambda handler: handler.say(status, {"success": False, "message": "why\nnot"}, Retry_After="7")
    with pytest.raises(kind) as caught:
        _client(server).push({"embeddings": []})
    assert type(caught.value) is kind
    assert "why not" in str(caught.value)
    assert _TOKEN not in str(caught.value)
    if isinstance(caught.value, BackendFault):
        assert caught.value.retry_after_s == 7


def test_nobody_there() -> None:
    """A port on which nobody listens: a fault that names the address and the reason."""
    with PlainServer() as server:
        pass
    with pytest.raises(BackendFault, match=r"127\.0\.0\.1:\d+/api.*(refused|Connection)"):
        _ask(_client(server))


def test_a_slow_answer_meets_its_deadline(server: PlainServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a byte now and then does not hold the exchange for ever."""
    monkeypatch.setattr(backend_client, "WHOLE_LIST_S", 1.0)
    monkeypatch.setattr(backend_client, "TOTAL_S", 1.0)
    ended = threading.Event()

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        try:
            while not ended.wait(0.05):
                handler.wfile.write(b" ")
                handler.wfile.flush()
        except OSError:
            pass

    server.answer = answer
    began = time.monotonic()
    with pytest.raises(BackendFault, match="too long"):
        _ask(_client(server))
    assert time.monotonic() - began < 10
    ended.set()


def test_a_silent_server_meets_the_read_deadline(server: PlainServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the request and says nothing."""
    monkeypatch.setattr(backend_client, "READ_S", 0.5)
    ended = threading.Event()
    server.answer = lambda _: ended.wait(30)
    began = time.monotonic()
    with pytest.raises(BackendFault):
        _ask(_client(server))
    assert time.monotonic() - began < 10
    ended.set()


def test_a_certificate_is_verified(tmp_path: Path) -> None:
    """One that nobody vouches for is refused, with the remedy; with [sync] ca_file it is taken."""
    both = tmp_path / "both.pem"
    made = make_certificate(tmp_path / "tls", ["127.0.0.1"], 30)
    both.write_bytes(made.key.read_bytes() + made.certificate.read_bytes())
    with PlainServer(certificate=both) as server:
        with pytest.raises(BackendFault, match="ca_file"):
            _ask(_client(server))
        assert server.seen == []
        assert _ask(_client(server, ca_file=made.certificate)) == []


def test_a_token_in_the_clear_needs_a_word(tmp_path: Path) -> None:
    """Plain http beyond this machine with a token is refused, unless `insecure = true`; on this machine it is not."""
    (tmp_path / "token").write_text(_TOKEN, encoding="utf-8")
    (tmp_path / "token").chmod(0o600)

    def settings(text: str) -> Any:
        (tmp_path / "site.toml").write_text(f'[sync]\ntoken_file = "token"\n{text}\n', encoding="utf-8")
        return load_settings(tmp_path / "site.toml")

    with pytest.raises(ConfigurationError, match="for everybody to read"):
        settings('backend = "http://hub.example.net:5000/api"')
    assert settings('backend = "http://hub.example.net:5000/api"\ninsecure = true').sync.insecure
    assert target_of(settings('backend = "http://127.0.0.1:5000/api/"')) == Target("http://127.0.0.1:5000/api", _TOKEN)
    assert target_of(settings('backend = "https://hub.example.net/api"')).token == _TOKEN


@pytest.mark.parametrize("how", ["open", "missing", "empty", "folder"])
def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path, how: str) -> None:
    """Mode, absence, and what is no secret: each is a fault of the settings that tells the remedy and not the token."""
    path = tmp_path / "token"
    if how == "folder":
        path.mkdir(mode=0o700)
    elif how != "missing":
        path.write_text("" if how == "empty" else _TOKEN, encoding="utf-8")
        path.chmod(0o644 if how == "open" else 0o600)
    (tmp_path / "site.toml").write_text('[sync]\ntoken_file = "token"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        target_of(load_settings(tmp_path / "site.toml"))
    assert "token_file" in caught.value.line()
    assert _TOKEN not in caught.value.line()


def test_a_gallery_without_a_model_waits(tmp_path: Path, server: PlainServer) -> None:
    """Before the site has run once there is nothing that references could be compared with."""
    with SyncSite(tmp_path / "a", server.address) as site:
        with site.gallery.store.transaction():
            site.gallery.store.connection.execute("DELETE FROM store_facts WHERE key='fingerprint'")
        with pytest.raises(Exception, match="no model"):
            site.sync()
        assert server.seen == []
