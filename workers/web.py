"""The web process: the API, the stream of sightings, the metrics and the pages. It opens no database: it asks the writer.

`python -m workers.web --config site.toml`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import sys
from functools import partial
from pathlib import Path

from shared.errors import EXIT_DONE, RollcallError
from shared.settings.schema import Settings
from shared.supervision.child import Child, run_child
from shared.supervision.child_settings import settings_of
from workers.serving.libraries import missing_library

try:
    from workers.dashboard.application import MAX_BODY_BYTES, application
    from workers.dashboard.counters import Counters
    from workers.dashboard.doorkeeper import Doorkeeper
    from workers.dashboard.live_views import LiveViews
    from workers.dashboard.photo_desk import PhotoDesk
    from workers.dashboard.sighting_feed import SightingFeed
    from workers.dashboard.site import SECRET_PATHS, Site, is_let_in
    from workers.dashboard.writer_link import WriterLink
    from workers.serving.addresses import address_of
    from workers.serving.gate import Gate
    from workers.serving.idempotency import Idempotency
    from workers.serving.listening import listen, listen_on_path, unlink_path
    from workers.serving.server import Server
    from workers.serving.tls import Tls
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] in ("shared", "workers"):
        raise  # one of our own: a bug
    raise missing_library("[web] is enabled", error.name, "web") from error

_log = logging.getLogger("web")
# Cameras and the writer come first where processors are short.
_NICENESS = 5
_TIDY_EVERY_S = 1.0


def _listener(settings: Settings) -> socket.socket:
    web = settings.web
    if web.unix_path is not None:
        return listen_on_path(settings.base / web.unix_path)
    return listen(web.host, web.port)


def _tls(settings: Settings) -> Tls | None:
    web = settings.web
    if web.certificate is None or web.key is None:
        return None
    return Tls(*(settings.base / Path(path).expanduser() for path in (web.certificate, web.key)))


async def _serve(settings: Settings, child: Child, listener: socket.socket, tls: Tls | None) -> None:
    counters, writer = Counters(), WriterLink(settings.run_dir)
    feed = SightingFeed(settings.run_dir, writer, counters.take_sighting)
    site = Site(settings, writer, Doorkeeper(writer), feed, counters, LiveViews(settings.run_dir), PhotoDesk(settings))

    def stop() -> None:
        site.stopping = True
        feed.stop()
        site.live.wake()

    feed.start()
    tidying = asyncio.create_task(_tidy(site, tls))
    try:
        server = Server(
            Gate(
                Idempotency(application(site), partial(is_let_in, site), SECRET_PATHS, MAX_BODY_BYTES),
                settings.web,
                counters.take_answer,
            ),
            child,
            tls=None if tls is None else tls.context,
            on_stop=stop,
        )
        _log.info("listens on %s", address_of(settings.web))
        await server.serve(sockets=[listener])
    finally:
        tidying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tidying
        await site.worklist.close()
        site.desk.close()
        writer.close()


async def _tidy(site: Site, tls: Tls | None) -> None:
    """Regular work: drop old sightings from memory, take a renewed certificate, and tell the writer which accesses were used."""
    while True:
        await asyncio.sleep(_TIDY_EVERY_S)  # nothing to wait for: this is the clock's work
        site.feed.drop_old()
        site.desk.end_if_idle()
        if tls is not None:
            tls.renew()
        try:
            await site.doorkeeper.tell_used()
        except RollcallError as error:  # the writer is being replaced; the next use is noted
            _log.warning("%s", error.line())


def main(argv: list[str] | None = None) -> int:
    """Run the web process until it is asked to stop. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.web", description="Rollcall's web part; started by the supervisor."
    )
    parser.add_argument("--config")
    parser.add_argument("--settings-stdin", action="store_true")
    settings = settings_of(parser.parse_args(argv))
    child = Child("rollcall: web")
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    tls, listener = _tls(settings), _listener(settings)
    try:
        asyncio.run(_serve(settings, child, listener, tls))
    finally:
        listener.close()
        if settings.web.unix_path is not None:
            unlink_path(settings.base / settings.web.unix_path)
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(run_child(main))
