"""What a browser loads of the pages."""

from __future__ import annotations

import gzip
import re

from tests.support.paths import ROOT

_MAX_BYTES = 60_000
_STATIC = ROOT / "workers" / "dashboard" / "static"
_NOT_LOADED = {".txt"}


def test_the_front_end_is_small() -> None:
    """All modules, the style and the largest of the languages, each packed by itself as a proxy does it. A browser loads one language."""
    files = [one for one in _STATIC.rglob("*") if one.is_file() and one.suffix not in _NOT_LOADED]
    sizes = {one: len(gzip.compress(one.read_bytes())) for one in files}
    languages = [size for one, size in sizes.items() if one.parent.name == "lang"]
    assert sum(sizes.values()) - sum(languages) + max(languages) <= _MAX_BYTES


def test_the_first_page_asks_for_every_module_at_once() -> None:
    """A module that another one names is known only when that one is there: index.html names all, so that none waits for another."""
    named = set(re.findall(r'<link rel="modulepreload" href="static/([^"]+)">', (_STATIC / "index.html").read_text()))
    assert named == {one.relative_to(_STATIC).as_posix() for one in _STATIC.rglob("*.js")}
