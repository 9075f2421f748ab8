"""The drop-in for a GPU: every directive has its reason, systemd takes it, and it opens no more than it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

_DROP_IN, _UNIT = ROOT / "deploy" / "rollcall-gpu.conf", ROOT / "deploy" / "rollcall.service"
_ANALYZE = shutil.which("systemd-analyze")


def test_every_directive_has_its_reason() -> None:
    """The line before each is a comment."""
    lines = _DROP_IN.read_text(encoding="utf-8").splitlines()
    directives = [place for place, line in enumerate(lines) if re.match(r"[A-Z][A-Za-z]+=", line)]
    assert len(directives) >= 8
    assert [lines[place] for place in directives if not lines[place - 1].startswith("#")] == []


@pytest.mark.skipif(_ANALYZE is None, reason="systemd-analyze is not installed (Debian: apt install systemd)")
def test_systemd_takes_it(tmp_path: Path) -> None:
    """Beside the unit, `systemd-analyze verify` has nothing to say about it."""
    interpreter = tmp_path / "opt" / ".venv" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text("#!/bin/sh\n", encoding="ascii")
    interpreter.chmod(0o755)
    unit = tmp_path / "rollcall.service"
    unit.write_text(_UNIT.read_text(encoding="utf-8").replace("/opt/rollcall", str(tmp_path / "opt")), encoding="utf-8")
    folder = tmp_path / "rollcall.service.d"
    folder.mkdir()
    text = _DROP_IN.read_text(encoding="utf-8")
    for name, content, clean in (("gpu.conf", text, True), ("gpu.conf", text + "DeviceAlow=x\n", False)):
        (folder / name).write_text(content, encoding="utf-8")
        done = subprocess.run(
            [str(_ANALYZE), "verify", "--man=no", "--recursive-errors=no", str(unit)],
            env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip  # options by kind
        said = [line for line in (done.stdout + done.stderr).splitlines() if "gpu.conf" in line or "rollcall" in line]
        assert (said == []) == clean, said
