"""Speaks with a backend over HTTP: one request at a time, each with deadlines. It knows the wire (docs/backend.md) and keeps nothing.

The token goes to the configured origin only, and no redirect to another one is followed. What an answer may hold is bounded.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import requests as http
import urllib3
from requests.auth import AuthBase

from shared.errors import ConfigurationError
from shared.files.secret_file import read_secret
from shared.settings.schema import Settings
from workers.sync.faults import BackendFault, BatchRefusedError, NotLetInError
from workers.sync.plain_list import NoListError, plain_items
from workers.sync.retrying import retry_after_s

CONNECT_S, READ_S, TOTAL_S = 10.0, 30.0, 300.0
WHOLE_LIST_S = 3600.0  # a plain answer may be a gallery of many people over a thin line
_MAX_ANSWER_BYTES = 8 << 20  # of our own wire: a page has about 1 MiB
_MAX_LIST_BYTES = 4 << 30
_CHUNK_BYTES = 1 << 16
_GZIP_FROM_BYTES = 1024
_MAX_REDIRECTS = 3
_MAX_MESSAGE_CHARACTERS = 200
_TRIED_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_NOT_LET_IN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


@dataclass(frozen=True)
class Target:
    """A backend as the settings name it. `url`: without a slash at its end."""

    url: str
    token: str | None = None
    ca_file: Path | None = None


def target_of(settings: Settings) -> Target:
    """Raises ConfigurationError if a file that [sync] names can't be used."""
    sync = settings.sync
    token_path, ca_path = settings.sync_path(sync.token_file), settings.sync_path(sync.ca_file)
    if ca_path is not None and not ca_path.is_file():
        raise ConfigurationError(
            "the file of who signed the backend's certificate is not there",
            where="[sync] ca_file",
            got=str(ca_path),
            expected="a PEM file",
            remedy="put it there, or remove the key",
        )
    token = None if token_path is None else read_secret(token_path, "[sync] token_file")
    return Target(sync.backend.rstrip("/"), token, ca_path)


@dataclass(frozen=True)
class Page:
    """What came after a position, between our own ends. `tag`: names the state of the hub. `behind`: the origins of which the hub has less than
    was read of it, and where they are."""

    items: list[Any]
    position: str
    more: bool
    hub: str
    tag: str | None
    behind: str = ""


@dataclass(frozen=True)
class PlainList:
    """The whole list of a server that knows the plain wire only. Iterate once, before the next request. May raise BackendFault on its way."""

    items: Iterator[Any]


class _Token(AuthBase):
    """The token as a header. An auth object of our own, so that requests takes none from a .netrc file."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: http.PreparedRequest) -> http.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class BackendClient:
    """One backend. Use it from one thread."""

    def __init__(self, target: Target) -> None:
        self._packs = False  # a hub of our own answered: it takes gzip
        self._session = http.Session()
        self._session.headers["User-Agent"] = "Rollcall"
        self.use(target)
        self.sent_bytes = self.received_bytes = self.requests = 0

    def use(self, target: Target) -> None:
        """Speak with this backend from now on."""
        self._target = target
        self._session.auth = _Token(target.token)
        # Given with each request: that of the session loses against $REQUESTS_CA_BUNDLE.
        self._verify = True if target.ca_file is None else str(target.ca_file)

    @property
    def where(self) -> str:
        """The backend's address, for messages."""
        return self._target.url

    def close(self) -> None:
        self._session.close()

    # --- the wire ----------------------------------------------------------------------------------------------

    def page(self, position: str, model: str, wait_s: float, tag: str | None) -> Page | PlainList | None:
        """What came after a position; None if there is nothing new since the answer with this tag. Waits at the server up to `wait_s`.

        Raises BackendFault.
        """
        query = urlencode({"position": position, "model": model, "wait": f"{wait_s:g}"})
        headers = {} if tag is None else {"If-None-Match": tag}
        answer = self._send("GET", f"/face/all-embeddings?{query}", headers=headers, wait_s=wait_s)
        if answer.status_code == HTTPStatus.NOT_MODIFIED:
            self._body(answer)
            return None
        self._require_success(answer)
        body = self._body(answer, cut=True)
        if len(body) < _MAX_ANSWER_BYTES:
            document = self._document(answer, body)
            if isinstance(document, dict) and isinstance(document.get("position"), str):
                return self._page_of(document, answer)
        return PlainList(self._plain(answer, body))

    def _page_of(self, document: dict[str, Any], answer: http.Response) -> Page:
        items, hub = document.get("embeddings"), document.get("hub")
        if not isinstance(items, list) or not isinstance(hub, str) or document.get("success") is not True:
            raise self._fault("the answer is not a page", answer)
        self._packs = True
        behind = document.get("behind")
        return Page(
            items, document["position"], document.get("more") is True, hub, answer.headers.get("ETag"),
            behind if isinstance(behind, str) else "",
        )  # fmt: skip  # one object

    def push(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Send references; the hub's answer, also if it says that the batch does not go on where the last one ended (`reason`: "gap" or
        "fork"). Raises BatchRefusedError, or BackendFault."""
        return self._post("/face/sync-embeddings", document)

    def push_sightings(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Send sightings. As `push`."""
        return self._post("/sightings", document)

    def sites(self) -> list[Any]:
        """Which sites there are, and how far each has read what this site sent. Raises BackendFault."""
        answer = self._send("GET", "/face/sites")
        self._require_success(answer)
        document = self._document(answer, self._body(answer))
        sites = document.get("sites") if isinstance(document, dict) else None
        return sites if isinstance(sites, list) else []

    # --- HTTP --------------------------------------------------------------------------------------------------

    def _post(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        headers = {"Content-Type": "application/json"}
        if self._packs and len(body) >= _GZIP_FROM_BYTES:
            body, headers["Content-Encoding"] = gzip.compress(body, 5), "gzip"
        answer = self._send("POST", path, body=body, headers=headers)
        if answer.status_code == HTTPStatus.CONFLICT:
            said = self._document(answer, self._body(answer))
            if isinstance(said, dict) and said.get("reason") in ("gap", "fork"):
                return said
            raise self._fault("the backend refuses the batch", answer)
        self._require_success(answer)
        said = self._document(answer, self._body(answer))
        if not isinstance(said, dict) or said.get("success") is not True:
            raise self._fault("the backend does not say that it took the batch", answer)
        return said

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> http.Response:
        url = self._target.url + path
        for _ in range(_MAX_REDIRECTS + 1):
            self.requests += 1
            self.sent_bytes += len(body or b"")
            try:
                answer = self._session.request(
                    method,
                    url,
                    data=body,
                    headers=headers,
                    timeout=(CONNECT_S, READ_S + wait_s),
                    allow_redirects=False,
                    stream=True,
                    verify=self._verify,
                )
            except http.exceptions.SSLError as error:
                raise BackendFault(
                    "the backend's certificate can't be trusted",
                    where=self.where,
                    got=_reason_of(error),
                    remedy="put the PEM file of who signed it into [sync] ca_file",
                ) from None
            except (http.RequestException, OSError) as error:
                raise BackendFault("the backend can't be reached", where=self.where, got=_reason_of(error)) from None
            if answer.status_code not in (301, 302, 303, 307, 308):
                return answer
            answer.close()
            url = self._redirected(url, answer)
        raise self._fault("the backend sends from one address to the next", answer)

    def _redirected(self, url: str, answer: http.Response) -> str:
        target = urljoin(url, answer.headers.get("Location", ""))
        if urlsplit(target)[:2] != urlsplit(self._target.url)[:2] or answer.status_code not in (307, 308):
            raise NotLetInError(
                "the backend sends elsewhere, which is not followed",
                where=self.where,
                got=f"{answer.status_code} to {urlsplit(target).scheme}://{urlsplit(target).hostname}",
                remedy="write the backend's own address into [sync] backend",
            )
        return target

    def _require_success(self, answer: http.Response) -> None:
        status = answer.status_code
        if status == HTTPStatus.OK:
            return
        said = self._said(answer)
        wait = retry_after_s(answer.headers.get("Retry-After"))
        if status in _NOT_LET_IN:
            raise NotLetInError(
                said or "the backend does not let this site in",
                where=self.where,
                got=status,
                remedy="see [sync] token_file and backend; on the hub: supervisor.py backend token list",
                retry_after_s=wait,
            )
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _TRIED_AGAIN:
            raise BatchRefusedError(said or "the backend refuses what was sent", where=self.where, status=status)
        raise BackendFault(said or "the backend did not do it", where=self.where, got=status, retry_after_s=wait)

    def _said(self, answer: http.Response) -> str:
        """The message of an answer that says no, as one short line."""
        try:
            document = json.loads(self._body(answer))
        except (BackendFault, ValueError, RecursionError):
            return ""
        said = document.get("message") if isinstance(document, dict) else None
        return " ".join(said.split())[:_MAX_MESSAGE_CHARACTERS] if isinstance(said, str) else ""

    def _document(self, answer: http.Response, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise self._fault("the backend answers no JSON", answer) from None

    def _body(self, answer: http.Response, *, cut: bool = False) -> bytes:
        """The whole body. `cut`: of a long one the beginning, and the rest can still be read."""
        body = bytearray()
        for piece in self._pieces(answer, TOTAL_S):
            body += piece
            if len(body) >= _MAX_ANSWER_BYTES:
                if cut:
                    break
                answer.close()
                raise self._fault("the answer is too long", answer)
        return bytes(body)

    def _pieces(self, answer: http.Response, total_s: float) -> Iterator[bytes]:
        """The body as it arrives. Raises BackendFault if it breaks off, or takes longer than `total_s`."""
        until = time.monotonic() + total_s
        try:
            while piece := answer.raw.read1(_CHUNK_BYTES, decode_content=True):
                self.received_bytes += len(piece)
                yield piece
                if time.monotonic() > until:
                    answer.close()
                    raise self._fault("the answer takes too long", answer)
        except (http.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            answer.close()
            raise BackendFault("the answer breaks off", where=self.where, got=_reason_of(error)) from None

    def _plain(self, answer: http.Response, begun: bytes) -> Iterator[Any]:
        rest = self._pieces(answer, WHOLE_LIST_S)
        try:
            yield from plain_items(_Joined(begun, rest))
        except NoListError as error:
            raise BackendFault(error.what, where=self.where, got=error.got) from None

    def _fault(self, what: str, answer: http.Response) -> BackendFault:
        kind = answer.headers.get("Content-Type", "")[:60]
        return BackendFault(what, where=self.where, got=f"{answer.status_code} {kind}".strip())


class _Joined:
    """A file of what was read already and of pieces that are still to come."""

    def __init__(self, begun: bytes, pieces: Iterator[bytes]) -> None:
        self._left, self._pieces, self._size = begun, pieces, 0

    def read(self, size: int = -1) -> bytes:
        if not self._left:
            self._left = next(self._pieces, b"")
        size = len(self._left) if size < 0 else size
        piece, self._left = self._left[:size], self._left[size:]
        self._size += len(piece)
        if self._size > _MAX_LIST_BYTES:
            raise NoListError("the list is too long", expected=f"at most {_MAX_LIST_BYTES} bytes")
        return piece


def _reason_of(error: BaseException) -> str:
    """What lies at the bottom of an error of the HTTP libraries. Their texts have the whole address, and with it who knows what."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__ or _wrapped(seen)) is not None:
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    return type(seen).__name__


def _wrapped(error: BaseException) -> BaseException | None:
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return reason
    return next((one for one in error.args if isinstance(one, BaseException)), None)
