"""One exchange with the backend, now: through the running site, or with the database under the lock."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from shared.ipc.requests.sync import Exchanged
from shared.service.access import SiteAccess
from shared.settings.schema import Settings
from workers.sync.backend_client import BackendClient, target_of
from workers.sync.exchange import Exchange
from workers.sync.report import Report

_log = logging.getLogger("sync")


def exchange_once(settings: Settings) -> Report:
    """Exchange once. Returns what it did. Raises RollcallError; BackendFault if the backend is the reason."""
    backend = BackendClient(target_of(settings))
    try:
        with SiteAccess(settings, _log.warning, create=True) as gallery:
            report = Exchange(gallery, backend).run()
            if report.is_whole:
                gallery.ask(Exchanged(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"))
            return report
    finally:
        backend.close()
