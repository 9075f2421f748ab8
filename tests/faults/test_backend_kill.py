"""Backends that are killed while sites send to them, and a database that goes away and comes back."""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
import uuid
from pathlib import Path

import pytest
import requests

from tests.support.hub import Backend, Client, batch, reference
from tests.support.mongodb import PROGRAM_VARIABLE, FerretDb, mongodb, needs_mongodb

_MOST_BATCHES, _ITEMS, _KILLS = 300, 5, 3


@needs_mongodb
@pytest.mark.parametrize("seed", [1])
def test_backends_are_killed_and_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    """A site sends batch after batch, and repeats on another backend what got no answer. Backends are killed at any moment. In the end
    all is there, once, and a reader that went on page by page all the time has it, too."""
    rng = random.Random(seed)
    origin, lineage = secrets.token_urlsafe(8), None
    done = threading.Event()
    read: list[str] = []
    with mongodb(tmp_path / "db") as uri, Backend(tmp_path / "steady", uri) as steady:

        def follow() -> None:
            client, position = steady.client(), ""
            while True:
                ended = done.is_set()
                page = client.pull(position, wait=0 if ended else 0.2, limit=4)
                read.extend(item["id"] for item in page["embeddings"])
                position = page["position"]
                if ended and not page["more"]:
                    return

        reader = threading.Thread(target=follow)
        reader.start()
        sent = 0
        for kill in range(_KILLS):
            with Backend(tmp_path / f"victim{kill}", uri) as victim:
                killer = threading.Timer(rng.uniform(0.05, 0.6), victim.process.kill)
                killer.start()
                while victim.process.poll() is None and sent < _MOST_BATCHES:
                    items = [reference(1000 + _ITEMS * sent + n, _ITEMS * sent + n + 1) for n in range(_ITEMS)]
                    document = batch(origin, _ITEMS * sent, items, lineage, f"l{sent}")
                    try:
                        Client(victim.address).push(document)
                    except (requests.ConnectionError, AssertionError):
                        steady.client().push(document)
                    sent, lineage = sent + 1, f"l{sent}"
                killer.join()
                assert victim.process.wait(30) < 0
        done.set()
        reader.join(60)
        wanted = sorted(str(uuid.UUID(int=1000 + n)) for n in range(sent * _ITEMS))
        assert sorted(item["id"] for item in steady.client().pull_all()) == wanted
        assert sorted(read) == wanted


@pytest.mark.skipif(not os.environ.get(PROGRAM_VARIABLE), reason=f"needs a database of its own: ${PROGRAM_VARIABLE}")
def test_a_database_that_goes_away_is_told_and_found_again(tmp_path: Path) -> None:
    """While it is away every answer is 503 with Retry-After, in the plain form; a reader that waits is not sent away with less than there
    is. Once it is back, everything goes on without a restart, and nothing is lost."""
    origin = secrets.token_urlsafe(8)
    with (
        FerretDb(tmp_path / "db") as database,
        Backend(tmp_path / "a", f"mongodb://127.0.0.1:{database.port}/x") as backend,
    ):
        client = backend.client()
        client.push(batch(origin, 0, [reference(1, 1)], None, "a"))
        position = client.pull()["position"]
        database.kill()
        for method, path in (
            ("GET", "/face/all-embeddings"),
            ("GET", "/face/all-embeddings?position="),
            ("GET", "/sightings"),
            ("GET", "/health"),
        ):
            answer = client.ask(method, path)
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.json()["success"] is False
        assert (
            client.ask("POST", "/face/sync-embeddings", json=batch(origin, 1, [reference(2, 2)], "a", "b")).status_code
            == 503
        )
        assert backend.process.poll() is None
        database.start()
        end = time.monotonic() + 60
        while client.ask("GET", "/health").status_code != 200:  # each asks the database, and waits for it
            assert time.monotonic() < end
        client.push(batch(origin, 1, [reference(2, 2)], "a", "b"))
        assert [item["seq"] for item in client.pull(position)["embeddings"]] == [2]
        assert [item["seq"] for item in client.pull_all()] == [1, 2]
        assert not [line for line in backend.log if "Traceback" in line]
