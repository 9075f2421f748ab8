"""`events`: prints the stored sightings and, with --follow, new ones as they come."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared.errors import EXIT_DONE, RollcallError, TemporaryError, UsageError
from shared.events import Sighting
from shared.ipc import wire
from shared.ipc.client import site_is_running
from shared.ipc.following import follow_across_restarts
from shared.service.access import SiteAccess
from workers.commands.context import Context
from workers.commands.output import event_line, say, say_json, warn

_AGE = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_REPLACED_WITHIN_S = 30.0
_CHECK_AGAIN_S = 0.2
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
        with SiteAccess(settings, warn, read_only_ok=True) as gallery:
            if arguments.follow and since is None:
                last_id = gallery.last_sighting_id()  # without --since only new ones; `events` prints the past
            else:
                for sighting in gallery.sightings(since=since):
                    show(sighting)
                    last_id = sighting.id
    if arguments.follow:
        _follow(settings.run_dir, last_id, show)
        warn("the site has stopped")
    return EXIT_DONE


class _Patience:
    """Decides how long to wait after the writer was lost: the supervisor starts another within seconds."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._lost_at: float | None = None

    def back(self) -> None:
        """A sighting came, so the writer is back."""
        self._lost_at = None

    def is_over(self, error: Exception) -> bool:
        """True if the site has stopped. Otherwise wait a moment and return whether the wait took too long. Raises `error` if it
        is the writer's refusal."""
        if isinstance(error, RollcallError):
            raise error
        if not wire.socket_path(self._run_dir).exists():
            return True  # a writer that stops removes its socket; one that was killed leaves it
        self._lost_at = self._lost_at or time.monotonic()
        time.sleep(_CHECK_AGAIN_S)  # while no writer listens, there is nothing to wait on
        return time.monotonic() - self._lost_at >= _REPLACED_WITHIN_S


def _follow(run_dir: Path, last_id: int, show: Callable[[Sighting], None]) -> None:
    """Show every sighting after `last_id` until the site stops."""
    patience = _Patience(run_dir)
    for event in follow_across_restarts(run_dir, last_id, patience.is_over):
        patience.back()
        show(event)


def since_time(text: str, now: datetime) -> str:
    """A time in the form in which the store writes it. `text`: an ISO 8601 time (UTC if it has no zone), or an age like 10m.

    Raises UsageError when it is neither.
    """
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


def _show_json(sighting: Sighting) -> None:
    say_json(sighting.to_json(), line=True)


def _show(sighting: Sighting) -> None:
    say(event_line(sighting))
