"""A site with its web part, for tests: where it listens, and visitors that are signed in there."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from shared.ipc.client import SiteClient
from shared.ipc.requests.accesses import AddAccess
from shared.records import AccessKind, Role
from tests.support.site_process import SiteProcess
from tests.support.stores import DLIB
from workers.serving.secrets import new_secret

_WAIT_S = 30


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class WebSite:
    """A running site and the address of its web part."""

    def __init__(self, site: SiteProcess, address: str) -> None:
        self.site, self.address = site, address

    def visitor(self, role: Role | None, cameras: list[str] | None = None) -> Visitor:
        """A program with a token of this role; None: without one."""
        return Visitor(self.address, None if role is None else self.token(role, cameras))

    def token(self, role: Role, cameras: list[str] | None = None) -> str:
        """A new token of this role."""
        secret = new_secret()
        client = SiteClient(self.site.settings.run_dir)
        client.ask(AddAccess(secret.id, AccessKind.TOKEN, role, "test", secret.hash, 3600.0, cameras))
        client.close()
        return secret.shown


class Visitor:
    """Sends requests with one token. Raises nothing for a refusal: look at the status."""

    def __init__(self, address: str, token: str | None) -> None:
        self.address, self.session = address, requests.Session()
        self.session.trust_env = False
        self.session.headers["Origin"] = address  # as a browser sends it from our own page
        if token is not None:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, **given: Any) -> requests.Response:
        return self.session.request(method, self.address + path, timeout=_WAIT_S, **given)

    def get(self, path: str, **given: Any) -> Any:
        """The document of an answer that must be 200."""
        answer = self.ask("GET", path, **given)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def web_site(folder: Path, web: str = "", text: str = DLIB) -> Iterator[WebSite]:
    """A site in `folder` with these lines below [web]. It listens when this returns."""
    port = free_port()
    (folder / "site.toml").write_text(f"{text}\n[web]\nenabled = true\nport = {port}\n{web}\n", encoding="utf-8")
    with SiteProcess(folder) as site:
        site.wait_until_ready()
        site.wait_for_log("web: listens on")
        yield WebSite(site, f"http://127.0.0.1:{port}")


def read_stream(answer: requests.Response) -> Iterator[tuple[str, int | None, Any]]:
    """The pieces of a stream: kind, id, document. Without comments and `retry`."""
    piece: dict[str, str] = {}
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        if line:
            name, _, value = line.partition(": ")
            piece[name] = value
        elif "data" in piece:
            yield piece.get("event", "message"), int(piece["id"]) if "id" in piece else None, json.loads(piece["data"])
            piece = {}
        else:
            piece = {}
