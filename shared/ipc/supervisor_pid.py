"""How a command finds the supervisor of a running site: by the pid that it puts into every status."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from shared.ipc.client import SiteClient


def ask_to_reload(run_dir: Path) -> None:
    """Have the running supervisor read its settings again (SIGHUP)."""
    client = SiteClient(run_dir)
    try:
        pid = client.call("status")["status"].get("pid")
    finally:
        client.close()
    if isinstance(pid, int) and pid > 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
