"""The support bundle of a site that has everything that must not be in it."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.ipc.client import SiteClient
from shared.ipc.requests.references import Save
from shared.ipc.requests.sightings import Record
from shared.records import NewReference, Role
from tests.support.site_process import command, command_json
from tests.support.stores import DLIB, event
from tests.support.vectors import noise
from tests.support.web_site import WebSite, web_site
from workers.support.bundle import MAX_PART_BYTES

_PEOPLE = ["Canary Lovelace", "Zoë Çelik", "<b>Bo</b>", "Kim", "writer"]
_PASSWORD = "p4ss-canary"  # noqa: S105  # of a camera that there is not
_VALUE = "value-canary"
_CAMERA = f"""[cameras.door]
source = "rtsp://viewer:{_PASSWORD}@127.0.0.1:9/x?token=tok-canary"
[cameras.yard]
source = "rtsp://viewer:${{YARD_PASSWORD}}@127.0.0.1:9/y"
[cameras.Kim]
source = "/dev/video9"
enabled = false
"""
_JOURNAL = f"""#!/bin/sh
for line in $(seq 60000); do echo "2026-01-31T08:00:00 box rollcall: camera up, and line $line of a long log with more words in it"; done
echo "faces/Canary_Lovelace/1.jpg of canary lovelace at rtsp://viewer:{_PASSWORD}@h/ and rtsp://viewer:{_VALUE}@h/"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    """A site with people, sightings, cameras with passwords, and a long journal."""
    folder = tmp_path_factory.mktemp("support")
    programs = folder / "programs"
    programs.mkdir()
    (programs / "journalctl").write_text(_JOURNAL, encoding="utf-8")
    (programs / "journalctl").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        patch.setenv("YARD_PASSWORD", _VALUE)
        with web_site(folder, text=DLIB + _CAMERA) as web:
            client = SiteClient(web.site.settings.run_dir)
            rows = [NewReference(one, f"faces/{one}/1.jpg", f"id-{one}") for one in _PEOPLE]
            client.ask(Save(rows, vectors=_vectors()))
            client.ask(Record([event("support", _PEOPLE[0], "named", camera="door")]))
            client.close()
            yield web


def _vectors() -> np.ndarray:
    return noise(np.random.default_rng(3), len(_PEOPLE), 128)


def read(data: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {one: archive.read(one).decode() for one in archive.namelist()}


def leaks(data: bytes) -> set[str]:
    """What of people and secrets is in a bundle, packed or unpacked."""
    parts = read(data)
    everything = data + "".join(parts.values()).encode()
    words = [*_PEOPLE, "canary", "Lovelace", "lovelace", "Çelik", _PASSWORD, _VALUE, "tok-canary"]
    found = {one for one in words if one.encode() in everything and one != "writer"}
    for name, vector in zip(_PEOPLE, np.asarray(_vectors(), "<f4"), strict=True):
        unit = vector / np.linalg.norm(vector)
        if any(one.astype("<f4").tobytes()[:16] in everything for one in (vector, unit)):
            found.add(f"embedding of {name}")
    return found


def test_the_bundle_has_no_name_no_password_no_embedding(site: WebSite) -> None:
    """From the API and from the command, with everything that helps in it; it is private, and no part is large."""
    answer = site.visitor(Role.ADMIN).ask("GET", "/api/v1/support-bundle")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip")
    assert answer.headers["Cache-Control"] == "private, no-store"
    path = site.site.folder / "bundle.zip"
    assert command_json(site.site.folder, "support-bundle", str(path))["size_bytes"] == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    for data in (answer.content, path.read_bytes()):
        assert leaks(data) == set()
        parts = read(data)
        assert set(parts) == {
            "README.txt", "versions.json", "settings.json", "status.json", "models.json", "check.json", "log.txt",
        }  # fmt: skip
        assert max(map(len, parts.values())) <= MAX_PART_BYTES + 20
        assert parts["log.txt"].startswith("2026-"), "from a whole line on"
        assert "faces/person-" in parts["log.txt"]
        settings = json.loads(parts["settings.json"])
        assert settings["cameras"]["door"]["source"].startswith("rtsp://***@127.0.0.1:9/x")
        assert settings["cameras"]["yard"]["source"].endswith("@127.0.0.1:9/y")
        status = json.loads(parts["status.json"])
        assert status["gallery"]["people"] == len(_PEOPLE)
        assert status["site"]["cameras"]["door"]["up"] is False
        versions = json.loads(parts["versions.json"])
        assert versions["libraries"]["numpy"] == np.__version__
        assert [one["in_use"] for one in json.loads(parts["models.json"])["models"]] == [True]
    assert not list(site.site.settings.run_dir.glob("support-*")), "nothing stays"


def test_a_file_that_is_there_stays_as_it_is(site: WebSite, tmp_path: Path) -> None:
    kept = tmp_path / "kept.zip"
    kept.write_text("mine", encoding="utf-8")
    done = command(site.site.folder, "support-bundle", str(kept))
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert kept.read_text(encoding="utf-8") == "mine"


def test_without_a_site_there_is_no_status(tmp_path: Path) -> None:
    """And no file of a gallery that there is not."""
    (tmp_path / "site.toml").write_text(DLIB, encoding="utf-8")
    path = tmp_path / "bundle.zip"
    assert command_json(tmp_path, "support-bundle", str(path))["bundle"] == str(path)
    assert json.loads(read(path.read_bytes())["status.json"]) is None


def test_about_tells_how_everything_is_doing(site: WebSite) -> None:
    """Every process with its state, its restarts and what is wrong; only the cameras that the visitor sees; models with their licences."""
    about = site.visitor(Role.OPERATOR).get("/api/v1/about")
    found = {one["name"]: one for one in about["processes"]}
    assert set(found) == {"writer", "door", "yard", "web"}
    assert (found["writer"]["word"], found["writer"]["is_well"]) == ("running", True)
    assert not found["door"]["is_well"]
    assert about["gallery"]["people"] == len(_PEOPLE)
    assert 0 < about["disk"]["free_bytes"] < about["disk"]["total_bytes"]
    assert about["disk"]["database_bytes"] > 10_000
    narrow = site.visitor(Role.OPERATOR, ["yard"]).get("/api/v1/about")
    assert {one["name"] for one in narrow["processes"]} == {"writer", "yard", "web"}
    (model,) = site.visitor(Role.OPERATOR).get("/api/v1/models")["models"]
    assert (model["engine"], model["commercial_use"], model["in_use"]) == ("dlib", True, True)
    assert "path" not in model
    assert _PASSWORD not in json.dumps(about)
