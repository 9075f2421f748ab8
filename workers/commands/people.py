"""`people`: lists the enrolled people, renames or merges them, and undoes that. With --unknown: lists the strangers."""

from __future__ import annotations

import argparse
from typing import Any

from shared.errors import EXIT_DONE, UsageError
from shared.ipc.client import site_is_running
from shared.records import Person, Stranger
from shared.service.access import SiteAccess
from shared.settings.schema import Settings
from workers.commands.context import Context
from workers.commands.output import say, say_json, warn

HELP = "who is enrolled; rename somebody, make two people one, take that back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="whom to rename, or to merge")
    parser.add_argument("--rename", metavar="NEW", help="what NAME is called from now on")
    parser.add_argument("--merge-into", metavar="OTHER", help="NAME and OTHER are one person, called OTHER")
    parser.add_argument("--undo", action="store_true", help="take the last rename or merge back; for 30 days")
    parser.add_argument("--unknown", action="store_true", help="who was seen and is not enrolled")


def run(context: Context, arguments: argparse.Namespace) -> int:
    settings = context.settings
    chosen = [arguments.rename is not None, arguments.merge_into is not None, arguments.undo, arguments.unknown]
    changes_one = arguments.rename is not None or arguments.merge_into is not None
    if sum(chosen) > 1 or changes_one is not (arguments.name is not None):
        raise UsageError(
            "these options can't be combined",
            where="people",
            expected="NAME --rename NEW, NAME --merge-into OTHER, --undo, --unknown, or none",
        )
    if changes_one or arguments.undo:
        return _change(context, arguments)
    if arguments.unknown:
        return _strangers(settings, as_json=context.as_json)
    people: list[Person] = []
    if settings.db_path.exists() or site_is_running(settings.run_dir):
        with SiteAccess(settings, warn, read_only_ok=True) as gallery:
            people = list(gallery.people())
    if context.as_json:
        say_json({"people": [vars(one) for one in people]})
        return EXIT_DONE
    for one in people:
        user_id = f"  ({one.user_id})" if one.user_id else ""
        say(
            f"{one.person}{user_id}  {one.references} {'reference' if one.references == 1 else 'references'}, since {one.enrolled_at}"
        )
    if not people:
        say("nobody is enrolled; type: python supervisor.py enrol FOLDER")
    return EXIT_DONE


def _change(context: Context, arguments: argparse.Namespace) -> int:
    with SiteAccess(context.settings, warn) as gallery:
        if arguments.undo:
            answer = gallery.undo_people()
        elif arguments.rename is not None:
            answer = gallery.rename(arguments.name, arguments.rename)
        else:
            answer = gallery.merge(arguments.name, arguments.merge_into)
    if answer.warning:
        warn(answer.warning)
    if context.as_json:
        say_json(answer.to_json())
        return EXIT_DONE
    once = f"; {answer.kept_once} that both had are kept once" if answer.kept_once else ""
    say(f"{answer.before} is {answer.person} now: {answer.references} references, {answer.sightings} sightings{once}")
    if not arguments.undo:
        say("to take it back, for 30 days: python supervisor.py people --undo")
    return EXIT_DONE


def _strangers(settings: Settings, *, as_json: bool) -> int:
    strangers: list[dict[str, Any]] = []
    if settings.db_path.exists() or site_is_running(settings.run_dir):
        with SiteAccess(settings, warn, read_only_ok=True) as gallery:
            strangers = [_document(one, settings) for one in gallery.strangers()]
    if as_json:
        say_json({"unknown": strangers})
        return EXIT_DONE
    for one in strangers:
        visits = f"{one['visits']} {'visit' if one['visits'] == 1 else 'visits'}"
        seen = f"{one['first_seen']} to {one['last_seen']}"
        say(f"{one['id']}  {visits}, {seen}, {', '.join(one['cameras'])}  {one['photo'] or ''}".rstrip())
    if not strangers:
        say("no strangers are kept" + ("" if settings.site.keep_unknowns_days else ": [site] keep_unknowns_days is 0"))
    return EXIT_DONE


def _document(stranger: Stranger, settings: Settings) -> dict[str, Any]:
    """A stranger as `people --unknown --json` prints it. `photo`: the path of the best picture, or None."""
    document = {name: value for name, value in vars(stranger).items() if name != "photos"}
    return {**document, "photo": str(settings.data_dir / stranger.photos[0]) if stranger.photos else None}
