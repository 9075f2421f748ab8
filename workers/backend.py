"""The backend process: the API in front of MongoDB that sites sync with. Any number of them may stand in front of one database.

`MONGODB_URI=mongodb://… python -m workers.backend --config site.toml`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import sys
from pathlib import Path

from shared.errors import EXIT_DONE, ConfigurationError
from shared.settings.schema import Settings
from shared.supervision.child import Child, run_child
from shared.supervision.child_settings import settings_of
from workers.serving.libraries import missing_library

try:
    from workers.hub.application import application
    from workers.hub.database import Database
    from workers.hub.gate import Gate
    from workers.hub.hub import Hub
    from workers.serving.listening import listen
    from workers.serving.server import Server
    from workers.serving.tls import Tls
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] in ("shared", "workers"):
        raise  # one of our own: a bug
    raise missing_library("the backend is asked for", error.name, "backend") from error

_log = logging.getLogger("backend")
# Cameras and the writer come first where processors are short.
_NICENESS = 5
_TIDY_EVERY_S = 1.0


def _tls(settings: Settings) -> Tls | None:
    backend = settings.backend
    if backend.certificate is None or backend.key is None:
        return None
    return Tls(*(settings.base / Path(path).expanduser() for path in (backend.certificate, backend.key)))


async def _serve(settings: Settings, child: Child, listener: socket.socket, tls: Tls | None) -> None:
    backend = settings.backend
    database = Database(settings.mongodb_uri(), f"{settings.path or 'settings'}: [backend] mongodb_uri")
    await database.prepare()
    hub = Hub(backend, database)
    async with database.explained():
        await _require_tokens(hub)
    work = [asyncio.create_task(one) for one in (hub.watch.run(), hub.tidy(), _renew(tls))]
    try:
        server = Server(
            Gate(application(hub), backend), child, tls=None if tls is None else tls.context, on_stop=hub.watch.stop
        )
        scheme = "http" if tls is None else "https"
        _log.info("listens on %s://%s:%d, in front of %s", scheme, backend.host, backend.port, database.hosts)
        await server.serve(sockets=[listener])
    finally:
        for one in work:
            one.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await hub.close()


async def _require_tokens(hub: Hub) -> None:
    """Refuse to be reached from elsewhere while everybody could ask."""
    if hub.settings.is_local or await hub.doorkeeper.has_tokens():
        return
    raise ConfigurationError(
        "no site has a token yet, and everybody who reaches this machine could ask",
        where="[backend] host",
        got=hub.settings.host,
        expected="a token for each site",
        remedy="python supervisor.py backend token create SITE",
    )


async def _renew(tls: Tls | None) -> None:
    """Take a renewed certificate. Runs until it is cancelled."""
    while tls is not None:
        await asyncio.sleep(_TIDY_EVERY_S)  # nothing to wait for: this is the clock's work
        tls.renew()


def main(argv: list[str] | None = None) -> int:
    """Run the backend until it is asked to stop. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.backend", description="Rollcall's hub; started by the supervisor."
    )
    parser.add_argument("--config")
    parser.add_argument("--settings-stdin", action="store_true")
    settings = settings_of(parser.parse_args(argv))
    child = Child("rollcall: backend")
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    tls, listener = _tls(settings), listen(settings.backend.host, settings.backend.port)
    try:
        asyncio.run(_serve(settings, child, listener, tls))
    finally:
        listener.close()
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(run_child(main))
