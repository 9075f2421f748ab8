"""The demo as a newcomer types it: no camera, no configuration, no download."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.paths import needs_dlib
from tests.support.site_process import command


@needs_dlib
def test_the_demo_runs_a_site_and_sums_it_up(tmp_path: Path) -> None:
    """It ends by itself, names people it knows and nobody wrongly, and leaves one picture to look at, for its owner alone."""
    done = command(tmp_path, "demo", "--json", "--sheet", str(tmp_path / "sheet.png"), timeout_s=170)
    assert done.returncode == 0, done.stderr
    *events, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert summary["event"] == "summary"
    assert summary["wrong_names"] == []
    assert any(event["event"] == "named" for event in events)
    assert (tmp_path / "sheet.png").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
