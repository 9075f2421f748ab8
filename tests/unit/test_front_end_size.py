"""What a browser loads of the pages."""

from __future__ import annotations

import gzip

from tests.support.paths import ROOT

_MAX_BYTES = 60_000
_STATIC = ROOT / "workers" / "dashboard" / "static"
_NOT_LOADED = {".txt"}


def test_the_front_end_is_small() -> None:
    """All modules, the style and every language together, each packed by itself as a proxy does it."""
    files = [one for one in _STATIC.rglob("*") if one.is_file() and one.suffix not in _NOT_LOADED]
    assert sum(len(gzip.compress(one.read_bytes())) for one in files) <= _MAX_BYTES
