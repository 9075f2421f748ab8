"""`right`: a person confirms a sighting or a near miss; with --learn its face becomes one of the person's references."""

from __future__ import annotations

import argparse

from shared.ipc.requests.corrections import Judged
from shared.service.access import SiteAccess
from workers.commands.context import Context
from workers.commands.output import warn
from workers.commands.wrong import report

HELP = "a sighting shows that person; with --learn, know them better"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("event_id", metavar="EVENT_ID", type=int, help="the id of an event, as `events` prints it")
    parser.add_argument("--learn", action="store_true", help="make its face a reference of the person")


def run(context: Context, arguments: argparse.Namespace) -> int:
    with SiteAccess(context.settings, warn) as gallery:
        answer = gallery.right(arguments.event_id, learn=arguments.learn)
    return report(context, answer, _lines(answer))


def _lines(answer: Judged) -> list[str]:
    if answer.already:
        return [f"event {answer.sighting} was judged right already: it shows {answer.person}"]
    learned = "; its face is a reference now" if answer.reference is not None else ""
    lines = [f"event {answer.sighting} shows {answer.person}{learned}"]
    if answer.replaced is not None:
        lines.append("it was judged wrong before: the face is not withheld any more")
    return lines
