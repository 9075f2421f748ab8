"""The HTTP descriptions in docs/: what a name in a path can be, no other path may be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def clashes(paths: dict[str, list[str]]) -> list[tuple[str, str]]:
    """`paths`: path to methods. The pairs where one path is also what another one stands for, with a method of both."""
    found = []
    for general, methods in paths.items():
        stands_for = re.compile(re.sub(r"\\\{.+?\\\}", "[^/]+", re.escape(general)))
        for path, others in paths.items():
            if path != general and set(methods) & set(others) and stands_for.fullmatch(path):
                found.append((general, path))
    return found


@pytest.mark.parametrize("name", ["openapi.json", "openapi-backend.json"])
def test_no_path_is_also_somebodys_name(name: str) -> None:
    """A person of the name "worklist" can be asked for: nothing else answers there."""
    document = json.loads(Path(ROOT / "docs" / name).read_text(encoding="utf-8"))
    assert clashes({path: list(routes) for path, routes in document["paths"].items()}) == []


def test_a_clash_is_found() -> None:
    """Only with a method of both, and only where the path has as many parts."""
    paths = {"/people/{person}": ["get"], "/people/undo": ["post"], "/people/{person}/photo": ["get"]}
    assert clashes(paths) == []
    assert clashes(paths | {"/people/list": ["get"]}) == [("/people/{person}", "/people/list")]
