"""`forget`: removes a person, one of a person's photos, or a stranger, from rows, WAL, block, photos, sightings and backup."""

from __future__ import annotations

import argparse
from pathlib import Path

from shared.errors import EXIT_DONE, EXIT_TEMPORARY, UsageError
from shared.ipc.requests import Forgotten, StrangerForgotten
from shared.service.access import SiteAccess
from workers.commands.context import Context
from workers.commands.output import say, say_json, warn

HELP = "remove every trace of a person, or one photo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?")
    parser.add_argument("--unknown", metavar="ID", help="instead of NAME: this stranger")
    parser.add_argument("--photo", metavar="PATH", help="only this photo")


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    if (arguments.name is None) == (arguments.unknown is None):
        raise UsageError(
            "forget whom?", expected="NAME, or --unknown ID", remedy="see: supervisor.py people [--unknown]"
        )
    if arguments.unknown is not None:
        return _forget_stranger(context, arguments)
    photo = arguments.photo
    if photo is not None and Path(photo).exists():
        photo = str(Path(photo).absolute())  # the site may run in another working folder
    with SiteAccess(settings, warn) as gallery:
        answer = gallery.forget(arguments.name, photo)
    return _report(context, answer, "{person}: {references} references, {photos} photos, {sightings} sightings")


def _forget_stranger(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.photo is not None:
        raise UsageError(
            "of a stranger, a single photo can't be forgotten", got="--photo", expected="--unknown ID alone"
        )
    with SiteAccess(context.settings, warn) as gallery:
        answer = gallery.forget_stranger(arguments.unknown)
    return _report(context, answer, "{unknown}: {photos} pictures, {sightings} sightings")


def _report(context: Context, answer: Forgotten | StrangerForgotten, line: str) -> int:
    """Print what was removed and what was not. `line`: a template with the answer's fields. Returns 75 while a file is left."""
    code = EXIT_TEMPORARY if answer.not_removed else EXIT_DONE
    if answer.warning:
        warn(answer.warning)
    for path in answer.not_removed:
        warn(f"NOT REMOVED: {path}; the site tries again every minute, and so does this command when it is repeated")
    if context.as_json:
        say_json(answer.to_json())
        return code
    if answer.already:
        say(f"{answer.person if isinstance(answer, Forgotten) else answer.unknown} was forgotten already")
    else:
        say(f"forgot {line.format_map(vars(answer))} removed")
    for name in answer.spelt_otherwise if isinstance(answer, Forgotten) else []:
        say(f"and the same name, written otherwise: {name!a}")
    for copy in answer.other_copies:
        say(
            f"not changed: {context.settings.data_dir / copy} may still hold this person; delete it when you no longer need it"
        )
    say(f"out of reach, and yours to look after: {'; '.join(answer.out_of_reach)}")
    return code
