"""The sync process: exchanges references, deletions and sightings with the backend. The site never waits for it.

`python -m workers.mongodb_sync --config site.toml`

It can also be imported, with the names and meanings of the original program: `manual_sync`, `start_sync`, `stop_sync`, `get_sync_status`.
They work on the site that shared/embedding_db.py works on.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import threading
from typing import Any

from shared import embedding_db
from shared.errors import EXIT_DONE, RefusedError, RollcallError
from shared.ipc.client import SiteClient, site_is_running
from shared.ipc.requests import sync as sync_requests
from shared.ipc.requests.site import Status
from shared.service.access import SiteAccess
from shared.settings.schema import Settings
from shared.status import ChildState, SyncStatus
from shared.supervision.child import Child, run_child
from shared.supervision.child_settings import settings_of
from workers.sync.backend_client import target_of
from workers.sync.loop import SyncLoop
from workers.sync.once import exchange_once

_log = logging.getLogger("sync")
# Cameras and the writer come first where processors are short.
_NICENESS = 10
_LOOK_EVERY_S = 1.0
_lock = threading.Lock()
_own: SyncLoop | None = None


def manual_sync() -> bool:
    """One exchange now. Returns whether all that is here is known to be at the backend, and all that is there is here."""
    try:
        return exchange_once(embedding_db.site_settings()).is_whole
    except RollcallError as error:
        _log.warning("%s", error.line())
        return False


def start_sync() -> None:
    """Exchange from now on, on threads of this process, if `[sync] enabled`; the site must run. A second call changes nothing. Raises
    RollcallError. While the site's own sync process runs, that does it."""
    global _own  # noqa: PLW0603  # the original's functions take no site, so the module keeps the choice
    settings = embedding_db.site_settings()
    if not settings.sync.enabled:
        _log.warning("[sync] is not enabled; nothing is exchanged")
        return
    if not site_is_running(settings.run_dir):
        raise RefusedError("no site runs", where=str(settings.data_dir), remedy="start it: python supervisor.py")
    with _lock:
        if _own is None and _process_of(settings) is None:
            _own = SyncLoop(settings, target_of(settings))
            _own.start()


def stop_sync() -> None:
    """End what `start_sync` began. The site's own sync process goes on."""
    global _own  # noqa: PLW0603  # as above
    with _lock:
        if _own is not None:
            _own.stop()
            _own = None


def get_sync_status() -> dict[str, Any]:
    """How the exchange is doing: running, enabled, last_sync (ISO 8601 or None), interval_seconds, sqlite_count, and of a running exchange up,
    down_reason, wire, quarantined, quarantine and unconfirmed. Raises RollcallError."""
    settings = embedding_db.site_settings()
    with _lock:
        status = _own.status if _own is not None else _process_of(settings)
    last = status.last_sync if status is not None else None
    if last is None and settings.db_path.exists():
        with SiteAccess(settings, _log.warning) as gallery:
            last = gallery.ask(sync_requests.SyncStatus()).exchanged_at
    return {
        "running": status is not None,
        "enabled": settings.sync.enabled,
        "last_sync": last,
        "interval_seconds": settings.sync.interval_s,
        "sqlite_count": embedding_db.get_embedding_count(),
        "backend": settings.sync.backend,
        "up": status.up if status is not None else False,
        "down_reason": status.down_reason if status is not None else None,
        "wire": status.wire if status is not None else None,
        "quarantined": status.quarantined if status is not None else 0,
        "quarantine": status.quarantine if status is not None else None,
        "unconfirmed": status.unconfirmed if status is not None else None,
    }


def _process_of(settings: Settings) -> SyncStatus | None:
    """What the running site's own sync process says; None if there is none."""
    if not site_is_running(settings.run_dir):
        return None
    client = SiteClient(settings.run_dir)
    try:
        site = client.ask(Status()).site
    finally:
        client.close()
    found = None if site is None else site.processes.get("sync")
    return found if isinstance(found, SyncStatus) and found.state is ChildState.RUNNING else None


def main(argv: list[str] | None = None) -> int:
    """Exchange until it is asked to stop. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.mongodb_sync", description="Rollcall's sync; started by the supervisor."
    )
    parser.add_argument("--config")
    parser.add_argument("--settings-stdin", action="store_true")
    settings = settings_of(parser.parse_args(argv))
    child = Child("rollcall: sync")
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    loop = SyncLoop(settings, target_of(settings))
    loop.start()
    while not child.wait(_LOOK_EVERY_S):
        if not loop.hangs:  # or else the supervisor starts another one
            child.heartbeat(loop.status)
    loop.stop()
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(run_child(main))
