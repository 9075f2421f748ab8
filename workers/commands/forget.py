"""`forget`: removes a person, one of a person's photos, a stranger, or the face of a corrected sighting, from rows, WAL, block, photos,
sightings and backup."""

from __future__ import annotations

import argparse
from pathlib import Path

from shared.errors import EXIT_DONE, EXIT_TEMPORARY, UsageError
from shared.ipc.requests.corrections import CorrectionForgotten
from shared.ipc.requests.forgetting import Forgotten
from shared.ipc.requests.strangers import StrangerForgotten
from shared.service.access import SiteAccess
from workers.commands.context import Context
from workers.commands.output import counted, say, say_answer, say_json, warn

HELP = "remove every trace of a person, or one photo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?")
    parser.add_argument("--unknown", metavar="ID", help="instead of NAME: this stranger")
    parser.add_argument(
        "--wrong", metavar="EVENT_ID", type=int, help="instead of NAME: the face of this event, and its correction"
    )
    parser.add_argument("--photo", metavar="PATH", help="only this photo")


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    if sum(one is not None for one in (arguments.name, arguments.unknown, arguments.wrong)) != 1:
        raise UsageError(
            "forget whom?",
            expected="NAME, --unknown ID, or --wrong EVENT_ID",
            remedy="see: supervisor.py people [--unknown], supervisor.py wrong --list",
        )
    if arguments.name is None and arguments.photo is not None:
        raise UsageError(
            "only a person's photo can be forgotten by itself", got="--photo", expected="NAME --photo PATH"
        )
    if arguments.wrong is not None:
        return _forget_correction(context, arguments.wrong)
    if arguments.unknown is not None:
        return _forget_stranger(context, arguments)
    photo = arguments.photo
    if photo is not None and Path(photo).exists():
        photo = str(Path(photo).absolute())  # the site may run in another working folder
    with SiteAccess(settings, warn) as gallery:
        answer = gallery.forget(arguments.name, photo)
    gone = f"{counted(answer.references, 'reference')}, {counted(answer.photos, 'photo')}"
    return _report(context, answer, f"{answer.person}: {gone}, {counted(answer.sightings, 'sighting')}")


def _forget_stranger(context: Context, arguments: argparse.Namespace) -> int:
    with SiteAccess(context.settings, warn) as gallery:
        answer = gallery.forget_stranger(arguments.unknown)
    gone = f"{counted(answer.photos, 'picture')}, {counted(answer.sightings, 'sighting')}"
    return _report(context, answer, f"{answer.unknown}: {gone}")


def _forget_correction(context: Context, event_id: int) -> int:
    with SiteAccess(context.settings, warn) as gallery:
        answer = gallery.forget_correction(event_id)
    if say_answer(answer, as_json=context.as_json):
        return EXIT_DONE
    done = "was forgotten already, or never kept" if answer.already else "is forgotten, and its correction with it"
    say(f"the face of event {answer.sighting} {done}")
    _say_what_is_left(context, answer)
    return EXIT_DONE


def _report(context: Context, answer: Forgotten | StrangerForgotten, line: str) -> int:
    """Print what was removed and what was not. `line`: whom it was, and what is gone. Returns 75 while a file is left."""
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
        say(f"forgot {line} removed")
    if answer.corrections or answer.probes:
        say(
            f"and {counted(answer.corrections, 'correction')}, {counted(answer.probes, 'face')} kept so that sightings could be corrected"
        )
    for name in answer.spelt_otherwise if isinstance(answer, Forgotten) else []:
        say(f"and the same name, written otherwise: {name!a}")
    _say_what_is_left(context, answer)
    return code


def _say_what_is_left(context: Context, answer: Forgotten | StrangerForgotten | CorrectionForgotten) -> None:
    for copy in answer.other_copies:
        say(
            f"not changed: {context.settings.data_dir / copy} may still hold this person; delete it when you no longer need it"
        )
    say(f"out of reach, and yours to look after: {'; '.join(answer.out_of_reach)}")
