"""`run`: runs the site until it is asked to stop."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from shared.errors import EXIT_DONE, ConfigurationError, UsageError
from shared.events import Sighting
from shared.printing import QUIET_VARIABLE, names_are_withheld
from shared.settings.schema import Settings
from workers.commands.context import Context, add_assume_model
from workers.commands.output import event_line, of_nobody, say, say_json, warn

HELP = "run the site (the default)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--until-ended", action="store_true", help="stop once every file source has ended")
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="print and log no names, as in systemd's journal; `events` shows them",
    )
    add_assume_model(parser)


def run(context: Context, arguments: argparse.Namespace) -> int:
    path = context.settings_path
    if path is None:
        raise ConfigurationError(
            "there is no site.toml yet",
            where="run",
            remedy="type: python supervisor.py init   then name your cameras in site.toml and type: python supervisor.py check   "
            "To see it work first, without any camera: python supervisor.py demo",
        )
    settings = context.settings
    if arguments.until_ended and not _has_file_that_ends(settings):
        raise UsageError(
            "--until-ended needs a camera that ends",
            where=str(path),
            expected="a camera whose source is a file, without loop",
            remedy="leave out --until-ended, or add such a camera",
        )
    if not settings.enabled_cameras():
        warn(f"{path}: no camera is enabled; the site only serves its gallery. Add a section like [cameras.entrance]")
    if arguments.quiet:
        os.environ[QUIET_VARIABLE] = "1"  # for the children, too
    printer = EventPrinter(as_json=context.as_json, names_nobody=names_are_withheld(sys.stdout.fileno()))
    site = context.supervisor(
        settings, on_event=printer, until_ended=arguments.until_ended, assume_model=arguments.assume_model
    )
    printer.stop_site = site.ask_to_stop
    code = site.run()
    return EXIT_DONE if printer.broken else int(code)


class EventPrinter:
    """Prints each sighting once it is stored. When the program that reads the output ends, it stops the site."""

    def __init__(self, *, as_json: bool, names_nobody: bool) -> None:
        """`names_nobody`: print no names, because retention and `forget` can't remove them from the journal."""
        self._as_json, self._names_nobody = as_json, names_nobody
        self.broken = False
        self.stop_site: Any = None

    def __call__(self, sighting: Sighting) -> None:
        if self.broken:
            return
        try:
            if self._names_nobody:
                sighting = of_nobody(sighting)
            if self._as_json:
                say_json(sighting.to_json(), line=True)
            else:
                say(event_line(sighting))
        except BrokenPipeError:
            self.broken = True
            if self.stop_site is not None:
                self.stop_site()


def _has_file_that_ends(settings: Settings) -> bool:
    return any(settings.ends(name) for name in settings.enabled_cameras())
