"""The house: which folder may import which. Arrows go down; there is no circle."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# A folder, or a file right in `shared`, and what it may import of ours; a floor a line, the ground first.
_GROUND = {"errors", "printing", "progress", "records", "row_checksum", "status", "uuid7"}
SHARED: dict[str, set[str]] = {
    **{name: set() for name in _GROUND},
    "embeddings": {"errors", "row_checksum"},
    "events": {"errors"},
    "model_id": {"errors"},
    "presence": {"events"},
    "person_names": {"errors"},
    "photos": {"errors", "person_names"},
    "process": {"errors"},
    "ipc": {"errors", "events", "model_id", "records", "status"},
    "files": {"errors", "ipc"},
    "inference": {"errors", "ipc"},
    "gallery": {"embeddings", "errors", "files", "model_id", "process"},
    "settings": {"errors", "files", "process"},
    "sync": {"embeddings", "errors", "person_names"},
    "store": {
        "embeddings", "errors", "events", "files", "model_id", "person_names", "photos", "process", "records", "row_checksum", "sync",
        "uuid7",
    },
    "strangers": {"embeddings", "errors", "events", "files", "photos", "records", "store"},
    "supervision": {"errors", "ipc", "printing", "process", "settings", "status"},
    "service": {
        "embeddings", "errors", "events", "files", "gallery", "ipc", "model_id", "person_names", "photos", "presence", "process",
        "progress", "records", "settings", "store", "strangers", "sync", "uuid7",
    },
    "embedding_db": {"embeddings", "errors", "gallery", "ipc", "person_names", "records", "service", "settings"},
}  # fmt: skip  # a folder a line
# `workers` may import all of `shared`; of each other: these.
WORKERS: dict[str, set[str]] = {
    "__main__": set(),
    "writer": set(),
    "recognition": set(),
    "capture": {"recognition"},
    "demo": {"recognition"},
    "recognizer_arcface": {"recognition"},
    "recognizer_dlib": {"recognition"},
    "calibration": {"recognition"},
    "models": {"recognition", "recognizer_arcface", "recognizer_dlib"},
    "pipeline": {"capture", "recognition"},
    "viewing": {"recognition"},
    "photos": {"calibration", "models", "recognition"},
    "camera": {"capture", "models", "pipeline", "recognition", "viewing"},
    "sharing": {"recognition", "recognizer_arcface"},
    "inference": {"recognition", "recognizer_arcface", "sharing"},
    "prepare": {"models", "photos", "recognition"},
    "camera_test": {"capture", "models", "recognition"},
    "serving": set(),
    "support": set(),
    "dashboard": {"serving"},
    "web": {"dashboard", "serving"},
    "sync": set(),
    "mongodb_sync": {"sync"},
    "hub": {"serving"},
    "backend": {"hub", "serving"},
    "commands": {
        "calibration",
        "capture",
        "demo",
        "hub",
        "models",
        "photos",
        "pipeline",
        "recognition",
        "serving",
        "support",
        "sync",
    },
}


def _imports(path: Path) -> Iterator[str]:
    """The dotted names of our own modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from shared.store import schema` imports a module; `from shared.store.schema import version` a name.
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def _rooms(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        place = path.relative_to(ROOT / package)
        if place.name != "__init__.py":
            yield place.parts[0].removesuffix(".py"), path


def _taken(path: Path, package: str, own: str) -> set[str]:
    names = (name.split(".") for name in _imports(path))
    return {parts[1] for parts in names if parts[0] == package and len(parts) > 1} - {own}


@pytest.mark.parametrize(("package", "allowed"), [("shared", SHARED), ("workers", WORKERS)])
def test_who_may_import_whom(package: str, allowed: dict[str, set[str]]) -> None:
    """Each folder imports what its line in the table names, and nothing else; the table names no folder that there isn't."""
    found: dict[str, set[str]] = {}
    for room, path in _rooms(package):
        found.setdefault(room, set()).update(_taken(path, package, room))
    assert found.keys() == allowed.keys()
    assert {room: taken - allowed[room] for room, taken in found.items() if taken - allowed[room]} == {}
    assert {room: allowed[room] - taken for room, taken in found.items() if allowed[room] - taken} == {}, "no longer so"


def test_the_table_has_no_circle() -> None:
    """A folder stands above all that it imports."""
    for table in (SHARED, WORKERS):
        laid: set[str] = set()
        while len(laid) < len(table):
            ready = {room for room, below in table.items() if room not in laid and below <= laid}
            assert ready, sorted(set(table) - laid)
            laid |= ready


def test_shared_knows_no_worker_and_nobody_the_supervisor() -> None:
    """Data flows one way: `shared` imports no worker, no process imports another, nothing imports `supervisor`."""
    for package in ("shared", "workers"):
        for _, path in _rooms(package):
            taken = set(_imports(path))
            assert not any(name.split(".")[0] == "supervisor" for name in taken), path
            if package == "shared":
                assert not any(name.split(".")[0] == "workers" for name in taken), path


def test_a_package_is_a_sentence() -> None:
    """`__init__.py` holds a docstring; those of `shared` and `workers` also see to it that libraries are told first."""
    for package in ("shared", "workers"):
        for path in (ROOT / package).rglob("__init__.py"):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert isinstance(body[0], ast.Expr), path
            if path.parent.name != package:
                assert len(body) == 1, path


def test_no_file_lies_where_only_processes_and_words_lie() -> None:
    """A file right in `workers` is a process that can be started, or a recogniser."""
    started = {room for room, path in _rooms("workers") if path.parent.name == "workers"}
    assert started == {
        "__main__",
        "writer",
        "camera",
        "prepare",
        "inference",
        "web",
        "backend",
        "mongodb_sync",
        "recognizer_arcface",
        "recognizer_dlib",
    }


def test_nothing_lies_at_the_top_but_what_is_known() -> None:
    """A test that runs a site in the wrong folder leaves its store in the repository. It is not to be committed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("the repository is no git clone")
    tops = {path.split("/")[0] for path in listed.stdout.split("\0") if path}
    known = {".ci", ".gitignore", "README.md", "constraints.txt", "pyproject.toml", "supervisor.py"}
    assert tops == known | {"deploy", "docs", "shared", "tests", "workers"}
