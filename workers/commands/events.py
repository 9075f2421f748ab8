"""`events`: the sightings kept, and with --follow those that come."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.errors import EXIT_DONE, TemporaryError, UsageError
from shared.ipc import wire
from shared.ipc.client import follow, site_is_running
from shared.service.access import Site, SiteAccess
from shared.settings.schema import Settings
from workers.commands.context import Context
from workers.commands.output import event_line, say, say_json, warn

_AGE = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_PAGE = 1000
_REPLACED_WITHIN_S = 30.0  # the supervisor starts a writer that fell again within seconds
_LOOK_AGAIN_S = 0.2


HELP = "the sightings, past and as they come"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="go on as they come")
    parser.add_argument("--since", metavar="T", help="ISO 8601 time, or an age like 90s, 10m, 2h, 3d")


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    since = None if arguments.since is None else since_time(arguments.since, datetime.now(UTC))
    running = site_is_running(settings.run_dir)
    if arguments.follow and not running:
        raise TemporaryError("no site runs here", where=str(settings.data_dir), remedy="start it: supervisor.py run")
    show = _show_json if context.as_json else _show
    last_id = 0
    if running or settings.db_path.exists():
        with SiteAccess(settings, warn, may_look=True) as site:
            # Without --since, following starts now: the past is one `events` away.
            last_id = (
                int(site.call("events", limit=0)["last_id"])
                if arguments.follow and since is None
                else _past(site, since, show)
            )
    if arguments.follow:
        _follow(settings, last_id, show)
        warn("the site has stopped")
    return EXIT_DONE


def _follow(settings: Settings, last_id: int, show: Callable[[dict[str, Any]], None]) -> None:
    """Show every sighting after `last_id` until the site stops; a writer that fell is waited for."""
    lost_at: float | None = None
    while lost_at is None or time.monotonic() - lost_at < _REPLACED_WITHIN_S:
        stream = follow(settings.run_dir, last_id, None)
        while (event := _next(stream)) is not None:
            lost_at = None
            show(event)
            last_id = event["id"]
        if not wire.socket_path(settings.run_dir).exists():
            return  # a writer that stops takes its socket along; one that was killed can't
        lost_at = lost_at or time.monotonic()
        time.sleep(_LOOK_AGAIN_S)


def _next(stream: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    """The stream's next sighting; None when its writer is gone."""
    try:
        return next(stream, None)
    except (ConnectionError, FileNotFoundError):
        return None


def _past(site: Site, since: str | None, show: Callable[[dict[str, Any]], None]) -> int:
    """Show every kept sighting, page by page; the last id."""
    last_id = 0
    while events := site.call("events", after_id=last_id, since=since, limit=_PAGE)["events"]:
        for event in events:
            show(event)
        last_id = events[-1]["id"]
    return last_id


def since_time(text: str, now: datetime) -> str:
    """`text`, an ISO 8601 time (UTC where it names no zone) or an age like 10m, as the store writes times. Raises UsageError."""
    try:
        if age := _AGE.fullmatch(text):
            moment = now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        else:
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            "not a time", where="--since", got=text, expected="2026-01-31T08:00:00Z, or an age like 10m"
        ) from error
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _show_json(event: dict[str, Any]) -> None:
    say_json(event, line=True)


def _show(event: dict[str, Any]) -> None:
    say(event_line(event))
