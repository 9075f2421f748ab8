"""The command that takes the documents' pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.browser import SIZES, needs_browser
from tests.support.paths import ROOT, needs_dlib

_LONGEST_S = 600  # a minute and a half on two cores that do nothing else


def _command(out: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.screenshots", "--out", str(out), *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST_S,
    )


@needs_browser
@needs_dlib
@pytest.mark.timeout(_LONGEST_S + 30)
def test_a_page_is_taken(tmp_path: Path) -> None:
    """A site of drawn people runs, all of them are named on it, and the picture of a page lies where it was asked for."""
    done = _command(tmp_path / "pictures", "--pages", "people")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "pictures" / "people.webp"))
    with Image.open(tmp_path / "pictures" / "people.webp") as picture:
        assert picture.size == SIZES["desk"]
        assert len(set(picture.convert("L").resize((72, 45)).tobytes())) > 50, "it is not an empty page"


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    """Without what it needs the command writes nothing, and says what to install."""
    hidden = (
        "import runpy, sys; sys.modules['playwright'] = None; sys.argv[0] = 'screenshots';"
        " runpy.run_module('tests.screenshots', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden, "--out", str(tmp_path / "pictures")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert "playwright" in done.stderr
    assert "pip install -c constraints.txt '.[" in done.stderr
    assert not (tmp_path / "pictures").exists()
