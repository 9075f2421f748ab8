"""The service's log, where systemd keeps it."""

from __future__ import annotations

import subprocess

_UNIT = "rollcall.service"
_MAX_LINES = 5000
_WAIT_S = 10.0


def recent_log() -> str:
    """The newest lines of the service's log; empty if there is none, or if this user may not read it."""
    asked = [
        "journalctl",
        "--unit",
        _UNIT,
        "--lines",
        str(_MAX_LINES),
        "--output",
        "short-iso",
        "--no-pager",
        "--quiet",
    ]
    try:
        found = subprocess.run(asked, capture_output=True, timeout=_WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.decode("utf-8", "replace")
