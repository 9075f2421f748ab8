"""`backend` and its tokens as they are typed, the backend as a child of a site, and where it refuses to start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from tests.support.hub import Backend, Client, batch, deleted, plain
from tests.support.mongodb import mongodb, needs_mongodb
from tests.support.paths import ROOT
from tests.support.site_process import SUPERVISOR, SiteProcess, command, command_json
from tests.support.stores import DLIB
from tests.support.web_site import free_port
from workers.serving.certificate import make_certificate

_WAIT_S = 60.0


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mongodb(tmp_path_factory.mktemp("hub") / "db") as address:
        yield address


def other_database(uri: str, name: str) -> str:
    return f"{uri}_{name}"


@contextmanager
def typed(folder: Path, *words: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`supervisor.py WORDS`, and an end to it."""
    with subprocess.Popen(
        [sys.executable, str(SUPERVISOR), *words],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + _WAIT_S
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/api/health", timeout=10).ok
    except requests.ConnectionError:
        return False


@needs_mongodb
def test_it_runs_in_the_foreground_and_nobody_sees_the_address(tmp_path: Path, uri: str) -> None:
    """As it is typed, without a settings file. Neither title nor words of the process show the database; Ctrl-C ends it with 0."""
    port = free_port()
    with typed(tmp_path, "backend", "--mongodb-uri", uri, "--port", str(port)) as process:
        until(lambda: answers(port), process)
        found = psutil.Process(process.pid)
        assert "mongodb" not in " ".join([found.name(), *found.cmdline()])
        process.send_signal(signal.SIGINT)
        assert process.wait(_WAIT_S) == 0
        assert process.stdout is not None
        said = process.stdout.read()
    assert f"backend: listens on http://127.0.0.1:{port}" in said
    assert "Traceback" not in said


@needs_mongodb
def test_tokens_are_made_listed_and_taken_back(tmp_path: Path, uri: str) -> None:
    """The last line is the token alone; the database has its hash only; a list shows no secret; what is not there is refused."""
    uri = other_database(uri, "tokens")
    first = command(tmp_path, "backend", "token", "create", "harbour", MONGODB_URI=uri)
    assert first.returncode == 0, first.stderr
    token = first.stdout.splitlines()[-1]
    made = command_json(tmp_path, "backend", "token", "create", "harbour", "--mongodb-uri", uri)
    listed = command(tmp_path, "backend", "token", "list", MONGODB_URI=uri)
    assert listed.stdout.count("harbour") == 2
    assert token.split("_", 2)[2] not in listed.stdout
    assert len(command_json(tmp_path, "backend", "token", "list", MONGODB_URI=uri)["tokens"]) == 2
    words = ("backend", "token", "revoke", "harbour")
    assert command_json(tmp_path, *words, "--id", made["id"], MONGODB_URI=uri) == {"revoked": 1}
    assert command_json(tmp_path, *words, MONGODB_URI=uri) == {"revoked": 1}
    assert command(tmp_path, *words, MONGODB_URI=uri).returncode == 1
    for site in ("local", "a\nb", "", "x" * 101):
        assert command(tmp_path, "backend", "token", "create", site, MONGODB_URI=uri).returncode == 2


@needs_mongodb
def test_a_token_is_a_site_and_a_revoked_one_is_none(tmp_path: Path, uri: str) -> None:
    """With the first token everybody needs one. An origin is of the site that came with it first. A revoked token is refused within
    seconds, without a restart, also while it waits for news; whoever guesses has to wait, and others at that address go on."""
    uri = other_database(uri, "sites")
    with Backend(tmp_path / "a", uri) as backend:
        nobody = backend.client()
        nobody.push({"embeddings": [plain(1)]})
        tokens = [
            command_json(tmp_path, "backend", "token", "create", site, MONGODB_URI=uri)["token"]
            for site in ("harbour", "airport")
        ]
        harbour, airport = map(backend.client, tokens)
        until(lambda: nobody.ask("GET", "/face/all-embeddings").status_code == 401, backend.process)
        assert nobody.ask("GET", "/health").status_code == 200
        harbour.push(batch("AAAAAAAAAAA", 0, [deleted(5, 1)], None, "x"))
        assert airport.push(batch("AAAAAAAAAAA", 1, [deleted(6, 2)], "x", "y"), expect=409)["reason"] == "fork"
        airport.pull("AAAAAAAAAAA:1")
        sites = {one["site"]: one for one in harbour.ask("GET", "/face/sites").json()["sites"]}
        assert sites["airport"]["confirmed"] == "AAAAAAAAAAA:1"
        assert "AAAAAAAAAAA" not in airport.ask("GET", "/face/sites").json()["sites"][0]["confirmed"]
        newest = airport.pull()["position"]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(
                backend.client(tokens[1]).ask, "GET", f"/face/all-embeddings?position={newest}&wait=50"
            )
            command_json(tmp_path, "backend", "token", "revoke", "airport", MONGODB_URI=uri)
            assert waiting.result(30).status_code == 401
        until(lambda: airport.ask("GET", "/face/all-embeddings").status_code == 401, backend.process)
        assert harbour.ask("GET", "/face/all-embeddings").status_code == 200
        guessing = Client(backend.address, "rc_0123456789abcdef_" + "A" * 43)
        statuses = [guessing.ask("GET", "/face/all-embeddings").status_code for _ in range(25)]
        assert set(statuses) == {401, 429}
        assert int(guessing.ask("GET", "/face/all-embeddings").headers["Retry-After"]) > 0
        assert harbour.ask("GET", "/face/all-embeddings").status_code == 200
        assert not any(secret.split("_", 2)[2] in line for secret in tokens for line in backend.log)


@needs_mongodb
def test_beyond_this_machine_it_needs_tokens_and_tls(tmp_path: Path, uri: str) -> None:
    """Without a certificate or a proxy the settings are refused; with one but without a token the start, each with 78 and what to type.
    With both it listens, over TLS only."""
    uri = other_database(uri, "beyond")
    bare = command(tmp_path, "backend", "--host", "0.0.0.0", MONGODB_URI=uri)  # noqa: S104  # what is refused
    assert bare.returncode == 78
    assert "certificate" in bare.stderr
    made = make_certificate(tmp_path / "pair", ["localhost"], 3)
    settings = f'host = "0.0.0.0"\ncertificate = "{made.certificate}"\nkey = "{made.key}"\n'
    backend = Backend(tmp_path / "b", uri, settings).start()
    assert backend.process.wait(_WAIT_S) == 78
    assert "backend token create" in "".join(backend.log)
    token = command_json(tmp_path, "backend", "token", "create", "harbour", MONGODB_URI=uri)["token"]
    with Backend(tmp_path / "c", uri, settings) as backend:
        address = f"https://localhost:{backend.port}/api/face/all-embeddings"
        session = requests.Session()
        session.trust_env = False
        answer = session.get(
            address, headers={"Authorization": f"Bearer {token}"}, verify=str(made.certificate), timeout=30
        )
        assert answer.status_code == 200
        assert session.get(address, verify=str(made.certificate), timeout=30).status_code == 401


@needs_mongodb
def test_a_site_runs_it_as_its_child(tmp_path: Path, uri: str) -> None:
    """It gets the database's address by its variable, and no other child does; killed, it is started again; a reload turns it off."""
    port = free_port()
    text = f'{DLIB}\n[backend]\nenabled = true\nport = {port}\nmongodb_uri = "${{HUB_URI}}"\n'
    (tmp_path / "site.toml").write_text(text, encoding="utf-8")
    with SiteProcess(tmp_path, HUB_URI=other_database(uri, "child")) as site:
        site.wait_until_ready()
        site.wait_for_log("backend: listens on")
        first = site.child_pid("backend")
        assert b"HUB_URI" in Path(f"/proc/{first}/environ").read_bytes()
        assert b"HUB_URI" not in Path(f"/proc/{site.child_pid('writer')}/environ").read_bytes()
        assert "mongodb" not in " ".join(psutil.Process(first).cmdline())
        assert answers(port)
        os.kill(first, signal.SIGKILL)
        site.wait_for(lambda: site.child_pid("backend") != first and answers(port), "another backend")
        (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
        site.process.send_signal(signal.SIGHUP)
        site.wait_for_log("backend: stopped: no longer configured")
        assert site.stop() == 0


def test_without_its_libraries_it_says_what_to_type(tmp_path: Path) -> None:
    """Exit code 78 and the command, as it is typed and as a child."""
    missing = tmp_path / "missing" / "pymongo.py"
    missing.parent.mkdir()
    missing.write_text('raise ModuleNotFoundError("No module named \'pymongo\'", name="pymongo")\n', encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(missing.parent), os.environ.get("PYTHONPATH")]))
    done = command(tmp_path, "backend", MONGODB_URI="mongodb://127.0.0.1:1/x", PYTHONPATH=path)
    assert done.returncode == 78
    assert "no module pymongo" in done.stderr
    assert "[backend]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "address",
    [
        "",
        "postgres://u:geheim@h/x",
        "mongodb://u:ge@heim@h/x",
        "mongodb://u:geheim@h:notaport/x",
        "mongodb://",
        "mongodb://u:geheim@h/x?w=geheim&nope",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(tmp_path: Path, address: str) -> None:
    """78, where it was written and what was expected; nothing of the address."""
    done = command(tmp_path, "backend", "token", "list", MONGODB_URI=address)
    assert done.returncode in (75, 78)
    assert "heim" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert "mongodb" in done.stderr.lower()
    typed_so = command(tmp_path, "backend", "token", "list", "--mongodb-uri", address or "nonsense")
    assert typed_so.returncode in (75, 78)
    assert "heim" not in typed_so.stderr + typed_so.stdout


def test_the_description_is_the_document() -> None:
    """docs/openapi-backend.json is what a backend serves: OpenAPI 3.1."""
    from openapi_spec_validator import validate

    from workers.hub.description import as_text, description

    document = description()
    validate(document)
    kept = (ROOT / "docs" / "openapi-backend.json").read_text(encoding="utf-8")
    assert as_text(document) == kept, "write it anew: python -m workers.hub.description > docs/openapi-backend.json"
    assert json.loads(kept)["openapi"].startswith("3.1")
