"""`wrong`: a person judges a sighting wrong, so that the same face is withheld on every camera. Also lists and takes back corrections."""

from __future__ import annotations

import argparse

from shared.errors import EXIT_DONE, UsageError
from shared.ipc.client import site_is_running
from shared.ipc.requests.corrections import Judged
from shared.records import Correction
from shared.service.access import SiteAccess
from workers.commands.context import Context
from workers.commands.output import say, say_answer, say_json, warn

HELP = "a sighting shows somebody else: withhold that face on every camera"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "event_id", metavar="EVENT_ID", type=int, nargs="?", help="the id of an event, as `events` prints it"
    )
    parser.add_argument("--list", action="store_true", help="what was judged wrong or right")
    parser.add_argument("--undo", metavar="EVENT_ID", type=int, help="take back what was judged of this event")


def run(context: Context, arguments: argparse.Namespace) -> int:
    if sum((arguments.event_id is not None, arguments.list, arguments.undo is not None)) != 1:
        raise UsageError("which event?", where="wrong", expected="EVENT_ID, --list, or --undo EVENT_ID")
    if arguments.list:
        return _list(context)
    if arguments.undo is not None:
        return _undo(context, arguments.undo)
    with SiteAccess(context.settings, warn) as gallery:
        answer = gallery.wrong(arguments.event_id)
    return report(context, answer, _lines(answer))


def report(context: Context, answer: Judged, lines: list[str]) -> int:
    """Print what was judged: as JSON, or as these lines and how to take it back."""
    if say_answer(answer, as_json=context.as_json):
        return EXIT_DONE
    for line in lines:
        say(line)
    say(f"until {answer.expires_at[:10]}; to take it back: python supervisor.py wrong --undo {answer.sighting}")
    return EXIT_DONE


def _lines(answer: Judged) -> list[str]:
    if answer.already:
        return [f"event {answer.sighting} was judged wrong already: it does not show {answer.person}"]
    lines = [
        f"event {answer.sighting} does not show {answer.person}: the same face is withheld from now on, on every camera"
    ]
    if answer.looks_like is not None:
        lines.append(
            f"the face looks like {answer.looks_like}, who is enrolled: it is withheld as {answer.person}'s only, and can be named "
            f"{answer.looks_like}"
        )
    if answer.photo is not None:
        lines.append(f"{answer.person}'s photo that it was taken for: {answer.photo}")
    return lines


def _undo(context: Context, event_id: int) -> int:
    with SiteAccess(context.settings, warn) as gallery:
        answer = gallery.undo_correction(event_id)
    if say_answer(answer, as_json=context.as_json):
        return EXIT_DONE
    learned = "; the reference that was learned from it is removed" if answer.unlearned else ""
    say(f"event {answer.sighting} ({answer.person}) is no longer judged {answer.judged}{learned}")
    return EXIT_DONE


def _list(context: Context) -> int:
    settings = context.settings
    found: list[Correction] = []
    if settings.db_path.exists() or site_is_running(settings.run_dir):
        with SiteAccess(settings, warn, read_only_ok=True) as gallery:
            found = list(gallery.corrections())
    if context.as_json:
        say_json({"corrections": [vars(one) for one in found]})
        return EXIT_DONE
    for one in found:
        say(_line(one))
    if not found:
        say("nothing was corrected; type: python supervisor.py wrong EVENT_ID")
    return EXIT_DONE


def _line(one: Correction) -> str:
    if one.judged == "right":
        effect = "learned" if one.reference is not None else "confirmed"
    elif not one.in_effect:
        effect = "not in effect: its face was another model's"
    else:
        effect = "withheld from everybody" if one.against_all else f"withheld from {one.person} only"
    return f"{one.sighting}  {one.judged}  {one.person}  {one.camera}, {one.made_at[:19]}Z, until {one.expires_at[:10]}, {effect}"
