"""One real backend for a test, a client of it, and items as sites send them."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import requests
from numpy.typing import NDArray

from tests.support.paths import ROOT
from tests.support.web_site import free_port

MODEL = "ab" * 32
_WAIT_S = 60.0


def now_revision() -> int:
    """A revision of this moment."""
    return time.time_ns() // 1_000_000 << 10


def unit_vector(seed: int, dim: int = 128) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).normal(size=dim)
    return (vector / np.linalg.norm(vector)).astype("<f4")


def reference(number: int, seq: int, **given: Any) -> dict[str, Any]:
    """A reference of person P<number>, as a site sends it."""
    made = {
        "id": str(uuid.UUID(int=number)),
        "person_name": f"P{number}",
        "person_id": str(uuid.UUID(int=number + 10**6)),
        "user_id": None,
        "image_path": f"faces/P{number}/1.jpg",
        "embedding_b64": base64.b64encode(unit_vector(number).tobytes()).decode(),
        "dim": 128,
        "model": MODEL,
        "revision": now_revision(),
        "seq": seq,
        "knows": 0,
    }
    return {**made, **given}


def deleted(number: int, seq: int, **given: Any) -> dict[str, Any]:
    """The deletion of the reference of that number."""
    made = {
        "kind": "deleted",
        "id": str(uuid.UUID(int=number)),
        "deleted": True,
        "revision": now_revision(),
        "seq": seq,
    }
    return {**made, **given}


def batch(
    origin: str, after: int, items: list[dict[str, Any]], lineage: str | None, next_lineage: str, **given: Any
) -> dict[str, Any]:
    """A batch that goes to the last of its items."""
    through = max((one["seq"] for one in items), default=after + 1)
    made = {"origin": origin, "after": after, "through": through, "lineage": lineage, "next_lineage": next_lineage}
    return {**made, "embeddings": items, **given}


def plain(number: int, **given: Any) -> dict[str, Any]:
    """A reference as a plain client sends it."""
    made = {
        "person_name": f"P{number}",
        "embedding": [float(one) for one in unit_vector(number)],
        "image_path": f"faces/P{number}.jpg",
        "user_id": None,
    }
    return {**made, **given}


class Client:
    """Sends requests to one backend with one token. Raises nothing for a refusal: look at the status."""

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address, self.session = address, requests.Session()
        self.session.trust_env = False
        if token is not None:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, **given: Any) -> requests.Response:
        return self.session.request(method, f"{self.address}/api{path}", timeout=_WAIT_S, **given)

    def push(self, document: dict[str, Any], expect: int = 200) -> Any:
        answer = self.ask("POST", "/face/sync-embeddings", json=document)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def plain(self) -> list[dict[str, Any]]:
        answer = self.ask("GET", "/face/all-embeddings")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["embeddings"]
        return found

    def pull(self, position: str = "", **given: Any) -> Any:
        """One page."""
        answer = self.ask("GET", "/face/all-embeddings", params={"position": position, "model": MODEL, **given})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pull_all(self, position: str = "", **given: Any) -> list[dict[str, Any]]:
        """All pages from a position on."""
        items: list[dict[str, Any]] = []
        while True:
            page = self.pull(position, **given)
            items += page["embeddings"]
            position = page["position"]
            if not page["more"]:
                return items


class Backend:
    """A backend process in front of a database. `log`: what it has said."""

    def __init__(self, folder: Path, uri: str, settings: str = "") -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        folder.mkdir(exist_ok=True)
        self._config = folder / "site.toml"
        self._config.write_text(f"[backend]\nport = {self.port}\n{settings}\n", encoding="utf-8")
        self._uri = uri
        self.log: list[str] = []
        self._news = threading.Condition()
        self.process: subprocess.Popen[str]

    def start(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workers", "backend", "--config", str(self._config)],
            cwd=ROOT,
            env={**os.environ, "MONGODB_URI": self._uri},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.log.append(line.rstrip("\n"))
                self._news.notify_all()

    def wait_for_log(self, pattern: str) -> str:
        """The first line that fits."""
        end = time.monotonic() + _WAIT_S
        with self._news:
            while True:
                found = next((line for line in self.log if re.search(pattern, line)), None)
                if found is not None:
                    return found
                left = end - time.monotonic()
                assert left > 0, (pattern, self.log)
                assert self.process.poll() is None, self.log
                self._news.wait(min(left, 0.5))

    def client(self, token: str | None = None) -> Client:
        return Client(self.address, token)

    def stop(self) -> int:
        """Ask it to stop. Returns its exit code."""
        self.process.terminate()
        return self.process.wait(_WAIT_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(_WAIT_S)

    def __enter__(self) -> Self:
        self.start()
        self.wait_for_log("listens on")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
